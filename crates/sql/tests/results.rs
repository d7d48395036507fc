//! Materialised views: when a stored result is read, when it is not, and what becomes of damaged ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::lines;
use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use millrace_sql::{Catalog, Code, Engine, EngineConfig, Freshness, PseudonymKey, Pseudonyms, ResultsConfig};

/// One table `telemetry.events` whose rows change, with a version or without.
struct Changing {
    rows: Mutex<Vec<i64>>,
    versioned: bool,
}

impl Changing {
    fn new(versioned: bool) -> Arc<Self> {
        Arc::new(Self { rows: Mutex::new(vec![1, 2]), versioned })
    }

    fn add(&self, value: i64) {
        self.rows.lock().unwrap().push(value);
    }
}

impl Catalog for Changing {
    fn datasets(&self) -> Vec<String> {
        vec!["telemetry".to_owned()]
    }

    fn tables(&self, _: &str) -> Vec<String> {
        vec!["events".to_owned()]
    }

    fn table(&self, dataset: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        if (dataset, name) != ("telemetry", "events") {
            return None;
        }
        let rows = self.rows.lock().unwrap().clone();
        let json = [("bigquery_type".to_owned(), "JSON".to_owned())].into();
        let schema = Arc::new(Schema::new(vec![
            Field::new("Value", DataType::Int64, true),
            Field::new("doc", DataType::Utf8, true).with_metadata(json),
        ]));
        let docs: Vec<_> = rows.iter().map(|row| format!("{{\"k\":{row}}}")).collect();
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![Arc::new(Int64Array::from(rows)), Arc::new(StringArray::from(docs))],
        )
        .unwrap();
        Some(Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap()))
    }

    fn version(&self, dataset: &str, name: &str) -> Option<u64> {
        let there = self.versioned && (dataset, name) == ("telemetry", "events");
        there.then(|| self.rows.lock().unwrap().len() as u64)
    }
}

fn put(folder: &Path, name: &str, options: &str) {
    let text = format!(
        "CREATE OR REPLACE MATERIALIZED VIEW `${{project}}.${{dataset}}.{name}` {options} AS \
         SELECT SUM(Value) AS Total, ANY_VALUE(TO_JSON_STRING(doc)) IS NOT NULL AS has, MAX(Value) AS most FROM events"
    );
    std::io::Write::write_all(
        &mut std::fs::File::create(folder.join(format!("{name}.sql"))).unwrap(),
        text.as_bytes(),
    )
    .unwrap();
}

fn config(folder: &Path) -> EngineConfig {
    let results = ResultsConfig { dir: Some(folder.join("results")), ..ResultsConfig::default() };
    EngineConfig { user_views_dir: Some(folder.to_owned()), results, ..EngineConfig::default() }
}

fn engine(folder: &Path, catalog: &Arc<Changing>) -> Engine {
    Engine::new(config(folder), Arc::clone(catalog) as _).unwrap()
}

async fn total(engine: &Engine, view: &str) -> String {
    let lines = lines(engine, &format!("SELECT * FROM {view}")).await.unwrap();
    assert_eq!(lines[0], "Total INT64 | has BOOL | most INT64");
    lines[1].split(" | ").next().unwrap().to_owned()
}

fn freshness(engine: &Engine, view: &str) -> Freshness {
    engine.view(view).unwrap().result.unwrap().freshness
}

const AN_HOUR: &str = "OPTIONS (max_staleness = INTERVAL \"1:0:0\" HOUR TO SECOND)";

