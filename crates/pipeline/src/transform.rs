//! A worker's work: messages of a chunk to rows, whatever the messages and the transform do.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use millrace_model::{
    Cell, CellError, ColumnId, ErrorClass, Failure, MessageBatch, Offset, RowSink, Stage, Transform,
};
use millrace_table::{BuiltRows, Outcome, RowBuilder, TableSpec};

use crate::chunk::{Chunk, Transformed};
use crate::ledger::Tally;
use crate::plan::Fill;

/// A part is complete when this much text was put into its rows: a transform may make ten megabytes of
/// each message of a few bytes, and a column has 2 GiB at most.
const PART_TEXT_BYTES_MAX: usize = 32 << 20;

/// How many messages a transform is shown at first, before it is known how much it makes of one.
pub(crate) const RUN_MESSAGES_FIRST: usize = 16;

/// Transforms a chunk and gives what came of it to `emit`, in order, in one part unless it is very
/// much; `emit` answers whether to go on.
///
/// Messages that are in the dead-letter table already are not shown to the transform. One that makes it
/// panic becomes a dead letter, and the worker goes on with a new transform.
///
/// # Errors
/// When the transform broke its contract (not exactly one outcome for each message, in order), or no new
/// one can be made.
pub(crate) fn transform_chunk(
    transform: &mut Box<dyn Transform>,
    spec: &Arc<TableSpec>,
    chunk: &Chunk,
    mut emit: impl FnMut(Transformed, bool) -> bool,
) -> Result<(), String> {
    let batch = &chunk.batch;
    let (dead, panicked) = (already_dead(chunk), Vec::new());
    let mut work = Work { spec, chunk, to: batch.len(), dead, panicked, stop: None };
    let (mut from, mut start) = (0, chunk.start);
    loop {
        let (built, to) = work.part(transform, from)?;
        let last = to == batch.len();
        let end = if last { chunk.end } else { batch.get(to - 1).offset.plus(1) };
        let part = work.finish(built, from, to, start, end)?;
        if !emit(part, last) || last {
            return Ok(());
        }
        (from, start) = (to, end);
    }
}

/// What a transform makes of a few messages of a chunk, [`RUN_MESSAGES_FIRST`] at most, so that it is one
/// part; `None` when `stop`, which is asked between two messages, said so before their end. For trying a
/// version: nothing of the chunk but its messages and its version matters.
///
/// # Errors
/// As [`transform_chunk`].
pub(crate) fn transform_few(
    transform: &mut Box<dyn Transform>,
    spec: &Arc<TableSpec>,
    chunk: &Chunk,
    range: Range<usize>,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Transformed>, String> {
    let (dead, panicked) = (Vec::new(), Vec::new());
    let mut work = Work { spec, chunk, to: range.end, dead, panicked, stop: Some(stop) };
    let (built, to) = work.part(transform, range.start)?;
    if to < range.end || range.is_empty() {
        return Ok(None);
    }
    let offset = |index: usize| chunk.batch.get(index).offset;
    work.finish(built, range.start, to, offset(range.start), offset(to - 1).plus(1)).map(Some)
}

/// The indexes of the chunk's messages that are dead letters already, ascending.
fn already_dead(chunk: &Chunk) -> Vec<usize> {
    if chunk.already_dead.is_empty() {
        return Vec::new();
    }
    let is_dead = |&index: &usize| chunk.already_dead.binary_search(&chunk.batch.get(index).offset).is_ok();
    (0..chunk.batch.len()).filter(is_dead).collect()
}

struct Work<'a> {
    spec: &'a Arc<TableSpec>,
    chunk: &'a Chunk,
    /// Behind the last message that it is about.
    to: usize,
    /// Message indexes, ascending.
    dead: Vec<usize>,
    /// Messages that made the transform panic, ascending, and the texts.
    panicked: Vec<(usize, String)>,
    /// Asked between two messages, where there are few; a part is not bounded by its text then.
    stop: Option<&'a dyn Fn() -> bool>,
}

