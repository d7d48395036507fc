//! Lists as every command prints them.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::cli::Format;

/// Prints rows under column names.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(format: Format, columns: &[&str], rows: &[Vec<Value>]) -> Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Table => {
            let mut table = Table::new();
            table
                .load_preset(presets::UTF8_FULL_CONDENSED)
                .set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(columns);
            for row in rows {
                table.add_row(row.iter().map(text));
            }
            writeln!(out, "{table}")?;
        }
        Format::Json => {
            let objects: Vec<_> = rows.iter().map(|row| object(columns, row)).collect();
            serde_json::to_writer_pretty(&mut out, &objects)?;
            writeln!(out)?;
        }
        Format::Ndjson => {
            for row in rows {
                serde_json::to_writer(&mut out, &object(columns, row))?;
                writeln!(out)?;
            }
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(&mut out);
            writer.write_record(columns)?;
            for row in rows {
                writer.write_record(row.iter().map(text))?;
            }
            writer.flush()?;
        }
    }
    Ok(())
}

fn object(columns: &[&str], row: &[Value]) -> Value {
    columns.iter().zip(row).map(|(column, value)| ((*column).to_owned(), value.clone())).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a command ended because its reader (`| head`) had enough.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
