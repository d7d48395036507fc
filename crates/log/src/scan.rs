//! Reading frames one after the other, and telling a torn tail from damage.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use millrace_disk::DiskFile;
use millrace_model::Micros;

use crate::dedup::KeyEntry;
use crate::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, FrameHeader, Seed};
use crate::index::SparseIndex;
use crate::record::Records;
use crate::segment::{SEGMENT_HEADER_BYTES, SealedFacts, SegmentHeader, Tail};

/// How much a scan of a whole segment reads at a time: a little more than two frames of the default
/// size, so that few of them lie across two chunks and are read twice.
pub(crate) const SCAN_CHUNK_BYTES: usize = 2 * 1024 * 1024 + 4096;

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Next {
    Frame(Frame),
    End,
    /// What is there is no intact frame, and why.
    Bad(String),
}

/// Reads the frames of a segment in runs: one read of the disk for as many as fit a chunk.
pub(crate) struct FrameReader<'a> {
    file: &'a dyn DiskFile,
    seed: Seed,
    position: u64,
    end: u64,
    chunk_bytes: usize,
    chunk: Bytes,
    chunk_at: u64,
}

impl<'a> FrameReader<'a> {
    /// Reads the frames from `position` up to `end`, `chunk_bytes` at a time.
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        seed: Seed,
        position: u64,
        end: u64,
        chunk_bytes: usize,
    ) -> Self {
        Self { file, seed, position, end, chunk_bytes, chunk: Bytes::new(), chunk_at: position }
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        if self.position >= self.end {
            return Ok(Next::End);
        }
        let head = self.bytes(FRAME_HEADER_BYTES)?;
        let header = match FrameHeader::decode(self.seed, self.position, &head) {
            Ok(header) => header,
            Err(reason) => return Ok(Next::Bad(reason)),
        };
        if header.frame_bytes() > self.end - self.position {
            let left = self.end - self.position;
            return Ok(Next::Bad(format!("the frame has {} bytes, {left} are left", header.frame_bytes())));
        }
        let bytes = self.bytes(FRAME_HEADER_BYTES + header.body_bytes as usize)?;
        Ok(match Frame::take(header, self.position, &bytes) {
            Ok(frame) => {
                self.position = frame.next_position();
                Next::Frame(frame)
            }
            Err(reason) => Next::Bad(reason),
        })
    }

    /// At least `wanted` bytes at the position, fewer where the file ends.
    fn bytes(&mut self, wanted: usize) -> io::Result<Bytes> {
        let skip = (self.position - self.chunk_at) as usize;
        if skip + wanted > self.chunk.len() {
            let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
            self.chunk = read_bytes(self.file, self.position, wanted.max(self.chunk_bytes).min(left))?;
            self.chunk_at = self.position;
            return Ok(self.chunk.clone());
        }
        Ok(self.chunk.slice(skip..))
    }
}

/// Where a segment stops being readable.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) position: u64,
    pub(crate) reason: String,
    /// The first intact frame behind it. There is one: then this is damage. There is none: a torn tail.
    pub(crate) intact_after: Option<Frame>,
}

/// What a segment holds up to its end or first fault.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) tail: Tail,
    pub(crate) first_time: Option<Micros>,
    pub(crate) frames: u64,
    pub(crate) index: SparseIndex,
    /// The keys published at or after what was asked for, oldest first.
    pub(crate) keys: Vec<KeyEntry>,
    pub(crate) last_frame: Option<Frame>,
    pub(crate) fault: Option<Fault>,
}

impl Scanned {
    pub(crate) fn empty(header: &SegmentHeader) -> Self {
        Self {
            tail: Tail::of_empty(header),
            first_time: None,
            frames: 0,
            index: SparseIndex::default(),
            keys: Vec::new(),
            last_frame: None,
            fault: None,
        }
    }

