//! Opening a topic: what is on the disk is checked, a torn tail cut, and what will be shown made
//! durable first.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_disk::{Disk, DiskFile, OpenMode, TEMPORARY_SUFFIX};
use millrace_model::{Offset, TopicId};

use crate::dedup::{DedupLimits, DedupWindow, KeyEntry};
use crate::meta::{Readers, TopicFile, read_readers, read_topic, topic_file};
use crate::scan::{ScanOptions, Scanned, find_frame, scan};
use crate::segment::{
    SEGMENT_HEADER_BYTES, Sealed, SealedFacts, SegmentHeader, Tail, base_of, index_path, segment_path,
};
use crate::shared::{Active, Garbage};
use crate::sidecar::{self, Sidecar};
use crate::{LogConfig, LogError};

/// Where and how a topic is opened.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) directory: &'a Path,
    pub(crate) config: &'a LogConfig,
    pub(crate) read_only: bool,
}

/// A topic as it was found and, unless it was opened to read only, repaired.
pub(crate) struct Opened {
    pub(crate) id: TopicId,
    pub(crate) file: TopicFile,
    pub(crate) readers: Readers,
    pub(crate) sealed: VecDeque<Arc<Sealed>>,
    pub(crate) active: Active,
    pub(crate) tail: Tail,
    pub(crate) dedup: DedupWindow,
    /// Index files whose segments are gone, and where those ended.
    pub(crate) orphans: Garbage,
    /// Bytes of a torn tail that were cut.
    pub(crate) torn_bytes: u64,
}

/// What every step of opening needs.
pub(crate) struct Context<'a> {
    pub(crate) place: Place<'a>,
    topic: TopicId,
    pub(crate) options: ScanOptions,
}

/// Opens the topic in a directory.
pub(crate) fn open_topic(place: Place<'_>) -> Result<Opened, LogError> {
    let path = topic_file(place.directory);
    let missing = || LogError::corrupt(&path, 0, "it is missing, although its topic's segments are there");
    let file = read_topic(place.disk, place.directory)?.ok_or_else(missing)?;
    let topic = file.id(&path)?;
    let mut readers = read_readers(place.disk, place.directory)?;
    let now = place.config.clock.now();
    let options = ScanOptions::new(place.config.index_interval_bytes, now, file.config.dedup_age);
    let context = Context { place, topic, options };
    let mut bases = context.segments(Offset(file.start))?;
    context.drop_leftover(&mut bases)?;
    let newest = bases.pop().ok_or_else(|| context.missing(Offset(file.start)))?;

    let mut sealed = VecDeque::new();
    let mut stored = 0;
    for (index, base) in bases.iter().enumerate() {
        let next = bases.get(index + 1).copied().unwrap_or(newest);
        let facts = context.open_sealed(*base, next)?;
        sealed.push_back(Arc::new(Sealed::new(facts, stored)));
        stored += facts.bytes;
    }
    let (active, scanned, torn_bytes) = context.open_newest(newest, stored)?;
    if let Some(last) = sealed.back() {
        check_numbers(&active, &last.facts)?;
    }
    let limits = DedupLimits::new(
        file.config.dedup_age,
        file.config.dedup_entries_max,
        place.config.dedup_memory_bytes_max,
    );
    let mut dedup = DedupWindow::new(limits);
    let mut orphans = Garbage::new();
    if !place.read_only {
        orphans = context.orphans(Offset(file.start))?;
        context.remember(&mut dedup, &orphans, &bases, scanned.keys)?;
        dedup.trim(now);
    }
    let tail = scanned.tail;
    clamp_readers(&mut readers, Offset(file.start), tail.end);
    Ok(Opened { id: topic, file, readers, sealed, active, tail, dedup, orphans, torn_bytes })
}

