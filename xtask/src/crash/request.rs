//! Requests made of the oracle's records, encoded once: a retry sends the same bytes.

use std::io::Write as _;
use std::ops::Range;

use anyhow::{Context, Result};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::{Value, json};

use super::oracle::Oracle;
use super::record::Record;
use crate::otlp::{integer_attribute, text_attribute, text_value};

/// How a request's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf; gRPC compresses by itself.
    Protobuf,
    /// Protobuf, gzip.
    ProtobufGzip,
    /// OTLP JSON.
    Json,
    /// OTLP JSON, gzip.
    JsonGzip,
}

/// An encoded request.
#[derive(Debug, Clone)]
pub struct EncodedRequest {
    /// The body.
    pub body: Bytes,
}

/// The time of record 0; records are a microsecond apart, on three days, so that tables have several
/// partitions. Microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Epoch(pub u64);

impl Epoch {
    fn event_micros(self, id: u64) -> u64 {
        const DAY_MICROS: u64 = 86_400_000_000;
        self.0 + id - (id / 1_000 % 3) * DAY_MICROS
    }
}

impl EncodedRequest {
    /// A request of the records with these ids.
    pub fn new(oracle: &Oracle, ids: Range<u64>, epoch: Epoch, encoding: Encoding) -> Result<Self> {
        let records = ids.map(|id| oracle.record(id)).flat_map(|record| {
            let encoded = log_record(&record, epoch);
            vec![encoded; usize::from(record.copies)]
        });
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(Resource {
                    attributes: vec![text_attribute("service.name", "crash-test")],
                    ..Resource::default()
                }),
                scope_logs: vec![ScopeLogs { log_records: records.collect(), ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            }],
        };
        let body = match encoding {
            Encoding::Protobuf => request.encode_to_vec(),
            Encoding::ProtobufGzip => gzip(&request.encode_to_vec())?,
            Encoding::Json => serde_json::to_vec(&request)?,
            Encoding::JsonGzip => gzip(&serde_json::to_vec(&request)?)?,
        };
        Ok(Self { body: body.into() })
    }
}

fn log_record(record: &Record, epoch: Epoch) -> LogRecord {
    let nanos = epoch.event_micros(record.id) * 1_000;
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        body: Some(text_value(&record.payload)),
        attributes: vec![
            integer_attribute("crash.id", record.id as i64),
            text_attribute("crash.kind", record.kind.name()),
        ],
        ..LogRecord::default()
    }
}

/// The same record as a line of LogEntry JSON, for `millrace load`.
pub fn log_entry(record: &Record, copy: u8, epoch: Epoch) -> Value {
    let micros = epoch.event_micros(record.id);
    json!({
        "logName": "projects/local/logs/crash_test",
        "insertId": format!("crash-{}-{copy}", record.id),
        "timestamp": rfc3339(micros),
        "resource": { "type": "global" },
        "jsonPayload": {
            "crash.id": record.id,
            "crash.kind": record.kind.name(),
            "message": record.payload,
        },
    })
}

/// A time as Cloud Logging writes it.
fn rfc3339(micros: u64) -> String {
    let time = DateTime::from_timestamp_micros(micros as i64).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).context("gzip")?;
    encoder.finish().context("gzip")
}
