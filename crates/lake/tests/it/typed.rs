//! Hidden columns of JSON values change no result: every view and every path, over rows with them, rows
//! without, and rows with rare spellings, gives the same with the columns and from the text alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use millrace_disk::Disk;
use millrace_disk::sim::SimDisk;
use millrace_jsonpath::typed::{alternates, typed_paths};
use millrace_lake::{Lake, LakeConfig, LakeTable};
use millrace_pipeline::{Commit, Sink as _};
use millrace_sql::{Catalog, Engine, EngineConfig, SplitTable, format};

use crate::common::{DAY_MICROS, TOPIC, eager, runtime};

const TEXTS: [&str; 5] =
    ["resource_json", "labels_json", "operation_json", "httpRequest_json", "jsonPayload_json"];
const DAY: i32 = 20_000;

fn raw_logs() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = ["timestamp", "receiveTimestamp"].map(|name| Field::new(name, utc.clone(), true));
    let texts = ["logName", "insertId", "severity", "trace", "spanId"].into_iter().chain(TEXTS);
    let texts = texts.map(|name| Field::new(name, DataType::Utf8, true));
    let hidden = [
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_event_day", DataType::Date32, true),
    ];
    Arc::new(Schema::new(times.into_iter().chain(texts).chain(hidden).collect::<Vec<_>>()))
}

