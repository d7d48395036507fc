//! Figures about a topic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_model::{Micros, Offset, TopicId};

/// What a topic counts while it runs. Everything that must survive a restart is in its files instead.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    sync_micros: AtomicU64,
    sync_micros_max: AtomicU64,
    write_micros: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) duplicates_answered: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) too_large: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) repairs: AtomicU64,
    pub(crate) torn_bytes: AtomicU64,
    pub(crate) folded_early: AtomicU64,
}

impl Counters {
    pub(crate) fn count_sync(&self, write: Duration, sync: Duration) {
        let sync_micros = micros(sync);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_micros.fetch_add(sync_micros, Ordering::Relaxed);
        self.sync_micros_max.fetch_max(sync_micros, Ordering::Relaxed);
        self.write_micros.fetch_add(micros(write), Ordering::Relaxed);
    }

    pub(crate) fn activity(&self) -> Activity {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Activity {
            syncs_total: get(&self.syncs),
            sync_micros_total: get(&self.sync_micros),
            sync_micros_max: get(&self.sync_micros_max),
            write_micros_total: get(&self.write_micros),
            appended_bytes_total: get(&self.appended_bytes),
            duplicates_total: get(&self.duplicates_answered),
            refused_total: get(&self.refused),
            too_large_total: get(&self.too_large),
            failures_total: get(&self.failures),
            repairs_total: get(&self.repairs),
            torn_bytes: get(&self.torn_bytes),
            folded_removed_early_total: get(&self.folded_early),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A topic's figures. Those called `_total` survive restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicStats {
    /// The permanent id; zeros when the topic's `topic.json` cannot be read.
    pub id: TopicId,
    /// The name.
    pub name: String,
    /// Why the topic is out of work; `None` when it works.
    pub failure: Option<String>,
    /// The oldest message that is still there.
    pub start: Offset,
    /// Behind the newest durable message: how many were ever accepted.
    pub end: Offset,
    /// Bytes on disk, index files not counted.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: u64,
    /// Duplicates dropped since the topic began.
    pub duplicates_total: u64,
    /// Messages removed before every holder had folded them.
    pub expired_total: u64,
    /// When the oldest message was published; `None` when there is none.
    pub oldest_publish_time: Option<Micros>,
    /// When the newest message was published; `None` when there never was one.
    pub newest_publish_time: Option<Micros>,
    /// Bytes accepted and not yet durable.
    pub unsynced_bytes: u64,
    /// Stored bytes that some holder has not folded; 0 when nobody holds the topic.
    pub held_bytes: u64,
    /// Keys in the deduplication window.
    pub dedup_entries: u64,
    /// Bytes of frames kept in memory for readers.
    pub cache_bytes: u64,
    /// Cursors that were detached because they held back too much.
    pub cursors_detached_total: u64,
    /// Cursors that expired because nobody used them.
    pub cursors_expired_total: u64,
    /// What happened since the log was opened.
    pub activity: Activity,
}

/// What a topic did since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Frames written, which is syncs done.
    pub syncs_total: u64,
    /// Time spent in those syncs.
    pub sync_micros_total: u64,
    /// The longest of them.
    pub sync_micros_max: u64,
    /// Time spent in the writes before them.
    pub write_micros_total: u64,
    /// Bytes of frames written.
    pub appended_bytes_total: u64,
    /// Duplicates dropped.
    pub duplicates_total: u64,
    /// Appends refused: backpressure, or out of work.
    pub refused_total: u64,
    /// Appends refused because a message was too large.
    pub too_large_total: u64,
    /// How often the topic stopped because its disk failed.
    pub failures_total: u64,
    /// How often it went back to work.
    pub repairs_total: u64,
    /// Bytes of a torn tail that were cut when the topic was opened.
    pub torn_bytes: u64,
    /// Folded segments removed before `folded_retention` because they were over `folded_bytes_max`.
    pub folded_removed_early_total: u64,
}

/// What maintenance did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Segments removed.
    pub segments_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
    /// Messages removed before every holder had folded them.
    pub messages_expired: u64,
    /// Cursors that held back too much.
    pub cursors_detached: u64,
    /// Cursors that nobody used.
    pub cursors_expired: u64,
    /// Topics that could not be maintained: name and reason.
    pub failures: Vec<(String, String)>,
}
