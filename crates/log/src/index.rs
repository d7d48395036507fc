//! A segment's sparse index: places of some frames, found by offset and by publish time.

use millrace_model::{Micros, Offset};

use crate::bytes_le::{i64_at, u64_at};
use crate::frame::Frame;

/// Length of an entry in the index file.
pub(crate) const ENTRY_BYTES: usize = 32;

/// Where a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) base: Offset,
    pub(crate) position: u64,
    /// The frame's first publish time.
    pub(crate) first_time: Micros,
    /// Payload bytes of the topic before the frame.
    pub(crate) payload_before: u64,
}

/// Entries in order; every number in them ascends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SparseIndex {
    entries: Vec<IndexEntry>,
}

impl SparseIndex {
    /// Notes `frame` when it is the first or at least `interval` bytes behind the last that was noted.
    pub(crate) fn note(&mut self, frame: &Frame, payload_before: u64, interval: u64) {
        if self.entries.last().is_none_or(|last| frame.position >= last.position + interval) {
            self.entries.push(IndexEntry {
                base: frame.header.base,
                position: frame.position,
                first_time: frame.header.first_time,
                payload_before,
            });
        }
    }

    /// The last noted frame that begins at or before `offset`.
    pub(crate) fn by_offset(&self, offset: Offset) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.base <= offset);
        after.checked_sub(1).map(|index| self.entries[index])
    }

    /// The last noted frame before every message published at or after `time`; the first frame when
    /// all are.
    pub(crate) fn by_time(&self, time: Micros) -> Option<IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.first_time < time);
        self.entries.get(after.saturating_sub(1)).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.base.0.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.first_time.0.to_le_bytes());
            bytes.extend_from_slice(&entry.payload_before.to_le_bytes());
        }
    }

    /// Reads whole entries; the file's checksum has been compared.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let entry = |bytes: &[u8]| IndexEntry {
            base: Offset(u64_at(bytes, 0)),
            position: u64_at(bytes, 8),
            first_time: Micros(i64_at(bytes, 16)),
            payload_before: u64_at(bytes, 24),
        };
        Self { entries: bytes.chunks_exact(ENTRY_BYTES).map(entry).collect() }
    }
}
