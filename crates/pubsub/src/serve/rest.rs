//! REST: `/v1/projects/...` with JSON bodies, as the service's `google.api.http` annotations say.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use prost::Message as _;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, pb};

use super::{Server, count, too_many};
use crate::budget::Counted;
use crate::error::PubsubError;
use crate::limits::REQUEST_BYTES_MAX;

/// Base64 makes bodies a third longer.
const BODY_BYTES_MAX: usize = REQUEST_BYTES_MAX / 3 * 4;
/// Most bytes of a refused body that are read before the answer.
const READ_OFF_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;
/// How long that may take.
const READ_OFF_TIME_MAX: Duration = Duration::from_secs(10);
/// Parameters that every Google API takes and that change nothing here.
const SYSTEM_PARAMETERS: [&str; 11] = [
    "access_token",
    "alt",
    "callback",
    "fields",
    "key",
    "oauth_token",
    "prettyPrint",
    "quotaUser",
    "uploadType",
    "upload_protocol",
    "returnPartialSuccess",
];

pub(super) async fn handle(server: &Arc<Server>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Some((method, field, name)) = server.methods.rest(request.method(), &path) else {
        return error(&unknown(server, request.method(), &path));
    };
    let places = if method.waits { &server.broker.streams } else { &server.broker.requests };
    let Ok(_place) = places.try_acquire() else { return error(&too_many()) };
    let reservation = server.broker.bodies.reserve();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (head, body) = request.into_parts();
    let body = Counted::new(body, Arc::clone(&reservation), server.broker.config.body_read_timeout);
    let answer = match read(&head.headers, body, &query, (method.body_field, field), name).await {
        Ok(json) => (method.rest)(Arc::clone(&server.broker), json).await.map_err(Status::from),
        Err(status) => Err(status),
    };
    drop(reservation);
    count(method.name, "rest", answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
    match answer {
        Ok(json) => (StatusCode::OK, axum::Json(json)).into_response(),
        Err(status) => error(&status),
    }
}

/// A request's message as JSON: the body, the query's parameters, the name in the path.
async fn read(
    headers: &HeaderMap,
    mut body: Counted,
    query: &str,
    fields: (Option<&str>, &str),
    name: String,
) -> Result<Value, Status> {
    let bytes = match Limited::new(&mut body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let status = body_error(&*error);
            if status.code() == Code::InvalidArgument {
                read_off(body.into_inner()).await;
            }
            return Err(status);
        }
    };
    message(headers, &bytes, query, fields, name)
}

/// Reads what is left of a body that is refused, within limits: over HTTP/1 a client that is still sending
/// when the connection is closed does not get to see the answer.
async fn read_off(mut body: Body) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
            if bytes > READ_OFF_BYTES_MAX {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(READ_OFF_TIME_MAX, reading).await;
}

/// The same, once the body is there.
pub(crate) fn message(
    headers: &HeaderMap,
    body: &[u8],
    query: &str,
    (body_field, field): (Option<&str>, &str),
    name: String,
) -> Result<Value, Status> {
    let mut json = if body.is_empty() {
        Map::new()
    } else {
        // A web page cannot send this to another origin without asking first.
        let content_type = headers.get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        if !content_type.to_ascii_lowercase().starts_with(b"application/json") {
            return Err(Status::invalid_argument(
                "send JSON, with the header content-type: application/json",
            ));
        }
        serde_json::from_slice(body)
            .map_err(|error| Status::invalid_argument(format!("Invalid JSON payload received. {error}")))?
    };
    if let Some(body_field) = body_field {
        json = [(body_field.to_owned(), Value::Object(json))].into_iter().collect();
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key)?, decoded(value)?);
        if !key.starts_with('$') && !SYSTEM_PARAMETERS.contains(&key.as_str()) {
            json.insert(key, Value::String(value));
        }
    }
    if let Some(Value::String(mask)) = json.get_mut("updateMask") {
        *mask = lower_camel(mask);
    }
    match field.split_once('.') {
        None => {
            json.insert(field.to_owned(), Value::String(name));
        }
        Some((outer, inner)) => {
            let outer = json.entry(outer).or_insert_with(|| json!({}));
            let outer = outer.as_object_mut();
            let outer =
                outer.ok_or_else(|| Status::invalid_argument(format!("{field} is not in an object")))?;
            outer.insert(inner.to_owned(), Value::String(name));
        }
    }
    Ok(Value::Object(json))
}

