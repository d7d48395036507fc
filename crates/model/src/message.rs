//! Messages, alone on their way into a topic and in batches on their way out.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_PER_MESSAGE_MAX};
use crate::{DedupKey, Micros, Offset, TopicId};

/// A message's attributes as one shared block of bytes: for each attribute the key's length, the key,
/// the value's length, the value, both lengths as little-endian `u16`. The same block lies in memory,
/// in the log and in a batch, so attributes are never taken apart on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeBlock(Bytes);

/// Why attributes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// More than [`ATTRIBUTES_PER_MESSAGE_MAX`].
    #[error("a message has at most {ATTRIBUTES_PER_MESSAGE_MAX} attributes, this one has more")]
    TooMany,
    /// A key is empty or too long.
    #[error("an attribute key has 1 to {ATTRIBUTE_KEY_BYTES_MAX} bytes, this one has {0}")]
    Key(usize),
    /// A value is too long.
    #[error("an attribute value has at most {ATTRIBUTE_VALUE_BYTES_MAX} bytes, this one has {0}")]
    Value(usize),
    /// A stored block does not hold what its lengths say.
    #[error("an attribute block of {0} bytes is malformed")]
    Malformed(usize),
}

impl AttributeBlock {
    /// Packs attributes in the order given.
    ///
    /// # Errors
    /// When there are too many, or a key or value is over its limit.
    pub fn pack<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, AttributeError> {
        let mut block = BytesMut::new();
        for (count, (key, value)) in attributes.into_iter().enumerate() {
            if count == ATTRIBUTES_PER_MESSAGE_MAX {
                return Err(AttributeError::TooMany);
            }
            if key.is_empty() || key.len() > ATTRIBUTE_KEY_BYTES_MAX {
                return Err(AttributeError::Key(key.len()));
            }
            if value.len() > ATTRIBUTE_VALUE_BYTES_MAX {
                return Err(AttributeError::Value(value.len()));
            }
            for text in [key, value] {
                block.put_u16_le(u16::try_from(text.len()).map_err(|_| AttributeError::Value(text.len()))?);
                block.put_slice(text.as_bytes());
            }
        }
        Ok(Self(block.freeze()))
    }

    /// Takes a block as it was stored.
    ///
    /// # Errors
    /// When the lengths in it do not add up or a text is not UTF-8.
    pub fn from_stored(block: Bytes) -> Result<Self, AttributeError> {
        let mut iter = AttributeIter { rest: &block };
        while iter.next().is_some() {}
        if iter.rest.is_empty() { Ok(Self(block)) } else { Err(AttributeError::Malformed(block.len())) }
    }

    /// The packed bytes, for storing.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The attributes, in the order they were packed.
    #[must_use]
    pub fn iter(&self) -> AttributeIter<'_> {
        AttributeIter { rest: &self.0 }
    }
}

impl<'a> IntoIterator for &'a AttributeBlock {
    type Item = (&'a str, &'a str);
    type IntoIter = AttributeIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Attributes read off a block one by one, without allocation. Stops at the first malformed one.
#[derive(Debug, Clone)]
pub struct AttributeIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for AttributeIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = take_text(self.rest)?;
        let (value, rest) = take_text(rest)?;
        self.rest = rest;
        Some((key, value))
    }
}

fn take_text(block: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = block.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// A message on its way into a topic. Its parts are shared bytes, so many messages may lie in one
/// buffer and handing one on copies nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    /// The payload, as received.
    pub data: Bytes,
    /// Its attributes.
    pub attributes: AttributeBlock,
    /// Messages with the same non-empty key are delivered in order (Pub/Sub); UTF-8.
    pub ordering_key: Bytes,
    /// When set, a message with the same key inside the topic's deduplication window is not stored again.
    pub dedup_key: Option<DedupKey>,
}

impl NewMessage {
    /// A message of a payload only.
    #[must_use]
    pub fn from_data(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// What the message weighs against byte budgets.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.data.len() + self.attributes.0.len() + self.ordering_key.len()
    }
}

