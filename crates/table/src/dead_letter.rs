//! The dead-letter table: what is kept of a message that failed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use millrace_model::names::DEAD_LETTER_SUFFIX;
use millrace_model::{Failure, MessageId, MessageView, Micros, TopicId, UdfHash};

use crate::fault::Fault;
use crate::hidden::{Hidden, publish_day};
use crate::record::Record;
use crate::rows::{BuildError, record_batch};
use crate::schema::{Field, FieldType, Mode, TableSchema};
use crate::spec::TableSpec;

/// Longest error message or stack that is kept, in bytes; what is longer is cut and says so. A UDF can
/// throw a message of any length.
pub const ERROR_TEXT_BYTES_MAX: usize = 64 * 1024;

/// The columns in order. The first six are those of the Dataflow template's dead-letter table
/// (`streaming_source_deadletter_table_schema.json`), names, types and modes alike.
const COLUMNS: [(&str, FieldType, Mode, &str); 15] = [
    ("timestamp", FieldType::Timestamp, Mode::Required, "When the message was published."),
    (
        "payloadString",
        FieldType::String,
        Mode::Required,
        "The payload as text; bytes that are not UTF-8 are replaced by U+FFFD, see payloadBytes.",
    ),
    ("payloadBytes", FieldType::Bytes, Mode::Required, "The payload, byte for byte."),
    ("attributes", FieldType::Record, Mode::Repeated, "The message's attributes."),
    ("errorMessage", FieldType::String, Mode::Nullable, "What went wrong."),
    ("stacktrace", FieldType::String, Mode::Nullable, "The JavaScript stack, when the UDF threw."),
    ("message_id", FieldType::String, Mode::Nullable, "The message's id: topic id and offset."),
    ("topic", FieldType::String, Mode::Nullable, "The name of the topic."),
    ("offset", FieldType::Int64, Mode::Nullable, "The message's offset in the topic."),
    ("ordering_key", FieldType::String, Mode::Nullable, "The message's ordering key, when it has one."),
    ("stage", FieldType::String, Mode::Nullable, "Where it failed: udf, row or sink."),
    ("error_class", FieldType::String, Mode::Nullable, "The kind of failure, one of a closed list."),
    ("udf_hash", FieldType::String, Mode::Nullable, "The version of the UDF, when there is one."),
    ("attempts", FieldType::Int64, Mode::Nullable, "How many times the message was tried."),
    ("failed_at", FieldType::Timestamp, Mode::Nullable, "When it failed the last time."),
];

/// The dead-letter table of table `table`: its name is followed by `_error_records`. Rows are filed by
/// the day of publishing.
#[must_use]
pub fn dead_letter_spec(table: &str) -> TableSpec {
    dead_letter_spec_named(&format!("{table}{DEAD_LETTER_SUFFIX}"))
}

/// A dead-letter table under a name of its own.
#[must_use]
pub fn dead_letter_spec_named(name: &str) -> TableSpec {
    let fields = COLUMNS
        .iter()
        .map(|&(name, kind, mode, description)| {
            let mut field = Field::new(name, kind, mode);
            field.description = Some(description.to_owned());
            if kind == FieldType::Record {
                field.fields = vec![
                    Field::new("key", FieldType::String, Mode::Nullable),
                    Field::new("value", FieldType::String, Mode::Nullable),
                ];
            }
            field
        })
        .collect();
    TableSpec::checked(name.to_owned(), TableSchema { fields }, Some("timestamp".to_owned()), Vec::new())
}

/// Builds rows of a dead-letter table.
pub struct DeadLetterBuilder {
    spec: Arc<TableSpec>,
    record: Record,
    hidden: Hidden,
    rows: usize,
    fault: Option<Fault>,
}

impl Default for DeadLetterBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl DeadLetterBuilder {
    /// A builder without rows.
    #[must_use]
    pub fn new() -> Self {
        let spec = dead_letter_spec("");
        Self {
            record: Record::new(spec.schema.fields()),
            spec: Arc::new(spec),
            hidden: Hidden::new(),
            rows: 0,
            fault: None,
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends the dead letter of one message.
    ///
    /// `topic_name` is for people, `topic` goes into the message id and the hidden column; `attempts`
    /// is how often the message was tried, `now` when it failed. When the payloads together are beyond
    /// what a batch holds (2 GiB), [`finish`](Self::finish) says so.
    #[expect(clippy::too_many_arguments, reason = "one for each thing that is known of a failure")]
    pub fn push(
        &mut self,
        topic_name: &str,
        topic: TopicId,
        message: &MessageView<'_>,
        failure: &Failure,
        udf_hash: Option<UdfHash>,
        attempts: i64,
        now: Micros,
    ) {
        if self.fault.is_some() {
            return;
        }
        let letter = Letter { topic_name, topic, message, failure, udf_hash, attempts, now };
        match self.try_push(&letter) {
            Ok(()) => self.rows += 1,
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// The rows, of the Arrow schema of every [`dead_letter_spec`].
    ///
    /// # Errors
    /// When the window does not fit into a batch; see [`BuildError`].
    pub fn finish(self) -> Result<RecordBatch, BuildError> {
        let table = self.spec.name.clone();
        if let Some(fault) = self.fault {
            return Err(BuildError::TooLarge { table, reason: fault.into_cell_error().message });
        }
        record_batch(&self.spec, self.record, self.hidden)
            .map_err(|source| BuildError::Arrow { table, source })
    }

    fn try_push(&mut self, letter: &Letter<'_>) -> Result<(), Fault> {
        let Letter { topic_name, topic, message, failure, udf_hash, attempts, now } = *letter;
        let offset = i64::try_from(message.offset.0).unwrap_or(i64::MAX);
        let id = MessageId { topic, offset: message.offset }.to_string();
        let payload = String::from_utf8_lossy(message.data);
        let ordering_key = String::from_utf8_lossy(message.ordering_key);
        let error_message = cut(&failure.message);
        let stack = failure.stack.as_deref().map(cut);
        let hash = udf_hash.map(|hash| hash.to_string());
        let mut columns = self.record.columns.iter_mut();
        let mut next = || columns.next().ok_or_else(|| Fault::invalid("the table has too few columns"));
        next()?.push_int64(message.publish_time.0)?;
        next()?.push_bytes(payload.as_bytes())?;
        next()?.push_bytes(message.data)?;
        let attributes = next()?;
        for (key, value) in message.attributes.clone() {
            attributes.push_pair(key, value)?;
        }
        attributes.end_list()?;
        next()?.push_text(Some(&error_message))?;
        next()?.push_text(stack.as_deref())?;
        next()?.push_text(Some(&id))?;
        next()?.push_text(Some(topic_name))?;
        next()?.push_int64(offset)?;
        next()?.push_text((!ordering_key.is_empty()).then_some(&ordering_key))?;
        next()?.push_text(Some(failure.stage.as_str()))?;
        next()?.push_text(Some(failure.class.as_str()))?;
        next()?.push_text(hash.as_deref())?;
        next()?.push_int64(attempts)?;
        next()?.push_int64(now.0)?;
        self.hidden.push(&topic.to_string(), message.offset, publish_day(message.publish_time))
    }
}

/// What is known of one failure.
struct Letter<'a> {
    topic_name: &'a str,
    topic: TopicId,
    message: &'a MessageView<'a>,
    failure: &'a Failure,
    udf_hash: Option<UdfHash>,
    attempts: i64,
    now: Micros,
}

fn cut(text: &str) -> String {
    if text.len() <= ERROR_TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(ERROR_TEXT_BYTES_MAX);
    format!("{}... ({} more bytes)", &text[..end], text.len() - end)
}
