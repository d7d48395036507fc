//! The table of model prices that `vw_cost` reads: `sql/prices.csv`, embedded when the program is built,
//! or a file of the user's in the same form.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use chrono::NaiveDate;
use datafusion::arrow::array::{Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use crate::catalog::Catalog;
use crate::config::EngineConfig;
use crate::error::SqlError;

/// The table's name in the default dataset.
const TABLE: &str = "model_prices";

const BUILT_IN: &str = include_str!("../../../sql/prices.csv");

const HEAD: &str = "model,valid_from,input_tokens_from,input,cached,output,thought";

/// Most prices of one file.
const ROWS_MAX: usize = 10_000;

/// Largest file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A catalog with the prices in its default dataset, behind a table of that name that is there already.
pub(crate) struct WithPrices {
    inner: Arc<dyn Catalog>,
    default_dataset: String,
    prices: Arc<dyn TableProvider>,
}

impl WithPrices {
    /// Reads the configured file of prices, or takes the built-in one.
    ///
    /// # Errors
    /// When the file cannot be read or is not a table of prices: names the file and the line.
    pub(crate) fn new(inner: Arc<dyn Catalog>, config: &EngineConfig) -> Result<Self, SqlError> {
        let rows = match &config.prices_file {
            Some(path) => parse(&read(path)?, &path.display().to_string())?,
            None => parse(BUILT_IN, "the built-in prices")?,
        };
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])
            .map_err(|error| SqlError::internal(error.strip_backtrace()))?;
        Ok(Self { inner, default_dataset: config.default_dataset.clone(), prices: Arc::new(table) })
    }

    fn is_prices(&self, dataset: &str, name: &str) -> bool {
        dataset == self.default_dataset && name == TABLE
    }
}

impl Catalog for WithPrices {
    fn datasets(&self) -> Vec<String> {
        let mut datasets = self.inner.datasets();
        if !datasets.contains(&self.default_dataset) {
            datasets.push(self.default_dataset.clone());
        }
        datasets
    }

    fn tables(&self, dataset: &str) -> Vec<String> {
        let mut tables = self.inner.tables(dataset);
        if self.is_prices(dataset, TABLE) && !tables.iter().any(|name| name == TABLE) {
            tables.push(TABLE.to_owned());
        }
        tables
    }

    fn table(&self, dataset: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.inner
            .table(dataset, name)
            .or_else(|| self.is_prices(dataset, name).then(|| Arc::clone(&self.prices)))
    }

    fn version(&self, dataset: &str, name: &str) -> Option<u64> {
        // The prices are read once, at the start.
        self.inner.version(dataset, name).or_else(|| self.is_prices(dataset, name).then_some(0))
    }
}

fn read(path: &Path) -> Result<String, SqlError> {
    let failed = |reason: String| {
        SqlError::invalid(format!("cannot read the prices in {}: {reason}", path.display()))
            .hint("check sql.prices_file; without it the built-in prices are used")
    };
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("the file has {size} bytes, the limit is {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

/// One line of the file.
struct Price {
    model: String,
    valid_from: NaiveDate,
    input_tokens_from: i64,
    /// USD per million tokens: input, cached, output, thought.
    usd: [f64; 4],
}

/// The rows of a file of prices. `source` is how errors call it.
fn parse(text: &str, source: &str) -> Result<RecordBatch, SqlError> {
    let wrong = |line: usize, reason: String| {
        SqlError::invalid(format!("{source}, line {line}: {reason}")).hint(format!("a line is {HEAD}"))
    };
    // Spreadsheets put a byte order mark first.
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_end).enumerate();
    match lines.next() {
        Some((_, head)) if head == HEAD => {}
        _ => return Err(wrong(1, "the first line must name the columns".to_owned())),
    }
    let mut seen = BTreeSet::new();
    let mut prices = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let number = index + 1;
        if prices.len() == ROWS_MAX {
            return Err(wrong(number, format!("more than {ROWS_MAX} prices")));
        }
        let price = parse_line(line).map_err(|reason| wrong(number, reason))?;
        if !seen.insert((price.model.clone(), price.valid_from, price.input_tokens_from)) {
            return Err(wrong(
                number,
                format!(
                    "a second price of {} from {} and {} input tokens on",
                    price.model, price.valid_from, price.input_tokens_from
                ),
            ));
        }
        prices.push(price);
    }
    columns(&prices).map_err(|error| SqlError::internal(error.to_string()))
}

