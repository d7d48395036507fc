//! From a session's optimised plan to what runs: nothing that writes, JSON parsed once per row, and the
//! guard on top.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::guard::{GuardExec, GuardLimits};
use crate::error::{Code, SqlError};
use crate::optimize::finish;
use crate::session::yielding;

/// Plans a session's queries.
#[derive(Debug)]
pub(super) struct GuardedPlanner {
    limits: GuardLimits,
}

impl GuardedPlanner {
    pub(super) fn new(limits: GuardLimits) -> Self {
        Self { limits }
    }
}

#[async_trait]
impl QueryPlanner for GuardedPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        refuse_writes(plan)?;
        let state = session
            .as_any()
            .downcast_ref::<SessionState>()
            .ok_or_else(|| internal_datafusion_err!("a session without a state"))?;
        let plan = finish(plan.clone(), state)?;
        let physical = DefaultPhysicalPlanner::default().create_physical_plan(&plan, session).await?;
        let mut physical = yielding(physical)?;
        if physical.output_partitioning().partition_count() > 1 {
            physical = Arc::new(CoalescePartitionsExec::new(physical));
        }
        Ok(Arc::new(GuardExec::new(physical, self.limits.clone())))
    }
}

/// Refuses plans that write or change the session, wherever in the plan.
///
/// # Errors
/// [`Code::ReadOnly`], by the statement's name.
pub(super) fn refuse_writes(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let name = match node {
            LogicalPlan::Ddl(ddl) => ddl.name(),
            LogicalPlan::Dml(dml) => dml.op.name(),
            LogicalPlan::Copy(_) => "COPY",
            LogicalPlan::Statement(statement) => statement.name(),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Err(SqlError::new(Code::ReadOnly, format!("{name} is refused: only queries are run here"))
            .hint("write SELECT ... or WITH ... SELECT ...")
            .into())
    })
    .map(|_| ())
}
