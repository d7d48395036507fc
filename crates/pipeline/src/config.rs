//! What an operator can set about a pipeline, and why it may refuse to start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_model::{Offset, TopicId, names};

use crate::{LedgerError, SinkError};

/// When a window closes: at whichever limit it meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Most messages.
    pub rows_max: usize,
    /// Most payload bytes; one larger message makes a window of its own.
    pub bytes_max: usize,
    /// Longest time from the first message available to the close. A window grows past it only while
    /// the one before is still being committed.
    pub age_max: Duration,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self { rows_max: 65_536, bytes_max: 32 << 20, age_max: Duration::from_secs(1) }
    }
}

/// Where a pipeline learns how many duplicates its topic has refused so far (cumulative): the
/// [`millrace_model::Source`] itself does not say.
#[derive(Clone)]
pub struct DuplicatesProbe(Arc<dyn Fn() -> u64 + Send + Sync>);

impl DuplicatesProbe {
    /// A probe that asks `count`, which must be cheap: it is called once for each window.
    #[must_use]
    pub fn new(count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(count))
    }

    pub(crate) fn count(&self) -> u64 {
        (self.0)()
    }
}

impl Default for DuplicatesProbe {
    fn default() -> Self {
        Self::new(|| 0)
    }
}

impl fmt::Debug for DuplicatesProbe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DuplicatesProbe")
    }
}

/// One pipeline's settings.
///
/// Memory is bounded whatever the backlog: at most two windows exist, the one that is being committed
/// and the one that is being filled, each of at most `window.bytes_max` of payload and
/// `built_bytes_max` of rows (plus one chunk), and what is read ahead of the second stays under
/// `in_flight_bytes_max` (plus one chunk for each worker).
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Its name: part of the marks in the tables, of metrics and thread names.
    pub name: String,
    /// When windows close.
    pub window: WindowLimits,
    /// Worker threads, each with a transform of its own.
    pub workers: usize,
    /// Most bytes of built columns and failure texts in one window: a UDF may return far more than
    /// it was given.
    pub built_bytes_max: usize,
    /// Most bytes, payload and built, between the reader and the window that is being filled.
    pub in_flight_bytes_max: usize,
    /// Most messages that one worker takes at once.
    pub chunk_messages_max: usize,
    /// Most payload bytes that one worker takes at once; one larger message is a chunk of its own.
    pub chunk_bytes_max: usize,
    /// How long the reader lets a chunk that is not full fill up after its first message arrived.
    pub chunk_linger: Duration,
    /// Wait after the first failed commit or read; doubles with each further one.
    pub retry_delay_min: Duration,
    /// Longest wait between two tries.
    pub retry_delay_max: Duration,
    /// How long an idle reader waits before it looks up, which bounds how late it notices a stop.
    pub idle_wait: Duration,
    /// Fold the topic from its beginning though the table knows this pipeline with another topic
    /// only: what an operator sets after a topic was deleted on purpose.
    pub adopt_new_topic: bool,
    /// The topic's count of duplicates.
    pub duplicates: DuplicatesProbe,
}

impl PipelineConfig {
    /// The defaults under that name: one worker for each core.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            window: WindowLimits::default(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            built_bytes_max: 64 << 20,
            in_flight_bytes_max: 32 << 20,
            chunk_messages_max: 1024,
            chunk_bytes_max: 256 << 10,
            chunk_linger: Duration::from_millis(20),
            retry_delay_min: Duration::from_millis(100),
            retry_delay_max: Duration::from_secs(30),
            idle_wait: Duration::from_millis(250),
            adopt_new_topic: false,
            duplicates: DuplicatesProbe::default(),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`PipelineError::Config`], naming the setting.
    pub fn validate(&self) -> Result<(), PipelineError> {
        let refuse = |reason: String| Err(PipelineError::Config { pipeline: self.name.clone(), reason });
        if let Some(rule) = names::resource_name_violation(&self.name) {
            return refuse(rule.to_owned());
        }
        let counts = [
            ("window.rows_max", self.window.rows_max),
            ("window.bytes_max", self.window.bytes_max),
            ("workers", self.workers),
            ("built_bytes_max", self.built_bytes_max),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("chunk_messages_max", self.chunk_messages_max),
            ("chunk_bytes_max", self.chunk_bytes_max),
        ];
        if let Some((setting, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return refuse(format!("{setting} must be at least 1"));
        }
        if self.retry_delay_min.is_zero() || self.idle_wait.is_zero() {
            return refuse("retry_delay_min and idle_wait must be longer than zero".to_owned());
        }
        Ok(())
    }
}

/// Why a pipeline does not start.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A setting makes no sense.
    #[error("pipeline {pipeline:?} cannot be configured: {reason}")]
    Config {
        /// The pipeline.
        pipeline: String,
        /// Which setting and why.
        reason: String,
    },
    /// The table's marks contradict each other.
    #[error("pipeline {pipeline} refuses to start on table {table}: {error}")]
    Ledger {
        /// The pipeline.
        pipeline: String,
        /// The table.
        table: String,
        /// What is wrong.
        error: LedgerError,
    },
    /// The table has folded another topic.
    #[error(
        "pipeline {pipeline} refuses to start: table {table} has folded topic id {known} up to offset \
         {known_offset}, but topic {topic} now has id {id}; put the old log back, or set adopt_new_topic \
         to fold the new topic from its beginning"
    )]
    UnknownTopic {
        /// The pipeline.
        pipeline: String,
        /// The table.
        table: String,
        /// The topic's name.
        topic: String,
        /// The topic's id now.
        id: TopicId,
        /// The id that the table knows.
        known: TopicId,
        /// How far that one was folded.
        known_offset: Offset,
    },
    /// The table is ahead of the log.
    #[error(
        "pipeline {pipeline} refuses to start: table {table} has folded topic {topic} up to offset {offset}, \
         but the log ends at {end}, so acknowledged messages are missing from it; restore the log's segments \
         (`millrace log verify` says which), or create the topic anew and set adopt_new_topic"
    )]
    BeyondEnd {
        /// The pipeline.
        pipeline: String,
        /// The table, rows or dead letters.
        table: String,
        /// The topic's name.
        topic: String,
        /// The table's position.
        offset: Offset,
        /// The log's end.
        end: Offset,
    },
    /// A table cannot be read.
    #[error("pipeline {pipeline} cannot start: {error}")]
    Sink {
        /// The pipeline.
        pipeline: String,
        /// What the table says.
        error: SinkError,
    },
    /// It was closed.
    #[error("pipeline {pipeline} is not started any more: the server is stopping")]
    Closed {
        /// The pipeline.
        pipeline: String,
    },
    /// A transform cannot be made.
    #[error("pipeline {pipeline} cannot make a transform: {reason}")]
    Transform {
        /// The pipeline.
        pipeline: String,
        /// Why.
        reason: String,
    },
    /// The system gives no thread.
    #[error("pipeline {pipeline} cannot start a thread: {reason}")]
    Thread {
        /// The pipeline.
        pipeline: String,
        /// The system's word.
        reason: String,
    },
}
