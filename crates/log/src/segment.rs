//! Segment files: their names, their headers, and what is kept in memory about a sealed one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use millrace_disk::DiskFile;
use millrace_model::{Micros, Offset, TopicId};

use crate::LogError;
use crate::bytes_le::{array_at, i64_at, u16_at, u32_at, u64_at};
use crate::frame::Seed;

/// Length of a segment's header; its first frame follows.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 80;
const MAGIC: [u8; 8] = *b"MRsegmnt";
const VERSION: u16 = 1;
const CRC_POSITION: usize = 76;

/// The path of the segment that begins at `base`.
pub(crate) fn segment_path(directory: &Path, base: Offset) -> PathBuf {
    directory.join(format!("{:020}.log", base.0))
}

/// The path of that segment's index.
pub(crate) fn index_path(directory: &Path, base: Offset) -> PathBuf {
    directory.join(format!("{:020}.index", base.0))
}

/// The offset that a segment's file name says, `None` for any other name.
pub(crate) fn base_of(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok().map(Offset) } else { None }
}

/// The same for the file name of a segment's index.
pub(crate) fn index_base_of(name: &str) -> Option<Offset> {
    base_of(&format!("{}.log", name.strip_suffix(".index")?))
}

/// A segment's header: whose it is, where it begins, and the topic's running numbers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) topic: TopicId,
    pub(crate) base: Offset,
    /// No message of the segment was published before this.
    pub(crate) last_time: Micros,
    pub(crate) duplicates_total: u64,
    pub(crate) payload_total: u64,
}

impl SegmentHeader {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.topic, self.base)
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(SEGMENT_HEADER_BYTES as u16).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.topic.0);
        bytes[32..40].copy_from_slice(&self.base.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.last_time.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.duplicates_total.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.payload_total.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_POSITION]);
        bytes[CRC_POSITION..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < SEGMENT_HEADER_BYTES {
            return Err(format!(
                "a segment header has {SEGMENT_HEADER_BYTES} bytes, {} are there",
                bytes.len()
            ));
        }
        if bytes[..8] != MAGIC {
            return Err("this is not a segment".to_owned());
        }
        if u32_at(bytes, CRC_POSITION) != crc32c::crc32c(&bytes[..CRC_POSITION]) {
            return Err("the segment header's checksum does not match".to_owned());
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(format!("the segment has format version {version}, this program knows {VERSION}"));
        }
        Ok(Self {
            topic: TopicId(array_at(bytes, 16)),
            base: Offset(u64_at(bytes, 32)),
            last_time: Micros(i64_at(bytes, 40)),
            duplicates_total: u64_at(bytes, 48),
            payload_total: u64_at(bytes, 56),
        })
    }

    /// Reads the header of an open segment; the inner error says what is wrong with it.
    pub(crate) fn read(file: &dyn DiskFile) -> std::io::Result<Result<Self, String>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let count = file.read_at(&mut bytes, 0)?;
        Ok(Self::decode(&bytes[..count]))
    }

    /// Whether the header is that of the segment of `topic` that its file name says.
    pub(crate) fn check(&self, path: &Path, topic: TopicId, base: Offset) -> Result<(), LogError> {
        if self.topic != topic {
            let reason = format!("it belongs to topic {}, not to {topic}", self.topic);
            return Err(LogError::corrupt(path, 0, reason));
        }
        if self.base != base {
            let reason = format!(
                "it was renamed: it is the segment that begins at offset {}, {}",
                self.base,
                segment_path(Path::new(""), self.base).display()
            );
            return Err(LogError::corrupt(path, 0, reason));
        }
        Ok(())
    }
}

/// Where a topic ends in its newest segment, and its running numbers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where the next frame goes in the segment.
    pub(crate) position: u64,
    pub(crate) end: Offset,
    pub(crate) last_time: Micros,
    pub(crate) duplicates_total: u64,
    pub(crate) payload_total: u64,
}

impl Tail {
    /// The tail of a segment that has its header only.
    pub(crate) fn of_empty(header: &SegmentHeader) -> Self {
        Self {
            position: SEGMENT_HEADER_BYTES as u64,
            end: header.base,
            last_time: header.last_time,
            duplicates_total: header.duplicates_total,
            payload_total: header.payload_total,
        }
    }

    /// The tail behind `frame`, which must be the next one.
    pub(crate) fn follow(&self, frame: &crate::frame::Frame) -> Result<Self, String> {
        let header = &frame.header;
        if header.base != self.end {
            return Err(format!("the frame begins at offset {}, expected {}", header.base, self.end));
        }
        if header.first_time < self.last_time
            || header.duplicates_total < self.duplicates_total
            || header.payload_total < self.payload_total
        {
            return Err("the frame's running numbers go back".to_owned());
        }
        Ok(Self {
            position: frame.next_position(),
            end: header.end(),
            last_time: header.last_time(),
            duplicates_total: header.duplicates_total,
            payload_total: header.payload_total,
        })
    }
}

/// What is known of a sealed segment without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedFacts {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    pub(crate) first_time: Micros,
    pub(crate) last_time: Micros,
    pub(crate) duplicates_total: u64,
    /// Payload bytes of the topic before the segment, and behind it.
    pub(crate) payload_before: u64,
    pub(crate) payload_total: u64,
}

/// A sealed segment.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) facts: SealedFacts,
    /// Bytes of the segments before it, counted from the oldest when the topic was opened.
    pub(crate) stored_before: u64,
    folded_since: AtomicI64,
}

const NOT_FOLDED: i64 = i64::MIN;

impl Sealed {
    pub(crate) fn new(facts: SealedFacts, stored_before: u64) -> Self {
        Self { facts, stored_before, folded_since: AtomicI64::new(NOT_FOLDED) }
    }

    /// Notes whether the segment is folded at `now`; answers since when it is known to be.
    pub(crate) fn note_folded(&self, folded: bool, now: Micros) -> Option<Micros> {
        let before = self.folded_since.load(Ordering::Relaxed);
        let since = match (folded, before) {
            (false, _) => NOT_FOLDED,
            (true, NOT_FOLDED) => now.0,
            (true, before) => before,
        };
        self.folded_since.store(since, Ordering::Relaxed);
        (since != NOT_FOLDED).then_some(Micros(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: segments with the smallest and the largest offsets there are.
    /// Guarantees: names keep 20 digits and sort like numbers; other names are not segments; headers
    /// survive their bytes and no single changed bit.
    #[test]
    fn names_and_headers() {
        for base in [0, 1, u64::MAX - 1, u64::MAX].map(Offset) {
            let path = segment_path(Path::new("d"), base);
            assert_eq!(base_of(path.file_name().unwrap().to_str().unwrap()), Some(base));
            let header = SegmentHeader {
                topic: TopicId([9; 16]),
                base,
                last_time: Micros(-1),
                duplicates_total: 4,
                payload_total: u64::MAX,
            };
            let mut bytes = header.encode();
            assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            for bit in 0..SEGMENT_HEADER_BYTES * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        for other in
            ["99999999999999999999.log", "1.log", "+0000000000000000001.log", "00000000000000000000.index"]
        {
            assert_eq!(base_of(other), None, "{other}");
        }
    }
}
