//! The request bodies that a load is made of.

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use crate::otlp::{integer_attribute, text_attribute, text_value};
use crate::restamp::Stamps;
use crate::workspace;

/// Records in one request of ~1 kB records: what the CLI's exporter puts into a full batch.
pub const BATCH_RECORDS: usize = 512;
/// What a synthetic record weighs in protobuf, in bytes.
const RECORD_BYTES: usize = 1_000;
/// The service name of probes, by which the latency benchmark finds them again.
pub const PROBE_SERVICE: &str = "bench-probe";

/// One encoded request whose records can be made new in place.
#[derive(Clone)]
pub struct Body {
    /// The encoded request.
    pub bytes: Vec<u8>,
    /// Where its times are.
    pub stamps: Stamps,
}

impl Body {
    fn new(bytes: Vec<u8>) -> Result<Self> {
        let stamps = Stamps::find(&bytes)?;
        Ok(Self { bytes, stamps })
    }

    fn of_records(service: &str, log_records: Vec<LogRecord>) -> Result<Self> {
        let scope = InstrumentationScope { name: "gemini-cli".to_owned(), ..Default::default() };
        let resource = Resource {
            attributes: vec![
                text_attribute("service.name", service),
                text_attribute("service.version", "v20.20.2"),
                text_attribute("host.name", "devbox"),
                integer_attribute("process.pid", 28_172),
            ],
            ..Default::default()
        };
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..Default::default() }],
                ..Default::default()
            }],
        };
        Self::new(request.encode_to_vec())
    }
}

/// A request of ~1 kB records shaped like the CLI's `api_response` event.
pub fn synthetic(records: usize) -> Result<Body> {
    let lean = record("").encoded_len();
    let filler = "The cart total is computed twice; see cart.ts. ".repeat(20);
    let filler = filler.get(..RECORD_BYTES.saturating_sub(lean + 4)).context("the record's frame grew")?;
    Body::of_records("gemini-cli", vec![record(filler); records])
}

fn record(response_text: &str) -> LogRecord {
    let time = 1_700_000_000_000_000_000;
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        body: Some(text_value("API response from gemini-2.5-pro. Status: 200. Duration: 340ms.")),
        attributes: vec![
            text_attribute("session.id", "d9b8a535-453f-4d7b-9b10-f43be2ad3707"),
            text_attribute("installation.id", "96622f8e-3b0c-4c15-a8eb-b702460317ab"),
            text_attribute("user.email", "dev@example.com"),
            text_attribute("auth_type", "gemini-api-key"),
            text_attribute("event.name", "gemini_cli.api_response"),
            text_attribute("event.timestamp", "2026-11-22T14:30:37.838Z"),
            text_attribute("model", "gemini-2.5-pro"),
            integer_attribute("duration_ms", 340),
            integer_attribute("status_code", 200),
            integer_attribute("input_token_count", 12_345),
            integer_attribute("output_token_count", 678),
            integer_attribute("cached_content_token_count", 9_000),
            integer_attribute("thoughts_token_count", 120),
            integer_attribute("tool_token_count", 0),
            integer_attribute("total_token_count", 13_143),
            text_attribute("prompt_id", "d9b8a535-453f-4d7b-9b10-f43be2ad3707"),
            text_attribute("finish_reasons", "STOP"),
            text_attribute("response_text", response_text),
        ],
        ..Default::default()
    }
}

/// A request of one record that can be told apart in the table: its trace id is its number.
pub fn probe(number: u64, time_nanos: u64) -> Result<Body> {
    let mut record = record("");
    let mut trace_id = vec![0xbe_u8; 8];
    trace_id.extend(number.to_be_bytes());
    record.trace_id = trace_id;
    record.span_id = vec![1; 8];
    let mut body = Body::of_records(PROBE_SERVICE, vec![record])?;
    body.stamps.stamp(&mut body.bytes, time_nanos);
    Ok(body)
}

/// The recorded log requests of real Gemini CLI sessions.
pub fn recorded() -> Result<Vec<Body>> {
    let folder = workspace::recordings().join("otlp_grpc");
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with("_logs.pb"));
    paths.sort();
    if paths.is_empty() {
        bail!("no recorded requests in {}", folder.display());
    }
    paths.iter().map(|path| Body::new(std::fs::read(path)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_synthetic_record_weighs_a_kilobyte() {
        let (one, two) = (synthetic(1).unwrap(), synthetic(2).unwrap());
        let weight = two.bytes.len() - one.bytes.len();
        assert!((990..=1_010).contains(&weight), "{weight}");
        assert_eq!(two.stamps.records(), 2);
    }

    #[test]
    fn recorded_requests_hold_the_recorded_records() {
        let records: usize = recorded().unwrap().iter().map(|body| body.stamps.records()).sum();
        assert_eq!(records, 873);
    }
}
