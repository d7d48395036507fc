//! The recordings.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Map, Value, json};

use super::{mapped, mapped_with, messages, texts};
use crate::Signal;
use crate::filter::{Filter, Route};
use crate::json::otlp_to_wire;
use crate::wire::schema::{LOGS_REQUEST, METRICS_REQUEST};

fn recorded(folder: &str, part: &str) -> Vec<PathBuf> {
    let root = "../../testdata/gemini-cli/";
    let mut files: Vec<_> = std::fs::read_dir(Path::new(root).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(part))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} {part}");
    files
}

/// The entries that a request should become, from prost's structs.
fn expected(request: &ExportLogsServiceRequest) -> Vec<Value> {
    let mut entries = Vec::new();
    for resource_logs in &request.resource_logs {
        let resource = &resource_logs.resource.as_ref().unwrap().attributes;
        for record in resource_logs.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            let mut payload = Map::new();
            let body = KeyValue { key: "message".into(), value: record.body.clone(), ..KeyValue::default() };
            for pair in record.attributes.iter().chain(resource).chain([&body]) {
                if let Some(value) = pair.value.as_ref().and_then(plain) {
                    payload.insert(pair.key.clone(), value);
                }
            }
            let time = chrono::DateTime::from_timestamp_nanos(i64::try_from(record.time_unix_nano).unwrap());
            let mut entry = json!({
                "logName": "projects/demo-project/logs/gemini_cli",
                "resource": {"type": "global", "labels": {"project_id": "demo-project"}},
                "receiveTimestamp": "2026-11-22T14:31:40.123456Z",
                "timestamp": time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                "jsonPayload": payload,
            });
            if !record.trace_id.is_empty() {
                entry["trace"] =
                    json!(format!("projects/demo-project/traces/{}", hex::encode(&record.trace_id)));
                entry["spanId"] = json!(hex::encode(&record.span_id));
                if record.flags & 1 == 1 {
                    entry["traceSampled"] = json!(true);
                }
            }
            entries.push(entry);
        }
    }
    entries
}

fn plain(value: &AnyValue) -> Option<Value> {
    Some(match value.value.as_ref()? {
        Any::StringValue(text) => json!(text),
        Any::BoolValue(value) => json!(value),
        Any::IntValue(number) => json!(number),
        // Whole doubles are printed without a fraction.
        #[allow(clippy::cast_possible_truncation)]
        Any::DoubleValue(number) if number.fract() == 0.0 && number.abs() < 1e15 => json!(*number as i64),
        Any::DoubleValue(number) => json!(number),
        Any::ArrayValue(list) => {
            list.values.iter().map(|value| plain(value).unwrap_or(Value::Null)).collect()
        }
        other => panic!("not in the recordings: {other:?}"),
    })
}

/// Compares entries with what they should be, apart from insert ids, which are checked and returned.
fn compare(mut entries: Vec<Value>, expected: &[Value], file: &Path) -> Vec<String> {
    assert_eq!(entries.len(), expected.len(), "{}", file.display());
    let mut ids = Vec::new();
    for (entry, expected) in entries.iter_mut().zip(expected) {
        let id = entry.as_object_mut().unwrap().remove("insertId").unwrap();
        ids.push(id.as_str().unwrap().to_owned());
        // Through text, because serde_json's reading of doubles is off by one unit in the last place at
        // times, for both alike then.
        let expected: Value = serde_json::from_str(&expected.to_string()).unwrap();
        assert_eq!(*entry, expected, "{}", file.display());
    }
    assert_eq!(
        ids.iter().collect::<HashSet<_>>().len(),
        ids.len(),
        "insert ids differ in {}",
        file.display()
    );
    ids
}

