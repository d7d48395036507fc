//! `/api/udf`, `/api/pipelines`, `/api/update` and `/api/rerun`: what changes while the server runs.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::{ApiError, ApiState, json_only};
use crate::control::{
    Control, ControlError, ControlFault, RerunReport, RerunRequest, Steer, UdfChange, UdfHistory, UdfShadow,
    UdfSource, UpdateReport,
};

/// Longest name of a pipeline or version in a request, in bytes.
const NAME_BYTES_MAX: usize = 255;

pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/udf/history", get(history))
        .route("/api/udf/reload", post(reload))
        .route("/api/udf/rollback", post(roll_back))
        .route("/api/udf/shadow", get(shadow).post(start_shadow).delete(stop_shadow))
        .route("/api/udf/promote", post(promote))
        .route("/api/pipelines/drain", post(drain))
        .route("/api/pipelines/cancel", post(cancel))
        .route("/api/pipelines/resume", post(resume))
        .route("/api/update", post(update))
        .route("/api/rerun", get(reruns).post(rerun))
}

/// Which pipeline: absent means the only one with a UDF, or all of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    pipeline: Option<String>,
}

type Asked = Result<Query<Which>, QueryRejection>;

async fn history(State(state): State<ApiState>, which: Asked) -> Result<Json<UdfHistory>, ApiError> {
    let which = asked(which)?;
    answer(state, move |control| control.udf_history(which.pipeline.as_deref())).await
}

async fn reload(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<UdfChange>, ApiError> {
    let which: Which = read(&headers, &body)?;
    answer(state, move |control| control.reload_udf(named(&which.pipeline)?)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollBack {
    #[serde(default)]
    pipeline: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

async fn roll_back(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<UdfChange>, ApiError> {
    let asked: RollBack = read(&headers, &body)?;
    answer(state, move |control| control.roll_back_udf(named(&asked.pipeline)?, named(&asked.to)?)).await
}

async fn shadow(State(state): State<ApiState>, which: Asked) -> Result<Json<UdfShadow>, ApiError> {
    let which = asked(which)?;
    answer(state, move |control| control.udf_shadow(which.pipeline.as_deref())).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartShadow {
    #[serde(default)]
    pipeline: Option<String>,
    udf: UdfSource,
}

async fn start_shadow(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<UdfShadow>, ApiError> {
    let asked: StartShadow = read(&headers, &body)?;
    answer(state, move |control| control.start_udf_shadow(named(&asked.pipeline)?, asked.udf.clone())).await
}

async fn stop_shadow(State(state): State<ApiState>, which: Asked) -> Result<Json<UdfShadow>, ApiError> {
    let which = asked(which)?;
    answer(state, move |control| control.stop_udf_shadow(which.pipeline.as_deref())).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promote {
    #[serde(default)]
    pipeline: Option<String>,
    #[serde(default)]
    force: bool,
}

async fn promote(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<UdfChange>, ApiError> {
    let asked: Promote = read(&headers, &body)?;
    answer(state, move |control| control.promote_udf(named(&asked.pipeline)?, asked.force)).await
}

async fn drain(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Vec<String>>, ApiError> {
    steer(state, &headers, &body, Steer::Drain).await
}

async fn cancel(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Vec<String>>, ApiError> {
    steer(state, &headers, &body, Steer::Cancel).await
}

async fn resume(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Vec<String>>, ApiError> {
    steer(state, &headers, &body, Steer::Resume).await
}

async fn steer(
    state: ApiState,
    headers: &HeaderMap,
    body: &Bytes,
    how: Steer,
) -> Result<Json<Vec<String>>, ApiError> {
    let which: Which = read(headers, body)?;
    answer(state, move |control| control.steer(named(&which.pipeline)?, how)).await
}

async fn update(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<UpdateReport>, ApiError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    let Nothing {} = read(&headers, &body)?;
    answer(state, |control| control.update()).await
}

async fn reruns(State(state): State<ApiState>) -> Result<Json<Vec<RerunReport>>, ApiError> {
    answer(state, |control| Ok(control.reruns())).await
}

async fn rerun(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<RerunReport>, ApiError> {
    let request: RerunRequest = read(&headers, &body)?;
    answer(state, move |control| control.rerun(request)).await
}

fn asked(which: Asked) -> Result<Which, ApiError> {
    which.map(|Query(which)| which).map_err(|error| bad_request(error.body_text()))
}

/// A JSON body. The content type is asked for because a web page cannot send it to another origin
/// without asking first.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, ApiError> {
    json_only(headers)?;
    serde_json::from_slice(body)
        .map_err(|error| bad_request(format!("the body is not what is asked for: {error}")))
}

fn bad_request(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

fn named(name: &Option<String>) -> Result<Option<&str>, ControlError> {
    match name.as_deref() {
        Some(name) if name.len() > NAME_BYTES_MAX => Err(ControlError {
            fault: ControlFault::BadRequest,
            message: format!("a name has at most {NAME_BYTES_MAX} bytes"),
        }),
        other => Ok(other),
    }
}

/// Runs a change off the threads that answer: it may take as long as a trial.
async fn answer<T: Send + 'static>(
    state: ApiState,
    work: impl FnOnce(&dyn Control) -> Result<T, ControlError> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    let done = tokio::task::spawn_blocking(move || work(state.control.as_ref())).await;
    let done = done.map_err(|_| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the change ended early; look at the log",
        )
    })?;
    done.map(Json).map_err(ApiError::from)
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let (status, code) = match error.fault {
            ControlFault::BadRequest => (StatusCode::BAD_REQUEST, "bad_request"),
            ControlFault::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            ControlFault::Conflict => (StatusCode::CONFLICT, "conflict"),
            ControlFault::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.message)
    }
}
