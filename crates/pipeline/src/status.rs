//! What a pipeline says about itself.

use serde::Serialize;

/// Whether a pipeline runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum PipelineState {
    /// Folds what comes.
    Running,
    /// Folds what there was when the drain was asked for, then stops.
    Draining,
    /// Ended because it was asked to.
    Stopped,
    /// Ended by itself; the reason says what to repair. Nothing is lost: it goes on from its table
    /// when it is started again.
    Failed(String),
}

impl PipelineState {
    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed(_))
    }
}

/// A moment of a pipeline. Counts are cumulative over the topic's life, as the table's ledger has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PipelineStatus {
    /// The pipeline's name.
    pub pipeline: String,
    /// The topic's name.
    pub topic: String,
    /// The topic's permanent id.
    pub topic_id: String,
    /// The table.
    pub table: String,
    /// The table of its dead letters.
    pub dead_letter_table: String,
    /// Whether it runs.
    #[serde(flatten)]
    pub state: PipelineState,
    /// The version of the UDF that new messages are shown to.
    pub udf_hash: Option<String>,
    /// Everything before is dealt with.
    pub next_offset: u64,
    /// The topic's end.
    pub end_offset: u64,
    /// Messages read.
    pub read: u64,
    /// Messages that became rows.
    pub written: u64,
    /// Messages that the UDF left out.
    pub filtered: u64,
    /// Messages in the dead-letter table.
    pub dead_lettered: u64,
    /// Duplicates that the topic refused, as of the last window.
    pub duplicate: u64,
    /// Rows erased after they were written, as known at the last start or failed commit.
    pub erased: u64,
    /// Messages that expired unread.
    pub expired: u64,
    /// Messages accepted and not committed.
    pub pending_messages: u64,
    /// Their payload bytes, to within one index interval of the log.
    pub backlog_bytes: u64,
    /// The age of the oldest of them, in seconds; 0 when there is none.
    pub backlog_age_seconds: f64,
    /// Now minus the publish time of the oldest message accepted and not committed, in seconds; 0 when
    /// there is none. The same moment as the backlog's age, under the name that dashboards know.
    pub freshness_seconds: f64,
    /// For how long the oldest message that is inside the pipeline has been in there, in seconds.
    pub system_lag_seconds: f64,
    /// The share of time that workers spent transforming, 0 to 1, over the last second or so.
    pub worker_utilisation: f64,
    /// Worker threads.
    pub workers: usize,
    /// Windows committed since the start.
    pub windows: u64,
    /// How long the last window's commit took, in seconds, dead letters included.
    pub commit_seconds_last: f64,
    /// Failed commits and reads since the start.
    pub retries: u64,
    /// Of these, how many in a row by now; 0 when the last try worked.
    pub retries_in_a_row: u32,
    /// The last failure, also after it passed.
    pub last_error: Option<String>,
}
