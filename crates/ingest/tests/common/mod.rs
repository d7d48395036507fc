//! Both servers on free ports over a real log in a temporary directory.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_disk::StdDisk;
use millrace_ingest::{Ingest, IngestConfig, Route, StoreError, Stored, TopicStore};
use millrace_log::{Log, LogConfig};
use millrace_model::{NewMessage, Offset, ReadLimit, Source, names};
use serde_json::Value;

pub struct Servers {
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub ingest: Arc<Ingest>,
    log: Arc<Log>,
    _directory: tempfile::TempDir,
}

pub fn config() -> IngestConfig {
    let route = Route { name: "all".to_owned(), topic: names::TOPIC_LOGS.to_owned(), filter: None };
    IngestConfig::new("demo-project".to_owned(), [9; 32], vec![route])
}

impl Servers {
    pub async fn start(config: IngestConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(Arc::new(StdDisk), directory.path(), LogConfig::default()).unwrap();
        let log = Arc::new(log);
        let ingest = Ingest::new(config, Arc::clone(&log)).unwrap();
        let (http, grpc) = serve(&ingest).await;
        Self { http, grpc, ingest, log, _directory: directory }
    }

    /// The messages of a topic, as JSON.
    pub fn messages(&self, topic: &str) -> Vec<Value> {
        let topic = self.log.topic(topic).unwrap();
        let limit = ReadLimit { messages_max: 1 << 20, bytes_max: 1 << 20, end: None };
        let (mut from, mut messages) = (Offset::ZERO, Vec::new());
        loop {
            let batch = topic.read(from, limit).unwrap();
            messages
                .extend(batch.iter().map(|message| serde_json::from_slice::<Value>(message.data).unwrap()));
            let Some(next) = batch.next_offset() else { return messages };
            from = next;
        }
    }

    pub fn logs(&self) -> Vec<Value> {
        self.messages(names::TOPIC_LOGS)
    }

    /// Whether a record with this body is stored.
    pub fn has(&self, message: &str) -> bool {
        self.logs().iter().any(|entry| entry["jsonPayload"]["message"] == message)
    }
}

pub async fn serve(ingest: &Arc<Ingest>) -> (SocketAddr, SocketAddr) {
    let mut addresses = Vec::new();
    for router in [ingest.http_router(), ingest.grpc_routes().into_axum_router()] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    (addresses[0], addresses[1])
}

pub fn recorded(folder: &str, part: &str) -> Vec<PathBuf> {
    let root = Path::new("../../testdata/gemini-cli").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().contains(part));
    files.sort();
    assert!(!files.is_empty(), "{folder} {part}");
    files
}

pub fn event_counts(entries: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        let event = entry["jsonPayload"]["event.name"].as_str().unwrap_or("none");
        *counts.entry(event.to_owned()).or_default() += 1;
    }
    counts
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OTLP JSON log body of records with these bodies.
pub fn json_body(messages: &[&str]) -> String {
    let record =
        |message: &&str| format!("{{\"timeUnixNano\":\"5\",\"body\":{{\"stringValue\":{message:?}}}}}");
    let records: Vec<String> = messages.iter().map(record).collect();
    format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{}]}}]}}]}}", records.join(","))
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One HTTP/1.1 request by hand, so that every byte of it can be wrong.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    if headers.iter().any(|header| header.starts_with("Transfer-Encoding")) {
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        for chunk in body.chunks(7919) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
            stream.write_all(chunk).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    } else {
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        stream.write_all(body).unwrap();
    }
    reply(&mut stream)
}

pub fn reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let headers = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, headers, body: bytes[end + 4..].to_vec() }
}

/// As [`request`], from an async test.
pub async fn post(address: SocketAddr, path: &str, headers: &[&str], body: &[u8]) -> Reply {
    let (path, body) = (path.to_owned(), body.to_vec());
    let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    let send = move || {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        request(address, "POST", &path, &headers, &body)
    };
    tokio::task::spawn_blocking(send).await.unwrap()
}

/// A topic that never has room.
pub struct Full;

impl TopicStore for Full {
    fn append(&self, _: Vec<NewMessage>) -> BoxFuture<'static, Result<Stored, StoreError>> {
        let error =
            StoreError::Busy { reason: "topic is full".to_owned(), retry_after: Duration::from_millis(2500) };
        futures::future::ready(Err(error)).boxed()
    }

    fn source(&self) -> &dyn Source {
        panic!("not read")
    }
}
