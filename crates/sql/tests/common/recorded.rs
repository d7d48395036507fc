//! The recorded telemetry as rows of `gemini_raw_logs`, made here from the raw files and not by the
//! program's own ingest, UDF and row code.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value};

/// The time of a row that has none.
pub const NO_TIME: i64 = i64::MIN;

/// One log record as Cloud Logging has it. Where an object is expected, a string stands for JSON text as
/// it is, broken or not.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub timestamp_micros: i64,
    pub insert_id: String,
    pub resource: Value,
    pub labels: Value,
    pub payload: Value,
}

impl Entry {
    /// A payload's field that is a string.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.payload.get(key)?.as_str()
    }

    pub fn event(&self) -> &str {
        self.text("event.name").unwrap_or_default()
    }

    /// A payload's field that is a number or a number's text.
    pub fn number(&self, key: &str) -> Option<f64> {
        let value = self.payload.get(key)?;
        value.as_f64().or_else(|| value.as_str()?.parse().ok())
    }

    /// The UTC day, as days since 1970-01-01.
    pub fn day(&self) -> i64 {
        self.timestamp_micros.div_euclid(86_400_000_000)
    }
}

fn folder() -> PathBuf {
    PathBuf::from("../../testdata/gemini-cli")
}

/// All recorded log records: what the Cloud Logging exporter wrote, and the OTLP/HTTP bodies.
pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    let text = std::fs::read_to_string(folder().join("cloud_logging_entries.jsonl")).unwrap();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        entries.push(Entry {
            timestamp_micros: micros_of(entry["timestamp"].as_str().unwrap()),
            insert_id: entry["insertId"].as_str().unwrap().to_owned(),
            resource: entry["resource"].clone(),
            labels: entry["labels"].clone(),
            payload: entry["jsonPayload"].clone(),
        });
    }
    for body in otlp_bodies() {
        otlp(&body, &mut entries);
    }
    entries
}

fn otlp_bodies() -> Vec<Value> {
    let mut files: Vec<_> = ["otlp_http_json", "otlp_http_json_noprompts_gzip"]
        .iter()
        .flat_map(|name| std::fs::read_dir(folder().join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("_logs."))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let mut text = Vec::new();
            match path.extension().is_some_and(|extension| extension == "bin") {
                true => flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap(),
                false => bytes.as_slice().read_to_end(&mut text).unwrap(),
            };
            serde_json::from_slice(&text).unwrap()
        })
        .collect()
}

/// Flat attributes, then the resource's, then the body as `message`.
fn otlp(body: &Value, entries: &mut Vec<Entry>) {
    for resource in body["resourceLogs"].as_array().unwrap() {
        for scope in resource["scopeLogs"].as_array().unwrap() {
            for record in scope["logRecords"].as_array().unwrap() {
                let mut payload = Map::new();
                for attribute in [&record["attributes"], &resource["resource"]["attributes"]]
                    .into_iter()
                    .flat_map(|attributes| attributes.as_array().into_iter().flatten())
                {
                    if let Some(value) = any_value(&attribute["value"]) {
                        payload.insert(attribute["key"].as_str().unwrap().to_owned(), value);
                    }
                }
                if let Some(message) = any_value(&record["body"]) {
                    payload.insert("message".to_owned(), message);
                }
                let nanos: i64 = record["timeUnixNano"].as_str().unwrap().parse().unwrap();
                entries.push(Entry {
                    timestamp_micros: nanos / 1000,
                    insert_id: format!("otlp-{}", entries.len()),
                    resource: serde_json::json!({"type": "global", "labels": {"project_id": "local"}}),
                    labels: Value::Null,
                    payload: Value::Object(payload),
                });
            }
        }
    }
}

fn any_value(value: &Value) -> Option<Value> {
    let (kind, content) = value.as_object()?.iter().next()?;
    match kind.as_str() {
        "arrayValue" => {
            Some(content["values"].as_array().into_iter().flatten().filter_map(any_value).collect())
        }
        _ => Some(content.clone()),
    }
}

/// RFC 3339 with any number of digits of seconds, in UTC.
fn micros_of(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

/// The rows as the default UDF makes them: scalars pass, objects are JSON text.
pub fn table(entries: &[Entry]) -> RecordBatch {
    let object = |value: &Value| match value {
        Value::Object(_) => Some(value.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let texts = |text: &dyn Fn(&Entry) -> Option<String>| -> ArrayRef {
        Arc::new(entries.iter().map(text).collect::<StringArray>())
    };
    let times = entries.iter().map(|entry| Some(entry.timestamp_micros).filter(|time| *time != NO_TIME));
    let times: ArrayRef = Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"));
    let mut columns = vec![
        ("timestamp", times.clone()),
        ("receiveTimestamp", times),
        ("logName", texts(&|_| Some("projects/local/logs/gemini_cli".to_owned()))),
        ("insertId", texts(&|entry| Some(entry.insert_id.clone()))),
        ("severity", texts(&|_| None)),
        ("trace", texts(&|_| None)),
        ("spanId", texts(&|_| None)),
        ("resource_json", texts(&|entry| object(&entry.resource))),
        ("labels_json", texts(&|entry| object(&entry.labels))),
        ("operation_json", texts(&|_| None)),
        ("httpRequest_json", texts(&|_| None)),
        ("jsonPayload_json", texts(&|entry| object(&entry.payload))),
    ];
    let hidden = super::hidden_fields();
    columns
        .extend(hidden.iter().map(|field| field.name().as_str()).zip(super::hidden_columns(entries.len())));
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .map(|field| match field.data_type() {
            DataType::Timestamp(..) => super::timestamp(field.name()),
            _ => field,
        })
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .unwrap()
}
