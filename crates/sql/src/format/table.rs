//! An aligned table for a terminal.

use std::io::Write;

use unicode_width::UnicodeWidthStr;

use super::FormatError;
use crate::functions::cell_text;
use crate::result::QueryResult;

/// Rows that are looked at to find how wide columns are. Later rows are not held back; one that is wider
/// pushes its neighbours aside.
const SAMPLE_ROWS: usize = 1000;
/// Widest cell, in terminal columns; what is longer is cut and ends in an ellipsis.
const CELL_WIDTH_MAX: usize = 80;

/// Writes a result as a table and returns the number of rows. Numbers stand on the right, NULL is
/// `NULL`, line breaks and other control characters are shown as spaces.
///
/// # Errors
/// When the query or the output fails.
pub async fn write_table(mut result: QueryResult, out: &mut impl Write) -> Result<usize, FormatError> {
    let fields = result.fields();
    let names: Vec<_> = result.columns.iter().map(|column| cell(Some(column.name.clone()))).collect();
    let right: Vec<_> = result
        .columns
        .iter()
        .map(|column| matches!(column.type_name.as_str(), "INT64" | "FLOAT64" | "NUMERIC"))
        .collect();
    let mut sample: Vec<Vec<String>> = Vec::new();
    let mut widths: Option<Vec<usize>> = None;
    let mut rows = 0;
    while let Some(batch) = result.next().await? {
        for row in 0..batch.num_rows() {
            let cells: Vec<_> = fields
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| cell(cell_text(field, column, row)))
                .collect();
            match &widths {
                Some(widths) => write_row(out, &cells, widths, &right)?,
                None => sample.push(cells),
            }
            if widths.is_none() && sample.len() == SAMPLE_ROWS {
                widths = Some(write_head(out, &names, &sample, &right)?);
                sample.clear();
            }
        }
        rows += batch.num_rows();
    }
    if widths.is_none() {
        write_head(out, &names, &sample, &right)?;
    }
    writeln!(out, "({rows} {})", if rows == 1 { "row" } else { "rows" })?;
    out.flush()?;
    Ok(rows)
}

/// The head, the rows of the sample, and the widths that they gave.
fn write_head(
    out: &mut impl Write,
    names: &[String],
    sample: &[Vec<String>],
    right: &[bool],
) -> Result<Vec<usize>, FormatError> {
    let widths: Vec<_> = (0..names.len())
        .map(|column| {
            let cells = sample.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).chain([names[column].width()]).max().unwrap_or(0)
        })
        .collect();
    write_row(out, names, &widths, right)?;
    let lines: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
    write_row(out, &lines, &widths, right)?;
    for row in sample {
        write_row(out, row, &widths, right)?;
    }
    Ok(widths)
}

fn write_row(
    out: &mut impl Write,
    cells: &[String],
    widths: &[usize],
    right: &[bool],
) -> Result<(), FormatError> {
    let mut line = String::new();
    for ((cell, width), right) in cells.iter().zip(widths).zip(right) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let padding = " ".repeat(width.saturating_sub(cell.width()));
        if *right {
            line.push_str(&padding);
            line.push_str(cell);
        } else {
            line.push_str(cell);
            line.push_str(&padding);
        }
    }
    writeln!(out, "{}", line.trim_end())?;
    Ok(())
}

/// A value as it fits a cell.
fn cell(text: Option<String>) -> String {
    let Some(text) = text else { return "NULL".to_owned() };
    let mut out = String::new();
    let mut width = 0;
    for character in text.chars() {
        let character = if character.is_control() { ' ' } else { character };
        let wide = unicode_width::UnicodeWidthChar::width(character).unwrap_or(0);
        if width + wide > CELL_WIDTH_MAX {
            out.push('…');
            break;
        }
        width += wide;
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_one_line_and_bounded() {
        assert_eq!(cell(None), "NULL");
        assert_eq!(cell(Some("a\nb".to_owned())), "a b");
        let long = cell(Some("日".repeat(100)));
        assert!(long.ends_with('…') && long.width() <= CELL_WIDTH_MAX + 1);
    }
}
