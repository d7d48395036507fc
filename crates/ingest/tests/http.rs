//! OTLP/HTTP over real sockets into a real log.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use common::{Servers, config, event_counts, gzip, json_body, post, recorded, request};
use millrace_ingest::Ingest;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json";
const PROTOBUF: &str = "Content-Type: application/x-protobuf";
const GZIP: &str = "Content-Encoding: gzip";

/// Scenario: every recorded HTTP body as it was sent (chunked, gzip, under a prefix), each three times.
/// Guarantees: one message a record, by event as many as the files hold.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_bodies_count_once_however_often_they_come() {
    let servers = Servers::start(config()).await;
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    let plain = recorded("otlp_http_json", "_logs.json");
    let zipped = recorded("otlp_http_json_noprompts_gzip", ".wire.bin");
    for (files, path, encoding) in [
        (plain, "/v1/logs", "Transfer-Encoding: chunked"),
        (zipped, "/ingest/tenant-a/v1/logs", "Content-Encoding: gzip"),
    ] {
        for file in files {
            let body = std::fs::read(&file).unwrap();
            for _ in 0..3 {
                let reply = post(
                    servers.http,
                    path,
                    &["Content-Type: application/json; charset=utf-8", encoding],
                    &body,
                )
                .await;
                assert_eq!((reply.status, reply.body.as_slice()), (200, &b"{}"[..]), "{}", file.display());
            }
            let mut text = Vec::new();
            if encoding == GZIP {
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body.as_slice()), &mut text)
                    .unwrap();
            } else {
                text = body;
            }
            // Counted in the text itself: each record has one such attribute.
            let text = String::from_utf8(text).unwrap();
            for name in text.split("\"key\":\"event.name\",\"value\":{\"stringValue\":\"").skip(1) {
                *expected.entry(name.split('"').next().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    assert_eq!(event_counts(&servers.logs()), expected);
    let counters = servers.ingest.counters();
    assert_eq!(counters.duplicates, 2 * counters.accepted);
    assert_eq!(counters.in_flight_bytes, 0);
    for file in recorded("otlp_http_json", "_metrics.json") {
        let body = std::fs::read(&file).unwrap();
        assert_eq!(post(servers.http, "/v1/metrics", &[JSON], &body).await.status, 200);
    }
    assert!(servers.messages("otlp-metrics").len() > 100);
    for file in recorded("otlp_grpc", "_traces.pb") {
        let body = std::fs::read(&file).unwrap();
        let reply = post(servers.http, "/v1/traces", &[PROTOBUF, GZIP], &gzip(&body)).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert!(reply.headers.contains("content-type: application/x-protobuf"));
    }
    assert!(servers.messages("otlp-traces").len() > 5);
}

fn deep_json() -> String {
    let value = format!("{}{{}}{}", "{\"arrayValue\":{\"values\":[".repeat(100_000), "]}}".repeat(100_000));
    json_body(&["x"]).replace("{\"stringValue\":\"x\"}", &value)
}

/// A request whose only body nests a hundred thousand lists.
fn deep_protobuf() -> Vec<u8> {
    let mut heads = Vec::new();
    let mut length = 0;
    for key in [0x0a, 0x2a].repeat(100_000).into_iter().chain([0x2a, 0x12, 0x12, 0x0a]) {
        let mut head = vec![key];
        prost::encoding::encode_varint(length, &mut head);
        length += head.len() as u64;
        heads.push(head);
    }
    heads.into_iter().rev().flatten().collect()
}

/// Method, path, headers, body and the status to expect.
type Case<'c> = (&'c str, &'c str, &'c [&'c str], &'c [u8], u16);

/// Scenario: requests that are wrong in every way, a good one after each.
/// Guarantees: the right status with a google.rpc.Status in the request's encoding, and no harm done.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_the_right_answer() {
    let mut config = config();
    config.body_bytes_max = 4 << 20;
    config.decompressed_bytes_max = 8 << 20;
    let servers = Servers::start(config).await;
    let good = json_body(&["good"]);
    let late = good.replace("\"5\"", "18446744073709551616");
    let early = good.replace("\"5\"", "-1");
    let bomb = gzip(&vec![b' '; 100 << 20]);
    let zipped = gzip(&vec![7; 100_000]);
    let large = json_body(&[&"x".repeat(5 << 20)]);
    let deep = deep_json();
    let unknown = format!("{{\"unknown\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_wire = deep_protobuf();
    let cases: [Case<'_>; 27] = [
        ("POST", "/v1/logs", &[JSON], b"", 400),
        ("POST", "/v1/logs", &[JSON], b"not json", 400),
        ("POST", "/v1/logs", &[JSON], b"[]", 400),
        ("POST", "/v1/logs", &[JSON], b"5", 400),
        ("POST", "/v1/logs", &[JSON], b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{}", 400),
        ("POST", "/v1/logs", &[JSON], b"{\"resourceLogs\":\"x\"}", 400),
        ("POST", "/v1/logs", &[JSON], b"{\"a\":\"\xff\xfe\"}", 400),
        ("POST", "/v1/logs", &[JSON], b"{\"a\":\"\0\"}", 400),
        ("POST", "/v1/logs", &[JSON], deep.as_bytes(), 400),
        ("POST", "/v1/logs", &[JSON], unknown.as_bytes(), 400),
        ("POST", "/v1/logs", &[JSON], late.as_bytes(), 400),
        ("POST", "/v1/logs", &[JSON], early.as_bytes(), 400),
        ("POST", "/v1/logs", &[JSON, GZIP], good.as_bytes(), 400),
        ("POST", "/v1/logs", &[JSON, GZIP], &zipped[..zipped.len() / 2], 400),
        ("POST", "/v1/logs", &[JSON, GZIP], b"", 400),
        ("POST", "/v1/logs", &[JSON, GZIP], &bomb, 413),
        ("POST", "/v1/logs", &[JSON], large.as_bytes(), 413),
        ("POST", "/v1/logs", &[JSON, "Transfer-Encoding: chunked"], large.as_bytes(), 413),
        ("POST", "/v1/logs", &[PROTOBUF], b"\xff\xff\xff", 400),
        ("POST", "/v1/logs", &[PROTOBUF], &deep_wire, 400),
        ("POST", "/v1/logs", &["Content-Type: text/plain"], good.as_bytes(), 415),
        ("POST", "/v1/logs", &[], good.as_bytes(), 415),
        ("POST", "/v1/logs", &[JSON, "Content-Encoding: br"], good.as_bytes(), 415),
        ("GET", "/v1/logs", &[], b"", 405),
        ("PUT", "/v1/traces", &[JSON], b"{}", 405),
        ("POST", "/v1/log", &[JSON], good.as_bytes(), 404),
        ("POST", "/", &[JSON], good.as_bytes(), 404),
    ];
    for (index, (method, path, headers, body, status)) in cases.into_iter().enumerate() {
        let what = format!("case {index}: {method} {path} {headers:?} {:.60}", String::from_utf8_lossy(body));
        let answer = tokio::task::block_in_place(|| request(servers.http, method, path, headers, body));
        assert_eq!(answer.status, status, "{what}: {}", String::from_utf8_lossy(&answer.body));
        if headers.contains(&PROTOBUF) {
            let status = Status::decode(answer.body.as_slice()).unwrap();
            assert!(status.code == 3 && !status.message.is_empty(), "{what}");
        } else {
            assert!(answer.json()["code"].is_u64() && answer.json()["message"].is_string(), "{what}");
        }
        assert_eq!(answer.headers.contains("allow: post"), status == 405, "{what}");
        let message = format!("after {index}");
        assert_eq!(
            post(servers.http, "/v1/logs", &[JSON], json_body(&[&message]).as_bytes()).await.status,
            200
        );
        assert!(servers.has(&message));
    }
    assert_eq!(servers.logs().len(), 27);
    assert_eq!(post(servers.http, "/v1/logs", &[JSON], b"{}").await.status, 200);
    assert_eq!(post(servers.http, "/v1/logs", &[PROTOBUF], b"").await.status, 200);
    assert_eq!(servers.ingest.counters().in_flight_bytes, 0);
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Scenario: texts that break careless programs; a record too large and one too deep between good ones.
/// Guarantees: texts come out byte-equal, what cannot be taken is said in partial_success, its
/// neighbours are stored.
#[tokio::test(flavor = "multi_thread")]
async fn hard_texts_survive_and_bad_records_do_not_harm_their_neighbours() {
    let servers = Servers::start(config()).await;
    let texts = [
        "emoji 👩‍👩‍👧‍👦 😀",
        "日本語 中文 한국어",
        "quotes \" ' ` \\ / \u{2028}",
        "nul \0 bell \u{7}",
        &"é".repeat(350_000),
    ];
    let record = |text: &str| json!({"body": {"stringValue": text}, "attributes": [{"key": text.get(..20).unwrap_or("k"), "value": {"intValue": 9_223_372_036_854_775_807_i64}}]});
    let body = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": texts.map(record)}]}]});
    assert_eq!(post(servers.http, "/v1/logs", &[JSON], body.to_string().as_bytes()).await.status, 200);
    for text in texts {
        assert!(servers.has(text), "{text:.40}");
    }
    assert!(
        servers.logs().iter().all(|entry| entry["jsonPayload"].to_string().contains("9223372036854775807"))
    );

    let huge = "h".repeat(17 << 20);
    let body = json_body(&["before", &huge, "deep", "after"]);
    let deep = format!("{}{{}}{}", "{\"arrayValue\":{\"values\":[".repeat(100_000), "]}}".repeat(100_000));
    let body = body.replace("{\"stringValue\":\"deep\"}", &deep);
    let reply = post(servers.http, "/v1/logs", &[JSON], body.as_bytes()).await;
    assert_eq!(reply.status, 200);
    let partial = &reply.json()["partialSuccess"];
    assert_eq!(partial["rejectedLogRecords"], "2");
    let message = partial["errorMessage"].as_str().unwrap().to_owned();
    assert!(message.contains("larger than") && message.contains("nested deeper"), "{message}");
    assert!(servers.has("before") && servers.has("after") && servers.logs().len() == 7);

    let mut request = opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest::default();
    let text = |text: &str| opentelemetry_proto::tonic::logs::v1::LogRecord {
        body: Some(opentelemetry_proto::tonic::common::v1::AnyValue {
            value: Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(
                text.to_owned(),
            )),
        }),
        ..Default::default()
    };
    request.resource_logs.push(Default::default());
    request.resource_logs[0].scope_logs.push(Default::default());
    request.resource_logs[0].scope_logs[0].log_records = vec![text("good"), text(&huge), text("good")];
    let reply = post(servers.http, "/v1/logs", &[PROTOBUF, GZIP], &gzip(&request.encode_to_vec())).await;
    let partial = ExportLogsServiceResponse::decode(reply.body.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_log_records, partial.error_message.is_empty()), (1, false));
    // True twins are two.
    assert_eq!(servers.logs().iter().filter(|entry| entry["jsonPayload"]["message"] == "good").count(), 2);
    assert_eq!(servers.ingest.counters().rejected, 3);
}

/// Scenario: no room in the topics, in the byte budget, or for another request; then room again.
/// Guarantees: 503 with Retry-After, never a silent drop; what was reserved comes back.
#[tokio::test(flavor = "multi_thread")]
async fn producers_are_told_when_to_come_again() {
    let full = Ingest::with_topics(config(), |_| Ok(Arc::new(common::Full) as _)).unwrap();
    let (http, _) = common::serve(&full).await;
    let reply = post(http, "/v1/logs", &[JSON], json_body(&["x"]).as_bytes()).await;
    assert_eq!((reply.status, reply.json()["code"].clone()), (503, json!(14)));
    assert!(reply.headers.contains("retry-after: 3"), "{}", reply.headers);

    let mut small = config();
    (small.body_bytes_max, small.decompressed_bytes_max, small.mapped_bytes_max) = (1000, 1000, 1000);
    (small.in_flight_bytes_max, small.requests_in_flight_max) = (5000, 1);
    small.body_read_timeout = Duration::from_secs(30);
    let servers = Servers::start(small).await;
    // A client that sends a part and waits holds the only place.
    let mut stalled = std::net::TcpStream::connect(servers.http).unwrap();
    write!(stalled, "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{")
        .unwrap();
    let mut status = 0;
    for _ in 0..1000 {
        let good = post(servers.http, "/v1/logs", &[JSON], b"{}").await;
        status = good.status;
        if status == 503 {
            assert!(good.headers.contains("retry-after: 1"));
            break;
        }
    }
    assert_eq!(status, 503);
    write!(stalled, "}}").unwrap();
    let reply = tokio::task::spawn_blocking(move || common::reply(&mut stalled)).await.unwrap();
    assert_eq!(reply.status, 200);
    // Messages that need more room than there is: said, not dropped.
    let long = json_body(&[&"x".repeat(900)]);
    assert_eq!(post(servers.http, "/v1/logs", &[JSON], long.as_bytes()).await.status, 413);
    assert_eq!(post(servers.http, "/v1/logs", &[JSON], json_body(&["y"]).as_bytes()).await.status, 200);
    assert_eq!(servers.ingest.counters().in_flight_bytes, 0);
}

/// Scenario: a client stops in the middle of its body; another goes away there.
/// Guarantees: 408 after the time limit; nothing stored, nothing held.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_are_let_go() {
    let mut config = config();
    config.body_read_timeout = Duration::from_millis(100);
    let servers = Servers::start(config).await;
    for shut in [false, true] {
        let mut stream = std::net::TcpStream::connect(servers.http).unwrap();
        write!(stream, "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{{").unwrap();
        if shut {
            drop(stream);
        } else {
            let reply = tokio::task::spawn_blocking(move || common::reply(&mut stream)).await.unwrap();
            assert_eq!((reply.status, reply.json()["code"].clone()), (408, json!(4)));
        }
    }
    assert_eq!(post(servers.http, "/v1/logs", &[JSON], json_body(&["x"]).as_bytes()).await.status, 200);
    assert_eq!((servers.logs().len(), servers.ingest.counters().accepted), (1, 1));
    let entry: &Value = &servers.logs()[0];
    assert_eq!(entry["timestamp"], "1970-01-01T00:00:00.000000005Z");
}
