//! Messages inside a frame's body: a table of lengths, then the dedup keys, then the bytes. The layout
//! is in `FORMAT.md`.

use std::ops::Range;

use bytes::Bytes;
use millrace_model::{DedupKey, Micros, NewMessage, Offset};

use crate::bytes_le::{array_at, u16_at, u32_at};
use crate::frame::{FRAME_HEADER_BYTES, Frame, FrameHeader, Seed};

const RECORD_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const FLAG_KEY: u16 = 1;

/// What a message costs in a frame on top of its own bytes, at most.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = RECORD_BYTES + KEY_BYTES;

/// One message of a frame; ranges are positions in the frame's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: Offset,
    pub(crate) publish_time: Micros,
    pub(crate) key: Option<DedupKey>,
    pub(crate) data: Range<usize>,
    pub(crate) attributes: Range<usize>,
    pub(crate) ordering_key: Range<usize>,
}

impl Record {
    /// What the message weighs against byte budgets: its three parts lie one after the other.
    pub(crate) fn size_bytes(&self) -> usize {
        self.ordering_key.end - self.data.start
    }
}

/// A frame in the making.
#[derive(Debug)]
pub(crate) struct Draft {
    base: Offset,
    messages: Vec<(NewMessage, Micros)>,
    bytes: usize,
    /// Duplicates dropped while it was made.
    pub(crate) duplicates: u64,
}

impl Draft {
    pub(crate) fn new(base: Offset) -> Self {
        Self { base, messages: Vec::new(), bytes: 0, duplicates: 0 }
    }

    /// Adds a message and returns its offset.
    pub(crate) fn push(&mut self, message: NewMessage, publish_time: Micros) -> Offset {
        let offset = self.base.plus(self.messages.len() as u64);
        self.bytes += message.size_bytes() + RECORD_OVERHEAD_BYTES;
        self.messages.push((message, publish_time));
        offset
    }

    /// Whether `more` bytes of a message would make the frame larger than `bytes_max`.
    pub(crate) fn is_full(&self, more: usize, bytes_max: usize) -> bool {
        !self.messages.is_empty() && self.bytes + more + RECORD_OVERHEAD_BYTES > bytes_max
    }

    /// The length of the frame that it makes, at most.
    pub(crate) fn frame_bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES + self.bytes) as u64
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.duplicates == 0
    }

    /// Makes the frame for `position` of a segment. `last_time` is the topic's last publish time,
    /// `duplicates_total` and `payload_total` what they were before this frame.
    pub(crate) fn encode(
        &self,
        seed: Seed,
        position: u64,
        last_time: Micros,
        duplicates_total: u64,
        payload_total: u64,
    ) -> Frame {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + self.bytes);
        bytes.resize(FRAME_HEADER_BYTES, 0);
        let first_time = self.messages.first().map_or(last_time, |(_, time)| *time);
        for (message, time) in &self.messages {
            let flags = if message.dedup_key.is_some() { FLAG_KEY } else { 0 };
            // The limits on append keep every length inside its field.
            bytes.extend_from_slice(&(message.data.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(message.attributes.as_bytes().len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(message.ordering_key.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&flags.to_le_bytes());
            bytes.extend_from_slice(&delta(first_time, *time).to_le_bytes());
        }
        let mut keys = 0;
        for key in self.messages.iter().filter_map(|(message, _)| message.dedup_key) {
            bytes.extend_from_slice(&key.0);
            keys += 1;
        }
        let mut payload = 0;
        for (message, _) in &self.messages {
            bytes.extend_from_slice(&message.data);
            bytes.extend_from_slice(message.attributes.as_bytes());
            bytes.extend_from_slice(&message.ordering_key);
            payload += message.data.len() as u64;
        }
        let header = FrameHeader {
            body_bytes: (bytes.len() - FRAME_HEADER_BYTES) as u32,
            count: self.messages.len() as u32,
            base: self.base,
            first_time,
            last_delta: self.messages.last().map_or(0, |(_, time)| delta(first_time, *time)),
            keys,
            duplicates_total: duplicates_total + self.duplicates,
            payload_total: payload_total + payload,
            body_crc: crc32c::crc32c(&bytes[FRAME_HEADER_BYTES..]),
        };
        header.encode(seed, position, &mut bytes);
        Frame { position, header, bytes: Bytes::from(bytes) }
    }
}

/// The messages of a frame, one by one.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    frame: &'a Frame,
    index: usize,
    key_at: usize,
    data_at: usize,
}

