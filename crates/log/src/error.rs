//! What can go wrong, in words for the operator.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_model::Offset;

/// Why something about the log as a whole, or a topic's housekeeping, failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file is missing, misplaced or damaged. The topic that it belongs to stays out of work until it
    /// is repaired; all others go on.
    #[error("{} is damaged at byte {position}: {reason}; `millrace log verify` says what can be saved", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// A topic's or cursor's name breaks the rule.
    #[error("{name:?} cannot be a name: {rule}")]
    Name {
        /// The name.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// There is no such topic.
    #[error("there is no topic {0}")]
    NoTopic(String),
    /// There is no such cursor.
    #[error("topic {topic} has no cursor {cursor}")]
    NoCursor {
        /// The topic.
        topic: String,
        /// The cursor.
        cursor: String,
    },
    /// There is such a cursor already.
    #[error("topic {topic} already has a cursor {cursor}")]
    CursorExists {
        /// The topic.
        topic: String,
        /// The cursor.
        cursor: String,
    },
    /// The cursor was detached or has expired, so its messages may be gone.
    #[error(
        "cursor {cursor} of topic {topic} is {state}: seek it to a place that is still there to use it again"
    )]
    CursorLost {
        /// The topic.
        topic: String,
        /// The cursor.
        cursor: String,
        /// `detached` or `expired`.
        state: &'static str,
    },
    /// A cursor was sent outside the topic.
    #[error("offset {wanted} lies outside topic {topic}, which holds {start} to {end}")]
    OutOfBounds {
        /// The topic.
        topic: String,
        /// Where it was sent.
        wanted: Offset,
        /// The oldest message.
        start: Offset,
        /// Behind the newest message.
        end: Offset,
    },
    /// The log was opened read-only.
    #[error("the log at {} was opened to read only", .0.display())]
    ReadOnly(PathBuf),
    /// The topic's disk failed; it will be tried again.
    #[error("topic {topic} is out of work: {reason}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
    /// The system gives no random numbers, so no topic can get an id.
    #[error("cannot make a topic id: {0}")]
    Random(String),
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), position, reason: reason.into() }
    }
}

/// Why messages were not stored. Except for [`TooLarge`](Self::TooLarge) the same append may be tried
/// again; after [`Unavailable`](Self::Unavailable) some of its messages may have been stored, which
/// their keys (where they have any) then tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Readers are too far behind, or the disk is slower than the producers.
    #[error("topic {topic} has {backlog_bytes} bytes waiting and takes no more for now")]
    Backpressure {
        /// The topic.
        topic: String,
        /// What waits: for its readers, or to be written.
        backlog_bytes: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full or failed, or the topic is damaged.
    #[error("topic {topic} cannot store messages now: {reason}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// What is wrong.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A message will never fit. Nothing of the append was stored.
    #[error("message {index} of the append has {bytes} bytes, topic {topic} takes at most {bytes_max}")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Which message, counted from 0.
        index: usize,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The topic was deleted, or the log shut down.
    #[error("topic {topic} is closed")]
    Closed {
        /// The topic.
        topic: String,
    },
}
