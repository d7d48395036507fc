//! Bad input against the real binary: a clear refusal or a dead letter, never a crash, a halt, or harm
//! to neighbours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use std::io::{Read as _, Write as _};

use common::{Millrace, logs_body};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Zeros that inflate to `megabytes`, made without holding them.
fn bomb(megabytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![b' '; 1 << 20];
    (0..megabytes).for_each(|_| encoder.write_all(&block).unwrap());
    encoder.finish().unwrap()
}

/// The server still takes and folds a good record.
fn still_works(millrace: &Millrace, text: &str) {
    millrace.post_logs(&logs_body(&[(text, json!({ "event.name": "probe" }))]));
    millrace.settle();
    let found = millrace.number(&format!(
        "SELECT COUNT(*) FROM telemetry.gemini_raw_logs WHERE JSON_VALUE(jsonPayload_json, '$.message') = '{text}'"
    ));
    assert_eq!(found, 1, "{text}");
}

/// Scenario: requests that are no OTLP requests.
/// Guarantees: each gets its 4xx; nothing is stored; the next good request works.
#[test]
fn bad_requests_get_their_status() {
    let millrace = Millrace::started();
    let good = logs_body(&[("never stored", json!({ "event.name": "x" }))]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_value = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}{{}}{}}}]}}]}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(100_000),
        "]}}".repeat(100_000)
    );
    let truncated = &gzip(&good)[..20];
    let bomb = bomb(100);
    let with_integer = |text: &str| {
        format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"attributes":[{{"key":"k","value":{{"intValue":"{text}"}}}}]}}]}}]}}]}}"#
        )
    };
    let no_integer = with_integer("12x");
    let no_integer = no_integer.as_bytes();
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);
    let cases: &[Case<'_>] = &[
        ("not JSON", "/v1/logs", &[JSON], b"{nope", 400),
        ("an array", "/v1/logs", &[JSON], b"[]", 400),
        ("a number", "/v1/logs", &[JSON], b"7", 400),
        ("deep JSON", "/v1/logs", &[JSON], deep.as_bytes(), 400),
        ("deep value", "/v1/logs", &[JSON], deep_value.as_bytes(), 400),
        ("invalid UTF-8", "/v1/logs", &[JSON], b"{\"resourceLogs\":\"\xff\"}", 400),
        ("an integer that is none", "/v1/logs", &[JSON], no_integer, 400),
        ("not protobuf", "/v1/logs", &[PROTOBUF], b"\xff\xff\xff\xff", 400),
        ("truncated gzip", "/v1/logs", &[JSON, GZIP], truncated, 400),
        ("gzip that is none", "/v1/logs", &[JSON, GZIP], b"plain", 400),
        ("a gzip bomb", "/v1/logs", &[JSON, GZIP], &bomb, 413),
        ("wrong content type", "/v1/logs", &[("content-type", "text/plain")], &good, 415),
        ("wrong path", "/v1/nope", &[JSON], &good, 404),
        ("unknown encoding", "/v1/logs", &[JSON, ("content-encoding", "br")], &good, 415),
        ("a foreign page", "/v1/logs", &[JSON, ("origin", "https://evil.example")], &good, 403),
        ("a foreign host", "/v1/logs", &[JSON, ("host", "evil.example")], &good, 403),
    ];
    for (what, path, headers, body, status) in cases {
        let (answered, _, text) = millrace.post(4318, path, headers, body);
        assert_eq!(answered, *status, "{what}: {}", String::from_utf8_lossy(&text));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answer = agent.get(format!("http://127.0.0.1:{}/v1/logs", millrace.port(4318))).call().unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(millrace.status()["topics"][0]["end"], 0, "something was stored");
    // Beyond 2^63 is what JavaScript makes of large numbers: it is kept, as the number that it is.
    millrace.post_logs(with_integer("99999999999999999999").as_bytes());
    millrace.settle();
    let kept =
        millrace.query("SELECT JSON_VALUE(jsonPayload_json, '$.k') AS k FROM telemetry.gemini_raw_logs");
    assert_eq!(kept[0]["k"].as_str().unwrap().parse::<f64>(), Ok(1e20));
    still_works(&millrace, "after bad requests");
}