/// Makes a segment that holds only its header, durable under its name.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    directory: &Path,
    header: &SegmentHeader,
) -> Result<Arc<dyn DiskFile>, LogError> {
    let path = segment_path(directory, header.base);
    // What is there under this name was begun before and never came into use.
    if disk.entry(&path).map_err(LogError::io("look at", &path))?.is_some() {
        disk.remove_file(&path).map_err(LogError::io("remove", &path))?;
    }
    let file = disk.open(&path, OpenMode::CreateNew).map_err(LogError::io("create", &path))?;
    file.write_all_at(&header.encode(), 0).map_err(LogError::io("write", &path))?;
    file.sync_data().map_err(LogError::io("sync", &path))?;
    disk.sync_dir(directory).map_err(LogError::io("sync", directory))?;
    Ok(file)
}

/// Makes a sealed segment's index file, which the log can do without: failing is not an error.
pub(crate) fn write_sidecar(
    disk: &dyn Disk,
    directory: &Path,
    topic: TopicId,
    facts: &SealedFacts,
    index: &crate::index::SparseIndex,
    keys: &[KeyEntry],
) {
    if let Err(error) = sidecar::write(disk, directory, topic, facts, index, keys) {
        tracing::warn!(
            index = %index_path(directory, facts.base).display(),
            %error,
            "the index of a sealed segment was not written and will be made again when it is needed"
        );
    }
}

