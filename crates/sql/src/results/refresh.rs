//! Computing a materialised view's result and storing it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt as _;
use millrace_disk::{Disk as _, StdDisk};
use millrace_model::Micros;
use tokio::sync::mpsc;

use super::file::{Facts, ResultWriter};
use super::schedule::{Attempt, is_due};
use super::{EXTENSION, Freshness, lock};
use crate::PLANNING_STACK_BYTES;
use crate::engine::{Engine, Inner, runtime_or_current};
use crate::error::{Code, SqlError, from_datafusion};
use crate::optimize::optimize;
use crate::session::physical;
use crate::views::{View, Views};

/// Time between two looks for views that are due, unless something changes before.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Batches that wait to be written.
const BATCHES_WAITING_MAX: usize = 2;

/// What a refresh did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The view.
    pub view: String,
    /// Rows that are stored now.
    pub rows: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// A view's result, planned.
struct Planned {
    plan: LogicalPlan,
    state: SessionState,
    facts: Facts,
}

impl Engine {
    /// Computes a materialised view now, whether or not its tables have changed, and stores the result.
    ///
    /// # Errors
    /// When there is no such materialised view, its query fails, or a limit is passed; what was stored
    /// before stays.
    pub async fn refresh_view(&self, name: &str) -> Result<Refreshed, SqlError> {
        let runtime = runtime_or_current(self.inner().config.results.runtime.as_ref())?;
        let (inner, name) = (Arc::clone(self.inner()), name.to_owned());
        let refreshed = runtime.spawn(async move { inner.refresh(&name).await }).await;
        refreshed.map_err(|_| SqlError::internal("the query engine failed on this view"))?
    }

    /// Refreshes materialised views whenever they are due, one at a time, until `closing` resolves. For
    /// the one process that may write.
    pub async fn keep_views_fresh(&self, closing: impl Future<Output = ()>) {
        let mut closing = std::pin::pin!(closing);
        self.inner().remove_orphans();
        loop {
            let round = async {
                for name in self.inner().due() {
                    // Counted and logged where it happens; tried again after its interval.
                    let _ = self.refresh_view(&name).await;
                }
                let changed = self.inner().results.changed.notified();
                let _ = tokio::time::timeout(LOOK_INTERVAL, changed).await;
            };
            tokio::select! {
                () = round => {}
                () = &mut closing => return,
            }
        }
    }
}

impl Inner {
    /// The materialised views that are due and whose tables have changed.
    fn due(&self) -> Vec<String> {
        let views = self.views.current();
        let now = Micros::now().0;
        let mut due = Vec::new();
        for (name, view) in views.iter() {
            let Some(kept) = view.materialized().filter(|_| self.results.config.dir.is_some()) else {
                continue;
            };
            let info = self.results.info(name, kept, &views, self.catalog.as_ref(), now);
            let digest = view.digest();
            let mut attempts = lock(&self.results.attempts);
            if !is_due(kept, &digest, info.refreshed_micros, attempts.get(name), now) {
                continue;
            }
            if info.freshness == Freshness::Current {
                count(name, "unchanged");
                attempts.insert(name.to_owned(), Attempt { at_micros: now, digest, error: None });
            } else {
                due.push(name.to_owned());
            }
        }
        due
    }

    async fn refresh(self: &Arc<Self>, name: &str) -> Result<Refreshed, SqlError> {
        let _turn = self.results.turn.lock().await;
        let views = self.views.current();
        let Some(view) = views.get(name) else {
            return Err(SqlError::new(Code::NotFound, format!("view {name} does not exist")));
        };
        let (began, at_micros, digest) = (Instant::now(), Micros::now().0, view.digest());
        let limit = self.results.config.refresh_timeout;
        let stored = match tokio::time::timeout(limit, self.store(name, &views)).await {
            Ok(stored) => stored,
            Err(_) => Err(SqlError::new(
                Code::Timeout,
                format!("the refresh of view {name} ran longer than {} s", limit.as_secs()),
            )),
        };
        self.results.forget(name);
        let error = stored.as_ref().err().cloned();
        lock(&self.results.attempts).insert(name.to_owned(), Attempt { at_micros, digest, error });
        let label = name.to_owned();
        metrics::histogram!("millrace_view_refresh_seconds", "view" => label).record(began.elapsed());
        match stored {
            Ok(()) => count(name, "refreshed"),
            Err(error) => {
                count(name, "failed");
                tracing::warn!(view = %name, %error, "a materialised view was not refreshed");
                return Err(error);
            }
        }
        let stored = self.results.stored(name).ok_or_else(|| {
            SqlError::internal(format!("the stored result of view {name} cannot be read back"))
        })?;
        let (rows, bytes, took) = (stored.rows(), stored.bytes(), began.elapsed());
        tracing::info!(view = %name, rows, bytes, ?took, "materialised view refreshed");
        Ok(Refreshed { view: name.to_owned(), rows, bytes, took })
    }