#[tokio::test]
async fn a_stored_result_is_read_while_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "strict", "");
    put(folder.path(), "lenient", AN_HOUR);
    put(folder.path(), "soon_old", "OPTIONS (max_staleness = INTERVAL 0 SECOND)");
    let catalog = Changing::new(true);
    let engine = engine(folder.path(), &catalog);
    // Never refreshed: computed.
    for view in ["strict", "lenient", "soon_old"] {
        assert_eq!(
            (total(&engine, view).await.as_str(), freshness(&engine, view)),
            ("3", Freshness::Missing)
        );
        let refreshed = engine.refresh_view(view).await.unwrap();
        assert_eq!((refreshed.rows, freshness(&engine, view)), (1, Freshness::Current));
        assert_eq!(total(&engine, view).await, "3");
    }
    let plan = lines(&engine, "EXPLAIN SELECT total FROM strict WHERE most > 1").await.unwrap().join("\n");
    assert!(plan.contains("StreamingTable") && !plan.contains("events"), "{plan}");
    catalog.add(10);
    // Within the hour the old one is good enough where the view says so, and nowhere else.
    assert_eq!(
        (total(&engine, "strict").await.as_str(), freshness(&engine, "strict")),
        ("13", Freshness::OutOfDate)
    );
    assert_eq!(
        (total(&engine, "lenient").await.as_str(), freshness(&engine, "lenient")),
        ("3", Freshness::WithinLimit)
    );
    assert_eq!(total(&engine, "soon_old").await, "13");
    // What is stored is there for the next process.
    let next = self::engine(folder.path(), &catalog);
    assert_eq!(
        (total(&next, "strict").await, total(&next, "lenient").await),
        ("13".to_owned(), "3".to_owned())
    );
    engine.refresh_view("lenient").await.unwrap();
    assert_eq!(total(&engine, "lenient").await, "13");
    let info = engine.view("lenient").unwrap().result.unwrap();
    assert_eq!((info.rows, info.error), (Some(1), None));
    assert!(info.age.unwrap() < Duration::from_secs(600) && info.bytes.unwrap() > 100);
}

#[tokio::test]
async fn tables_of_unknown_versions_may_have_changed() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "strict", "");
    put(folder.path(), "lenient", AN_HOUR);
    let catalog = Changing::new(false);
    let engine = engine(folder.path(), &catalog);
    engine.refresh_view("strict").await.unwrap();
    engine.refresh_view("lenient").await.unwrap();
    catalog.add(10);
    assert_eq!(
        (total(&engine, "strict").await.as_str(), total(&engine, "lenient").await.as_str()),
        ("13", "3")
    );
}

#[tokio::test]
async fn another_definition_makes_another_result() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Changing::new(true);
    let engine = engine(folder.path(), &catalog);
    engine.create_view("plain", "SELECT Value FROM events", false).await.unwrap();
    let kept = |what: &str| {
        format!("CREATE MATERIALIZED VIEW kept {AN_HOUR} AS SELECT {what}(value) AS x FROM plain")
    };
    engine.create_view("kept", &kept("MAX"), false).await.unwrap();
    engine.refresh_view("kept").await.unwrap();
    let read = async || lines(&engine, "SELECT x FROM kept").await.unwrap()[1].clone();
    assert_eq!((read().await.as_str(), freshness(&engine, "kept")), ("2", Freshness::Current));
    engine.create_view("kept", &kept("MIN"), true).await.unwrap();
    assert_eq!((read().await.as_str(), freshness(&engine, "kept")), ("1", Freshness::Missing));
    engine.refresh_view("kept").await.unwrap();
    assert_eq!(freshness(&engine, "kept"), Freshness::Current);
    // Also when it is a view below that has changed.
    engine.create_view("plain", "SELECT Value + 100 AS value FROM events", true).await.unwrap();
    assert_eq!((read().await.as_str(), freshness(&engine, "kept")), ("101", Freshness::Missing));
    engine.refresh_view("kept").await.unwrap();
    // And when people are named by another key.
    let key = PseudonymKey::new(&[7; 32]).unwrap();
    let keyed = EngineConfig { pseudonyms: Pseudonyms::Hmac(key), ..config(folder.path()) };
    let keyed = Engine::new(keyed, Arc::clone(&catalog) as _).unwrap();
    assert_eq!(freshness(&keyed, "kept"), Freshness::Missing);
    // A view that is materialised no more leaves no file.
    assert!(folder.path().join("results/kept.result").exists());
    engine.create_view("kept", "SELECT 5 AS x", true).await.unwrap();
    assert!(!folder.path().join("results/kept.result").exists());
    assert_eq!(read().await, "5");
}

