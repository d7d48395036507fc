//! A query at work: a task of its own, so that it runs where queries are to run whoever asks, and gives
//! its place back only when it has really ended.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{displayable, execute_stream};
use futures::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::PLANNING_STACK_BYTES;
use crate::admission::Place;
use crate::engine::{Inner, Planned};
use crate::error::{Code, SqlError, from_datafusion};
use crate::result::{Column, Limits};
use crate::session::physical;

/// Batches that wait for who reads a result: with the one that is made and the one that is read, this
/// bounds what a slow reader keeps in memory.
const BATCHES_WAITING_MAX: usize = 1;

/// A query that has been started: the task and its ends of the channels.
pub(crate) struct Started {
    /// Comes when the query is planned; its sender is dropped when that fails.
    pub(crate) head: oneshot::Receiver<Head>,
    pub(crate) rows: mpsc::Receiver<RecordBatch>,
    pub(crate) task: Task,
}

/// What is known of a result before its rows.
pub(crate) struct Head {
    pub(crate) columns: Vec<Column>,
    pub(crate) schema: SchemaRef,
}

/// A query's task; dropping it stops the query.
pub(crate) struct Task(JoinHandle<Result<(), SqlError>>);

impl Task {
    /// How the query ended. Called once, when one of its channels is closed.
    pub(crate) async fn outcome(&mut self) -> Result<(), SqlError> {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(error) if error.is_cancelled() => Err(SqlError::internal("the query was stopped")),
            Err(_) => Err(SqlError::internal("the query engine failed on this query")),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a query that has its place.
pub(crate) fn start(
    runtime: &Handle,
    inner: Arc<Inner>,
    sql: String,
    limits: Limits,
    place: Place,
) -> Started {
    let (head_sender, head) = oneshot::channel();
    let (rows_sender, rows) = mpsc::channel(BATCHES_WAITING_MAX);
    let task = runtime.spawn(async move {
        let place = Arc::new(place);
        let mut tally = Tally::begin(limits.deadline);
        // It ends in time also when nobody reads its rows.
        let work = run(inner, sql, Arc::clone(&place), head_sender, rows_sender);
        let outcome = match timeout_at(limits.deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(limits.timed_out()),
        };
        tally.end(&outcome);
        outcome
    });
    Started { head, rows, task: Task(task) }
}

/// Counts a query when it ends, however it ends.
pub(crate) struct Tally {
    began: Instant,
    deadline: tokio::time::Instant,
    outcome: &'static str,
}

impl Tally {
    /// Of a query that begins now, and is cancelled unless it ends.
    pub(crate) fn begin(deadline: tokio::time::Instant) -> Self {
        Self { began: Instant::now(), deadline, outcome: "cancelled" }
    }

    /// How the query ended.
    pub(crate) fn end(&mut self, outcome: &Result<(), SqlError>) {
        self.outcome = match outcome {
            Ok(()) => "ok",
            Err(error) if error.code == Code::Timeout => "timeout",
            Err(error) if error.code == Code::Cancelled => "cancelled",
            Err(_) => "error",
        };
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let outcome = match self.outcome {
            _ if std::thread::panicking() => "error",
            // Who reads the result may see the limit pass a moment before the task does, and stop it.
            "cancelled" if tokio::time::Instant::now() >= self.deadline => "timeout",
            outcome => outcome,
        };
        metrics::counter!("millrace_queries_total", "outcome" => outcome).increment(1);
        metrics::histogram!("millrace_query_seconds").record(self.began.elapsed().as_secs_f64());
    }
}

async fn run(
    inner: Arc<Inner>,
    sql: String,
    place: Arc<Place>,
    head: oneshot::Sender<Head>,
    rows: mpsc::Sender<RecordBatch>,
) -> Result<(), SqlError> {
    let planned = tokio::task::spawn_blocking(move || {
        // Planning cannot be stopped half-way, and keeps the place for as long.
        let _place = place;
        stacker::grow(PLANNING_STACK_BYTES, || inner.plan(&sql))
    });
    let planned =
        planned.await.map_err(|_| SqlError::internal("the query planner failed on this query"))??;
    let (columns, mut stream) = open(planned).await?;
    if head.send(Head { columns, schema: stream.schema() }).is_err() {
        stopped().await;
    }
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| from_datafusion(&error))?;
        if rows.send(batch).await.is_err() {
            stopped().await;
        }
    }
    Ok(())
}

/// Nobody reads any more: whoever did is about to stop the task, which then counts as cancelled.
async fn stopped() {
    std::future::pending().await
}

async fn open(planned: Planned) -> Result<(Vec<Column>, SendableRecordBatchStream), SqlError> {
    let Planned { state, plan, columns, explain } = planned;
    let physical = physical(&plan, &state).await?;
    if explain {
        let text = format!("{}\n\n{}", plan.display_indent(), displayable(physical.as_ref()).indent(false));
        return explained(&text);
    }
    let stream = execute_stream(physical, state.task_ctx()).map_err(|error| from_datafusion(&error))?;
    Ok((columns, stream))
}

/// A plan as a result of one column, a line a row.
fn explained(text: &str) -> Result<(Vec<Column>, SendableRecordBatchStream), SqlError> {
    let schema = Arc::new(Schema::new(vec![Field::new("plan", DataType::Utf8, false)]));
    let lines = StringArray::from(text.lines().collect::<Vec<_>>());
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(lines)])
        .map_err(|error| SqlError::internal(error.to_string()))?;
    let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]));
    Ok((vec![Column { name: "plan".to_owned(), type_name: "STRING".to_owned() }], Box::pin(stream)))
}