    /// Computes a view and stores what comes.
    async fn store(self: &Arc<Self>, name: &str, views: &Arc<Views>) -> Result<(), SqlError> {
        let path = self
            .results
            .path(name)
            .ok_or_else(|| SqlError::invalid("there is no folder for the results of materialised views"))?;
        let (inner, views, view) = (Arc::clone(self), Arc::clone(views), name.to_owned());
        let planned = tokio::task::spawn_blocking(move || {
            stacker::grow(PLANNING_STACK_BYTES, || inner.plan_result(&view, &views))
        });
        let failed = || SqlError::internal("the query planner failed on this view");
        let Planned { plan, state, facts } = planned.await.map_err(|_| failed())??;
        let physical = physical(&plan, &state).await?;
        let mut stream =
            execute_stream(physical, state.task_ctx()).map_err(|error| from_datafusion(&error))?;
        let (batches, mut waiting) = mpsc::channel(BATCHES_WAITING_MAX);
        let (schema, rows_max, bytes_max) =
            (stream.schema(), self.results.config.rows_max, self.results.config.bytes_max);
        // Dropped with this future, the channel ends without the facts, and nothing is stored.
        let writer = tokio::task::spawn_blocking(move || {
            if let Some(folder) = path.parent() {
                StdDisk.create_dir_all(folder)?;
            }
            let mut writer = ResultWriter::create(&path, &schema, rows_max, bytes_max)?;
            while let Some(item) = waiting.blocking_recv() {
                match item {
                    Item::Rows(batch) => writer.write(&batch)?,
                    Item::End(facts) => return writer.finish(facts),
                }
            }
            Ok(())
        });
        let failed = async {
            while let Some(batch) = stream.next().await {
                let batch = batch.map_err(|error| from_datafusion(&error))?;
                if batches.send(Item::Rows(batch)).await.is_err() {
                    return Ok(());
                }
            }
            let _ = batches.send(Item::End(facts)).await;
            Ok::<(), SqlError>(())
        }
        .await;
        drop(batches);
        let written = writer.await.map_err(|_| SqlError::internal("writing the result failed"))?;
        failed?;
        written.map_err(|error| cannot_store(name, &error))
    }

    /// Plans a materialised view from its tables.
    fn plan_result(&self, name: &str, views: &Arc<Views>) -> Result<Planned, SqlError> {
        let definition = match views.get(name) {
            Some(view) => view.definition()?,
            None => return Err(SqlError::new(Code::NotFound, format!("view {name} does not exist"))),
        };
        if definition.materialized.is_none() {
            return Err(SqlError::invalid(format!("view {name} is not materialised"))
                .hint("it is computed whenever it is queried; there is nothing to refresh"));
        }
        let state = self.results.session.state();
        let refreshed_micros = Micros::now().0;
        let planner = self.planner(views, &state);
        let (plan, columns) = planner.plan_view(name)?;
        let (used, tables) = planner.used();
        refuse_varying(name, used.iter().filter_map(|name| Some((name.as_str(), views.get(name)?))))?;
        let plan = optimize(&plan, &state).map_err(|error| from_datafusion(&error))?;
        let definition = self
            .results
            .definition(used.iter().map(String::as_str), views)
            .ok_or_else(|| SqlError::internal("a view is missing that was planned"))?;
        let facts = Facts {
            view: name.to_owned(),
            definition,
            views: used.into_iter().collect(),
            tables,
            refreshed_micros,
            columns: columns.iter().map(|column| column.name.clone()).collect(),
        };
        Ok(Planned { plan, state, facts })
    }

    /// Tells the refresher that there may be something to do.
    pub(crate) fn views_changed(&self) {
        self.results.changed.notify_one();
    }

    /// Removes what is stored of views that are not materialised any more.
    pub(crate) fn remove_orphans(&self) {
        let Some(folder) = &self.results.config.dir else { return };
        let views = self.views.current();
        let Ok(entries) = StdDisk.read_dir(folder) else { return };
        for entry in entries {
            let view = Path::new(&entry.name).file_stem().unwrap_or_default().to_string_lossy();
            let ours = Path::new(&entry.name).extension().is_some_and(|extension| extension == EXTENSION);
            if ours && views.get(&view).and_then(|view| view.materialized()).is_none() {
                let _ = StdDisk.remove_file(&folder.join(&entry.name));
                self.results.forget(&view);
            }
        }
    }
}

/// What goes from the query to the file.
enum Item {
    Rows(RecordBatch),
    End(Facts),
}

/// Refuses a materialised view that shows another result each time: what is stored of it would be wrong
/// at once (BigQuery refuses them too,
/// <https://cloud.google.com/bigquery/docs/materialized-views-create#unsupported_sql_features>).
pub(crate) fn refuse_varying<'a>(
    name: &str,
    mut used: impl Iterator<Item = (&'a str, &'a View)>,
) -> Result<(), SqlError> {
    match used.find(|(_, view)| view.definition().is_ok_and(|definition| definition.varies)) {
        None => Ok(()),
        Some((varying, _)) => {
            let of = if varying == name { String::new() } else { format!(" of view {varying}, below it,") };
            Err(SqlError::invalid(format!(
                "view {name} cannot be materialised: the query{of} asks for the time or for chance"
            ))
            .hint("leave CURRENT_DATE(), CURRENT_TIMESTAMP() and RAND() to the queries that read it"))
        }
    }
}

fn cannot_store(name: &str, error: &ArrowError) -> SqlError {
    let text = error.to_string();
    let code =
        if text.contains("the most that is stored") { Code::ResourcesExceeded } else { Code::Internal };
    SqlError::new(code, format!("the result of view {name} is not stored: {text}"))
}

fn count(view: &str, outcome: &'static str) {
    metrics::counter!("millrace_view_refreshes_total", "view" => view.to_owned(), "outcome" => outcome)
        .increment(1);
}