/// Where one message lies in a buffer of its batch. Ranges are byte positions in that buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageLayout {
    /// The message's place in its topic.
    pub offset: Offset,
    /// When it was appended.
    pub publish_time: Micros,
    /// Which buffer, as [`MessageBatch::add_buffer`] numbered it.
    pub buffer: usize,
    /// The payload.
    pub data: Range<usize>,
    /// The attribute block.
    pub attributes: Range<usize>,
    /// The ordering key.
    pub ordering_key: Range<usize>,
}

impl MessageLayout {
    /// What the message weighs against byte budgets, as [`NewMessage::size_bytes`] has it.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.data.len() + self.attributes.len() + self.ordering_key.len()
    }
}

/// Consecutive messages of one topic over shared buffers: what a [`crate::Source`] reads and a
/// [`crate::Transform`] takes. Offsets ascend; a gap means that messages between have expired.
#[derive(Debug, Clone)]
pub struct MessageBatch {
    topic: TopicId,
    buffers: Vec<Bytes>,
    layouts: Vec<MessageLayout>,
    data_bytes: usize,
    size_bytes: usize,
}

/// One message of a batch, borrowed from it.
#[derive(Debug, Clone)]
pub struct MessageView<'a> {
    /// The message's place in its topic.
    pub offset: Offset,
    /// When it was appended.
    pub publish_time: Micros,
    /// The payload; any bytes.
    pub data: &'a [u8],
    /// The attributes.
    pub attributes: AttributeIter<'a>,
    /// The ordering key, empty when there is none.
    pub ordering_key: &'a [u8],
}

impl MessageBatch {
    /// An empty batch of a topic's messages.
    #[must_use]
    pub fn new(topic: TopicId) -> Self {
        Self { topic, buffers: Vec::new(), layouts: Vec::new(), data_bytes: 0, size_bytes: 0 }
    }

