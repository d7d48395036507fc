//! JSON: the HTTP API's answer, and one object a line.

use std::io::Write;
use std::time::Instant;

use super::FormatError;
use crate::functions::{cell_text, normal_string, write_json as write_value};
use crate::result::QueryResult;
use crate::types::is_json;

/// Writes `{"columns": [{"name", "type"}], "rows": [[...]], "elapsed_ms": n}` and returns the number of
/// rows. INT64 beyond 2^53, NaN and infinities, times (RFC 3339), bytes (base64) and JSON are strings.
/// When it fails, what was written so far is not JSON: a caller that must answer with an error instead
/// writes to memory first.
///
/// # Errors
/// When the query or the output fails.
pub async fn write_json(
    mut result: QueryResult,
    started: Instant,
    out: &mut impl Write,
) -> Result<usize, FormatError> {
    let fields = result.fields();
    let columns = serde_json::to_string(&result.columns).map_err(std::io::Error::from)?;
    write!(out, "{{\"columns\":{columns},\"rows\":[")?;
    let mut rows = 0;
    let mut text = String::new();
    while let Some(batch) = result.next().await? {
        for row in 0..batch.num_rows() {
            text.clear();
            text.push_str(if rows + row > 0 { ",\n[" } else { "\n[" });
            for (index, (field, column)) in fields.iter().zip(batch.columns()).enumerate() {
                if index > 0 {
                    text.push(',');
                }
                match cell_text(field, column, row).filter(|_| is_json(field)) {
                    Some(json) => normal_string(&json, &mut text),
                    None => write_value(field, column, row, &mut text),
                }
            }
            text.push(']');
            out.write_all(text.as_bytes())?;
        }
        rows += batch.num_rows();
    }
    write!(out, "],\"elapsed_ms\":{}}}", started.elapsed().as_millis())?;
    out.flush()?;
    Ok(rows)
}

/// Writes one JSON object a line and returns the number of rows. As [`write_json`], but a JSON column's
/// values stand as they are.
///
/// # Errors
/// When the query or the output fails.
pub async fn write_ndjson(mut result: QueryResult, out: &mut impl Write) -> Result<usize, FormatError> {
    let fields = result.fields();
    let mut rows = 0;
    let mut text = String::new();
    while let Some(batch) = result.next().await? {
        for row in 0..batch.num_rows() {
            text.clear();
            text.push('{');
            for (index, (field, column)) in fields.iter().zip(batch.columns()).enumerate() {
                if index > 0 {
                    text.push(',');
                }
                normal_string(field.name(), &mut text);
                text.push(':');
                write_value(field, column, row, &mut text);
            }
            text.push_str("}\n");
            out.write_all(text.as_bytes())?;
        }
        rows += batch.num_rows();
    }
    out.flush()?;
    Ok(rows)
}
