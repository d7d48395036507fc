//! A topic, tables and transforms in memory, with faults on demand, for tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use millrace_model::{
    Bounds, ErrorClass, Failure, MessageBatch, MessageLayout, MessageView, Micros, Offset, ReadLimit,
    RowSink, Source, SourceError, Stage, TopicId, Transform, TransformFactory, UdfHash,
};
use millrace_table::{TableSchema, TableSpec};

use crate::{Amendment, Commit, Scan, Sink, SinkError};

pub(crate) const TOPIC: TopicId = TopicId([7; 16]);

/// A topic in memory. A message's publish time is its offset.
pub(crate) struct FakeSource {
    state: Mutex<SourceState>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct SourceState {
    pub messages: Vec<Bytes>,
    pub start: u64,
    /// Offsets that are gone from the middle.
    pub lost: BTreeSet<u64>,
    pub reads_to_fail: u32,
    pub corrupt_at: Option<u64>,
    pub held: Option<Offset>,
    /// The furthest that was read.
    pub read_to: u64,
}

impl FakeSource {
    pub fn new(messages: u64) -> Arc<Self> {
        let source = Arc::new(Self { state: Mutex::default(), changed: Condvar::new() });
        source.append(messages);
        source
    }

    /// Appends messages `m0`, `m1` and so on.
    pub fn append(&self, count: u64) {
        self.with(|state| {
            let end = state.messages.len() as u64;
            state.messages.extend((end..end + count).map(|offset| Bytes::from(format!("m{offset}"))));
        });
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut SourceState) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    /// Waits until `done` holds.
    pub fn wait_until(&self, done: impl Fn(&SourceState) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, result) =
            self.changed.wait_timeout_while(state, Duration::from_secs(30), |state| !done(state)).unwrap();
        assert!(!result.timed_out(), "the topic did not get there");
    }
}

impl Source for FakeSource {
    fn topic_id(&self) -> TopicId {
        TOPIC
    }

    fn topic_name(&self) -> &str {
        "events"
    }

    fn bounds(&self) -> Bounds {
        self.with(|state| Bounds { start: Offset(state.start), end: Offset(state.messages.len() as u64) })
    }

    fn read(&self, from: Offset, limit: ReadLimit) -> Result<MessageBatch, SourceError> {
        self.with(|state| {
            if state.reads_to_fail > 0 {
                state.reads_to_fail -= 1;
                return Err(SourceError::Io { topic: "events".to_owned(), reason: "injected".to_owned() });
            }
            if from.0 < state.start {
                return Err(SourceError::Expired { wanted: from, start: Offset(state.start) });
            }
            let mut batch = MessageBatch::new(TOPIC);
            for offset in from.0..state.messages.len() as u64 {
                let data = &state.messages[usize::try_from(offset).unwrap()];
                let over =
                    batch.len() >= limit.messages_max || batch.data_bytes() + data.len() > limit.bytes_max;
                if limit.end.is_some_and(|end| offset >= end.0) || (over && !batch.is_empty()) {
                    break;
                }
                if state.corrupt_at == Some(offset) {
                    if batch.is_empty() {
                        return Err(SourceError::Corrupt("segment 0 is damaged".to_owned()));
                    }
                    break;
                }
                if state.lost.contains(&offset) {
                    continue;
                }
                let buffer = batch.add_buffer(data.clone());
                batch.push(MessageLayout {
                    offset: Offset(offset),
                    publish_time: Micros(i64::try_from(offset).unwrap()),
                    buffer,
                    data: 0..data.len(),
                    attributes: 0..0,
                    ordering_key: 0..0,
                });
                state.read_to = state.read_to.max(offset + 1);
            }
            Ok(batch)
        })
    }

    fn wait(&self, offset: Offset, timeout: Duration) -> Offset {
        let state = self.state.lock().unwrap();
        let short = |state: &mut SourceState| state.messages.len() as u64 <= offset.0;
        let (state, _) = self.changed.wait_timeout_while(state, timeout, short).unwrap();
        Offset(state.messages.len() as u64)
    }

