//! What tests and the benchmark share: recorded log entries as rows, and batches to build them for.
#![allow(dead_code, reason = "each user needs a part of it")]

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use millrace_model::{CellError, MessageBatch, MessageLayout, Micros, Offset, RowSink, TopicId};
use millrace_table::{BuiltRows, RowBuilder, TableSchema, TableSpec};
use serde_json::{Map, Value};

/// The schema of the raw log table, as `bq show --schema` prints it.
pub const GEMINI_SCHEMA: &str = r#"[
  {"name": "timestamp", "type": "TIMESTAMP", "mode": "NULLABLE"},
  {"name": "receiveTimestamp", "type": "TIMESTAMP", "mode": "NULLABLE"},
  {"name": "logName", "type": "STRING", "mode": "NULLABLE"},
  {"name": "insertId", "type": "STRING", "mode": "NULLABLE"},
  {"name": "severity", "type": "STRING", "mode": "NULLABLE"},
  {"name": "trace", "type": "STRING", "mode": "NULLABLE"},
  {"name": "spanId", "type": "STRING", "mode": "NULLABLE"},
  {"name": "resource_json", "type": "STRING", "mode": "NULLABLE"},
  {"name": "labels_json", "type": "STRING", "mode": "NULLABLE"},
  {"name": "operation_json", "type": "STRING", "mode": "NULLABLE"},
  {"name": "httpRequest_json", "type": "STRING", "mode": "NULLABLE"},
  {"name": "jsonPayload_json", "type": "STRING", "mode": "NULLABLE"}
]"#;

/// When the messages of [`batch`] are published: 2026-11-22T15:00:00Z.
pub const PUBLISHED: Micros = Micros(1_795_359_600_000_000);

pub fn gemini_spec() -> Arc<TableSpec> {
    let schema = TableSchema::parse(GEMINI_SCHEMA).unwrap();
    let clustering = ["logName".to_owned(), "severity".to_owned()];
    Arc::new(TableSpec::new("gemini_raw_logs", schema, Some("timestamp"), &clustering).unwrap())
}

/// The log entries that the CLI's own Cloud Logging exporter wrote.
pub fn recorded_entries() -> Vec<Map<String, Value>> {
    let path = "../../testdata/gemini-cli/cloud_logging_entries.jsonl";
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the default UDF makes of an entry: scalars pass, objects become text.
pub fn transform(entry: &Map<String, Value>) -> Map<String, Value> {
    let mut row = Map::new();
    for name in ["timestamp", "receiveTimestamp", "logName", "insertId", "severity", "trace", "spanId"] {
        if let Some(value) = entry.get(name) {
            row.insert(name.to_owned(), value.clone());
        }
    }
    for name in ["resource", "labels", "operation", "httpRequest", "jsonPayload"] {
        if let Some(value) = entry.get(name) {
            row.insert(format!("{name}_json"), Value::String(value.to_string()));
        }
    }
    row
}

/// A batch of that many empty messages, offsets from 100 on.
pub fn batch(messages: usize) -> Arc<MessageBatch> {
    let mut batch = MessageBatch::new(TopicId([0xab; 16]));
    let buffer = batch.add_buffer(Bytes::new());
    for index in 0..messages {
        batch.push(MessageLayout {
            offset: Offset(100 + index as u64),
            publish_time: PUBLISHED,
            buffer,
            data: 0..0,
            attributes: 0..0,
            ordering_key: 0..0,
        });
    }
    Arc::new(batch)
}

/// Builds a batch of rows all of which must be good.
pub fn build(spec: &Arc<TableSpec>, rows: &[impl AsRef<str>]) -> BuiltRows {
    let mut builder = RowBuilder::new(Arc::clone(spec), batch(rows.len()));
    for (index, row) in rows.iter().enumerate() {
        builder.put_json_row(index, row.as_ref()).unwrap();
        builder.finish_row(index).unwrap();
    }
    builder.finish().unwrap()
}

/// A table of one column `v`, declared by the JSON keys behind its name.
pub fn one_column(declaration: &str) -> Arc<TableSpec> {
    let schema = TableSchema::parse(&format!(r#"[{{"name": "v", {declaration}}}]"#)).unwrap();
    Arc::new(TableSpec::new("t", schema, None, &[]).unwrap())
}

/// What the JSON text of a value becomes, as Arrow shows it; `null` for null.
pub fn read_one(spec: &Arc<TableSpec>, value: &str) -> Result<String, CellError> {
    let mut builder = RowBuilder::new(Arc::clone(spec), batch(1));
    builder.put_json_row(0, &format!(r#"{{"v": {value}}}"#))?;
    builder.finish_row(0)?;
    let rows = builder.finish().unwrap().rows;
    let column = rows.column(0);
    if column.is_null(0) {
        return Ok("null".to_owned());
    }
    // The display knows time zones by their offset only.
    let moments =
        column.as_primitive_opt::<TimestampMicrosecondType>().filter(|moments| moments.timezone().is_some());
    let column =
        moments.map_or(Arc::clone(column), |moments| Arc::new(moments.clone().with_timezone("+00:00")));
    let options = FormatOptions::default();
    Ok(ArrayFormatter::try_new(&column, &options).unwrap().value(0).to_string())
}
