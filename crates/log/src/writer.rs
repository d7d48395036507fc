//! The one writer of a topic: takes batches off the queue, drops duplicates, writes one frame, syncs
//! once, then answers everybody.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millrace_disk::{DiskFile, OpenMode};
use tokio::sync::oneshot;

use crate::append::{Answer, Appended};
use crate::core::Core;
use crate::dedup::{DedupLimits, DedupWindow, KeyEntry};
use crate::queue::{Linger, PendingAppend};
use crate::record::{Draft, RECORD_OVERHEAD_BYTES};
use crate::recover::{create_segment, write_sidecar};
use crate::segment::{Sealed, SealedFacts, SegmentHeader, Tail, segment_path};
use crate::shared::Active;
use crate::sync::lock;
use crate::{AppendError, LogConfig, LogError, TopicConfig};

/// A segment is never made smaller than this by a small `bytes_max`.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// The state that only the writer has.
pub(crate) struct Writer {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    tail: Tail,
    dedup: DedupWindow,
    last_sync: Duration,
    last_appends: usize,
}

/// Whoever waits for a frame.
type Waiting = Vec<(oneshot::Sender<Answer>, Appended)>;

impl Writer {
    pub(crate) fn new(active: &Active, tail: Tail, dedup: DedupWindow) -> Self {
        let (file, header) = (Arc::clone(&active.file), active.header);
        Self { file, header, tail, dedup, last_sync: Duration::ZERO, last_appends: 0 }
    }

    /// Waiting for company pays only when a sync is quicker than company comes, and company comes.
    pub(crate) fn linger(&self, at_most: Duration) -> Option<Linger> {
        let pays = self.last_appends > 1 && self.last_sync < at_most;
        pays.then_some(Linger { at_most, appends: self.last_appends })
    }

    /// How many bytes the next batch may have.
    pub(crate) fn batch_bytes_max(&self, config: &LogConfig) -> usize {
        let is_slow = !config.batch_linger.is_zero() && self.last_sync >= config.batch_linger;
        let growth = if is_slow { config.batch_growth_max.max(1) } else { 1 };
        config.batch_bytes_max.saturating_mul(growth)
    }

    /// Applies a topic's changed settings, and forgets keys that are too old.
    pub(crate) fn refresh(&mut self, topic: &Core, config: &TopicConfig) {
        let memory = topic.config.dedup_memory_bytes_max;
        self.dedup.set_limits(DedupLimits::new(config.dedup_age, config.dedup_entries_max, memory));
        self.dedup.trim(topic.config.clock.now());
        self.note_dedup(topic);
    }

    /// Stores a batch and answers each of its appends.
    pub(crate) fn commit(&mut self, topic: &Core, batch: Vec<PendingAppend>) {
        self.last_appends = batch.len();
        let bytes_max = self.batch_bytes_max(&topic.config);
        let mut draft = Draft::new(self.tail.end);
        let mut waiting: Waiting = Vec::with_capacity(batch.len());
        let mut failed: Option<AppendError> = None;
        let mut seen_bytes = 0;
        let mut time =
            batch.first().map_or(self.tail.last_time, |first| first.arrived.max(self.tail.last_time));
        self.dedup.trim(time);
        for append in batch {
            let PendingAppend { messages, arrived, sender, .. } = append;
            time = time.max(arrived);
            let mut appended = Appended { offsets: Vec::with_capacity(messages.len()), duplicates: 0 };
            for message in messages {
                if failed.is_some() {
                    break;
                }
                seen_bytes += message.size_bytes() + RECORD_OVERHEAD_BYTES;
                if let Some(first) = message.dedup_key.and_then(|key| self.dedup.get(&key)) {
                    draft.duplicates += 1;
                    appended.duplicates += 1;
                    appended.offsets.push(first);
                    continue;
                }
                if draft.is_full(message.size_bytes(), bytes_max) {
                    failed = self.finish(topic, &mut draft, &mut seen_bytes, &mut waiting).err();
                }
                let key = message.dedup_key;
                let offset = draft.push(message, time);
                if let Some(key) = key {
                    self.dedup.insert(KeyEntry { key, offset, time });
                }
                appended.offsets.push(offset);
            }
            waiting.push((sender, appended));
        }
        if failed.is_none() && !draft.is_empty() {
            failed = self.finish(topic, &mut draft, &mut seen_bytes, &mut waiting).err();
        }
        if let Some(error) = failed {
            topic.queue.answered();
            self.dedup.roll_back(self.tail.end);
            self.note_dedup(topic);
            waiting.drain(..).for_each(|(sender, _)| answer(topic, sender, Err(error.clone())));
        }
    }

    fn note_dedup(&self, topic: &Core) {
        topic.note_dedup(&self.dedup);
    }

    /// Writes the draft and answers those who waited for it, or stops the topic.
    fn finish(
        &mut self,
        topic: &Core,
        draft: &mut Draft,
        seen_bytes: &mut usize,
        waiting: &mut Waiting,
    ) -> Result<(), AppendError> {
        match self.write(topic, draft) {
            Ok(()) => {
                // Before the answers, so that who hears them finds the room they left.
                topic.queue.written(std::mem::take(seen_bytes));
                *draft = Draft::new(self.tail.end);
                self.note_dedup(topic);
                waiting.drain(..).for_each(|(sender, appended)| answer(topic, sender, Ok(appended)));
                Ok(())
            }
            Err(error) => Err(topic.stop(&error)),
        }
    }

