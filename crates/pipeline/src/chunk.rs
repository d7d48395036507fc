//! A chunk: the run of messages that one worker transforms at once, before and after.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::RecordBatch;
use millrace_model::{
    ErrorClass, Failure, MessageBatch, Offset, RowSink, Stage, Transform, TransformFactory, UdfHash,
};
use millrace_table::{BuiltRows, Outcome, RowBuilder, TableSpec};

use crate::ledger::Tally;
use crate::plan::Fill;

/// One version of the transform, and a ready transform of it for each worker: a swap cannot fail half
/// way.
pub(crate) struct Version {
    pub number: u64,
    pub udf_hash: Option<UdfHash>,
    factory: Arc<dyn TransformFactory>,
    spares: Mutex<Vec<Box<dyn Transform>>>,
}

impl Version {
    pub fn new(number: u64, factory: Arc<dyn TransformFactory>, workers: usize) -> Result<Self, String> {
        let spares = (0..workers).map(|_| factory.create()).collect::<Result<_, _>>()?;
        Ok(Self { number, udf_hash: factory.udf_hash(), factory, spares: Mutex::new(spares) })
    }

    /// A transform for one worker: a ready one, else a new one.
    pub fn take(&self) -> Result<Box<dyn Transform>, String> {
        let ready = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
        ready.map_or_else(|| self.factory.create(), Ok)
    }
}

/// Consecutive offsets on their way to a worker.
pub(crate) struct Chunk {
    /// The offsets that it deals with; those without a message in `batch` have expired.
    pub start: Offset,
    pub end: Offset,
    pub batch: Arc<MessageBatch>,
    /// Those of `start..end` that are in the dead-letter table already, ascending.
    pub already_dead: Vec<Offset>,
    /// Whether the window must end with it: the dead-letter table ends there.
    pub ends_window: bool,
    /// Whether it lies before the dead-letter table's end, so that no window closes by age here.
    pub replayed: bool,
    pub version: Arc<Version>,
    pub read_at: Instant,
}

/// A chunk that a worker is done with.
pub(crate) struct Transformed {
    pub chunk: Chunk,
    pub rows: RecordBatch,
    /// One for each message of the batch; a message that is dead already counts as dead-lettered.
    pub outcomes: Vec<Outcome>,
    /// New failures by message index, ascending.
    pub failures: Vec<(usize, Failure)>,
    pub tally: Tally,
    pub fill: Fill,
}

/// Transforms a chunk. Messages that are in the dead-letter table already are not shown to the
/// transform. One that makes it panic becomes a dead letter, and the worker goes on with a new one.
///
/// # Errors
/// When the transform broke its contract (not exactly one outcome for each message), or no new one can
/// be made.
pub(crate) fn transform_chunk(
    transform: &mut Box<dyn Transform>,
    spec: &Arc<TableSpec>,
    chunk: Chunk,
) -> Result<Transformed, String> {
    let batch = &chunk.batch;
    let dead: Vec<usize> = (0..batch.len())
        .filter(|&index| chunk.already_dead.binary_search(&batch.get(index).offset).is_ok())
        .collect();
    let mut panicked = Vec::new();
    let built = match guarded(|| build(transform.as_mut(), spec, batch, &dead)) {
        Ok(built) => built,
        Err(_) => {
            *transform = chunk.version.take()?;
            panicked = find_panics(transform, spec, &chunk, &dead)?;
            let mut skipped: Vec<usize> =
                dead.iter().chain(panicked.iter().map(|(index, _)| index)).copied().collect();
            skipped.sort_unstable();
            guarded(|| build(transform.as_mut(), spec, batch, &skipped))
                .map_err(|text| format!("the transform panicked again on other messages: {text}"))?
        }
    };
    finish(chunk, built, &dead, panicked)
}

/// One pass over the chunk, leaving out `skipped` (ascending message indexes).
fn build(
    transform: &mut dyn Transform,
    spec: &Arc<TableSpec>,
    batch: &Arc<MessageBatch>,
    skipped: &[usize],
) -> BuiltRows {
    let mut rows = RowBuilder::new(Arc::clone(spec), Arc::clone(batch));
    let mut from = 0;
    for &index in skipped {
        run(transform, batch, from..index, &mut rows);
        rows.filtered(index);
        from = index + 1;
    }
    run(transform, batch, from..batch.len(), &mut rows);
    rows.finish()
}

fn run(transform: &mut dyn Transform, batch: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink) {
    if !range.is_empty() {
        transform.transform(batch, range, rows);
    }
}

/// Shows the messages one by one to find those that panic, with the text of each panic.
fn find_panics(
    transform: &mut Box<dyn Transform>,
    spec: &Arc<TableSpec>,
    chunk: &Chunk,
    dead: &[usize],
) -> Result<Vec<(usize, String)>, String> {
    let mut panicked = Vec::new();
    for index in (0..chunk.batch.len()).filter(|index| dead.binary_search(index).is_err()) {
        let others: Vec<usize> = (0..chunk.batch.len()).filter(|&other| other != index).collect();
        if let Err(text) = guarded(|| build(transform.as_mut(), spec, &chunk.batch, &others)) {
            panicked.push((index, text));
            *transform = chunk.version.take()?;
        }
    }
    Ok(panicked)
}

/// Runs `work`; a panic in it becomes its text.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever the panic left half done is dropped by every caller: builder and transform alike.
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
    })
}

/// Checks what was built and counts it.
fn finish(
    chunk: Chunk,
    built: BuiltRows,
    dead: &[usize],
    panicked: Vec<(usize, String)>,
) -> Result<Transformed, String> {
    let BuiltRows { rows, mut outcomes, mut failures } = built;
    let count = |outcomes: &[Outcome], wanted| outcomes.iter().filter(|&&outcome| outcome == wanted).count();
    if outcomes.len() != chunk.batch.len()
        || count(&outcomes, Outcome::Written) != rows.num_rows()
        || count(&outcomes, Outcome::DeadLettered) != failures.len()
    {
        return Err(format!(
            "the transform gave {} outcomes, {} rows and {} failures for {} messages from offset {}",
            outcomes.len(),
            rows.num_rows(),
            failures.len(),
            chunk.batch.len(),
            chunk.start
        ));
    }
    for &index in dead.iter().chain(panicked.iter().map(|(index, _)| index)) {
        outcomes[index] = Outcome::DeadLettered;
    }
    failures.extend(panicked.into_iter().map(|(index, text)| (index, panic_failure(&text))));
    failures.sort_by_key(|(index, _)| *index);
    let tally = tally(&chunk, &outcomes, dead.len());
    let fill = Fill {
        messages: outcomes.len(),
        payload_bytes: chunk.batch.data_bytes(),
        built_bytes: rows.get_array_memory_size()
            + failures.iter().map(|(_, failure)| text_bytes(failure)).sum::<usize>(),
    };
    Ok(Transformed { chunk, rows, outcomes, failures, tally, fill })
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

/// Accounts for every offset of the chunk. A dead letter whose message has since expired was read, by
/// the run that put it there.
fn tally(chunk: &Chunk, outcomes: &[Outcome], dead_present: usize) -> Tally {
    let count = |wanted| outcomes.iter().filter(|&&outcome| outcome == wanted).count() as u64;
    let dead_expired = (chunk.already_dead.len() - dead_present) as u64;
    let read = outcomes.len() as u64 + dead_expired;
    Tally {
        read,
        written: count(Outcome::Written),
        filtered: count(Outcome::Filtered),
        dead_lettered: count(Outcome::DeadLettered) + dead_expired,
        expired: chunk.end.since(chunk.start) - read,
    }
}
