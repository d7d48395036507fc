//! What an engine is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use millrace_model::names;
use tokio::runtime::Handle;

use crate::pseudonyms::PseudonymKey;

/// How people are named in `gemini_analytics_view` and everything that stands on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pseudonyms {
    /// `user_email` in clear.
    #[default]
    Off,
    /// `user_pseudonym` and `installation_id_hash`: SHA-256 in hexadecimal digits; e-mail addresses in
    /// the passed-through JSON are blanked.
    Sha256,
    /// The same columns by HMAC-SHA256: who has not got the key cannot confirm a guessed e-mail.
    Hmac(PseudonymKey),
}

/// Settings of an [`crate::Engine`]; each limit has its unit in its name.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The project that templates name. In a query any project names this one.
    pub project: String,
    /// The dataset of names without one; the built-in views live here.
    pub default_dataset: String,
    /// Most memory that all running queries together may hold in sorts, joins and groups.
    pub memory_bytes_max: usize,
    /// Where sorts and groups that do not fit spill to; `None`: they fail instead.
    pub spill_dir: Option<PathBuf>,
    /// Most bytes that all spill files together take.
    pub spill_bytes_max: u64,
    /// Most rows of one result.
    pub rows_max: usize,
    /// Longest a query may run, from its parsing to its last row.
    pub timeout: Duration,
    /// Most queries that run at once; further ones wait.
    pub queries_at_once_max: usize,
    /// Most queries that wait for their turn, each for as long as it might run; further ones are refused.
    pub queries_waiting_max: usize,
    /// What queries run on; `None`: the runtime of who asks.
    pub runtime: Option<Handle>,
    /// How many threads' worth of work one query is cut into.
    pub partitions: usize,
    /// Longest query text (BigQuery: 1 MB, <https://cloud.google.com/bigquery/quotas#query_jobs>).
    pub query_bytes_max: usize,
    /// A folder whose `.sql` files become views, each named like its file. It need not exist.
    pub user_views_dir: Option<PathBuf>,
    /// What is kept of materialised views' results.
    pub results: ResultsConfig,
    /// A file of model prices in the form of `sql/prices.csv`, instead of the built-in ones.
    pub prices_file: Option<PathBuf>,
    /// How people are named in the views.
    pub pseudonyms: Pseudonyms,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            project: names::PROJECT.to_owned(),
            default_dataset: names::DATASET.to_owned(),
            memory_bytes_max: 512 * 1024 * 1024,
            spill_dir: None,
            spill_bytes_max: 16 * 1024 * 1024 * 1024,
            rows_max: 1_000_000,
            timeout: Duration::from_secs(60),
            queries_at_once_max: 8,
            queries_waiting_max: 64,
            runtime: None,
            partitions: 2,
            query_bytes_max: 1024 * 1024,
            user_views_dir: None,
            results: ResultsConfig::default(),
            prices_file: None,
            pseudonyms: Pseudonyms::default(),
        }
    }
}

/// Where and how the results of materialised views are kept.
#[derive(Debug, Clone)]
pub struct ResultsConfig {
    /// The folder of stored results; `None`: materialised views are computed like all others.
    pub dir: Option<PathBuf>,
    /// Most rows of one stored result.
    pub rows_max: u64,
    /// Most bytes of one stored result.
    pub bytes_max: u64,
    /// Most memory that a refresh may hold in sorts, joins and groups, beside that of queries.
    pub refresh_memory_bytes_max: usize,
    /// Longest a refresh may run.
    pub refresh_timeout: Duration,
    /// What refreshes run on; `None`: the runtime of who asks.
    pub runtime: Option<Handle>,
}

impl Default for ResultsConfig {
    fn default() -> Self {
        Self {
            dir: None,
            rows_max: 10_000_000,
            bytes_max: 1024 * 1024 * 1024,
            refresh_memory_bytes_max: 256 * 1024 * 1024,
            refresh_timeout: Duration::from_secs(30 * 60),
            runtime: None,
        }
    }
}
