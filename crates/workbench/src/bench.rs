//! `udf bench`: how fast a UDF is, and how fast Node is with the same script and messages.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use millrace_model::{
    Cell, CellError, ColumnId, Failure, MessageBatch, MessageLayout, Micros, Offset, RowSink, TopicId,
    TransformFactory,
};
use millrace_udf::{Shape, Udf, UdfError, Verdict};
use sha2::{Digest as _, Sha256};

use crate::node::{self, NodeOutcome};

/// Most bytes of messages that are kept in memory for a measurement.
const MESSAGES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Processor time is told in hundredths of a second: less than this is no measure.
const PROCESSOR_TIME_LEAST: Duration = Duration::from_millis(100);

/// Messages of a batch that a transform gets at once, as in a pipeline.
const BATCH_MESSAGES: usize = 1024;

/// How it is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// How long each measurement runs.
    pub time: Duration,
    /// Most engines side by side; 1 is always measured.
    pub engines_max: usize,
    /// Whether Node is measured, too, when there is one.
    pub node: bool,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchReport {
    /// Bytes of an average message.
    pub message_bytes: f64,
    /// Messages of one pass that became a row, were left out, and failed.
    pub outcomes: [u64; 3],
    /// One engine, and all of them when there are several.
    pub measured: Vec<Measured>,
    /// Node, with one thread; `None` when it was not asked for.
    pub node: Option<NodeOutcome>,
    /// Whether Node returned the same for every message of a pass.
    pub same_as_node: Option<bool>,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Engines side by side.
    pub engines: usize,
    /// Messages run.
    pub messages: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Processor time of this process meanwhile; `None` where the system does not tell, or not so finely.
    pub processor: Option<Duration>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There are no messages.
    #[error("there is no message to measure with")]
    Empty,
    /// There are too many.
    #[error("the messages have more than {MESSAGES_BYTES_MAX} bytes: take fewer")]
    TooLarge,
    /// No engine can be had.
    #[error(transparent)]
    Udf(#[from] UdfError),
    /// The same, in a pipeline's words.
    #[error("{0}")]
    Transform(String),
    /// Node cannot be run.
    #[error("cannot run node: {0}")]
    Node(#[from] io::Error),
}

impl Measured {
    /// Messages in a second of the clock.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn messages_per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// Processor nanoseconds for a message, or the clock's where there are none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn nanoseconds_per_message(&self) -> f64 {
        self.processor.unwrap_or(self.elapsed).as_nanos() as f64 / self.messages as f64
    }
}

/// Measures the UDF on these messages, payloads all, over and over: by `transforms` as a pipeline runs it
/// (without a table behind it), and in Node by `udf`'s scripts.
///
/// # Errors
/// When there is nothing to measure or to measure with.
pub fn bench(
    udf: &Udf,
    transforms: &dyn TransformFactory,
    messages: &[Vec<u8>],
    options: &BenchOptions,
) -> Result<BenchReport, BenchError> {
    let bytes: usize = messages.iter().map(Vec::len).sum();
    if messages.is_empty() {
        return Err(BenchError::Empty);
    }
    if bytes > MESSAGES_BYTES_MAX {
        return Err(BenchError::TooLarge);
    }
    let batch = batch(messages);
    let (outcomes, digest) = one_pass(udf, &batch)?;
    let mut measured = vec![measure(transforms, &batch, 1, options.time)?];
    if options.engines_max > 1 {
        measured.push(measure(transforms, &batch, options.engines_max, options.time)?);
    }
    // A single message transform takes an object that Node would have to be given as well.
    let has_node = options.node && udf.config().shape == Shape::Template;
    let config = udf.config();
    let node = has_node
        .then(|| node::measure(&config.scripts, &config.function, messages, options.time))
        .transpose()?;
    let same_as_node = match &node {
        Some(NodeOutcome::Ran { digest: theirs, .. }) => Some(*theirs == digest),
        _ => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    let message_bytes = bytes as f64 / messages.len() as f64;
    Ok(BenchReport { message_bytes, outcomes, measured, node, same_as_node })
}

fn batch(messages: &[Vec<u8>]) -> MessageBatch {
    let mut bytes = BytesMut::new();
    let mut layouts = Vec::with_capacity(messages.len());
    for (offset, message) in (0..).zip(messages) {
        let start = bytes.len();
        bytes.extend_from_slice(message);
        let (attributes, ordering_key) = (0..0, 0..0);
        let (offset, publish_time, buffer) = (Offset(offset), Micros(0), 0);
        layouts.push(MessageLayout {
            offset,
            publish_time,
            buffer,
            data: start..bytes.len(),
            attributes,
            ordering_key,
        });
    }
    let mut batch = MessageBatch::new(TopicId([0; 16]));
    batch.add_buffer(Bytes::from(bytes));
    layouts.into_iter().for_each(|layout| batch.push(layout));
    batch
}

/// What comes of each message, counted, and a digest over it as Node's harness makes one.
fn one_pass(udf: &Udf, batch: &MessageBatch) -> Result<([u64; 3], String), BenchError> {
    let mut evaluator = udf.evaluator()?;
    let (mut outcomes, mut digest) = ([0; 3], Sha256::new());
    for start in (0..batch.len()).step_by(BATCH_MESSAGES) {
        for verdict in evaluator.evaluate(batch, start..batch.len().min(start + BATCH_MESSAGES)) {
            match verdict {
                Verdict::Row(returned) => {
                    outcomes[0] += 1;
                    digest.update(b"+");
                    digest.update(returned.text);
                }
                Verdict::Filtered => {
                    outcomes[1] += 1;
                    digest.update(b"-");
                }
                Verdict::Failed(_) => {
                    outcomes[2] += 1;
                    digest.update(b"!");
                }
            }
            digest.update(b"\n");
        }
    }
    Ok((outcomes, hex::encode(digest.finalize())))
}

fn measure(
    transforms: &dyn TransformFactory,
    batch: &MessageBatch,
    engines: usize,
    time: Duration,
) -> Result<Measured, BenchError> {
    let made: Result<Vec<_>, String> = (0..engines).map(|_| transforms.create()).collect();
    let mut made = made.map_err(BenchError::Transform)?;
    // A pass to warm up: engines are started by now, memory is not yet touched.
    let first = 0..batch.len().min(BATCH_MESSAGES);
    for transform in &mut made {
        transform.transform(batch, first.clone(), &mut Discard::default());
    }
    let batch = Arc::new(batch.clone());
    let (started, processor) = (Instant::now(), processor_time());
    let messages = thread::scope(|scope| {
        let work = |mut transform: Box<dyn millrace_model::Transform>| {
            let batch = Arc::clone(&batch);
            scope.spawn(move || {
                let mut done = Discard::default();
                let mut start = 0;
                while started.elapsed() < time {
                    let end = batch.len().min(start + BATCH_MESSAGES);
                    transform.transform(&batch, start..end, &mut done);
                    start = if end == batch.len() { 0 } else { end };
                }
                done.0
            })
        };
        let workers: Vec<_> = made.into_iter().map(work).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum()
    });
    let processor = processor_time().zip(processor).map(|(now, then)| now.saturating_sub(then));
    let processor = processor.filter(|spent| *spent >= PROCESSOR_TIME_LEAST);
    Ok(Measured { engines, messages, elapsed: started.elapsed(), processor })
}

/// Processor time of this process so far: user and system time in hundredths of a second, fields 14 and 15
/// of Linux's `/proc/self/stat`. Not by a system call, for which a library under DataFusion would need one
/// more feature.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(10 * (user + system)))
}

/// Takes everything and counts messages.
#[derive(Debug, Default)]
struct Discard(u64);

impl RowSink for Discard {
    fn column(&self, _: &str) -> Option<ColumnId> {
        Some(ColumnId(0))
    }

    fn put(&mut self, _: usize, _: ColumnId, _: Cell<'_>) -> Result<(), CellError> {
        Ok(())
    }

    fn put_json_row(&mut self, _: usize, _: &str) -> Result<(), CellError> {
        Ok(())
    }

    fn finish_row(&mut self, _: usize) -> Result<(), CellError> {
        self.0 += 1;
        Ok(())
    }

    fn filtered(&mut self, _: usize) {
        self.0 += 1;
    }

    fn dead_letter(&mut self, _: usize, _: Failure) {
        self.0 += 1;
    }
}
