//! What plans run in: memory and spill limits, settings, and the state that DataFusion plans with.

use std::path::Path;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::prelude::SessionConfig;

use crate::error::{SqlError, from_datafusion};
use crate::memory::QueryPool;
use crate::optimize::rules;

/// Limits and settings that plans of one kind share.
pub(crate) struct Session {
    runtime: Arc<RuntimeEnv>,
    config: SessionConfig,
}

/// What one kind of plans may take.
pub(crate) struct SessionLimits<'a> {
    pub(crate) memory_bytes_max: usize,
    pub(crate) spill_dir: Option<&'a Path>,
    pub(crate) spill_bytes_max: u64,
    pub(crate) partitions: usize,
}

impl Session {
    /// # Errors
    /// When the spill folder cannot be used.
    pub(crate) fn new(limits: &SessionLimits<'_>) -> Result<Self, SqlError> {
        Ok(Self { runtime: runtime(limits)?, config: config(limits) })
    }

    /// The memory and spill files that all plans share.
    pub(crate) fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    /// The settings of plans.
    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The state of one plan.
    pub(crate) fn state(&self) -> SessionState {
        SessionStateBuilder::new()
            .with_config(self.config.clone())
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_optimizer_rules(rules())
            .build()
    }
}

/// The plan as it is run.
///
/// # Errors
/// What tables say when they are asked for their files, and mistakes of ours.
pub(crate) async fn physical(
    plan: &LogicalPlan,
    state: &SessionState,
) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
    let planned = state.query_planner().create_physical_plan(plan, state).await;
    planned.and_then(yielding).map_err(|error| from_datafusion(&error))
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

fn runtime(limits: &SessionLimits<'_>) -> Result<Arc<RuntimeEnv>, SqlError> {
    let pool = QueryPool::new(limits.memory_bytes_max, limits.spill_dir.is_some());
    let mode = match limits.spill_dir {
        Some(folder) => DiskManagerMode::Directories(vec![folder.to_owned()]),
        None => DiskManagerMode::Disabled,
    };
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(
            DiskManagerBuilder::default()
                .with_mode(mode)
                .with_max_temp_directory_size(limits.spill_bytes_max),
        )
        .build_arc()
        .map_err(|error| SqlError::internal(format!("cannot set up queries: {}", error.strip_backtrace())))
}

fn config(limits: &SessionLimits<'_>) -> SessionConfig {
    let mut session = SessionConfig::new()
        .with_target_partitions(limits.partitions.max(1))
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = session.options_mut();
    // A sort must fit in a fraction of a small limit before it may give up memory.
    options.execution.sort_spill_reservation_bytes = (limits.memory_bytes_max / 16).min(10 * 1024 * 1024);
    options.sql_parser.default_null_ordering = "nulls_min".to_owned();
    session
}
