//! Outcomes and cells into a table's record batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use millrace_model::{Cell, CellError, ColumnId, ErrorClass, Failure, MessageBatch, RowSink};

use crate::arrays::into_array;
use crate::column::Column;
use crate::convert::Scalar;
use crate::fault::Fault;
use crate::hidden::{Hidden, event_day, publish_day};
use crate::json::{Kind, Reader};
use crate::record::Record;
use crate::spec::TableSpec;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has a row.
    Written,
    /// The UDF left it out.
    Filtered,
    /// It failed; its [`Failure`] is among the failures.
    DeadLettered,
}

/// What a [`RowBuilder`] made of a run of messages.
#[derive(Debug, Clone)]
pub struct BuiltRows {
    /// The rows of the messages that were written, in message order, hidden columns included; of the
    /// table's Arrow schema.
    pub rows: RecordBatch,
    /// One for each message of the run, in order.
    pub outcomes: Vec<Outcome>,
    /// The failures: index of the message in its batch, and why.
    pub failures: Vec<(usize, Failure)>,
}

/// Why there is no batch: nothing that a message can cause.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The calls did not follow the order that [`RowSink`] asks for, so outcomes cannot be told.
    #[error("rows of table {table}: {what}: this is a mistake in the transform, not in the data")]
    Misuse {
        /// The table.
        table: String,
        /// The first wrong call.
        what: String,
    },
    /// The window is larger than a record batch can be.
    #[error("rows of table {table}: {reason}")]
    TooLarge {
        /// The table.
        table: String,
        /// Which limit.
        reason: String,
    },
    /// Arrow refused the columns.
    #[error("rows of table {table} are not a record batch: {source}")]
    Arrow {
        /// The table.
        table: String,
        /// Why.
        source: ArrowError,
    },
}

/// The row that is being put.
#[derive(Default)]
struct OpenRow {
    message: usize,
    /// Text put so far.
    bytes: usize,
    /// Whether it was put as JSON text, not cell by cell.
    is_text: bool,
    /// The refusal, once there was one: the row cannot be finished any more.
    refused: Option<CellError>,
}

/// Builds the columns of one table for a run of consecutive messages of one batch.
pub struct RowBuilder {
    spec: Arc<TableSpec>,
    batch: Arc<MessageBatch>,
    topic: String,
    partition: Option<usize>,
    record: Record,
    hidden: Hidden,
    rows: usize,
    open: Option<OpenRow>,
    first: Option<usize>,
    outcomes: Vec<Outcome>,
    failures: Vec<(usize, Failure)>,
    scratch: Vec<u8>,
    misuse: Option<String>,
}

impl RowBuilder {
    /// A builder without rows. `batch` is the one whose messages the outcomes will be of.
    #[must_use]
    pub fn new(spec: Arc<TableSpec>, batch: Arc<MessageBatch>) -> Self {
        Self {
            topic: batch.topic().to_string(),
            partition: spec.partition_index(),
            record: Record::new(spec.schema.fields()),
            hidden: Hidden::new(),
            rows: 0,
            open: None,
            first: None,
            outcomes: Vec::new(),
            failures: Vec::new(),
            scratch: Vec::new(),
            misuse: None,
            spec,
            batch,
        }
    }

    /// The rows, outcomes and failures of the messages so far.
    ///
    /// # Errors
    /// When the calls were out of order or the columns do not make a batch; see [`BuildError`].
    pub fn finish(mut self) -> Result<BuiltRows, BuildError> {
        if let Some(open) = self.open.take() {
            self.misused(format!("the row of message {} was not finished", open.message));
        }
        let table = self.spec.name.clone();
        if let Some(what) = self.misuse {
            return Err(BuildError::Misuse { table, what });
        }
        let rows = record_batch(&self.spec, self.record, self.hidden)
            .map_err(|source| BuildError::Arrow { table, source })?;
        Ok(BuiltRows { rows, outcomes: self.outcomes, failures: self.failures })
    }

    /// The row of `message`, begun if it was not.
    fn open(&mut self, message: usize) -> Result<&mut OpenRow, CellError> {
        if self.open.as_ref().is_some_and(|open| open.message != message) {
            self.misused(format!("a cell of message {message} came before the row before it was finished"));
        }
        self.check_turn(message);
        if let Some(what) = &self.misuse {
            return Err(CellError { class: ErrorClass::SinkRejected, message: what.clone() });
        }
        let open = self.open.get_or_insert_with(|| OpenRow { message, ..OpenRow::default() });
        match &open.refused {
            Some(refused) => Err(refused.clone()),
            None => Ok(open),
        }
    }

    /// Notes a message that is not the next one.
    fn check_turn(&mut self, message: usize) {
        let expected = *self.first.get_or_insert(message) + self.outcomes.len();
        if message != expected || message >= self.batch.len() {
            self.misused(format!("message {message} came where {expected} was due"));
        }
    }

    fn misused(&mut self, what: String) {
        self.misuse.get_or_insert(what);
    }

    /// Counts text against the row limit.
    fn weigh(&mut self, message: usize, bytes: usize) -> Result<(), CellError> {
        let limit = self.spec.row_bytes_max;
        let open = self.open(message)?;
        open.bytes = open.bytes.saturating_add(bytes);
        let total = open.bytes;
        if total > limit {
            let reason = format!("the row has {total} bytes, the table takes at most {limit}");
            return self.refuse(Fault::new(ErrorClass::TooLarge, reason));
        }
        Ok(())
    }

