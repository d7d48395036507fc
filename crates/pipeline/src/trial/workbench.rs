//! One version on the workbench: runs a few messages at a time through it, beside any pipeline.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use millrace_model::{MessageBatch, Offset, Transform, TransformFactory, UdfHash};
use millrace_table::{BuiltRows, TableSpec};

use crate::chunk::{Chunk, Version};
use crate::transform::{RUN_MESSAGES_FIRST, transform_few};

/// Most messages of one run: as few as a worker shows a transform at first, so that what they are made
/// into is bounded as it is there.
pub(crate) const RUN_MESSAGES_MAX: usize = RUN_MESSAGES_FIRST;

/// A transform of one version and what it needs to be run alone.
pub(crate) struct Workbench {
    version: Arc<Version>,
    transform: Box<dyn Transform>,
    spec: Arc<TableSpec>,
}

impl Workbench {
    /// Makes a transform of its own.
    ///
    /// # Errors
    /// What the factory says.
    pub fn new(factory: Arc<dyn TransformFactory>, spec: Arc<TableSpec>) -> Result<Self, String> {
        let version = Arc::new(Version::new(0, factory, 1)?);
        Ok(Self { transform: version.take()?, version, spec })
    }

    /// The version.
    pub fn udf_hash(&self) -> Option<UdfHash> {
        self.version.udf_hash
    }

    /// What becomes of the messages `range` of `batch`, [`RUN_MESSAGES_MAX`] at most and not none; `None`
    /// when `stop`, which is asked between two messages, said so before their end.
    ///
    /// # Errors
    /// When the transform broke its contract, or no new one can be made after a panic.
    pub fn run(
        &mut self,
        batch: &Arc<MessageBatch>,
        range: Range<usize>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<BuiltRows>, String> {
        let chunk = Chunk {
            start: Offset::ZERO,
            end: Offset::ZERO,
            batch: Arc::clone(batch),
            already_dead: Vec::new(),
            ends_window: false,
            replayed: false,
            version: Arc::clone(&self.version),
            read_at: Instant::now(),
        };
        let made = transform_few(&mut self.transform, &self.spec, &chunk, range, stop)?;
        Ok(made.map(|made| BuiltRows { rows: made.rows, outcomes: made.outcomes, failures: made.failures }))
    }
}
