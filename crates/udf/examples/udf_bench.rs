//! Measures how fast messages go through a UDF on one core: the recorded Gemini CLI entries as they
//! are, and entries of about 1 kB. `cargo run --release -p millrace-udf --example udf_bench [SECONDS [BODY]]`,
//! with BODY as the body of another function of `s` to measure, for instance `return s`.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use millrace_model::{
    Cell, CellError, ColumnId, Failure, MessageBatch, MessageLayout, Micros, Offset, RowSink, TopicId,
    TransformFactory,
};
use millrace_udf::{Script, Udf, UdfConfig};

const TRANSFORM: &str = include_str!("../../../examples/gemini/transform.js");
const ENTRIES: &str = include_str!("../../../testdata/gemini-cli/cloud_logging_entries.jsonl");

/// Takes rows and only counts them, so that the UDF alone is measured.
#[derive(Default)]
struct Count {
    rows: u64,
    failures: u64,
}

impl RowSink for Count {
    fn column(&self, _: &str) -> Option<ColumnId> {
        None
    }

    fn put(&mut self, _: usize, _: ColumnId, _: Cell<'_>) -> Result<(), CellError> {
        Ok(())
    }

    fn put_json_row(&mut self, _: usize, _: &str) -> Result<(), CellError> {
        Ok(())
    }

    fn finish_row(&mut self, _: usize) -> Result<(), CellError> {
        self.rows += 1;
        Ok(())
    }

    fn filtered(&mut self, _: usize) {}

    fn dead_letter(&mut self, _: usize, _: Failure) {
        self.failures += 1;
    }
}

fn batch<'a>(messages: impl Iterator<Item = &'a str>) -> MessageBatch {
    let mut buffer = BytesMut::new();
    let ranges: Vec<Range<usize>> = messages
        .map(|message| {
            let start = buffer.len();
            buffer.extend_from_slice(message.as_bytes());
            start..buffer.len()
        })
        .collect();
    let mut batch = MessageBatch::new(TopicId([0; 16]));
    let buffer = batch.add_buffer(Bytes::from(buffer));
    for (offset, data) in (0..).zip(ranges) {
        let publish_time = Micros(0);
        let (attributes, ordering_key) = (0..0, 0..0);
        batch.push(MessageLayout {
            offset: Offset(offset),
            publish_time,
            buffer,
            data,
            attributes,
            ordering_key,
        });
    }
    batch
}

/// Entries of about 1 kB: recorded ones without the process attributes that make up most of them.
fn small_entries() -> Vec<String> {
    let small = |line: &str| -> Option<String> {
        let mut entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let payload = entry.get_mut("jsonPayload")?.as_object_mut()?;
        payload.retain(|key, value| !key.starts_with("process.") && value.to_string().len() < 400);
        let text = entry.to_string();
        (800..1300).contains(&text.len()).then_some(text)
    };
    ENTRIES.lines().filter_map(small).collect()
}

/// Processor seconds of this process so far, all threads: user and system time in hundredths, fields 14
/// and 15 of Linux's `/proc/self/stat`. A busy machine does not change it much.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or("");
    let ticks = after_name.split_ascii_whitespace().skip(11).take(2);
    ticks.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Runs `engines` transforms side by side for `time` and prints messages per second.
fn measure(udf: &Arc<Udf>, name: &str, batch: &MessageBatch, engines: usize, time: Duration) {
    let (started, processor_before) = (Instant::now(), processor_seconds());
    let workers: Vec<_> = (0..engines)
        .map(|_| {
            let (udf, batch) = (Arc::clone(udf), batch.clone());
            std::thread::spawn(move || -> Result<Count, String> {
                let (mut transform, mut count) = (udf.create()?, Count::default());
                while started.elapsed() < time {
                    transform.transform(&batch, 0..batch.len(), &mut count);
                }
                Ok(count)
            })
        })
        .collect();
    let mut total = Count::default();
    for worker in workers {
        if let Ok(Ok(count)) = worker.join() {
            total.rows += count.rows;
            total.failures += count.failures;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let processor = processor_seconds() - processor_before;
    println!(
        "{name}: {engines} engine(s), {} bytes/message, {:.0} messages/s, {:.0} messages per processor second \
         ({:.1} us each), {} failures",
        batch.data_bytes() / batch.len(),
        total.rows as f64 / seconds,
        total.rows as f64 / processor,
        processor * 1e6 / total.rows as f64,
        total.failures,
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(3.0), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    let script = Script { name: "transform.js".to_owned(), source: TRANSFORM.to_owned() };
    let udf = Arc::new(Udf::load(UdfConfig::new(vec![script], "transform"))?);
    let recorded = batch(ENTRIES.lines().cycle().take(16_384));
    let small = small_entries();
    let small = batch(small.iter().map(String::as_str).cycle().take(16_384));
    if let Some(body) = std::env::args().nth(2) {
        let script = Script { name: "argument".to_owned(), source: format!("function f(s) {{ {body} }}") };
        let udf = Arc::new(Udf::load(UdfConfig::new(vec![script], "f"))?);
        measure(&udf, "argument, recorded", &recorded, 1, time);
        measure(&udf, "argument, about 1 kB", &small, 1, time);
        return Ok(());
    }
    for engines in [1, 2] {
        measure(&udf, "recorded", &recorded, engines, time);
        measure(&udf, "about 1 kB", &small, engines, time);
    }
    println!("{:?}", udf.stats());
    Ok(())
}
