//! Replaying dead letters: showing them to the UDF again, or to another one, and moving what succeeds out of
//! the dead-letter table, exactly once.
//!
//! A replay is a *job*: a frozen list of offsets and a UDF, kept in the data directory ([`JobStore`]) until
//! it is done. It goes through the list in batches, each in two commits:
//!
//! 1. the rows, into the rows table, with the place in the list that they reach as a mark in the same commit;
//! 2. into the dead-letter table: those of the batch are taken out, those that failed again are put back with
//!    one attempt more, and the place is set.
//!
//! Everything else is read off the tables. Rows table ahead: the batch between the two places is finished,
//! and *which of its messages have rows* is asked of the rows table, not of a journal or of the UDF, which
//! might answer otherwise the second time. A message that the UDF left out, or that failed again, is settled
//! by the second commit alone. So a process may die at any moment, a commit may happen and not be
//! answered, the UDF may change its mind: a message has a row or a dead letter, and never two or none.
//!
//! Only dead letters before the rows table's position are touched. Those beyond belong to a window under way,
//! whose fold still asks for them after a crash.
//!
//! One replay or purge of a pipeline runs at a time, and neither begins before an unfinished job is done: a
//! purge between the two commits would count a message twice.

mod batch;
mod job;
mod letters;
mod purge;
mod run;
mod signature;
mod stop;
#[cfg(test)]
mod tests;
mod transcript;
mod trial;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use millrace_model::{Offset, TopicId};
use millrace_table::{DeadLetter, TableSpec};

pub use job::{JobStore, REPLAY_JOB, REPLAY_POSITION, ReplayJob};
pub use letters::{CLASSES_MAX, Class, Classes, Selection, class_of};
pub use purge::PurgeReport;
pub use run::ReplayReport;
pub use signature::{ClassId, NoClassId, signature};
pub use stop::Stop;
pub use transcript::{Tried, TriedOutcome, try_message};
pub use trial::{ClassOutcome, Sample, Trial};

use crate::ledger::{Ledger, LedgerKey, NEXT_OFFSET};
use crate::{LedgerError, Sink, SinkError};

/// Limits of replays and purges.
#[derive(Debug, Clone, Copy)]
pub struct ReplayLimits {
    /// A dead letter that was tried this often is not replayed any more; the fold's try counts.
    pub attempts_max: i64,
    /// Most messages of one replay; what is beyond waits for the next.
    pub messages_max: usize,
    /// Most messages of one batch.
    pub batch_messages_max: usize,
    /// Most bytes of dead letters read for one batch; one larger is a batch of its own.
    pub batch_bytes_max: usize,
    /// A batch ends when this much was built of it, rows and errors.
    pub built_bytes_max: usize,
    /// Tries of one commit before the replay is left for later.
    pub tries_max: u32,
    /// Wait after the first failed try; doubles with each further one.
    pub retry_delay: Duration,
}

impl Default for ReplayLimits {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            messages_max: 1_000_000,
            batch_messages_max: 8192,
            batch_bytes_max: 32 << 20,
            built_bytes_max: 64 << 20,
            tries_max: 5,
            retry_delay: Duration::from_millis(100),
        }
    }
}

/// Why a replay or purge did not end. What it has committed stays, and what it has not is done by the next
/// one, or by the next start of the server.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A table.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A table's marks.
    #[error("table {table}: {error}")]
    Ledger {
        /// The table.
        table: String,
        /// What is wrong with them.
        error: LedgerError,
    },
    /// The file of the job.
    #[error("{0}")]
    Store(String),
    /// The stored job cannot be used.
    #[error(
        "the stored replay cannot be gone on with: {reason}; move its file out of the data directory's folder \
         `replay` to give it up"
    )]
    Job {
        /// Why.
        reason: String,
    },
    /// The stored job is older than what the tables have seen.
    #[error(
        "the stored replay has number {job}, but the tables have seen number {newest}: its file is from a backup; \
         move it out of the data directory's folder `replay`"
    )]
    Superseded {
        /// The job's number.
        job: u64,
        /// The tables'.
        newest: u64,
    },
    /// The UDF.
    #[error("cannot replay: {0}")]
    Transform(String),
    /// The pipeline has never folded this topic.
    #[error("pipeline {pipeline} has folded nothing of topic id {topic}, so it has no dead letters of it")]
    NothingFolded {
        /// The pipeline.
        pipeline: String,
        /// The topic.
        topic: TopicId,
    },
    /// Somebody else wrote the tables.
    #[error(
        "table {0} was changed by another replay; is another process writing it? Stop that one and try again"
    )]
    Foreign(String),
    /// Another one is at work.
    #[error("another replay or purge of pipeline {0} is at work: try again when it is done")]
    Busy(String),
    /// There is an unfinished job.
    #[error("a replay of pipeline {0} is unfinished and must be done first")]
    Unfinished(String),
    /// It was asked to stop.
    #[error("stopped before the end; the next start goes on with it")]
    Stopped,
}

