//! What `GET /api/status` and `millrace status` tell.

use serde::{Deserialize, Serialize};

/// The whole server at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Whether every pipeline runs.
    pub ready: bool,
    /// Since the process began.
    pub uptime_seconds: f64,
    /// Where Postgres clients connect, for instance `postgresql://127.0.0.1:5433/local`.
    #[serde(default)]
    pub postgres: Option<String>,
    /// Every topic, by name.
    pub topics: Vec<TopicStatus>,
    /// Every source, in the order of the configuration.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// Every pipeline, in the order of the configuration.
    pub pipelines: Vec<PipelineStatus>,
    /// Every table, by name.
    pub tables: Vec<TableStatus>,
}

/// One topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// Its permanent id.
    pub id: String,
    /// The oldest offset still in the log.
    pub start: u64,
    /// Behind the newest durable offset: how many messages were ever accepted.
    pub end: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Repeated messages that were not stored again, ever.
    pub duplicates: u64,
    /// Messages removed by age before every reader had them, ever.
    pub expired: u64,
    /// Why the topic is not usable, when it is not.
    pub error: Option<String>,
}

/// One source: a subscription of the real Pub/Sub that is read into a topic. Counters are those of this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// The subscription that it reads, a temporary one too.
    pub subscription: String,
    /// The topic that it fills.
    pub topic: String,
    /// Whether a message is acknowledged when it is synced; else when its row is committed.
    pub durable: bool,
    /// `connecting`, `running`, `holding` (the log does not take messages now), `failing` or `stopped`.
    pub state: String,
    /// Why it is not running.
    pub error: Option<String>,
    /// Messages received, those that came again included.
    pub received: u64,
    /// Messages stored.
    pub appended: u64,
    /// Messages that the topic had already.
    pub duplicates: u64,
    /// Messages acknowledged.
    pub acks: u64,
    /// Acks that were not confirmed.
    pub ack_failures: u64,
    /// Messages given back.
    pub nacks: u64,
    /// Streams opened after the first.
    pub reconnects: u64,
    /// Messages received and not answered yet.
    pub outstanding: u64,
    /// Seconds since the service last answered.
    pub stalled_seconds: u64,
}

/// One pipeline. Counters are cumulative over all runs, as the table keeps them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineStatus {
    /// Its name.
    pub name: String,
    /// `running`, `draining`, `stopped` or `failed`.
    pub state: String,
    /// Why it failed, or what it is waiting for.
    pub error: Option<String>,
    /// The topic that it reads.
    pub topic: String,
    /// The table that it writes, `dataset.table`.
    pub table: String,
    /// The UDF's version, absent when there is no UDF.
    pub udf_hash: Option<String>,
    /// Why the script's file is not what runs, when it is not: refused, say, or passed over since a
    /// rollback.
    #[serde(default)]
    pub udf_note: Option<String>,
    /// The version that runs in the shadow.
    #[serde(default)]
    pub udf_shadow: Option<String>,
    /// The first offset not yet committed.
    pub next_offset: u64,
    /// Messages accepted and not yet committed.
    pub pending: u64,
    /// Messages folded.
    pub read: u64,
    /// Of those: rows written.
    pub written: u64,
    /// Of those: filtered by the UDF.
    pub filtered: u64,
    /// Of those: dead letters.
    pub dead_lettered: u64,
    /// Repeated messages that the topic did not store again.
    pub duplicate: u64,
    /// Messages that retention took before they were folded.
    pub expired: u64,
    /// Rows erased on request.
    pub erased: u64,
    /// Payload bytes not yet committed.
    pub backlog_bytes: u64,
    /// Age of the oldest message not yet committed; 0 when there is none.
    pub backlog_age_seconds: f64,
    /// Now minus the oldest message accepted and not yet committed; 0 when there is none.
    pub freshness_seconds: f64,
    /// From a message's acceptance to its commit, in the newest window.
    pub system_lag_seconds: f64,
    /// The share of time that workers were busy, 0 to 1.
    pub worker_utilisation: f64,
    /// Commits that had to be tried again.
    pub commit_retries: u64,
    /// The newest audit by the server itself; absent until it is done.
    #[serde(default)]
    pub audit: Option<AuditStatus>,
}

/// What an audit of a pipeline found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// Whether every message is accounted for and nothing is wrong.
    pub balanced: bool,
    /// When it ended, RFC 3339.
    pub checked_at: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Messages that are nowhere; below 0 when there are more than were accepted.
    pub unaccounted: i64,
    /// Rows and left out messages that were dead letters before a replay.
    pub replayed: u64,
    /// Dead letters that were purged.
    pub purged: u64,
    /// What is wrong, in words.
    pub findings: Vec<String>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableStatus {
    /// `dataset.table`.
    pub name: String,
    /// The newest committed version.
    pub version: u64,
    /// Live data files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}