    fn backlog(&self, from: Offset) -> (u64, Option<Micros>) {
        self.with(|state| {
            let rest = state.messages.iter().skip(usize::try_from(from.0).unwrap());
            let bytes = rest.map(|data| data.len() as u64).sum();
            (bytes, (from.0 < state.messages.len() as u64).then(|| Micros(i64::try_from(from.0).unwrap())))
        })
    }

    fn hold(&self, _reader: &str, folded: Offset) {
        self.with(|state| state.held = Some(folded));
    }
}

/// What a commit does instead of just working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Works,
    /// Nothing happens, and it says so.
    FailsBefore,
    /// It happens, and the answer is lost.
    ReplyLost,
    /// Nothing happens and nothing ever will.
    Breaks,
    /// It happens, and then the table breaks.
    HappensAndBreaks,
}

/// A table in memory.
pub(crate) struct FakeSink {
    table: &'static str,
    pub state: Mutex<SinkState>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct SinkState {
    /// Offset and first column of every row.
    pub rows: Vec<(u64, String)>,
    /// The newest whole row of each offset.
    pub whole: BTreeMap<u64, RecordBatch>,
    pub marks: BTreeMap<String, i64>,
    /// For the next commits, one each.
    pub faults: VecDeque<Fault>,
    /// Commits with one of these offsets are refused.
    pub refused: BTreeSet<u64>,
    /// The first columns of each commit that happened.
    pub commits: Vec<Vec<String>>,
    /// Commits wait while it is set.
    pub gate_closed: bool,
    /// Commits that have begun.
    pub begun: usize,
    pub unreadable: bool,
}

impl FakeSink {
    pub fn new(table: &'static str) -> Arc<Self> {
        Arc::new(Self { table, state: Mutex::default(), changed: Condvar::new() })
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut SinkState) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    pub fn wait_until(&self, done: impl Fn(&SinkState) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, result) =
            self.changed.wait_timeout_while(state, Duration::from_secs(30), |state| !done(state)).unwrap();
        assert!(!result.timed_out(), "table {} did not get there", self.table);
    }

    pub fn all_offsets(&self) -> Vec<u64> {
        self.with(|state| state.rows.iter().map(|row| row.0).collect())
    }

    fn error(&self, retry: bool) -> SinkError {
        let (table, reason) = (self.table.to_owned(), "injected".to_owned());
        if retry { SinkError::Retry { table, reason } } else { SinkError::Broken { table, reason } }
    }
}

fn rows_of(batch: &RecordBatch) -> Vec<(u64, String)> {
    let offsets = batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().values().to_vec();
    let text = |row| match batch.column_by_name("id") {
        Some(ids) => ids.as_string::<i32>().value(row).to_owned(),
        None => String::from_utf8(
            batch.column_by_name("payloadBytes").unwrap().as_binary::<i32>().value(row).to_vec(),
        )
        .unwrap(),
    };
    offsets.iter().enumerate().map(|(row, &offset)| (u64::try_from(offset).unwrap(), text(row))).collect()
}

impl Sink for FakeSink {
    fn table(&self) -> &str {
        self.table
    }

    fn marks(&self) -> Result<BTreeMap<String, i64>, SinkError> {
        Ok(self.with(|state| state.marks.clone()))
    }

    fn offsets(&self, topic: TopicId, start: Offset, end: Offset) -> Result<Vec<Offset>, SinkError> {
        if topic != TOPIC {
            return Ok(Vec::new());
        }
        let (unreadable, mut offsets) = (self.with(|state| state.unreadable), self.all_offsets());
        if unreadable {
            return Err(self.error(true));
        }
        offsets.retain(|offset| (start.0..end.0).contains(offset));
        offsets.sort_unstable();
        Ok(offsets.into_iter().map(Offset).collect())
    }

    fn commit(&self, commit: &Commit) -> Result<(), SinkError> {
        self.change(&[], commit)
    }

    fn amend(&self, amendment: &Amendment) -> Result<(), SinkError> {
        assert_eq!(amendment.topic, TOPIC);
        assert!(amendment.removed.is_sorted());
        self.change(&amendment.removed, &amendment.commit)
    }

