//! Dead letters to outcomes: the same work as a worker's, on messages that come from a table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use millrace_model::{Failure, Micros, Offset, TopicId, Transform};
use millrace_table::{DeadLetterBuilder, LetterMessage, TableSpec};

use super::letters::Letters;
use super::{ReplayError, Stop};
use crate::chunk::{Chunk, Version};
use crate::transform::transform_chunk;
use crate::trouble::Trouble;
use crate::window::{Pending, Window};

/// Messages that the transform is shown between two looks at how much it has made of them, and whether to stop:
/// each may take all the time that the UDF is allowed.
const CHUNK_MESSAGES_MAX: usize = 64;

/// What shows dead letters to a transform.
pub(super) struct Bench {
    pub topic: TopicId,
    pub spec: Arc<TableSpec>,
    version: Arc<Version>,
    transform: Box<dyn Transform>,
}

impl Bench {
    pub fn new(topic: TopicId, spec: Arc<TableSpec>, version: Version) -> Result<Self, ReplayError> {
        let version = Arc::new(version);
        let transform = version.take().map_err(ReplayError::Transform)?;
        Ok(Self { topic, spec, version, transform })
    }

    /// Transforms dead letters in order until what came of them weighs `built_bytes_max`; answers the outcomes
    /// and the first letter that was not shown. When it is asked to stop it fails, and nothing has happened.
    pub fn transform(
        &mut self,
        letters: &Letters,
        passed_over: &BTreeSet<Offset>,
        built_bytes_max: usize,
        stop: &Stop,
    ) -> Result<(Option<Outcomes>, Option<Offset>), ReplayError> {
        let shown: Vec<&LetterMessage> =
            letters.values().filter(|letter| !passed_over.contains(&letter.offset)).collect();
        let mut window: Option<Window> = None;
        let mut rest = None;
        for piece in shown.chunks(CHUNK_MESSAGES_MAX) {
            if stop.is_asked() {
                return Err(ReplayError::Stopped);
            }
            if window.as_ref().is_some_and(|window| window.fill.built_bytes >= built_bytes_max) {
                rest = piece.first().map(|letter| letter.offset);
                break;
            }
            let chunk = self.chunk(piece);
            let mut parts = Vec::new();
            transform_chunk(&mut self.transform, &self.spec, &chunk, |part, _last| {
                parts.push(part);
                true
            })
            .map_err(ReplayError::Transform)?;
            for part in parts {
                match &mut window {
                    None => window = Some(Window::open(part)),
                    Some(window) => window.push(part),
                }
            }
        }
        Ok((window.map(|window| Outcomes { pending: Pending::new(window, 0) }), rest))
    }

    fn chunk(&self, letters: &[&LetterMessage]) -> Chunk {
        let batch = LetterMessage::batch(self.topic, letters.iter().copied());
        Chunk {
            start: batch.first_offset().unwrap_or_default(),
            end: batch.next_offset().unwrap_or_default(),
            batch: Arc::new(batch),
            already_dead: Vec::new(),
            ends_window: false,
            replayed: false,
            version: Arc::clone(&self.version),
            read_at: Instant::now(),
        }
    }

    /// The transform, for single messages.
    pub fn one(&mut self) -> &mut dyn Transform {
        self.transform.as_mut()
    }
}

/// What became of some dead letters.
pub(super) struct Outcomes {
    pending: Pending,
}

impl Outcomes {
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.pending.rows()
    }

    pub fn written(&self) -> u64 {
        self.pending.window.tally().written
    }

    pub fn filtered(&self) -> u64 {
        self.pending.window.tally().filtered
    }

    /// The messages that failed again, and why.
    pub fn failures(&self) -> impl Iterator<Item = (Offset, &Failure)> {
        let failures = self.pending.undelivered.iter();
        failures.map(|failed| (self.pending.offset_of(failed.part, failed.message), &failed.failure))
    }

    /// Each message with its outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (Offset, millrace_table::Outcome)> {
        self.pending.window.parts.iter().flat_map(|part| {
            let messages = part.range.clone().map(|message| part.batch.get(message).offset);
            messages.zip(part.outcomes.iter().copied())
        })
    }

    /// Turns rows that the sink refused into failures.
    pub fn reject(&mut self, table: &str, refused: Vec<(usize, String)>) -> Result<(), ReplayError> {
        self.pending.reject(table, refused).map_err(|trouble| match trouble {
            Trouble::Retry(reason) | Trouble::Broken(reason) => ReplayError::Transform(reason),
        })
    }

    /// The failures as dead letters that have one attempt more behind them.
    pub fn dead_letters(&self, letters: &Letters, now: Micros) -> Result<Vec<RecordBatch>, ReplayError> {
        let mut builder = DeadLetterBuilder::new();
        for failed in &self.pending.undelivered {
            let part = &self.pending.window.parts[failed.part];
            let view = part.batch.get(failed.message);
            let Some(facts) = letters.get(&view.offset).map(|letter| &letter.facts) else { continue };
            let (topic, hash) = (part.batch.topic(), part.version.udf_hash);
            let attempts = facts.attempts.saturating_add(1);
            builder.push(&facts.topic_name, topic, &view, &failed.failure, hash, attempts, now);
        }
        if builder.is_empty() {
            return Ok(Vec::new());
        }
        let rows = builder.finish().map_err(|error| ReplayError::Transform(error.to_string()))?;
        Ok(vec![rows])
    }
}
