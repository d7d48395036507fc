//! Planning that nobody waits for any more ends at its next step. DataFusion's planner cannot be interrupted,
//! so rules that change nothing stand between its rules and look whether to go on.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Code, SqlError};

thread_local! {
    /// Whether what this thread plans has been given up.
    static GIVEN_UP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// The end of some planning that its client holds.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    given_up: Arc<AtomicBool>,
    done: bool,
}

/// The end that the thread holds which plans.
#[derive(Debug)]
pub(super) struct Working(Arc<AtomicBool>);

impl Waiting {
    /// The other end.
    pub(super) fn working(&self) -> Working {
        Working(Arc::clone(&self.given_up))
    }

    /// The work has ended by itself.
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.done {
            self.given_up.store(true, Ordering::Relaxed);
            metrics::counter!("millrace_plannings_given_up_total").increment(1);
        }
    }
}

impl Working {
    /// Plans on this thread, until it is done or given up.
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        GIVEN_UP.with_borrow_mut(|given_up| *given_up = Some(self.0));
        let _forget = Forget;
        work()
    }
}

/// Forgets what the thread planned, however it ends.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        GIVEN_UP.with_borrow_mut(|given_up| *given_up = None);
    }
}

/// Whether to go on.
///
/// # Errors
/// [`Code::Cancelled`], which nobody reads.
pub(super) fn go_on() -> Result<()> {
    let given_up = GIVEN_UP
        .with_borrow(|given_up| given_up.as_ref().is_some_and(|given_up| given_up.load(Ordering::Relaxed)));
    match given_up {
        true => Err(SqlError::new(Code::Cancelled, "the planning of this query was given up").into()),
        false => Ok(()),
    }
}

/// The rule that stands between the others.
#[derive(Debug)]
pub(super) struct GoOn;

impl GoOn {
    /// The rules with this one before each.
    pub(super) fn between<R: ?Sized>(rules: Vec<Arc<R>>, this: &Arc<R>) -> Vec<Arc<R>> {
        rules.into_iter().flat_map(|rule| [Arc::clone(this), rule]).collect()
    }
}

const NAME: &str = "go_on_unless_given_up";

impl AnalyzerRule for GoOn {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        go_on().map(|()| plan)
    }

    fn name(&self) -> &'static str {
        NAME
    }
}

impl OptimizerRule for GoOn {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        go_on().map(|()| Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for GoOn {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        go_on().map(|()| plan)
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_when_nobody_waits_for_it() {
        let waiting = Waiting::default();
        let working = waiting.working();
        let seen = working.run(|| {
            let before = go_on().is_ok();
            drop(waiting);
            (before, go_on().is_ok())
        });
        assert_eq!(seen, (true, false));
        // What the thread does next is not concerned.
        assert!(go_on().is_ok());
        let waiting = Waiting::default();
        let working = waiting.working();
        waiting.done();
        assert!(working.run(|| go_on().is_ok()));
    }
}
