//! The HTTP API on port 8080.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use millrace_sql::format::FormatError;
use millrace_sql::{Code, Engine, QueryResult, SqlError};
use serde::{Deserialize, Serialize};

use crate::{Control, DeadLetters, Recorder, Status};
use crate::{changes, dead_letters, views};

/// Largest body of an API request in bytes; a query text over 1 MB is refused by the engine anyhow.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Largest answer to a query in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the server can tell about itself.
pub trait Facts: Send + Sync {
    /// Everything, now.
    fn status(&self) -> Status;

    /// Refreshes the gauges that are read off at the moment of a scrape.
    fn publish_gauges(&self);
}

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// What there is to report.
    pub facts: Arc<dyn Facts>,
    /// What can be changed.
    pub control: Arc<dyn Control>,
    /// What there is to query.
    pub engine: Arc<Engine>,
    /// What can be done with dead letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// The metrics.
    pub recorder: Recorder,
}

/// The API's routes.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/api/status", get(status))
        .route("/api/query", post(query))
        .merge(views::routes())
        .merge(changes::routes())
        .merge(dead_letters::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "not_found", "no such path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has other methods")
        })
        .with_state(state)
}

async fn ready(State(state): State<ApiState>) -> Response {
    let status = state.facts.status();
    if status.ready {
        return "ready\n".into_response();
    }
    let waiting: Vec<_> = status
        .pipelines
        .iter()
        .filter(|pipeline| pipeline.state != "running")
        .map(|pipeline| format!("{} is {}", pipeline.name, pipeline.state))
        .collect();
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", waiting.join("; ")).into_response()
}

async fn metrics_text(State(state): State<ApiState>) -> Response {
    state.facts.publish_gauges();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], state.recorder.render()).into_response()
}

async fn status(State(state): State<ApiState>) -> Json<Status> {
    Json(state.facts.status())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryRequest {
    sql: String,
}

/// `POST /api/query`: `{"sql"}` in, `{"columns", "rows", "elapsed_ms"}` out. The content type is asked
/// for because a web page cannot send it to another origin without asking first (CORS preflight).
async fn query(State(state): State<ApiState>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    json_only(&headers)?;
    let request: QueryRequest = serde_json::from_slice(&body).map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_request", format!("the body is not {{\"sql\"}}: {error}"))
    })?;
    let started = Instant::now();
    let result = state.engine.query(&request.sql).await?;
    let text = answer_text(result, started).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// Refuses a request that does not say that it sends JSON.
pub(crate) fn json_only(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => {
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", "send application/json"))
        }
    }
}

/// The whole answer in memory, bounded: an error half-way must still be answered as an error.
async fn answer_text(result: QueryResult, started: Instant) -> Result<Vec<u8>, ApiError> {
    let mut text = Bounded(Vec::new());
    match millrace_sql::format::write_json(result, started, &mut text).await {
        Ok(_) => Ok(text.0),
        Err(FormatError::Query(error)) => Err(error.into()),
        Err(FormatError::Write(error)) => {
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "resources_exceeded", error.to_string()))
        }
    }
}

/// Bytes in memory up to [`ANSWER_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(std::io::Error::other(format!(
                "the answer is larger than {ANSWER_BYTES_MAX} bytes: select fewer rows or columns"
            )));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An error as every handler answers it: `{"error": {"code", "message", "hint"}}`.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None }
    }
}

impl From<SqlError> for ApiError {
    fn from(error: SqlError) -> Self {
        let status = match error.code {
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::ReadOnly => StatusCode::FORBIDDEN,
            Code::ResourcesExceeded => StatusCode::UNPROCESSABLE_ENTITY,
            Code::Timeout => StatusCode::REQUEST_TIMEOUT,
            Code::TooManyQueries => StatusCode::TOO_MANY_REQUESTS,
            Code::AlreadyExists => StatusCode::CONFLICT,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, code: error.code.as_str(), message: error.message, hint: error.hint }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Serialize)]
        struct Inner {
            code: &'static str,
            message: String,
            hint: Option<String>,
        }
        let inner = Inner { code: self.code, message: self.message, hint: self.hint };
        (self.status, Json(Body { error: inner })).into_response()
    }
}
