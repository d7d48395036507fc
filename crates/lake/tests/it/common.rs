//! Tables, rows and lakes for tests.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::prelude::SessionContext;
use millrace_disk::Disk;
use millrace_lake::{Lake, LakeConfig, LakeTable};
use millrace_model::{Offset, TopicId};
use millrace_pipeline::{Commit, Mark, Sink as _};

pub const TOPIC: TopicId = TopicId([7; 16]);
pub const DAY_MICROS: i64 = 86_400_000_000;

/// The runtime that the libraries below the lake run on.
pub fn runtime() -> tokio::runtime::Handle {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let build =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    RUNTIME.get_or_init(build).handle().clone()
}

/// A configuration under which everything that can happen happens soon, and only when asked for.
pub fn eager(disk: Arc<dyn Disk>) -> LakeConfig {
    let mut config = LakeConfig::new(PathBuf::from("lake"), disk, runtime());
    config.partition_files_max = 4;
    config.compaction.files_min = 3;
    config.compaction.files_max = 8;
    config.removed_file_retention = Duration::ZERO;
    config.log_retention = Duration::ZERO;
    config.checkpoint_interval_commits = 5;
    config.maintenance_interval = None;
    config
}

pub fn schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("timestamp", utc, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_event_day", DataType::Date32, true),
    ]))
}

/// Rows of the messages `offsets`, each on the day that `day` gives.
pub fn rows(offsets: std::ops::Range<u64>, day: impl Fn(u64) -> Option<i32>) -> RecordBatch {
    let days: Vec<Option<i32>> = offsets.clone().map(day).collect();
    let times = days.iter().map(|day| day.map(|day| i64::from(day) * DAY_MICROS + 1));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone("UTC")),
        Arc::new(offsets.clone().map(|offset| Some(format!("row {offset}"))).collect::<StringArray>()),
        Arc::new(offsets.clone().map(|_| Some(TOPIC.to_string())).collect::<StringArray>()),
        Arc::new(offsets.map(|offset| offset as i64).collect::<Int64Array>()),
        Arc::new(Date32Array::from(days)),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// A window: the rows of `offsets` and the position behind them.
pub fn window(offsets: std::ops::Range<u64>, day: impl Fn(u64) -> Option<i32>) -> Commit {
    let position = Mark { app_id: "test/position".to_owned(), version: offsets.end as i64 };
    let other = Mark { app_id: "test/written".to_owned(), version: offsets.end as i64 };
    let rows = if offsets.is_empty() { vec![] } else { vec![rows(offsets, day)] };
    Commit { rows, marks: vec![position, other] }
}

pub fn position(table: &LakeTable) -> u64 {
    table.marks().unwrap().get("test/position").copied().unwrap_or(0) as u64
}

pub fn all_offsets(table: &LakeTable) -> Vec<u64> {
    let found = table.offsets(TOPIC, Offset::ZERO, Offset(u64::MAX)).unwrap();
    found.into_iter().map(|offset| offset.0).collect()
}

pub fn open(config: LakeConfig) -> (Arc<Lake>, Arc<LakeTable>) {
    let lake = Lake::open(config).unwrap();
    let table = lake.table_of("telemetry", "events", schema()).unwrap();
    (lake, table)
}

/// The answer to a query over the table's newest snapshot, as `events`.
pub fn query(table: &LakeTable, sql: &str) -> Vec<RecordBatch> {
    let context = SessionContext::new();
    context.register_table("events", table.provider()).unwrap();
    runtime().block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() })
}

/// The first column of the first row, which must be a whole number.
pub fn query_number(table: &LakeTable, sql: &str) -> i64 {
    let batches = query(table, sql);
    let column = batches[0].column(0);
    column.as_any().downcast_ref::<Int64Array>().unwrap().value(0)
}
