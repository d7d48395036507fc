//! What is asked of each view, and how long it takes.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::server::{Api, Column};

/// Rows that are read one by one; of larger views, and of those that pass raw JSON through, every column is
/// aggregated, since an answer is limited in rows and bytes.
const ROWS_READ_MAX: u64 = 200_000;
/// Times a hot query is run; the median counts.
const RUNS: usize = 3;
/// A query that takes longer the first time is not run again.
const PATIENCE: Duration = Duration::from_secs(20);

/// A query that reads all of a view.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The view.
    pub view: String,
    /// What the report says.
    pub title: String,
    /// The query.
    pub sql: String,
    /// Rows that it must give; unknown when the view's rows could not be counted.
    rows: Option<u64>,
}

/// How long a query took, or why it has failed.
pub type Timing = Result<Duration, String>;

/// One statement for each view; of those with a row for each record one more, for a single session.
pub fn statements(api: &Api, names: &[String]) -> Result<Vec<Statement>> {
    let session =
        "SELECT session_id FROM telemetry.gemini_analytics_view WHERE session_id IS NOT NULL LIMIT 1";
    let session = api.query(session)?.pop().and_then(|row| Some(row.first()?.as_str()?.to_owned()));
    let session = session.context("no row of gemini_analytics_view has a session")?;
    let mut statements = Vec::new();
    for name in names {
        let table = format!("telemetry.{name}");
        let Ok(rows) = api.query_number(&format!("SELECT COUNT(*) FROM {table}")) else {
            let (title, sql) = (name.clone(), format!("SELECT * FROM {table}"));
            statements.push(Statement { view: name.clone(), title, sql, rows: None });
            continue;
        };
        let whole = |title: String, sql: String, rows: u64| Statement {
            view: name.clone(),
            title,
            sql,
            rows: Some(rows),
        };
        let (columns, _) = api.query_with_columns(&format!("SELECT * FROM {table} LIMIT 1"))?;
        if rows <= ROWS_READ_MAX && !columns.iter().any(is_json) {
            let noun = if rows == 1 { "row" } else { "rows" };
            statements.push(whole(format!("{name} ({rows} {noun})"), format!("SELECT * FROM {table}"), rows));
            continue;
        }
        let title = format!("{name} (all columns of {:.1} M rows aggregated)", rows as f64 / 1e6);
        statements.push(whole(title, format!("SELECT {} FROM {table}", aggregates(&columns)), 1));
        let (typed, json): (Vec<_>, Vec<_>) = columns.iter().cloned().partition(|column| !is_json(column));
        if !json.is_empty() {
            let title = format!("{name} (all columns but JSON of {:.1} M rows aggregated)", rows as f64 / 1e6);
            statements.push(whole(title, format!("SELECT {} FROM {table}", aggregates(&typed)), 1));
        }
        if columns.iter().any(|column| column.name == "session_id") {
            let filter = format!("FROM {table} WHERE session_id = '{session}'");
            let rows = api.query_number(&format!("SELECT COUNT(*) {filter}"))?;
            let title = format!("{name} (the {rows} rows of a session)");
            statements.push(whole(title, format!("SELECT * {filter}"), rows));
        }
    }
    Ok(statements)
}

/// Whether a column is JSON, as text or parsed: nothing but the whole text of every row answers it.
fn is_json(column: &Column) -> bool {
    column.kind == "JSON" || column.name.ends_with("_json")
}

/// An expression for each column that cannot be told without its values.
fn aggregates(columns: &[Column]) -> String {
    let each = columns.iter().map(|Column { name, kind }| match kind.as_str() {
        "STRING" | "BYTES" => format!("SUM(LENGTH(`{name}`))"),
        "INT64" | "FLOAT64" | "NUMERIC" | "BIGNUMERIC" => format!("SUM(`{name}`)"),
        "BOOL" => format!("COUNTIF(`{name}`)"),
        "DATE" | "TIMESTAMP" | "DATETIME" | "TIME" => format!("MAX(`{name}`)"),
        "JSON" => format!("SUM(LENGTH(TO_JSON_STRING(`{name}`)))"),
        _ => format!("COUNT(`{name}`)"),
    });
    std::iter::once("COUNT(*)".to_owned()).chain(each).collect::<Vec<_>>().join(", ")
}

/// The median time of a query that has been run before; of a long one, the time of its first run.
pub fn hot(api: &Api, statement: &Statement) -> Timing {
    let first = once(api, statement)?;
    if first > PATIENCE {
        return Ok(first);
    }
    let mut times = (0..RUNS).map(|_| once(api, statement)).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times[RUNS / 2])
}

/// The time until a query's last row is here.
pub fn once(api: &Api, statement: &Statement) -> Timing {
    let start = Instant::now();
    let rows = api.query(&statement.sql).map_err(|error| short(&format!("{error:#}")))?.len() as u64;
    let time = start.elapsed();
    match statement.rows {
        Some(expected) if rows < expected => Err(format!("{rows} rows instead of {expected}")),
        _ => Ok(time),
    }
}

fn short(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    // The API's own words are inside its JSON.
    let message = line.split_once("\"message\":\"").map_or(line, |(_, message)| message);
    message.split("\"}").next().unwrap_or(message).chars().take(160).collect()
}

/// Asks the kernel to forget the files that it has in memory; `false` when it may not be asked.
pub fn drop_page_cache() -> bool {
    let file = File::options().write(true).open("/proc/sys/vm/drop_caches");
    file.and_then(|mut file| file.write_all(b"1")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_the_words_of_the_api() {
        let body = r#"query failed with 422: {"error":{"code":"resources_exceeded","message":"too large"}}"#;
        assert_eq!(short(&format!("{body}\nSELECT 1")), "too large");
        assert_eq!(short("no answer"), "no answer");
    }

    #[test]
    fn every_column_is_read() {
        let column = |name: &str, kind: &str| Column { name: name.to_owned(), kind: kind.to_owned() };
        let columns = [
            column("day", "DATE"),
            column("user", "STRING"),
            column("n", "INT64"),
            column("l", "ARRAY<INT64>"),
        ];
        assert_eq!(aggregates(&columns), "COUNT(*), MAX(`day`), SUM(LENGTH(`user`)), SUM(`n`), COUNT(`l`)");
    }
}
