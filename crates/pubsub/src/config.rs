//! What an operator can set.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use millrace_log::TopicConfig;
use millrace_udf::ChildCommand;

use crate::export::ExportHook;

/// The settings of the Pub/Sub server. [`PubsubConfig::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct PubsubConfig {
    /// The project whose topics are the log's own, under their own names: those that ingest fills and
    /// pipelines read.
    pub project: String,
    /// Topics of that project that must not be deleted: somebody in this process has them open.
    pub kept_topics: KeptTopics,
    /// Settings of topics that are made here.
    pub topic: TopicConfig,
    /// Bytes that one subscription or snapshot may hold back in its topic. Beyond that it lets go, and
    /// what it has not delivered may be removed: it must not stop publishers.
    pub backlog_bytes_max: u64,
    /// Messages of one subscription that are out, or wait to be delivered again.
    pub outstanding_messages_max: usize,
    /// The process that message transforms run in when too many of their engines are stuck here.
    pub transform_child: Option<ChildCommand>,
    /// Who writes BigQuery subscriptions to tables.
    pub exports: ExportHook,
    /// Most topics, subscriptions or snapshots, each.
    pub resources_max: usize,
    /// Most requests in hand, streams excepted.
    pub requests_in_flight_max: usize,
    /// Most bytes of request bodies in hand.
    pub in_flight_bytes_max: usize,
    /// How long a request's body may take to come; streams, which send when they like, excepted.
    pub body_read_timeout: Duration,
    /// Most open streams.
    pub streams_max: usize,
    /// Most messages of one subscription that are pushed at once.
    pub push_messages_max: usize,
    /// Most requests of all push subscriptions that are out at once.
    pub push_requests_max: usize,
    /// How long a stream may stay open; clients open another one then.
    pub stream_lifetime: Duration,
    /// How long a pull waits for a message before it is answered empty.
    pub pull_wait: Duration,
}

impl PubsubConfig {
    /// The default limits.
    #[must_use]
    pub fn new(project: String) -> Self {
        Self {
            project,
            kept_topics: KeptTopics::default(),
            topic: TopicConfig::default(),
            backlog_bytes_max: 8 << 30,
            outstanding_messages_max: 100_000,
            transform_child: None,
            exports: ExportHook::default(),
            resources_max: 10_000,
            requests_in_flight_max: 1_024,
            in_flight_bytes_max: 256 << 20,
            body_read_timeout: Duration::from_secs(30),
            streams_max: 20_000,
            push_messages_max: 100,
            push_requests_max: 1_000,
            stream_lifetime: Duration::from_secs(30 * 60),
            pull_wait: Duration::from_secs(10),
        }
    }
}

/// Names of topics that somebody else in this process depends on. Clones share one set: a configuration
/// that is taken up while the server runs may add to it.
#[derive(Debug, Clone, Default)]
pub struct KeptTopics(Arc<RwLock<BTreeSet<String>>>);

impl KeptTopics {
    /// Adds names.
    pub fn extend(&self, names: impl IntoIterator<Item = String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    /// Whether that name is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}
