//! Looking at every byte of a log without changing any: what is intact, what is not, what can be saved.

use std::path::{Path, PathBuf};

use millrace_disk::{Disk, DiskFile, OpenMode};
use millrace_model::{Offset, TopicId, names};

use crate::LogError;
use crate::frame::Seed;
use crate::meta::{deleted_file, read_readers, read_topic, topic_file};
use crate::scan::{FrameReader, Next, SCAN_CHUNK_BYTES, find_frame};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, base_of, index_path, segment_path};
use crate::sidecar::Sidecar;

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Every topic, in order of name.
    pub topics: Vec<TopicReport>,
}

/// What was found of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// The name.
    pub name: String,
    /// The permanent id; `None` when `topic.json` cannot be read.
    pub id: Option<TopicId>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What is wrong with it, each naming a file. Empty when it will open.
    pub problems: Vec<String>,
}

/// What was found of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// The file.
    pub path: PathBuf,
    /// The offset that its name says.
    pub base: Offset,
    /// Behind the last message that is intact, wherever it lies in the file.
    pub end: Offset,
    /// Length of the file.
    pub bytes: u64,
    /// Intact frames, those behind damage included.
    pub intact_frames: u64,
    /// The messages in them: what can be saved.
    pub intact_messages: u64,
    /// The first place where no intact frame lies although one should.
    pub first_bad: Option<BadSpot>,
    /// Messages known to be lost, because frames before and after them are intact.
    pub lost_messages: u64,
    /// Why the segment's index file cannot be used; `None` when it can, or when it needs none yet. It
    /// will be made again.
    pub index_fault: Option<String>,
}

/// A place in a segment that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSpot {
    /// Where it begins.
    pub position: u64,
    /// How many bytes, up to the next intact frame or the end.
    pub bytes: u64,
    /// What is wrong there.
    pub reason: String,
    /// Whether it is merely what a write left that never was acknowledged: the next open cuts it.
    pub is_torn_tail: bool,
}

impl VerifyReport {
    /// Whether every topic will open and every message in it can be read.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.topics.iter().all(TopicReport::is_intact)
    }
}

impl TopicReport {
    /// Whether the topic will open and every message in it can be read.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let harmless =
            |segment: &SegmentReport| segment.first_bad.as_ref().is_none_or(|bad| bad.is_torn_tail);
        self.problems.is_empty() && self.segments.iter().all(harmless)
    }
}

/// Reads every frame of every topic under `root` and compares all checksums. Writes nothing, so it may
/// run beside a server; what that is just writing may then look like a torn tail.
///
/// # Errors
/// When a directory cannot be listed or a file not be read; damage is not an error but a finding.
pub fn verify(disk: &dyn Disk, root: &Path) -> Result<VerifyReport, LogError> {
    let mut report = VerifyReport::default();
    for entry in disk.read_dir(root).map_err(LogError::io("list", root))? {
        let directory = root.join(&entry.name);
        if entry.is_dir && names::resource_name_violation(&entry.name).is_none() {
            report.topics.extend(verify_topic(disk, &directory, entry.name)?);
        }
    }
    Ok(report)
}

fn verify_topic(disk: &dyn Disk, directory: &Path, name: String) -> Result<Option<TopicReport>, LogError> {
    let entries = disk.read_dir(directory).map_err(LogError::io("list", directory))?;
    let mut bases: Vec<Offset> = entries.iter().filter_map(|entry| base_of(&entry.name)).collect();
    bases.sort_unstable();
    let deleted = entries.iter().any(|entry| directory.join(&entry.name) == deleted_file(directory));
    if deleted || entries.is_empty() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let (mut id, mut start) = (None, Offset::ZERO);
    match read_topic(disk, directory) {
        Ok(Some(file)) => {
            start = Offset(file.start);
            id = file.id(&topic_file(directory)).map_err(|error| problems.push(error.to_string())).ok();
        }
        Ok(None) => problems.push(format!("{} is missing", topic_file(directory).display())),
        Err(error) => problems.push(error.to_string()),
    }
    if let Err(error) = read_readers(disk, directory) {
        problems.push(error.to_string());
    }
    let mut segments = Vec::new();
    for (index, base) in bases.iter().enumerate() {
        let is_newest = index + 1 == bases.len();
        segments.push(verify_segment(disk, directory, id, *base, is_newest, &mut problems)?);
    }
    find_gaps(&segments, directory, start, &mut problems);
    Ok(Some(TopicReport { name, id, segments, problems }))
}

