//! Measures what a table costs. `cargo run --release -p millrace-lake --example lake_figures -- WHAT [DIR]`
//! with WHAT one of:
//!
//! - `encode`: CPU time and bytes per row of a data file, by compression, on recorded log entries;
//! - `commits`: time per commit and to open, over thousands of commits with and without compaction;
//! - `fill`: a table with a few thousand rows, to read with other programs.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millrace_disk::StdDisk;
use millrace_lake::{Lake, LakeConfig, LakeTable};
use millrace_pipeline::{Commit, Mark, Sink as _};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DAY_MICROS: i64 = 86_400_000_000;
const START_MICROS: i64 = 1_760_000_000_000_000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    match what.as_str() {
        "encode" => encode(&directory),
        "commits" => commits(&directory),
        "fill" => fill(&directory),
        _ => Err("say encode, commits or fill".into()),
    }
}

/// The default table's columns, as wide as its recorded entries.
fn schema() -> SchemaRef {
    let utc = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("timestamp", utc(), true),
        Field::new("receiveTimestamp", utc(), true),
        Field::new("logName", DataType::Utf8, true),
        Field::new("insertId", DataType::Utf8, true),
        Field::new("resource_json", DataType::Utf8, true),
        Field::new("jsonPayload_json", DataType::Utf8, true),
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_event_day", DataType::Date32, true),
    ]))
}

/// Recorded payloads of at most `bytes_max` each, made different by an id as real ones are.
fn payloads(bytes_max: usize) -> Outcome<Vec<String>> {
    let path = "testdata/gemini-cli/cloud_logging_entries.jsonl";
    let mut text = String::new();
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    let mut found = Vec::new();
    for line in text.lines() {
        let entry: serde_json::Value = serde_json::from_str(line)?;
        let payload = entry["jsonPayload"].to_string();
        if payload.len() <= bytes_max {
            found.push(payload);
        }
    }
    Ok(found)
}

fn rows(first: i64, count: i64, payloads: &[String]) -> Outcome<RecordBatch> {
    let range = first..first + count;
    let time = |row: i64| START_MICROS + row * 20;
    let payload = |row: i64| vary(&payloads[row as usize % payloads.len()], row);
    let insert_id = |row: i64| format!("{:022x}", row.wrapping_mul(0x2545_F491_4F6C_DD1D));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(range.clone().map(time)).with_timezone("UTC")),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(range.clone().map(|row| time(row) + 777))
                .with_timezone("UTC"),
        ),
        Arc::new(range.clone().map(|_| Some("projects/local/logs/gemini_cli")).collect::<StringArray>()),
        Arc::new(range.clone().map(|row| Some(insert_id(row))).collect::<StringArray>()),
        Arc::new(
            range
                .clone()
                .map(|_| Some(r#"{"type":"global","labels":{"project_id":"local"}}"#))
                .collect::<StringArray>(),
        ),
        Arc::new(range.clone().map(|row| Some(payload(row))).collect::<StringArray>()),
        Arc::new(range.clone().map(|_| Some("0123456789abcdef0123456789abcdef")).collect::<StringArray>()),
        Arc::new(range.clone().collect::<Int64Array>()),
        Arc::new(range.map(|row| i32::try_from(time(row) / DAY_MICROS).ok()).collect::<Date32Array>()),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// A payload with every digit another one: ids, times and counts differ from entry to entry, words do
/// not. Real texts repeat less than that, so real files are larger.
fn vary(payload: &str, row: i64) -> String {
    let mut state = row as u64;
    let mut digit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + ((state >> 33) % 10) as u8)
    };
    payload.chars().map(|char| if char.is_ascii_digit() { digit() } else { char }).collect()
}

