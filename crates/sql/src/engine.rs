//! The engine: one query from text to a stream of rows.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::dialect::BigQueryDialect;
use tokio::time::{Instant, timeout_at};

use crate::catalog::Catalog;
use crate::config::EngineConfig;
use crate::error::{SqlError, from_datafusion};
use crate::optimize::{optimize, rules};
use crate::parse::{parse_query, point_out};
use crate::plan::Planner;
use crate::result::{Column, Limits, QueryResult};
use crate::types::type_name;
use crate::views::{ViewInfo, Views};

/// Stack for parsing and planning: their recursion follows the query's nesting, which is bounded, on
/// frames of some kilobytes. The pages are taken only when used.
pub(crate) const PLANNING_STACK_BYTES: usize = 64 * 1024 * 1024;

/// Runs GoogleSQL queries over a [`Catalog`]'s tables. Cheap to clone and to share.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) views: Views,
    pub(crate) runtime: Arc<RuntimeEnv>,
    pub(crate) session: SessionConfig,
}

/// A query that is planned and not yet run.
struct Planned {
    state: SessionState,
    plan: LogicalPlan,
    columns: Vec<Column>,
    explain: bool,
}

impl Engine {
    /// Makes an engine. Reads the user's views; touches no table.
    ///
    /// # Errors
    /// When the folder of views cannot be read or the spill folder cannot be used.
    pub fn new(config: EngineConfig, catalog: Arc<dyn Catalog>) -> Result<Self, SqlError> {
        let views = Views::load(&config)?;
        let runtime = runtime(&config)?;
        let session = session(&config);
        Ok(Self { inner: Arc::new(Inner { config, catalog, views, runtime, session }) })
    }

    /// All views: the built-in ones, each after those it stands on, then the user's.
    #[must_use]
    pub fn views(&self) -> Vec<ViewInfo> {
        self.inner.views.list()
    }

    /// What the engine was told at its start.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Starts a query. Planning and the first poll of each operator happen here, the rest while the
    /// result is read.
    ///
    /// # Errors
    /// See [`crate::Code`].
    pub async fn query(&self, sql: &str) -> Result<QueryResult, SqlError> {
        let limits = Limits {
            deadline: Instant::now() + self.inner.config.timeout,
            timeout: self.inner.config.timeout,
            rows_max: self.inner.config.rows_max,
        };
        match timeout_at(limits.deadline, self.start(sql.to_owned(), limits)).await {
            Ok(result) => result,
            Err(_) => Err(limits.timed_out()),
        }
    }

    async fn start(&self, sql: String, limits: Limits) -> Result<QueryResult, SqlError> {
        let inner = Arc::clone(&self.inner);
        let planned =
            tokio::task::spawn_blocking(move || stacker::grow(PLANNING_STACK_BYTES, || inner.plan(&sql)));
        let Planned { state, plan, columns, explain } =
            planned.await.map_err(|_| SqlError::internal("the query planner failed on this query"))??;
        let physical = state
            .query_planner()
            .create_physical_plan(&plan, &state)
            .await
            .map_err(|error| from_datafusion(&error))?;
        if explain {
            let text =
                format!("{}\n\n{}", plan.display_indent(), displayable(physical.as_ref()).indent(false));
            return explained(&text, limits);
        }
        let physical = yielding(physical).map_err(|error| from_datafusion(&error))?;
        let stream = execute_stream(physical, state.task_ctx()).map_err(|error| from_datafusion(&error))?;
        Ok(QueryResult::new(columns, stream, limits))
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
    fn plan(&self, sql: &str) -> Result<Planned, SqlError> {
        let parsed = parse_query(sql, self.config.query_bytes_max)?;
        let state = SessionStateBuilder::new()
            .with_config(self.session.clone())
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_optimizer_rules(rules())
            .build();
        let options = Arc::clone(state.config().options());
        let now = millrace_model::Micros::now().0;
        let planner =
            Planner::new(self.catalog.as_ref(), &self.views, &self.config.default_dataset, &options, now);
        let (plan, shown) = planner.plan(parsed.query).map_err(|error| point_out(error, sql, &BigQueryDialect {}))?;
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
}

/// Makes joins give way now and then. A join makes many batches out of one of its input's, so what counts
/// reads would let it run on past every time limit and starve whoever shares its thread.
pub(crate) fn yielding(plan: Arc<dyn ExecutionPlan>) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| match node.children().len() {
        0 | 1 => Ok(Transformed::no(node)),
        _ => Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)),
    })
    .map(|changed| changed.data)
}

fn runtime(config: &EngineConfig) -> Result<Arc<RuntimeEnv>, SqlError> {
    // Without a place to spill to, a fair share is only a smaller one.
    let pool: Arc<dyn MemoryPool> = match config.spill_dir {
        Some(_) => Arc::new(FairSpillPool::new(config.memory_bytes_max)),
        None => Arc::new(GreedyMemoryPool::new(config.memory_bytes_max)),
    };
    let mode = match &config.spill_dir {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::Disabled,
    };
    RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_disk_manager_builder(
            DiskManagerBuilder::default()
                .with_mode(mode)
                .with_max_temp_directory_size(config.spill_bytes_max),
        )
        .build_arc()
        .map_err(|error| SqlError::internal(format!("cannot set up queries: {}", error.strip_backtrace())))
}

fn session(config: &EngineConfig) -> SessionConfig {
    let mut session = SessionConfig::new()
        .with_target_partitions(config.partitions.max(1))
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = session.options_mut();
    // A sort must fit in a fraction of a small limit before it may give up memory.
    options.execution.sort_spill_reservation_bytes = (config.memory_bytes_max / 16).min(10 * 1024 * 1024);
    options.sql_parser.default_null_ordering = "nulls_min".to_owned();
    session
}

/// A plan as a result of one column, a line a row.
fn explained(text: &str, limits: Limits) -> Result<QueryResult, SqlError> {
    let schema = Arc::new(Schema::new(vec![Field::new("plan", DataType::Utf8, false)]));
    let lines = StringArray::from(text.lines().collect::<Vec<_>>());
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(lines)])
        .map_err(|error| SqlError::internal(error.to_string()))?;
    let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]));
    let columns = vec![Column { name: "plan".to_owned(), type_name: "STRING".to_owned() }];
    Ok(QueryResult::new(columns, Box::pin(stream), limits))
}
