//! Hostile and runaway queries, the limits that stop them, and what the outputs look like.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::recorded::{entries, table};
use common::{MemoryCatalog, catalog, engine, lines};
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use millrace_sql::{Code, EngineConfig, format};

fn default_engine() -> millrace_sql::Engine {
    engine(EngineConfig::default(), catalog())
}

async fn code(engine: &millrace_sql::Engine, sql: &str) -> Code {
    match lines(engine, sql).await {
        Ok(lines) => panic!("expected an error, got {} lines", lines.len()),
        Err(error) => {
            eprintln!("{:.60}: {error:?}", sql);
            error.code
        }
    }
}

/// Whether a query is refused as too large or as nonsense; which of the two it is depends on where the
/// parser gives up.
async fn refused(engine: &millrace_sql::Engine, sql: &str) -> bool {
    matches!(code(engine, sql).await, Code::ResourcesExceeded | Code::InvalidQuery)
}

#[tokio::test]
async fn nesting_and_size_end_in_an_error_or_a_result() {
    let engine = default_engine();
    let wrap = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("SELECT {}{inner}{} AS x", open.repeat(depth), close.repeat(depth))
    };
    assert!(refused(&engine, &wrap("(", "1", ")", 10_000)).await);
    assert!(refused(&engine, &wrap("NOT ", "TRUE", "", 5_000)).await);
    assert!(refused(&engine, &wrap("ABS(", "1", ")", 5_000)).await);
    assert!(refused(&engine, &wrap("", "1", "+1", 19_000)).await);
    assert!(refused(&engine, &wrap("-", "1", "", 10_000)).await);
    assert_eq!(
        code(&engine, &wrap("CASE WHEN TRUE THEN ", "1", " END", 1_000)).await,
        Code::ResourcesExceeded
    );
    assert_eq!(
        code(&engine, &format!("SELECT * FROM {}visits{}", "(SELECT * FROM ".repeat(250), ")".repeat(250)))
            .await,
        Code::ResourcesExceeded
    );
    assert_eq!(
        code(&engine, &format!("SELECT 1 AS x{}", " UNION ALL SELECT 1".repeat(9_000))).await,
        Code::ResourcesExceeded
    );
    // Deep enough for any person, and flat chains of any length that fits.
    assert_eq!(lines(&engine, &wrap("(", "1", ")", 60)).await.unwrap(), ["x INT64", "1"]);
    assert_eq!(lines(&engine, &wrap("ABS(", "1", ")", 60)).await.unwrap()[1], "1");
    assert_eq!(lines(&engine, &wrap("NOT ", "TRUE", "", 190)).await.unwrap()[1], "true");
    assert_eq!(lines(&engine, &wrap("CASE WHEN TRUE THEN ", "1", " END", 60)).await.unwrap()[1], "1");
    assert_eq!(lines(&engine, &wrap("", "TRUE", " AND TRUE", 15_000)).await.unwrap()[1], "true");
    assert_eq!(lines(&engine, &wrap("", "'a'", " || 'b'", 2_000)).await.unwrap()[1].len(), 2_001);
}

#[tokio::test]
async fn a_query_of_a_megabyte_is_run_or_refused() {
    let engine = default_engine();
    let numbers: Vec<_> = (0..120_000).map(|number| (number + 1_000_000).to_string()).collect();
    let sql = format!("SELECT COUNT(*) AS n FROM numbers WHERE n IN ({}, 5)", numbers.join(","));
    assert!(sql.len() > 900_000 && sql.len() < 1 << 20);
    let started = Instant::now();
    assert_eq!(lines(&engine, &sql).await.unwrap(), ["n INT64", "1"]);
    eprintln!("a list of 120,000 values: {:?}", started.elapsed());
    assert_eq!(code(&engine, &format!("SELECT '{}'", "x".repeat(2 << 20))).await, Code::ResourcesExceeded);
    let columns: Vec<_> = (0..10_000).map(|index| format!("n + {index} AS c{index}")).collect();
    let wide = lines(&engine, &format!("SELECT {} FROM numbers LIMIT 1", columns.join(", "))).await.unwrap();
    assert_eq!(wide[0].split(" | ").count(), 10_000);
    eprintln!("with 10,000 columns: {:?}", started.elapsed());
}

