//! A topic and two tables in memory, and a pipeline between them, to see what becomes of messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array as _, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bytes::BytesMut;
use millrace_model::{
    AttributeBlock, Bounds, MessageBatch, MessageLayout, Micros, Offset, ReadLimit, Source, SourceError,
    TopicId,
};
use millrace_pipeline::{
    Amendment, Commit, Pipeline, PipelineConfig, PipelineStatus, Scan, Sink, SinkError, WindowLimits,
};
use millrace_table::{TableSchema, TableSpec, dead_letter_spec};
use millrace_udf::Opened;

/// The topic's id.
pub const TOPIC: TopicId = TopicId([3; 16]);
/// When its messages were published.
pub const PUBLISHED: Micros = Micros(1_700_000_000_123_456);

/// A message of the topic.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub data: Vec<u8>,
    pub attributes: Vec<(&'static str, &'static str)>,
    pub ordering_key: &'static str,
}

/// A payload with the attribute `k`.
pub fn sent(data: impl Into<Vec<u8>>) -> Sent {
    Sent { data: data.into(), attributes: vec![("k", "v")], ordering_key: "key" }
}

/// A dead letter as its table has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    pub timestamp: i64,
    pub payload_bytes: Vec<u8>,
    pub attributes: usize,
    pub attempts: i64,
    /// The columns of text by name; those that are null are not there.
    pub texts: BTreeMap<String, String>,
}

/// What came of the topic.
#[derive(Debug)]
pub struct Folded {
    /// Offset of each row and its column `a`.
    pub rows: Vec<(i64, Option<i64>)>,
    pub dead: Vec<DeadLetter>,
    pub status: PipelineStatus,
    pub commits_tried: usize,
}

/// What goes wrong at the tables.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// Rows of these offsets are refused, each alone, for ever.
    pub refused: Vec<i64>,
    /// The first so many commits of the rows fail for the moment.
    pub row_commits_fail: usize,
    /// The same of the dead letters.
    pub dead_commits_fail: usize,
}

/// Folds the messages into a table of one column, `a INT64`, named `t`.
pub fn fold(opened: &Opened, messages: &[Sent], trouble: &Trouble) -> Folded {
    let source = Arc::new(Topic(batch(messages)));
    let schema = r#"[{"name":"a","type":"INT64"},{"name":"s","type":"STRING"}]"#;
    let spec = TableSpec::new("t", TableSchema::parse(schema).unwrap(), None, &[]).unwrap();
    let rows = Arc::new(Table::new("t", &trouble.refused, trouble.row_commits_fail));
    let dead = Arc::new(Table::new("t_error_records", &[], trouble.dead_commits_fail));
    assert_eq!(dead_letter_spec("t").name, "t_error_records");
    let config = PipelineConfig {
        workers: 2,
        retry_delay_min: Duration::from_millis(1),
        window: WindowLimits { age_max: Duration::from_millis(10), ..WindowLimits::default() },
        ..PipelineConfig::new("contract")
    };
    let (row_sink, dead_sink): (Arc<dyn Sink>, Arc<dyn Sink>) =
        (Arc::clone(&rows) as _, Arc::clone(&dead) as _);
    let pipeline =
        Pipeline::start(config, source, opened.factory(), Arc::new(spec), row_sink, dead_sink).unwrap();
    let end = Offset(messages.len() as u64);
    assert!(pipeline.wait_for(end, Duration::from_secs(60)), "{:?}", pipeline.status());
    let status = pipeline.status();
    pipeline.stop();
    let rows = rows.0.lock().unwrap();
    Folded {
        rows: rows.batches.iter().flat_map(row_values).collect(),
        dead: dead.0.lock().unwrap().batches.iter().flat_map(dead_values).collect(),
        status,
        commits_tried: rows.tried,
    }
}

fn batch(messages: &[Sent]) -> MessageBatch {
    let mut batch = MessageBatch::new(TOPIC);
    for (offset, message) in (0..).zip(messages) {
        let attributes = AttributeBlock::pack(message.attributes.iter().copied()).unwrap();
        let mut bytes = BytesMut::from(message.data.as_slice());
        bytes.extend_from_slice(attributes.as_bytes());
        bytes.extend_from_slice(message.ordering_key.as_bytes());
        let data = 0..message.data.len();
        let attributes = data.end..data.end + attributes.as_bytes().len();
        let ordering_key = attributes.end..bytes.len();
        let (offset, publish_time, buffer) = (Offset(offset), PUBLISHED, batch.add_buffer(bytes.freeze()));
        batch.push(MessageLayout { offset, publish_time, buffer, data, attributes, ordering_key });
    }
    batch
}

struct Topic(MessageBatch);