impl<'a> Records<'a> {
    /// Checks that the lengths in the frame add up, once for all messages.
    pub(crate) fn new(frame: &'a Frame) -> Result<Self, String> {
        let (count, keys) = (frame.header.count as usize, frame.header.keys as usize);
        let key_at = FRAME_HEADER_BYTES + count.saturating_mul(RECORD_BYTES);
        let data_at = key_at.saturating_add(keys.saturating_mul(KEY_BYTES));
        if data_at > frame.bytes.len() {
            return Err(format!("the frame is too short for its {count} messages"));
        }
        let (mut end, mut keyed) = (data_at, 0);
        for index in 0..count {
            let at = FRAME_HEADER_BYTES + index * RECORD_BYTES;
            end += u32_at(&frame.bytes, at) as usize
                + u32_at(&frame.bytes, at + 4) as usize
                + usize::from(u16_at(&frame.bytes, at + 8));
            keyed += usize::from(u16_at(&frame.bytes, at + 10) & FLAG_KEY);
        }
        if end != frame.bytes.len() || keyed != keys {
            return Err("the lengths in the frame do not add up".to_owned());
        }
        Ok(Self { frame, index: 0, key_at, data_at })
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.index == self.frame.header.count as usize {
            return None;
        }
        let bytes = &self.frame.bytes;
        let at = FRAME_HEADER_BYTES + self.index * RECORD_BYTES;
        let data_end = self.data_at + u32_at(bytes, at) as usize;
        let attributes_end = data_end + u32_at(bytes, at + 4) as usize;
        let ordering_end = attributes_end + usize::from(u16_at(bytes, at + 8));
        let key = if u16_at(bytes, at + 10) & FLAG_KEY == 0 {
            None
        } else {
            self.key_at += KEY_BYTES;
            Some(DedupKey(array_at(bytes, self.key_at - KEY_BYTES)))
        };
        let first = self.frame.header.first_time.0;
        let record = Record {
            offset: self.frame.header.base.plus(self.index as u64),
            publish_time: Micros(first.saturating_add(i64::from(u32_at(bytes, at + 12)))),
            key,
            data: self.data_at..data_end,
            attributes: data_end..attributes_end,
            ordering_key: attributes_end..ordering_end,
        };
        self.index += 1;
        self.data_at = ordering_end;
        Some(record)
    }
}

/// Microseconds from `first` to `time`; a frame that was an hour in the making counts as one.
fn delta(first: Micros, time: Micros) -> u32 {
    u32::try_from(time.0.saturating_sub(first.0).max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::{AttributeBlock, TopicId};
    use proptest::prelude::*;

    fn message() -> impl Strategy<Value = NewMessage> {
        (any::<Vec<u8>>(), "\\PC{0,9}", "\\PC{0,5}", any::<Option<[u8; 16]>>()).prop_map(
            |(data, value, ordering, key)| NewMessage {
                data: data.into(),
                attributes: AttributeBlock::pack([("key", value.as_str())]).unwrap(),
                ordering_key: ordering.into_bytes().into(),
                dedup_key: key.map(DedupKey),
            },
        )
    }

    proptest! {
        /// Scenario: any messages in one frame.
        /// Guarantees: they come back with their bytes, keys, offsets and times, and with every length
        /// that is off by a bit the frame is refused or its ranges still lie inside it.
        #[test]
        fn messages_survive_a_frame(messages in prop::collection::vec(message(), 0..9), flip: prop::sample::Index) {
            let seed = Seed::new(TopicId([1; 16]), Offset(0));
            let mut draft = Draft::new(Offset(7));
            for (number, message) in messages.iter().enumerate() {
                prop_assert_eq!(draft.push(message.clone(), Micros(100 + number as i64)), Offset(7 + number as u64));
            }
            let made = draft.encode(seed, 80, Micros(5), 2, 3);
            let header = FrameHeader::decode(seed, 80, &made.bytes).unwrap();
            prop_assert_eq!(header, made.header);
            let mut frame = Frame::take(header, 80, &made.bytes).unwrap();
            let records: Vec<_> = Records::new(&frame).unwrap().collect();
            prop_assert_eq!(records.len(), messages.len());
            for (number, (record, message)) in records.iter().zip(&messages).enumerate() {
                prop_assert_eq!(&frame.bytes[record.data.clone()], &message.data[..]);
                prop_assert_eq!(&frame.bytes[record.attributes.clone()], &message.attributes.as_bytes()[..]);
                prop_assert_eq!(&frame.bytes[record.ordering_key.clone()], &message.ordering_key[..]);
                prop_assert_eq!(record.key, message.dedup_key);
                prop_assert_eq!((record.offset, record.publish_time), (Offset(7 + number as u64), Micros(100 + number as i64)));
            }
            if !messages.is_empty() {
                let mut bytes = frame.bytes.to_vec();
                let bit = flip.index(messages.len() * RECORD_BYTES * 8);
                bytes[FRAME_HEADER_BYTES + bit / 8] ^= 1 << (bit % 8);
                frame.bytes = bytes.into();
                if let Ok(records) = Records::new(&frame) {
                    records.for_each(|record| assert!(record.ordering_key.end <= frame.bytes.len()));
                }
            }
        }
    }
}
