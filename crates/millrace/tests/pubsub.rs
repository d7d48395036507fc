//! The Pub/Sub port of the real binary: what is published to a pipeline's topic is folded, what comes in over
//! OTLP reaches subscriptions, and what was acked stays acked through a kill.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(missing_docs)]

mod common;

use std::net::TcpStream;

use common::{Millrace, eventually, logs_body};
use serde_json::{Value, json};

const TOPIC: &str = "gemini-telemetry-logs";

/// The data of messages that a pull brings, acked.
fn pull(millrace: &Millrace, subscription: &str) -> Vec<String> {
    let text =
        millrace.ok(&["subscription", "pull", subscription, "--ack", "--limit", "100", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.iter().map(|row| row["data"].as_str().unwrap().to_owned()).collect()
}

/// Scenario: a subscription on the topic that the default pipeline reads; entries over OTLP and published
/// by hand; a kill between two pulls.
/// Guarantees: both reach the table and the subscription, once each; the topic cannot be deleted.
#[test]
fn a_pipelines_topic_is_a_topic() {
    let mut millrace = Millrace::started();
    let listed = millrace.ok(&["topic", "list", "--format", "csv"]);
    assert!(listed.contains("projects/local/topics/gemini-telemetry-logs"), "{listed}");
    millrace.ok(&["subscription", "create", "watch", "--topic", TOPIC]);
    millrace.post_logs(&logs_body(&[("over OTLP", json!({"event.name": "gemini_cli.user_prompt"}))]));
    let entry = json!({
        "logName": "projects/local/logs/gemini_cli", "insertId": "by-hand", "timestamp": "2026-01-01T00:00:00Z",
        "jsonPayload": {"body": "published"}, "labels": {"event.name": "gemini_cli.user_prompt"},
    });
    let id = millrace.ok(&["topic", "publish", TOPIC, &entry.to_string(), "--attribute", "by=hand"]);
    assert!(id.trim().ends_with("-1"), "{id}");
    eventually("both rows", || (millrace.number("SELECT COUNT(*) FROM gemini_raw_logs") == 2).then_some(()));
    let received = pull(&millrace, "watch");
    assert_eq!(received.len(), 2, "{received:?}");
    assert!(received[0].contains("over OTLP") && received[1].contains("by-hand"), "{received:?}");
    millrace.kill();
    millrace.start();
    assert_eq!(pull(&millrace, "watch"), [""; 0]);
    let refused = millrace.run(&["topic", "delete", TOPIC]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("take it out of the configuration first"));
    millrace.ok(&["topic", "create", "orders"]);
    millrace.ok(&["topic", "delete", "orders"]);
    millrace.ok(&["subscription", "delete", "watch"]);
}

/// Scenario: `pubsub_port = 0`.
/// Guarantees: nobody listens there, and commands say what to set.
#[test]
fn the_port_can_be_off() {
    let mut millrace = Millrace::configured("[server]\npubsub_port = 0\n");
    millrace.start();
    assert!(TcpStream::connect(("127.0.0.1", millrace.port(8085))).is_err());
    let refused = millrace.run(&["topic", "list"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("server.pubsub_port"));
}