impl Context<'_> {
    pub(crate) fn disk(&self) -> &dyn Disk {
        self.place.disk
    }

    pub(crate) fn path(&self, base: Offset) -> PathBuf {
        segment_path(self.place.directory, base)
    }

    fn missing(&self, base: Offset) -> LogError {
        LogError::corrupt(&self.path(base), 0, "the segment is missing: it was removed or renamed")
    }

    /// The offsets at which the segments begin, in order, after removing what the last run left:
    /// temporary files, and segments that retention had already given up.
    fn segments(&self, start: Offset) -> Result<Vec<Offset>, LogError> {
        let directory = self.place.directory;
        let entries = self.disk().read_dir(directory).map_err(LogError::io("list", directory))?;
        let mut bases: Vec<Offset> = entries.iter().filter_map(|entry| base_of(&entry.name)).collect();
        bases.sort_unstable();
        let expired = bases.windows(2).take_while(|pair| pair[1] <= start).count();
        let gone: Vec<Offset> = bases.drain(..expired).collect();
        if !self.place.read_only {
            let temporary = entries.iter().filter(|entry| entry.name.ends_with(TEMPORARY_SUFFIX));
            let mut leftovers: Vec<_> = temporary.map(|entry| directory.join(&entry.name)).collect();
            leftovers.extend(gone.iter().map(|base| self.path(*base)));
            for path in leftovers {
                match self.disk().remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(LogError::io("remove", &path)(error));
                    }
                    _ => {}
                }
            }
        }
        match bases.first() {
            Some(first) if *first > start => Err(self.missing(start)),
            _ => Ok(bases),
        }
    }

    /// The newest file may be a segment that was begun when the process ended: then it has no good
    /// header and no frame, and the segment before it was still in use.
    fn drop_leftover(&self, bases: &mut Vec<Offset>) -> Result<(), LogError> {
        let &[.., before, newest] = bases.as_slice() else { return Ok(()) };
        let path = self.path(newest);
        let file = self.disk().open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
        let read = SegmentHeader::read(&*file).map_err(LogError::io("read", &path))?;
        let Err(reason) = read else { return Ok(()) };
        let len = file.len().map_err(LogError::io("read", &path))?;
        let seed = crate::frame::Seed::new(self.topic, newest);
        let frame = find_frame(&*file, seed, SEGMENT_HEADER_BYTES as u64, len)
            .map_err(LogError::io("read", &path))?;
        if frame.is_some() || self.sidecar(before)?.is_ok() {
            return Err(LogError::corrupt(&path, 0, reason));
        }
        if !self.place.read_only {
            tracing::info!(segment = %path.display(), "removed a segment that was begun and never used");
            self.disk().remove_file(&path).map_err(LogError::io("remove", &path))?;
        }
        bases.pop();
        Ok(())
    }

    pub(crate) fn sidecar(&self, base: Offset) -> Result<Result<Sidecar, String>, LogError> {
        let directory = self.place.directory;
        Sidecar::open(self.disk(), directory, self.topic, base)
            .map_err(LogError::io("read", &index_path(directory, base)))
    }

    /// What a sealed segment holds, from its index file if that is good, else from the segment.
    fn open_sealed(&self, base: Offset, next: Offset) -> Result<SealedFacts, LogError> {
        let path = self.path(base);
        let file = self.disk().open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
        let header = SegmentHeader::read(&*file)
            .map_err(LogError::io("read", &path))?
            .map_err(|reason| LogError::corrupt(&path, 0, reason))?;
        header.check(&path, self.topic, base)?;
        let len = file.len().map_err(LogError::io("read", &path))?;
        let facts = match self.sidecar(base)? {
            Ok(sidecar) => sidecar.header.facts,
            Err(_) => self.look_in_segment(&path, &*file, &header, len)?.0,
        };
        if len != facts.bytes {
            let reason = format!("the segment has {len} bytes, its index says {}", facts.bytes);
            return Err(LogError::corrupt(&path, len.min(facts.bytes), reason));
        }
        if facts.end < next {
            return Err(self.missing(facts.end));
        }
        if facts.end > next {
            let reason = format!("offset {next} lies in the segment before it too");
            return Err(LogError::corrupt(&self.path(next), 0, reason));
        }
        Ok(facts)
    }

    /// Reads a whole sealed segment, and makes its index file anew.
    pub(crate) fn look_in_segment(
        &self,
        path: &Path,
        file: &dyn DiskFile,
        header: &SegmentHeader,
        len: u64,
    ) -> Result<(SealedFacts, Vec<KeyEntry>), LogError> {
        let scanned = scan(file, header, len, self.options).map_err(LogError::io("read", path))?;
        if let Some(fault) = scanned.fault {
            return Err(LogError::corrupt(path, fault.position, fault.reason));
        }
        let facts = scanned.facts(header);
        if !self.place.read_only {
            let (disk, directory) = (self.disk(), self.place.directory);
            write_sidecar(disk, directory, self.topic, &facts, &scanned.index, &scanned.keys);
        }
        Ok((facts, scanned.keys))
    }

    fn open_newest(&self, base: Offset, stored_before: u64) -> Result<(Active, Scanned, u64), LogError> {
        let path = self.path(base);
        let mode = if self.place.read_only { OpenMode::Read } else { OpenMode::ReadWrite };
        let file = self.disk().open(&path, mode).map_err(LogError::io("open", &path))?;
        let header = SegmentHeader::read(&*file)
            .map_err(LogError::io("read", &path))?
            .map_err(|reason| LogError::corrupt(&path, 0, reason))?;
        header.check(&path, self.topic, base)?;
        // An index is written only when the next segment is durable.
        if let Ok(sidecar) = self.sidecar(base)? {
            return Err(self.missing(sidecar.header.facts.end));
        }
        let len = file.len().map_err(LogError::io("read", &path))?;
        let mut scanned = scan(&*file, &header, len, self.options).map_err(LogError::io("read", &path))?;
        if let Some(fault) = scanned.fault.take()
            && fault.intact_after.is_some()
        {
            return Err(LogError::corrupt(&path, fault.position, fault.reason));
        }
        let torn_bytes = len - scanned.tail.position;
        if !self.place.read_only {
            self.make_durable(&path, &*file, &header, &scanned, torn_bytes)?;
        }
        let (index, first_time) = (scanned.index.clone(), scanned.first_time);
        let active = Active { path, file, header, index, first_time, stored_before };
        Ok((active, scanned, torn_bytes))
    }

    /// Cuts a torn tail and makes sure that everything else is on the disk. The last frame is written
    /// once more: its sync may have failed before the process ended, after which a sync alone would
    /// report success without saving it. Frames before it were synced, or it would not be there.
    fn make_durable(
        &self,
        path: &Path,
        file: &dyn DiskFile,
        header: &SegmentHeader,
        scanned: &Scanned,
        torn_bytes: u64,
    ) -> Result<(), LogError> {
        if torn_bytes > 0 {
            tracing::warn!(
                segment = %path.display(),
                position = scanned.tail.position,
                torn_bytes,
                "cut a torn tail: messages in it were never acknowledged"
            );
            file.set_len(scanned.tail.position).map_err(LogError::io("cut", path))?;
        }
        match &scanned.last_frame {
            Some(frame) => file.write_all_at(&frame.bytes, frame.position),
            None => file.write_all_at(&header.encode(), 0),
        }
        .map_err(LogError::io("write", path))?;
        file.sync_data().map_err(LogError::io("sync", path))?;
        self.disk().sync_dir(self.place.directory).map_err(LogError::io("sync", self.place.directory))
    }
}

