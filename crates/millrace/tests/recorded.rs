//! Recorded Gemini CLI telemetry through the real binary's real ports, against counts and texts taken
//! from the files by other code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use common::{Millrace, recorded};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use prost::Message as _;
use serde_json::Value;

/// What the files hold: each different record once (a record that two requests repeat is a retry, one
/// that a request repeats is a twin), by event name, with its message text.
#[derive(Default)]
struct Expected {
    seen: BTreeSet<(String, usize)>,
    per_event: BTreeMap<String, u64>,
    messages: BTreeMap<String, u64>,
}

impl Expected {
    fn add_body(&mut self, body: &Value) {
        let mut within = BTreeMap::<String, usize>::new();
        for resource in body["resourceLogs"].as_array().unwrap() {
            for scope in resource["scopeLogs"].as_array().unwrap() {
                for record in scope["logRecords"].as_array().unwrap() {
                    let identity = format!("{} {} {record}", resource["resource"], scope["scope"]);
                    let ordinal = within.entry(identity.clone()).or_default();
                    *ordinal += 1;
                    if self.seen.insert((identity, *ordinal)) {
                        *self.per_event.entry(attribute(record, "event.name")).or_default() += 1;
                        let message = record["body"]["stringValue"].as_str().unwrap_or_default().to_owned();
                        *self.messages.entry(message).or_default() += 1;
                    }
                }
            }
        }
    }

    fn total(&self) -> u64 {
        self.per_event.values().sum()
    }
}

fn attribute(record: &Value, key: &str) -> String {
    let attributes = record["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.map_or(String::new(), |found| found["value"]["stringValue"].as_str().unwrap().to_owned())
}

/// A protobuf body as the JSON shape that [`Expected`] reads.
fn as_json(body: &[u8]) -> Value {
    serde_json::to_value(ExportLogsServiceRequest::decode(body).unwrap()).unwrap()
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

fn send_grpc(millrace: &Millrace, bodies: &[Vec<u8>]) {
    let endpoint = format!("http://127.0.0.1:{}", millrace.port(4317));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(endpoint).unwrap().connect().await.unwrap();
        let mut client = LogsServiceClient::new(channel)
            .send_compressed(tonic::codec::CompressionEncoding::Gzip)
            .max_encoding_message_size(64 << 20);
        for body in bodies {
            let request = ExportLogsServiceRequest::decode(body.as_slice()).unwrap();
            let answer = client.export(request).await.unwrap().into_inner();
            assert_eq!(answer.partial_success.map_or(0, |partial| partial.rejected_log_records), 0);
        }
    });
}

/// Scenario: every recorded log body goes in over gRPC (gzip), HTTP JSON and HTTP gzip with a path
/// prefix; then all of it twice more, once as http/protobuf; then the server restarts.
/// Guarantees: rows per event name and every message text equal what the files hold, each once; the
/// audit balances; a restart changes nothing.
#[test]
fn every_recorded_record_is_in_the_table_once() {
    let mut millrace = Millrace::started();
    let mut expected = Expected::default();
    let read = |files: Vec<std::path::PathBuf>| -> Vec<Vec<u8>> {
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    };
    let grpc = read(recorded("otlp_grpc", "logs"));
    let json = read(recorded("otlp_http_json", "logs"));
    let gzip = read(recorded("otlp_http_json_noprompts_gzip", "logs"));
    grpc.iter().for_each(|body| expected.add_body(&as_json(body)));
    json.iter().for_each(|body| expected.add_body(&serde_json::from_slice(body).unwrap()));
    gzip.iter().for_each(|body| expected.add_body(&serde_json::from_slice(&inflated(body)).unwrap()));

    for round in 0..3 {
        if round < 2 {
            send_grpc(&millrace, &grpc);
        } else {
            for body in &grpc {
                let headers = [("content-type", "application/x-protobuf")];
                assert_eq!(millrace.post(4318, "/v1/logs", &headers, body).0, 200);
            }
        }
        json.iter().for_each(|body| millrace.post_logs(body));
        for body in &gzip {
            let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
            assert_eq!(millrace.post(4318, "/ingest/tenant-a/v1/logs", &headers, body).0, 200);
        }
    }
    millrace.settle();
    check(&millrace, &expected);
    let report = millrace.audit();
    let totals = &report["pipelines"][0]["totals"];
    assert_eq!(totals["accepted"], expected.total());
    assert_eq!(totals["dead_lettered"], 0);
    assert!(totals["duplicate"].as_u64().unwrap() >= 2 * expected.total(), "{totals}");

    millrace.stop();
    check(&millrace, &expected);
    millrace.start();
    check(&millrace, &expected);
    millrace.audit();
}