impl Work<'_> {
    /// Builds the next part; answers it and the index behind its last message.
    fn part(
        &mut self,
        transform: &mut Box<dyn Transform>,
        from: usize,
    ) -> Result<(BuiltRows, usize), String> {
        if let Ok(built) = guarded(|| self.build(transform.as_mut(), from, self.to)) {
            return built;
        }
        *transform = self.chunk.version.take()?;
        self.find_panics(transform, from)?;
        guarded(|| self.build(transform.as_mut(), from, self.to))
            .map_err(|text| format!("the transform panicked again, not for any one message: {text}"))?
    }

    fn is_skipped(&self, index: usize) -> bool {
        self.dead.binary_search(&index).is_ok() || self.panicked.iter().any(|(other, _)| *other == index)
    }

    fn goes_on(&self, rows: &Weighed) -> bool {
        self.stop.map_or(rows.text_bytes < PART_TEXT_BYTES_MAX, |stop| !stop())
    }

    /// One pass over `from..to`, as far as a part goes; skipped messages are filtered for now.
    fn build(
        &self,
        transform: &mut dyn Transform,
        from: usize,
        to: usize,
    ) -> Result<(BuiltRows, usize), String> {
        let batch = &self.chunk.batch;
        let builder = RowBuilder::new(Arc::clone(self.spec), Arc::clone(batch));
        let mut rows = Weighed { rows: builder, text_bytes: 0 };
        let (mut next, mut run) = (from, if self.stop.is_some() { 1 } else { RUN_MESSAGES_FIRST });
        while next < to && self.goes_on(&rows) {
            let before = rows.text_bytes;
            let end = to.min(next + run);
            self.run(transform, next, end, &mut rows);
            if self.stop.is_none() {
                let left = PART_TEXT_BYTES_MAX.saturating_sub(rows.text_bytes);
                run = next_run(end - next, rows.text_bytes - before, left);
            }
            next = end;
        }
        rows.rows.finish().map(|built| (built, next)).map_err(|error| error.to_string())
    }

    /// Shows the messages `from..to` but the skipped ones, in order.
    fn run(&self, transform: &mut dyn Transform, from: usize, to: usize, rows: &mut Weighed) {
        let batch: &MessageBatch = &self.chunk.batch;
        let mut begin = from;
        if !self.dead.is_empty() || !self.panicked.is_empty() {
            for index in (from..to).filter(|&index| self.is_skipped(index)) {
                if begin < index {
                    transform.transform(batch, begin..index, rows);
                }
                rows.filtered(index);
                begin = index + 1;
            }
        }
        if begin < to {
            transform.transform(batch, begin..to, rows);
        }
    }

    /// Shows the messages from `from` on one by one to find those that panic.
    fn find_panics(&mut self, transform: &mut Box<dyn Transform>, from: usize) -> Result<(), String> {
        for index in from..self.to {
            if self.is_skipped(index) {
                continue;
            }
            if let Err(text) = guarded(|| self.build(transform.as_mut(), index, index + 1)) {
                self.panicked.push((index, text));
                *transform = self.chunk.version.take()?;
            }
        }
        Ok(())
    }

    /// Checks what was built of the messages `from..to` and counts it.
    fn finish(
        &self,
        built: BuiltRows,
        from: usize,
        to: usize,
        start: Offset,
        end: Offset,
    ) -> Result<Transformed, String> {
        let BuiltRows { rows, mut outcomes, mut failures } = built;
        let counted =
            (outcomes.len(), count(&outcomes, Outcome::Written), count(&outcomes, Outcome::DeadLettered));
        if counted != (to - from, rows.num_rows(), failures.len()) {
            return Err(format!(
                "the transform gave {} outcomes, {} rows and {} failures for {} messages from offset {start}",
                outcomes.len(),
                rows.num_rows(),
                failures.len(),
                to - from,
            ));
        }
        let mut dead_present = 0;
        for &index in self.dead.iter().filter(|&&index| (from..to).contains(&index)) {
            outcomes[index - from] = Outcome::DeadLettered;
            dead_present += 1;
        }
        for (index, text) in self.panicked.iter().filter(|(index, _)| (from..to).contains(index)) {
            outcomes[index - from] = Outcome::DeadLettered;
            failures.push((*index, panic_failure(text)));
        }
        failures.sort_by_key(|(index, _)| *index);
        let batch = &self.chunk.batch;
        let failure_bytes: usize = failures.iter().map(|(_, failure)| text_bytes(failure)).sum();
        let whole = from == 0 && to == batch.len();
        let fill = Fill {
            messages: to - from,
            payload_bytes: match whole {
                true => batch.data_bytes(),
                false => (from..to).map(|index| batch.get(index).data.len()).sum(),
            },
            built_bytes: rows.get_array_memory_size() + failure_bytes,
        };
        Ok(Transformed {
            start,
            end,
            batch: Arc::clone(batch),
            range: from..to,
            tally: self.tally(&outcomes, dead_present, start, end),
            rows,
            outcomes,
            failures,
            fill,
            ends_window: self.chunk.ends_window && end == self.chunk.end,
            replayed: self.chunk.replayed,
            version: Arc::clone(&self.chunk.version),
            read_at: self.chunk.read_at,
        })
    }

    /// Accounts for every offset of `start..end`. A dead letter whose message has since expired was
    /// read, by the run that put it there.
    fn tally(&self, outcomes: &[Outcome], dead_present: usize, start: Offset, end: Offset) -> Tally {
        let dead = self.chunk.already_dead.iter().filter(|&&offset| (start..end).contains(&offset));
        let dead_expired = (dead.count() - dead_present) as u64;
        let read = outcomes.len() as u64 + dead_expired;
        Tally {
            read,
            written: count(outcomes, Outcome::Written) as u64,
            filtered: count(outcomes, Outcome::Filtered) as u64,
            dead_lettered: count(outcomes, Outcome::DeadLettered) as u64 + dead_expired,
            expired: end.since(start) - read,
        }
    }
}