/// Scenario: an empty body and a client that sends half a request and stalls.
/// Guarantees: empty is an empty batch or a 400, never a failure; the stalled client holds up nobody.
#[test]
fn a_stalled_client_harms_nobody() {
    let millrace = Millrace::started();
    let (status, _, _) = millrace.post(4318, "/v1/logs", &[PROTOBUF], b"");
    assert_eq!(status, 200, "an empty protobuf message is an empty request");
    assert_eq!(millrace.post(4318, "/v1/logs", &[JSON], b"").0, 400);
    let mut stalled = std::net::TcpStream::connect(("127.0.0.1", millrace.port(4318))).unwrap();
    stalled
        .write_all(b"POST /v1/logs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")
        .unwrap();
    let mut plain = std::net::TcpStream::connect(("127.0.0.1", millrace.port(4317))).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    plain.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[..5], b"HTTP/", "plain HTTP on the gRPC port is answered, not hung");
    still_works(&millrace, "beside a stalled client");
}

/// Scenario: records with 12 MB of text, duplicate keys, NUL, timestamps out of range, 10,000 days.
/// Guarantees: each is a row or a dead letter with its bytes; few files; neighbours are unharmed.
#[test]
fn strange_records_become_rows_or_dead_letters() {
    let millrace = Millrace::started();
    let day = |n: u64| (1_763_821_837 + n * 86_400) * 1_000_000_000;
    let records: Vec<Value> = (0..10_000)
        .map(|n| json!({ "timeUnixNano": day(n).to_string(), "body": { "stringValue": format!("day {n}") } }))
        .collect();
    let body = |records: Vec<Value>| {
        serde_json::to_vec(&json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] }))
            .unwrap()
    };
    millrace.post_logs(&body(records));
    let big = "x".repeat(12 << 20);
    millrace.post_logs(&body(vec![
        json!({ "timeUnixNano": "18446744073709551615", "body": { "stringValue": "the end of time" } }),
        json!({ "timeUnixNano": "1", "body": { "stringValue": "1970" } }),
        json!({ "timeUnixNano": day(0).to_string(), "body": { "stringValue": big } }),
        json!({ "timeUnixNano": day(0).to_string(), "body": { "stringValue": "nul \u{0}" } }),
        json!({ "timeUnixNano": day(0).to_string(), "body": { "stringValue": "twice" },
                "attributes": [{ "key": "k", "value": { "stringValue": "first" } },
                               { "key": "k", "value": { "stringValue": "second" } }] }),
    ]));
    millrace.settle();
    let report = millrace.audit();
    let totals = &report["pipelines"][0]["totals"];
    assert_eq!(totals["accepted"], 10_005);
    assert_eq!(
        totals["written"].as_u64().unwrap() + totals["dead_lettered"].as_u64().unwrap(),
        10_005,
        "{totals}"
    );
    assert!(totals["written"].as_u64().unwrap() >= 10_003, "{totals}");
    let table = &millrace.status()["tables"][0];
    assert!(table["files"].as_u64().unwrap() < 200, "{table}");
    still_works(&millrace, "after strange records");
}

const HOSTILE: &str = r#"
function transform(inJson) {
  var src = JSON.parse(inJson), what = src.jsonPayload.message;
  if (what === 'loop') { while (true) {} }
  if (what === 'recurse') { return transform(inJson); }
  if (what === 'allocate') { var a = []; while (true) { a.push(new Array(1000000).fill(a.length)); } }
  if (what === 'native') { return String(new Array(4294967295).indexOf(1)); }
  if (what === 'throw') {
    throw new Error('as asked');
  }
  if (what === 'number') { return 7; }
  if (what === 'text') { return 'not json'; }
  if (what === 'array') { return '[1]'; }
  if (what === 'unknown') { return JSON.stringify({ nope: 1 }); }
  if (what === 'value') { return JSON.stringify({ timestamp: 'yesterday' }); }
  if (what === 'null') { return null; }
  if (what === 'undefined') { return; }
  if (what === 'empty') { return ''; }
  return JSON.stringify({ timestamp: src.timestamp, jsonPayload_json: JSON.stringify(src.jsonPayload) });
}
"#;

const CONFIG: &str = r#"
[[pipeline]]
name = "hostile"
topic = "gemini-telemetry-logs"
table = "telemetry.gemini_raw_logs"
partition = "timestamp"
udf = { path = "hostile.js", function = "transform", time_limit_ms = 1000 }
"#;

