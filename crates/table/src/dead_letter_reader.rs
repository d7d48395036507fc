//! Rows of a dead-letter table back into what is known of each failure, the message included.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use bytes::{BufMut as _, Bytes, BytesMut};
use millrace_model::names::COLUMN_OFFSET;
use millrace_model::{AttributeBlock, AttributeError, MessageBatch, MessageLayout, Micros, Offset, TopicId};

/// One dead letter, borrowed from its row. What the row does not have, because it was not read or is
/// null, is absent or empty.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    rows: &'a RecordBatch,
    row: usize,
}

/// The dead letters in a piece of a dead-letter table, of all its columns or of some.
pub fn dead_letters(rows: &RecordBatch) -> impl ExactSizeIterator<Item = DeadLetter<'_>> {
    (0..rows.num_rows()).map(|row| DeadLetter { rows, row })
}

impl<'a> DeadLetter<'a> {
    /// The message's offset in its topic.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.whole(COLUMN_OFFSET).and_then(|offset| u64::try_from(offset).ok()).map(Offset)
    }

    /// When the message was published.
    #[must_use]
    pub fn publish_time(&self) -> Option<Micros> {
        self.moment("timestamp")
    }

    /// The payload, byte for byte.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        let column = self.column("payloadBytes").and_then(|column| column.as_binary_opt::<i32>());
        column.filter(|column| column.is_valid(self.row)).map_or(&[], |column| column.value(self.row))
    }

    /// The message's attributes, in order.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&'a str, &'a str)> {
        let lists = self.column("attributes").and_then(|column| column.as_list_opt::<i32>());
        let Some(lists) = lists.filter(|lists| lists.is_valid(self.row)) else { return Vec::new() };
        let range = lists.value_offsets()[self.row]..lists.value_offsets()[self.row + 1];
        let pairs = lists.values().as_struct_opt();
        let columns = pairs.and_then(|pairs| {
            let text = |name| pairs.column_by_name(name)?.as_string_opt::<i32>();
            Some((text("key")?, text("value")?))
        });
        let Some((keys, values)) = columns else { return Vec::new() };
        let indexes = range.filter_map(|index| usize::try_from(index).ok());
        indexes.map(|index| (keys.value(index), values.value(index))).collect()
    }

    /// What went wrong.
    #[must_use]
    pub fn error_message(&self) -> &'a str {
        self.text("errorMessage").unwrap_or_default()
    }

    /// The JavaScript stack.
    #[must_use]
    pub fn stack(&self) -> Option<&'a str> {
        self.text("stacktrace")
    }

    /// The name of the topic.
    #[must_use]
    pub fn topic_name(&self) -> &'a str {
        self.text("topic").unwrap_or_default()
    }

    /// The message's ordering key, empty when it has none.
    #[must_use]
    pub fn ordering_key(&self) -> &'a str {
        self.text("ordering_key").unwrap_or_default()
    }

    /// Where it failed, as [`millrace_model::Stage`] writes it.
    #[must_use]
    pub fn stage(&self) -> &'a str {
        self.text("stage").unwrap_or_default()
    }

    /// The kind of failure, as [`millrace_model::ErrorClass`] writes it.
    #[must_use]
    pub fn error_class(&self) -> &'a str {
        self.text("error_class").unwrap_or_default()
    }

    /// The version of the UDF that it failed with.
    #[must_use]
    pub fn udf_hash(&self) -> Option<&'a str> {
        self.text("udf_hash")
    }

    /// How many times it was tried; at least once.
    #[must_use]
    pub fn attempts(&self) -> i64 {
        self.whole("attempts").unwrap_or(1).max(1)
    }

    /// When it failed the last time.
    #[must_use]
    pub fn failed_at(&self) -> Option<Micros> {
        self.moment("failed_at")
    }

    fn column(&self, name: &str) -> Option<&'a dyn Array> {
        self.rows.column_by_name(name).map(AsRef::as_ref)
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        let column = self.column(name)?.as_string_opt::<i32>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    fn whole(&self, name: &str) -> Option<i64> {
        let column = self.column(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    fn moment(&self, name: &str) -> Option<Micros> {
        let column = self.column(name)?;
        debug_assert!(matches!(column.data_type(), DataType::Timestamp(_, _)));
        let column = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(self.row).then(|| Micros(column.value(self.row)))
    }
}

/// What a dead letter says that its message does not: what is needed to file it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterFacts {
    /// The name of the topic.
    pub topic_name: String,
    /// How many times it was tried.
    pub attempts: i64,
    /// Where it failed.
    pub stage: String,
    /// The kind of failure.
    pub error_class: String,
    /// What went wrong.
    pub error_message: String,
}

/// A dead letter as it left its table, its message as a message again.
#[derive(Debug, Clone)]
pub struct LetterMessage {
    /// The message's offset.
    pub offset: Offset,
    publish_time: Micros,
    data: Bytes,
    attributes: AttributeBlock,
    ordering_key: Bytes,
    /// The rest.
    pub facts: LetterFacts,
}

impl LetterMessage {
    /// Copies a dead letter out of a row with all columns; `None` when the row has no offset, so is not
    /// one of ours.
    ///
    /// # Errors
    /// When its attributes are over the limits of a message: the row was not written by millrace.
    pub fn of(letter: &DeadLetter<'_>) -> Result<Option<Self>, AttributeError> {
        let Some(offset) = letter.offset() else { return Ok(None) };
        Ok(Some(Self {
            offset,
            publish_time: letter.publish_time().unwrap_or_default(),
            data: Bytes::copy_from_slice(letter.payload()),
            attributes: AttributeBlock::pack(letter.attributes())?,
            ordering_key: Bytes::copy_from_slice(letter.ordering_key().as_bytes()),
            facts: LetterFacts {
                topic_name: letter.topic_name().to_owned(),
                attempts: letter.attempts(),
                stage: letter.stage().to_owned(),
                error_class: letter.error_class().to_owned(),
                error_message: letter.error_message().to_owned(),
            },
        }))
    }

    /// What it weighs in memory, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len()
            + self.attributes.as_bytes().len()
            + self.ordering_key.len()
            + self.facts.error_message.len()
    }

    /// The payload.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The messages of dead letters in order of offset, each offset once, as a transform takes them.
    #[must_use]
    pub fn batch<'a>(topic: TopicId, letters: impl IntoIterator<Item = &'a Self>) -> MessageBatch {
        let mut batch = MessageBatch::new(topic);
        for letter in letters {
            let parts = [&letter.data, letter.attributes.as_bytes(), &letter.ordering_key];
            let mut buffer = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
            let mut place = |part: &Bytes| {
                let start = buffer.len();
                buffer.put_slice(part);
                start..buffer.len()
            };
            let [data, attributes, ordering_key] = parts.map(&mut place);
            let buffer = batch.add_buffer(buffer.freeze());
            let (offset, publish_time) = (letter.offset, letter.publish_time);
            batch.push(MessageLayout { offset, publish_time, buffer, data, attributes, ordering_key });
        }
        batch
    }
}
