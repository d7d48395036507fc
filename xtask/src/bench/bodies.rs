//! The request bodies that a load is made of.

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::otlp::{integer_attribute, text_attribute, text_value};
use crate::restamp::Stamps;
use crate::workspace;

/// Records in one request of ~1 kB records: what the CLI's exporter puts into a full batch.
const BATCH_RECORDS: usize = 512;
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

/// Requests in turn of one load of ~1 kB records: enough that neither a dictionary nor a compressor's
/// window sees the same record again.
const SYNTHETIC_BODIES: u64 = 32;
const MODELS: [&str; 3] = ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"];
/// What answers are made of.
const WORDS: &str = "the cart total is computed twice because render calls it before state settles so move \
    sum into a memo and test empty carts first then run npm again I will read file src cart.ts and look at \
    how discount applies to each item where price may be null return early add case for zero quantity fix \
    off by one error in loop handle timeout retry request with backoff write summary of change here";

/// Requests of ~1 kB records shaped like the CLI's `api_response` event, no two records alike.
pub fn synthetic_load() -> Result<Vec<Body>> {
    (0..SYNTHETIC_BODIES).map(|seed| synthetic(BATCH_RECORDS, seed)).collect()
}

/// One request of such records.
pub fn synthetic(records: usize, seed: u64) -> Result<Body> {
    let mut random = StdRng::seed_from_u64(seed);
    Body::of_records("gemini-cli", (0..records).map(|_| kilobyte_record(&mut random)).collect())
}

fn kilobyte_record(random: &mut StdRng) -> LogRecord {
    let room = RECORD_BYTES.saturating_sub(record(random, "").encoded_len() + 4);
    let text = answer(random, room);
    record(random, &text)
}

/// So many bytes of text made of words.
pub fn answer(random: &mut StdRng, bytes: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(words[random.random_range(0..words.len())]);
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

fn record(random: &mut StdRng, response_text: &str) -> LogRecord {
    let time = 1_700_000_000_000_000_000;
    let session = format!("d9b8a535-453f-4d7b-9b10-{:012x}", random.random_range(0..1_u64 << 48));
    let model = MODELS[random.random_range(0..MODELS.len())];
    let duration_ms = random.random_range(200..9_000);
    let (input, output) = (random.random_range(2_000..90_000), random.random_range(10..4_000));
    let (cached, thoughts) = (random.random_range(0..input), random.random_range(0..900));
    let user = format!("dev{:03}@example.com", random.random_range(0..1_000));
    let body = format!("API response from {model}. Status: 200. Duration: {duration_ms}ms.");
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        body: Some(text_value(&body)),
        attributes: vec![
            text_attribute("session.id", &session),
            text_attribute("installation.id", "96622f8e-3b0c-4c15-a8eb-b702460317ab"),
            text_attribute("user.email", &user),
            text_attribute("auth_type", "gemini-api-key"),
            text_attribute("event.name", "gemini_cli.api_response"),
            text_attribute("event.timestamp", "2026-11-22T14:30:37.838Z"),
            text_attribute("model", model),
            integer_attribute("duration_ms", duration_ms),
            integer_attribute("status_code", 200),
            integer_attribute("input_token_count", input),
            integer_attribute("output_token_count", output),
            integer_attribute("cached_content_token_count", cached),
            integer_attribute("thoughts_token_count", thoughts),
            integer_attribute("tool_token_count", 0),
            integer_attribute("total_token_count", input + output + thoughts),
            text_attribute("prompt_id", &session),
            text_attribute("finish_reasons", "STOP"),
            text_attribute("response_text", response_text),
        ],
        ..Default::default()
    }
}

/// A request of one record that can be told apart in the table: its trace id is its number.
pub fn probe(number: u64, time_nanos: u64) -> Result<Body> {
    let mut record = record(&mut StdRng::seed_from_u64(number), "");
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
        let (one, many) = (synthetic(1, 7).unwrap(), synthetic(101, 7).unwrap());
        let weight = (many.bytes.len() - one.bytes.len()) / 100;
        assert!((980..=1_020).contains(&weight), "{weight}");
        assert_eq!(many.stamps.records(), 101);
    }

    #[test]
    fn recorded_requests_hold_the_recorded_records() {
        let records: usize = recorded().unwrap().iter().map(|body| body.stamps.records()).sum();
        assert_eq!(records, 873);
    }
}
