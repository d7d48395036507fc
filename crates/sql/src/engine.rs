//! The engine: one query from text to a stream of rows.

use std::sync::Arc;

use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::catalog::Catalog;
use crate::config::{EngineConfig, Pseudonyms};
use crate::error::{SqlError, from_datafusion};
use crate::optimize::optimize;
use crate::parse::{parse_query, point_out};
use crate::plan::Planner;
use crate::prices::WithPrices;
use crate::result::{Column, Limits, QueryResult};
use crate::results::Results;
use crate::running;
use crate::session::{Session, SessionLimits};
use crate::types::type_name;
use crate::views::{ViewStore, Views};

/// Runs GoogleSQL queries over a [`Catalog`]'s tables. Cheap to clone and to share.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) views: ViewStore,
    pub(crate) results: Results,
    pub(crate) admission: Admission,
    pub(crate) session: Session,
    /// The function that makes pseudonyms, when there is a key.
    pseudonym: Option<Arc<ScalarUDF>>,
}

/// A query that is planned and not yet run.
pub(crate) struct Planned {
    pub(crate) state: SessionState,
    pub(crate) plan: LogicalPlan,
    pub(crate) columns: Vec<Column>,
    pub(crate) explain: bool,
}

impl Engine {
    /// Makes an engine. Reads the user's views and prices; touches no table.
    ///
    /// # Errors
    /// When the folder of views or the prices cannot be read or the spill folder cannot be used.
    pub fn new(config: EngineConfig, catalog: Arc<dyn Catalog>) -> Result<Self, SqlError> {
        let views = ViewStore::open(&config)?;
        let catalog = Arc::new(WithPrices::new(catalog, &config)?);
        let session = Session::new(&SessionLimits {
            memory_bytes_max: config.memory_bytes_max,
            spill_dir: config.spill_dir.as_deref(),
            spill_bytes_max: config.spill_bytes_max,
            partitions: config.partitions,
        })?;
        let pseudonym = match &config.pseudonyms {
            Pseudonyms::Hmac(key) => Some(key.function()),
            Pseudonyms::Off | Pseudonyms::Sha256 => None,
        };
        let results = Results::new(&config)?;
        let admission = Admission::new(config.queries_at_once_max, config.queries_waiting_max);
        Ok(Self { inner: Arc::new(Inner { config, catalog, views, results, admission, session, pseudonym }) })
    }

    /// Starts a query, as soon as fewer than the most run. Planning and the first poll of each operator
    /// happen here, the rest while the result is read.
    ///
    /// # Errors
    /// See [`crate::Code`].
    pub async fn query(&self, sql: &str) -> Result<QueryResult, SqlError> {
        let inner = &self.inner;
        let limits = Limits {
            deadline: Instant::now() + inner.config.timeout,
            timeout: inner.config.timeout,
            rows_max: inner.config.rows_max,
        };
        let runtime = runtime_or_current(inner.config.runtime.as_ref())?;
        let place = inner.admission.enter(&limits).await?;
        let started = running::start(&runtime, Arc::clone(inner), sql.to_owned(), limits, place);
        QueryResult::of(started, limits).await
    }

    /// What the engine was told at its start.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

/// A runtime to spawn on.
///
/// # Errors
/// When none is given and there is none around.
pub(crate) fn runtime_or_current(given: Option<&Handle>) -> Result<Handle, SqlError> {
    match given {
        Some(handle) => Ok(handle.clone()),
        None => Handle::try_current().map_err(|_| SqlError::internal("queries need a tokio runtime")),
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn plan(&self, sql: &str) -> Result<Planned, SqlError> {
        let parsed = parse_query(sql, self.config.query_bytes_max)?;
        let state = self.session.state();
        let views = self.views.current();
        let planner = self.planner(&views, &state).reading(&self.results);
        let (plan, shown) = planner.plan(parsed.query).map_err(|error| point_out(error, sql))?;
        // Before the types are read off: only now every expression has its final one.
        let plan = optimize(&plan, &state).map_err(|error| from_datafusion(&error))?;
        let columns = plan
            .schema()
            .fields()
            .iter()
            .zip(shown.iter())
            .map(|(field, shown)| Column { name: shown.name.clone(), type_name: type_name(field) })
            .collect();
        Ok(Planned { state, plan, columns, explain: parsed.explain })
    }

    /// A planner that computes every view.
    pub(crate) fn planner<'a>(&'a self, views: &'a Views, state: &'a SessionState) -> Planner<'a> {
        let options = state.config().options();
        let now = millrace_model::Micros::now().0;
        Planner::new(self.catalog.as_ref(), views, &self.config.default_dataset, options, now)
            .naming_people_by(self.pseudonym.as_ref())
    }

    /// A state to try plans with that are not run.
    pub(crate) fn state(&self) -> SessionState {
        self.session.state()
    }
}
