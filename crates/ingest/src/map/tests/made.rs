//! What the recordings do not hold.

use std::collections::HashSet;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::json;

use proptest::prelude::*;

use super::{context, mapped, messages};
use crate::Signal;
use crate::map::{Identity, MapContext, map};

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Any::StringValue(text.to_owned())) })
}

fn attribute(key: &str, value: Option<Any>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }), ..KeyValue::default() }
}

fn request(resource: Vec<KeyValue>, records: Vec<LogRecord>) -> Vec<u8> {
    let scope = InstrumentationScope { name: "a scope/1".into(), ..InstrumentationScope::default() };
    let scope_logs = ScopeLogs { scope: Some(scope), log_records: records, ..ScopeLogs::default() };
    let resource = Resource { attributes: resource, ..Resource::default() };
    let logs =
        ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

#[test]
fn every_value_has_a_form() {
    let list = |values| Some(Any::ArrayValue(ArrayValue { values }));
    let object = |values| Some(Any::KvlistValue(KeyValueList { values }));
    let record = LogRecord {
        observed_time_unix_nano: 1_500_000_000,
        severity_number: 17,
        event_name: "an.event".into(),
        body: Some(AnyValue {
            value: object(vec![attribute("a", Some(Any::IntValue(1))), attribute("e", None)]),
        }),
        attributes: vec![
            attribute("big", Some(Any::IntValue(9_007_199_254_740_993))),
            attribute("nan", Some(Any::DoubleValue(f64::NAN))),
            attribute("bytes", Some(Any::BytesValue(vec![0, 255]))),
            attribute("empty", None),
            attribute("list", list(vec![AnyValue { value: None }, text("x").unwrap()])),
            attribute("twice", Some(Any::BoolValue(true))),
            attribute("twice", Some(Any::BoolValue(false))),
            attribute("message", Some(Any::IntValue(5))),
            attribute("clash", Some(Any::IntValue(6))),
            attribute("nul\0\"", Some(Any::StringValue("\u{1}é😀\u{2028}".into()))),
        ],
        ..LogRecord::default()
    };
    let resource =
        vec![attribute("clash", Some(Any::IntValue(7))), attribute("message", Some(Any::IntValue(8)))];
    let bodiless = LogRecord { body: None, attributes: Vec::new(), ..LogRecord::default() };
    let entries = messages(&mapped(Signal::Logs, &request(resource, vec![record, bodiless])));
    assert_eq!(
        entries[0]["jsonPayload"],
        json!({"big": 9_007_199_254_740_993_i64, "nan": "NaN", "bytes": "AP8=", "list": [null, "x"], "twice": false,
            "clash": 7, "nul\0\"": "\u{1}é😀\u{2028}", "event.name": "an.event", "message": {"a": 1}})
    );
    assert_eq!(
        (&entries[0]["severity"], &entries[0]["timestamp"]),
        (&json!("ERROR"), &json!("1970-01-01T00:00:01.500Z"))
    );
    assert_eq!(entries[0]["logName"], "projects/demo-project/logs/a_scope_1");
    assert_eq!(entries[1]["jsonPayload"], json!({"clash": 7, "message": 8}));
    assert_eq!(entries[1]["timestamp"], entries[1]["receiveTimestamp"]);
    assert!(entries[0].get("trace").is_none());
}

#[test]
fn twins_live_and_retries_are_known() {
    let record = |text_: &str| LogRecord { body: text(text_), ..LogRecord::default() };
    let one = mapped(Signal::Logs, &request(Vec::new(), vec![record("a"), record("b"), record("a")]));
    let again = mapped(Signal::Logs, &request(Vec::new(), vec![record("a"), record("b"), record("a")]));
    assert_eq!(one.records, again.records);
    let keys: HashSet<_> = one.records.iter().map(|record| record.dedup_key).collect();
    assert_eq!(keys.len(), 3);
    let ids: Vec<_> =
        messages(&one).iter().map(|entry| entry["insertId"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids[0].len(), ids[2].clone()), (32, format!("{}-1", ids[0])));
    // Another secret, another id: nobody can confirm a guess.
    let identity = Identity::new(&[8; 32]);
    let other = map(Signal::Logs, &request(Vec::new(), vec![record("a")]), &context(&identity)).unwrap();
    assert!(!keys.contains(&other.records[0].dedup_key));
    assert_ne!(messages(&other)[0]["insertId"], ids[0]);
}

/// Every part of a record that is not the same makes another record.
#[test]
fn any_difference_makes_another_record() {
    let base = LogRecord {
        body: text("a"),
        attributes: vec![attribute("k", Some(Any::IntValue(1)))],
        ..LogRecord::default()
    };
    let variants = [
        base.clone(),
        LogRecord { time_unix_nano: 1, ..base.clone() },
        LogRecord { observed_time_unix_nano: 1, ..base.clone() },
        LogRecord { severity_number: 1, ..base.clone() },
        LogRecord { severity_text: "x".into(), ..base.clone() },
        LogRecord { trace_id: vec![1; 16], ..base.clone() },
        LogRecord { span_id: vec![1; 8], ..base.clone() },
        LogRecord { body: None, ..base.clone() },
        LogRecord { attributes: vec![attribute("k", Some(Any::DoubleValue(1.0)))], ..base.clone() },
        LogRecord { attributes: vec![attribute("k", Some(Any::IntValue(1))), attribute("e", None)], ..base },
    ];
    let keys: HashSet<_> = variants
        .into_iter()
        .flat_map(|record| {
            [Vec::new(), vec![attribute("r", None)]].map(|resource| request(resource, vec![record.clone()]))
        })
        .map(|request| mapped(Signal::Logs, &request).records[0].dedup_key)
        .collect();
    assert_eq!(keys.len(), 20);
}

#[test]
fn what_cannot_be_taken_leaves_its_neighbours_alone() {
    let mut deep = AnyValue { value: None };
    for _ in 0..30 {
        deep = AnyValue { value: Some(Any::ArrayValue(ArrayValue { values: vec![deep] })) };
    }
    let fine = LogRecord { body: Some(deep.clone()), ..LogRecord::default() };
    for _ in 0..40 {
        deep = AnyValue { value: Some(Any::ArrayValue(ArrayValue { values: vec![deep] })) };
    }
    let deep = LogRecord { body: Some(deep), ..LogRecord::default() };
    let large = LogRecord { body: text(&"\u{1}".repeat(3 << 20)), ..LogRecord::default() };
    let huge = LogRecord { body: text(&"x".repeat(17 << 20)), ..LogRecord::default() };
    let mapped = mapped(Signal::Logs, &request(Vec::new(), vec![fine.clone(), deep, large, huge, fine]));
    assert_eq!((mapped.records.len(), mapped.too_deep, mapped.too_large), (2, 1, 2));
    assert_eq!(messages(&mapped).len(), 2);
}

#[test]
fn bad_utf8_is_replaced_and_counted() {
    // One record whose body is the three bytes of a surrogate, as JavaScript clients encode a cut emoji.
    let bad = b"\x0a\x0e\x12\x0c\x12\x0a\x2a\x08\x0a\x06ab\xed\xa0\xbdc";
    let request = {
        let mut request = bad.to_vec();
        request[1] = 14;
        request
    };
    let mapped = mapped(Signal::Logs, &request);
    assert_eq!(mapped.repaired, 1);
    assert_eq!(messages(&mapped)[0]["jsonPayload"]["message"], "ab\u{fffd}\u{fffd}\u{fffd}c");
}

fn recorded_body(name: &str) -> Vec<u8> {
    let root = "../../testdata/gemini-cli/";
    std::fs::read(std::path::Path::new(root).join(name)).unwrap()
}

/// Maps what may be malformed; whatever comes of it must be JSON.
fn map_damaged(signal: Signal, request: &[u8]) {
    let identity = Identity::new(&[7; 32]);
    let context = MapContext { mapped_bytes_max: 1 << 24, ..context(&identity) };
    if let Ok(mapped) = map(signal, request, &context) {
        messages(&mapped);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Scenario: recorded requests with bytes changed, cut or repeated at random.
    /// Guarantees: an error or messages that are JSON; never a panic.
    #[test]
    fn damaged_requests_give_errors_or_json(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for (signal, name) in [
            (Signal::Logs, "otlp_grpc/0073_grpc_logs.pb"),
            (Signal::Traces, "otlp_grpc/0058_grpc_traces.pb"),
            (Signal::Metrics, "otlp_grpc/0045_grpc_metrics.pb"),
        ] {
            let mut body = recorded_body(name);
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            map_damaged(signal, &body);
            body.truncate(cut.index(body.len()));
            map_damaged(signal, &body);
        }
        let mut text = recorded_body("otlp_http_json/0011_http_logs.json");
        for (at, byte) in &changes {
            let at = at.index(text.len());
            text[at] = byte & 0x7f;
        }
        if let Ok(wire) = crate::json::otlp_to_wire(&text, &crate::wire::schema::LOGS_REQUEST, 1 << 24) {
            map_damaged(Signal::Logs, &wire);
        }
    }
}
