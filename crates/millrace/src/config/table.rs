//! The sections `[[table]]`.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Pipeline, Window};

/// A table that no pipeline writes, for BigQuery subscriptions of the Pub/Sub port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `dataset.table`.
    pub name: String,
    /// Its BigQuery schema (`bq show --schema`); this or `schema_text`.
    pub schema: Option<PathBuf>,
    /// The same as text, in place of a file.
    pub schema_text: Option<String>,
    /// The column whose day partitions it.
    #[serde(default)]
    pub partition: Option<String>,
    /// The columns that rows are clustered by.
    #[serde(default)]
    pub clustering: Vec<String>,
}

impl Table {
    /// The table as a pipeline would have it.
    pub fn as_written(&self) -> Pipeline {
        Pipeline {
            name: String::new(),
            topic: String::new(),
            table: self.name.clone(),
            schema: self.schema.clone(),
            schema_text: self.schema_text.clone(),
            dead_letter_table: None,
            partition: self.partition.clone(),
            clustering: self.clustering.clone(),
            udf: None,
            window: Window::default(),
            workers: 0,
            adopt_new_topic: false,
        }
    }
}
