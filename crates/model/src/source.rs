//! The near side of the seam: where messages come from.

use std::time::Duration;

use crate::{MessageBatch, Micros, Offset, TopicId};

/// What a source holds: `start..end`, both in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest message still there; equal to `end` when there is none.
    pub start: Offset,
    /// Behind the newest durable message.
    pub end: Offset,
}

/// How much one read may bring. At least one message comes, however large, when there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// Most messages.
    pub messages_max: usize,
    /// Most bytes of payloads, attributes and ordering keys together.
    pub bytes_max: usize,
    /// The offset to stop before, when the range has a fixed end.
    pub end: Option<Offset>,
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The offset lies before the oldest message: those between have expired.
    #[error("offset {wanted} has expired, the oldest message is {start}")]
    Expired {
        /// What was asked for.
        wanted: Offset,
        /// What there is.
        start: Offset,
    },
    /// The source is damaged; the text names the file and what to do.
    #[error("{0}")]
    Corrupt(String),
    /// Reading failed.
    #[error("cannot read topic {topic}: {reason}")]
    Io {
        /// The topic's name.
        topic: String,
        /// The system's word.
        reason: String,
    },
}

/// A topic as a pipeline sees it: a durable sequence of messages that can be read again from any
/// offset. Only durable (synced) messages are ever visible. Calls block and are made from a pipeline's
/// own thread.
pub trait Source: Send + Sync {
    /// The topic's permanent id.
    fn topic_id(&self) -> TopicId;

    /// The topic's name, for people.
    fn topic_name(&self) -> &str;

    /// The first offset that is wanted of it: messages before it are passed over, not missed.
    fn first(&self) -> Offset {
        Offset::ZERO
    }

    /// What there is now.
    fn bounds(&self) -> Bounds;

    /// Reads messages from `from` on. An empty batch when `from` is the end.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn read(&self, from: Offset, limit: ReadLimit) -> Result<MessageBatch, SourceError>;

    /// Waits until there is a message at `offset` or `timeout` has passed; answers the end.
    fn wait(&self, offset: Offset, timeout: Duration) -> Offset;

    /// Payload bytes from `from` to the end, and the publish time of the message at `from`; the
    /// first may be an estimate to within one index interval.
    fn backlog(&self, from: Offset) -> (u64, Option<Micros>);

    /// Tells the source that `reader` has durably dealt with everything before `folded`, so that
    /// messages from there on must not be removed to make room for new ones.
    fn hold(&self, reader: &str, folded: Offset);
}
