//! What the UDF makes of one message, for people to look at.

use std::cell::RefCell;
use std::sync::Arc;

use millrace_model::{Cell, CellError, ColumnId, Failure, MessageBatch, RowSink, Transform};
use millrace_table::{Outcome, RowBuilder, TableSpec};
use serde_json::{Map, Value};

use crate::transform::guarded;

/// What came of showing one message to a transform.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The row as the transform gave it, JSON text; `None` when it gave none.
    pub output: Option<String>,
    /// Its outcome.
    pub outcome: TriedOutcome,
}

/// An outcome with its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriedOutcome {
    /// It would be a row.
    Written,
    /// It would be left out.
    Filtered,
    /// It would be a dead letter.
    Failed(Failure),
}

/// Shows message `index` of a batch to a transform and keeps what it gives.
///
/// # Errors
/// When the transform broke its contract or panicked.
pub fn try_message(
    transform: &mut dyn Transform,
    spec: &Arc<TableSpec>,
    batch: &Arc<MessageBatch>,
    index: usize,
) -> Result<Tried, String> {
    let rows = RowBuilder::new(Arc::clone(spec), Arc::clone(batch));
    let mut recorder = Recorder { rows, columns: RefCell::default(), cells: Map::new(), row: None };
    guarded(|| transform.transform(batch, index..index + 1, &mut recorder))
        .map_err(|text| format!("the transform panicked: {text}"))?;
    let Recorder { rows, cells, row, .. } = recorder;
    let built = rows.finish().map_err(|error| error.to_string())?;
    let output = row.or_else(|| (!cells.is_empty()).then(|| Value::Object(cells).to_string()));
    let failure = built.failures.into_iter().next().map(|(_, failure)| failure);
    let outcome = match (built.outcomes.first(), failure) {
        (Some(Outcome::Written), _) => TriedOutcome::Written,
        (Some(Outcome::Filtered), _) => TriedOutcome::Filtered,
        (Some(Outcome::DeadLettered), Some(failure)) => TriedOutcome::Failed(failure),
        (Some(Outcome::DeadLettered), None) | (None, _) => {
            return Err("the transform gave no outcome for a message".to_owned());
        }
    };
    Ok(Tried { output, outcome })
}

/// A row sink that remembers what was put.
struct Recorder {
    rows: RowBuilder,
    columns: RefCell<Vec<(ColumnId, String)>>,
    cells: Map<String, Value>,
    row: Option<String>,
}

impl RowSink for Recorder {
    fn column(&self, name: &str) -> Option<ColumnId> {
        let column = self.rows.column(name)?;
        self.columns.borrow_mut().push((column, name.to_owned()));
        Some(column)
    }

    fn put(&mut self, message: usize, column: ColumnId, cell: Cell<'_>) -> Result<(), CellError> {
        let columns = self.columns.borrow();
        let name = columns.iter().find(|(known, _)| *known == column);
        let name = name.map_or_else(|| format!("column {}", column.0), |(_, name)| name.clone());
        drop(columns);
        let value = match cell {
            Cell::Null => Value::Null,
            Cell::Bool(value) => Value::from(value),
            Cell::Int64(value) => Value::from(value),
            Cell::Float64(value) => Value::from(value),
            Cell::String(text) => Value::from(text),
            Cell::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        };
        self.cells.insert(name, value);
        self.rows.put(message, column, cell)
    }

    fn put_json_row(&mut self, message: usize, row: &str) -> Result<(), CellError> {
        self.row = Some(row.to_owned());
        self.rows.put_json_row(message, row)
    }

    fn finish_row(&mut self, message: usize) -> Result<(), CellError> {
        self.rows.finish_row(message)
    }

    fn filtered(&mut self, message: usize) {
        self.rows.filtered(message);
    }

    fn dead_letter(&mut self, message: usize, failure: Failure) {
        self.rows.dead_letter(message, failure);
    }
}