impl Topic {
    fn end(&self) -> Offset {
        Offset(self.0.len() as u64)
    }
}

impl Source for Topic {
    fn topic_id(&self) -> TopicId {
        TOPIC
    }

    fn topic_name(&self) -> &str {
        "topic"
    }

    fn bounds(&self) -> Bounds {
        Bounds { start: Offset::ZERO, end: self.end() }
    }

    fn read(&self, from: Offset, _: ReadLimit) -> Result<MessageBatch, SourceError> {
        // All of it, whatever the limit: a handful of messages.
        Ok(if from == Offset::ZERO { self.0.clone() } else { MessageBatch::new(TOPIC) })
    }

    fn wait(&self, _: Offset, timeout: Duration) -> Offset {
        std::thread::park_timeout(timeout.min(Duration::from_millis(20)));
        self.end()
    }

    fn backlog(&self, _: Offset) -> (u64, Option<Micros>) {
        (0, None)
    }

    fn hold(&self, _: &str, _: Offset) {}
}

struct Table(Mutex<State>, &'static str);

struct State {
    batches: Vec<RecordBatch>,
    marks: BTreeMap<String, i64>,
    refused: Vec<i64>,
    commits_to_fail: usize,
    tried: usize,
}

impl Table {
    fn new(name: &'static str, refused: &[i64], commits_to_fail: usize) -> Self {
        let refused = refused.to_vec();
        let state = State { batches: Vec::new(), marks: BTreeMap::new(), refused, commits_to_fail, tried: 0 };
        Self(Mutex::new(state), name)
    }
}

impl Sink for Table {
    fn table(&self) -> &str {
        self.1
    }

    fn marks(&self) -> Result<BTreeMap<String, i64>, SinkError> {
        Ok(self.0.lock().unwrap().marks.clone())
    }

    fn offsets(&self, _: TopicId, start: Offset, end: Offset) -> Result<Vec<Offset>, SinkError> {
        let state = self.0.lock().unwrap();
        let offsets = state.batches.iter().flat_map(offsets);
        let offsets = offsets.map(|offset| Offset(u64::try_from(offset).unwrap()));
        Ok(offsets.filter(|offset| (start..end).contains(offset)).collect())
    }

    fn commit(&self, commit: &Commit) -> Result<(), SinkError> {
        let mut state = self.0.lock().unwrap();
        state.tried += 1;
        if state.commits_to_fail > 0 {
            state.commits_to_fail -= 1;
            return Err(SinkError::Retry { table: self.1.to_owned(), reason: "503".to_owned() });
        }
        let all: Vec<i64> = commit.rows.iter().flat_map(offsets).collect();
        let refused = all.iter().enumerate().filter(|(_, offset)| state.refused.contains(offset));
        let refused: Vec<_> = refused.map(|(row, _)| (row, "invalid".to_owned())).collect();
        if !refused.is_empty() {
            return Err(SinkError::Rejected(refused));
        }
        state.batches.extend(commit.rows.iter().cloned());
        state.marks.extend(commit.marks.iter().map(|mark| (mark.app_id.clone(), mark.version)));
        Ok(())
    }

    /// Folding takes nothing out of a table.
    fn amend(&self, _: &Amendment) -> Result<(), SinkError> {
        panic!("a pipeline at work takes no rows out")
    }

    fn scan(&self, _: &Scan<'_>, take: &mut dyn FnMut(&RecordBatch) -> bool) -> Result<(), SinkError> {
        let _ = self.0.lock().unwrap().batches.iter().all(take);
        Ok(())
    }
}

fn offsets(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn row_values(batch: &RecordBatch) -> Vec<(i64, Option<i64>)> {
    let column = batch.column_by_name("a").unwrap().as_primitive::<Int64Type>();
    offsets(batch).into_iter().zip(column.iter()).collect()
}

fn dead_values(batch: &RecordBatch) -> Vec<DeadLetter> {
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let texts = [
        "payloadString",
        "errorMessage",
        "stacktrace",
        "message_id",
        "ordering_key",
        "stage",
        "error_class",
        "udf_hash",
    ];
    let one = |row: usize| DeadLetter {
        timestamp: column("timestamp").as_primitive::<TimestampMicrosecondType>().value(row),
        payload_bytes: column("payloadBytes").as_binary::<i32>().value(row).to_vec(),
        attributes: column("attributes").as_list::<i32>().value(row).len(),
        attempts: column("attempts").as_primitive::<Int64Type>().value(row),
        texts: texts
            .iter()
            .filter(|name| column(name).is_valid(row))
            .map(|name| ((*name).to_owned(), column(name).as_string::<i32>().value(row).to_owned()))
            .collect(),
    };
    (0..batch.num_rows()).map(one).collect()
}
