//! A stretch of a topic as a source of its own: what running messages again reads.

use std::sync::Arc;
use std::time::Duration;

use millrace_model::{Bounds, MessageBatch, Micros, Offset, ReadLimit, Source, SourceError, TopicId};

/// The messages `start..end` of a topic, under the topic's own name and id, so that rows keep their
/// messages' identity. It holds nothing back: what the topic's retention removes meanwhile counts as
/// expired.
pub struct SourceSlice {
    source: Arc<dyn Source>,
    start: Offset,
    end: Offset,
}

impl SourceSlice {
    /// A stretch; it may reach beyond what the topic has by now.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, start: Offset, end: Offset) -> Self {
        Self { source, start, end: end.max(start) }
    }
}

impl Source for SourceSlice {
    fn topic_id(&self) -> TopicId {
        self.source.topic_id()
    }

    fn topic_name(&self) -> &str {
        self.source.topic_name()
    }

    fn first(&self) -> Offset {
        self.start
    }

    fn bounds(&self) -> Bounds {
        let bounds = self.source.bounds();
        let end = bounds.end.min(self.end);
        Bounds { start: bounds.start.max(self.start).min(end), end }
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> Result<MessageBatch, SourceError> {
        if from < self.start {
            return Err(SourceError::Expired { wanted: from, start: self.bounds().start });
        }
        let end = limit.end.map_or(self.end, |end| end.min(self.end));
        if from >= end {
            return Ok(MessageBatch::new(self.topic_id()));
        }
        let mut batch = self.source.read(from, ReadLimit { end: Some(end), ..limit })?;
        batch.truncate_at(end);
        Ok(batch)
    }

    fn wait(&self, offset: Offset, timeout: Duration) -> Offset {
        // Behind the stretch nothing comes, but a waiter must still wait.
        self.source.wait(if offset < self.end { offset } else { Offset(u64::MAX) }, timeout).min(self.end)
    }

    fn backlog(&self, from: Offset) -> (u64, Option<Micros>) {
        if from >= self.end {
            return (0, None);
        }
        let (bytes, oldest) = self.source.backlog(from);
        (bytes.saturating_sub(self.source.backlog(self.end).0), oldest)
    }

    fn hold(&self, _reader: &str, _folded: Offset) {}
}
