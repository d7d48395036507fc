//! Where windows go: a table that takes rows and marks in one atomic step.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use millrace_model::{Offset, TopicId};

/// A named number that a table keeps and changes only together with rows: a Delta `txn` action, a row
/// in a BigQuery journal. The pipeline's position and each of its counters are marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Whose number it is, for instance `millrace/PIPELINE/TOPIC_ID/next_offset`.
    pub app_id: String,
    /// The number; never negative.
    pub version: i64,
}

/// One atomic step of a table.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Rows of the table's Arrow schema, hidden columns included; may be empty.
    pub rows: Vec<RecordBatch>,
    /// The marks to set.
    pub marks: Vec<Mark>,
}

/// One atomic step of a table that takes rows out as well.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// The topic of the messages whose rows are taken out.
    pub topic: TopicId,
    /// The messages, ascending; those that have no row are passed over.
    pub removed: Vec<Offset>,
    /// What is put in and set in the same step; its rows may be of the same messages.
    pub commit: Commit,
}

/// Which rows to read.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// Of which topic's messages.
    pub topic: TopicId,
    /// From this message on.
    pub start: Offset,
    /// Up to this message, not including it.
    pub end: Offset,
    /// The columns by name, `_offset` always among them; none means all of them. The partition column need
    /// not come.
    pub columns: &'a [&'a str],
}

/// Why a sink did not commit.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Nothing was committed because these rows can never be: each by its position over all of
    /// [`Commit::rows`] in order, and why. The pipeline makes them dead letters and commits the rest.
    #[error("the sink refused {} rows, the first because {}", .0.len(), .0.first().map_or("-", |row| row.1.as_str()))]
    Rejected(Vec<(usize, String)>),
    /// Not committed now, or not known whether: the caller reads the marks back, then tries again.
    #[error("commit to {table} failed: {reason}")]
    Retry {
        /// The table.
        table: String,
        /// What happened.
        reason: String,
    },
    /// Will not go away by trying again; the text says how to repair.
    #[error("table {table} cannot be written: {reason}")]
    Broken {
        /// The table.
        table: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A table as a pipeline writes it. Calls block and are made from a pipeline's own threads. Commits of
/// one table are strictly one after the other.
pub trait Sink: Send + Sync {
    /// The table's name, for people.
    fn table(&self) -> &str;

    /// All marks, read from the table itself (not from memory of an earlier commit).
    ///
    /// # Errors
    /// See [`SinkError`].
    fn marks(&self) -> Result<BTreeMap<String, i64>, SinkError>;

    /// Which messages of `topic` in `start..end` have rows in the table, ascending; a message that has
    /// two appears twice.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn offsets(&self, topic: TopicId, start: Offset, end: Offset) -> Result<Vec<Offset>, SinkError>;

    /// Makes rows and marks durable and visible in one step; all or nothing.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn commit(&self, commit: &Commit) -> Result<(), SinkError>;

    /// As [`commit`](Self::commit), and takes rows out in the same step.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn amend(&self, amendment: &Amendment) -> Result<(), SinkError>;

    /// Gives the rows that `scan` asks for to `take`, a piece of bounded size at a time, in any order, of one
    /// version of the table. Ends early when `take` answers false.
    ///
    /// # Errors
    /// See [`SinkError`].
    fn scan(&self, scan: &Scan<'_>, take: &mut dyn FnMut(&RecordBatch) -> bool) -> Result<(), SinkError>;
}
