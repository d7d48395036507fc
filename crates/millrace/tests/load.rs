//! `millrace load` on the real binary: the same pipeline as a batch, each line once ever.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use std::io::Write as _;

use common::{Millrace, recorded, testdata};

const ROWS: &str = "SELECT COUNT(*) FROM telemetry.gemini_raw_logs";

fn lines(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()).unwrap()
}

/// Scenario: recorded LogEntry lines are loaded three times: as a file without a server, again, and
/// again through a running server; then gzipped, which is other bytes but the same entries.
/// Guarantees: every entry is a row once; what `load` says agrees.
#[test]
fn loading_twice_adds_nothing() {
    let mut millrace = Millrace::new();
    let path = testdata("gemini-cli/cloud_logging_entries.jsonl");
    let entries = std::fs::read(&path).unwrap();
    let file = path.to_str().unwrap();
    millrace.ok(&["load", file]);
    assert_eq!(millrace.number(ROWS), lines(&entries));
    millrace.ok(&["load", file]);
    assert_eq!(millrace.number(ROWS), lines(&entries));
    millrace.start();
    millrace.ok(&["load", file]);
    millrace.settle();
    assert_eq!(millrace.number(ROWS), lines(&entries));
    millrace.audit();
}

/// Scenario: gzip and standard input, OTLP JSON bodies, through a running server and without one.
/// Guarantees: every record is a row.
#[test]
fn gzip_standard_input_and_otlp_bodies() {
    let mut millrace = Millrace::new();
    let entries = std::fs::read(testdata("gemini-cli/cloud_logging_entries.jsonl")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&entries).unwrap();
    let gzipped = millrace.write("entries.jsonl.gz", &encoder.finish().unwrap());
    millrace.ok(&["load", gzipped.to_str().unwrap()]);
    assert_eq!(millrace.number(ROWS), lines(&entries));

    let bodies = recorded("otlp_http_json", "logs");
    let mut records = 0;
    for body in &bodies {
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(body).unwrap()).unwrap();
        for resource in value["resourceLogs"].as_array().unwrap() {
            for scope in resource["scopeLogs"].as_array().unwrap() {
                records += u64::try_from(scope["logRecords"].as_array().unwrap().len()).unwrap();
            }
        }
    }
    millrace.start();
    for body in &bodies {
        let output = millrace.run_with_input(&["load", "-"], &std::fs::read(body).unwrap());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    millrace.settle();
    assert_eq!(millrace.number(ROWS), lines(&entries) + records);
    millrace.audit();
}

/// Scenario: a file with lines that are no entries between good ones, and a file that does not exist.
/// Guarantees: bad lines are dead letters with their bytes, good ones rows; the missing file is named.
#[test]
fn bad_lines_are_dead_letters() {
    let millrace = Millrace::new();
    let file = millrace.write(
        "mixed.jsonl",
        b"{\"logName\":\"projects/p/logs/l\",\"timestamp\":\"2026-11-22T00:00:00Z\",\"jsonPayload\":{\"message\":\"good\"}}\n{broken\n\n\xff\xfe\n{\"timestamp\":\"yesterday\"}\n",
    );
    millrace.ok(&["load", file.to_str().unwrap()]);
    assert_eq!(millrace.number(ROWS), 1);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs_error_records"), 3);
    millrace.audit();
    let output = millrace.run(&["load", "no-such-file.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-file.jsonl"));
}
