//! Costs, by a table of prices.

use std::collections::BTreeMap;
use std::path::Path;

use millrace_sql::EngineConfig;

use crate::common::recorded::Entry;
use crate::common::{cells, lines};
use crate::expect::{Cell, Key, check, day, event, groups, model, rows, sum, tokens, user};
use crate::made::{all_entries, engine_over};

const COLUMNS: &str = "day DATE, user_email STRING, model STRING, total_input_tokens INT64, \
                       total_cached_tokens INT64, total_output_tokens INT64, total_thoughts_tokens INT64, \
                       total_tool_tokens INT64, cost_usd FLOAT64";

/// The lines of a file of prices: model, day, tokens, and four prices.
fn price_list(path: &Path) -> Vec<(String, String, i64, [f64; 4])> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let usd = [3, 4, 5, 6].map(|index| fields[index].parse().unwrap());
            (fields[0].to_owned(), fields[1].to_owned(), fields[2].parse().unwrap(), usd)
        })
        .collect()
}

/// What one request costs in USD.
fn cost(entry: &Entry, prices: &[(String, String, i64, [f64; 4])]) -> Option<f64> {
    let count = |kind: &str| tokens(entry, kind).unwrap_or(0);
    let (model, day) = (model(entry)?, day(entry)?);
    let mut fitting: Vec<_> = prices.iter().filter(|price| price.0 == model && price.1 <= day).collect();
    let latest = fitting.iter().map(|price| price.1.clone()).max()?;
    fitting.retain(|price| price.1 == latest && price.2 <= count("input"));
    let (_, _, _, [input, cached, output, thought]) = fitting.into_iter().max_by_key(|price| price.2)?;
    let fresh = count("input") - count("cached_content") + count("tool");
    let million = fresh as f64 * input
        + count("cached_content") as f64 * cached
        + count("output") as f64 * output
        + count("thoughts") as f64 * thought;
    Some(million / 1e6)
}

fn expected(entries: &[Entry], prices: &Path) -> BTreeMap<Key, Vec<Cell>> {
    let prices = price_list(prices);
    let responses = |entry: &Entry| event(entry) == "gemini_cli.api_response";
    rows(groups(entries, responses, |entry| vec![day(entry), user(entry), model(entry)]), |group| {
        let mut cells = ["input", "cached_content", "output", "thoughts", "tool"]
            .map(|kind| sum(group, |entry| tokens(entry, kind)))
            .to_vec();
        let costs: Option<Vec<_>> = group.iter().map(|entry| cost(entry, &prices)).collect();
        cells.push(Cell::Near(costs.map(|costs| costs.iter().sum())));
        cells
    })
}

#[tokio::test]
async fn cost_is_tokens_times_the_price_of_the_day_and_size() {
    let entries = all_entries();
    let expected = expected(&entries, Path::new("../../sql/prices.csv"));
    let unpriced = expected.values().filter(|cells| matches!(cells.last(), Some(Cell::Near(None)))).count();
    assert!(unpriced >= 3 && unpriced * 2 < expected.len(), "{unpriced} of {}", expected.len());
    let engine = engine_over(&entries, EngineConfig::default());
    check(&engine, "vw_cost", COLUMNS, &[0, 1, 2], expected).await;
    // Beyond 200,000 tokens of input: 150,020 x 2.50 + 100,000 x 0.25 + (500 + 100) x 15 = 409,050, and
    // 200,001 x 2.50 + 10 x 15 = 500,152.50; up to them 200,000 x 1.25 + 10 x 10 = 250,100; per million.
    let sql = "SELECT ROUND(cost_usd * 1e7) FROM vw_cost WHERE user_email = 'ann@example.com'";
    let (_, rows) = cells(&engine, sql).await.unwrap();
    assert_eq!(rows, [[Some("11593025".to_owned())]]);
}

#[tokio::test]
async fn prices_of_ones_own_replace_the_built_in_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prices.csv");
    let mut text = "model,valid_from,input_tokens_from,input,cached,output,thought\n".to_owned();
    // Two changes of price within the days of the entries, and tiers that change with them.
    for (day, from, price) in
        [("2026-11-23", 0, 9), ("2026-05-19", 150_000, 5), ("2026-05-19", 0, 4), ("2026-01-01", 0, 1)]
    {
        for model in ["gemini-2.5-pro", "gemini-3.5-flash", "not-in-the-price-list"] {
            text.push_str(&format!("{model},{day},{from},{price},0.5,{price}.5,2\n"));
        }
    }
    write(&path, &text);
    let entries = all_entries();
    let config = EngineConfig { prices_file: Some(path.clone()), ..EngineConfig::default() };
    let engine = engine_over(&entries, config.clone());
    check(&engine, "vw_cost", COLUMNS, &[0, 1, 2], expected(&entries, &path)).await;
    let listed =
        lines(&engine, "SELECT COUNT(*), COUNT(DISTINCT model) FROM `any.telemetry.model_prices`").await;
    assert_eq!(listed.unwrap()[1], "12 | 3");
    write(&path, "model,price\n");
    let catalog = std::sync::Arc::new(crate::common::MemoryCatalog::default());
    let error = millrace_sql::Engine::new(config, catalog).unwrap_err();
    assert!(error.message.contains("prices.csv, line 1"), "{error:?}");
}

fn write(path: &Path, text: &str) {
    use std::io::Write;
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}
