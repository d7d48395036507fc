//! Measures the native plan beside QuickJS and, where it is installed, Node: the same script and messages,
//! one core, the best of several runs. `cargo run --release -p millrace-udf --example plan_bench [RUNS]`.
//! A machine that does other things as well shows in the spread; the best run is the least disturbed one.

use std::io::Write;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use millrace_model::{
    Cell, CellError, ColumnId, Failure, MessageBatch, MessageLayout, Micros, Offset, RowSink, TopicId,
    Transform, TransformFactory,
};
use millrace_table::{RowBuilder, TableSchema, TableSpec};
use millrace_udf::{Script, Udf, UdfConfig};

const ENTRIES: &str = include_str!("../../../testdata/gemini-cli/cloud_logging_entries.jsonl");
const SCHEMA: &str = include_str!("../../../examples/gemini/gemini_raw_logs.schema.json");
const SCRIPTS: [(&str, &str); 2] = [
    ("transform.js", include_str!("../../../examples/gemini/transform.js")),
    ("transform_small.js", include_str!("../../../examples/gemini/transform_small.js")),
];

/// Runs the script over all lines of its input again and again, and prints the best round's messages per
/// second.
const NODE: &str = "
const [script, file, rounds] = process.argv.slice(1);
const fs = require('fs');
require('vm').runInThisContext(fs.readFileSync(script, 'utf8'));
const lines = fs.readFileSync(file, 'utf8').split('\\n').filter(Boolean);
let best = 0, bytes = 0;
for (let round = 0; round < +rounds; round++) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < 10; i++) for (const line of lines) bytes += transform(line).length;
  best = Math.max(best, 10 * lines.length / (Number(process.hrtime.bigint() - start) / 1e9));
}
console.log(Math.round(best), bytes);
";

/// Takes every cell's bytes and keeps none.
#[derive(Default)]
struct Copies {
    names: Vec<String>,
    bytes: Vec<u8>,
    rows: u64,
    failures: u64,
}

impl RowSink for Copies {
    fn column(&self, name: &str) -> Option<ColumnId> {
        self.names.iter().position(|known| known == name).and_then(|at| u16::try_from(at).ok()).map(ColumnId)
    }

    fn put(&mut self, _: usize, _: ColumnId, cell: Cell<'_>) -> Result<(), CellError> {
        if let Cell::String(text) | Cell::Json(text) = cell {
            self.bytes.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    fn put_json_row(&mut self, _: usize, row: &str) -> Result<(), CellError> {
        self.bytes.extend_from_slice(row.as_bytes());
        Ok(())
    }

    fn finish_row(&mut self, _: usize) -> Result<(), CellError> {
        self.bytes.clear();
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
        let (offset, publish_time) = (Offset(offset), Micros(0));
        let (attributes, ordering_key) = (0..0, 0..0);
        batch.push(MessageLayout { offset, publish_time, buffer, data, attributes, ordering_key });
    }
    batch
}

/// The best time of several runs over the batch, per message.
fn best(runs: usize, batch: &MessageBatch, mut run: impl FnMut(&MessageBatch)) -> Duration {
    let times = (0..runs).map(|_| {
        let start = Instant::now();
        run(batch);
        start.elapsed()
    });
    times.min().unwrap_or_default() / u32::try_from(batch.len()).unwrap_or(1)
}

fn report(name: &str, each: Duration, node: Option<f64>) {
    let per_second = 1.0 / each.as_secs_f64();
    let times = node.map_or_else(String::new, |node| format!(", {:.1} times Node", per_second / node));
    println!("  {name}: {per_second:.0} messages/s, {:.2} us each{times}", each.as_secs_f64() * 1e6);
}

/// Messages per second of Node, when it is installed.
fn node(script: &str, entries: &str, runs: usize) -> Result<Option<f64>, Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("plan_bench.{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::File::create(folder.join("script.js"))?.write_all(script.as_bytes())?;
    std::fs::File::create(folder.join("entries"))?.write_all(entries.as_bytes())?;
    let output = Command::new("node")
        .args(["-e", NODE])
        .args([folder.join("script.js"), folder.join("entries")])
        .arg((runs * 8).to_string())
        .stderr(Stdio::inherit())
        .output();
    std::fs::remove_dir_all(&folder)?;
    let Ok(output) = output else { return Ok(None) };
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().map(str::parse).transpose()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs: usize = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let compact: Vec<String> = ENTRIES
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).map(|entry| entry.to_string()))
        .collect::<Result<_, _>>()?;
    let compact = compact.join("\n");
    let spec = Arc::new(TableSpec::new("rows", TableSchema::parse(SCHEMA)?, None, &[])?);
    for (name, source) in SCRIPTS {
        for (kind, entries) in [("recorded", ENTRIES), ("recorded, no white space", compact.as_str())] {
            let batch = Arc::new(batch(entries.lines().cycle().take(1810)));
            println!("{name}, {kind}, {} bytes/message", batch.data_bytes() / batch.len());
            let node = node(source, entries, runs)?;
            if let Some(node) = node {
                report("Node", Duration::from_secs_f64(1.0 / node), None);
            }
            let script = Script { name: name.to_owned(), source: source.to_owned() };
            let config = UdfConfig::new(vec![script], "transform");
            let udf = Udf::load(config.clone())?;
            let mut plan = udf.create()?;
            let names = udf.explanation().writes.clone();
            let mut copies = Copies { names, ..Copies::default() };
            let mut text = udf.native_plan().ok_or("the script has no plan")?;
            report(
                "plan, the row's text",
                best(runs * 8, &batch, |_| {
                    for entry in entries.lines().cycle().take(batch.len()) {
                        copies.failures += u64::from(text.call(entry).flatten().is_none());
                    }
                }),
                node,
            );
            report(
                "plan, the row's cells",
                best(runs * 8, &batch, |batch| plan.transform(batch, 0..batch.len(), &mut copies)),
                node,
            );
            let with_rows = |transform: &mut Box<dyn Transform>, runs: usize| {
                best(runs, &batch, |_| {
                    let mut rows = RowBuilder::new(Arc::clone(&spec), Arc::clone(&batch));
                    transform.transform(&batch, 0..batch.len(), &mut rows);
                    drop(rows.finish());
                })
            };
            report("plan, into the table's columns", with_rows(&mut plan, runs * 8), node);
            let interpreted = Udf::load(UdfConfig { native_plan: false, ..config })?;
            let mut engine = interpreted.create()?;
            report(
                "QuickJS",
                best(runs, &batch, |batch| engine.transform(batch, 0..batch.len(), &mut copies)),
                node,
            );
            report("QuickJS, into the table's columns", with_rows(&mut engine, runs), node);
            if copies.failures > 0 || udf.stats().plan_fallbacks > 0 {
                return Err(format!("not all messages were planned: {:?}", udf.stats()).into());
            }
        }
    }
    Ok(())
}
