//! How two rows of the same table differ, column by column.

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millrace_model::names::HIDDEN_COLUMNS;
use serde::{Deserialize, Serialize};

/// Longest text of a cell in a sample, in bytes.
const CELL_BYTES_MAX: usize = 200;

/// One column of one row in two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnChange {
    /// The column.
    pub column: String,
    /// Its text in the old version, cut to 200 bytes; absent when it is null there.
    pub old: Option<String>,
    /// Its text in the new version.
    pub new: Option<String>,
}

/// The columns in which row `old_row` of `old` and row `new_row` of `new` differ, hidden ones left out.
/// A column that only one of them has differs.
pub(crate) fn changed_columns(
    old: &RecordBatch,
    old_row: usize,
    new: &RecordBatch,
    new_row: usize,
) -> Vec<ColumnChange> {
    let (old_schema, new_schema) = (old.schema_ref(), new.schema_ref());
    let only_new =
        new_schema.fields().iter().filter(|field| old_schema.column_with_name(field.name()).is_none());
    let names = old_schema.fields().iter().chain(only_new).map(|field| field.name().as_str());
    names
        .filter(|name| !HIDDEN_COLUMNS.contains(name))
        .filter_map(|name| {
            let cell =
                |batch: &RecordBatch, row| batch.column_by_name(name).map(|column| column.slice(row, 1));
            let (was, is) = (cell(old, old_row), cell(new, new_row));
            if was == is {
                return None;
            }
            let text = |cell: Option<_>| cell.and_then(|cell| text(&cell));
            Some(ColumnChange { column: name.to_owned(), old: text(was), new: text(is) })
        })
        .collect()
}

/// The first `bytes_max` bytes of a text, and what was left out.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max);
    format!("{}... ({} more bytes)", &text[..end], text.len() - end)
}

/// A cell as text; `None` when it is null.
fn text(cell: &std::sync::Arc<dyn Array>) -> Option<String> {
    if cell.is_null(0) {
        return None;
    }
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(cell.as_ref(), &options).ok()?;
    Some(cut(&formatter.value(0).to_string(), CELL_BYTES_MAX))
}
