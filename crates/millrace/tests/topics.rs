//! Topics of the real binary: their settings, who holds them, and what a lost one means.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]
#![allow(missing_docs)]

mod common;

use common::{Millrace, eventually, testdata};
use serde_json::Value;

fn json(millrace: &Millrace, path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(millrace.data_dir().join("log").join(path)).unwrap()).unwrap()
}

fn send_recording(millrace: &Millrace) {
    let body = testdata("gemini-cli/otlp_http_json");
    millrace.ok(&["send", body.to_str().unwrap()]);
    millrace.settle();
}

const PIPELINE: &str = r#"
[[pipeline]]
name = "NAME"
topic = "gemini-telemetry-logs"
table = "telemetry.gemini_raw_logs"
partition = "timestamp"
udf = { function = "transform" }
"#;

/// Scenario: limits for all topics and for one, and a sink to a topic that no pipeline reads.
/// Guarantees: every topic has them, also those that ingest keeps for itself; `unrouted` keeps a day.
#[test]
fn settings_reach_every_topic() {
    let mut millrace = Millrace::configured(
        r#"
        log = { topic_bytes_max = 5000000, folded_bytes_max = 7000000, retention_hours = 48 }
        topic = [{ name = "otlp-metrics", bytes_max = 3000000, retention_hours = 2 }]
        sink = [
            { name = "gemini", topic = "gemini-telemetry-logs" },
            { name = "copies", topic = "copies" },
        ]
        "#,
    );
    millrace.start();
    let hours = |count: i64| Value::from(count * 3_600_000_000);
    for (topic, bytes_max, retention) in [
        ("gemini-telemetry-logs", 5_000_000, 48),
        ("copies", 5_000_000, 48),
        ("unrouted", 5_000_000, 24),
        ("otlp-traces", 5_000_000, 48),
        ("otlp-metrics", 3_000_000, 2),
    ] {
        let config = json(&millrace, &format!("{topic}/topic.json"))["config"].clone();
        assert_eq!(config["bytes_max"], bytes_max, "{topic}");
        assert_eq!(config["retention_age_micros"], hours(retention), "{topic}");
        assert_eq!(config["folded_bytes_max"], 7_000_000, "{topic}");
    }
}

/// Scenario: a pipeline is given another name.
/// Guarantees: the topic does not wait for the old name any more, and the log says so.
#[test]
fn a_pipeline_that_is_configured_no_more_holds_nothing_back() {
    let mut millrace = Millrace::configured(&PIPELINE.replace("NAME", "first"));
    millrace.start();
    send_recording(&millrace);
    millrace.stop();
    let readers = json(&millrace, "gemini-telemetry-logs/readers.json").to_string();
    assert!(readers.contains("first"), "{readers}");

    millrace.config = Some(millrace.write("other.toml", PIPELINE.replace("NAME", "second").as_bytes()));
    millrace.start();
    eventually("the new pipeline to fold", || millrace.log().contains("no longer configured").then_some(()));
    millrace.settle();
    millrace.stop();
    let readers = json(&millrace, "gemini-telemetry-logs/readers.json").to_string();
    assert!(!readers.contains("first") && readers.contains("second"), "{readers}");
}

/// Scenario: a topic's directory is lost while the table knows how far it was folded.
/// Guarantees: its pipeline refuses to start and says how to repair; ingest and queries work. What it says
/// helps: the new topic is folded behind the old one's rows.
#[test]
fn a_table_that_knows_another_topic_is_not_written() {
    let mut millrace = Millrace::started();
    send_recording(&millrace);
    let rows = millrace.number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs");
    millrace.stop();
    std::fs::remove_dir_all(millrace.data_dir().join("log/gemini-telemetry-logs")).unwrap();

    millrace.start_unready();
    assert_eq!(millrace.get("/readyz").0, 503);
    let error = millrace.status()["pipelines"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("refuses to start") && error.contains("adopt_new_topic"), "{error}");
    let body = testdata("gemini-cli/otlp_http_json");
    millrace.ok(&["send", body.to_str().unwrap()]);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs"), rows);
    millrace.stop();

    let adopting =
        PIPELINE.replace("NAME", "gemini-logs-sub").replace("udf =", "adopt_new_topic = true\nudf =");
    millrace.config = Some(millrace.write("millrace.toml", adopting.as_bytes()));
    millrace.start();
    millrace.settle();
    assert_eq!(millrace.number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs"), 2 * rows);
    millrace.audit();
}
