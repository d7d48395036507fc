//! The optimizer: DataFusion's, with our own step between its rules and its search for common
//! subexpressions.

mod json_paths;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::{Optimizer, OptimizerRule};

use crate::typed::AnswerFromColumns;
pub(crate) use json_paths::share_json_parses;

type Rules = Vec<Arc<dyn OptimizerRule + Send + Sync>>;

/// Our rule for hidden columns, then DataFusion's rules but for the search for common subexpressions. That one would spread the paths of one
/// JSON column over several projections, before they could be found in one pass.
pub(crate) fn rules() -> Rules {
    let common = CommonSubexprEliminate::new();
    let theirs = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != common.name());
    std::iter::once(Arc::new(AnswerFromColumns) as Arc<_>).chain(theirs).collect()
}

/// Optimises a plan for a session that was made with [`rules`].
///
/// # Errors
/// Types that do not fit, found only now, and mistakes of ours.
pub(crate) fn optimize(plan: &LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    finish(state.optimize(plan)?, state)
}

/// The steps after a session's own rules.
///
/// # Errors
/// Mistakes of ours only.
pub(crate) fn finish(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let plan = share_json_parses(plan)?;
    let last: Rules = vec![Arc::new(CommonSubexprEliminate::new())];
    Optimizer::with_rules(last).optimize(plan, state, |_, _| {})
}
