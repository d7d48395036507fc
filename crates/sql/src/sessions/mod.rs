//! Sessions for clients that speak DataFusion's own SQL, the Postgres dialect of it, over the same tables
//! and views and within the same limits as [`Engine`]'s queries. A session reads only: what writes is
//! refused when it is planned, and once more before it runs.

mod catalog;
mod control;
mod dialect;
mod guard;
mod planner;
mod stop;

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateDefaults};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::Analyzer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

pub use control::{Busy, SessionControl};
pub use dialect::{JSON_FUNCTIONS, parse_postgres};

use crate::PLANNING_STACK_BYTES;
use crate::engine::{Engine, Inner, runtime_or_current};
use crate::error::{Code, SqlError, from_datafusion};
use crate::optimize::rules;
use crate::parse::point_out_in;
use catalog::Datasets;
use guard::GuardLimits;
use planner::{GuardedPlanner, refuse_writes};
use stop::{GoOn, Waiting};

/// Statements that all sessions plan at once. Further ones wait, within their own time.
const PLANNINGS_MAX: usize = 8;

/// Where sessions come from: what all sessions of a server share.
#[derive(Clone)]
pub struct Sessions {
    engine: Engine,
    template: SessionContext,
    /// The places of plannings: one that nobody waits for any more keeps its place until it really ends.
    plannings: Arc<Semaphore>,
}

/// One client's session. Settings made in it end with it.
pub struct Session {
    context: SessionContext,
    limits: GuardLimits,
    plannings: Arc<Semaphore>,
}

impl Engine {
    /// The names of all datasets, in order; the default one is there even when it has no table.
    #[must_use]
    pub fn datasets(&self) -> Vec<String> {
        self.inner().datasets()
    }

    /// Sessions over this engine's tables and views. The catalogue is named like the project and has a
    /// schema for each dataset; names without a schema are of the default dataset.
    ///
    /// # Errors
    /// When DataFusion refuses the settings, which is a mistake of ours.
    pub fn sessions(&self) -> Result<Sessions, SqlError> {
        let inner = self.inner();
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(inner.config.project.clone(), Arc::new(Datasets::new(Arc::clone(inner))));
        let state = SessionStateBuilder::new()
            .with_config(config(inner)?)
            .with_runtime_env(Arc::clone(inner.session.runtime()))
            .with_catalog_list(Arc::new(catalogs))
            .with_analyzer_rules(GoOn::between(Analyzer::new().rules, &(Arc::new(GoOn) as _)))
            .with_optimizer_rules(GoOn::between(rules(), &(Arc::new(GoOn) as _)))
            .with_physical_optimizer_rules(GoOn::between(
                PhysicalOptimizer::new().rules,
                &(Arc::new(GoOn) as _),
            ))
            .with_scalar_functions(dialect::scalar_functions())
            .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_table_function_list(SessionStateDefaults::default_table_functions())
            .with_expr_planners(dialect::expr_planners())
            .build();
        Ok(Sessions {
            engine: self.clone(),
            template: SessionContext::new_with_state(state),
            plannings: Arc::new(Semaphore::new(PLANNINGS_MAX)),
        })
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sessions").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Sessions {
    /// What every session begins as: schemas and functions that are registered here are in all sessions
    /// opened from then on.
    #[must_use]
    pub fn template(&self) -> &SessionContext {
        &self.template
    }

    /// The engine whose tables the sessions read.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Opens a session that `control` ends and shortens.
    #[must_use]
    pub fn open(&self, control: Arc<SessionControl>) -> Session {
        let engine = Arc::clone(self.engine.inner());
        let limits = GuardLimits { engine, control };
        let state = SessionStateBuilder::new_from_existing(self.template.state())
            .with_query_planner(Arc::new(GuardedPlanner::new(limits.clone())))
            .build();
        let plannings = Arc::clone(&self.plannings);
        Session { context: SessionContext::new_with_state(state), limits, plannings }
    }
}

impl Session {
    /// DataFusion's side of the session, to register functions and to change settings. Running queries
    /// through it would do without the time limit on planning.
    #[must_use]
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// What ends and shortens the session.
    #[must_use]
    pub fn control(&self) -> &Arc<SessionControl> {
        &self.limits.control
    }

    /// The time limit of a query that starts now.
    #[must_use]
    pub fn timeout(&self) -> std::time::Duration {
        self.limits.control.statement_timeout(self.limits.engine.config.timeout)
    }