fn check(millrace: &Millrace, expected: &Expected) {
    let sql = "SELECT JSON_VALUE(jsonPayload_json, \"$['event.name']\") AS event, COUNT(*) AS n \
               FROM telemetry.gemini_raw_logs GROUP BY event";
    let per_event: BTreeMap<String, u64> = millrace
        .query(sql)
        .into_iter()
        .map(|row| (row["event"].as_str().unwrap_or_default().to_owned(), row["n"].as_u64().unwrap()))
        .collect();
    assert_eq!(per_event, expected.per_event);
    let mut messages = BTreeMap::<String, u64>::new();
    for row in millrace.query("SELECT jsonPayload_json FROM telemetry.gemini_raw_logs") {
        let payload: Value = serde_json::from_str(row["jsonPayload_json"].as_str().unwrap()).unwrap();
        *messages.entry(payload["message"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    assert!(messages == expected.messages, "message texts differ");
}

/// Scenario: recorded metrics and traces over HTTP.
/// Guarantees: accepted, counted and kept in their topics; none of it in the logs' topic.
#[test]
fn metrics_and_traces_are_kept() {
    let millrace = Millrace::started();
    for (signal, topic) in [("metrics", "otlp-metrics"), ("traces", "otlp-traces")] {
        for file in recorded("otlp_grpc", signal) {
            let body = std::fs::read(file).unwrap();
            let headers = [("content-type", "application/x-protobuf")];
            let (status, _, answer) = millrace.post(4318, &format!("/v1/{signal}"), &headers, &body);
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        }
        let status = millrace.status();
        let topics = status["topics"].as_array().unwrap();
        let found = topics.iter().find(|found| found["name"] == topic).unwrap();
        assert!(found["end"].as_u64().unwrap() > 0, "{found}");
    }
    assert_eq!(millrace.status()["pipelines"][0]["read"], 0);
}

/// Scenario: the same request three times, then a request with true twins three times.
/// Guarantees: the first counts once, the twins twice.
#[test]
fn retries_count_once_and_twins_twice() {
    let millrace = Millrace::started();
    let single = common::logs_body(&[("single", serde_json::json!({ "event.name": "single" }))]);
    let twin = ("twin", serde_json::json!({ "event.name": "twin" }));
    let twins = common::logs_body(&[twin.clone(), twin]);
    for _ in 0..3 {
        millrace.post_logs(&single);
        millrace.post_logs(&twins);
    }
    millrace.settle();
    let count = |event: &str| {
        millrace.number(&format!(
            "SELECT COUNT(*) FROM telemetry.gemini_raw_logs \
             WHERE JSON_VALUE(jsonPayload_json, \"$['event.name']\") = '{event}'"
        ))
    };
    assert_eq!((count("single"), count("twin")), (1, 2));
}

/// Scenario: text with emoji, CJK, quotes, control characters, and 700 KB of it.
/// Guarantees: comes out of the table byte for byte.
#[test]
fn text_comes_out_byte_equal() {
    let millrace = Millrace::started();
    let strange = "emoji \u{1F9EA} CJK \u{6F22}\u{5B57} quote \" back\\slash tab\t nul\u{0} line\u{2028}end";
    let texts = [strange.to_owned(), strange.repeat(700_000 / strange.len())];
    for text in &texts {
        millrace.post_logs(&common::logs_body(&[(text, serde_json::json!({ "event.name": "text" }))]));
    }
    millrace.settle();
    let mut found: Vec<String> = millrace
        .query("SELECT jsonPayload_json FROM telemetry.gemini_raw_logs")
        .iter()
        .map(|row| {
            let payload: Value = serde_json::from_str(row["jsonPayload_json"].as_str().unwrap()).unwrap();
            payload["message"].as_str().unwrap().to_owned()
        })
        .collect();
    found.sort_by_key(String::len);
    assert!(found == texts, "a text changed");
}