#[tokio::test]
async fn torn_and_foreign_files_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "strict", "");
    put(folder.path(), "other", "");
    let catalog = Changing::new(true);
    let first = engine(folder.path(), &catalog);
    first.refresh_view("strict").await.unwrap();
    first.refresh_view("other").await.unwrap();
    let path = folder.path().join("results/strict.result");
    let whole = std::fs::read(&path).unwrap();
    let other = std::fs::read(folder.path().join("results/other.result")).unwrap();
    let write = |bytes: &[u8]| {
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), bytes).unwrap();
    };
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 1;
    let mut cuts: Vec<Vec<u8>> =
        (0..whole.len()).step_by(97).map(|length| whole[..length].to_vec()).collect();
    cuts.extend([flipped, b"not ours at all, but long enough to have a tail".to_vec(), other]);
    for bytes in cuts {
        write(&bytes);
        let engine = engine(folder.path(), &catalog);
        assert_eq!(
            (total(&engine, "strict").await.as_str(), freshness(&engine, "strict")),
            ("3", Freshness::Missing)
        );
    }
    let engine = engine(folder.path(), &catalog);
    engine.refresh_view("strict").await.unwrap();
    assert_eq!(freshness(&engine, "strict"), Freshness::Current);
    write(&whole);
    assert_eq!(freshness(&self::engine(folder.path(), &catalog), "strict"), Freshness::Current);
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_old_result() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "lenient", AN_HOUR);
    let catalog = Changing::new(true);
    engine(folder.path(), &catalog).refresh_view("lenient").await.unwrap();
    catalog.add(0);
    let mut small = config(folder.path());
    small.results.rows_max = 0;
    let small = Engine::new(small, Arc::clone(&catalog) as _).unwrap();
    let error = small.refresh_view("lenient").await.unwrap_err();
    assert_eq!(error.code, Code::ResourcesExceeded, "{error:?}");
    assert!(error.message.contains("more than 0 rows"), "{error:?}");
    assert_eq!(small.view("lenient").unwrap().result.unwrap().error, Some(error));
    assert_eq!(
        (total(&small, "lenient").await.as_str(), freshness(&small, "lenient")),
        ("3", Freshness::WithinLimit)
    );
    let mut tiny = config(folder.path());
    tiny.results.bytes_max = 100;
    let error =
        Engine::new(tiny, Arc::clone(&catalog) as _).unwrap().refresh_view("lenient").await.unwrap_err();
    assert!(error.message.contains("more than 100 bytes"), "{error:?}");
    let names: Vec<_> = std::fs::read_dir(folder.path().join("results"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["lenient.result"]);

    let engine = engine(folder.path(), &catalog);
    assert_eq!(engine.refresh_view("nowhere").await.unwrap_err().code, Code::NotFound);
    let plain = engine.refresh_view("daily_metrics").await.unwrap_err();
    assert!(plain.message.contains("is not materialised"), "{plain:?}");
    for (name, sql) in [
        ("today", "CREATE MATERIALIZED VIEW today AS SELECT CURRENT_DATE() AS d"),
        ("below", "SELECT RAND() AS r"),
        ("above", "CREATE MATERIALIZED VIEW above AS SELECT * FROM below"),
    ] {
        match engine.create_view(name, sql, false).await {
            Ok(_) => assert_eq!(name, "below"),
            Err(error) => assert!(error.message.contains("cannot be materialised"), "{name}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_refreshed_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "first", AN_HOUR);
    put(folder.path(), "by_hand", "OPTIONS (enable_refresh = false)");
    let catalog = Changing::new(true);
    let engine = engine(folder.path(), &catalog);
    let (close, closing) = tokio::sync::oneshot::channel::<()>();
    let keeper = tokio::spawn({
        let engine = engine.clone();
        async move { engine.keep_views_fresh(async { closing.await.unwrap() }).await }
    });
    let current = async |view: &str| {
        let began = std::time::Instant::now();
        while freshness(&engine, view) != Freshness::Current {
            assert!(began.elapsed() < Duration::from_secs(60), "{view} was not refreshed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    current("first").await;
    // One that is made meanwhile is refreshed at once, not at the end of some interval.
    let text = "CREATE MATERIALIZED VIEW second AS SELECT COUNT(*) AS n, JSON '{\"a\": 1}' AS j, DATE '2026-01-02' AS d FROM events";
    engine.create_view("second", text, false).await.unwrap();
    current("second").await;
    assert_eq!(
        lines(&engine, "SELECT j.a, * FROM second").await.unwrap(),
        ["a JSON | n INT64 | j JSON | d DATE", "1 | 2 | {\"a\":1} | 2026-01-02"]
    );
    assert_eq!(freshness(&engine, "by_hand"), Freshness::Missing);
    close.send(()).unwrap();
    keeper.await.unwrap();
}
