//! `POST /api/load?topic=NAME`: a file as the request's body, for commands that find a server running.
//! The answer is the report as JSON.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use axum::routing::post;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{Content, LoadError, LoadReport, Loader, run};

impl Loader {
    /// The router of `POST /api/load`.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        axum::Router::new().route("/api/load", post(handle)).with_state(Arc::clone(self))
    }

    /// Loads a file that comes as a request's body.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load_body(
        self: &Arc<Self>,
        body: Body,
        topic: Option<&str>,
    ) -> Result<LoadReport, LoadError> {
        let topic = self.place_of(topic)?;
        let content = self.receive(body).await?;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let loader = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            run::run(&loader, &content, topic, &|_| {})
        });
        task.await.map_err(|error| LoadError::Internal(error.to_string()))?
    }

    async fn receive(&self, mut body: Body) -> Result<Content, LoadError> {
        const NAME: &str = "the request's body";
        let failed = |source| LoadError::Read { path: NAME.to_owned(), source };
        let (content, mut file) = self.spool_file(NAME)?;
        loop {
            let next = tokio::time::timeout(BODY_READ_TIMEOUT, body.frame()).await;
            let Some(frame) = next.map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))? else { break };
            let frame = frame.map_err(|error| failed(std::io::Error::other(error)))?;
            if let Ok(part) = frame.into_data() {
                // To the page cache, as fast as memory; nothing is synced.
                let written = file.write_all(&part);
                written.map_err(|source| LoadError::Spool { path: NAME.to_owned(), source })?;
            }
        }
        Ok(content)
    }
}

/// Longest wait for the next part of a file: what is piped into `load` may come slowly.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(300);

/// Content types that a file may come as. A web page cannot send any of them without asking first, and
/// is not answered when it asks.
const CONTENT_TYPES: [&str; 4] =
    ["application/json", "application/x-ndjson", "application/gzip", "application/octet-stream"];

#[derive(serde::Deserialize)]
struct Parameters {
    topic: Option<String>,
}

async fn handle(
    State(loader): State<Arc<Loader>>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Response {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or("").trim();
    if !CONTENT_TYPES.contains(&essence) {
        let message = format!("content type must be one of {}", CONTENT_TYPES.join(", "));
        return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error("UNSUPPORTED", &message));
    }
    match loader.load_body(request.into_body(), parameters.topic.as_deref()).await {
        Ok(report) => answer(StatusCode::OK, &report_json(&report)),
        Err(failure) => {
            let (status, code) = match &failure {
                LoadError::Read { .. } | LoadError::Topic { .. } => {
                    (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT")
                }
                LoadError::Refused { .. } | LoadError::Spool { .. } => {
                    (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
                }
                LoadError::Ledger { .. } | LoadError::Scan(_) | LoadError::Internal(_) => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL")
                }
            };
            answer(status, &error(code, &failure.to_string()))
        }
    }
}

fn error(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message, "hint": null}})
}

fn report_json(report: &LoadReport) -> Value {
    let problems: Vec<Value> =
        report.problems.iter().map(|(line, reason)| json!({"line": line, "reason": reason})).collect();
    json!({
        "file": report.file,
        "records": report.records,
        "added": report.added,
        "duplicates": report.duplicates,
        "already_loaded": report.already_loaded,
        "rejected": report.rejected,
        "opaque": report.opaque,
        "problems": problems,
    })
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
