//! What the tests share: a batch from texts, and a sink that keeps every outcome.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use bytes::{Bytes, BytesMut};
use millrace_model::{
    AttributeBlock, Cell, CellError, ColumnId, ErrorClass, Failure, MessageBatch, MessageLayout, Micros,
    Offset, RowSink, TopicId, TransformFactory,
};
use millrace_udf::{Script, Udf, UdfConfig, UdfError};

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Row(String),
    Filtered,
    Dead(Failure),
}

impl Outcome {
    pub fn class(&self) -> Option<ErrorClass> {
        self.failure().map(|failure| failure.class)
    }

    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Dead(failure) => Some(failure),
            _ => None,
        }
    }
}

/// Keeps outcomes, and checks that they come one for each message and in order. Refuses rows that are
/// not JSON, as a table does.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub list: Vec<Outcome>,
    pending: Option<String>,
}

impl Outcomes {
    fn end(&mut self, message: usize, outcome: Outcome) {
        assert_eq!(message, self.list.len(), "outcomes must come in order, one for each message");
        self.pending = None;
        self.list.push(outcome);
    }
}

impl RowSink for Outcomes {
    fn column(&self, _: &str) -> Option<ColumnId> {
        None
    }

    fn put(&mut self, _: usize, _: ColumnId, _: Cell<'_>) -> Result<(), CellError> {
        unreachable!("a script's row comes as JSON text")
    }

    fn put_json_row(&mut self, _: usize, row: &str) -> Result<(), CellError> {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(row) {
            return Err(CellError { class: ErrorClass::InvalidJson, message: error.to_string() });
        }
        self.pending = Some(row.to_owned());
        Ok(())
    }

    fn finish_row(&mut self, message: usize) -> Result<(), CellError> {
        let row = self.pending.take().expect("a row is put before it is finished");
        self.end(message, Outcome::Row(row));
        Ok(())
    }

    fn filtered(&mut self, message: usize) {
        self.end(message, Outcome::Filtered);
    }

    fn dead_letter(&mut self, message: usize, failure: Failure) {
        self.end(message, Outcome::Dead(failure));
    }
}

pub fn batch<T: AsRef<[u8]>>(messages: &[T]) -> MessageBatch {
    let mut bytes = BytesMut::new();
    let mut batch = MessageBatch::new(TopicId([1; 16]));
    let mut ranges = Vec::new();
    for message in messages {
        let start = bytes.len();
        bytes.extend_from_slice(message.as_ref());
        ranges.push(start..bytes.len());
    }
    let buffer = batch.add_buffer(Bytes::from(bytes));
    for (offset, data) in (0..).zip(ranges) {
        let (attributes, ordering_key) = (0..0, 0..0);
        let (offset, publish_time) = (Offset(offset), Micros(0));
        batch.push(MessageLayout { offset, publish_time, buffer, data, attributes, ordering_key });
    }
    batch
}

/// A message with everything, `second` seconds after 1970.
pub struct Full<'a> {
    pub data: &'a str,
    pub attributes: &'a [(&'a str, &'a str)],
    pub ordering_key: &'a str,
    pub second: i64,
}

/// A message of attributes only, and one of data only, and so on.
pub fn full<'a>(data: &'a str, attributes: &'a [(&'a str, &'a str)]) -> Full<'a> {
    Full { data, attributes, ordering_key: "", second: 1_700_000_000 }
}

/// A batch of such messages, numbered from `first`.
pub fn batch_of(first: u64, messages: &[Full<'_>]) -> MessageBatch {
    let mut batch = MessageBatch::new(TopicId([1; 16]));
    for (offset, message) in (first..).zip(messages) {
        let attributes = AttributeBlock::pack(message.attributes.iter().copied()).unwrap();
        let mut bytes = BytesMut::from(message.data);
        bytes.extend_from_slice(attributes.as_bytes());
        bytes.extend_from_slice(message.ordering_key.as_bytes());
        let data = 0..message.data.len();
        let attributes = data.end..data.end + attributes.as_bytes().len();
        let ordering_key = attributes.end..bytes.len();
        let buffer = batch.add_buffer(bytes.freeze());
        let publish_time = Micros(message.second * 1_000_000 + 123_456);
        let offset = Offset(offset);
        batch.push(MessageLayout { offset, publish_time, buffer, data, attributes, ordering_key });
    }
    batch
}

/// A batch through a new transform.
pub fn run_batch(factory: &dyn TransformFactory, batch: &MessageBatch) -> Vec<Outcome> {
    let mut outcomes = Outcomes::default();
    factory.create().unwrap().transform(batch, 0..batch.len(), &mut outcomes);
    assert_eq!(outcomes.list.len(), batch.len());
    outcomes.list
}

/// All messages through a new transform, in one call.
pub fn run<T: AsRef<[u8]>>(factory: &dyn TransformFactory, messages: &[T]) -> Vec<Outcome> {
    run_batch(factory, &batch(messages))
}

pub fn config(source: &str) -> UdfConfig {
    let script = Script { name: "test.js".to_owned(), source: source.to_owned() };
    UdfConfig::new(vec![script], "f")
}

pub fn load(source: &str) -> Result<Udf, UdfError> {
    Udf::load(config(source))
}

pub fn row(text: &str) -> Outcome {
    Outcome::Row(text.to_owned())
}
