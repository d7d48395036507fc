//! Cursors: queries whose rows a client takes in pieces.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result as PlanResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use pgwire::error::{ErrorInfo, PgWireResult};

use crate::errors::{error, hinted, state, user};

/// Open cursors of one connection.
const CURSORS_MAX: usize = 100;

/// One connection's cursors, by name.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    open: Mutex<BTreeMap<String, Arc<Cursor>>>,
}

/// A query that has been read up to some row. It runs on only while somebody asks for rows.
pub(crate) struct Cursor {
    schema: SchemaRef,
    /// Whether it outlives its transaction.
    hold: bool,
    left: Arc<tokio::sync::Mutex<Left>>,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cursor").field("hold", &self.hold).finish_non_exhaustive()
    }
}

/// What has not been read: the end of the last batch, and the batches after it.
struct Left {
    batch: Option<RecordBatch>,
    batches: Option<SendableRecordBatchStream>,
}

impl Cursors {
    /// Opens a cursor over a query that has not begun.
    ///
    /// # Errors
    /// A name that is taken, too many cursors.
    pub(crate) fn open(
        &self,
        name: &str,
        batches: SendableRecordBatchStream,
        hold: bool,
    ) -> Result<(), ErrorInfo> {
        let mut open = self.lock();
        if open.contains_key(name) {
            return Err(error("42P03", format!("cursor \"{name}\" already exists")));
        }
        if open.len() >= CURSORS_MAX {
            let info = error(state::LIMIT_EXCEEDED, format!("{CURSORS_MAX} cursors are open"));
            return Err(hinted(info, "CLOSE some"));
        }
        let schema = batches.schema();
        let left = Arc::new(tokio::sync::Mutex::new(Left { batch: None, batches: Some(batches) }));
        open.insert(name.to_owned(), Arc::new(Cursor { schema, hold, left }));
        Ok(())
    }

    /// A cursor.
    ///
    /// # Errors
    /// A name that no cursor has.
    pub(crate) fn get(&self, name: &str) -> PgWireResult<Arc<Cursor>> {
        self.find(name).ok_or_else(|| user(missing(name)))
    }

    /// A cursor, if there is one of the name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Cursor>> {
        self.lock().get(name).cloned()
    }

    /// Ends one cursor, or all.
    ///
    /// # Errors
    /// A name that no cursor has.
    pub(crate) fn close(&self, name: Option<&str>) -> Result<(), ErrorInfo> {
        let mut open = self.lock();
        match name {
            None => open.clear(),
            Some(name) => {
                open.remove(name).ok_or_else(|| missing(name))?;
            }
        }
        Ok(())
    }

    /// Ends the cursors that end with their transaction.
    pub(crate) fn end_transaction(&self) {
        self.lock().retain(|_, cursor| cursor.hold);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Cursor>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(name: &str) -> ErrorInfo {
    error(state::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

impl Cursor {
    /// The columns of its rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows, at most so many; all without a number.
    pub(crate) async fn take(&self, rows: Option<usize>) -> SendableRecordBatchStream {
        let left = Arc::clone(&self.left).lock_owned().await;
        let taken = stream::unfold((left, rows), |(mut left, rows)| async move {
            if rows == Some(0) {
                return None;
            }
            let batch = left.next(rows).await?;
            let got = batch.as_ref().map_or(0, RecordBatch::num_rows);
            Some((batch, (left, rows.map(|rows| rows.saturating_sub(got)))))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), taken))
    }
}

impl Left {
    async fn next(&mut self, rows_max: Option<usize>) -> Option<PlanResult<RecordBatch>> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => match self.batches.as_mut()?.next().await {
                Some(Ok(batch)) => batch,
                // After its end, or its failure, a query is asked for nothing more.
                ended => {
                    self.batches = None;
                    return ended;
                }
            },
        };
        match rows_max {
            Some(rows) if rows < batch.num_rows() => {
                self.batch = Some(batch.slice(rows, batch.num_rows() - rows));
                Some(Ok(batch.slice(0, rows)))
            }
            _ => Some(Ok(batch)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Int64Array;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    fn numbers(batches: &[std::ops::Range<i64>]) -> SendableRecordBatchStream {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let of = Arc::clone(&schema);
        let batches: Vec<_> = batches
            .iter()
            .map(|range| {
                let column = Arc::new(Int64Array::from_iter_values(range.clone()));
                Ok(RecordBatch::try_new(Arc::clone(&of), vec![column]).unwrap())
            })
            .collect();
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches)))
    }

    async fn taken(cursor: &Cursor, rows: Option<usize>) -> Vec<usize> {
        let batches: Vec<_> = cursor.take(rows).await.collect().await;
        batches.into_iter().map(|batch| batch.unwrap().num_rows()).collect()
    }

    #[tokio::test]
    async fn rows_come_in_pieces_and_each_once() {
        let cursors = Cursors::default();
        cursors.open("c", numbers(&[0..5, 5..7]), false).unwrap();
        let cursor = cursors.get("c").unwrap();
        assert_eq!(taken(&cursor, Some(0)).await, Vec::<usize>::new());
        assert_eq!(taken(&cursor, Some(3)).await, [3]);
        assert_eq!(taken(&cursor, Some(3)).await, [2, 1]);
        assert_eq!(taken(&cursor, None).await, [1]);
        assert_eq!(taken(&cursor, Some(3)).await, Vec::<usize>::new());
    }

    #[test]
    fn cursors_have_names_an_end_and_a_limit() {
        let cursors = Cursors::default();
        cursors.open("c", numbers(&[]), false).unwrap();
        assert_eq!(cursors.open("c", numbers(&[]), false).unwrap_err().code, "42P03");
        cursors.open("kept", numbers(&[]), true).unwrap();
        cursors.end_transaction();
        assert!(cursors.find("c").is_none() && cursors.find("kept").is_some());
        cursors.close(Some("kept")).unwrap();
        assert_eq!(cursors.close(Some("kept")).unwrap_err().code, "34000");
        for index in 0..CURSORS_MAX {
            cursors.open(&index.to_string(), numbers(&[]), false).unwrap();
        }
        assert_eq!(cursors.open("more", numbers(&[]), false).unwrap_err().code, "53400");
        cursors.close(None).unwrap();
        cursors.open("more", numbers(&[]), false).unwrap();
    }
}
