//! OTLP/gRPC over real sockets into a real log, by tonic's own clients.
#![allow(missing_docs)]

#[cfg(test)]
mod common;

use std::sync::Arc;

use axum::body::Body;
use common::{Servers, config, event_counts, gzip, post, recorded};
use http_body_util::BodyExt;
use millrace_ingest::{Filter, Ingest, Route};
use millrace_model::names;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tower::ServiceExt;

#[cfg(test)]
fn read<M: Message + Default>(part: &str) -> Vec<M> {
    recorded("otlp_grpc", part)
        .iter()
        .map(|file| M::decode(std::fs::read(file).unwrap().as_slice()).unwrap())
        .collect()
}

/// Scenario: every recorded gRPC body over gRPC, gzip and not, and again over HTTP as protobuf.
/// Guarantees: one message a record, point and span, by event as many as prost finds.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_bodies_arrive_once() {
    let servers = Servers::start(config()).await;
    let address = format!("http://{}", servers.grpc);
    let plain = LogsServiceClient::connect(address.clone()).await.unwrap();
    let mut zipped =
        plain.clone().send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    let mut plain = plain;
    let mut events = std::collections::BTreeMap::new();
    for request in read::<ExportLogsServiceRequest>("_logs.pb") {
        for record in request
            .resource_logs
            .iter()
            .flat_map(|logs| &logs.scope_logs)
            .flat_map(|scope| &scope.log_records)
        {
            let event = record.attributes.iter().find(|pair| pair.key == "event.name").unwrap();
            let Some(Any::StringValue(event)) = event.value.as_ref().unwrap().value.clone() else { panic!() };
            *events.entry(event).or_insert(0_usize) += 1;
        }
        for client in [&mut zipped, &mut plain] {
            let response = client.export(request.clone()).await.unwrap();
            assert_eq!(response.into_inner().partial_success, None);
        }
        let reply = post(
            servers.http,
            "/v1/logs",
            &["Content-Type: application/x-protobuf"],
            &request.encode_to_vec(),
        )
        .await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(event_counts(&servers.logs()), events);
    assert_eq!(events.values().sum::<usize>(), 873);
    assert_eq!(servers.ingest.counters().duplicates, 2 * 873);
    let mut metrics = MetricsServiceClient::connect(address.clone()).await.unwrap();
    for request in read::<ExportMetricsServiceRequest>("_metrics.pb") {
        metrics.export(request).await.unwrap();
    }
    let mut traces =
        TraceServiceClient::connect(address).await.unwrap().send_compressed(CompressionEncoding::Gzip);
    let mut spans = 0;
    for request in read::<ExportTraceServiceRequest>("_traces.pb") {
        spans +=
            request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum::<usize>();
        traces.export(request).await.unwrap();
    }
    assert_eq!(servers.messages("otlp-traces").len(), spans);
    assert!(servers.messages("otlp-metrics").len() > 1000);
}

fn request(bodies: Vec<AnyValue>) -> ExportLogsServiceRequest {
    let records =
        bodies.into_iter().map(|body| LogRecord { body: Some(body), ..LogRecord::default() }).collect();
    let scope = ScopeLogs { log_records: records, ..ScopeLogs::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }],
    }
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Any::StringValue(text.to_owned())) }
}

fn deep(levels: usize) -> AnyValue {
    (0..levels).fold(text("x"), |inner, _| AnyValue {
        value: Some(Any::ArrayValue(ArrayValue { values: vec![inner] })),
    })
}