    /// Writes the draft as one frame and syncs it; only then does anything show.
    fn write(&mut self, topic: &Core, draft: &Draft) -> Result<(), LogError> {
        if self.is_full(topic, draft.frame_bytes()) {
            self.roll(topic)?;
        }
        let Tail { position, last_time, duplicates_total, payload_total, .. } = self.tail;
        let seed = self.header.seed();
        let frame = draft.encode(seed, position, last_time, duplicates_total, payload_total);
        let path = segment_path(&topic.directory, self.header.base);
        let tail = self.tail.follow(&frame).map_err(|reason| LogError::corrupt(&path, position, reason))?;
        let began = Instant::now();
        self.file.write_all_at(&frame.bytes, position).map_err(LogError::io("write", &path))?;
        let written = Instant::now();
        self.file.sync_data().map_err(LogError::io("sync", &path))?;
        self.last_sync = written.elapsed();
        topic.counters.count_sync(written - began, self.last_sync);
        self.tail = tail;
        topic.publish(&frame, tail);
        Ok(())
    }

    fn is_full(&self, topic: &Core, more: u64) -> bool {
        let bytes_max = lock(&topic.shared).config.bytes_max;
        let segment_bytes_max = topic.config.segment_bytes_max.min((bytes_max / 8).max(SEGMENT_BYTES_MIN));
        // A segment without messages is never sealed: the next would have the same name.
        self.tail.end > self.header.base && self.tail.position + more > segment_bytes_max
    }

    /// Begins a new segment. The order matters: its file is durable before the old one gets the index
    /// that says that it is sealed.
    pub(crate) fn roll(&mut self, topic: &Core) -> Result<(), LogError> {
        let header = SegmentHeader {
            base: self.tail.end,
            last_time: self.tail.last_time,
            duplicates_total: self.tail.duplicates_total,
            payload_total: self.tail.payload_total,
            ..self.header
        };
        let file = create_segment(&*topic.disk, &topic.directory, &header)?;
        let (facts, index) = self.switch(topic, header, &file);
        // Not those of the frame in the making, which may yet fail: a key that outlives its message would
        // make a retry look like a duplicate of nothing.
        let keys = self.dedup.between(facts.base, facts.end);
        write_sidecar(&*topic.disk, &topic.directory, header.topic, &facts, &index, &keys);
        if topic.is_over_budget()
            && let Err(error) = topic.enforce_retention(topic.config.clock.now())
        {
            tracing::warn!(topic = topic.name, %error, "old segments were not removed");
        }
        Ok(())
    }

    /// Seals the segment in memory and goes on in the new one.
    fn switch(
        &mut self,
        topic: &Core,
        header: SegmentHeader,
        file: &Arc<dyn DiskFile>,
    ) -> (SealedFacts, crate::index::SparseIndex) {
        let mut shared = lock(&topic.shared);
        let stored_end = shared.stored_end();
        let first_time = shared.active.as_ref().and_then(|active| active.first_time);
        let active = Active {
            path: segment_path(&topic.directory, header.base),
            file: Arc::clone(file),
            header,
            index: crate::index::SparseIndex::default(),
            first_time: None,
            stored_before: stored_end,
        };
        let old = shared.active.replace(active);
        let facts = SealedFacts {
            base: self.header.base,
            end: self.tail.end,
            bytes: self.tail.position,
            first_time: first_time.unwrap_or(self.tail.last_time),
            last_time: self.tail.last_time,
            duplicates_total: self.tail.duplicates_total,
            payload_before: self.header.payload_total,
            payload_total: self.tail.payload_total,
        };
        shared.sealed.push_back(Arc::new(Sealed::new(facts, stored_end - facts.bytes)));
        self.tail = Tail::of_empty(&header);
        shared.tail = self.tail;
        self.header = header;
        self.file = Arc::clone(file);
        (facts, old.map(|active| active.index).unwrap_or_default())
    }

    /// After a failure: opens the segment anew, cuts what was not synced, and syncs. The old handle is
    /// never used again, for its next sync could report success for lost data.
    pub(crate) fn repair(&mut self, topic: &Core) -> Result<(), LogError> {
        let path = segment_path(&topic.directory, self.header.base);
        let file = topic.disk.open(&path, OpenMode::ReadWrite).map_err(LogError::io("open", &path))?;
        let read = SegmentHeader::read(&*file).map_err(LogError::io("read", &path))?;
        let header = read.map_err(|reason| LogError::corrupt(&path, 0, reason))?;
        header.check(&path, self.header.topic, self.header.base)?;
        let len = file.len().map_err(LogError::io("read", &path))?;
        if len < self.tail.position {
            let reason = format!("{} bytes that were synced are gone", self.tail.position - len);
            return Err(LogError::corrupt(&path, len, reason));
        }
        file.set_len(self.tail.position).map_err(LogError::io("cut", &path))?;
        file.sync_data().map_err(LogError::io("sync", &path))?;
        self.remove_leftover(topic)?;
        if let Some(active) = &mut lock(&topic.shared).active {
            active.file = Arc::clone(&file);
        }
        self.file = file;
        Ok(())
    }

    /// Removes a segment that was begun when the failure came.
    fn remove_leftover(&self, topic: &Core) -> Result<(), LogError> {
        if self.tail.end == self.header.base {
            return Ok(());
        }
        let path = segment_path(&topic.directory, self.tail.end);
        match topic.disk.remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(LogError::io("remove", &path)(error)),
            Ok(()) => topic.disk.sync_dir(&topic.directory).map_err(LogError::io("sync", &topic.directory)),
        }
    }
}

fn answer(topic: &Core, sender: oneshot::Sender<Answer>, answer: Answer) {
    if let Ok(appended) = &answer {
        topic.counters.duplicates_answered.fetch_add(appended.duplicates, Ordering::Relaxed);
    }
    // A producer that went away is told nothing; its messages are stored all the same.
    let _ = sender.send(answer);
}
