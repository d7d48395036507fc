//! OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use super::body::{self, Framing};
use super::{Incoming, accept, reply};
use crate::ingest::{Accepted, Encoding, Ingest, Refusal, Signal};

pub(super) fn router(ingest: Arc<Ingest>) -> axum::Router {
    // One handler for every path: prefixes are free, and every wrong turn gets its own answer.
    axum::Router::new().fallback(handle).with_state(ingest)
}

async fn handle(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let start = Instant::now();
    let encoding = encoding(request.headers());
    let signal = signal(request.uri().path());
    let (head, mut body) = request.into_parts();
    let result = take(&ingest, &head, &mut body, signal, encoding).await;
    if result.is_err() {
        body::drain(&ingest, &mut body).await;
    }
    let protocol = match encoding {
        Some(Encoding::Json) => "http_json",
        Some(Encoding::Protobuf) => "http_protobuf",
        None => "http",
    };
    let outcome = match &result {
        Ok(_) => "ok",
        Err(Failure::Refused(refusal)) => refusal.outcome(),
        Err(Failure::Path) => "path",
        Err(Failure::Method) => "method",
    };
    let signal_name = signal.map_or("none", Signal::as_str);
    ingest.totals.request(protocol, signal_name, outcome, start.elapsed().as_secs_f64());
    // A client whose encoding is unknown is told in JSON.
    let encoding = encoding.unwrap_or(Encoding::Json);
    match (result, signal) {
        (Ok(accepted), Some(signal)) => {
            answer(StatusCode::OK, encoding, reply::accepted(&accepted, signal, encoding))
        }
        (Ok(_), None) => failure(&Failure::Path, encoding),
        (Err(error), _) => failure(&error, encoding),
    }
}

/// Why a request is not taken.
enum Failure {
    Path,
    Method,
    Refused(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn take(
    ingest: &Arc<Ingest>,
    head: &Parts,
    body: &mut Body,
    signal: Option<Signal>,
    encoding: Option<Encoding>,
) -> Result<Accepted, Failure> {
    let signal = signal.ok_or(Failure::Path)?;
    if head.method != Method::POST {
        return Err(Failure::Method);
    }
    let encoding = encoding.ok_or_else(|| {
        Refusal::Unsupported("content type must be application/json or application/x-protobuf".to_owned())
    })?;
    let gzip = is_gzip(&head.headers)?;
    let framing = Framing::Plain;
    Ok(accept(ingest, Incoming { signal, encoding, gzip, framing, body }).await?)
}

fn signal(path: &str) -> Option<Signal> {
    let signals = [Signal::Logs, Signal::Metrics, Signal::Traces];
    signals
        .into_iter()
        .find(|signal| path.strip_suffix(signal.as_str()).is_some_and(|prefix| prefix.ends_with("/v1/")))
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next().unwrap_or("").trim();
    match essence {
        _ if essence.eq_ignore_ascii_case("application/json") => Some(Encoding::Json),
        _ if essence.eq_ignore_ascii_case("application/x-protobuf") => Some(Encoding::Protobuf),
        _ => None,
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(false),
        Some(gzip) if gzip.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => Err(Refusal::Unsupported("content encoding must be gzip or identity".to_owned())),
    }
}

fn failure(failure: &Failure, encoding: Encoding) -> Response {
    let refusal = match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Path => {
            let message = "there is only /v1/logs, /v1/metrics and /v1/traces here, under any prefix";
            let body = reply::status(tonic::Code::NotFound, message, None, encoding);
            return answer(StatusCode::NOT_FOUND, encoding, body);
        }
        Failure::Method => {
            let body = reply::status(tonic::Code::Unimplemented, "the method must be POST", None, encoding);
            let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, encoding, body);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return response;
        }
    };
    let (status, retry_after) = match refusal {
        Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, None),
        Refusal::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, None),
        Refusal::Busy { retry_after, .. } => (StatusCode::SERVICE_UNAVAILABLE, Some(*retry_after)),
        Refusal::Unsupported(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
        Refusal::Timeout => (StatusCode::REQUEST_TIMEOUT, None),
        Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
    };
    let body = reply::status(reply::code(refusal), &refusal.to_string(), retry_after, encoding);
    let mut response = answer(status, encoding, body);
    if let Some(retry_after) = retry_after {
        // The header has whole seconds only; none would mean at once.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn answer(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response {
    let content_type = match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => "application/x-protobuf",
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
