//! A topic: where appends go in and readers look on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use millrace_disk::Disk;
use millrace_model::{NewMessage, Offset, TopicId};
use tokio::sync::oneshot;

use crate::admission::Glance;
use crate::append::{Append, Appended};
use crate::cache::FrameCache;
use crate::dedup::DedupWindow;
use crate::frame::Frame;
use crate::meta::{TopicFile, read_topic, write_topic};
use crate::queue::{PendingAppend, Queue};
use crate::read::OpenSegments;
use crate::recover::{Opened, Place, open_topic};
use crate::segment::Tail;
use crate::shared::Shared;
use crate::stats::Counters;
use crate::sync::lock;
use crate::writer::Writer;
use crate::{LogConfig, LogError, TopicConfig, TopicStats};

/// A reader in another process may meet files that the writer is just replacing.
const READ_ONLY_ATTEMPTS_MAX: u32 = 5;

/// A topic. Appends are answered when durable; reading goes through [`millrace_model::Source`].
pub struct Topic {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) read_only: bool,
    id: OnceLock<TopicId>,
    pub(crate) shared: Mutex<Shared>,
    /// Told whenever the end moves or the topic closes.
    pub(crate) changed: Condvar,
    pub(crate) writer: Mutex<Option<Writer>>,
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

impl Topic {
    /// Opens the topic in `directory`; one that cannot be opened is there all the same, out of work.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        name: &str,
        config: &Arc<LogConfig>,
        read_only: bool,
    ) -> Arc<Self> {
        let topic = Arc::new(Self {
            name: name.to_owned(),
            directory: directory.to_path_buf(),
            disk: Arc::clone(disk),
            config: Arc::clone(config),
            read_only,
            id: OnceLock::new(),
            shared: Mutex::new(Shared::nothing()),
            changed: Condvar::new(),
            writer: Mutex::new(None),
            files: Mutex::new(()),
            queue: Queue::default(),
            cache: Mutex::new(FrameCache::new(config.cache_bytes_max)),
            open_segments: Mutex::new(OpenSegments::default()),
            counters: Counters::default(),
            glance: Glance::default(),
            deleted: AtomicBool::new(false),
            dedup_entries: AtomicU64::new(0),
            dedup_from: AtomicU64::new(u64::MAX),
        });
        let mut writer = lock(&topic.writer);
        if let Err(error) = topic.read_files(&mut writer) {
            topic.stop(&error);
        }
        drop(writer);
        topic
    }

    /// The permanent id; zeros while the topic's `topic.json` cannot be read.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.id.get().copied().unwrap_or(TopicId([0; 16]))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> TopicConfig {
        lock(&self.shared).config.clone()
    }

    /// Why the topic is out of work; `None` when it works.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared).failure.as_ref().map(|failure| failure.reason.clone())
    }

    /// Appends messages in order. The answer comes when they are durable; many appends share a sync.
    /// A message whose key is in the deduplication window is not stored again, and its answer waits
    /// for the first copy. Never blocks on the disk, so an async task may call it.
    pub fn append(self: &Arc<Self>, messages: Vec<NewMessage>) -> Append {
        if messages.is_empty() {
            return Append::known(Ok(Appended { offsets: Vec::new(), duplicates: 0 }));
        }
        let bytes = match self.weigh(&messages) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.counters.too_large.fetch_add(1, Ordering::Relaxed);
                return Append::known(Err(error));
            }
        };
        let (sender, receiver) = oneshot::channel();
        let append = PendingAppend { messages, arrived: self.config.clock.now(), bytes, sender };
        match self.enqueue(append) {
            Ok(()) => Append::coming(&self.name, receiver),
            Err(error) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Append::known(Err(error))
            }
        }
    }

    /// The topic's figures.
    #[must_use]
    pub fn stats(&self) -> TopicStats {
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

    /// Changes the settings, durably.
    pub(crate) fn configure(&self, config: &TopicConfig) -> Result<(), LogError> {
        let files = lock(&self.files);
        let mut file = {
            let shared = lock(&self.shared);
            if shared.config == *config {
                return Ok(());
            }
            self.topic_file(&shared)?
        };
        file.config = config.clone();
        write_topic(&*self.disk, &self.directory, &file)?;
        lock(&self.shared).config = config.clone();
        drop(files);
        self.refresh_budget();
        if let Some(writer) = lock(&self.writer).as_mut() {
            writer.refresh(self, config);
        }
        Ok(())
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
        lock(&self.cache).put_recent(frame);
        let mut shared = lock(&self.shared);
        shared.publish(frame, tail, self.config.index_interval_bytes);
        self.glance.note_end(&shared);
        drop(shared);
        self.changed.notify_all();
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

    pub(crate) fn read_files(&self, writer: &mut Option<Writer>) -> Result<(), LogError> {
        let (disk, directory) = (&*self.disk, self.directory.as_path());
        let place = Place { disk, directory, config: &self.config, read_only: self.read_only };
        let attempts_max = if self.read_only { READ_ONLY_ATTEMPTS_MAX } else { 1 };
        let mut attempt = 1;
        let opened = loop {
            match open_topic(place) {
                Err(_) if attempt < attempts_max => attempt += 1,
                Err(error) => {
                    // Even a damaged topic should say who it is, if it can.
                    if let Ok(Some(id)) =
                        read_topic(disk, directory).map(|file| file.and_then(|f| f.id(directory).ok()))
                    {
                        let _ = self.id.set(id);
                    }
                    return Err(error);
                }
                Ok(opened) => break opened,
            }
        };
        let _ = self.id.set(opened.id);
        self.install(opened, writer);
        Ok(())
    }

    fn install(&self, opened: Opened, writer: &mut Option<Writer>) {
        let Opened { file, readers, sealed, active, tail, dedup, orphans, torn_bytes, .. } = opened;
        self.counters.torn_bytes.fetch_add(torn_bytes, Ordering::Relaxed);
        self.note_dedup(&dedup);
        if !self.read_only {
            *writer = Some(Writer::new(&active, tail, dedup));
        }
        let mut shared = lock(&self.shared);
        shared.config = file.config;
        shared.start = Offset(file.start);
        shared.expired_total = file.expired_total;
        shared.sealed = sealed;
        shared.active = Some(active);
        shared.tail = tail;
        shared.readers = readers;
        shared.garbage = orphans;
        drop(shared);
        self.refresh_budget();
        self.changed.notify_all();
    }
}