#[tokio::test]
async fn runaway_queries_are_stopped() {
    let rows = engine(EngineConfig { rows_max: 100, ..EngineConfig::default() }, catalog());
    let error = lines(&rows, "SELECT * FROM numbers").await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::ResourcesExceeded, "the result has more than 100 rows")
    );
    assert_eq!(lines(&rows, "SELECT * FROM numbers LIMIT 100").await.unwrap().len(), 101);

    let cross = "SELECT a.n + b.n + c.n + d.n AS s FROM numbers a, numbers b, numbers c, numbers d";
    let time =
        engine(EngineConfig { timeout: Duration::from_millis(300), ..EngineConfig::default() }, catalog());
    let started = Instant::now();
    assert_eq!(code(&time, &format!("SELECT SUM(s) FROM ({cross})")).await, Code::Timeout);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());

    let started = Instant::now();
    let endless = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT COUNT(*) FROM r";
    assert_eq!(code(&time, endless).await, Code::Timeout);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let arrays = "SELECT SUM(ARRAY_LENGTH(GENERATE_ARRAY(n, 1000000))) FROM numbers";
    assert_eq!(code(&default_engine(), arrays).await, Code::ResourcesExceeded);

    let memory = engine(EngineConfig { memory_bytes_max: 8 << 20, ..EngineConfig::default() }, catalog());
    let sorted = "SELECT a.n AS x, REPEAT('x', 100) || CAST(b.n AS STRING) AS y FROM numbers a, numbers b ORDER BY y, x";
    let error = lines(&memory, sorted).await.unwrap_err();
    assert_eq!(error.code, Code::ResourcesExceeded, "{error:?}");
    assert!(error.hint.is_some());
    assert_eq!(code(&memory, "SELECT ARRAY_AGG(y) FROM (SELECT REPEAT('x', 100) || CAST(a.n AS STRING) AS y FROM numbers a, numbers b)").await, Code::ResourcesExceeded);
    // Its memory is given back.
    assert_eq!(lines(&memory, "SELECT COUNT(*) FROM numbers").await.unwrap()[1], "1000");
}

#[tokio::test]
async fn a_sort_spills_where_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig {
        memory_bytes_max: 64 << 20,
        spill_dir: Some(folder.path().to_owned()),
        ..EngineConfig::default()
    };
    let engine = engine(config, catalog());
    let sql = "SELECT COUNT(*) AS n, MIN(r) AS r FROM (SELECT y, ROW_NUMBER() OVER (ORDER BY y) AS r FROM \
               (SELECT REPEAT('x', 80) || CAST(a.n * 1000 + b.n AS STRING) AS y FROM numbers a, numbers b))";
    assert_eq!(lines(&engine, sql).await.unwrap(), ["n INT64 | r INT64", "1000000 | 1"]);
}

/// DataFusion's own way out of a want of memory would give wrong rows here, or panic.
#[tokio::test]
async fn a_join_without_equalities_that_does_not_fit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig {
        memory_bytes_max: 8 << 20,
        spill_dir: Some(folder.path().to_owned()),
        ..EngineConfig::default()
    };
    let engine = engine(config, catalog());
    let large = "SELECT a.n * 1000 + b.n AS x FROM numbers a CROSS JOIN numbers b";
    for join in ["LEFT JOIN", "FULL JOIN", "JOIN", "RIGHT JOIN"] {
        let sql = format!("SELECT COUNT(*) AS c FROM ({large}) l {join} ({large}) r ON l.x < r.x - 999990");
        let error = lines(&engine, &sql).await.unwrap_err();
        assert_eq!(error.code, Code::ResourcesExceeded, "{join}: {error:?}");
        assert!(error.hint.is_some(), "{join}: {error:?}");
    }
    let small = "SELECT COUNT(*) AS c FROM (SELECT n FROM numbers WHERE n < 3) l LEFT JOIN numbers r ON l.n < r.n - 997";
    assert_eq!(lines(&engine, small).await.unwrap()[1], "4");
}