fn count_events(entries: &[Value], counts: &mut BTreeMap<String, usize>) {
    for entry in entries {
        *counts.entry(entry["jsonPayload"]["event.name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
}

#[test]
fn every_recorded_grpc_log_body_becomes_its_entries() {
    let (mut counts, mut records, mut longest) = (BTreeMap::new(), 0, 0);
    for file in recorded("otlp_grpc", "_logs.pb") {
        let body = std::fs::read(&file).unwrap();
        let request = ExportLogsServiceRequest::decode(body.as_slice()).unwrap();
        let mapped = mapped(Signal::Logs, &body);
        assert_eq!((mapped.rejected(), mapped.repaired), (0, 0));
        let entries = messages(&mapped);
        compare(entries.clone(), &expected(&request), &file);
        count_events(&entries, &mut counts);
        records += entries.len();
        let texts = entries.iter().flat_map(|entry| entry["jsonPayload"].as_object().unwrap().values());
        longest = texts.filter_map(Value::as_str).map(str::len).max().unwrap().max(longest);
    }
    // The recording's own description: 873 records of 31 event names, one text of 700 KB among them.
    assert_eq!((records, counts.len()), (873, 31));
    assert!(longest > 500_000, "{longest}");
}

#[test]
fn every_recorded_json_log_body_becomes_the_same_as_its_protobuf_form() {
    for (folder, part) in [("otlp_http_json", "_logs.json"), ("otlp_http_json_noprompts_gzip", ".wire.bin")] {
        for file in recorded(folder, part) {
            let mut body = std::fs::read(&file).unwrap();
            if part == ".wire.bin" {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body.as_slice()), &mut plain)
                    .unwrap();
                body = plain;
            }
            let request = independent(&body);
            let wire = otlp_to_wire(&body, &LOGS_REQUEST, 1 << 30).unwrap();
            let from_json = mapped(Signal::Logs, &wire);
            let ids = compare(messages(&from_json), &expected(&request), &file);
            // The same request as prost writes it: same ids, same keys.
            let from_protobuf = mapped(Signal::Logs, &request.encode_to_vec());
            assert_eq!(texts(&from_protobuf), texts(&from_json));
            assert_eq!(from_protobuf.records, from_json.records);
            assert_eq!(ids.len(), from_json.records.len());
        }
    }
}

/// OTLP JSON read through serde_json's values.
fn independent(body: &[u8]) -> ExportLogsServiceRequest {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0);
    let id = |value: &Value| hex::decode(value.as_str().unwrap_or("")).unwrap();
    let pairs = |value: &Value| list(value, "attributes").iter().map(pair).collect::<Vec<_>>();
    let record = |record: &Value| LogRecord {
        time_unix_nano: number(&record["timeUnixNano"]),
        observed_time_unix_nano: number(&record["observedTimeUnixNano"]),
        severity_number: i32::try_from(number(&record["severityNumber"])).unwrap(),
        body: any(&record["body"]),
        attributes: pairs(record),
        flags: u32::try_from(number(&record["flags"])).unwrap(),
        trace_id: id(&record["traceId"]),
        span_id: id(&record["spanId"]),
        ..LogRecord::default()
    };
    let scope = |scope: &Value| ScopeLogs {
        scope: Some(InstrumentationScope {
            name: scope["scope"]["name"].as_str().unwrap().to_owned(),
            ..InstrumentationScope::default()
        }),
        log_records: list(scope, "logRecords").iter().map(record).collect(),
        ..ScopeLogs::default()
    };
    let resource = |logs: &Value| ResourceLogs {
        resource: Some(Resource { attributes: pairs(&logs["resource"]), ..Resource::default() }),
        scope_logs: list(logs, "scopeLogs").iter().map(scope).collect(),
        ..ResourceLogs::default()
    };
    let body: Value = serde_json::from_slice(body).unwrap();
    ExportLogsServiceRequest { resource_logs: list(&body, "resourceLogs").iter().map(resource).collect() }
}

fn pair(pair: &Value) -> KeyValue {
    KeyValue {
        key: pair["key"].as_str().unwrap().to_owned(),
        value: any(&pair["value"]),
        ..KeyValue::default()
    }
}

fn any(value: &Value) -> Option<AnyValue> {
    let value = value.as_object()?.iter().next().map(|(kind, value)| match kind.as_str() {
        "stringValue" => Any::StringValue(value.as_str().unwrap().to_owned()),
        "boolValue" => Any::BoolValue(value.as_bool().unwrap()),
        "intValue" => Any::IntValue(value.as_i64().unwrap()),
        "doubleValue" => Any::DoubleValue(value.as_f64().unwrap()),
        "arrayValue" => {
            let values = value["values"].as_array().unwrap();
            Any::ArrayValue(ArrayValue { values: values.iter().map(|item| any(item).unwrap()).collect() })
        }
        other => panic!("not in the recordings: {other}"),
    });
    Some(AnyValue { value })
}

#[test]
fn entries_have_the_shape_of_the_clients_own_exporter() {
    let root = "../../testdata/gemini-cli/cloud_logging_entries.jsonl";
    let shape = |entry: &Value| {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        // Traces are put in by their client library at random, the server adds the receive time, user
        // and settings differ between the sessions that were recorded.
        let varies = ["trace", "spanId", "traceSampled", "receiveTimestamp"];
        let top: Vec<_> = keys(entry).into_iter().filter(|key| !varies.contains(&key.as_str())).collect();
        (top, keys(&entry["jsonPayload"]))
    };
    let mut theirs: BTreeMap<String, HashSet<_>> = BTreeMap::new();
    for line in std::fs::read_to_string(root).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        if let Some(event) = entry["jsonPayload"]["event.name"].as_str() {
            theirs.entry(event.to_owned()).or_default().insert(shape(&entry));
        }
    }
    let mut same = 0;
    for file in recorded("otlp_grpc", "_logs.pb") {
        for entry in messages(&mapped(Signal::Logs, &std::fs::read(&file).unwrap())) {
            let event = entry["jsonPayload"]["event.name"].as_str().unwrap();
            same += usize::from(theirs.get(event).is_some_and(|shapes| shapes.contains(&shape(&entry))));
        }
    }
    assert!(same > 400, "{same} entries of 873 have a key for key equal counterpart");
}

