//! Reading: shared bytes of whole frames, and where the messages lie in them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_disk::{DiskFile, OpenMode};
use millrace_model::{Bounds, MessageBatch, MessageLayout, Micros, Offset, ReadLimit, SourceError};

use crate::LogError;
use crate::core::Core;
use crate::frame::{Frame, Seed};
use crate::index::IndexEntry;
use crate::open_segments::OpenSegment;
use crate::record::Records;
use crate::recover::write_sidecar;
use crate::scan::{FrameReader, Next, SCAN_CHUNK_BYTES, ScanOptions, scan};
use crate::segment::{SEGMENT_HEADER_BYTES, Sealed, SegmentHeader, segment_path};
use crate::sidecar::Sidecar;
use crate::sync::{lock, wait_for};

/// The least that is read from the disk at a time.
const READ_CHUNK_BYTES_MIN: usize = 64 * 1024;

/// Frames on the disk that begin at or before the wanted message.
struct Run {
    file: Arc<dyn DiskFile>,
    base: Offset,
    seed: Seed,
    position: u64,
    end: u64,
}

impl Core {
    pub(crate) fn bounds(&self) -> Bounds {
        let shared = lock(&self.shared);
        Bounds { start: shared.start, end: shared.tail.end }
    }

    pub(crate) fn read(&self, from: Offset, limit: ReadLimit) -> Result<MessageBatch, SourceError> {
        let mut filling = Filling { batch: MessageBatch::new(self.id()), next: from, limit };
        while !filling.is_full() {
            match self.read_run(&mut filling) {
                Ok(true) => {}
                Ok(false) => break,
                // What came before the bad place is good; who reads on meets it next.
                Err(_) if !filling.batch.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filling.batch)
    }

    pub(crate) fn wait(&self, offset: Offset, timeout: Duration) -> Offset {
        let deadline = Instant::now() + timeout;
        let mut shared = lock(&self.shared);
        while shared.tail.end <= offset {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.queue.is_closed() {
                break;
            }
            shared = wait_for(&self.changed, shared, left);
        }
        shared.tail.end
    }

    pub(crate) fn backlog(&self, from: Offset) -> (u64, Option<Micros>) {
        let (end, payload_total) = {
            let shared = lock(&self.shared);
            (shared.tail.end, shared.tail.payload_total)
        };
        let from = from.max(self.bounds().start);
        if from >= end {
            return (0, None);
        }
        let before = self.entry_at(from).map_or(payload_total, |entry| entry.payload_before);
        let limit = ReadLimit { messages_max: 1, bytes_max: 0, end: None };
        let first = self.read(from, limit).ok().filter(|batch| !batch.is_empty());
        (payload_total.saturating_sub(before), first.map(|batch| batch.get(0).publish_time))
    }

    /// The offset of the first message published at or after `time`; the end when there is none.
    ///
    /// # Errors
    /// As [`millrace_model::Source::read`].
    pub(crate) fn offset_at(&self, time: Micros) -> Result<Offset, SourceError> {
        let mut next = self.entry_before(time)?;
        loop {
            let limit = ReadLimit { messages_max: usize::MAX, bytes_max: SCAN_CHUNK_BYTES, end: None };
            let batch = self.read(next, limit)?;
            if let Some(found) = batch.iter().find(|message| message.publish_time >= time) {
                return Ok(found.offset);
            }
            match batch.next_offset() {
                Some(after) => next = after,
                None => return Ok(next),
            }
        }
    }

    /// A place in the topic before every message published at or after `time`.
    fn entry_before(&self, time: Micros) -> Result<Offset, SourceError> {
        let shared = lock(&self.shared);
        let index = shared.sealed.partition_point(|segment| segment.facts.last_time < time);
        let Some(segment) = shared.sealed.get(index).cloned() else {
            let active = shared.active.as_ref();
            let entry = active.and_then(|active| active.index.by_time(time));
            let base = active.map_or(shared.tail.end, |active| active.header.base);
            return Ok(entry.map_or(base, |entry| entry.base).max(shared.start));
        };
        drop(shared);
        let open = self.open_segment(&segment)?;
        Ok(open.index.by_time(time).map_or(segment.facts.base, |entry| entry.base))
    }

    /// The index entry at or before `offset`.
    fn entry_at(&self, offset: Offset) -> Option<IndexEntry> {
        let shared = lock(&self.shared);
        if let Some(active) = shared.active.as_ref().filter(|active| offset >= active.header.base) {
            return active.index.by_offset(offset);
        }
        let segment = shared.sealed_at(offset).cloned()?;
        drop(shared);
        self.open_segment(&segment).ok()?.index.by_offset(offset)
    }

    /// Adds the next messages, from memory or one run of frames; answers whether there may be more.
    fn read_run(&self, filling: &mut Filling) -> Result<bool, SourceError> {
        if let Some(frame) = lock(&self.cache).get(filling.next)
            && self.bounds().start <= filling.next
        {
            filling.take(&frame).map_err(|reason| self.damage(frame.header.base, frame.position, &reason))?;
            return Ok(true);
        }
        let Some(run) = self.find_run(filling.next)? else { return Ok(false) };
        let wanted = filling.limit.bytes_max.saturating_sub(filling.batch.size_bytes());
        let chunk_bytes = wanted.clamp(READ_CHUNK_BYTES_MIN, SCAN_CHUNK_BYTES);
        let mut reader = FrameReader::new(&*run.file, run.seed, run.position, run.end, chunk_bytes);
        let (begin, mut position) = (filling.next, run.position);
        while !filling.is_full() {
            match reader.next().map_err(|error| self.unreadable(&error))? {
                Next::Bad(reason) => return Err(self.damage(run.base, position, &reason)),
                Next::End if filling.next == begin => {
                    let reason = format!("the segment ends before offset {begin}");
                    return Err(self.damage(run.base, position, &reason));
                }
                Next::End => break,
                Next::Frame(frame) => {
                    position = frame.next_position();
                    if frame.header.end() <= filling.next {
                        continue;
                    }
                    filling.take(&frame).map_err(|reason| self.damage(run.base, frame.position, &reason))?;
                    if filling.next < frame.header.end() {
                        lock(&self.cache).put_partly_read(&frame);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Where to read for the message at `offset`; `None` at the end.
    fn find_run(&self, offset: Offset) -> Result<Option<Run>, SourceError> {
        let first = SEGMENT_HEADER_BYTES as u64;
        let shared = lock(&self.shared);
        let Some(active) = &shared.active else {
            let failure = shared.failure.as_ref();
            let reason = failure.map_or_else(String::new, |failure| failure.reason.clone());
            return Err(match failure {
                Some(failure) if failure.is_damage => SourceError::Corrupt(reason),
                _ => SourceError::Io { topic: self.name.clone(), reason },
            });
        };
        if offset < shared.start {
            return Err(SourceError::Expired { wanted: offset, start: shared.start });
        }
        if offset >= shared.tail.end {
            return Ok(None);
        }
        if offset >= active.header.base {
            let position = active.index.by_offset(offset).map_or(first, |entry| entry.position);
            let (base, seed, end) = (active.header.base, active.header.seed(), shared.tail.position);
            return Ok(Some(Run { file: Arc::clone(&active.file), base, seed, position, end }));
        }
        let Some(segment) = shared.sealed_at(offset).cloned() else { return Ok(None) };
        drop(shared);
        let open = self.open_segment(&segment).map_err(|error| self.expired_or(offset, error))?;
        let position = open.index.by_offset(offset).map_or(first, |entry| entry.position);
        let (base, end) = (segment.facts.base, segment.facts.bytes);
        let seed = Seed::new(self.id(), base);
        Ok(Some(Run { file: Arc::clone(&open.file), base, seed, position, end }))
    }

    /// A segment that cannot be opened may have been removed since it was looked up.
    fn expired_or(&self, wanted: Offset, error: SourceError) -> SourceError {
        let start = self.bounds().start;
        if wanted < start { SourceError::Expired { wanted, start } } else { error }
    }

    fn open_segment(&self, segment: &Sealed) -> Result<Arc<OpenSegment>, SourceError> {
        let base = segment.facts.base;
        if let Some(open) = lock(&self.open_segments).get(base) {
            return Ok(open);
        }
        let open = Arc::new(self.open_sealed(segment).map_err(|error| match error {
            LogError::Corrupt { .. } => SourceError::Corrupt(error.to_string()),
            _ => SourceError::Io { topic: self.name.clone(), reason: error.to_string() },
        })?);
        lock(&self.open_segments).put(base, Arc::clone(&open));
        Ok(open)
    }

    /// Opens a sealed segment, making its index file anew if it is not good.
    pub(crate) fn open_sealed(&self, segment: &Sealed) -> Result<OpenSegment, LogError> {
        let base = segment.facts.base;
        let path = segment_path(&self.directory, base);
        let file = self.disk.open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
        let sidecar = Sidecar::open(&*self.disk, &self.directory, self.id(), base);
        if let Ok(Ok(sidecar)) = sidecar
            && let Ok(Ok(index)) = sidecar.index()
        {
            return Ok(OpenSegment { file, index });
        }
        let header = SegmentHeader::read(&*file)
            .map_err(LogError::io("read", &path))?
            .map_err(|reason| LogError::corrupt(&path, 0, reason))?;
        let dedup_age = lock(&self.shared).config.dedup_age;
        let options = ScanOptions::new(self.config.index_interval_bytes, self.config.clock.now(), dedup_age);
        let scanned =
            scan(&*file, &header, segment.facts.bytes, options).map_err(LogError::io("read", &path))?;
        if scanned.fault.is_none() && !self.read_only {
            write_sidecar(
                &*self.disk,
                &self.directory,
                self.id(),
                &segment.facts,
                &scanned.index,
                &scanned.keys,
            );
        }
        // Behind a fault there is no index; reads before it work, and those behind it meet it.
        Ok(OpenSegment { file, index: scanned.index })
    }

    fn damage(&self, base: Offset, position: u64, reason: &str) -> SourceError {
        let path = segment_path(&self.directory, base);
        SourceError::Corrupt(LogError::corrupt(&path, position, reason).to_string())
    }

    fn unreadable(&self, error: &io::Error) -> SourceError {
        SourceError::Io { topic: self.name.clone(), reason: error.to_string() }
    }
}

/// A batch being filled.
struct Filling {
    batch: MessageBatch,
    next: Offset,
    limit: ReadLimit,
}

impl Filling {
    fn is_full(&self) -> bool {
        let some = !self.batch.is_empty();
        self.batch.len() >= self.limit.messages_max
            || (some && self.batch.size_bytes() >= self.limit.bytes_max)
            || self.limit.end.is_some_and(|end| self.next >= end)
    }

    /// Takes messages of a frame until the batch is full.
    fn take(&mut self, frame: &Frame) -> Result<(), String> {
        let records = Records::new(frame)?;
        if frame.header.base > self.next {
            return Err(format!("the frame begins at offset {}, expected {}", frame.header.base, self.next));
        }
        let buffer = self.batch.add_buffer(frame.bytes.clone());
        let from = self.next;
        for record in records.skip_while(|record| record.offset < from) {
            let over = self.batch.size_bytes() + record.size_bytes() > self.limit.bytes_max;
            if self.is_full() || (over && !self.batch.is_empty()) {
                // Full even if the next one is too large to tell.
                self.limit.messages_max = self.batch.len();
                break;
            }
            self.next = record.offset.plus(1);
            self.batch.push(MessageLayout {
                offset: record.offset,
                publish_time: record.publish_time,
                buffer,
                data: record.data,
                attributes: record.attributes,
                ordering_key: record.ordering_key,
            });
        }
        Ok(())
    }
}