#[tokio::test]
async fn start_up_is_quick_and_views_are_planned_quickly() {
    let started = Instant::now();
    let engine = engine(
        EngineConfig::default(),
        MemoryCatalog::default().with("telemetry", "gemini_raw_logs", table(&entries())),
    );
    let start_up = started.elapsed();
    let started = Instant::now();
    lines(&engine, "SELECT * FROM daily_metrics").await.unwrap();
    eprintln!("start-up {start_up:?}, first query {:?}", started.elapsed());
    // Generous: a slow machine must not fail the build, a start-up of seconds must.
    assert!(start_up < Duration::from_millis(500), "{start_up:?}");
}

const ODD: &str = "SELECT 9007199254740993 AS big, 1.5 AS f, IEEE_DIVIDE(0, 0) AS nan, CAST(NULL AS STRING) AS n, \
                   'a,\"b\"\n日本' AS s, TIMESTAMP '2026-01-02 03:04:05.678+00' AS t, DATE '2026-01-02' AS d, [1, NULL] AS l, \
                   STRUCT(1 AS x, TRUE AS y) AS o, JSON '{\"k\": 1}' AS j, b'\\xff' AS b, NUMERIC '1.5' AS m, '' AS e";

#[tokio::test]
async fn results_are_written_in_every_format() {
    let engine = default_engine();
    let mut out = Vec::new();
    let query = || async { engine.query(ODD).await.unwrap() };
    assert_eq!(format::write_csv(query().await, &mut out).await.unwrap(), 1);
    assert_eq!(
        String::from_utf8(std::mem::take(&mut out)).unwrap(),
        "big,f,nan,n,s,t,d,l,o,j,b,m,e\n9007199254740993,1.5,nan,,\"a,\"\"b\"\"\n日本\",2026-01-02 03:04:05.678+00,2026-01-02,\"[1,null]\",\
         \"{\"\"x\"\":1,\"\"y\"\":true}\",\"{\"\"k\"\":1}\",/w==,1.5,\"\"\n"
    );
    format::write_ndjson(query().await, &mut out).await.unwrap();
    let object: serde_json::Value = serde_json::from_slice(&std::mem::take(&mut out)).unwrap();
    assert_eq!(object["big"], "9007199254740993");
    assert_eq!(object["nan"], "NaN");
    assert_eq!(object["t"], "2026-01-02T03:04:05.678Z");
    assert_eq!(object["j"]["k"], 1);
    assert_eq!(object["l"], serde_json::json!([1, null]));
    format::write_json(query().await, Instant::now(), &mut out).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&std::mem::take(&mut out)).unwrap();
    assert_eq!(answer["columns"][0], serde_json::json!({"name": "big", "type": "INT64"}));
    assert_eq!(answer["rows"][0][9], "{\"k\":1}");
    assert!(answer["elapsed_ms"].is_u64());
    format::write_table(
        engine
            .query("SELECT 'ann' AS who, 5 AS n, '日本' AS where_ UNION ALL SELECT NULL, 10, 'x' ORDER BY n")
            .await
            .unwrap(),
        &mut out,
    )
    .await
    .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "who    n  where_\n----  --  ------\nann    5  日本\nNULL  10  x\n(2 rows)\n"
    );
}

#[tokio::test]
async fn json_answers_of_no_and_many_rows_are_json() {
    let engine = default_engine();
    for (sql, rows) in [("SELECT n FROM numbers WHERE FALSE", 0), ("SELECT n FROM numbers", 1000)] {
        let mut out = Vec::new();
        assert_eq!(
            format::write_json(engine.query(sql).await.unwrap(), Instant::now(), &mut out).await.unwrap(),
            rows
        );
        let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(answer["rows"].as_array().unwrap().len(), rows);
    }
}

