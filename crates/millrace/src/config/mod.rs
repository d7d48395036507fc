//! `millrace.toml`: what can be set, what it is when it is not set, and what is wrong with it.
//!
//! The structs are the manual: every field's comment says what it means, its unit is in its name, and
//! unknown keys are errors with a suggestion.

mod check;
mod load;
mod pubsub;
mod reload;
mod source;
mod table;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use millrace_model::names;
use serde::Deserialize;

pub use check::{check, filled_topics};
pub use load::{Origin, from_text, rebased};
pub use pubsub::Pubsub;
pub use reload::{Trial, VERSIONS_MAX};
pub use source::Source;
pub use table::Table;

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The project id in log names and in SQL.
    pub project: String,
    /// Where everything is kept; relative to the configuration file.
    pub data_dir: PathBuf,
    /// Where `template` looks for `gs://` paths: `gs://bucket/a.js` is `DIR/bucket/a.js`.
    pub gs_root: Option<PathBuf>,
    /// Addresses and who may call.
    pub server: Server,
    /// Limits on what comes in.
    pub ingest: Ingest,
    /// The durable log.
    pub log: Log,
    /// Subscriptions of the Pub/Sub port.
    pub pubsub: Pubsub,
    /// Topics with limits of their own.
    pub topic: Vec<Topic>,
    /// Subscriptions of the real Pub/Sub that are read into topics.
    pub source: Vec<Source>,
    /// Which log entries go to which topic; without any, all go to `gemini-telemetry-logs`.
    pub sink: Vec<Sink>,
    /// The pipelines; without any, one from `gemini-telemetry-logs` to `telemetry.gemini_raw_logs`.
    pub pipeline: Vec<Pipeline>,
    /// Tables that no pipeline writes, for BigQuery subscriptions.
    pub table: Vec<Table>,
    /// Limits on queries, and the user's views.
    pub sql: Sql,
    /// The tables' upkeep.
    pub lake: Lake,
    /// Limits on replays of dead letters.
    pub replay: Replay,
    /// The audit that the server makes of itself.
    pub audit: Audit,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            project: names::PROJECT.to_owned(),
            data_dir: PathBuf::from("millrace-data"),
            gs_root: None,
            server: Server::default(),
            ingest: Ingest::default(),
            log: Log::default(),
            pubsub: Pubsub::default(),
            topic: Vec::new(),
            source: Vec::new(),
            sink: Vec::new(),
            pipeline: Vec::new(),
            table: Vec::new(),
            sql: Sql::default(),
            lake: Lake::default(),
            replay: Replay::default(),
            audit: Audit::default(),
        }
    }
}

/// Addresses and who may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The address of every port. Anything but loopback needs `auth_token_file`.
    pub bind: IpAddr,
    /// OTLP over gRPC.
    pub otlp_grpc_port: u16,
    /// OTLP over HTTP.
    pub otlp_http_port: u16,
    /// The HTTP API.
    pub http_port: u16,
    /// Pub/Sub over gRPC and REST; 0: none.
    pub pubsub_port: u16,
    /// The Postgres wire; 0: none.
    pub postgres_port: u16,
    /// Who may log in there: a file of `name:password` lines that nobody else may read. Without one the
    /// token of `auth_token_file` is everybody's password, and without that, on loopback, nobody needs one.
    pub postgres_users_file: Option<PathBuf>,
    /// Open connections there; further ones are turned away.
    pub postgres_connections_max: u32,
    /// A file whose first line is the bearer token that every request must carry.
    pub auth_token_file: Option<PathBuf>,
    /// Open connections on one port; further ones wait.
    pub connections_max: u32,
    /// How long requests in flight may go on after SIGTERM, and how long a pipeline that makes no
    /// progress is waited for then, in seconds.
    pub drain_timeout_seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            otlp_grpc_port: 4317,
            otlp_http_port: 4318,
            http_port: 8080,
            pubsub_port: 8085,
            postgres_port: 5433,
            postgres_users_file: None,
            postgres_connections_max: 64,
            auth_token_file: None,
            connections_max: 4096,
            drain_timeout_seconds: 10,
        }
    }
}

/// Limits on what comes in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Largest request body as sent, in bytes.
    pub body_bytes_max: usize,
    /// Largest request body after decompression, in bytes.
    pub decompressed_bytes_max: usize,
    /// Bytes of all requests being handled at once; beyond it producers are asked to come back.
    pub in_flight_bytes_max: usize,
    /// How long a client may take to send a body, in seconds.
    pub body_read_timeout_seconds: u64,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            decompressed_bytes_max: 64 << 20,
            in_flight_bytes_max: 256 << 20,
            body_read_timeout_seconds: 30,
        }
    }
}