fn count(outcomes: &[Outcome], wanted: Outcome) -> usize {
    outcomes.iter().filter(|&&outcome| outcome == wanted).count()
}

/// How many messages to show next: at most twice as many as before, fewer when the last `messages`
/// made so much text that `left` would soon be used up.
fn next_run(messages: usize, text_bytes: usize, left: usize) -> usize {
    let each = text_bytes.div_ceil(messages.max(1)).max(1);
    (left / each).clamp(1, messages * 2)
}

/// Runs `work`; a panic in it becomes its text.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever the panic left half done is dropped by every caller: builder and transform alike.
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
    })
}

fn panic_failure(text: &str) -> Failure {
    Failure {
        stage: Stage::Udf,
        class: ErrorClass::UdfThrew,
        message: format!("the transform panicked: {text}"),
        stack: None,
    }
}

fn text_bytes(failure: &Failure) -> usize {
    failure.message.len() + failure.stack.as_ref().map_or(0, String::len)
}

/// A row builder that counts the text put into it.
struct Weighed {
    rows: RowBuilder,
    text_bytes: usize,
}

impl RowSink for Weighed {
    fn column(&self, name: &str) -> Option<ColumnId> {
        self.rows.column(name)
    }

    fn put(&mut self, message: usize, column: ColumnId, cell: Cell<'_>) -> Result<(), CellError> {
        self.text_bytes += match cell {
            Cell::String(text) | Cell::Json(text) => text.len(),
            _ => size_of::<i64>(),
        };
        self.rows.put(message, column, cell)
    }

    fn row_bytes_max(&self) -> usize {
        self.rows.row_bytes_max()
    }

    fn put_json_row(&mut self, message: usize, row: &str) -> Result<(), CellError> {
        self.text_bytes += row.len();
        self.rows.put_json_row(message, row)
    }

    fn finish_row(&mut self, message: usize) -> Result<(), CellError> {
        self.rows.finish_row(message)
    }

    fn filtered(&mut self, message: usize) {
        self.rows.filtered(message);
    }

    fn dead_letter(&mut self, message: usize, failure: Failure) {
        self.text_bytes += text_bytes(&failure);
        self.rows.dead_letter(message, failure);
    }
}
