//! `millrace send`: recorded OTLP bodies to an OTLP/HTTP endpoint, as a client would send them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::client::Client;
use crate::config::Config;

/// Sends every body and says what was answered. The endpoint is this configuration's own port unless
/// another is named.
///
/// # Errors
/// When a file is not a recorded body, or the endpoint does not take it.
pub fn send(config: &Config, port_offset: u16, files: &[PathBuf], endpoint: Option<String>) -> Result<()> {
    let endpoint = endpoint.unwrap_or_else(|| {
        let port = config.server.otlp_http_port.saturating_add(port_offset);
        format!("http://{}", std::net::SocketAddr::new(config.server.bind, port))
    });
    let client = Client::new(config, &endpoint)?;
    let bodies = files.iter().map(|path| bodies_in(path)).collect::<Result<Vec<_>>>()?.concat();
    if bodies.is_empty() {
        bail!("no recorded bodies: their names end in .pb, .json or .wire.bin");
    }
    let mut rejected = 0;
    for path in &bodies {
        rejected += send_one(&client, path).with_context(|| format!("cannot send {}", path.display()))?;
    }
    println!("sent {} bodies to {endpoint}, {rejected} records rejected", bodies.len());
    Ok(())
}

fn bodies_in(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .with_context(|| format!("cannot read the folder {}", path.display()))?;
    files.retain(|file| encoding(file).is_some());
    files.sort();
    Ok(files)
}

/// Content type and content encoding of a recorded body, by its name.
fn encoding(path: &Path) -> Option<(&'static str, Option<&'static str>)> {
    let name = path.file_name()?.to_str()?;
    if name.ends_with(".pb") {
        Some(("application/x-protobuf", None))
    } else if name.ends_with(".wire.bin") {
        Some(("application/json", Some("gzip")))
    } else if name.ends_with(".json") {
        Some(("application/json", None))
    } else {
        None
    }
}

/// Sends one body; answers how many of its records were rejected.
fn send_one(client: &Client, path: &Path) -> Result<u64> {
    let (content_type, content_encoding) =
        encoding(path).context("its name ends in none of .pb, .json, .wire.bin")?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(signal) = ["logs", "metrics", "traces"].into_iter().find(|signal| name.contains(signal)) else {
        bail!("its name says none of logs, metrics, traces");
    };
    let body = std::fs::read(path)?;
    let mut headers = vec![("content-type", content_type), ("accept", "application/json")];
    headers.extend(content_encoding.map(|encoding| ("content-encoding", encoding)));
    let answer = client.post_bytes(&format!("/v1/{signal}"), &headers, &body)?;
    // A protobuf request is answered in protobuf; an empty answer is full success in both encodings.
    if content_type == "application/json" {
        let answer: Value = serde_json::from_slice(&answer).context("the answer is not JSON")?;
        let partial = answer.get("partialSuccess").and_then(Value::as_object);
        let rejected = partial.and_then(|partial| {
            partial.iter().find(|(key, _)| key.starts_with("rejected")).map(|(_, count)| count.clone())
        });
        return Ok(rejected.map_or(0, |count| {
            count.as_u64().or_else(|| count.as_str().and_then(|text| text.parse().ok())).unwrap_or(0)
        }));
    }
    rejected_in_protobuf(&answer)
}

/// Every signal's response has the same shape: field 1 is the partial success, whose field 1 is the
/// count of rejected items (opentelemetry/proto/collector/*/v1/*_service.proto).
fn rejected_in_protobuf(answer: &[u8]) -> Result<u64> {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    use prost::Message as _;
    let answer = ExportLogsServiceResponse::decode(answer).context("the answer is not OTLP")?;
    Ok(answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_log_records).unwrap_or(0)))
}
