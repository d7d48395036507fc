//! The sections `[[source]]`.

use serde::Deserialize;

/// A subscription of the real Pub/Sub that is read into a topic.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, in the status and as label of its metrics.
    pub name: String,
    /// The subscription, `projects/P/subscriptions/S`; this or `topic`.
    pub subscription: Option<String>,
    /// A topic, `projects/P/topics/T`, through a temporary subscription that is made for it.
    pub topic: Option<String>,
    /// The project of the temporary subscription; absent means the topic's.
    pub project: Option<String>,
    /// The topic of the log that it fills.
    pub into: String,
    /// `HOST:PORT` of an emulator, without TLS and credentials, or `https://HOST`; absent means
    /// `PUBSUB_EMULATOR_HOST`, and without that Google's.
    pub endpoint: Option<String>,
    /// The e-mail of the service account to act as; absent means the account of the default credentials.
    pub impersonate: Option<String>,
    /// Whether the disk keeps what is synced. If not, a message is acknowledged when its row is committed: at
    /// least once.
    #[serde(default = "durable")]
    pub durable: bool,
    /// Messages received and not yet acknowledged.
    #[serde(default = "outstanding_messages_max")]
    pub outstanding_messages_max: usize,
    /// Their bytes; a larger single message is taken alone.
    #[serde(default = "outstanding_bytes_max")]
    pub outstanding_bytes_max: usize,
    /// How long the service waits for a sign of life before it delivers a message again, 10 to 600.
    #[serde(default = "ack_deadline_seconds")]
    pub ack_deadline_seconds: u64,
    /// How long a message that comes again is recognised at least; `log.dedup_entries_max` bounds it, too.
    #[serde(default = "dedup_window_seconds")]
    pub dedup_window_seconds: u64,
}

fn durable() -> bool {
    true
}

fn outstanding_messages_max() -> usize {
    1000
}

fn outstanding_bytes_max() -> usize {
    100 << 20
}

fn ack_deadline_seconds() -> u64 {
    60
}

/// As long as a subscription keeps what is not acknowledged, unless it is told otherwise.
fn dedup_window_seconds() -> u64 {
    7 * 24 * 3600
}