#[tokio::test]
async fn explain_shows_one_parse_for_many_paths() {
    let engine = engine(
        EngineConfig::default(),
        MemoryCatalog::default().with("telemetry", "gemini_raw_logs", table(&entries()[..5])),
    );
    let plan = lines(&engine, "EXPLAIN SELECT event_name, model, input_tokens FROM gemini_analytics_view")
        .await
        .unwrap();
    let physical = plan.iter().position(|line| line.contains("Exec")).unwrap();
    let parses = plan[physical..].iter().map(|line| line.matches("#json_many").count()).sum::<usize>();
    let singles = plan[physical..].iter().map(|line| line.matches("json_value(").count()).sum::<usize>();
    assert_eq!((parses, singles), (1, 0), "{}", plan.join("\n"));
}

/// More rows than fit between a query and who reads it.
const MANY: &str = "SELECT a.n FROM numbers a, numbers b, numbers c LIMIT 900000";

#[tokio::test]
async fn so_many_queries_run_and_so_many_wait() {
    let config = EngineConfig { queries_at_once_max: 2, queries_waiting_max: 1, ..EngineConfig::default() };
    let engine = engine(config, catalog());
    let mut first = engine.query(MANY).await.unwrap();
    let _second = engine.query(MANY).await.unwrap();
    assert!(first.next().await.unwrap().is_some());
    let mut third = std::pin::pin!(engine.query("SELECT 3 AS x"));
    assert!(futures::poll!(third.as_mut()).is_pending(), "the third query waits");
    let refused = engine.query("SELECT 4 AS x").await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::TooManyQueries, "too many queries: 1 wait for their turn already")
    );
    assert!(refused.hint.unwrap().contains("sql.queries_at_once_max (2)"));
    drop(first);
    assert_eq!(third.await.unwrap().collect().await.unwrap().len(), 1);
    assert_eq!(lines(&engine, "SELECT 5 AS x").await.unwrap()[1], "5");
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_the_line() {
    let config = EngineConfig { queries_at_once_max: 1, queries_waiting_max: 1, ..EngineConfig::default() };
    let engine = engine(config, catalog());
    let running = engine.query(MANY).await.unwrap();
    for _ in 0..3 {
        let mut waiting = Box::pin(engine.query("SELECT 1 AS x"));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
    }
    drop(running);
    assert_eq!(lines(&engine, "SELECT 2 AS x").await.unwrap()[1], "2");
}

#[tokio::test]
async fn a_result_that_nobody_reads_keeps_no_place_beyond_its_time() {
    let config = EngineConfig {
        queries_at_once_max: 1,
        timeout: Duration::from_millis(500),
        ..EngineConfig::default()
    };
    let engine = engine(config, catalog());
    let mut unread = engine.query(MANY).await.unwrap();
    // The next in line may have been given the place with little time left: the one after it has all.
    let began = Instant::now();
    while let Err(error) = lines(&engine, "SELECT 1 AS x").await {
        assert!(matches!(error.code, Code::Timeout | Code::TooManyQueries), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    // What it had made by then may be read; its end is never taken for the end of the rows.
    let end = loop {
        match unread.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut result looks whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(end.code, Code::Timeout);
}

/// A table whose only row is the name of the thread that reads it.
#[derive(Debug)]
struct WhoReads(SchemaRef);

impl PartitionStream for WhoReads {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.0);
        let rows = futures::stream::once(async move {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            Ok(RecordBatch::try_new(schema, vec![Arc::new(StringArray::from(vec![name]))])?)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.0), rows))
    }
}

#[test]
fn queries_run_where_they_are_to_run_whoever_asks() {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("for-queries")
        .enable_time()
        .build()
        .unwrap();
    let schema = Arc::new(Schema::new(vec![Field::new("thread", DataType::Utf8, true)]));
    let reads = Arc::new(WhoReads(Arc::clone(&schema)));
    let table = StreamingTable::try_new(schema, vec![reads]).unwrap();
    let catalog = catalog().with_provider("telemetry", "who_reads", Arc::new(table));
    let config = EngineConfig { runtime: Some(threads.handle().clone()), ..EngineConfig::default() };
    let engine = engine(config, catalog);
    let asking = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let sql = "SELECT thread, COUNT(*) AS n FROM who_reads GROUP BY thread";
    assert_eq!(asking.block_on(lines(&engine, sql)).unwrap()[1], "for-queries | 1");
}
