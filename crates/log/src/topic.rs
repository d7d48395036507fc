//! A topic: where appends go in and readers look on.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use millrace_disk::Disk;
use millrace_model::{Micros, NewMessage, Offset, SourceError, TopicId};
use tokio::sync::{oneshot, watch};

use crate::append::{Append, Appended};
use crate::core::Core;
use crate::meta::{read_topic, write_topic};
use crate::queue::PendingAppend;
use crate::recover::{Opened, Place, open_topic};
use crate::sync::lock;
use crate::writer::Writer;
use crate::{AppendError, LogConfig, LogError, Maintained, TopicConfig, TopicStats};

/// A reader in another process may meet files that the writer is just replacing.
const READ_ONLY_ATTEMPTS_MAX: u32 = 5;

/// A topic. Appends are answered when durable; reading goes through [`millrace_model::Source`].
pub struct Topic {
    pub(crate) core: Core,
    pub(crate) writer: Mutex<Option<Writer>>,
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
        let core = Core::new(disk, directory.to_path_buf(), name, config, read_only);
        let topic = Arc::new(Self { core, writer: Mutex::new(None) });
        let mut writer = lock(&topic.writer);
        if let Err(error) = topic.read_files(&mut writer) {
            topic.core.stop(&error);
        }
        drop(writer);
        topic
    }

    /// The permanent id; zeros while the topic's `topic.json` cannot be read.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.core.id()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> TopicConfig {
        lock(&self.core.shared).config.clone()
    }

    /// Why the topic is out of work; `None` when it works.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        lock(&self.core.shared).failure.as_ref().map(|failure| failure.reason.clone())
    }

    /// Appends messages in order. The answer comes when they are durable; many appends share a sync.
    /// A message whose key is in the deduplication window is not stored again, and its answer waits
    /// for the first copy. Never blocks on the disk, so an async task may call it.
    pub fn append(self: &Arc<Self>, messages: Vec<NewMessage>) -> Append {
        if messages.is_empty() {
            return Append::known(Ok(Appended { offsets: Vec::new(), duplicates: 0 }));
        }
        let bytes = match self.core.weigh(&messages) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.core.counters.too_large.fetch_add(1, Ordering::Relaxed);
                return Append::known(Err(error));
            }
        };
        let (sender, receiver) = oneshot::channel();
        let append = PendingAppend { messages, arrived: self.core.config.clock.now(), bytes, sender };
        match self.core.admit(append) {
            Ok(start_writer) => {
                if start_writer {
                    self.start_writer();
                }
                Append::coming(&self.core.name, receiver)
            }
            Err(error) => {
                self.core.counters.refused.fetch_add(1, Ordering::Relaxed);
                Append::known(Err(error))
            }
        }
    }

    /// The topic's figures.
    #[must_use]
    pub fn stats(&self) -> TopicStats {
        self.core.stats()
    }

    /// The topic's durable end, for async tasks that wait for it to move. Threads use
    /// [`millrace_model::Source::wait`].
    #[must_use]
    pub fn watch_end(&self) -> watch::Receiver<Offset> {
        self.core.end.subscribe()
    }

    /// The offset of the first message published at or after `time`; the end when there is none.
    ///
    /// # Errors
    /// As [`millrace_model::Source::read`].
    pub fn offset_at(&self, time: Micros) -> Result<Offset, SourceError> {
        self.core.offset_at(time)
    }

    /// Changes the settings, durably.
    pub(crate) fn configure(&self, config: &TopicConfig) -> Result<(), LogError> {
        let files = lock(&self.core.files);
        let mut file = {
            let shared = lock(&self.core.shared);
            if shared.config == *config {
                return Ok(());
            }
            self.core.topic_file(&shared)?
        };
        file.config = config.clone();
        write_topic(&*self.core.disk, &self.core.directory, &file)?;
        lock(&self.core.shared).config = config.clone();
        drop(files);
        self.core.refresh_budget();
        if let Some(writer) = lock(&self.writer).as_mut() {
            writer.refresh(&self.core, config);
        }
        Ok(())
    }

    pub(crate) fn read_files(&self, writer: &mut Option<Writer>) -> Result<(), LogError> {
        let (disk, directory) = (&*self.core.disk, self.core.directory.as_path());
        let place = Place { disk, directory, config: &self.core.config, read_only: self.core.read_only };
        let attempts_max = if self.core.read_only { READ_ONLY_ATTEMPTS_MAX } else { 1 };
        let mut attempt = 1;
        let opened = loop {
            match open_topic(place) {
                Err(_) if attempt < attempts_max => attempt += 1,
                Err(error) => {
                    // Even a damaged topic should say who it is, if it can.
                    if let Ok(Some(id)) =
                        read_topic(disk, directory).map(|file| file.and_then(|f| f.id(directory).ok()))
                    {
                        let _ = self.core.id.set(id);
                    }
                    return Err(error);
                }
                Ok(opened) => break opened,
            }
        };
        let _ = self.core.id.set(opened.id);
        self.install(opened, writer);
        Ok(())
    }

    fn install(&self, opened: Opened, writer: &mut Option<Writer>) {
        let Opened { file, readers, sealed, active, tail, dedup, orphans, torn_bytes, .. } = opened;
        self.core.counters.torn_bytes.fetch_add(torn_bytes, Ordering::Relaxed);
        self.core.note_dedup(&dedup);
        if !self.core.read_only {
            *writer = Some(Writer::new(&active, tail, dedup));
        }
        let mut shared = lock(&self.core.shared);
        shared.config = file.config;
        shared.start = Offset(file.start);
        shared.expired_total = file.expired_total;
        shared.sealed = sealed;
        shared.active = Some(active);
        shared.tail = tail;
        shared.readers = readers;
        shared.garbage = orphans;
        drop(shared);
        self.core.refresh_budget();
        self.core.changed.notify_all();
        self.core.end.send_replace(tail.end);
    }

    /// Brings a topic whose disk failed back to work, when that is due; answers whether it works.
    pub(crate) fn mend(&self, writer: &mut Option<Writer>) -> Result<(), AppendError> {
        let Some(failure) = lock(&self.core.shared).failure.clone() else { return Ok(()) };
        if let Some(refusal) = self.core.refusal_by(&failure) {
            return Err(refusal);
        }
        let mended = match writer {
            Some(writer) => writer.repair(&self.core),
            None => self.read_files(writer),
        };
        mended.map_err(|error| self.core.stop(&error))?;
        lock(&self.core.shared).failure = None;
        self.core.glance.note_stopped(false);
        self.core.counters.repairs.fetch_add(1, Ordering::Relaxed);
        tracing::info!(topic = self.core.name, "topic is back at work");
        Ok(())
    }

    /// Brings the topic back to work if its disk failed, seals a segment that has grown old, expires
    /// cursors, and removes what may go.
    pub(crate) fn maintain(&self, now: Micros) -> Result<Maintained, LogError> {
        {
            let mut writer = lock(&self.writer);
            if self.mend(&mut writer).is_err() {
                // The topic's state says why; appends hear it too.
                return Ok(Maintained::default());
            }
            let config = self.config();
            if let Some(writer) = writer.as_mut() {
                writer.refresh(&self.core, &config);
                if self.core.is_active_old(now)
                    && let Err(error) = writer.roll(&self.core)
                {
                    self.core.stop(&error);
                    return Err(error);
                }
            }
        }
        self.core.enforce_retention(now)?;
        let maintained = std::mem::take(&mut lock(&self.core.shared).untold);
        if maintained.cursors_detached + maintained.cursors_expired > 0 {
            self.core.save_readers()?;
        }
        Ok(maintained)
    }
}