    /// The topic that the messages are of.
    #[must_use]
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layouts.len()
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layouts.is_empty()
    }

    /// The bytes of all payloads together.
    #[must_use]
    pub fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// What all messages together weigh against byte budgets: payloads, attributes and ordering keys.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The first message's offset.
    #[must_use]
    pub fn first_offset(&self) -> Option<Offset> {
        self.layouts.first().map(|layout| layout.offset)
    }

    /// The offset behind the last message.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.layouts.last().map(|layout| layout.offset.plus(1))
    }

    /// Adds a shared buffer and returns its number for [`MessageLayout::buffer`].
    pub fn add_buffer(&mut self, buffer: Bytes) -> usize {
        self.buffers.push(buffer);
        self.buffers.len() - 1
    }

    /// Adds the next message.
    ///
    /// # Panics
    /// When a range lies outside its buffer or the offset does not ascend: the caller's mistake, not
    /// the data's.
    pub fn push(&mut self, layout: MessageLayout) {
        let buffer = &self.buffers[layout.buffer];
        for range in [&layout.data, &layout.attributes, &layout.ordering_key] {
            assert!(range.start <= range.end && range.end <= buffer.len(), "message outside its buffer");
        }
        assert!(self.layouts.last().is_none_or(|last| last.offset < layout.offset), "offsets must ascend");
        self.data_bytes += layout.data.len();
        self.size_bytes += layout.size_bytes();
        self.layouts.push(layout);
    }

    /// The message at `index`, counted from 0.
    ///
    /// # Panics
    /// When there is no such message.
    #[must_use]
    pub fn get(&self, index: usize) -> MessageView<'_> {
        let layout = &self.layouts[index];
        let buffer = &self.buffers[layout.buffer];
        MessageView {
            offset: layout.offset,
            publish_time: layout.publish_time,
            data: &buffer[layout.data.clone()],
            attributes: AttributeIter { rest: &buffer[layout.attributes.clone()] },
            ordering_key: &buffer[layout.ordering_key.clone()],
        }
    }

    /// What the message at `index`, counted from 0, weighs against byte budgets.
    ///
    /// # Panics
    /// When there is no such message.
    #[must_use]
    pub fn size_of(&self, index: usize) -> usize {
        self.layouts[index].size_bytes()
    }

    /// The payload of the message at `index`, counted from 0, sharing its buffer.
    ///
    /// # Panics
    /// When there is no such message.
    #[must_use]
    pub fn data(&self, index: usize) -> Bytes {
        let layout = &self.layouts[index];
        self.buffers[layout.buffer].slice(layout.data.clone())
    }

    /// The index of the message at `offset`.
    #[must_use]
    pub fn index_of(&self, offset: Offset) -> Option<usize> {
        self.layouts.binary_search_by_key(&offset, |layout| layout.offset).ok()
    }

    /// All messages in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MessageView<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets the messages at `end` and beyond, for a window that must end exactly there.
    pub fn truncate_at(&mut self, end: Offset) {
        let keep = self.layouts.partition_point(|layout| layout.offset < end);
        for layout in &self.layouts[keep..] {
            self.data_bytes -= layout.data.len();
            self.size_bytes -= layout.size_bytes();
        }
        self.layouts.truncate(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn attributes_survive_packing(attributes in prop::collection::vec(("\\PC{1,20}", "\\PC{0,40}"), 0..20)) {
            let block = AttributeBlock::pack(attributes.iter().map(|(k, v)| (k.as_str(), v.as_str()))).unwrap();
            let back: Vec<_> = block.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, attributes);
            prop_assert!(AttributeBlock::from_stored(block.as_bytes().clone()).is_ok());
        }

        #[test]
        fn any_bytes_as_a_block_are_an_error_or_attributes(bytes: Vec<u8>) {
            let _ = AttributeBlock::from_stored(Bytes::from(bytes));
        }
    }

    #[test]
    fn attributes_have_limits() {
        let many: Vec<String> = (0..=ATTRIBUTES_PER_MESSAGE_MAX).map(|n| n.to_string()).collect();
        assert_eq!(AttributeBlock::pack(many.iter().map(|k| (k.as_str(), ""))), Err(AttributeError::TooMany));
        assert_eq!(AttributeBlock::pack([("", "v")]), Err(AttributeError::Key(0)));
        let long = "x".repeat(ATTRIBUTE_VALUE_BYTES_MAX + 1);
        assert_eq!(AttributeBlock::pack([("k", long.as_str())]), Err(AttributeError::Value(long.len())));
    }

    #[test]
    fn a_batch_gives_back_its_messages_and_can_be_cut() {
        let mut batch = MessageBatch::new(TopicId([7; 16]));
        let buffer = batch.add_buffer(Bytes::from_static(b"hello world"));
        for (offset, data) in [(3, 0..5), (5, 6..11)] {
            batch.push(MessageLayout {
                offset: Offset(offset),
                publish_time: Micros(1),
                buffer,
                data,
                attributes: 0..2,
                ordering_key: 0..1,
            });
        }
        assert_eq!((batch.data_bytes(), batch.size_bytes(), batch.size_of(1)), (10, 16, 8));
        assert_eq!(
            batch.iter().map(|m| m.data.to_vec()).collect::<Vec<_>>(),
            [b"hello".to_vec(), b"world".to_vec()]
        );
        assert_eq!((batch.first_offset(), batch.next_offset()), (Some(Offset(3)), Some(Offset(6))));
        assert_eq!(
            batch.index_of(Offset(5)).map(|index| batch.data(index)),
            Some(Bytes::from_static(b"world"))
        );
        assert_eq!(batch.index_of(Offset(4)), None);
        batch.truncate_at(Offset(5));
        assert_eq!((batch.len(), batch.data_bytes(), batch.size_bytes()), (1, 5, 8));
    }
}
