//! `millrace deadletter`: what could not become a row, with the original bytes.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use millrace_model::MessageId;
use millrace_sql::format;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{DeadLetter, Format};
use crate::config::Config;
use crate::output;
use crate::reader::{Reader, format_error};

/// Lists dead letters, or shows one.
///
/// # Errors
/// When the tables cannot be read, or there is no such dead letter.
pub fn deadletter(config: &Config, command: &DeadLetter) -> Result<()> {
    let reader = Reader::open(config)?;
    match command {
        DeadLetter::List { group: false, limit, format } => list(&reader, *limit, *format),
        DeadLetter::List { group: true, limit, format } => list_grouped(&reader, *limit, *format),
        DeadLetter::Show { message_id, format } => show(&reader, message_id, *format),
    }
}

/// The dead-letter tables as `dataset.table`.
fn tables(reader: &Reader) -> Vec<String> {
    let mut tables: Vec<_> = reader
        .pipelines
        .iter()
        .map(|pipeline| format!("{}.{}", pipeline.plan.dead_letter_dataset, pipeline.plan.dead_letters.name))
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

fn list(reader: &Reader, limit: usize, format: Format) -> Result<()> {
    let columns = ["table", "failed_at", "message_id", "stage", "error_class", "attempts", "error"];
    let select = "failed_at, message_id, stage, error_class, attempts, errorMessage";
    print_newest(reader, &columns, limit, format, |table| {
        format!(
            "SELECT '{table}', {select} FROM `{table}` ORDER BY failed_at DESC, `offset` DESC LIMIT {limit}"
        )
    })
}

fn list_grouped(reader: &Reader, limit: usize, format: Format) -> Result<()> {
    let columns = ["table", "last_seen", "first_seen", "count", "stage", "error_class", "error", "sample"];
    print_newest(reader, &columns, limit, format, |table| {
        format!(
            "SELECT '{table}', MAX(failed_at) AS last_seen, MIN(failed_at), COUNT(*), stage, error_class, \
             errorMessage, MIN(message_id) FROM `{table}` GROUP BY stage, error_class, errorMessage \
             ORDER BY last_seen DESC LIMIT {limit}"
        )
    })
}

/// Prints the newest lines over all tables; the second column is the time that decides.
fn print_newest(
    reader: &Reader,
    columns: &[&str],
    limit: usize,
    format: Format,
    sql: impl Fn(&str) -> String,
) -> Result<()> {
    let mut rows = Vec::new();
    for table in tables(reader) {
        rows.extend(fetch(reader, &sql(&table))?.rows);
    }
    let time = |row: &Vec<Value>| row.get(1).and_then(Value::as_str).unwrap_or_default().to_owned();
    rows.sort_by_key(|row| std::cmp::Reverse(time(row)));
    rows.truncate(limit);
    output::print(format, columns, &rows)
}

fn show(reader: &Reader, message_id: &str, format: Format) -> Result<()> {
    // Parsed, so that what goes into the query is an id and nothing else.
    let id: MessageId = message_id.parse().context("`millrace deadletter list` shows the ids")?;
    for table in tables(reader) {
        let found = fetch(reader, &format!("SELECT * FROM `{table}` WHERE message_id = '{id}'"))?;
        let Some(row) = found.rows.into_iter().next() else { continue };
        let names: Vec<_> = found.columns.iter().map(|column| column.name.as_str()).collect();
        if format == Format::Table {
            let lines: Vec<_> = names.iter().zip(row).map(|(name, value)| vec![json!(name), value]).collect();
            return output::print(format, &["column", "value"], &lines);
        }
        return output::print(format, &names, &[row]);
    }
    bail!("no dead letter {id}: `millrace deadletter list` shows the ids");
}

#[derive(Deserialize)]
struct Fetched {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

fn fetch(reader: &Reader, sql: &str) -> Result<Fetched> {
    let started = Instant::now();
    reader.query(sql, async |result| {
        let mut text = Vec::new();
        format::write_json(result, started, &mut text).await.map_err(format_error)?;
        serde_json::from_slice(&text).context("the engine's answer is not JSON")
    })
}