/// Rows of consecutive offsets with these texts of resource, labels and payload.
fn rows(first: i64, texts: &[[Option<String>; 3]]) -> RecordBatch {
    let schema = raw_logs();
    let text = |index: usize| -> ArrayRef {
        Arc::new(texts.iter().map(|row| row[index].as_deref()).collect::<StringArray>())
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match (field.name().as_str(), field.data_type()) {
            ("resource_json", _) => text(0),
            ("labels_json", _) => text(1),
            ("jsonPayload_json", _) => text(2),
            ("_topic", _) => Arc::new(StringArray::from_iter_values(texts.iter().map(|_| TOPIC.to_string()))),
            ("_offset", _) => Arc::new(Int64Array::from_iter_values(first..first + texts.len() as i64)),
            ("_event_day", _) => Arc::new(Date32Array::from_iter_values(texts.iter().map(|_| DAY))),
            (_, DataType::Timestamp(..)) => {
                let times =
                    (first..first + texts.len() as i64).map(|at| i64::from(DAY) * DAY_MICROS + at * 1000);
                let times = arrow::array::TimestampMicrosecondArray::from_iter_values(times);
                Arc::new(times.with_timezone("UTC"))
            }
            _ => arrow::array::new_null_array(field.data_type(), texts.len()),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

/// The recorded entries.
fn recorded() -> Vec<[Option<String>; 3]> {
    let text = std::fs::read_to_string("../../testdata/gemini-cli/cloud_logging_entries.jsonl").unwrap();
    let part = |entry: &serde_json::Value, name: &str| entry.get(name).map(ToString::to_string);
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|entry| ["resource", "labels", "jsonPayload"].map(|name| part(&entry, name)))
        .collect()
}

/// Documents that mix spellings, types, repetitions and text that is not JSON. Always the same ones.
fn hostile(count: usize) -> Vec<[Option<String>; 3]> {
    let mut state = 7_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let typed: Vec<_> = typed_paths().into_iter().filter(|path| path.column == "jsonPayload_json").collect();
    let values = [
        "1",
        "-0",
        "1.50e3",
        "9007199254740993",
        "true",
        "null",
        "\"\"",
        "\"x\"",
        r#""a\"\u00e9\ud83d""#,
        "[1,\"two\"]",
        "{\"deep\":{}}",
        "[]",
        r#""gemini_cli.api_response""#,
        r#""gemini_cli.tool_call""#,
        "\" 12 \"",
    ];
    let mut document = || {
        let mut members = Vec::new();
        for _ in 0..next(12) {
            let key = typed[next(typed.len())]
                .path
                .trim_start_matches("$.")
                .trim_end_matches("[0]")
                .replace('"', "");
            let key = if next(3) == 0 { key.replace('.', "_") } else { key };
            members.push(format!("\"{key}\" : {}", values[next(values.len())]));
        }
        let body = members.join(", ");
        match next(8) {
            0 => Some(format!("{{\"attributes\": {{{body}}}}}")),
            1 => Some(format!("{{{body}, \"attributes\": {{{body}}}}}").replace("{, ", "{")),
            2 => Some(format!("{{{body}")),
            3 => None,
            _ => Some(format!("{{{body}}}")),
        }
    };
    let labels = [r#"{"cli_version":"1.2"}"#, r#"{"user_email":"x@y.z","installation_id":7}"#, "[]", ""];
    let resources = [r#"{"labels":{"project_id":"p"}}"#, r#"{"labels":null}"#, "nul"];
    (0..count)
        .map(|at| [Some(resources[at % 3].to_owned()), Some(labels[at % 4].to_owned()), document()])
        .collect()
}

/// The table's newest snapshot, with its parts or only whole.
struct One {
    table: Arc<LakeTable>,
    whole: bool,
}

impl Catalog for One {
    fn datasets(&self) -> Vec<String> {
        vec!["telemetry".to_owned()]
    }

    fn tables(&self, _: &str) -> Vec<String> {
        vec!["gemini_raw_logs".to_owned()]
    }

    fn table(&self, _: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        let snapshot = self.table.snapshot();
        match snapshot.parts {
            _ if name != "gemini_raw_logs" => None,
            Some(parts) if !self.whole => Some(Arc::new(SplitTable {
                all: snapshot.all,
                typed: parts.typed,
                alternates: parts.alternates,
                untyped: parts.untyped,
            })),
            _ => Some(snapshot.all),
        }
    }
}

fn engine(table: &Arc<LakeTable>, whole: bool) -> Engine {
    let catalog = One { table: Arc::clone(table), whole };
    Engine::new(EngineConfig::default(), Arc::new(catalog)).unwrap()
}

/// The result's lines in some fixed order; numbers of type FLOAT64 without their last digits, which depend
/// on the order of adding up.
fn lines(engine: &Engine, sql: &str) -> Vec<String> {
    runtime().block_on(async {
        let result = engine.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut text = Vec::new();
        format::write_ndjson(result, &mut text).await.unwrap();
        let mut lines: Vec<String> = String::from_utf8(text).unwrap().lines().map(rounded).collect();
        lines.sort();
        lines
    })
}

fn rounded(line: &str) -> String {
    let row: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    let cell = |value: &serde_json::Value| match value.as_f64() {
        Some(float) if value.is_f64() => format!("{float:.6e}"),
        _ => value.to_string(),
    };
    row.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
}

fn commit(table: &LakeTable, rows: RecordBatch) {
    table.commit(&Commit { rows: vec![rows], marks: Vec::new() }).unwrap();
}

/// A table of a lake with or without hidden columns, over the same files.
fn open(disk: &SimDisk, typed_columns: bool) -> (Arc<Lake>, Arc<LakeTable>) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = LakeConfig { typed_columns, ..eager(disk) };
    let lake = Lake::open(config).unwrap();
    let table = lake.table_of("telemetry", "gemini_raw_logs", raw_logs()).unwrap();
    (lake, table)
}

/// Every view and every path give the same from the columns and from the text.
fn assert_same(table: &Arc<LakeTable>, when: &str) {
    let (with, without) = (engine(table, false), engine(table, true));
    for view in with.views().into_iter().filter(|view| !view.name.starts_with("vw_cost")) {
        let sql = format!("SELECT * FROM {}", view.name);
        assert_eq!(lines(&with, &sql), lines(&without, &sql), "{when}: {sql}");
    }
    let paths = typed_paths().into_iter().map(|path| (path.column, path.path));
    let rare = alternates().into_iter().map(|path| (path.column, path.path));
    let calls: Vec<_> = paths
        .chain(rare)
        .enumerate()
        .map(|(at, (column, path))| format!("JSON_VALUE({column}, '{path}') AS v{at}"))
        .collect();
    let sql = format!("SELECT _offset, {} FROM gemini_raw_logs", calls.join(", "));
    assert_eq!(lines(&with, &sql), lines(&without, &sql), "{when}");
    for sql in [
        "SELECT COUNTIF(JSON_VALUE(jsonPayload_json, '$[\\'event.name\\']') = 'gemini_cli.api_response') AS n, \
         COUNT(*) AS all_rows FROM gemini_raw_logs",
        "SELECT r._offset, JSON_EXTRACT_SCALAR(r.jsonPayload_json, '$.model') AS model, x.n FROM gemini_raw_logs AS r \
         JOIN (SELECT JSON_VALUE(jsonPayload_json, '$.model') AS m, COUNT(*) AS n FROM gemini_raw_logs GROUP BY m) AS x \
         ON x.m = JSON_VALUE(r.jsonPayload_json, '$.model')",
        "SELECT _offset, SAFE_CAST(COALESCE(JSON_VALUE(jsonPayload_json, '$.duration_ms'), \
         JSON_VALUE(jsonPayload_json, '$.attributes.duration_ms'), '7') AS FLOAT64) AS d FROM gemini_raw_logs \
         WHERE JSON_VALUE(jsonPayload_json, '$.unknown') IS NULL ORDER BY d LIMIT 1000",
    ] {
        assert_eq!(lines(&with, sql), lines(&without, sql), "{when}: {sql}");
    }
}

fn plan(engine: &Engine, sql: &str) -> String {
    runtime().block_on(async {
        let result = engine.query(&format!("EXPLAIN {sql}")).await.unwrap();
        let batches = result.collect().await.unwrap();
        let lines = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten());
        lines.collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn results_do_not_depend_on_hidden_columns() {
    let disk = SimDisk::new(1);
    let (recorded, hostile) = (recorded(), hostile(300));
    // Written by a program without hidden columns.
    let (lake, table) = open(&disk, false);
    commit(&table, rows(0, &recorded[..60]));
    commit(&table, rows(1000, &hostile[..150]));
    lake.shutdown();
    // Read by one with them: nothing is filled in yet.
    let (lake, table) = open(&disk, true);
    assert_same(&table, "no columns");
    // Rows of all kinds side by side.
    commit(&table, rows(2000, &recorded[60..]));
    commit(&table, rows(3000, &hostile[150..]));
    assert_same(&table, "mixed");
    let mixed = table.snapshot().parts.unwrap();
    assert!(mixed.typed.is_some() && mixed.alternates.is_some() && mixed.untyped.is_some());
    // Compaction fills them in, alone and together with other files.
    while table.maintain_now().unwrap().compactions > 0 {}
    assert!(table.snapshot().parts.unwrap().untyped.is_none());
    assert_same(&table, "filled in");
    lake.shutdown();
    // Without hidden columns again, the table still opens and reads.
    let (lake, table) = open(&disk, false);
    commit(&table, rows(4000, &hostile[..20]));
    lake.shutdown();
    let (_lake, again) = open(&disk, true);
    assert_same(&again, "turned off and on");
    drop(table);
}

#[test]
fn a_query_on_known_paths_does_not_read_the_text() {
    let disk = SimDisk::new(2);
    let (_lake, table) = open(&disk, true);
    commit(&table, rows(0, &recorded()));
    let engine = engine(&table, false);
    for sql in [
        "SELECT * FROM daily_metrics",
        "SELECT * FROM vw_token_usage",
        "SELECT * FROM vw_tool_performance",
        "SELECT event_name, COUNT(*) AS n FROM gemini_analytics_view GROUP BY event_name",
        "SELECT JSON_VALUE(jsonPayload_json, '$.model') AS model FROM gemini_analytics_view WHERE user_email IS NULL",
    ] {
        let plan = plan(&engine, sql);
        // What follows the file's name is what is read of it, perhaps under the name of a computed column.
        let (_, read) = plan.split_once(".parquet").unwrap();
        let read = read.replace("#jsonPayload_json", "");
        assert!(!read.contains("jsonPayload_json") && read.contains("_payload_"), "{sql}\n{plan}");
    }
}
