//! A query's result: columns by their BigQuery types and a stream of batches under the query's limits.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, SchemaRef};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout_at};

use crate::error::{Code, SqlError};
use crate::running::{Head, Started, Task};

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Column {
    /// Its name as the query spells it.
    pub name: String,
    /// Its BigQuery type: `INT64`, `ARRAY<STRING>`, ...
    #[serde(rename = "type")]
    pub type_name: String,
}

/// A running query. Rows come as they are made; dropping it stops the query.
pub struct QueryResult {
    /// The columns, in order.
    pub columns: Vec<Column>,
    schema: SchemaRef,
    batches: mpsc::Receiver<RecordBatch>,
    /// Until the query's end is known.
    task: Option<Task>,
    limits: Limits,
    rows: usize,
}

/// What a result may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) deadline: Instant,
    pub(crate) timeout: Duration,
    pub(crate) rows_max: usize,
}

impl Limits {
    pub(crate) fn timed_out(&self) -> SqlError {
        SqlError::new(Code::Timeout, format!("the query ran longer than {} ms", self.timeout.as_millis()))
            .hint("read fewer days or columns, or raise the time limit of queries")
    }
}

impl std::fmt::Debug for QueryResult {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("QueryResult").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl QueryResult {
    /// Waits until a query is planned.
    ///
    /// # Errors
    /// What is wrong with it, and the limit on time.
    pub(crate) async fn of(started: Started, limits: Limits) -> Result<Self, SqlError> {
        let Started { head, rows: batches, mut task } = started;
        match timeout_at(limits.deadline, head).await {
            Err(_) => Err(limits.timed_out()),
            Ok(Ok(Head { columns, schema })) => {
                Ok(Self { columns, schema, batches, task: Some(task), limits, rows: 0 })
            }
            Ok(Err(_)) => {
                task.outcome().await?;
                Err(SqlError::internal("the query ended before it began"))
            }
        }
    }

    /// The Arrow schema of the batches: same columns, same order; names are in lower case.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The Arrow fields of the columns, under the names that the query spells.
    #[must_use]
    pub fn fields(&self) -> Vec<Arc<Field>> {
        let named = self.schema.fields().iter().zip(&self.columns);
        named.map(|(field, column)| Arc::new(field.as_ref().clone().with_name(&column.name))).collect()
    }

    /// The next rows; `None` when there are no more.
    ///
    /// # Errors
    /// What went wrong while the rows were made; `timeout` and `resources_exceeded` by the limits.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        loop {
            let batch = match timeout_at(self.limits.deadline, self.batches.recv()).await {
                Err(_) => return Err(self.limits.timed_out()),
                Ok(Some(batch)) => batch,
                // Only the task knows whether these were all rows.
                Ok(None) => match self.task.take() {
                    Some(mut task) => return task.outcome().await.map(|()| None),
                    None => return Ok(None),
                },
            };
            if batch.num_rows() == 0 {
                continue;
            }
            self.rows += batch.num_rows();
            if self.rows > self.limits.rows_max {
                return Err(SqlError::too_many_rows(self.limits.rows_max));
            }
            return Ok(Some(batch));
        }
    }

    /// All rows at once, for results known to be small.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}