#[test]
fn every_point_and_span_becomes_one_message() {
    let mut points = 0;
    for file in recorded("otlp_grpc", "_metrics.pb") {
        let body = std::fs::read(&file).unwrap();
        let request = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
        let metrics: Vec<_> = request
            .resource_metrics
            .iter()
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| &scope.metrics)
            .collect();
        let mut expected = Vec::new();
        for metric in &metrics {
            match metric.data.as_ref().unwrap() {
                Data::Sum(sum) => expected.extend(sum.data_points.iter().map(|point| {
                    (
                        metric.name.clone(),
                        "sum",
                        point.time_unix_nano.to_string(),
                        valued(&point.attributes),
                        Value::Null,
                    )
                })),
                Data::Histogram(histogram) => expected.extend(histogram.data_points.iter().map(|point| {
                    let counts = point.bucket_counts.iter().map(u64::to_string).collect();
                    (
                        metric.name.clone(),
                        "histogram",
                        point.time_unix_nano.to_string(),
                        valued(&point.attributes),
                        counts,
                    )
                })),
                other => panic!("not in the recordings: {other:?}"),
            }
        }
        let messages = messages(&mapped(Signal::Metrics, &body));
        assert_eq!(messages.len(), expected.len(), "{}", file.display());
        for (message, (name, kind, time, attributes, counts)) in messages.iter().zip(expected) {
            assert_eq!(
                (&message["metric"]["name"], &message["metric"]["type"]),
                (&json!(name), &json!(kind))
            );
            assert_eq!(
                (&message["point"]["timeUnixNano"], &message["point"]["bucketCounts"]),
                (&json!(time), &counts)
            );
            assert_eq!(message["point"]["attributes"].as_object().unwrap().len(), attributes);
            assert_eq!(message["resource"]["attributes"]["service.name"], "gemini-cli");
            assert_eq!(message["receiveTimestamp"], "2026-11-22T14:31:40.123456Z");
        }
        points += messages.len();
    }
    assert!(points > 1000, "{points}");
    for file in recorded("otlp_grpc", "_traces.pb") {
        let body = std::fs::read(&file).unwrap();
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let spans = request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| &scope.spans);
        let expected: Vec<_> =
            spans.map(|span| (json!(span.name), json!(hex::encode(&span.span_id)))).collect();
        let messages = messages(&mapped(Signal::Traces, &body));
        let actual: Vec<_> = messages
            .iter()
            .map(|message| (message["span"]["name"].clone(), message["span"]["spanId"].clone()))
            .collect();
        assert_eq!(actual, expected);
    }
    for file in recorded("otlp_http_json", "_metrics.json") {
        let wire = otlp_to_wire(&std::fs::read(&file).unwrap(), &METRICS_REQUEST, 1 << 30).unwrap();
        // An independent decoder takes what was made of the JSON, to the same messages.
        let request = ExportMetricsServiceRequest::decode(wire.as_slice()).unwrap();
        let (ours, theirs) =
            (mapped(Signal::Metrics, &wire), mapped(Signal::Metrics, &request.encode_to_vec()));
        assert_eq!((texts(&ours), &ours.records), (texts(&theirs), &theirs.records));
    }
}

/// How many of the attributes have a value.
fn valued(attributes: &[KeyValue]) -> usize {
    let valued =
        attributes.iter().filter(|pair| pair.value.as_ref().is_some_and(|value| value.value.is_some()));
    valued.map(|pair| &pair.key).collect::<HashSet<_>>().len()
}

#[test]
fn filters_see_the_entry_as_it_is_written() {
    use crate::filter::JsonEntry;
    let filters = [
        "jsonPayload.\"event.name\"=\"gemini_cli.api_response\"",
        "jsonPayload.\"event.name\":tool AND NOT jsonPayload.success=true",
        "jsonPayload.finish_reasons=stop OR jsonPayload.total_token_count>5000",
        "severity=DEFAULT trace:* logName:gemini_cli resource.type=global jsonPayload.\"process.command_args\":scenario",
        "jsonPayload.message=~\"^API (request|response)\" timestamp>\"2026-11-22T14:26:00Z\"",
        "jsonPayload.\"service.name\"!=\"gemini-cli\" OR jsonPayload.\"session.id\":\"-4a\" OR traceSampled=true",
    ];
    let routes: Vec<_> = filters
        .iter()
        .map(|text| Route { name: "r".into(), topic: "t".into(), filter: Some(Filter::parse(text).unwrap()) })
        .collect();
    let mut seen = (0, u64::MAX);
    for file in recorded("otlp_grpc", "_logs.pb") {
        let mapped = mapped_with(Signal::Logs, &std::fs::read(&file).unwrap(), &routes);
        for (text, record) in texts(&mapped).into_iter().zip(&mapped.records) {
            assert_eq!(record.routes, crate::filter::routes_of(&routes, &JsonEntry(text)), "{text:.300}");
            seen = (seen.0 | record.routes, seen.1 & record.routes);
        }
    }
    // Each filter took some entry and left some.
    assert_eq!(seen, (0b11_1111, 0));
}
