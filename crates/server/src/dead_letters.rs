//! `/api/deadletters`: dead letters by class, replayed, purged.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{ApiError, ApiState, json_only};

/// Which dead letters are meant. What is not said does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterChoice {
    /// Those of this pipeline.
    pub pipeline: Option<String>,
    /// Those of this class.
    pub class: Option<String>,
    /// Those that failed at this moment or later, the last time; microseconds since 1970 UTC.
    pub since_micros: Option<i64>,
    /// The one of this message.
    pub message_id: Option<String>,
}

/// A script as it is sent along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentScript {
    /// The file's name, for errors.
    pub name: String,
    /// Its text.
    pub source: String,
}

/// A UDF to use in place of the running one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentUdf {
    /// The scripts, in the order that they are loaded.
    pub scripts: Vec<SentScript>,
    /// The function to call; absent means the configured one.
    pub function: Option<String>,
}

/// What `POST /api/deadletters/replay` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayRequest {
    /// Which dead letters.
    pub choice: DeadLetterChoice,
    /// With which UDF; absent means the version that runs.
    pub udf: Option<SentUdf>,
    /// Only say what would become of them.
    pub dry_run: bool,
}

/// Why something was not done with dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterError {
    /// The request makes no sense: an unknown pipeline or class, a script that does not compile.
    Wrong(String),
    /// Not now: another one is at work.
    Busy(String),
    /// A table or the disk.
    Failed(String),
}

/// What can be done with dead letters. Calls block, replays for as long as they take; answers are JSON.
pub trait DeadLetters: Send + Sync {
    /// The classes.
    ///
    /// # Errors
    /// See [`DeadLetterError`].
    fn classes(&self, choice: &DeadLetterChoice) -> Result<Value, DeadLetterError>;

    /// Replays some, or says what that would do.
    ///
    /// # Errors
    /// See [`DeadLetterError`].
    fn replay(&self, request: &ReplayRequest) -> Result<Value, DeadLetterError>;

    /// Removes some.
    ///
    /// # Errors
    /// See [`DeadLetterError`].
    fn purge(&self, choice: &DeadLetterChoice) -> Result<Value, DeadLetterError>;
}

pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/deadletters", get(classes))
        .route("/api/deadletters/replay", post(replay))
        .route("/api/deadletters/purge", post(purge))
}

async fn classes(
    State(state): State<ApiState>,
    choice: Result<Query<DeadLetterChoice>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(choice) = choice.map_err(|error| wrong(error.body_text()))?;
    blocking(state, move |dead_letters| dead_letters.classes(&choice)).await
}

/// `POST /api/deadletters/replay`: answers when it is done. The replay goes on when the client goes away.
async fn replay(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: ReplayRequest = parse(&headers, &body)?;
    blocking(state, move |dead_letters| dead_letters.replay(&request)).await
}

/// `POST /api/deadletters/purge`: an empty choice means all.
async fn purge(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let choice: DeadLetterChoice = parse(&headers, &body)?;
    blocking(state, move |dead_letters| dead_letters.purge(&choice)).await
}

/// A web page cannot ask for it unasked: the content type makes the browser ask first.
fn parse<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, ApiError> {
    json_only(headers)?;
    serde_json::from_slice(body).map_err(|error| wrong(format!("the body is not what is asked for: {error}")))
}

fn wrong(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

async fn blocking(
    state: ApiState,
    work: impl FnOnce(&dyn DeadLetters) -> Result<Value, DeadLetterError> + Send + 'static,
) -> Result<Json<Value>, ApiError> {
    let dead_letters = Arc::clone(&state.dead_letters);
    let done = tokio::task::spawn_blocking(move || work(dead_letters.as_ref())).await;
    match done {
        Ok(Ok(answer)) => Ok(Json(answer)),
        Ok(Err(DeadLetterError::Wrong(message))) => Err(wrong(message)),
        Ok(Err(DeadLetterError::Busy(message))) => Err(ApiError::new(StatusCode::CONFLICT, "busy", message)),
        Ok(Err(DeadLetterError::Failed(message))) => {
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message))
        }
        Err(_) => {
            let message = "the work on dead letters ended early; this is a bug, please report it";
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
        }
    }
}
