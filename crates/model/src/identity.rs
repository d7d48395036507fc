//! Who a message is: its topic's permanent id, its offset there, and the text that carries both.

use std::fmt;
use std::str::FromStr;

/// A message's ordinal in its topic: dense, from 0, never reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The first offset of every topic.
    pub const ZERO: Self = Self(0);

    /// The offset `count` messages further on; saturates at the end of the number range, which no
    /// topic reaches (2^64 messages).
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many messages lie from `start` up to, not including, `self`; 0 when `start` is beyond.
    #[must_use]
    pub fn since(self, start: Self) -> u64 {
        self.0.saturating_sub(start.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// A topic's permanent random identity (128 bits), written as 32 hexadecimal digits. A topic that is
/// deleted and created again under the same name has another one, so that a table's position in the
/// old topic is never mistaken for a position in the new.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// Of messages that are in no topic yet. No topic has it: 128 random bits are never all 0.
    pub const NONE: Self = Self([0; 16]);
}

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TopicId({self})")
    }
}

/// What is wrong with the text of an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text is not a topic id.
    #[error("topic id {0:?} is not 32 hexadecimal digits")]
    TopicId(String),
    /// The text is not a message id.
    #[error("message id {0:?} is not TOPIC_ID-OFFSET")]
    MessageId(String),
}

impl FromStr for TopicId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || IdentityError::TopicId(text.to_owned());
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| error())
    }
}

/// A message's id on the wire, `TOPIC_ID-OFFSET`: unique over all topics of all time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The topic's permanent id.
    pub topic: TopicId,
    /// The message's place in it.
    pub offset: Offset,
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.offset)
    }
}

impl FromStr for MessageId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || IdentityError::MessageId(text.to_owned());
        let (topic, offset) = text.split_once('-').ok_or_else(error)?;
        let topic = topic.parse().map_err(|_| error())?;
        // `u64::from_str` also takes a leading plus sign; an id has one spelling only.
        if !offset.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        let offset = offset.parse().map(Offset).map_err(|_| error())?;
        Ok(Self { topic, offset })
    }
}

/// What makes two messages the same message: 128 bits of a hash over (logName, timestamp, insertId).
/// Made by ingest, compared by the log, which does not know what went in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupKey(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_survive_their_text(bytes: [u8; 16], offset: u64) {
            let id = MessageId { topic: TopicId(bytes), offset: Offset(offset) };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let topic = "0".repeat(32);
        for text in
            ["", "-", &topic, &format!("{topic}-"), &format!("{topic}-+1"), &format!("{topic}--1"), "zz-1"]
        {
            assert_eq!(text.parse::<MessageId>(), Err(IdentityError::MessageId(text.to_owned())), "{text}");
        }
        assert!(format!("+{}", "0".repeat(31)).parse::<TopicId>().is_err());
    }
}
