//! A chunk: the run of messages that one worker takes at once, and the parts that it makes of it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::RecordBatch;
use millrace_model::{Failure, MessageBatch, Offset, Transform, TransformFactory, UdfHash};
use millrace_table::Outcome;

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

    /// What makes its transforms.
    pub fn factory(&self) -> Arc<dyn TransformFactory> {
        Arc::clone(&self.factory)
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

/// What a worker made of a chunk, or of a part of it when there is very much.
pub(crate) struct Transformed {
    /// The offsets that it deals with.
    pub start: Offset,
    pub end: Offset,
    pub batch: Arc<MessageBatch>,
    /// Which messages of `batch` it is about.
    pub range: Range<usize>,
    pub rows: RecordBatch,
    /// One for each message of `range`; a message that is dead already counts as dead-lettered.
    pub outcomes: Vec<Outcome>,
    /// New failures by message index in `batch`, ascending.
    pub failures: Vec<(usize, Failure)>,
    pub tally: Tally,
    pub fill: Fill,
    /// As [`Chunk::ends_window`].
    pub ends_window: bool,
    /// As [`Chunk::replayed`].
    pub replayed: bool,
    pub version: Arc<Version>,
    pub read_at: Instant,
}
