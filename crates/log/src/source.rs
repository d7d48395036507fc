//! A topic as pipelines see it.

use std::time::Duration;

use millrace_model::{Bounds, MessageBatch, Micros, Offset, ReadLimit, Source, SourceError, TopicId};

use crate::topic::Topic;

impl Source for Topic {
    fn topic_id(&self) -> TopicId {
        self.core.id()
    }

    fn topic_name(&self) -> &str {
        &self.core.name
    }

    fn bounds(&self) -> Bounds {
        self.core.bounds()
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> Result<MessageBatch, SourceError> {
        self.core.read(from, limit)
    }

    fn wait(&self, offset: Offset, timeout: Duration) -> Offset {
        self.core.wait(offset, timeout)
    }

    fn backlog(&self, from: Offset) -> (u64, Option<Micros>) {
        self.core.backlog(from)
    }

    fn hold(&self, reader: &str, folded: Offset) {
        self.core.set_hold(reader, folded);
    }
}