/// Replays and purges of one pipeline's dead letters. The only writer of the marks that they keep.
pub struct Replayer {
    pipeline: String,
    spec: Arc<TableSpec>,
    rows: Arc<dyn Sink>,
    dead_letters: Arc<dyn Sink>,
    store: Arc<dyn JobStore>,
    limits: ReplayLimits,
    at_work: Mutex<()>,
}

impl Replayer {
    /// Of `pipeline`, whose rows of `spec` are in `rows`.
    #[must_use]
    pub fn new(
        pipeline: &str,
        spec: Arc<TableSpec>,
        rows: Arc<dyn Sink>,
        dead_letters: Arc<dyn Sink>,
        store: Arc<dyn JobStore>,
        limits: ReplayLimits,
    ) -> Self {
        let pipeline = pipeline.to_owned();
        Self { pipeline, spec, rows, dead_letters, store, limits, at_work: Mutex::new(()) }
    }

    /// The pipeline's name.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// The tables' names: rows, dead letters.
    #[must_use]
    pub fn tables(&self) -> (&str, &str) {
        (self.rows.table(), self.dead_letters.table())
    }

    /// The topics that the pipeline has folded into its table, the present one and those before it.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn topics(&self) -> Result<Vec<TopicId>, ReplayError> {
        let marks = self.rows.marks()?;
        Ok(LedgerKey::all_topics(&self.pipeline, self.rows.table(), NEXT_OFFSET, &marks)
            .into_keys()
            .collect())
    }

    /// The classes of the dead letters that a selection means.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn classes(&self, topic: TopicId, selection: &Selection) -> Result<Classes, ReplayError> {
        Ok(letters::classes(self.dead_letters.as_ref(), topic, self.settled(topic)?, selection)?)
    }

    /// Shows the dead letters that a selection means to `take`, with all columns, in any order, as long as it
    /// answers true.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn each(
        &self,
        topic: TopicId,
        selection: &Selection,
        take: &mut dyn FnMut(&DeadLetter<'_>) -> bool,
    ) -> Result<(), ReplayError> {
        let end = self.settled(topic)?;
        Ok(letters::whole(self.dead_letters.as_ref(), topic, end, selection, take)?)
    }

    /// The job that is not done, if there is one.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn unfinished(&self) -> Result<Option<ReplayJob>, ReplayError> {
        let text = self.store.load().map_err(ReplayError::Store)?;
        text.as_deref().map(ReplayJob::parse).transpose()
    }

    /// Up to where dead letters are nobody else's business: the rows table's position.
    fn settled(&self, topic: TopicId) -> Result<Offset, ReplayError> {
        let marks = self.rows.marks()?;
        let table = || self.rows.table().to_owned();
        let ledger = Ledger::from_marks(&self.rows_key(topic), &marks)
            .map_err(|error| ReplayError::Ledger { table: table(), error })?;
        let nothing = || ReplayError::NothingFolded { pipeline: self.pipeline.clone(), topic };
        ledger.map(|ledger| ledger.next_offset).ok_or_else(nothing)
    }

    fn rows_key(&self, topic: TopicId) -> LedgerKey {
        LedgerKey::new(&self.pipeline, self.rows.table(), topic)
    }

    fn dead_key(&self, topic: TopicId) -> LedgerKey {
        LedgerKey::new(&self.pipeline, self.dead_letters.table(), topic)
    }

    /// Waits until nothing is at work here.
    pub fn wait_idle(&self) {
        drop(self.at_work.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn begin(&self) -> Result<MutexGuard<'_, ()>, ReplayError> {
        match self.at_work.try_lock() {
            Ok(guard) => Ok(guard),
            // What a panic left behind is in the tables and the store.
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(ReplayError::Busy(self.pipeline.clone())),
        }
    }
}
