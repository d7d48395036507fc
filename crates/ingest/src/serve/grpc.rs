//! OTLP/gRPC (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>).
//!
//! Unary calls are one frame each way, so they are taken apart here instead of by generated services:
//! the request's bytes are mapped as they lie, bodies count against the same budget, deadlines and
//! limits as HTTP's from their first byte, and inflating stops at the limit.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use tonic::Status;

use super::body::Framing;
use super::{Incoming, accept, reply};
use crate::ingest::{Accepted, Encoding, Ingest, Refusal, Signal};

pub(super) fn routes(ingest: Arc<Ingest>) -> tonic::service::Routes {
    let method = |signal: Signal| {
        any(move |State(ingest): State<Arc<Ingest>>, request: Request| handle(ingest, signal, request))
    };
    let router = axum::Router::new()
        .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", method(Signal::Logs))
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", method(Signal::Metrics))
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", method(Signal::Traces))
        .fallback(|| async {
            Status::unimplemented("there are OTLP's Export methods only here").into_http::<Body>()
        })
        .with_state(ingest);
    router.into()
}

async fn handle(ingest: Arc<Ingest>, signal: Signal, request: Request) -> Response {
    let start = Instant::now();
    if request.method() != Method::POST || !is_grpc(request.headers()) {
        // Not gRPC at all, so the answer is not either.
        ingest.totals.request("grpc", signal.as_str(), "unsupported", start.elapsed().as_secs_f64());
        let mut response =
            Response::new(Body::from("this port speaks gRPC: POST with content type application/grpc"));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let result = take(&ingest, signal, request).await;
    let outcome = result.as_ref().map_or_else(Refusal::outcome, |_| "ok");
    ingest.totals.request("grpc", signal.as_str(), outcome, start.elapsed().as_secs_f64());
    match result {
        Ok(accepted) => success(&reply::accepted(&accepted, signal, Encoding::Protobuf)),
        Err(refusal) => failure(&refusal),
    }
}

async fn take(ingest: &Arc<Ingest>, signal: Signal, request: Request) -> Result<Accepted, Refusal> {
    let gzip = match request.headers().get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => return Err(Refusal::Unsupported("grpc-encoding must be gzip or identity".to_owned())),
    };
    let body = &mut request.into_body();
    let (encoding, framing) = (Encoding::Protobuf, Framing::Grpc);
    accept(ingest, Incoming { signal, encoding, gzip, framing, body }).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    matches!(content_type, b"application/grpc" | b"application/grpc+proto")
}

fn success(message: &[u8]) -> Response {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn failure(refusal: &Refusal) -> Response {
    let (code, message) = (reply::code(refusal), refusal.to_string());
    let retry_after = match refusal {
        Refusal::Busy { retry_after, .. } => Some(*retry_after),
        _ => None,
    };
    let details = reply::status(code, &message, retry_after, Encoding::Protobuf);
    let mut response = Status::with_details(code, message, Bytes::from(details)).into_http();
    if matches!(refusal, Refusal::Unsupported(_)) {
        let accepted = HeaderValue::from_static("identity,gzip");
        response.headers_mut().insert("grpc-accept-encoding", accepted);
    }
    response
}