/// Scenario: sinks with filters over one request.
/// Guarantees: each gets what it asks for, what nobody asks for is kept apart and counted.
#[tokio::test(flavor = "multi_thread")]
async fn sinks_take_what_they_ask_for() {
    let mut config = config();
    let route = |topic: &str, filter: &str| Route {
        name: topic.into(),
        topic: topic.into(),
        filter: Some(Filter::parse(filter).unwrap()),
    };
    config.routes =
        vec![route("ones", "jsonPayload.message:one"), route("words", "jsonPayload.message=~\"^[a-z]+$\"")];
    let servers = Servers::start(config).await;
    let mut client = LogsServiceClient::connect(format!("http://{}", servers.grpc)).await.unwrap();
    client.export(request(vec![text("one"), text("one 1"), text("word"), text("2")])).await.unwrap();
    let of = |topic| {
        servers
            .messages(topic)
            .iter()
            .map(|entry| entry["jsonPayload"]["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("ones"), of("words"), of(names::TOPIC_UNROUTED)),
        (vec!["one".into(), "one 1".into()], vec!["one".into(), "word".into()], vec!["2".to_owned()])
    );
    let counters = servers.ingest.counters();
    assert_eq!((counters.unrouted, counters.accepted), (1, 5));
}

/// Scenario: requests that cannot be taken.
/// Guarantees: the right gRPC status; neighbours and later requests are fine.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_the_right_status() {
    let mut config = config();
    config.decompressed_bytes_max = 8 << 20;
    config.body_bytes_max = 8 << 20;
    let servers = Servers::start(config).await;
    let client = LogsServiceClient::connect(format!("http://{}", servers.grpc)).await.unwrap();
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let refused = client.export(request(vec![deep(80)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let partial = client.export(request(vec![text("a"), deep(80), text("b")])).await.unwrap().into_inner();
    assert_eq!(partial.partial_success.unwrap().rejected_log_records, 1);
    // A bomb: 40 kB on the wire.
    let bomb = client.export(request(vec![text(&"x".repeat(40 << 20))])).await.unwrap_err();
    assert_eq!(bomb.code(), Code::InvalidArgument);
    assert!(bomb.message().contains("decompressed"), "{bomb:?}");
    client.export(request(vec![text("c")])).await.unwrap();
    assert_eq!(servers.logs().len(), 3);
    assert!(servers.has("a") && servers.has("b") && servers.has("c"));
}

/// One call with bytes of our own, answered without a socket: status code, or what HTTP says.
#[cfg(test)]
async fn raw(ingest: &Arc<Ingest>, headers: &[(&str, &str)], body: &[u8]) -> Result<Code, u16> {
    let mut request = http::Request::post("/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_vec())).unwrap();
    let response = ingest.grpc_routes().into_axum_router().oneshot(request).await.unwrap();
    if response.status() != 200 {
        return Err(response.status().as_u16());
    }
    let in_head = tonic::Status::from_header_map(response.headers());
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
    let status = in_head.or_else(|| tonic::Status::from_header_map(&trailers?));
    Ok(status.unwrap().code())
}

#[cfg(test)]
fn frame(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_are_refused() {
    let servers = Servers::start(config()).await;
    let grpc = ("content-type", "application/grpc");
    let gzip_header = ("grpc-encoding", "gzip");
    let message = request(vec![text("x")]).encode_to_vec();
    let zipped = gzip(&message);
    let invalid = Ok(Code::InvalidArgument);
    for (headers, body, expected) in [
        (&[grpc][..], frame(0, message.len(), &message), Ok(Code::Ok)),
        (&[grpc], frame(0, 0, b""), Ok(Code::Ok)),
        (&[grpc, gzip_header], frame(1, zipped.len(), &zipped), Ok(Code::Ok)),
        (&[grpc, gzip_header], frame(0, message.len(), &message), Ok(Code::Ok)),
        (&[grpc, gzip_header], frame(1, zipped.len() - 9, &zipped[..zipped.len() - 9]), invalid),
        (&[grpc, gzip_header], frame(1, message.len(), &message), invalid),
        (&[grpc], frame(1, zipped.len(), &zipped), invalid),
        (&[grpc], frame(2, message.len(), &message), invalid),
        (&[grpc], frame(0, message.len() + 1, &message), invalid),
        (&[grpc], frame(0, message.len() - 1, &message), invalid),
        (&[grpc], frame(0, 3, b"\xff\xff\xff"), invalid),
        (&[grpc], Vec::new(), invalid),
        (&[grpc], vec![0, 0], invalid),
        (&[grpc, ("grpc-encoding", "zstd")], frame(1, 1, b"x"), Ok(Code::Unimplemented)),
        (&[("content-type", "text/plain")], frame(0, message.len(), &message), Err(415)),
        (&[], Vec::new(), Err(415)),
    ] {
        assert_eq!(raw(&servers.ingest, headers, &body).await, expected, "{headers:?} {body:?}");
    }
    assert_eq!(servers.logs().len(), 1);
    assert_eq!(servers.ingest.counters().in_flight_bytes, 0);
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_are_told_when_to_come_again() {
    let full = Ingest::with_topics(config(), |_| Ok(Arc::new(common::Full) as _)).unwrap();
    let (_, grpc) = common::serve(&full).await;
    let mut client = LogsServiceClient::connect(format!("http://{grpc}")).await.unwrap();
    let refused = client.export(request(vec![text("x")])).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "topic is full"));
    let status = Status::decode(refused.details()).unwrap();
    assert_eq!(
        (status.code, status.details[0].type_url.as_str()),
        (14, "type.googleapis.com/google.rpc.RetryInfo")
    );
    // RetryInfo { retry_delay: Duration { seconds: 2, nanos: 500,000,000 } }
    assert_eq!(status.details[0].value, [0x0a, 8, 0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]);
}
