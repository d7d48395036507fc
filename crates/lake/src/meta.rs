//! A table's protocol and metadata actions: what other Delta readers must be able to do, the schema,
//! the properties.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use delta_kernel::schema::StructType;
use millrace_model::names::COLUMN_EVENT_DAY;
use serde_json::{Value, json};

use crate::config::LakeConfig;
use crate::schema::needs_timestamp_ntz;

/// The one table feature that a table of ours may need beyond reader version 1.
const FEATURE_TIMESTAMP_NTZ: &str = "timestampNtz";
/// Features that are no hindrance to reading or writing a table the way this crate does.
const FEATURES_KNOWN: [&str; 3] = [FEATURE_TIMESTAMP_NTZ, "appendOnly", "invariants"];

/// The table's protocol and metadata, as the JSON objects of its log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableMeta {
    /// The `protocol` action.
    pub(crate) protocol: Value,
    /// The `metaData` action.
    pub(crate) metadata: Value,
}

impl TableMeta {
    /// Of a table that is about to be made. `id` is its permanent Delta id, a UUID.
    pub(crate) fn new(
        arrow: &SchemaRef,
        stored: &StructType,
        config: &LakeConfig,
        id: &str,
        now_ms: i64,
    ) -> Self {
        let metadata = json!({
            "id": id,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema_string(stored),
            "partitionColumns": [COLUMN_EVENT_DAY],
            "configuration": properties(config),
            "createdTime": now_ms,
        });
        Self { protocol: protocol(arrow), metadata }
    }

    /// The same table under a new schema and the properties of `config`, all else kept.
    pub(crate) fn with_schema(&self, arrow: &SchemaRef, stored: &StructType, config: &LakeConfig) -> Self {
        let mut changed = self.clone();
        changed.metadata["schemaString"] = Value::String(schema_string(stored));
        for (key, value) in properties(config) {
            changed.metadata["configuration"][key] = Value::String(value);
        }
        if needs_ntz(arrow) && !features(&self.protocol).contains(FEATURE_TIMESTAMP_NTZ) {
            changed.protocol = protocol(arrow);
        }
        changed
    }

    /// Whether the stored properties are those of `config`.
    pub(crate) fn has_properties_of(&self, config: &LakeConfig) -> bool {
        properties(config).iter().all(|(key, value)| self.metadata["configuration"][key] == value.as_str())
    }

    /// The stored schema; `Err` says what is wrong with it.
    pub(crate) fn stored_schema(&self) -> Result<StructType, String> {
        let text = self.metadata["schemaString"].as_str().ok_or("its metadata has no schema")?;
        serde_json::from_str(text).map_err(|error| format!("its schema cannot be read: {error}"))
    }

    /// What this table needs that this crate cannot do, or has otherwise than this crate made it.
    pub(crate) fn hindrance(&self) -> Option<String> {
        let strange: Vec<_> = features(&self.protocol)
            .into_iter()
            .filter(|feature| !FEATURES_KNOWN.contains(&feature.as_str()))
            .collect();
        if !strange.is_empty() {
            return Some(format!("it uses the Delta features {}", strange.join(", ")));
        }
        let reader = self.protocol["minReaderVersion"].as_i64().unwrap_or(i64::MAX);
        let writer = self.protocol["minWriterVersion"].as_i64().unwrap_or(i64::MAX);
        if !matches!(reader, 1 | 3) || !(matches!(writer, 1 | 2) || writer == 7) {
            return Some(format!("it needs Delta reader version {reader} and writer version {writer}"));
        }
        if self.metadata["partitionColumns"] != json!([COLUMN_EVENT_DAY]) {
            return Some(format!("it is not partitioned by {COLUMN_EVENT_DAY}"));
        }
        None
    }
}

fn schema_string(stored: &StructType) -> String {
    // Serialising a tree of strings and numbers into a string cannot fail.
    serde_json::to_string(stored).unwrap_or_default()
}

fn needs_ntz(arrow: &SchemaRef) -> bool {
    arrow.fields().iter().any(|field| needs_timestamp_ntz(field.data_type()))
}

fn protocol(arrow: &SchemaRef) -> Value {
    if needs_ntz(arrow) {
        let features = [FEATURE_TIMESTAMP_NTZ];
        json!({
            "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": features, "writerFeatures": features,
        })
    } else {
        json!({ "minReaderVersion": 1, "minWriterVersion": 2 })
    }
}

fn features(protocol: &Value) -> BTreeSet<String> {
    ["readerFeatures", "writerFeatures"]
        .iter()
        .filter_map(|key| protocol[*key].as_array())
        .flatten()
        .filter_map(|feature| feature.as_str().map(str::to_owned))
        .collect()
}

/// Properties that tell other Delta writers, and the checkpoint, what this lake does.
fn properties(config: &LakeConfig) -> BTreeMap<String, String> {
    let seconds =
        |span: Duration| format!("interval {} seconds", span.as_secs() + u64::from(span.subsec_nanos() > 0));
    BTreeMap::from([
        ("delta.checkpointInterval".to_owned(), config.checkpoint_interval_commits.to_string()),
        ("delta.deletedFileRetentionDuration".to_owned(), seconds(config.removed_file_retention)),
        ("delta.logRetentionDuration".to_owned(), seconds(config.log_retention)),
    ])
}