    /// Plans one parsed statement over a snapshot of all tables in it; `sql` is the text that it is of,
    /// for the places of errors.
    ///
    /// # Errors
    /// What is wrong with it; [`crate::Code::ReadOnly`] when it would write; the limit on time.
    pub async fn plan(&self, statement: Statement, sql: &str) -> Result<LogicalPlan, SqlError> {
        let (engine, state, sql) = (Arc::clone(&self.limits.engine), self.context.state(), sql.to_owned());
        self.limited(move |runtime| {
            let planned = state.statement_to_plan(DfStatement::Statement(Box::new(statement)));
            let plan = runtime.block_on(planned).map_err(|error| engine.explain(&error, &sql))?;
            refuse_writes(&plan).map_err(|error| from_datafusion(&error))?;
            Ok(plan)
        })
        .await
    }

    /// Starts a planned query. Nothing runs before the first batch is asked for; from then on the time
    /// limit counts. Errors in the stream are read with [`SqlError::from`].
    ///
    /// # Errors
    /// What is found wrong only now, as types that do not fit; the limit on time.
    pub async fn start(&self, plan: LogicalPlan) -> Result<SendableRecordBatchStream, SqlError> {
        let state = self.context.state();
        self.limited(move |runtime| run(&state, &plan, runtime).map_err(|error| from_datafusion(&error)))
            .await
    }

    /// Runs planning work on a thread and a stack of its own, within the time limit and as long as nobody
    /// cancels it. The thread ends soon after that, but not at once.
    async fn limited<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Handle) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, SqlError> {
        let limits = self.limits.starting();
        let mut cancellation = self.limits.control.cancellation();
        // Where queries run, so that planning weighs as little against ingest as they do.
        let runtime = runtime_or_current(self.limits.engine.config.runtime.as_ref())?;
        let plannings = Arc::clone(&self.plannings);
        let planned = timeout_at(limits.deadline, async move {
            let place = plannings.acquire_owned().await;
            let place = place.map_err(|_| SqlError::internal("no more queries are planned"))?;
            let waiting = Waiting::default();
            let working = waiting.working();
            let handle = runtime.clone();
            let work = move || {
                let _place = place;
                working.run(|| work(&handle))
            };
            let worked = deep(&runtime, work).await;
            waiting.done();
            worked?
        });
        tokio::select! {
            biased;
            error = cancellation.cancelled() => Err(error),
            planned = planned => planned.map_err(|_| limits.timed_out())?,
        }
    }
}

impl Inner {
    /// DataFusion's error about a session's statement, with the nearest name that there is.
    fn explain(&self, error: &DataFusionError, sql: &str) -> SqlError {
        let explained = from_datafusion(error);
        if let Some((dataset, name)) = missing_table(&explained.message) {
            return match self.datasets().iter().any(|known| known == dataset) {
                true => self.planner(&self.views.current(), &self.state()).not_found(dataset, name),
                false => SqlError::new(Code::NotFound, format!("{dataset}.{name} does not exist")),
            };
        }
        if explained.message.starts_with("Invalid function ") {
            let text = error.to_string();
            let hint = text.lines().find(|line| line.starts_with("Did you mean "));
            return explained.maybe_hint(hint.map(|line| line.trim_end().to_lowercase()));
        }
        point_out_in(&PostgreSqlDialect {}, explained, sql)
    }
}

/// Dataset and name in DataFusion's complaint `table 'project.dataset.name' not found`.
fn missing_table(message: &str) -> Option<(&str, &str)> {
    let path = message.strip_prefix("table '")?.strip_suffix("' not found")?;
    path.split_once('.')?.1.split_once('.')
}

fn run(
    state: &SessionState,
    plan: &LogicalPlan,
    runtime: &Handle,
) -> datafusion::common::Result<SendableRecordBatchStream> {
    let physical = runtime.block_on(state.create_physical_plan(plan))?;
    execute_stream(physical, state.task_ctx())
}

/// Runs work that recurses as deeply as a query nests, off the async threads.
///
/// # Errors
/// When the work panics, which is a mistake of ours or of a library.
pub async fn on_deep_stack<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SqlError> {
    deep(&Handle::current(), work).await
}

async fn deep<T: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SqlError> {
    runtime
        .spawn_blocking(move || stacker::grow(PLANNING_STACK_BYTES, work))
        .await
        .map_err(|_| SqlError::internal("the query planner failed on this query"))
}

fn config(inner: &Inner) -> Result<SessionConfig, SqlError> {
    let mut config = inner
        .session
        .config()
        .clone()
        .with_default_catalog_and_schema(&inner.config.project, &inner.config.default_dataset);
    let options = config.options_mut();
    let settings = [
        ("datafusion.sql_parser.dialect", "postgres"),
        ("datafusion.sql_parser.map_string_types_to_utf8view", "false"),
        // Postgres sorts NULL as the largest value.
        ("datafusion.sql_parser.default_null_ordering", "nulls_max"),
        ("datafusion.execution.time_zone", "UTC"),
    ];
    for (key, value) in settings {
        options.set(key, value).map_err(|error| from_datafusion(&error))?;
    }
    Ok(config)
}
