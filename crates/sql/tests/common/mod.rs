//! What the tests of this crate share: tables in memory and results as lines of text.
#![allow(dead_code, missing_docs)]

pub mod recorded;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use millrace_sql::{Catalog, Engine, EngineConfig, SqlError, format};

/// Tables by dataset and name.
#[derive(Default)]
pub struct MemoryCatalog {
    tables: BTreeMap<(String, String), Arc<dyn TableProvider>>,
}

impl MemoryCatalog {
    pub fn with(self, dataset: &str, name: &str, batch: RecordBatch) -> Self {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        self.with_provider(dataset, name, Arc::new(table))
    }

    pub fn with_provider(mut self, dataset: &str, name: &str, table: Arc<dyn TableProvider>) -> Self {
        self.tables.insert((dataset.to_owned(), name.to_owned()), table);
        self
    }
}

impl Catalog for MemoryCatalog {
    fn datasets(&self) -> Vec<String> {
        let mut datasets: Vec<_> = self.tables.keys().map(|(dataset, _)| dataset.clone()).collect();
        datasets.dedup();
        datasets
    }

    fn tables(&self, dataset: &str) -> Vec<String> {
        self.tables.keys().filter(|(known, _)| known == dataset).map(|(_, name)| name.clone()).collect()
    }

    fn table(&self, dataset: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.tables.get(&(dataset.to_owned(), name.to_owned())).map(Arc::clone)
    }
}

fn json(name: &str) -> Field {
    let metadata = HashMap::from([("bigquery_type".to_owned(), "JSON".to_owned())]);
    Field::new(name, DataType::Utf8, true).with_metadata(metadata)
}

pub fn timestamp(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
}

/// The three columns that every lake table has behind its own.
pub fn hidden_fields() -> Vec<Field> {
    vec![
        Field::new("_topic", DataType::Utf8, true),
        Field::new("_offset", DataType::Int64, true),
        Field::new("_event_day", DataType::Date32, true),
    ]
}

pub fn hidden_columns(rows: usize) -> Vec<ArrayRef> {
    vec![
        Arc::new(StringArray::from_iter_values((0..rows).map(|_| "00ff"))),
        Arc::new(Int64Array::from_iter_values(100..100 + rows as i64)),
        Arc::new(Date32Array::from_iter_values((0..rows).map(|_| 20_454))),
    ]
}

/// Four visits; the last has nothing but a name.
fn visits() -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), Some("b")]);
    tags.append_value([] as [Option<&str>; 0]);
    tags.append_value([Some("c"), None]);
    tags.append_null();
    let day = 1_767_225_600_000_000; // 2026-01-01T00:00:00Z
    let mut fields = vec![
        Field::new("userName", DataType::Utf8, true),
        Field::new("Score", DataType::Int64, true),
        Field::new("ratio", DataType::Float64, true),
        timestamp("seen"),
        Field::new("day", DataType::Date32, true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("Tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
        json("doc"),
        Field::new("payload_json", DataType::Utf8, true),
    ];
    fields.extend(hidden_fields());
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["ann", "bob", "ann", "cid"])),
        Arc::new(Int64Array::from(vec![Some(10), Some(20), Some(0), None])),
        Arc::new(Float64Array::from(vec![Some(0.5), Some(1.5), Some(-2.5), None])),
        Arc::new(
            TimestampMicrosecondArray::from(vec![
                Some(day),
                Some(day + 3_600_000_000),
                Some(day + 86_400_000_000),
                None,
            ])
            .with_timezone("UTC"),
        ),
        Arc::new(Date32Array::from(vec![Some(20_454), Some(20_454), Some(20_455), None])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None])),
        Arc::new(tags.finish()),
        Arc::new(StringArray::from(vec![Some(r#"{"a":{"b":1},"l":[1,2]}"#), Some("null"), Some("[]"), None])),
        Arc::new(StringArray::from(vec![
            Some(r#"{"event.name":"x","n":1.50,"nested":{"k":["p","q"]},"flag":true}"#),
            Some(r#"{"event.name":"y","n":null}"#),
            Some("not json"),
            None,
        ])),
    ];
    columns.extend(hidden_columns(4));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// One column `n` of numbers from 0.
fn numbers(count: i64) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..count))]).unwrap()
}

pub fn catalog() -> MemoryCatalog {
    MemoryCatalog::default()
        .with("telemetry", "visits", visits())
        .with("telemetry", "numbers", numbers(1000))
        .with("other", "numbers", numbers(3))
}

pub fn engine(config: EngineConfig, catalog: MemoryCatalog) -> Engine {
    Engine::new(config, Arc::new(catalog)).unwrap()
}

/// A result's columns as `name TYPE`, and its rows as cells of text.
pub async fn cells(engine: &Engine, sql: &str) -> Result<(Vec<String>, Vec<Vec<Option<String>>>), SqlError> {
    let mut result = engine.query(sql).await?;
    let columns =
        result.columns.iter().map(|column| format!("{} {}", column.name, column.type_name)).collect();
    let fields = result.fields();
    let mut rows = Vec::new();
    while let Some(batch) = result.next().await? {
        let cells = |row| {
            let columns = fields.iter().zip(batch.columns());
            columns.map(|(field, column)| format::cell_text(field, column, row)).collect()
        };
        rows.extend((0..batch.num_rows()).map(cells));
    }
    Ok((columns, rows))
}

/// A result as lines: cells between ` | `, NULL as NULL, behind a line of names and types.
pub async fn lines(engine: &Engine, sql: &str) -> Result<Vec<String>, SqlError> {
    let (columns, rows) = cells(engine, sql).await?;
    let row = |row: Vec<Option<String>>| {
        row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_owned())).collect::<Vec<_>>().join(" | ")
    };
    Ok(std::iter::once(columns.join(" | ")).chain(rows.into_iter().map(row)).collect())
}