/// The durable log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A segment file is sealed at this size in bytes.
    pub segment_bytes_max: u64,
    /// How long a repeated entry is recognised, in seconds.
    pub dedup_window_seconds: u64,
    /// How many entries are remembered for that.
    pub dedup_entries_max: usize,
    /// Bytes that a topic may hold for its pipelines before producers are refused. A topic that no
    /// pipeline reads forgets its oldest messages instead.
    pub topic_bytes_max: u64,
    /// Age at which messages are removed, folded or not, in hours.
    pub retention_hours: u64,
    /// How long folded messages are kept at least, in minutes.
    pub folded_retention_minutes: u64,
    /// Bytes of folded messages that a topic keeps for that at most, on top of `topic_bytes_max`.
    pub folded_bytes_max: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 << 20,
            dedup_window_seconds: 600,
            dedup_entries_max: 1_000_000,
            topic_bytes_max: 10 << 30,
            retention_hours: 7 * 24,
            folded_retention_minutes: 60,
            folded_bytes_max: 10 << 30,
        }
    }
}

/// A topic with limits of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// In place of `log.topic_bytes_max`.
    pub bytes_max: Option<u64>,
    /// In place of `log.retention_hours`.
    pub retention_hours: Option<u64>,
}

/// Where matching log entries go, as a Cloud Logging sink does. Every matching sink gets a copy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Its name, for people.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// A Cloud Logging filter; absent means every entry.
    pub filter: Option<String>,
}

/// A fold of one topic into one table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Its name. It is part of the position kept in the table: another name starts again from the
    /// oldest message.
    pub name: String,
    /// The topic that it reads.
    pub topic: String,
    /// The table that it writes, `dataset.table`.
    pub table: String,
    /// The table's BigQuery schema (`bq show --schema`); absent means that of `gemini_raw_logs`.
    pub schema: Option<PathBuf>,
    /// The same as text, in place of a file.
    pub schema_text: Option<String>,
    /// The table of its dead letters, `dataset.table`; absent means that of its rows and `_error_records`.
    pub dead_letter_table: Option<String>,
    /// The column whose day partitions the table.
    #[serde(default)]
    pub partition: Option<String>,
    /// The columns that rows are clustered by.
    #[serde(default)]
    pub clustering: Vec<String>,
    /// The transformation; absent means that payloads are rows already.
    pub udf: Option<Udf>,
    /// When a window closes.
    #[serde(default)]
    pub window: Window,
    /// UDF engines; 0 means one for each core.
    #[serde(default)]
    pub workers: usize,
    /// Fold the topic from its beginning though the table has folded another topic of that name: for
    /// when the old one was deleted on purpose.
    #[serde(default)]
    pub adopt_new_topic: bool,
}

/// The transformation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Udf {
    /// A `.js` file, or a folder or a pattern of which all `.js` files are loaded in order of name; absent
    /// means the embedded `transform.js`.
    pub path: Option<PathBuf>,
    /// The function to call. A path without a function is an error: the template that this replaces
    /// passes messages through untransformed then, silently.
    pub function: Option<String>,
    /// What the function takes.
    pub shape: UdfShape,
    /// What happens where the template loses messages silently.
    pub mode: UdfMode,
    /// Whether `Math.random` and the clock are the message's own, so that a replay gives the same.
    pub reproducible: bool,
    /// Whether `console.log` and `print` write to the log; they may carry what is in messages.
    pub console: bool,
    /// Whether a script that only picks and places parts of a message runs as a native plan, without an engine.
    pub native_plan: bool,
    /// How long one message may take, in milliseconds.
    pub time_limit_ms: u64,
    /// How much memory one engine may take, in bytes.
    pub heap_bytes_max: usize,
    /// How often the script's file is looked at while the server runs, in seconds; 0: never.
    pub reload_interval_seconds: Option<u64>,
    /// The same in minutes, as the template's `javascriptTextTransformReloadIntervalMinutes` has it.
    pub reload_interval_minutes: Option<u64>,
    /// How a new version is tried before it may run.
    pub trial: Trial,
    /// Versions whose text is kept at most; older ones are removed, and the history says so.
    pub versions_max: usize,
}

impl Default for Udf {
    fn default() -> Self {
        Self {
            path: None,
            function: None,
            shape: UdfShape::Auto,
            mode: UdfMode::Strict,
            reproducible: false,
            console: true,
            native_plan: true,
            time_limit_ms: 500,
            heap_bytes_max: 64 << 20,
            reload_interval_seconds: None,
            reload_interval_minutes: None,
            trial: Trial::default(),
            versions_max: VERSIONS_MAX,
        }
    }
}

/// What a UDF's function takes and returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum UdfShape {
    /// Told from the number of its parameters: two are a single message transform.
    Auto,
    /// The Dataflow template's `f(string) -> string`.
    Template,
    /// Pub/Sub's single message transform, `f(message, metadata) -> message | null`.
    MessageTransform,
}

