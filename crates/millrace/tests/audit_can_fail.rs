//! An audit that cannot fail proves nothing: damage done by hand must be found and named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};

use common::{Millrace, logs_body};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

/// A stopped server's data directory with a few windows of rows, balanced.
fn filled() -> Millrace {
    let mut millrace = Millrace::configured("[log]\nsegment_bytes_max = 65536\n");
    millrace.start();
    for window in 0..4 {
        let texts: Vec<String> =
            (0..50).map(|n| format!("window {window} record {n} {}", "x".repeat(1000))).collect();
        let records: Vec<(&str, Value)> = texts.iter().map(|text| (text.as_str(), json!({}))).collect();
        millrace.post_logs(&logs_body(&records));
        millrace.settle();
    }
    millrace.stop();
    millrace.audit();
    millrace
}

/// The audit must fail; all its findings as one text.
fn findings(millrace: &Millrace) -> String {
    let output = millrace.run(&["audit", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "the audit passed");
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!text.trim().is_empty());
    text
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn data_files(millrace: &Millrace) -> Vec<PathBuf> {
    let table = millrace.data_dir().join("lake/telemetry/gemini_raw_logs");
    files(&table, "parquet")
        .into_iter()
        .filter(|file| !file.to_string_lossy().contains("_delta_log"))
        .collect()
}

fn segments(millrace: &Millrace) -> Vec<PathBuf> {
    files(&millrace.data_dir().join("log"), "log")
        .into_iter()
        .filter(|file| file.to_string_lossy().contains("gemini-telemetry-logs"))
        .collect()
}

/// Scenario: one row is cut out of a data file.
/// Guarantees: the audit says that a row is missing.
#[test]
fn a_removed_row_is_found() {
    let millrace = filled();
    let file = data_files(&millrace).remove(0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap()).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(&file).unwrap(), batches[0].schema(), None).unwrap();
    for (n, batch) in batches.iter().enumerate() {
        let keep = if n == 0 { batch.num_rows() - 1 } else { batch.num_rows() };
        writer.write(&batch.slice(0, keep)).unwrap();
    }
    writer.close().unwrap();
    let found = findings(&millrace);
    assert!(found.contains("gemini_raw_logs"), "{found}");
}

/// Scenario: a data file is removed.
/// Guarantees: the audit fails and names table or file.
#[test]
fn a_removed_data_file_is_found() {
    let millrace = filled();
    let file = data_files(&millrace).remove(0);
    std::fs::remove_file(&file).unwrap();
    let found = findings(&millrace);
    assert!(found.contains("gemini_raw_logs"), "{found}");
}

/// Scenario: a segment is removed: the first, one in the middle, the last.
/// Guarantees: the audit fails and names the topic; the server still starts and says what is wrong.
#[test]
fn a_removed_segment_is_found() {
    for which in ["first", "middle", "last"] {
        let mut millrace = filled();
        let mut segments = segments(&millrace);
        assert!(segments.len() >= 3, "{segments:?}");
        let index = match which {
            "first" => 0,
            "middle" => segments.len() / 2,
            _ => segments.len() - 1,
        };
        std::fs::remove_file(segments.remove(index)).unwrap();
        let found = findings(&millrace);
        assert!(found.contains("gemini-telemetry-logs"), "{which}: {found}");
        millrace.start_unready();
        let status = millrace.status();
        assert_eq!(status["ready"], false, "{which}: {status}");
        let error = status["pipelines"][0]["error"].as_str().unwrap();
        assert!(!error.is_empty(), "{which}");
        millrace.stop();
    }
}

/// Scenario: a byte in the middle of a sealed segment is flipped.
/// Guarantees: `log verify` fails and names the segment; the audit fails.
#[test]
fn a_flipped_byte_is_found() {
    let millrace = filled();
    let file = segments(&millrace).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), &bytes).unwrap();
    let output = millrace.run(&["log", "verify", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(name));
    findings(&millrace);
}