fn verify_segment(
    disk: &dyn Disk,
    directory: &Path,
    id: Option<TopicId>,
    base: Offset,
    is_newest: bool,
    problems: &mut Vec<String>,
) -> Result<SegmentReport, LogError> {
    let path = segment_path(directory, base);
    let file = disk.open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
    let bytes = file.len().map_err(LogError::io("read", &path))?;
    let mut report = SegmentReport {
        path: path.clone(),
        base,
        end: base,
        bytes,
        intact_frames: 0,
        intact_messages: 0,
        first_bad: None,
        lost_messages: 0,
        index_fault: None,
    };
    let mut seed = id.map(|id| Seed::new(id, base));
    match SegmentHeader::read(&*file).map_err(LogError::io("read", &path))? {
        Err(reason) => problems.push(LogError::corrupt(&path, 0, reason).to_string()),
        Ok(header) => {
            if let Some(Err(error)) = id.map(|id| header.check(&path, id, base)) {
                problems.push(error.to_string());
            }
            // Read it as what it says it is: its messages can be saved under its own name.
            seed = Some(header.seed());
        }
    }
    if let Some(seed) = seed {
        walk(&*file, seed, is_newest, &mut report).map_err(LogError::io("read", &path))?;
    }
    if let Some(bad) = report.first_bad.as_ref().filter(|bad| !bad.is_torn_tail) {
        problems.push(LogError::corrupt(&path, bad.position, bad.reason.clone()).to_string());
    }
    if let Some(id) = id {
        verify_index(disk, directory, id, is_newest, &mut report, problems)?;
    }
    Ok(report)
}

/// Goes from frame to frame, over damage to the next intact one.
fn walk(file: &dyn DiskFile, seed: Seed, is_newest: bool, report: &mut SegmentReport) -> std::io::Result<()> {
    let mut position = SEGMENT_HEADER_BYTES as u64;
    let mut reader = FrameReader::new(file, seed, position, report.bytes, SCAN_CHUNK_BYTES);
    loop {
        match reader.next()? {
            Next::End => return Ok(()),
            Next::Frame(frame) => {
                report.intact_frames += 1;
                report.intact_messages += u64::from(frame.header.count);
                report.lost_messages += frame.header.base.since(report.end);
                report.end = frame.header.end();
                position = frame.next_position();
            }
            Next::Bad(reason) => {
                let next = find_frame(file, seed, position + 1, report.bytes)?.map(|frame| frame.position);
                let bytes = next.unwrap_or(report.bytes) - position;
                let is_torn_tail = is_newest && next.is_none();
                report.first_bad.get_or_insert(BadSpot { position, bytes, reason, is_torn_tail });
                let Some(next) = next else { return Ok(()) };
                position = next;
                reader = FrameReader::new(file, seed, position, report.bytes, SCAN_CHUNK_BYTES);
            }
        }
    }
}

fn verify_index(
    disk: &dyn Disk,
    directory: &Path,
    id: TopicId,
    is_newest: bool,
    report: &mut SegmentReport,
    problems: &mut Vec<String>,
) -> Result<(), LogError> {
    let path = index_path(directory, report.base);
    let read_error = |error| LogError::io("read", &path)(error);
    let sidecar = match Sidecar::open(disk, directory, id, report.base).map_err(read_error)? {
        Ok(sidecar) => sidecar,
        Err(_) if is_newest => return Ok(()),
        Err(fault) => {
            report.index_fault = Some(fault);
            return Ok(());
        }
    };
    let facts = sidecar.header.facts;
    if is_newest {
        let next = segment_path(directory, facts.end);
        problems.push(
            LogError::corrupt(&next, 0, "the segment is missing: it was removed or renamed").to_string(),
        );
    }
    if facts.bytes != report.bytes {
        let reason = format!("the segment has {} bytes, its index says {}", report.bytes, facts.bytes);
        problems.push(LogError::corrupt(&report.path, report.bytes.min(facts.bytes), reason).to_string());
    }
    let sections = [
        sidecar.index().map_err(|error| LogError::io("read", &path)(error))?.err(),
        sidecar.keys().map_err(|error| LogError::io("read", &path)(error))?.err(),
    ];
    report.index_fault = sections.into_iter().flatten().next();
    report.lost_messages += facts.end.since(report.end);
    Ok(())
}

fn find_gaps(segments: &[SegmentReport], directory: &Path, start: Offset, problems: &mut Vec<String>) {
    let missing = |base| {
        LogError::corrupt(
            &segment_path(directory, base),
            0,
            "the segment is missing: it was removed or renamed",
        )
    };
    match segments.first() {
        Some(first) if first.base <= start => {}
        _ => problems.push(missing(start).to_string()),
    }
    for pair in segments.windows(2) {
        // A segment with damage at its end is named for that already.
        let whole = pair[0].first_bad.is_none();
        if whole && pair[0].end < pair[1].base {
            problems.push(missing(pair[0].end).to_string());
        }
    }
}