/// What happens where the Dataflow template loses messages silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum UdfMode {
    /// An error at the start, or a dead letter.
    Strict,
    /// The same as there, but counted.
    Compatible,
}

/// When a window closes: at whichever comes first.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    /// Messages.
    pub rows_max: usize,
    /// Payload bytes.
    pub bytes_max: usize,
    /// Age of its first message, in milliseconds.
    pub age_ms_max: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { rows_max: 65_536, bytes_max: 32 << 20, age_ms_max: 1000 }
    }
}

/// Limits on queries, and the user's views.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sql {
    /// Memory that queries may take together, in bytes; what does not fit is spilled to disk.
    pub memory_bytes_max: usize,
    /// Bytes on disk that queries may spill together.
    pub spill_bytes_max: u64,
    /// How long one query may run, in seconds, its wait for its turn included.
    pub timeout_seconds: u64,
    /// Rows that one answer may have.
    pub rows_max: usize,
    /// Queries that run at once; further ones wait for their turn.
    pub queries_at_once_max: usize,
    /// Queries that wait for their turn; further ones are refused.
    pub queries_waiting_max: usize,
    /// A folder of `.sql` files, each the definition of a view; absent means `views` in the data
    /// directory, made when it is first written to.
    pub views: Option<PathBuf>,
    /// A file of model prices, in the form of `sql/prices.csv`.
    pub prices_file: Option<PathBuf>,
    /// How people are named in the views.
    pub pseudonyms: Pseudonyms,
    /// A file with the secret key of `pseudonyms = "hmac"`: at least 32 bytes, for its owner only.
    pub pseudonym_key_file: Option<PathBuf>,
    /// Rows that are stored of one materialised view at most.
    pub materialized_rows_max: u64,
    /// Bytes that are stored of one materialised view at most.
    pub materialized_bytes_max: u64,
    /// Memory that refreshing a materialised view may take, in bytes, beside that of queries.
    pub refresh_memory_bytes_max: usize,
    /// How long refreshing a materialised view may take, in seconds.
    pub refresh_timeout_seconds: u64,
}

impl Default for Sql {
    fn default() -> Self {
        Self {
            memory_bytes_max: 1 << 30,
            spill_bytes_max: 16 << 30,
            timeout_seconds: 60,
            rows_max: 1_000_000,
            queries_at_once_max: 8,
            queries_waiting_max: 64,
            views: None,
            prices_file: None,
            pseudonyms: Pseudonyms::Off,
            pseudonym_key_file: None,
            materialized_rows_max: 10_000_000,
            materialized_bytes_max: 1 << 30,
            refresh_memory_bytes_max: 256 << 20,
            refresh_timeout_seconds: 1800,
        }
    }
}

/// How people are named in the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pseudonyms {
    /// By their e-mail.
    Off,
    /// By its SHA-256, which who has a list of e-mails can guess.
    Sha256,
    /// By its HMAC-SHA256 under the key of `pseudonym_key_file`.
    Hmac,
}

/// Limits on replays of dead letters.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// A dead letter that was tried so often, the first time included, is not replayed any more.
    pub attempts_max: i64,
    /// Dead letters of one replay or purge; further ones wait for the next.
    pub messages_max: usize,
    /// Dead letters that are committed at once.
    pub batch_messages_max: usize,
    /// Bytes of dead letters that are committed at once.
    pub batch_bytes_max: usize,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            messages_max: 1_000_000,
            batch_messages_max: 8192,
            batch_bytes_max: 32 << 20,
        }
    }
}

/// The audit that the server makes of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Seconds from one audit to the next; longer after one that took long, so that it takes a twentieth of
    /// the time at most. 0: none.
    pub interval_seconds: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { interval_seconds: 600 }
    }
}

/// The tables' upkeep.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lake {
    /// How many small files of a partition are merged into one.
    pub compaction_files_min: usize,
    /// Files of this size in bytes are not merged any more.
    pub compaction_target_bytes: u64,
    /// Seconds between looks for something to merge.
    pub compaction_interval_seconds: u64,
    /// How long removed files are kept for queries that still read them, in minutes.
    pub removed_file_retention_minutes: u64,
    /// Commits between checkpoints.
    pub checkpoint_commits: u64,
    /// Most data files that one window writes.
    pub partition_files_max: usize,
    /// Whether the values of often asked JSON paths are kept in hidden columns beside the JSON text.
    pub typed_columns: bool,
}

impl Default for Lake {
    fn default() -> Self {
        Self {
            compaction_files_min: 16,
            compaction_target_bytes: 128 << 20,
            compaction_interval_seconds: 10,
            removed_file_retention_minutes: 60,
            checkpoint_commits: 100,
            partition_files_max: 32,
            typed_columns: true,
        }
    }
}
