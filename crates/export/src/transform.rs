//! The transform of a BigQuery subscription's pipeline.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use millrace_model::{
    AttributeIter, Cell, CellError, ColumnId, ErrorClass, Failure, MessageBatch, MessageId, MessageView,
    RowSink, Stage, Transform, TransformFactory, UdfHash,
};
use millrace_table::{FieldType, TableSpec};

use crate::payload::{self, Rules, text};
use crate::{COLUMN_DATA, ExportConfig, METADATA_COLUMNS};

/// The attribute under which the ordering key stands among the attributes, when there is one and no
/// attribute is called so: the service puts it there and does not say how it calls it.
const ORDERING_KEY: &str = "ordering_key";

/// Whether a message with these attributes is the subscription's.
pub type Passes = Arc<dyn Fn(AttributeIter<'_>) -> bool + Send + Sync>;

/// Told of the messages of a batch that become dead letters, before they are; again after a crash.
pub type Failed = Arc<dyn Fn(&MessageBatch, &[(usize, Failure)]) + Send + Sync>;

/// Makes rows of messages as a subscription's `bigquery_config` says.
#[derive(Clone)]
pub struct Exporter {
    config: Arc<ExportConfig>,
    table: Arc<TableSpec>,
    passes: Option<Passes>,
    failed: Option<Failed>,
}

impl Exporter {
    /// Of a table that [fits](crate::check).
    #[must_use]
    pub fn new(config: ExportConfig, table: Arc<TableSpec>) -> Self {
        Self { config: Arc::new(config), table, passes: None, failed: None }
    }

    /// Only messages that pass have rows; the others are filtered.
    #[must_use]
    pub fn with_filter(self, passes: Passes) -> Self {
        Self { passes: Some(passes), ..self }
    }

    /// Tells of failures.
    #[must_use]
    pub fn with_failed(self, failed: Failed) -> Self {
        Self { failed: Some(failed), ..self }
    }

    fn put(&self, batch: &MessageBatch, message: usize, rows: &mut dyn RowSink) -> Result<(), CellError> {
        let view = batch.get(message);
        if self.config.use_table_schema {
            let row = utf8(view.data)?;
            if self.config.write_metadata || self.config.drop_unknown_fields {
                let before = if self.config.write_metadata {
                    self.metadata_text(batch, &view)?
                } else {
                    String::new()
                };
                let rules = Rules {
                    fields: self.table.schema.fields(),
                    drops_unknown: self.config.drop_unknown_fields,
                    keeps_metadata: self.config.write_metadata,
                };
                rows.put_json_row(message, &payload::row(row, &before, rules)?)?;
            } else {
                rows.put_json_row(message, row)?;
            }
        } else {
            self.put_data(message, view.data, rows)?;
            if self.config.write_metadata {
                for (name, value) in METADATA_COLUMNS.iter().zip(self.metadata(batch, &view)?) {
                    rows.put(message, column(rows, name)?, Cell::String(&value))?;
                }
            }
        }
        rows.finish_row(message)
    }

    fn put_data(&self, message: usize, data: &[u8], rows: &mut dyn RowSink) -> Result<(), CellError> {
        let to = column(rows, COLUMN_DATA)?;
        match self.table.schema.field(COLUMN_DATA).map(|field| field.kind) {
            Some(FieldType::Bytes) => rows.put(message, to, Cell::String(&STANDARD.encode(data))),
            // A JSON column reads the text.
            _ => rows.put(message, to, Cell::String(utf8(data)?)),
        }
    }

    /// The values of [`METADATA_COLUMNS`], in their order.
    fn metadata(&self, batch: &MessageBatch, view: &MessageView<'_>) -> Result<[String; 4], CellError> {
        let id = MessageId { topic: batch.topic(), offset: view.offset };
        let time = DateTime::from_timestamp_micros(view.publish_time.0).unwrap_or_default();
        let mut attributes: BTreeMap<&str, &str> = BTreeMap::new();
        if let Some(key) = std::str::from_utf8(view.ordering_key).ok().filter(|key| !key.is_empty()) {
            attributes.insert(ORDERING_KEY, key);
        }
        attributes.extend(view.attributes.clone());
        let attributes = serde_json::to_string(&attributes)
            .map_err(|error| CellError { class: ErrorClass::InvalidJson, message: error.to_string() })?;
        let published = time.to_rfc3339_opts(SecondsFormat::Micros, true);
        Ok([self.config.subscription.clone(), id.to_string(), published, attributes])
    }

    /// The same as the inside of a JSON object. Attributes are text there too: a JSON column reads it.
    fn metadata_text(&self, batch: &MessageBatch, view: &MessageView<'_>) -> Result<String, CellError> {
        let values = self.metadata(batch, view)?;
        let pairs = METADATA_COLUMNS.iter().zip(values);
        let pairs = pairs.map(|(name, value)| Ok(format!("\"{name}\":{}", text(&value)?)));
        Ok(pairs.collect::<Result<Vec<_>, CellError>>()?.join(","))
    }
}

impl TransformFactory for Exporter {
    fn create(&self) -> Result<Box<dyn Transform>, String> {
        Ok(Box::new(self.clone()))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        None
    }
}

impl Transform for Exporter {
    fn transform(&mut self, batch: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink) {
        let mut failures = Vec::new();
        for message in range {
            if self.passes.as_ref().is_some_and(|passes| !passes(batch.get(message).attributes)) {
                rows.filtered(message);
                continue;
            }
            if let Err(error) = self.put(batch, message, rows) {
                let CellError { class, message: text } = error;
                let failure = Failure { stage: Stage::Row, class, message: text, stack: None };
                if self.failed.is_some() {
                    failures.push((message, failure.clone()));
                }
                rows.dead_letter(message, failure);
            }
        }
        if let (Some(failed), false) = (&self.failed, failures.is_empty()) {
            failed(batch, &failures);
        }
    }
}

fn column(rows: &dyn RowSink, name: &str) -> Result<ColumnId, CellError> {
    rows.column(name).ok_or_else(|| {
        let message = format!("the table has no column {name}");
        CellError { class: ErrorClass::UnknownField, message }
    })
}

fn utf8(data: &[u8]) -> Result<&str, CellError> {
    std::str::from_utf8(data).map_err(|error| {
        let message = format!("the payload is not UTF-8: invalid from byte {} on", error.valid_up_to());
        CellError { class: ErrorClass::InvalidUtf8, message }
    })
}

#[cfg(test)]
mod tests;