    pub(crate) fn facts(&self, header: &SegmentHeader) -> SealedFacts {
        SealedFacts {
            base: header.base,
            end: self.tail.end,
            bytes: self.tail.position,
            first_time: self.first_time.unwrap_or(self.tail.last_time),
            last_time: self.tail.last_time,
            duplicates_total: self.tail.duplicates_total,
            payload_before: header.payload_total,
            payload_total: self.tail.payload_total,
        }
    }

    fn note(&mut self, frame: &Frame, interval: u64, keys_since: Micros) -> Result<(), String> {
        let tail = self.tail.follow(frame)?;
        let records = Records::new(frame)?;
        if frame.header.keys > 0 && frame.header.last_time() >= keys_since {
            let keyed = records.filter(|record| record.publish_time >= keys_since);
            self.keys.extend(keyed.filter_map(|record| {
                record.key.map(|key| KeyEntry { key, offset: record.offset, time: record.publish_time })
            }));
        }
        if frame.header.count > 0 {
            self.first_time.get_or_insert(frame.header.first_time);
        }
        self.index.note(frame, self.tail.payload_total, interval);
        self.frames += 1;
        self.tail = tail;
        Ok(())
    }
}

/// How a scan is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScanOptions {
    /// See [`crate::LogConfig::index_interval_bytes`].
    pub(crate) index_interval_bytes: u64,
    /// Keys of messages published before this are not wanted.
    pub(crate) keys_since: Micros,
}

impl ScanOptions {
    pub(crate) fn new(index_interval_bytes: u64, now: Micros, dedup_age: Duration) -> Self {
        Self { index_interval_bytes, keys_since: now.minus(dedup_age) }
    }
}

/// Reads a segment from its header to its end or first fault, `len` being the file's length.
pub(crate) fn scan(
    file: &dyn DiskFile,
    header: &SegmentHeader,
    len: u64,
    options: ScanOptions,
) -> io::Result<Scanned> {
    let seed = header.seed();
    let mut scanned = Scanned::empty(header);
    let mut reader = FrameReader::new(file, seed, SEGMENT_HEADER_BYTES as u64, len, SCAN_CHUNK_BYTES);
    loop {
        let position = reader.position;
        let reason = match reader.next()? {
            Next::End => return Ok(scanned),
            Next::Bad(reason) => reason,
            Next::Frame(frame) => {
                match scanned.note(&frame, options.index_interval_bytes, options.keys_since) {
                    Ok(()) => {
                        scanned.last_frame = Some(frame);
                        continue;
                    }
                    Err(reason) => reason,
                }
            }
        };
        let intact_after = find_frame(file, seed, position + 1, len)?;
        scanned.fault = Some(Fault { position, reason, intact_after });
        return Ok(scanned);
    }
}

/// The first intact frame that begins at `from` or later.
pub(crate) fn find_frame(file: &dyn DiskFile, seed: Seed, from: u64, len: u64) -> io::Result<Option<Frame>> {
    let finder = memchr::memmem::Finder::new(&FRAME_MAGIC);
    let mut at = from;
    while at + FRAME_HEADER_BYTES as u64 <= len {
        let left = usize::try_from(len - at).unwrap_or(usize::MAX);
        let chunk = read_bytes(file, at, left.min(SCAN_CHUNK_BYTES))?;
        for found in finder.find_iter(&chunk) {
            let position = at + found as u64;
            let mut candidate = FrameReader::new(file, seed, position, len, FRAME_HEADER_BYTES);
            if let Next::Frame(frame) = candidate.next()? {
                return Ok(Some(frame));
            }
        }
        if chunk.len() < FRAME_MAGIC.len() {
            break;
        }
        // A magic may lie across two chunks.
        at += (chunk.len() - (FRAME_MAGIC.len() - 1)) as u64;
    }
    Ok(None)
}

fn read_bytes(file: &dyn DiskFile, position: u64, count: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; count];
    let read = file.read_at(&mut bytes, position)?;
    bytes.truncate(read);
    Ok(Bytes::from(bytes))
}
