//! Messages from lines of text: payloads as they are, or messages as Pub/Sub writes them in JSON.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use millrace_model::limits::MESSAGE_BYTES_MAX;
use millrace_model::{
    AttributeBlock, AttributeError, MessageBatch, MessageId, MessageLayout, Micros, Offset, TopicId,
};
use serde_json::Value;

/// The topic of messages that do not say theirs.
const TOPIC: TopicId = TopicId([0; 16]);

/// Most messages of one batch.
const BATCH_MESSAGES_MAX: usize = 1024;

/// Payload bytes at which a batch is full.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How a line stands for a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InputForm {
    /// The line is the payload.
    #[default]
    Payload,
    /// The line is a `PubsubMessage` in JSON, `{"data": BASE64, "attributes": {...}, "messageId": ...,
    /// "publishTime": ..., "orderingKey": ...}`, alone or as the `message` of a received message (what
    /// `gcloud pubsub subscriptions pull --format json` prints). `"text"` may stand in place of `"data"`.
    Message,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The payload.
    pub data: Bytes,
    /// Its attributes.
    pub attributes: AttributeBlock,
    /// Its ordering key, empty when it has none.
    pub ordering_key: String,
    /// When it was published; 1970 when the line does not say.
    pub publish_time: Micros,
    /// Its id, when the line has one of ours (`TOPIC_ID-OFFSET`). Others are numbered by their line.
    pub id: Option<MessageId>,
}

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The input cannot be read.
    #[error("cannot read the input: {0}")]
    Read(#[from] io::Error),
    /// A line is longer than a message may be.
    #[error("line {line} has more than {MESSAGE_BYTES_MAX} bytes, which is what a topic takes at most")]
    TooLong {
        /// Which, counted from 1.
        line: u64,
    },
    /// A line is not a message in JSON.
    #[error("line {line} is not a Pub/Sub message: {reason}")]
    Form {
        /// Which, counted from 1.
        line: u64,
        /// Why.
        reason: String,
    },
}

impl Message {
    /// A message of a payload only.
    #[must_use]
    pub fn from_payload(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// A message as JSON; see [`InputForm::Message`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let value = value.get("message").unwrap_or(&value);
        let fields = value.as_object().ok_or("it is not a JSON object")?;
        let mut message = Self::default();
        for (name, value) in fields {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("text", Value::String(text)) => message.data = text.clone().into(),
                ("data", Value::String(text)) => {
                    let bytes =
                        STANDARD.decode(text).map_err(|error| format!("`data` is not base64: {error}"))?;
                    message.data = bytes.into();
                }
                ("attributes", Value::Object(map)) => message.attributes = attributes(map)?,
                ("orderingKey", Value::String(key)) => message.ordering_key.clone_from(key),
                ("publishTime", Value::String(time)) => {
                    let time = DateTime::parse_from_rfc3339(time);
                    let time = time.map_err(|error| format!("`publishTime` is not a time: {error}"))?;
                    message.publish_time = Micros(time.timestamp_micros());
                }
                ("messageId" | "message_id", Value::String(id)) => message.id = id.parse().ok(),
                ("text" | "data" | "attributes" | "orderingKey" | "publishTime", _) => {
                    return Err(format!("`{name}` has another type"));
                }
                _ => {}
            }
        }
        Ok(message)
    }
}

fn attributes(map: &serde_json::Map<String, Value>) -> Result<AttributeBlock, String> {
    let pairs: Option<Vec<_>> =
        map.iter().map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
    let pairs = pairs.ok_or("an attribute is not a string")?;
    AttributeBlock::pack(pairs).map_err(|error: AttributeError| error.to_string())
}

/// Reads messages line by line, in batches of bounded size. Each line is a message, an empty one has an
/// empty payload; what follows the last line feed is a line when it is not empty. A carriage return before
/// the line feed belongs to the line.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    form: InputForm,
    line: u64,
    /// Read, but of another batch: its offset would not ascend, or its topic is another.
    waiting: Option<Message>,
}

impl<R: BufRead> Lines<R> {
    /// Reads from `input`.
    pub fn new(input: R, form: InputForm) -> Self {
        Self { input, form, line: 0, waiting: None }
    }

    /// The next messages; an empty batch at the end.
    ///
    /// # Errors
    /// When the input cannot be read or a line is no message.
    pub fn next_batch(&mut self) -> Result<MessageBatch, MessageError> {
        let mut topic = None;
        let mut messages: Vec<(Offset, Message)> = Vec::new();
        let mut bytes = 0;
        while messages.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES {
            let Some(message) = self.take()? else { break };
            let (own, offset) =
                message.id.map_or((TOPIC, Offset(self.line.saturating_sub(1))), |id| (id.topic, id.offset));
            let follows = messages.last().is_none_or(|(last, _)| *last < offset);
            if !follows || *topic.get_or_insert(own) != own {
                self.waiting = Some(message);
                break;
            }
            bytes += message.data.len();
            messages.push((offset, message));
        }
        Ok(batch(topic.unwrap_or(TOPIC), messages))
    }