/// Scenario: a script that loops, recurses, allocates, calls a native that does not return, throws and
/// returns everything wrong, each between good messages in one request.
/// Guarantees: every bad one is a dead letter of its class with the original bytes and the script's
/// line, the filtered ones are counted, every good one is a row, the audit balances.
#[test]
fn hostile_scripts_harm_only_their_message() {
    let mut millrace = Millrace::configured(CONFIG);
    millrace.write("hostile.js", HOSTILE.as_bytes());
    millrace.start();
    let classes = [
        ("loop", "udf_timeout"),
        ("recurse", "udf_stack"),
        ("allocate", "udf_memory"),
        ("native", "udf_timeout"),
        ("throw", "udf_threw"),
        ("number", "udf_result_type"),
        ("text", "invalid_json"),
        ("array", "invalid_json"),
        ("unknown", "unknown_field"),
        ("value", "invalid_value"),
    ];
    let mut names: Vec<String> = Vec::new();
    for (n, what) in classes.iter().map(|(what, _)| *what).chain(["null", "undefined", "empty"]).enumerate() {
        names.extend([format!("good {n}"), what.to_owned()]);
    }
    let records: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), json!({}))).collect();
    millrace.post_logs(&logs_body(&records));
    millrace.settle();

    let totals = millrace.audit()["pipelines"][0]["totals"].clone();
    assert_eq!(
        (&totals["written"], &totals["filtered"], &totals["dead_lettered"]),
        (&json!(13), &json!(3), &json!(10))
    );
    let listed: Vec<Value> =
        serde_json::from_str(&millrace.ok(&["deadletter", "list", "--each", "--format", "json"])).unwrap();
    assert_eq!(listed.len(), classes.len());
    for letter in &listed {
        let id = letter["message_id"].as_str().unwrap();
        let shown: Vec<Value> =
            serde_json::from_str(&millrace.ok(&["deadletter", "show", id, "--format", "json"])).unwrap();
        let payload: Value = serde_json::from_str(shown[0]["payloadString"].as_str().unwrap()).unwrap();
        let what = payload["jsonPayload"]["message"].as_str().unwrap();
        let class = classes.iter().find(|(name, _)| *name == what).unwrap().1;
        assert_eq!(shown[0]["error_class"], class, "{what}: {}", shown[0]["errorMessage"]);
        assert_eq!(shown[0]["udf_hash"].as_str().unwrap().len(), 32);
        if what == "throw" {
            let stack = shown[0]["stacktrace"].as_str().unwrap();
            assert!(stack.contains("hostile.js:9"), "{stack}");
        }
    }
    let error = millrace.run(&["deadletter", "show", "0' OR '1'='1"]);
    assert_eq!(error.status.code(), Some(1));
    millrace.stop();
}

/// Scenario: configurations and command lines with mistakes in them.
/// Guarantees: `check` names what is wrong and the exit code says so; wrong use is 2.
#[test]
fn mistakes_in_configuration_are_named() {
    for (toml, message) in [
        ("[server]\nbind = '0.0.0.0'", "without credentials"),
        (
            "[[sink]]\nname = 's'\ntopic = 'gemini-telemetry-logs'\nfilter = 'severity >>> 1'",
            "filter of sink s",
        ),
        ("[[sink]]\nname = 's'\ntopic = 'x'", "topic name \"x\" is not valid"),
        (
            "[[pipeline]]\nname = 'pipe'\ntopic = 'gemini-telemetry-logs'\ntable = 'nodataset'",
            "dataset.table",
        ),
        (
            "[[pipeline]]\nname = 'pipe'\ntopic = 'gemini-telemetry-logs'\ntable = 'd.t'\nudf = { path = 'no.js' }",
            "udf.function",
        ),
        (
            "[[pipeline]]\nname = 'pipe'\ntopic = 'gemini-telemetry-logs'\ntable = 'd.t'\nudf = { path = 'no.js', function = 'f' }",
            "no.js",
        ),
        ("[[pipeline]]\nname = 'pipe'\ntopic = 'nowhere-topic'\ntable = 'd.t'", "nothing writes to topic"),
        ("[lgo]", "did you mean `log`"),
    ] {
        let millrace = Millrace::configured(toml);
        let output = millrace.run(&["check"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{toml}: {error}");
        assert!(error.contains(message), "{toml}: {error}");
    }
    let millrace = Millrace::new();
    assert!(millrace.ok(&["check"]).contains("the configuration is good"));
    assert_eq!(millrace.run(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(millrace.run(&["query", "SELECT 1"]).status.code(), Some(1), "no data directory yet");
}

/// Scenario: a second server on the same data directory, and on the same ports.
/// Guarantees: it refuses and names the first; the first goes on.
#[test]
fn one_process_writes() {
    let millrace = Millrace::started();
    let output = millrace.run(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains(&format!("process {}", millrace.pid())) || error.contains("cannot listen"),
        "{error}"
    );
    still_works(&millrace, "beside a refused second server");
}
