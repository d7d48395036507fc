//! Reads a topic in chunks, and knows which messages are dead letters already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_model::{MessageBatch, Offset, Source, SourceError};

use crate::Sink;
use crate::chunk::{Chunk, Version};
use crate::plan::{ChunkLimits, Identity, Next, next_read};
use crate::trouble::Trouble;

/// Most offsets that one question to the dead-letter table covers while dead letters are ahead of the
/// rows: bounds the memory of the answer to 8 MiB. Few in tests, so that they ask more than once.
const DEAD_OFFSETS_MAX: u64 = if cfg!(test) { 7 } else { 1 << 20 };

/// The reading end of a pipeline.
pub(crate) struct Reader {
    source: Arc<dyn Source>,
    dead_letters: Arc<dyn Sink>,
    identity: Arc<Identity>,
    limits: ChunkLimits,
    position: Offset,
    replay: Replay,
}

/// The messages between the rows' position and the dead-letter table's end: a window whose dead
/// letters are committed and whose rows are not.
struct Replay {
    until: Offset,
    /// Up to where `already_dead` is complete.
    loaded_to: Offset,
    already_dead: Vec<Offset>,
}

impl Reader {
    pub fn new(
        source: Arc<dyn Source>,
        dead_letters: Arc<dyn Sink>,
        identity: Arc<Identity>,
        limits: ChunkLimits,
        position: Offset,
        dead_position: Offset,
    ) -> Self {
        let replay = Replay { until: dead_position, loaded_to: position, already_dead: Vec::new() };
        Self { source, dead_letters, identity, limits, position, replay }
    }

    /// Where the next chunk begins.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The next chunk, not past `target`; `None` when there is nothing (yet).
    pub fn next(&mut self, target: Option<Offset>, version: &Arc<Version>) -> Result<Option<Chunk>, Trouble> {
        let stop = match (self.load_replay()?, target) {
            (Some(replay), Some(target)) => Some(replay.min(target)),
            (replay, target) => replay.or(target),
        };
        match next_read(self.position, stop, self.source.bounds(), self.limits) {
            Next::Idle => Ok(None),
            Next::Beyond(end) => Err(self.lost(end)),
            Next::Expired(to) => Ok(Some(self.expired(to, version))),
            Next::Read(limit) => match self.source.read(self.position, limit) {
                Ok(batch) => self.chunk(batch, stop, version).map(Some),
                // Retention moved on between the two calls.
                Err(SourceError::Expired { start, .. }) if start > self.position => {
                    Ok(Some(self.expired(stop.map_or(start, |stop| stop.min(start)), version)))
                }
                Err(error @ SourceError::Io { .. }) => Err(Trouble::Retry(error.to_string())),
                Err(error) => Err(Trouble::Broken(error.to_string())),
            },
        }
    }

    /// Waits until there is a message to read, then a little for a chunk to fill; returns early or
    /// late without harm.
    pub fn wait(&self, idle: Duration, linger: Duration) {
        if self.source.wait(self.position, idle) > self.position {
            let full = self.position.plus(self.limits.messages_max as u64 - 1);
            self.source.wait(full, linger);
        }
    }

    /// Learns which of the next messages are dead letters already; where that knowledge ends, `None`
    /// when the dead-letter table is not ahead.
    fn load_replay(&mut self) -> Result<Option<Offset>, Trouble> {
        let replay = &mut self.replay;
        if self.position >= replay.until {
            replay.already_dead = Vec::new();
            return Ok(None);
        }
        if self.position >= replay.loaded_to {
            let end = replay.until.min(self.position.plus(DEAD_OFFSETS_MAX));
            replay.already_dead = self.dead_letters.offsets(self.identity.topic, self.position, end)?;
            replay.already_dead.dedup();
            replay.loaded_to = end;
        }
        Ok(Some(replay.loaded_to))
    }

    fn expired(&mut self, to: Offset, version: &Arc<Version>) -> Chunk {
        self.advance(to, MessageBatch::new(self.identity.topic), version)
    }

    fn chunk(
        &mut self,
        mut batch: MessageBatch,
        stop: Option<Offset>,
        version: &Arc<Version>,
    ) -> Result<Chunk, Trouble> {
        if let (Some(stop), Some(first)) = (stop, batch.first_offset()) {
            if first >= stop {
                return Ok(self.expired(stop, version));
            }
            batch.truncate_at(stop);
        }
        let topic = &self.identity.topic_name;
        match (batch.first_offset(), batch.next_offset()) {
            (Some(first), Some(end)) if first >= self.position => Ok(self.advance(end, batch, version)),
            (Some(first), _) => Err(Trouble::Broken(format!(
                "topic {topic} answered with offset {first} to a read from {}; run `millrace log verify`",
                self.position
            ))),
            (None, _) => Err(Trouble::Retry(format!(
                "topic {topic} gave no message at offset {} though it is not at its end",
                self.position
            ))),
        }
    }

    fn advance(&mut self, end: Offset, batch: MessageBatch, version: &Arc<Version>) -> Chunk {
        let (start, replay) = (self.position, &self.replay);
        let range = |offset: Offset| replay.already_dead.partition_point(|&dead| dead < offset);
        let chunk = Chunk {
            start,
            end,
            batch: Arc::new(batch),
            already_dead: replay.already_dead[range(start)..range(end)].to_vec(),
            ends_window: end == replay.until,
            replayed: end <= replay.until,
            version: Arc::clone(version),
            read_at: Instant::now(),
        };
        self.position = end;
        chunk
    }

    fn lost(&self, end: Offset) -> Trouble {
        Trouble::Broken(format!(
            "topic {} ends at {end}, before offset {} that was read from it; synced messages are gone, run \
             `millrace log verify`",
            self.identity.topic_name, self.position
        ))
    }
}
