//! From a producer's request to committed rows, as fast as it goes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use millrace_disk::{StdDisk, write_atomically};

use super::bodies::{self, Body};
use super::generator;
use super::report::{Figure, Floor};
use crate::children;
use crate::server::Launch;

/// How long the server may take to commit what it has accepted.
const FOLD_LIMIT: Duration = Duration::from_secs(600);

/// The default pipeline, its script left to the JavaScript engine.
const WITHOUT_NATIVE_PLAN: &str = r#"
[[sink]]
name = "gemini-to-pubsub"
topic = "gemini-telemetry-logs"

[[pipeline]]
name = "gemini-logs-sub"
topic = "gemini-telemetry-logs"
table = "telemetry.gemini_raw_logs"
partition = "timestamp"
clustering = ["logName", "severity"]

[pipeline.udf]
function = "transform"
native_plan = false
"#;

/// The same server, with a configuration that lets JavaScript run what a native plan could.
pub fn without_native_plan(launch: &Launch, directory: &Path) -> Result<Launch> {
    let path = directory.join("javascript.toml");
    write_atomically(&StdDisk, &path, WITHOUT_NATIVE_PLAN.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Launch { config: Some(path), ..launch.clone() })
}

/// ~1 kB records over OTLP/gRPC.
pub fn kilobyte_records(bench: &'static str, launch: &Launch, records: u64) -> Result<Vec<Figure>> {
    measure(bench, launch, &bodies::synthetic_load()?, records, Some(Floor::AtLeast(30_000.0)))
}

/// The recorded sessions over OTLP/gRPC, again and again with new times.
pub fn recorded_records(bench: &'static str, launch: &Launch, records: u64) -> Result<Vec<Figure>> {
    measure(bench, launch, &bodies::recorded()?, records, None)
}

fn measure(
    bench: &'static str,
    launch: &Launch,
    bodies: &[Body],
    records: u64,
    floor: Option<Floor>,
) -> Result<Vec<Figure>> {
    let mut server = launch.start_ready()?;
    let pid = server.pid();
    let before = server.api().progress()?;
    let cpu_before = children::cpu_seconds(pid)?;
    let start = Instant::now();
    let sent = generator::send(&launch.grpc_url(), bodies, records)?;
    let after = server.api().wait_folded(FOLD_LIMIT)?;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu_seconds = children::cpu_seconds(pid)? - cpu_before;
    let peak_bytes = children::memory_bytes(pid, "VmHWM")?;
    if after.next_offset - before.next_offset != sent.records {
        bail!("{} records were sent, {} were folded", sent.records, after.next_offset - before.next_offset);
    }
    check_rows(launch, after.next_offset)?;
    server.stop()?;

    let rate = sent.records as f64 / elapsed;
    let megabytes = sent.bytes as f64 / 1e6;
    let lake_bytes = folder_bytes(&launch.data_dir.join("lake"));
    Ok(vec![
        Figure::new(bench, "OTLP/gRPC to committed rows", rate, "events/s").with_floor(floor),
        Figure::new(bench, "the same in protobuf bytes", megabytes / elapsed, "MB/s"),
        Figure::new(bench, "accepting alone", sent.records as f64 / sent.elapsed.as_secs_f64(), "events/s"),
        Figure::new(bench, "server CPU per million events", cpu_seconds * 1e6 / sent.records as f64, "CPU s"),
        Figure::new(bench, "generator's share of all CPU used", share(sent.cpu_seconds, cpu_seconds), "%"),
        Figure::new(bench, "peak RSS", peak_bytes as f64 / 1e6, "MB"),
        Figure::new(bench, "bytes in the lake per event", lake_bytes as f64 / after.next_offset as f64, "B"),
        Figure::new(bench, "requests put off by backpressure", sent.put_off as f64, ""),
    ])
}

/// Every record must be a row that can be counted; a fast loss is no result.
pub fn check_rows(launch: &Launch, expected: u64) -> Result<()> {
    let rows = launch.api().query_number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs")?;
    if rows != expected {
        bail!("{expected} records were folded, the table has {rows} rows");
    }
    Ok(())
}

fn share(part: f64, rest: f64) -> f64 {
    100.0 * part / (part + rest)
}

/// The size of all files below a folder.
pub fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