/// The newest segment must go on where the one before it ended.
fn check_numbers(newest: &Active, before: &SealedFacts) -> Result<(), LogError> {
    let header = &newest.header;
    let goes_on = header.payload_total == before.payload_total
        && header.duplicates_total >= before.duplicates_total
        && header.last_time >= before.last_time;
    if goes_on {
        return Ok(());
    }
    Err(LogError::corrupt(
        &newest.path,
        0,
        "its running numbers do not go on where the segment before it ends",
    ))
}

/// Brings stored positions back inside the topic: a torn tail that nobody was told of may be behind one.
fn clamp_readers(readers: &mut Readers, start: Offset, end: Offset) {
    for position in readers.holds.values_mut() {
        *position = (*position).clamp(start.0, end.0.max(start.0));
    }
    for cursor in readers.cursors.values_mut() {
        cursor.expired_messages += start.0.saturating_sub(cursor.position);
        cursor.position = cursor.position.clamp(start.0, end.0.max(start.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use millrace_disk::sim::SimDisk;
    use millrace_model::{Micros, NewMessage, ReadLimit, Source};

    use crate::meta::write_topic;
    use crate::{Log, TopicConfig};

    /// Scenario: a topic whose offsets are near the largest number there is rolls segments, restarts and
    /// loses old ones.
    /// Guarantees: names with all 20 digits sort, parse and are found like any others.
    #[test]
    fn offsets_near_the_end_of_the_number_range() {
        let disk = Arc::new(SimDisk::new(1));
        let (root, directory) = (Path::new("log"), Path::new("log/events"));
        disk.create_dir_all(directory).unwrap();
        let base = Offset(u64::MAX - 1000);
        let header = SegmentHeader {
            topic: TopicId([5; 16]),
            base,
            last_time: Micros(0),
            duplicates_total: u64::MAX / 2,
            payload_total: u64::MAX / 2,
        };
        create_segment(&*disk, directory, &header).unwrap();
        let mut file = TopicFile::new(header.topic, "events", TopicConfig::default());
        file.start = base.0;
        write_topic(&*disk, directory, &file).unwrap();
        let config =
            || LogConfig { segment_bytes_max: 4096, batch_linger: Duration::ZERO, ..LogConfig::default() };
        let limit = ReadLimit { messages_max: usize::MAX, bytes_max: usize::MAX, end: None };
        for round in 1..4 {
            let log = Log::open(Arc::<SimDisk>::clone(&disk), root, config()).unwrap();
            let topic = log.topic("events").unwrap();
            for _ in 0..100 {
                topic.append(vec![NewMessage::from_data(vec![1; 200])]).wait().unwrap();
            }
            let batch = topic.read(base, limit).unwrap();
            assert_eq!(
                (batch.len(), batch.next_offset()),
                (round * 100, Some(base.plus(round as u64 * 100)))
            );
            assert_eq!(batch.data_bytes(), round * 20_000);
            assert!(topic.stats().segments > round as u64 * 5);
        }
        let log = Log::open(Arc::<SimDisk>::clone(&disk), root, config()).unwrap();
        let later = Micros::now().0 + 8 * 24 * 3_600_000_000;
        let maintained = log.maintain(Micros(later)).unwrap();
        assert_eq!((maintained.messages_expired, maintained.failures.len()), (300, 0));
        assert_eq!(log.topics()[0].bounds().start, base.plus(300));
    }
}
