//! How fast requests become messages, on one core: `cargo run --release -p millrace-ingest --example
//! map_bench`. Measured are prost's decoding alone (what any OTLP server does first), and everything
//! from the request's bytes to the messages in their buffer with ids, on recorded bodies and on records
//! of about 1 kB.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use millrace_ingest::bench::Mapper;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;

const SECONDS: f64 = 2.0;

fn main() {
    let recorded = recorded("otlp_grpc", "_logs.pb");
    let json = self::recorded("otlp_http_json", "_logs.json");
    let small = vec![small_records(&recorded[0], 512)];
    let filtered = Mapper::new(Some("severity>=ERROR OR jsonPayload.\"event.name\":\"gemini_cli\""));
    let plain = Mapper::new(None);
    println!("{:<40} {:>10} {:>12} {:>10}", "what", "bytes/rec", "records/s", "MB/s in");
    for (name, bodies) in [("recorded gRPC bodies", &recorded), ("512 records of about 1 kB", &small)] {
        let records: usize = bodies.iter().map(|body| plain.protobuf(body)).sum();
        report(&format!("{name}: prost only"), bodies, records, &|body| {
            black_box(ExportLogsServiceRequest::decode(body).unwrap());
        });
        report(&format!("{name}: map"), bodies, records, &|body| {
            black_box(plain.protobuf(body));
        });
        report(&format!("{name}: map, filter"), bodies, records, &|body| {
            black_box(filtered.protobuf(body));
        });
    }
    let records = json.iter().map(|body| plain.json(body)).sum();
    report("recorded JSON bodies: read, map", &json, records, &|body| {
        black_box(plain.json(body));
    });
}

/// Runs for a while and reports the fastest round: what else the machine does only makes rounds slower.
fn report(name: &str, bodies: &[Vec<u8>], records: usize, run: &dyn Fn(&[u8])) {
    let start = Instant::now();
    let mut fastest = f64::INFINITY;
    while start.elapsed().as_secs_f64() < SECONDS {
        let round = Instant::now();
        bodies.iter().for_each(|body| run(body));
        fastest = fastest.min(round.elapsed().as_secs_f64());
    }
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    #[allow(clippy::cast_precision_loss)]
    let (bytes, records) = (bytes as f64, records as f64);
    println!(
        "{name:<40} {:>10.0} {:>12.0} {:>10.0}",
        bytes / records,
        records / fastest,
        bytes / fastest / 1e6
    );
}

fn recorded(folder: &str, part: &str) -> Vec<Vec<u8>> {
    let root = Path::new("testdata/gemini-cli").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().contains(part));
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A request like the recorded one, of so many different records of about 1 kB each on the wire.
fn small_records(like: &[u8], count: usize) -> Vec<u8> {
    let mut request = ExportLogsServiceRequest::decode(like).unwrap();
    let scope = &mut request.resource_logs[0].scope_logs[0];
    let mut record = scope.log_records[0].clone();
    record.attributes.retain(|attribute| attribute.encoded_len() < 200);
    let fill = AnyValue { value: Some(Value::StringValue("text \"quoted\" ".repeat(40))) };
    record.attributes.push(KeyValue { key: "fill".into(), value: Some(fill), ..KeyValue::default() });
    scope.log_records = (0..count as u64)
        .map(|number| {
            let mut record = record.clone();
            record.time_unix_nano += number * 1_000_000;
            record
        })
        .collect();
    request.resource_logs.truncate(1);
    request.resource_logs[0].scope_logs.truncate(1);
    request.encode_to_vec()
}
