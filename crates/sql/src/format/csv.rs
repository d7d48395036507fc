//! RFC 4180: a head line, commas, quotes where they are needed, `\n` at the end of lines.

use std::io::Write;

use super::FormatError;
use crate::functions::cell_text;
use crate::result::QueryResult;

/// Writes a result as CSV and returns the number of rows. NULL is an empty field and an empty string is
/// `""`; times are as CAST AS STRING gives them, arrays and structs are JSON.
///
/// # Errors
/// When the query or the output fails.
pub async fn write_csv(mut result: QueryResult, out: &mut impl Write) -> Result<usize, FormatError> {
    let fields = result.fields();
    let names: Vec<_> = result.columns.iter().map(|column| quoted(&column.name)).collect();
    writeln!(out, "{}", names.join(","))?;
    let mut rows = 0;
    let mut line = String::new();
    while let Some(batch) = result.next().await? {
        for row in 0..batch.num_rows() {
            line.clear();
            for (index, (field, column)) in fields.iter().zip(batch.columns()).enumerate() {
                if index > 0 {
                    line.push(',');
                }
                if let Some(text) = cell_text(field, column, row) {
                    line.push_str(&quoted(&text));
                }
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        rows += batch.num_rows();
    }
    out.flush()?;
    Ok(rows)
}

fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    match text.is_empty() || text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")).into(),
        false => text.into(),
    }
}
