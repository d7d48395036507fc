//! Queries beside commits, compaction and vacuum: each sees one version of a table, whole, and never
//! misses a file; in the process that writes and in one that only reads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{Array as _, ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use millrace_disk::StdDisk;
use millrace_lake::{Lake, LakeConfig, LakeTable};
use millrace_pipeline::{Commit, Mark, Sink as _};
use millrace_sql::{Catalog, Code, Engine, EngineConfig};

/// Rows of one commit.
const ROWS: i64 = 100;
/// How long removed files stay; no query may run longer.
const RETENTION: Duration = Duration::from_secs(3);
/// Bounds a failure only.
const PATIENCE: Duration = Duration::from_secs(90);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_event_day", DataType::Date32, true),
    ]))
}

/// The rows of one commit, on three days, so that one commit is several files.
fn commit(number: i64) -> Commit {
    let offsets: Vec<i64> = (number * ROWS..(number + 1) * ROWS).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(offsets.iter().map(|offset| Some(format!("row {offset}"))).collect::<StringArray>()),
        Arc::new(offsets.iter().map(|_| Some("00ff")).collect::<StringArray>()),
        Arc::new(Int64Array::from(offsets.clone())),
        Arc::new(offsets.iter().map(|offset| Some(20_000 + (offset % 3) as i32)).collect::<Date32Array>()),
    ];
    let mark = Mark { app_id: "test/position".to_owned(), version: (number + 1) * ROWS };
    Commit { rows: vec![RecordBatch::try_new(schema(), columns).unwrap()], marks: vec![mark] }
}

struct One(Arc<LakeTable>);

impl Catalog for One {
    fn datasets(&self) -> Vec<String> {
        vec!["telemetry".to_owned()]
    }

    fn tables(&self, _: &str) -> Vec<String> {
        vec!["events".to_owned()]
    }

    fn table(&self, dataset: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        ((dataset, name) == ("telemetry", "events")).then(|| self.0.provider())
    }
}

fn engine(table: &Arc<LakeTable>) -> Engine {
    let config = EngineConfig { timeout: RETENTION, ..EngineConfig::default() };
    Engine::new(config, Arc::new(One(Arc::clone(table)))).unwrap()
}

/// One query; the number of rows that it saw.
async fn look(engine: &Engine) -> Option<i64> {
    const SQL: &str = "SELECT COUNT(*) AS n, SUM(_offset) AS total, MAX(_offset) AS newest, \
                       COUNT(DISTINCT name) AS names FROM events";
    let batches = match engine.query(SQL).await {
        Ok(result) => result.collect().await,
        Err(error) => Err(error),
    };
    let batches = match batches {
        Ok(batches) => batches,
        // A machine that is busy elsewhere: the query was stopped before its files could go.
        Err(error) if error.code == Code::Timeout => return None,
        Err(error) => panic!("{error:?}"),
    };
    let number = |column: usize| {
        let values = batches[0].column(column).as_any().downcast_ref::<Int64Array>().unwrap();
        values.is_valid(0).then(|| values.value(0))
    };
    let rows = number(0).unwrap();
    assert_eq!(rows % ROWS, 0, "a part of a commit was seen");
    if rows > 0 {
        assert_eq!(
            (number(1), number(2), number(3)),
            (Some(rows * (rows - 1) / 2), Some(rows - 1), Some(rows))
        );
    }
    Some(rows)
}

/// Ends the queries, also when a check fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn config(folder: &std::path::Path, runtime: &tokio::runtime::Handle) -> LakeConfig {
    let mut config = LakeConfig::new(folder.to_owned(), Arc::new(StdDisk), runtime.clone());
    config.compaction.files_min = 3;
    config.removed_file_retention = RETENTION;
    config.log_retention = RETENTION;
    config.checkpoint_interval_commits = 7;
    config.maintenance_interval = None;
    config
}

#[test]
fn queries_see_whole_versions_while_everything_changes() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lake = Lake::open(config(folder.path(), runtime.handle())).unwrap();
    let table = lake.table_of("telemetry", "events", schema()).unwrap();
    table.commit(&commit(0)).unwrap();
    let reader = LakeConfig { read_only: true, ..config(folder.path(), runtime.handle()) };
    let reading_lake = Lake::open(reader).unwrap();
    let read_table = reading_lake.table_of("telemetry", "events", schema()).unwrap();

    let done = AtomicBool::new(false);
    let looks = AtomicUsize::new(0);
    let looking = |engine: Engine, refreshed: Option<&Arc<LakeTable>>| {
        let mut newest = 0;
        while !done.load(Ordering::Relaxed) {
            refreshed.into_iter().for_each(|table| table.refresh().unwrap());
            if let Some(rows) = runtime.block_on(look(&engine)) {
                assert!(rows >= newest, "{rows} rows after {newest}");
                newest = rows;
                looks.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let (commits, compactions, vacuumed) = std::thread::scope(|scope| {
        let own = engine(&table);
        (0..3).for_each(|_| {
            let own = own.clone();
            scope.spawn(|| looking(own, None));
        });
        scope.spawn(|| looking(engine(&read_table), Some(&read_table)));
        let _ending = Ending(&done);
        change(&table, &looks)
    });
    println!(
        "{} queries beside {commits} commits, {compactions} compactions, {vacuumed} files removed",
        looks.load(Ordering::Relaxed)
    );
    assert_eq!(runtime.block_on(look(&engine(&table))), Some(commits * ROWS));
    lake.shutdown();
}

/// Commits and maintains until each kind of change has happened often enough; how often each did.
fn change(table: &Arc<LakeTable>, looks: &AtomicUsize) -> (i64, usize, usize) {
    let began = Instant::now();
    let (mut commits, mut compactions, mut vacuumed) = (1, 0, 0);
    while commits < 60 || compactions < 10 || vacuumed < 30 || looks.load(Ordering::Relaxed) < 50 {
        assert!(
            began.elapsed() < PATIENCE,
            "{commits} commits, {compactions} compactions, {vacuumed} removed, {looks:?} queries"
        );
        table.commit(&commit(commits)).unwrap();
        commits += 1;
        if commits % 5 == 0 {
            let maintained = table.maintain_now().unwrap();
            compactions += maintained.compactions;
            vacuumed += maintained.vacuumed_files;
        }
    }
    (commits, compactions, vacuumed)
}
