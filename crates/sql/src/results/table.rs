//! A stored result as a table that plans can read.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;

use super::file::ResultFile;
use crate::error::{SqlError, from_datafusion};

/// Batches read ahead of what asks for them.
const BATCHES_AHEAD: usize = 2;

/// A table over a stored result.
///
/// # Errors
/// Mistakes of ours only.
pub(super) fn provider(file: &Arc<ResultFile>) -> Result<Arc<dyn TableProvider>, SqlError> {
    let rows = Rows { file: Arc::clone(file), schema: Arc::clone(file.schema()) };
    StreamingTable::try_new(Arc::clone(file.schema()), vec![Arc::new(rows)])
        .map(|table| Arc::new(table) as Arc<dyn TableProvider>)
        .map_err(|error| from_datafusion(&error))
}

#[derive(Debug)]
struct Rows {
    file: Arc<ResultFile>,
    schema: SchemaRef,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let (file, sender) = (Arc::clone(&self.file), stream.tx());
        stream.spawn_blocking(move || {
            for batch in file.batches(None)? {
                // Nobody reads any more.
                if sender.blocking_send(batch.map_err(DataFusionError::from)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}