/// A field mask as JSON has it, also where it names fields as protobuf does.
fn lower_camel(mask: &str) -> String {
    let mut camel = String::with_capacity(mask.len());
    let mut letters = mask.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '_' => camel.extend(letters.next().map(|next| next.to_ascii_uppercase())),
            other => camel.push(other),
        }
    }
    camel
}

fn body_error(error: &(dyn std::error::Error + 'static)) -> Status {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(status) = error.downcast_ref::<Status>() {
            return status.clone();
        }
        if error.is::<http_body_util::LengthLimitError>() {
            return Status::invalid_argument(format!("the body has more than {BODY_BYTES_MAX} bytes"));
        }
        cause = error.source();
    }
    Status::invalid_argument(format!("the body broke off: {error}"))
}

fn decoded(text: &str) -> Result<String, Status> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Status::invalid_argument("the query is not UTF-8"))
}

fn unknown(server: &Server, verb: &Method, path: &str) -> Status {
    let verbs = server.methods.verbs(path);
    if !verbs.is_empty() {
        let verbs = verbs.join(", ");
        return PubsubError::unimplemented(format!("{path} has other methods than {verb}: {verbs}")).into();
    }
    let instead = if path == "/" {
        "this is a Pub/Sub port: set PUBSUB_EMULATOR_HOST to it, or ask for /v1/projects/PROJECT/topics"
    } else {
        "there is /v1/projects/PROJECT/topics, subscriptions, snapshots and schemas here"
    };
    Status::not_found(format!("{path} is no path of this port: {instead}"))
}

/// An error in the shape of Google's APIs (<https://cloud.google.com/apis/design/errors#http_mapping>).
fn error(status: &Status) -> Response {
    let (http, name) = match status.code() {
        Code::Ok => (200, "OK"),
        Code::Cancelled => (499, "CANCELLED"),
        Code::Unknown => (500, "UNKNOWN"),
        Code::InvalidArgument => (400, "INVALID_ARGUMENT"),
        Code::DeadlineExceeded => (504, "DEADLINE_EXCEEDED"),
        Code::NotFound => (404, "NOT_FOUND"),
        Code::AlreadyExists => (409, "ALREADY_EXISTS"),
        Code::PermissionDenied => (403, "PERMISSION_DENIED"),
        Code::ResourceExhausted => (429, "RESOURCE_EXHAUSTED"),
        Code::FailedPrecondition => (400, "FAILED_PRECONDITION"),
        Code::Aborted => (409, "ABORTED"),
        Code::OutOfRange => (400, "OUT_OF_RANGE"),
        Code::Unimplemented => (501, "UNIMPLEMENTED"),
        Code::Internal => (500, "INTERNAL"),
        Code::Unavailable => (503, "UNAVAILABLE"),
        Code::DataLoss => (500, "DATA_LOSS"),
        Code::Unauthenticated => (401, "UNAUTHENTICATED"),
    };
    let mut error = json!({"code": http, "message": status.message(), "status": name});
    let details = details(status);
    if !details.is_empty() {
        error["details"] = Value::Array(details);
    }
    let body = json!({"error": error});
    let http = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (http, axum::Json(body)).into_response()
}

/// What a status carries beside its text, for instance which ack ids are not good.
fn details(status: &Status) -> Vec<Value> {
    let carried = pb::Status::decode(status.details()).unwrap_or_default();
    carried.details.iter().map(detail).collect()
}

/// An Any, as proto3's JSON mapping writes it. This server makes ErrorInfo only; another kind would be shown by
/// its bytes rather than be left out.
fn detail(any: &prost_types::Any) -> Value {
    match pb::ErrorInfo::decode(any.value.as_slice()) {
        Ok(info) if any.type_url == ErrorInfo::TYPE_URL => json!({
            "@type": any.type_url, "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
        }),
        _ => json!({"@type": any.type_url, "value": STANDARD.encode(&any.value)}),
    }
}