    /// Remembers the refusal so that the row cannot be finished.
    fn refuse(&mut self, fault: Fault) -> Result<(), CellError> {
        let error = fault.into_cell_error();
        if let Some(open) = &mut self.open {
            open.refused = Some(error.clone());
        }
        Err(error)
    }

    /// Ends message `message` without a row.
    fn close(&mut self, message: usize, outcome: Outcome) {
        self.check_turn(message);
        if self.open.take().is_some_and(|open| open.message != message) {
            self.misused(format!("message {message} ended while another's row was open"));
        }
        self.record.truncate(self.rows);
        self.outcomes.push(outcome);
    }

    /// Completes the columns of the open row, and files it.
    fn end_row(&mut self, message: usize) -> Result<(), Fault> {
        self.record.end_row(self.rows)?;
        let view = self.batch.get(message);
        let day = match self.partition {
            Some(index) => event_day(self.record.columns[index].last_day(), view.publish_time),
            None => publish_day(view.publish_time),
        };
        self.hidden.push(&self.topic, view.offset, day)
    }
}

impl RowSink for RowBuilder {
    fn column(&self, name: &str) -> Option<ColumnId> {
        self.record.find(name).and_then(|index| u16::try_from(index).ok()).map(ColumnId)
    }

    fn put(&mut self, message: usize, column: ColumnId, cell: Cell<'_>) -> Result<(), CellError> {
        let index = usize::from(column.0);
        if index >= self.record.columns.len() {
            self.misused(format!("there is no column {index}"));
        }
        self.weigh(message, cell_bytes(cell))?;
        let column = &mut self.record.columns[index];
        column.truncate(self.rows);
        let put = put_cell(column, cell, &mut self.scratch);
        let name = &column.name;
        put.map_err(|fault| fault.in_field(name)).or_else(|fault| self.refuse(fault))
    }

    fn row_bytes_max(&self) -> usize {
        self.spec.row_bytes_max
    }

    fn put_json_row(&mut self, message: usize, row: &str) -> Result<(), CellError> {
        if self.open.take_if(|open| open.message == message && !open.is_text).is_some() {
            self.record.truncate(self.rows);
        }
        self.open(message)?.is_text = true;
        self.weigh(message, row.len())?;
        let mut reader = Reader::new(row);
        let put = put_row(&mut self.record, self.rows, &mut reader, &mut self.scratch);
        put.or_else(|fault| self.refuse(fault))
    }

    fn finish_row(&mut self, message: usize) -> Result<(), CellError> {
        self.open(message)?;
        if let Err(fault) = self.end_row(message) {
            return self.refuse(fault);
        }
        self.open = None;
        self.rows += 1;
        self.outcomes.push(Outcome::Written);
        Ok(())
    }

    fn filtered(&mut self, message: usize) {
        self.close(message, Outcome::Filtered);
    }

    fn dead_letter(&mut self, message: usize, failure: Failure) {
        self.close(message, Outcome::DeadLettered);
        self.failures.push((message, failure));
    }
}

/// The columns as a batch of the table's Arrow schema.
pub(crate) fn record_batch(
    spec: &TableSpec,
    record: Record,
    hidden: Hidden,
) -> Result<RecordBatch, ArrowError> {
    let schema = spec.arrow_schema();
    let mut arrays = record
        .columns
        .into_iter()
        .zip(schema.fields())
        .map(|(column, field)| into_array(column, field))
        .collect::<Result<Vec<_>, _>>()?;
    arrays.extend(hidden.into_arrays()?);
    RecordBatch::try_new(schema, arrays)
}

/// Reads the text of a row; nothing else may be in it.
fn put_row(
    record: &mut Record,
    row: usize,
    reader: &mut Reader<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), Fault> {
    match reader.peek().map_err(Fault::in_row)? {
        Kind::Object => record.put_object(row, reader, scratch)?,
        other => {
            let kind = match other {
                Kind::Null => "null",
                Kind::Bool => "a boolean",
                Kind::Number => "a number",
                Kind::String => "a string",
                Kind::Array | Kind::Object => "an array",
            };
            // The first letter alone does not make it a word of JSON.
            if matches!(other, Kind::Null | Kind::Bool) {
                reader.skip_value().map_err(Fault::in_row)?;
            }
            return Err(Fault::new(ErrorClass::InvalidJson, format!("it is {kind}")));
        }
    }
    reader.end().map_err(Fault::in_row)
}

fn cell_bytes(cell: Cell<'_>) -> usize {
    match cell {
        Cell::Null | Cell::Bool(_) => 1,
        Cell::Int64(_) | Cell::Float64(_) => size_of::<i64>(),
        Cell::String(text) | Cell::Json(text) => text.len(),
    }
}

/// Appends a cell as the column's next row, by the rules for JSON values.
fn put_cell(column: &mut Column, cell: Cell<'_>, scratch: &mut Vec<u8>) -> Result<(), Fault> {
    match cell {
        Cell::Null => column.put_json(&mut Reader::new("null"), scratch),
        Cell::Bool(value) => column.put_cell(Scalar::Bool(value)),
        Cell::Int64(value) => column.put_cell(Scalar::Number(itoa::Buffer::new().format(value))),
        Cell::Float64(value) if value.is_finite() => {
            column.put_cell(Scalar::Number(ryu_js::Buffer::new().format_finite(value)))
        }
        Cell::Float64(value) => column.put_not_finite(value),
        Cell::String(text) => column.put_cell(Scalar::Text(text)),
        Cell::Json(text) => {
            let mut reader = Reader::new(text);
            let put = column.put_json(&mut reader, scratch);
            put.and_then(|()| reader.end().map_err(Fault::in_row)).map_err(Fault::in_cell)
        }
    }
}
