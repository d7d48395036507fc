//! The table's word on what a UDF returned.

use std::ops::Range;
use std::sync::Arc;

use millrace_model::{Failure, MessageBatch, RowSink as _, Stage};
use millrace_table::{RowBuilder, SchemaError, SpecError, TableSchema, TableSpec};
use millrace_udf::Verdict;

/// Holds rows against a table's schema: what does not fit becomes the dead letter that it would be.
#[derive(Debug, Clone)]
pub struct Check {
    spec: Arc<TableSpec>,
}

/// Why a schema cannot be held against.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It is no BigQuery schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// It makes no table.
    #[error(transparent)]
    Table(#[from] SpecError),
}

impl Check {
    /// A check against the JSON of `bq show --schema`.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn new(schema: &str) -> Result<Self, CheckError> {
        let spec = TableSpec::new("rows", TableSchema::parse(schema)?, None, &[])?;
        Ok(Self { spec: Arc::new(spec) })
    }

    /// Replaces each verdict of `range` whose row the table refuses.
    pub(crate) fn hold(&self, batch: &Arc<MessageBatch>, range: Range<usize>, verdicts: &mut [Verdict]) {
        let mut rows = RowBuilder::new(Arc::clone(&self.spec), Arc::clone(batch));
        for (message, verdict) in range.zip(verdicts) {
            let put = match &*verdict {
                Verdict::Row(returned) => {
                    rows.put_json_row(message, &returned.text).and_then(|()| rows.finish_row(message))
                }
                Verdict::Filtered | Verdict::Failed(_) => {
                    rows.filtered(message);
                    continue;
                }
            };
            if let Err(error) = put {
                let failure =
                    Failure { stage: Stage::Row, class: error.class, message: error.message, stack: None };
                rows.dead_letter(message, failure.clone());
                *verdict = Verdict::Failed(failure);
            }
        }
    }
}
