//! A topic without its writer: what the writer, readers, retention and cursors share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use millrace_disk::Disk;
use millrace_model::{Offset, TopicId};
use tokio::sync::watch;

use crate::cache::FrameCache;
use crate::dedup::DedupWindow;
use crate::frame::Frame;
use crate::glance::Glance;
use crate::meta::TopicFile;
use crate::open_segments::OpenSegments;
use crate::queue::Queue;
use crate::segment::Tail;
use crate::shared::Shared;
use crate::stats::Counters;
use crate::sync::lock;
use crate::{LogConfig, LogError, TopicStats};

/// A topic without its writer.
pub(crate) struct Core {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) read_only: bool,
    pub(crate) id: OnceLock<TopicId>,
    pub(crate) shared: Mutex<Shared>,
    /// Told whenever the end moves or the topic closes.
    pub(crate) changed: Condvar,
    /// The same end, for readers that are async tasks.
    pub(crate) end: watch::Sender<Offset>,
    /// Held while `topic.json` or `readers.json` is being changed.
    pub(crate) files: Mutex<()>,
    pub(crate) queue: Queue,
    pub(crate) cache: Mutex<FrameCache>,
    pub(crate) open_segments: Mutex<OpenSegments>,
    pub(crate) counters: Counters,
    /// What appends look at.
    pub(crate) glance: Glance,
    deleted: AtomicBool,
    /// How many keys the writer remembers.
    dedup_entries: AtomicU64,
    /// The oldest message whose key it remembers.
    dedup_from: AtomicU64,
}

impl Core {
    /// A topic of which nothing is known yet.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        directory: PathBuf,
        name: &str,
        config: &Arc<LogConfig>,
        read_only: bool,
    ) -> Self {
        Self {
            name: name.to_owned(),
            directory,
            disk: Arc::clone(disk),
            config: Arc::clone(config),
            read_only,
            id: OnceLock::new(),
            shared: Mutex::new(Shared::nothing()),
            changed: Condvar::new(),
            end: watch::Sender::new(Offset::ZERO),
            files: Mutex::new(()),
            queue: Queue::default(),
            cache: Mutex::new(FrameCache::new(config.cache_bytes_max)),
            open_segments: Mutex::new(OpenSegments::default()),
            counters: Counters::default(),
            glance: Glance::default(),
            deleted: AtomicBool::new(false),
            dedup_entries: AtomicU64::new(0),
            dedup_from: AtomicU64::new(u64::MAX),
        }
    }

    /// The permanent id; zeros while it is not known.
    pub(crate) fn id(&self) -> TopicId {
        self.id.get().copied().unwrap_or(TopicId([0; 16]))
    }

    /// The topic's figures.
    pub(crate) fn stats(&self) -> TopicStats {
        let cache_bytes = lock(&self.cache).bytes() as u64;
        let shared = lock(&self.shared);
        let first_time = shared.sealed.front().map(|segment| segment.facts.first_time);
        let oldest = first_time.or_else(|| shared.active.as_ref().and_then(|active| active.first_time));
        TopicStats {
            id: self.id(),
            name: self.name.clone(),
            failure: shared.failure.as_ref().map(|failure| failure.reason.clone()),
            start: shared.start,
            end: shared.tail.end,
            bytes: shared.bytes(),
            segments: shared.sealed.len() as u64 + u64::from(shared.active.is_some()),
            duplicates_total: shared.tail.duplicates_total,
            expired_total: shared.expired_total,
            oldest_publish_time: oldest,
            newest_publish_time: (shared.tail.end > Offset::ZERO).then_some(shared.tail.last_time),
            held_bytes: shared.held_from().map_or(0, |from| shared.stored_end() - shared.stored_at(from)),
            cursors_detached_total: shared.readers.cursors_detached_total,
            cursors_expired_total: shared.readers.cursors_expired_total,
            unsynced_bytes: self.queue.bytes() as u64,
            dedup_entries: self.dedup_entries.load(Ordering::Relaxed),
            cache_bytes,
            activity: self.counters.activity(),
        }
    }

    /// What `topic.json` should say now.
    pub(crate) fn topic_file(&self, shared: &Shared) -> Result<TopicFile, LogError> {
        let unknown = || LogError::Unavailable {
            topic: self.name.clone(),
            reason: shared.failure.as_ref().map_or_else(String::new, |failure| failure.reason.clone()),
        };
        if self.is_deleted() {
            return Err(LogError::NoTopic(self.name.clone()));
        }
        let id = self.id.get().filter(|_| shared.active.is_some()).ok_or_else(unknown)?;
        let mut file = TopicFile::new(*id, &self.name, shared.config.clone());
        file.start = shared.start.0;
        file.expired_total = shared.expired_total;
        Ok(file)
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Takes no more appends, finishes those it has, and writes down who holds it.
    pub(crate) fn close(&self) {
        self.queue.close();
        self.changed.notify_all();
        if let Err(error) = self.save_readers() {
            tracing::warn!(topic = self.name, %error, "the readers' newest positions were not written down");
        }
    }

    /// Takes no more appends and writes no more files; the guard keeps others from its files.
    pub(crate) fn delete(&self) -> MutexGuard<'_, ()> {
        self.queue.close();
        self.changed.notify_all();
        let files = lock(&self.files);
        self.deleted.store(true, Ordering::Release);
        files
    }

    /// Shows a frame that was just synced.
    pub(crate) fn publish(&self, frame: &Frame, tail: Tail) {
        self.counters.appended_bytes.fetch_add(frame.bytes.len() as u64, Ordering::Relaxed);
        let mut shared = lock(&self.shared);
        shared.publish(frame, tail, self.config.index_interval_bytes);
        self.glance.note_end(&shared);
        drop(shared);
        // After the end was moved: nobody may read what lies beyond the end that he is told.
        lock(&self.cache).put_recent(frame);
        self.changed.notify_all();
        self.end.send_replace(tail.end);
    }

    /// Takes note of what the writer remembers.
    pub(crate) fn note_dedup(&self, dedup: &DedupWindow) {
        self.dedup_entries.store(dedup.len() as u64, Ordering::Relaxed);
        self.dedup_from.store(dedup.first_offset().0, Ordering::Relaxed);
    }

    /// The oldest message whose key is remembered; beyond all messages when there is none.
    pub(crate) fn dedup_from(&self) -> Offset {
        Offset(self.dedup_from.load(Ordering::Relaxed))
    }
}
