//! What can be set, and what it is when nobody sets it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_model::Micros;
use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where the log takes the time from. Tests set their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Micros + Send + Sync>);

impl Clock {
    /// A clock that asks `now`. It may go back; publish times will not.
    pub fn new(now: impl Fn() -> Micros + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Micros {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Micros::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}

/// Settings of a whole log; not stored with it.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A segment is sealed before it would grow beyond this (one frame larger than that excepted), or
    /// beyond an eighth of its topic's `bytes_max`, whichever is less.
    pub segment_bytes_max: u64,
    /// A segment is sealed when its first message is older than this, or than an eighth of its topic's
    /// `retention_age`, so that a quiet topic's messages leave in time.
    pub segment_age_max: Duration,
    /// The most message bytes that one frame, and so one sync, collects (a larger single message
    /// excepted).
    pub batch_bytes_max: usize,
    /// How many times larger a frame may be while syncs take longer than `batch_linger`: then bytes are
    /// cheap and syncs are not.
    pub batch_growth_max: usize,
    /// The longest that a frame waits for company. It waits only when the last sync took less than
    /// this and had company; else the disk itself is the wait.
    pub batch_linger: Duration,
    /// Distance between two entries of a segment's sparse index: the most that a read by offset or
    /// time has to skip, except inside one frame.
    pub index_interval_bytes: u64,
    /// The most bytes of appends accepted and not yet durable, for each topic. One append may exceed
    /// it when nothing else waits.
    pub queue_bytes_max: usize,
    /// The most bytes of recent frames kept in memory for readers, for each topic, and the most of
    /// frames that lagging readers have taken in part; of these one is kept whatever its size.
    pub cache_bytes_max: usize,
    /// The most memory that the keys of one topic's deduplication window take.
    pub dedup_memory_bytes_max: usize,
    /// A topic's writer thread ends after this long without work.
    pub writer_idle_max: Duration,
    /// A topic that stopped because its disk failed tries again after this long, and then after twice
    /// as long each time up to [`repair_backoff_max`](Self::repair_backoff_max). Zero: at the next
    /// append, and only then.
    pub repair_backoff_min: Duration,
    /// See [`repair_backoff_min`](Self::repair_backoff_min).
    pub repair_backoff_max: Duration,
    /// Where time comes from.
    pub clock: Clock,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 * MIB,
            segment_age_max: DAY,
            batch_bytes_max: 1024 * 1024,
            batch_growth_max: 4,
            batch_linger: Duration::from_millis(2),
            index_interval_bytes: 64 * KIB,
            queue_bytes_max: 64 * 1024 * 1024,
            cache_bytes_max: 4 * 1024 * 1024,
            dedup_memory_bytes_max: 64 * 1024 * 1024,
            writer_idle_max: Duration::from_secs(5),
            repair_backoff_min: Duration::from_millis(100),
            repair_backoff_max: Duration::from_secs(5),
            clock: Clock::default(),
        }
    }
}

/// Settings of one topic, stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicConfig {
    /// The most bytes of messages that some holder has not folded: appends beyond it are refused. When
    /// a topic is larger than this in all, what may go goes, oldest first: folded segments older than
    /// `folded_retention`, or anything when nobody holds the topic.
    pub bytes_max: u64,
    /// Messages older than this are removed, folded or not.
    #[serde(with = "micros", rename = "retention_age_micros")]
    pub retention_age: Duration,
    /// How long a folded segment is kept at least.
    #[serde(with = "micros", rename = "folded_retention_micros")]
    pub folded_retention: Duration,
    /// The most bytes of folded segments that `folded_retention` keeps when the topic is over
    /// `bytes_max`. It bounds the topic's size on disk at any rate of input: `bytes_max` plus this.
    pub folded_bytes_max: u64,
    /// How long a message's key is remembered for deduplication.
    #[serde(with = "micros", rename = "dedup_age_micros")]
    pub dedup_age: Duration,
    /// The most keys that are remembered.
    pub dedup_entries_max: usize,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            bytes_max: 10 * GIB,
            retention_age: 7 * DAY,
            folded_retention: HOUR,
            folded_bytes_max: 10 * GIB,
            dedup_age: Duration::from_secs(600),
            dedup_entries_max: 1_000_000,
        }
    }
}

/// Where a new cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CursorStart {
    /// At the oldest message there is.
    Oldest,
    /// Behind the newest message.
    #[default]
    End,
    /// At this offset, which must lie inside the topic's bounds.
    At(millrace_model::Offset),
}

/// Whether a cursor still holds messages back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorState {
    /// It does.
    Attached,
    /// It held back more than its budget, so its messages may be gone.
    Detached,
    /// Nobody used it for too long, so its messages may be gone.
    Expired,
}

impl CursorState {
    /// The word used in errors and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Expired => "expired",
        }
    }
}

/// Settings of a cursor, stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CursorConfig {
    /// The most bytes that the cursor may hold back from removal; beyond it, it is detached. Never more
    /// than the topic's `bytes_max`, so that a forgotten cursor cannot stop ingest.
    pub backlog_bytes_max: u64,
    /// A cursor that nobody advances or touches for this long expires.
    #[serde(with = "micros", rename = "expires_after_micros")]
    pub expires_after: Duration,
}

impl Default for CursorConfig {
    /// 1 GiB, and Pub/Sub's 31 days.
    fn default() -> Self {
        Self { backlog_bytes_max: GIB, expires_after: 31 * DAY }
    }
}

/// A duration as whole microseconds, the unit of every time in the files.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
