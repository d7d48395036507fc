//! The root of every plan that a session runs: it ends the query at its time limit, at its row limit and
//! when it is cancelled, whether or not the client reads.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{FutureExt, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::control::SessionControl;
use crate::engine::{Inner, runtime_or_current};
use crate::error::{SqlError, from_datafusion};
use crate::result::Limits;
use crate::running::Tally;

/// Batches that are made ahead of what the client has taken.
const BATCHES_AHEAD_MAX: usize = 1;

/// How long a query whose rows nobody takes keeps its place among those that run.
const UNREAD_MAX: Duration = Duration::from_secs(1);

/// What one session's queries may take.
#[derive(Debug, Clone)]
pub(super) struct GuardLimits {
    pub(super) engine: Arc<Inner>,
    pub(super) control: Arc<SessionControl>,
}

impl GuardLimits {
    /// The limits of a query that starts now.
    pub(super) fn starting(&self) -> Limits {
        let config = &self.engine.config;
        let timeout = self.control.statement_timeout(config.timeout);
        Limits { deadline: Instant::now() + timeout, timeout, rows_max: config.rows_max }
    }
}

/// Runs its input in a task of its own. The task holds the query's memory and ends with the query, so a
/// client that reads slowly, or never, holds no more than [`BATCHES_AHEAD_MAX`] batches past the time limit.
#[derive(Debug)]
pub(super) struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    limits: GuardLimits,
}

impl GuardExec {
    /// `input` has one partition.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, limits: GuardLimits) -> Self {
        let properties = Arc::clone(input.properties());
        Self { input, properties, limits }
    }
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "GuardExec: timeout_ms={}, rows_max={}",
            self.limits.engine.config.timeout.as_millis(),
            self.limits.engine.config.rows_max
        )
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.limits.clone()))),
            _ => internal_err!("GuardExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("GuardExec has one partition, not {partition}");
        }
        let (input, limits) = (Arc::clone(&self.input), self.limits.clone());
        // The clock starts with the first row that is asked for: a cursor that nobody reads runs nothing.
        let rows = stream::once(async move { started(input, context, &limits) }).flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

type Batch = Result<RecordBatch>;

/// Starts the query; its batches come through a channel. Dropping the stream ends the task.
fn started(
    input: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    limits: &GuardLimits,
) -> stream::BoxStream<'static, Batch> {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD_MAX);
    let limited = limits.starting();
    let engine = Arc::clone(&limits.engine);
    let mut cancellation = limits.control.cancellation();
    let runtime = match runtime_or_current(engine.config.runtime.as_ref()) {
        Ok(runtime) => runtime,
        Err(error) => return stream::once(std::future::ready(Err(error.into()))).boxed(),
    };
    let mut task = JoinSet::new();
    let work = async move {
        let mut tally = Tally::begin(limited.deadline);
        let run = AssertUnwindSafe(send_batches(&engine, input, context, &limited, &sender)).catch_unwind();
        let ended: Result<(), SqlError> = tokio::select! {
            biased;
            error = cancellation.cancelled() => Err(error),
            () = tokio::time::sleep_until(limited.deadline) => Err(limited.timed_out()),
            ended = run => match ended {
                Ok(result) => result.map_err(|error| from_datafusion(&error)),
                Err(_) => Err(SqlError::internal("the query engine failed on this query")),
            },
        };
        tally.end(&ended);
        if let Err(error) = ended {
            // The query is dropped by now and its memory free, however long the client takes to hear of it.
            let _ = sender.send(Err(error.into())).await;
        }
    };
    task.spawn_on(work, &runtime);
    stream::unfold((receiver, task), |(mut receiver, task)| async move {
        let batch = receiver.recv().await?;
        Some((batch, (receiver, task)))
    })
    .boxed()
}

async fn send_batches(
    engine: &Inner,
    input: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    limits: &Limits,
    sender: &mpsc::Sender<Batch>,
) -> Result<()> {
    let mut place = Some(engine.admission.enter(limits).await?);
    let mut batches = input.execute(0, context)?;
    let mut rows: usize = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        if rows > limits.rows_max {
            return Err(SqlError::too_many_rows(limits.rows_max).into());
        }
        if batch.num_rows() == 0 {
            continue;
        }
        let free = match timeout(UNREAD_MAX, sender.reserve()).await {
            Ok(free) => free,
            Err(_) => {
                // Who reads slowly must not keep others from running.
                place = None;
                sender.reserve().await
            }
        };
        // Nobody reads any more.
        let Ok(free) = free else { return Ok(()) };
        free.send(Ok(batch));
        if place.is_none() {
            place = Some(engine.admission.enter(limits).await?);
        }
    }
    Ok(())
}
