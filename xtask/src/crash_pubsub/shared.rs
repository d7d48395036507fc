//! What publishers, subscribers and rounds share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::oracle::{Oracle, Way};

/// Between attempts while the server is away.
pub const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Shared by all tasks of a run.
pub struct Shared {
    /// The oracle.
    pub oracle: Oracle,
    /// Where the server is, as `host:port`.
    pub address: String,
    /// How often the server was started.
    pub life: AtomicU64,
    /// Streams and pulls so far.
    streams: AtomicU64,
    /// Set when faults are over and the server is down: subscribers end, another one takes their place.
    pub ending: AtomicBool,
    /// Set when the server is back for good: publishers finish what they hold and end.
    pub finishing: AtomicBool,
    /// Publish requests sent and not answered at this moment.
    pub in_flight: AtomicU64,
    /// Counts for the summary.
    pub counts: Counts,
}

/// What tasks count.
#[derive(Debug, Default)]
pub struct Counts {
    /// Publish requests acknowledged.
    pub published_requests: AtomicU64,
    /// Publish requests without an answer.
    pub lost_replies: AtomicU64,
    /// Publish requests that the server put off.
    pub put_off: AtomicU64,
    /// Streams that broke, or were hung up.
    pub streams_ended: AtomicU64,
    /// Messages given back.
    pub nacks: AtomicU64,
    /// Messages neither acked nor given back.
    pub forgotten: AtomicU64,
    /// Changes of a BigQuery subscription's table.
    pub moves: AtomicU64,
    /// Snapshots made.
    pub snapshots: AtomicU64,
    /// Seeks to them.
    pub seeks: AtomicU64,
    /// Those of them over a restart of the server.
    pub seeks_over_restarts: AtomicU64,
}

impl Shared {
    /// At the beginning of a run.
    pub fn new(seed: u64, port: u16) -> Self {
        Self {
            oracle: Oracle::new(seed),
            address: format!("127.0.0.1:{port}"),
            life: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            finishing: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// A new way for messages to come. Asked for before the call: who calls a server of a later life than this
    /// says judges too mildly, never too hard.
    pub fn way(&self) -> Way {
        Way { life: self.life.load(Relaxed), stream: self.streams.fetch_add(1, Relaxed) }
    }

    /// Whether subscribers end.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }
}