    fn take(&mut self) -> Result<Option<Message>, MessageError> {
        if let Some(message) = self.waiting.take() {
            return Ok(Some(message));
        }
        let Some(line) = self.read_line()? else { return Ok(None) };
        match self.form {
            InputForm::Payload => Ok(Some(Message::from_payload(line))),
            InputForm::Message => Message::from_json(&line)
                .map(Some)
                .map_err(|reason| MessageError::Form { line: self.line, reason }),
        }
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>, MessageError> {
        let mut line = Vec::new();
        let limit = MESSAGE_BYTES_MAX as u64 + 1;
        let read = io::Read::take(&mut self.input, limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong { line: self.line });
        }
        Ok(Some(line))
    }
}

/// A batch of messages of one topic, by ascending offset.
fn batch(topic: TopicId, messages: Vec<(Offset, Message)>) -> MessageBatch {
    let mut batch = MessageBatch::new(topic);
    for (offset, message) in messages {
        let mut bytes = BytesMut::with_capacity(message.data.len());
        bytes.extend_from_slice(&message.data);
        bytes.extend_from_slice(message.attributes.as_bytes());
        bytes.extend_from_slice(message.ordering_key.as_bytes());
        let data = 0..message.data.len();
        let attributes = data.end..data.end + message.attributes.as_bytes().len();
        let ordering_key = attributes.end..bytes.len();
        let buffer = batch.add_buffer(bytes.freeze());
        let publish_time = message.publish_time;
        batch.push(MessageLayout { offset, publish_time, buffer, data, attributes, ordering_key });
    }
    batch
}

/// A batch of one message.
pub(crate) fn batch_of_one(message: Message) -> MessageBatch {
    let (topic, offset) = message.id.map_or((TOPIC, Offset::ZERO), |id| (id.topic, id.offset));
    batch(topic, vec![(offset, message)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(input: &str) -> Vec<String> {
        let mut lines = Lines::new(input.as_bytes(), InputForm::Payload);
        let batch = lines.next_batch().unwrap();
        assert!(lines.next_batch().unwrap().is_empty());
        batch.iter().map(|message| String::from_utf8(message.data.to_vec()).unwrap()).collect()
    }

    #[test]
    fn each_line_is_a_message() {
        assert_eq!(payloads(""), [""; 0]);
        assert_eq!(payloads("\n"), [""]);
        assert_eq!(payloads("a\n\nb"), ["a", "", "b"]);
        assert_eq!(payloads("a\r\nb\n"), ["a\r", "b"]);
    }

    #[test]
    fn messages_in_json_keep_everything() {
        let topic = "0a".repeat(16);
        let text = format!(
            r#"{{"ackId":"x","message":{{"data":"e30=","attributes":{{"k":"v"}},"messageId":"{topic}-7",
            "publishTime":"2023-11-14T22:13:20.5Z","orderingKey":"o","other":1}}}}"#
        );
        let message = Message::from_json(text.as_bytes()).unwrap();
        assert_eq!(message.data, "{}");
        assert_eq!(message.attributes.iter().collect::<Vec<_>>(), [("k", "v")]);
        assert_eq!(
            (message.publish_time, message.ordering_key.as_str()),
            (Micros(1_700_000_000_500_000), "o")
        );
        assert_eq!(message.id.unwrap().to_string(), format!("{topic}-7"));
        assert_eq!(Message::from_json(br#"{"text":"{}"}"#).unwrap(), Message::from_payload("{}"));
        for bad in [
            "",
            "[]",
            "7",
            r#"{"data":7}"#,
            r#"{"data":"%"}"#,
            r#"{"attributes":{"k":1}}"#,
            r#"{"publishTime":"x"}"#,
        ] {
            assert!(Message::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_out_of_order_or_of_another_topic_start_another_batch() {
        let line = |topic: &str, offset: u64| {
            format!("{{\"text\":\"x\",\"messageId\":\"{}-{offset}\"}}\n", topic.repeat(16))
        };
        let input = [line("aa", 5), line("aa", 6), line("aa", 6), line("bb", 7), line("bb", 9)].concat();
        let mut lines = Lines::new(input.as_bytes(), InputForm::Message);
        let mut offsets = Vec::new();
        loop {
            let batch = lines.next_batch().unwrap();
            if batch.is_empty() {
                break;
            }
            offsets.push(batch.iter().map(|message| message.offset.0).collect::<Vec<_>>());
        }
        assert_eq!(offsets, [vec![5, 6], vec![6], vec![7, 9]]);
    }
}
