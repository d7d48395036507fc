//! Every column type of a declared table goes into a data file and comes back as it was.

use std::path::Path;
use std::sync::Arc;

use crate::common::{TOPIC, eager, query};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use millrace_disk::sim::SimDisk;
use millrace_disk::{Disk as _, OpenMode};
use millrace_lake::Lake;
use millrace_model::{MessageBatch, MessageLayout, Micros, Offset, RowSink as _};
use millrace_pipeline::{Commit, Sink as _};
use millrace_table::{RowBuilder, TableSchema, TableSpec, dead_letter_spec};

const SCHEMA: &str = r#"[
  {"name": "s", "type": "STRING", "mode": "REQUIRED"},
  {"name": "b", "type": "BYTES"},
  {"name": "i", "type": "INTEGER"},
  {"name": "f", "type": "FLOAT"},
  {"name": "n", "type": "NUMERIC"},
  {"name": "bn", "type": "BIGNUMERIC"},
  {"name": "flag", "type": "BOOLEAN"},
  {"name": "ts", "type": "TIMESTAMP"},
  {"name": "d", "type": "DATE"},
  {"name": "t", "type": "TIME"},
  {"name": "j", "type": "JSON"},
  {"name": "r", "type": "RECORD", "fields": [
    {"name": "x", "type": "INT64"},
    {"name": "inner", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "y", "type": "STRING"}]}
  ]},
  {"name": "list", "type": "INT64", "mode": "REPEATED"},
  {"name": "times", "type": "TIMESTAMP", "mode": "REPEATED"}
  DATETIME
]"#;

const ROWS: [&str; 4] = [
    r#"{"s": "plain", "b": "AP8=", "i": "-9223372036854775808", "f": 1.5, "n": "-99999999999999999999999999999.999999999",
        "bn": "0.00000000000000000000000000000000000001", "flag": true, "ts": "0001-01-01T00:00:00Z", "d": "9999-12-31",
        "t": "23:59:59.999999", "j": {"a": [1, null]}, "r": {"x": 1, "inner": [{"y": "a"}, {"y": null}]},
        "list": [1, 2, 3], "times": ["2024-01-01T00:00:00Z"]}"#,
    r#"{"s": "emoji 😀 漢字 \u0000 end", "f": "NaN", "ts": "9999-12-31T23:59:59.999999Z", "r": {"x": null, "inner": []}}"#,
    r#"{"s": "", "f": "-Infinity", "ts": null, "d": "0001-01-01", "list": []}"#,
    r#"{"s": "x", "f": -0.0, "ts": "2024-06-01T12:00:00Z", "n": 0}"#,
];

fn built(spec: &Arc<TableSpec>) -> RecordBatch {
    let mut batch = MessageBatch::new(TOPIC);
    let buffer = batch.add_buffer(Bytes::new());
    for offset in 0..ROWS.len() as u64 {
        batch.push(MessageLayout {
            offset: Offset(offset),
            publish_time: Micros(1_717_243_200_000_000),
            buffer,
            data: 0..0,
            attributes: 0..0,
            ordering_key: 0..0,
        });
    }
    let mut builder = RowBuilder::new(Arc::clone(spec), Arc::new(batch));
    for (message, row) in ROWS.iter().enumerate() {
        builder.put_json_row(message, row).unwrap();
        builder.finish_row(message).unwrap();
    }
    builder.finish().unwrap().rows
}

fn round_trip(name: &str, schema: &str, protocol: &str) {
    let disk = SimDisk::new(1);
    let schema = TableSchema::parse(schema).unwrap();
    let spec = Arc::new(TableSpec::new(name, schema, Some("ts"), &[]).unwrap());
    let rows = built(&spec);
    let commit = |rows: RecordBatch| Commit { rows: vec![rows], marks: vec![] };
    let lake = Lake::open(eager(Arc::new(disk.clone()))).unwrap();
    let table = lake.table("telemetry", Arc::clone(&spec)).unwrap();
    table.commit(&commit(rows.slice(0, 2))).unwrap();
    table.commit(&commit(rows.slice(2, 2))).unwrap();
    let check = |table: &millrace_lake::LakeTable| {
        let batches = query(table, "select * from events order by _offset");
        let found = concat_batches(&batches[0].schema(), &batches).unwrap();
        for (index, field) in spec.arrow_schema().fields().iter().enumerate() {
            assert_eq!(found.column(index), rows.column(index), "{}", field.name());
            assert_eq!(found.schema().field(index), field.as_ref());
        }
    };
    check(&table);
    table.maintain_now().unwrap();
    check(&table);
    drop((table, lake));
    let lake = Lake::open(eager(Arc::new(disk.clone()))).unwrap();
    check(&lake.table("telemetry", Arc::clone(&spec)).unwrap());

    let path = format!("lake/telemetry/{name}/_delta_log/00000000000000000000.json");
    let file = disk.open(Path::new(&path), OpenMode::Read).unwrap();
    let mut text = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut text, 0).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(protocol), "{text}");
    for type_name in ["TIME", "BIGNUMERIC", "JSON", "NUMERIC"] {
        assert!(text.contains(&format!(r#"\"bigquery_type\":\"{type_name}\""#)), "{type_name}");
    }
}

#[test]
fn every_type_comes_back() {
    round_trip("plain", &SCHEMA.replace("DATETIME", ""), r#""minReaderVersion":1,"minWriterVersion":2"#);
}

#[test]
fn a_datetime_column_asks_readers_for_one_feature() {
    let schema = SCHEMA.replace("DATETIME", r#", {"name": "dt", "type": "DATETIME"}"#);
    round_trip("with_datetime", &schema, r#""readerFeatures":["timestampNtz"]"#);
}

#[test]
fn a_dead_letter_table_opens() {
    let disk = SimDisk::new(1);
    let spec = Arc::new(dead_letter_spec("events"));
    for _ in 0..2 {
        let lake = Lake::open(eager(Arc::new(disk.clone()))).unwrap();
        let table = lake.table("telemetry", Arc::clone(&spec)).unwrap();
        assert_eq!(table.schema(), spec.arrow_schema());
        assert_eq!(table.stats().version, 0);
    }
}