/// CPU time of this process so far.
fn cpu() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn encode(directory: &Path) -> Outcome<()> {
    for bytes_max in [2_000, 1_000_000] {
        let payloads = payloads(bytes_max)?;
        let mean = payloads.iter().map(String::len).sum::<usize>() / payloads.len();
        let count = (100_000_000 / (mean as i64 + 150)).min(65_536);
        let batch = rows(0, count, &payloads)?;
        let raw: usize = batch.columns().iter().map(|column| column.get_array_memory_size()).sum();
        println!("payloads up to {bytes_max} B, mean {mean} B: {count} rows, {} MB", raw / 1_000_000);
        let choices = [
            ("zstd 1", Compression::ZSTD(ZstdLevel::try_new(1)?)),
            ("zstd 3", Compression::ZSTD(ZstdLevel::try_new(3)?)),
            ("snappy", Compression::SNAPPY),
            ("none", Compression::UNCOMPRESSED),
        ];
        for (name, compression) in choices {
            let began = cpu()?;
            let repeats = 5;
            let mut bytes = 0;
            for _ in 0..repeats {
                let properties = WriterProperties::builder()
                    .set_compression(compression)
                    .set_dictionary_enabled(false)
                    .build();
                let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties))?;
                writer.write(&batch)?;
                bytes = writer.into_inner()?.len();
            }
            report(name, cpu()? - began, repeats * count, bytes as f64 / count as f64);
        }
        for level in [1, 3] {
            let (lake, table, root) = open(directory, level)?;
            let began = (cpu()?, Instant::now());
            let repeats = 10;
            for window in 0..repeats {
                let mark = Mark { app_id: "figures".to_owned(), version: window };
                table.commit(&Commit { rows: vec![batch.clone()], marks: vec![mark] })?;
            }
            let per_row = table.stats().bytes as f64 / table.stats().rows as f64;
            report(&format!("whole commit, zstd {level}"), cpu()? - began.0, repeats * count, per_row);
            println!("    {:?} wall per commit", began.1.elapsed() / u32::try_from(repeats)?);
            drop((table, lake));
            std::fs::remove_dir_all(root)?;
        }
    }
    Ok(())
}

fn report(name: &str, cpu: Duration, rows: i64, bytes_per_row: f64) {
    let micros = cpu.as_secs_f64() * 1e6 / rows as f64;
    println!("  {name:24} {micros:6.2} us CPU per row, {bytes_per_row:7.1} bytes per row");
}

fn open(directory: &Path, level: i32) -> Outcome<(Arc<Lake>, Arc<LakeTable>, PathBuf)> {
    let root = directory.join(format!("lake-figures-{}", std::process::id()));
    let (lake, table) = open_at(&root, level)?;
    Ok((lake, table, root))
}

fn open_at(root: &Path, level: i32) -> Outcome<(Arc<Lake>, Arc<LakeTable>)> {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    if RUNTIME.get().is_none() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let _ = RUNTIME.set(runtime);
    }
    let runtime = RUNTIME.get().ok_or("no runtime")?.handle().clone();
    let mut config = LakeConfig::new(root.to_owned(), Arc::new(StdDisk), runtime);
    config.compression_level = level;
    config.maintenance_interval = None;
    config.log_retention = Duration::from_secs(5);
    let lake = Lake::open(config)?;
    let table = lake.table_of("telemetry", "figures", schema())?;
    Ok((lake, table))
}

/// Small commits, first without compaction so that live files pile up, then with it.
fn commits(directory: &Path) -> Outcome<()> {
    let payloads = payloads(2_000)?;
    let (mut lake, mut table, root) = open(directory, 1)?;
    for (label, commits, compacting) in [("files pile up", 2_000, false), ("with maintenance", 10_000, true)]
    {
        println!("{label}");
        let mut spent = Duration::ZERO;
        for number in 0..commits {
            let batch = rows(number * 5, 5, &payloads)?;
            let began = Instant::now();
            let mark = Mark { app_id: "figures".to_owned(), version: number };
            table.commit(&Commit { rows: vec![batch], marks: vec![mark] })?;
            spent += began.elapsed();
            if (number + 1) % (commits / 5) == 0 {
                let stats = table.stats();
                let mean = spent / u32::try_from(commits / 5)?;
                println!("  version {:6}, {:5} files: {mean:?} per commit", stats.version, stats.files);
                spent = Duration::ZERO;
            }
            if compacting && (number + 1) % 100 == 0 {
                let began = Instant::now();
                let done = table.maintain_now()?;
                if (number + 1) % (commits / 5) == 0 {
                    println!("  maintenance {:?}: {done:?}", began.elapsed());
                }
            }
        }
        drop((table, lake));
        let began = Instant::now();
        (lake, table) = open_at(&root, 1)?;
        println!("  opened in {:?}: {:?}", began.elapsed(), table.stats());
    }
    drop((table, lake));
    std::fs::remove_dir_all(root)?;
    Ok(())
}

fn fill(directory: &Path) -> Outcome<()> {
    let payloads = payloads(2_000)?;
    let (_lake, table) = open_at(directory, 1)?;
    for number in 0..150 {
        let mark = Mark { app_id: "figures".to_owned(), version: number };
        table.commit(&Commit { rows: vec![rows(number * 20, 20, &payloads)?], marks: vec![mark] })?;
        if number == 120 {
            println!("{:?}", table.maintain_now()?);
        }
    }
    println!("{:?} in {}/telemetry/figures", table.stats(), directory.display());
    Ok(())
}
