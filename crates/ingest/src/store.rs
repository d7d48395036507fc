//! Topics as ingest sees them: a place to append to that answers when what it was given is durable.

use std::time::Duration;

use futures::future::BoxFuture;
use millrace_model::{NewMessage, Source};

/// A topic to append to.
pub trait TopicStore: Send + Sync + 'static {
    /// Appends messages; resolves when they are durable. Which of them were there already is
    /// counted, not an error.
    fn append(&self, messages: Vec<NewMessage>) -> BoxFuture<'static, Result<Stored, StoreError>>;

    /// The topic as it is read, for finding out how far a file was loaded.
    fn source(&self) -> &dyn Source;
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// How many of the messages were there already.
    pub duplicates: u64,
}

/// Why an append did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not now: the topic is full or cannot write; the text says which.
    #[error("{reason}")]
    Busy {
        /// What the topic says.
        reason: String,
        /// When to come again.
        retry_after: Duration,
    },
    /// Never: the topic does not take such messages.
    #[error("{0}")]
    Refused(String),
}
