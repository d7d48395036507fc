//! Frames: what one sync makes durable. The layout is in `FORMAT.md`; this file and `record.rs` are the
//! only ones that know it.

use bytes::Bytes;
use millrace_model::{Micros, Offset, TopicId};

use crate::bytes_le::{i64_at, u16_at, u32_at, u64_at};

/// Length of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;
/// What every frame begins with.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"MRfr";
const VERSION: u16 = 1;
const CRC_POSITION: usize = 60;

/// What a frame header's checksum begins with: the topic, the segment, and the place in it, none of
/// which are stored. Bytes that look like a frame are one only where they were written as one: not in a
/// message that happens to hold a piece of log, nor in a renamed file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(topic: TopicId, base: Offset) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(&topic.0), &base.0.to_le_bytes()))
    }

    fn header_crc(self, position: u64, header: &[u8]) -> u32 {
        let seed = crc32c::crc32c_append(self.0, &position.to_le_bytes());
        crc32c::crc32c_append(seed, &header[..CRC_POSITION])
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Length of the body.
    pub(crate) body_bytes: u32,
    /// How many messages; 0 when the frame only counts duplicates.
    pub(crate) count: u32,
    /// The first message's offset.
    pub(crate) base: Offset,
    /// The first message's publish time.
    pub(crate) first_time: Micros,
    /// The last message's, in microseconds after the first's.
    pub(crate) last_delta: u32,
    /// How many messages have a dedup key.
    pub(crate) keys: u32,
    /// Duplicates dropped since the topic began, those of this frame included.
    pub(crate) duplicates_total: u64,
    /// Payload bytes since the topic began, those of this frame included.
    pub(crate) payload_total: u64,
    /// Checksum of the body.
    pub(crate) body_crc: u32,
}

impl FrameHeader {
    pub(crate) fn end(&self) -> Offset {
        self.base.plus(u64::from(self.count))
    }

    pub(crate) fn last_time(&self) -> Micros {
        Micros(self.first_time.0.saturating_add(i64::from(self.last_delta)))
    }

    pub(crate) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Writes the header into the first bytes of `frame`.
    pub(crate) fn encode(&self, seed: Seed, position: u64, frame: &mut [u8]) {
        let mut header = Vec::with_capacity(FRAME_HEADER_BYTES);
        header.extend_from_slice(&FRAME_MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&(FRAME_HEADER_BYTES as u16).to_le_bytes());
        header.extend_from_slice(&self.body_bytes.to_le_bytes());
        header.extend_from_slice(&self.count.to_le_bytes());
        header.extend_from_slice(&self.base.0.to_le_bytes());
        header.extend_from_slice(&self.first_time.0.to_le_bytes());
        header.extend_from_slice(&self.last_delta.to_le_bytes());
        header.extend_from_slice(&self.keys.to_le_bytes());
        header.extend_from_slice(&self.duplicates_total.to_le_bytes());
        header.extend_from_slice(&self.payload_total.to_le_bytes());
        header.extend_from_slice(&self.body_crc.to_le_bytes());
        let crc = seed.header_crc(position, &header);
        header.extend_from_slice(&crc.to_le_bytes());
        frame[..FRAME_HEADER_BYTES].copy_from_slice(&header);
    }

    /// Reads the header at the beginning of `bytes`, which lie at `position` of the segment.
    pub(crate) fn decode(seed: Seed, position: u64, bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < FRAME_HEADER_BYTES {
            return Err(format!("a frame header has {FRAME_HEADER_BYTES} bytes, {} are left", bytes.len()));
        }
        if bytes[..4] != FRAME_MAGIC {
            return Err("no frame begins here".to_owned());
        }
        if u32_at(bytes, CRC_POSITION) != seed.header_crc(position, bytes) {
            return Err("the frame header's checksum does not match".to_owned());
        }
        let (version, length) = (u16_at(bytes, 4), u16_at(bytes, 6));
        if version != VERSION || usize::from(length) != FRAME_HEADER_BYTES {
            return Err(format!("the frame has format version {version}, this program knows {VERSION}"));
        }
        Ok(Self {
            body_bytes: u32_at(bytes, 8),
            count: u32_at(bytes, 12),
            base: Offset(u64_at(bytes, 16)),
            first_time: Micros(i64_at(bytes, 24)),
            last_delta: u32_at(bytes, 32),
            keys: u32_at(bytes, 36),
            duplicates_total: u64_at(bytes, 40),
            payload_total: u64_at(bytes, 48),
            body_crc: u32_at(bytes, 56),
        })
    }
}

/// A frame as it lies in its segment, with checksums compared.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Where it begins in its segment.
    pub(crate) position: u64,
    pub(crate) header: FrameHeader,
    /// Header and body.
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// Takes the frame that begins at `bytes`, which may hold more and lie at `position`.
    pub(crate) fn take(header: FrameHeader, position: u64, bytes: &Bytes) -> Result<Self, String> {
        let length = FRAME_HEADER_BYTES + header.body_bytes as usize;
        if bytes.len() < length {
            return Err(format!("the frame has {length} bytes, {} are left", bytes.len()));
        }
        let bytes = bytes.slice(..length);
        if crc32c::crc32c(&bytes[FRAME_HEADER_BYTES..]) != header.body_crc {
            return Err("the frame body's checksum does not match".to_owned());
        }
        Ok(Self { position, header, bytes })
    }

    /// Where the next frame begins.
    pub(crate) fn next_position(&self) -> u64 {
        self.position + self.header.frame_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            body_bytes: 0x0102_0304,
            count: 5,
            base: Offset(u64::MAX - 9),
            first_time: Micros(-7),
            last_delta: 6,
            keys: 2,
            duplicates_total: 11,
            payload_total: 12,
            body_crc: 0xdead_beef,
        }
    }

    /// Scenario: a header with known numbers is written.
    /// Guarantees: its bytes are those of format version 1, for ever, and read back the same.
    #[test]
    fn the_first_version_has_these_bytes() {
        let seed = Seed::new(TopicId([3; 16]), Offset(40));
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        header().encode(seed, 4096, &mut bytes);
        let hex: String = bytes[..CRC_POSITION].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "4d526672010040000403020105000000f6fffffffffffffff9ffffffffffffff06000000020000000b000000000000000c00000000000000efbeadde"
        );
        assert_eq!(FrameHeader::decode(seed, 4096, &bytes), Ok(header()));
    }

    /// Scenario: the same bytes are found elsewhere, in another segment or topic, or with a bit changed.
    /// Guarantees: none of them is a frame.
    #[test]
    fn a_frame_is_one_only_where_it_was_written() {
        let seed = Seed::new(TopicId([3; 16]), Offset(40));
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        header().encode(seed, 4096, &mut bytes);
        assert!(FrameHeader::decode(seed, 4097, &bytes).is_err());
        assert!(FrameHeader::decode(Seed::new(TopicId([3; 16]), Offset(41)), 4096, &bytes).is_err());
        assert!(FrameHeader::decode(Seed::new(TopicId([4; 16]), Offset(40)), 4096, &bytes).is_err());
        assert!(FrameHeader::decode(seed, 4096, &bytes[..63]).is_err());
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::decode(seed, 4096, &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
