//! `/api/views`: the views, listed, shown, made, removed, refreshed.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use millrace_sql::{ResultInfo, ViewInfo, ViewOrigin};
use serde::{Deserialize, Serialize};

use crate::api::{ApiError, ApiState, json_only};

/// What `GET /api/views` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewList {
    /// All views: the built-in ones, each after those it stands on, then the user's.
    pub views: Vec<ViewReport>,
}

/// One view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewReport {
    /// Its name in the default dataset.
    pub name: String,
    /// `built in`, or the path of its file.
    pub origin: String,
    /// Why it cannot be queried, as far as its text alone tells.
    pub error: Option<String>,
    /// What is kept of its result; absent when it is no materialised view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub materialized: Option<ViewResultReport>,
    /// Its text, in the answer about one view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// What is kept of a materialised view's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewResultReport {
    /// Whether it is renewed without being asked for.
    pub enable_refresh: bool,
    /// Minutes between two refreshes.
    pub refresh_interval_minutes: f64,
    /// How old it may be while the tables below change, in seconds.
    pub max_staleness_seconds: Option<f64>,
    /// `current` (the tables have not changed since: it is read), `within limit` (they have, and it is
    /// read), `out of date` (too old: the view is computed) or `missing` (nothing is stored: likewise).
    pub freshness: String,
    /// The moment that it shows, RFC 3339.
    pub last_refresh: Option<String>,
    /// How long ago that was, in seconds.
    pub age_seconds: Option<f64>,
    /// Its rows.
    pub rows: Option<u64>,
    /// Its bytes on disk.
    pub bytes: Option<u64>,
    /// Why the newest refresh failed, when it did.
    pub error: Option<String>,
}

impl ViewReport {
    /// A view without its text.
    #[must_use]
    pub fn brief(info: &ViewInfo) -> Self {
        Self {
            name: info.name.clone(),
            origin: match &info.origin {
                ViewOrigin::BuiltIn => "built in".to_owned(),
                ViewOrigin::File(path) => path.display().to_string(),
            },
            error: info.error.as_ref().map(ToString::to_string),
            materialized: info.result.as_ref().map(ViewResultReport::from),
            sql: None,
        }
    }

    /// A view with its text.
    #[must_use]
    pub fn whole(info: &ViewInfo) -> Self {
        Self { sql: Some(info.sql.clone()), ..Self::brief(info) }
    }
}

impl From<&ResultInfo> for ViewResultReport {
    fn from(info: &ResultInfo) -> Self {
        Self {
            enable_refresh: info.kept.enable_refresh,
            refresh_interval_minutes: info.kept.refresh_interval.as_secs_f64() / 60.0,
            max_staleness_seconds: info.kept.max_staleness.map(|limit| limit.as_secs_f64()),
            freshness: info.freshness.as_str().to_owned(),
            last_refresh: info.refreshed_at(),
            age_seconds: info.age.map(|age| age.as_secs_f64()),
            rows: info.rows,
            bytes: info.bytes,
            error: info.error.as_ref().map(ToString::to_string),
        }
    }
}

pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/views", get(list))
        .route("/api/views/{name}", get(show).put(create).delete(remove))
        .route("/api/views/{name}/refresh", post(refresh))
}

async fn list(State(state): State<ApiState>) -> Result<Json<ViewList>, ApiError> {
    let views = blocking(move || state.engine.views()).await?;
    Ok(Json(ViewList { views: views.iter().map(ViewReport::brief).collect() }))
}

async fn show(State(state): State<ApiState>, Path(name): Path<String>) -> Result<Json<ViewReport>, ApiError> {
    let wanted = name.clone();
    match blocking(move || state.engine.view(&wanted)).await? {
        Some(view) => Ok(Json(ViewReport::whole(&view))),
        None => Err(missing(&name)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateOptions {
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRequest {
    sql: String,
}

/// `PUT /api/views/{name}?replace=true`: `{"sql"}` in, the view out.
async fn create(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    options: Result<Query<CreateOptions>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<ViewReport>, ApiError> {
    json_only(&headers)?;
    let wrong = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message);
    let Query(options) = options.map_err(|error| wrong(error.body_text()))?;
    let request: CreateRequest = serde_json::from_slice(&body)
        .map_err(|error| wrong(format!("the body is not {{\"sql\"}}: {error}")))?;
    let view = state.engine.create_view(&name, &request.sql, options.replace).await?;
    tracing::info!(view = %name, "view made");
    Ok(Json(ViewReport::whole(&view)))
}

#[derive(Serialize)]
struct Removed {
    removed: bool,
}

/// `DELETE /api/views/{name}`.
async fn remove(State(state): State<ApiState>, Path(name): Path<String>) -> Result<Json<Removed>, ApiError> {
    if !state.engine.drop_view(&name).await? {
        return Err(missing(&name));
    }
    tracing::info!(view = %name, "view removed");
    Ok(Json(Removed { removed: true }))
}

/// `POST /api/views/{name}/refresh`: answers when it is done. A web page cannot ask for it unasked: the
/// content type makes the browser ask first.
async fn refresh(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<ViewReport>, ApiError> {
    json_only(&headers)?;
    state.engine.refresh_view(&name).await?;
    let wanted = name.clone();
    match blocking(move || state.engine.view(&wanted)).await? {
        Some(view) => Ok(Json(ViewReport::brief(&view))),
        None => Err(missing(&name)),
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("view {name} does not exist"))
}

/// What looks at files, off the threads that answer.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        let message = "looking at the views failed";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    })
}