    fn scan(&self, scan: &Scan<'_>, take: &mut dyn FnMut(&RecordBatch) -> bool) -> Result<(), SinkError> {
        if self.with(|state| state.unreadable) {
            return Err(self.error(true));
        }
        let whole = self.with(|state| state.whole.clone());
        let there = self.all_offsets();
        // Any order: the last first.
        for (offset, row) in whole.iter().rev() {
            let wanted = scan.topic == TOPIC && (scan.start.0..scan.end.0).contains(offset);
            if wanted && there.contains(offset) && !take(row) {
                break;
            }
        }
        Ok(())
    }
}

impl FakeSink {
    fn change(&self, removed: &[Offset], commit: &Commit) -> Result<(), SinkError> {
        let mut state = self.state.lock().unwrap();
        state.begun += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.gate_closed).unwrap();
        let fault = state.faults.pop_front().unwrap_or(Fault::Works);
        match fault {
            Fault::FailsBefore => return Err(self.error(true)),
            Fault::Breaks => return Err(self.error(false)),
            Fault::Works | Fault::ReplyLost | Fault::HappensAndBreaks => {}
        }
        let rows: Vec<_> = commit.rows.iter().flat_map(rows_of).collect();
        let refused = rows.iter().enumerate().filter(|(_, row)| state.refused.contains(&row.0));
        let refused: Vec<_> = refused.map(|(index, _)| (index, "not wanted".to_owned())).collect();
        if !refused.is_empty() {
            return Err(SinkError::Rejected(refused));
        }
        state.commits.push(rows.iter().map(|row| row.1.clone()).collect());
        state.rows.retain(|(offset, _)| !removed.contains(&Offset(*offset)));
        for (offset, row) in commit
            .rows
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| batch.slice(row, 1)))
            .map(|row| (rows_of(&row)[0].0, row))
        {
            state.whole.insert(offset, row);
        }
        state.rows.extend(rows);
        state.marks.extend(commit.marks.iter().map(|mark| (mark.app_id.clone(), mark.version)));
        self.changed.notify_all();
        match fault {
            Fault::ReplyLost => Err(self.error(true)),
            Fault::HappensAndBreaks => Err(self.error(false)),
            _ => Ok(()),
        }
    }
}

/// What a transform does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Write,
    Filter,
    Fail,
    Panic,
}

type Judge = Arc<dyn Fn(u64) -> Fate + Send + Sync>;

/// Decides by offset. Rows are `{"id": "PREFIX PAYLOAD"}`.
pub(crate) struct FakeTransforms {
    prefix: &'static str,
    judge: Judge,
}

impl FakeTransforms {
    pub fn new(prefix: &'static str, judge: impl Fn(u64) -> Fate + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { prefix, judge: Arc::new(judge) })
    }
}

impl TransformFactory for FakeTransforms {
    fn create(&self) -> Result<Box<dyn Transform>, String> {
        Ok(Box::new(FakeTransform { prefix: self.prefix, judge: Arc::clone(&self.judge) }))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        Some(UdfHash([self.prefix.len().try_into().unwrap_or(u8::MAX).max(1); 16]))
    }
}

struct FakeTransform {
    prefix: &'static str,
    judge: Judge,
}

impl FakeTransform {
    fn one(&self, index: usize, message: &MessageView<'_>, rows: &mut dyn RowSink) {
        match (self.judge)(message.offset.0) {
            Fate::Filter => rows.filtered(index),
            Fate::Panic => panic!("message {} is poison", message.offset),
            Fate::Fail => rows.dead_letter(
                index,
                Failure {
                    stage: Stage::Udf,
                    class: ErrorClass::UdfThrew,
                    message: "no".to_owned(),
                    stack: None,
                },
            ),
            Fate::Write => {
                let payload = std::str::from_utf8(message.data).unwrap();
                rows.put_json_row(index, &format!("{{\"id\": \"{}{payload}\"}}", self.prefix)).unwrap();
                rows.finish_row(index).unwrap();
            }
        }
    }
}

impl Transform for FakeTransform {
    fn transform(&mut self, batch: &MessageBatch, range: std::ops::Range<usize>, rows: &mut dyn RowSink) {
        for index in range {
            self.one(index, &batch.get(index), rows);
        }
    }
}

pub(crate) fn spec() -> Arc<TableSpec> {
    let schema = TableSchema::parse(r#"[{"name": "id", "type": "STRING"}]"#).unwrap();
    Arc::new(TableSpec::new("rows", schema, None, &[]).unwrap())
}
