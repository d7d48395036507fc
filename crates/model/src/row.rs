//! The far side of the seam: where outcomes and cells go.

use crate::{ErrorClass, Failure};

/// A top-level column of the table that is being written, as [`RowSink::column`] numbered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnId(pub u16);

/// One value on its way into a column. What a column takes is decided by its type, by the same rules
/// whether a value comes as a cell or inside a row of JSON text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A JSON boolean.
    Bool(bool),
    /// A JSON number without fraction or exponent that fits 64 bits.
    Int64(i64),
    /// Any other JSON number.
    Float64(f64),
    /// A JSON string, unescaped.
    String(&'a str),
    /// Anything, as JSON text: the only way to fill RECORD and REPEATED columns.
    Json(&'a str),
}

/// Why a cell or row was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CellError {
    /// The kind of refusal.
    pub class: ErrorClass,
    /// Which field and why, for a person.
    pub message: String,
}

/// Takes the outcomes of a run of messages, in message order, and builds the table's columns.
///
/// For every message exactly one of these happens: a row is begun, filled and finished;
/// [`filtered`](Self::filtered); or [`dead_letter`](Self::dead_letter). A refused cell or row leaves
/// the row unfinished: the caller answers with `dead_letter`, which forgets what was put so far.
/// A producer either puts a whole row as JSON text ([`put_json_row`](Self::put_json_row), what an
/// interpreted UDF returns) or cell by cell ([`put`](Self::put), what a native plan does). One that has
/// begun cell by cell may still put the whole row as text instead, also when a cell or the end of the row
/// was refused: that begins the row again, and the text alone decides what becomes of it.
pub trait RowSink {
    /// The column of that name, compared without case as BigQuery does; `None` when there is none.
    /// Looked up once per transform, not once per message.
    fn column(&self, name: &str) -> Option<ColumnId>;

    /// Puts one cell of the row of message `message` (its index in the batch).
    ///
    /// # Errors
    /// When the value does not fit the column.
    fn put(&mut self, message: usize, column: ColumnId, cell: Cell<'_>) -> Result<(), CellError>;

    /// Longest row as JSON text, in bytes. Cells are not JSON text: who puts cells must keep to it.
    fn row_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Puts all cells of the row of message `message` from the text of a JSON object; forgets what was put
    /// cell by cell.
    ///
    /// # Errors
    /// When the text is not a JSON object, names an unknown column, or a value does not fit.
    fn put_json_row(&mut self, message: usize, row: &str) -> Result<(), CellError>;

    /// Ends the row of message `message`; columns not put are null.
    ///
    /// # Errors
    /// When a REQUIRED column was not put.
    fn finish_row(&mut self, message: usize) -> Result<(), CellError>;

    /// The UDF asked for message `message` to be left out.
    fn filtered(&mut self, message: usize);

    /// Message `message` failed.
    fn dead_letter(&mut self, message: usize, failure: Failure);
}
