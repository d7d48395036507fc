//! The messages of one request under construction, in one buffer.

use std::ops::Range;

use millrace_model::DedupKey;
use millrace_model::limits::MESSAGE_BYTES_MAX;

use super::MapError;
use super::value::ValueError;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its payload in the buffer.
    pub(crate) data: Range<usize>,
    pub(crate) dedup_key: DedupKey,
    /// A bit for each route that takes it.
    pub(crate) routes: u64,
}

/// The messages of one request, and what could not become one.
#[derive(Debug, Default)]
pub(crate) struct Mapped {
    pub(crate) buffer: Vec<u8>,
    pub(crate) records: Vec<Record>,
    /// Records whose message would pass [`MESSAGE_BYTES_MAX`].
    pub(crate) too_large: u64,
    /// Records nested too deeply.
    pub(crate) too_deep: u64,
    /// Records with a list of too many attributes.
    pub(crate) too_many: u64,
    /// Bytes that were written for nothing, because their message became too large.
    wasted: usize,
    /// Texts in which bad UTF-8 was replaced.
    pub(crate) repaired: u64,
}

impl Mapped {
    /// How many records there were, taken or not.
    pub(crate) fn total(&self) -> u64 {
        self.records.len() as u64 + self.rejected()
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.too_large + self.too_deep + self.too_many
    }

    /// Keeps or counts what `write` wrote to the buffer's end as one record of `wire_bytes`.
    pub(super) fn put(
        &mut self,
        wire_bytes: usize,
        bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>, &mut u64) -> Result<(DedupKey, u64), ValueError>,
    ) -> Result<(), MapError> {
        let start = self.buffer.len();
        // Escapes only lengthen, so a record too large on the wire need not be written to know.
        if wire_bytes > MESSAGE_BYTES_MAX {
            self.too_large += 1;
            return Ok(());
        }
        let mut repaired = 0;
        let written = write(&mut self.buffer, &mut repaired);
        let too_large = self.buffer.len() - start > MESSAGE_BYTES_MAX;
        let refused = match written {
            Ok((dedup_key, routes)) if !too_large => {
                self.records.push(Record { data: start..self.buffer.len(), dedup_key, routes });
                self.repaired += repaired;
                None
            }
            Ok(_) | Err(ValueError::TooLarge) => Some(&mut self.too_large),
            Err(ValueError::TooDeep) => Some(&mut self.too_deep),
            Err(ValueError::TooMany) => Some(&mut self.too_many),
            Err(ValueError::Wire(error)) => return Err(MapError::Malformed(error)),
        };
        if let Some(refused) = refused {
            *refused += 1;
            // A large resource over many records takes as long to write when none of them is kept.
            self.wasted += self.buffer.len() - start;
            self.buffer.truncate(start);
        }
        if self.buffer.len().max(self.wasted) > bytes_max {
            Err(MapError::TooLarge(bytes_max))
        } else {
            Ok(())
        }
    }
}