fn parse_line(line: &str) -> Result<Price, String> {
    let fields: Vec<_> = line.split(',').map(str::trim).collect();
    let [model, valid_from, input_tokens_from, usd @ ..] = fields.as_slice() else {
        return Err(format!("{} fields instead of 7", fields.len()));
    };
    let usd: [&str; 4] = usd.try_into().map_err(|_| format!("{} fields instead of 7", fields.len()))?;
    if model.is_empty() || model.contains('"') {
        return Err("a model's name is not empty and has no quotes".to_owned());
    }
    let valid_from = NaiveDate::parse_from_str(valid_from, "%Y-%m-%d")
        .map_err(|_| format!("valid_from is {valid_from:?}, not a day like 2026-01-31"))?;
    let input_tokens_from =
        input_tokens_from.parse::<i64>().ok().filter(|count| *count >= 0).ok_or_else(|| {
            format!("input_tokens_from is {input_tokens_from:?}, not a number of tokens from 0 on")
        })?;
    let mut parsed = [0.0; 4];
    for ((text, name), value) in usd.iter().zip(["input", "cached", "output", "thought"]).zip(&mut parsed) {
        *value =
            text.parse::<f64>().ok().filter(|price| price.is_finite() && *price >= 0.0).ok_or_else(|| {
                format!("{name} is {text:?}, not a price in USD per million tokens from 0 on")
            })?;
    }
    Ok(Price { model: (*model).to_owned(), valid_from, input_tokens_from, usd: parsed })
}

fn columns(prices: &[Price]) -> Result<RecordBatch, ArrowError> {
    let fields = [
        ("model", DataType::Utf8),
        ("valid_from", DataType::Date32),
        ("input_tokens_from", DataType::Int64),
        ("input", DataType::Float64),
        ("cached", DataType::Float64),
        ("output", DataType::Float64),
        ("thought", DataType::Float64),
    ];
    let schema = Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec());
    let days = prices.iter().map(|price| price.valid_from.to_epoch_days());
    let usd = |index: usize| prices.iter().map(move |price| price.usd.get(index).copied());
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(StringArray::from_iter_values(prices.iter().map(|price| price.model.as_str()))),
            Arc::new(Date32Array::from_iter_values(days)),
            Arc::new(Int64Array::from_iter_values(prices.iter().map(|price| price.input_tokens_from))),
            Arc::new(usd(0).collect::<Float64Array>()),
            Arc::new(usd(1).collect::<Float64Array>()),
            Arc::new(usd(2).collect::<Float64Array>()),
            Arc::new(usd(3).collect::<Float64Array>()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_prices_are_read() {
        let rows = parse(BUILT_IN, "built in").unwrap();
        assert_eq!(rows.num_rows(), BUILT_IN.lines().count() - 1);
        assert!(rows.num_rows() > 10);
    }

    #[test]
    fn spreadsheets_are_read() {
        let rows = parse(&format!("\u{feff}{HEAD}\r\nm, 2026-01-01 ,0,1,.5,2e0,0\r\n\r\n"), "f").unwrap();
        assert_eq!(rows.num_rows(), 1);
        assert_eq!(parse(HEAD, "f").unwrap().num_rows(), 0);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = "m,2026-01-01,0,1,1,1,1";
        for (lines, line, reason) in [
            (vec!["m,2026-01-01,0,1,1,1"], 2, "6 fields"),
            (vec![good, "m,2026-01-01,0,1,1,1,1,1"], 3, "8 fields"),
            (vec!["", good, good], 4, "a second price of m"),
            (vec![",2026-01-01,0,1,1,1,1"], 2, "name"),
            (vec!["m,01.01.2026,0,1,1,1,1"], 2, "valid_from"),
            (vec!["m,2026-02-30,0,1,1,1,1"], 2, "valid_from"),
            (vec!["m,2026-01-01,-1,1,1,1,1"], 2, "input_tokens_from"),
            (vec!["m,2026-01-01,0,1,1,1,-1"], 2, "thought is \"-1\""),
            (vec!["m,2026-01-01,0,1,NaN,1,1"], 2, "cached"),
            (vec!["m,2026-01-01,0,1,1,inf,1"], 2, "output"),
            (vec!["m,2026-01-01,0,free,1,1,1"], 2, "input is \"free\""),
        ] {
            let error = parse(&format!("{HEAD}\n{}", lines.join("\n")), "prices.csv").unwrap_err();
            assert!(error.message.starts_with(&format!("prices.csv, line {line}: ")), "{error:?}");
            assert!(error.message.contains(reason), "{error:?}");
        }
        assert!(parse("", "f").unwrap_err().message.contains("line 1"));
        assert!(parse(good, "f").unwrap_err().message.contains("name the columns"));
        let many: String = (0..=ROWS_MAX).map(|row| format!("m{row},2026-01-01,0,1,1,1,1\n")).collect();
        let error = parse(&format!("{HEAD}\n{many}"), "f").unwrap_err();
        assert!(error.message.contains("more than 10000 prices"), "{error:?}");
    }
}
