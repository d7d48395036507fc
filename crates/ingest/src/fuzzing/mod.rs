//! What holds of the parsers for any input whatever. Each function takes an input and panics where
//! something does not hold. The targets in `fuzz/` call them with what libFuzzer makes up, the tests here
//! with a few hundred inputs that are the same on every run.
#![allow(clippy::panic)]

#[cfg(test)]
#[path = "../../../../fuzz/mutate.rs"]
mod mutate;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::OnceLock;

use millrace_model::limits::MESSAGE_BYTES_MAX;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::Signal;
use crate::filter::{Filter, JsonEntry, Route, routes_of};
use crate::json::{JsonError, otlp_to_wire};
use crate::map::{Identity, MapContext, MapError, Mapped, map};
use crate::wire::schema::{LOGS_REQUEST, METRICS_REQUEST, Message, TRACES_REQUEST};

/// Small enough to be reached.
const MAPPED_BYTES_MAX: usize = 4 * 1024 * 1024;
const WIRE_BYTES_MAX: usize = 1024 * 1024;

/// One filter of each kind of field, so that what is seen of a record and of its entry can be compared.
const FILTERS: [&str; 9] = [
    "severity >= WARNING",
    "timestamp < \"2026-01-01T00:00:00Z\"",
    "trace:* OR spanId:*",
    "traceSampled = true",
    "logName : \"gemini\"",
    "jsonPayload.message : \"a\"",
    "jsonPayload.\"event.name\" =~ \"^gemini_cli\"",
    "jsonPayload.a.b = 1 OR jsonPayload.duration_ms > 100",
    "resource.labels.project_id = \"p\" AND NOT insertId = \"x\"",
];

/// An OTLP logs request in protobuf form: what becomes of it is JSON within the limits, is the same each
/// time, and goes where its entry says.
pub fn logs_protobuf(data: &[u8]) {
    let Ok(mapped) = mapped(Signal::Logs, data) else { return };
    for record in &mapped.records {
        let text = text_of(&mapped, record.data.clone());
        assert_eq!(record.routes, routes_of(routes(), &JsonEntry(text)), "{text}");
        let entry: Map<String, Value> = object(text);
        for field in ["logName", "resource", "receiveTimestamp", "timestamp", "insertId", "jsonPayload"] {
            assert!(entry.contains_key(field), "no {field}: {text}");
        }
    }
}

/// An OTLP logs request in JSON form: it becomes a protobuf form that can be mapped, or is refused.
pub fn logs_json(data: &[u8]) {
    json(Signal::Logs, &LOGS_REQUEST, data);
}

/// The first byte says whether it is of metrics or traces; then a request in either form.
pub fn signals(data: &[u8]) {
    let Some((kind, request)) = data.split_first() else { return };
    let (signal, schema) = match kind % 2 {
        0 => (Signal::Metrics, &METRICS_REQUEST),
        _ => (Signal::Traces, &TRACES_REQUEST),
    };
    let _ = mapped(signal, request);
    json(signal, schema, request);
}

/// A sink's filter: it is one or it says where it is none, each time the same.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (once, twice) = (Filter::parse(text), Filter::parse(text));
    assert_eq!(once.as_ref().err(), twice.as_ref().err());
    match once {
        Ok(filter) => {
            assert_eq!(filter.text(), text);
            for entry in
                ["{}", r#"{"severity":"ERROR","jsonPayload":{"a":{"b":["x",1]}},"labels":{"a":"b"}}"#]
            {
                filter.matches(&JsonEntry(entry));
            }
        }
        Err(error) => {
            assert!((1..=text.lines().count() + 1).contains(&error.line), "{error}");
            assert!((1..=text.chars().count() + 1).contains(&error.column), "{error}");
        }
    }
}

fn json(signal: Signal, schema: &'static Message, data: &[u8]) {
    let wire = match otlp_to_wire(data, schema, WIRE_BYTES_MAX) {
        Ok(wire) => wire,
        Err(JsonError::Utf8(at)) => return assert!(std::str::from_utf8(&data[..at]).is_ok()),
        Err(_) => return,
    };
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    assert!(serde_json::from_slice::<IgnoredAny>(text).is_ok(), "this was taken for JSON");
    if let Err(MapError::Malformed(error)) = mapped(signal, &wire) {
        panic!("what was written cannot be read: {error}");
    }
    if signal == Signal::Logs {
        logs_protobuf(&wire);
    }
}

fn mapped(signal: Signal, request: &[u8]) -> Result<Mapped, MapError> {
    let identity = Identity::new(&[7; 32]);
    let context = MapContext {
        project: "p",
        routes: routes(),
        identity: &identity,
        mapped_bytes_max: MAPPED_BYTES_MAX,
        received_nanos: 1_795_357_900_123_456_000,
    };
    let mapped = map(signal, request, &context);
    let again = map(signal, request, &context);
    match (&mapped, &again) {
        (Ok(one), Ok(other)) => assert!(one.buffer == other.buffer && one.records == other.records),
        (one, other) => assert_eq!(one.as_ref().err(), other.as_ref().err()),
    }
    if let Ok(mapped) = &mapped {
        check(mapped);
    }
    mapped
}

/// Messages lie one behind the other, are JSON objects within the limits, and each has a key of its own.
fn check(mapped: &Mapped) {
    assert!(mapped.buffer.len() <= MAPPED_BYTES_MAX);
    let (mut end, mut keys) = (0, HashSet::new());
    for record in &mapped.records {
        assert!(record.data.start == end && record.data.len() <= MESSAGE_BYTES_MAX);
        end = record.data.end;
        object(text_of(mapped, record.data.clone()));
        assert!(keys.insert(record.dedup_key.0), "two messages have the same key");
    }
    assert_eq!(end, mapped.buffer.len());
}

fn text_of(mapped: &Mapped, range: std::ops::Range<usize>) -> &str {
    match std::str::from_utf8(&mapped.buffer[range]) {
        Ok(text) => text,
        Err(error) => panic!("a message is not UTF-8: {error}"),
    }
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("a message is not JSON: {error}: {text}"))
}

fn routes() -> &'static [Route] {
    static ROUTES: OnceLock<Vec<Route>> = OnceLock::new();
    ROUTES.get_or_init(|| {
        let route = |text: &&str| Route {
            name: (*text).to_owned(),
            topic: "t".to_owned(),
            filter: Some(Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))),
        };
        FILTERS.iter().map(route).collect()
    })
}
