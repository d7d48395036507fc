//! Queries on the real binary: hostile ones, too many of them, and what they may not do to their
//! neighbours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{Millrace, eventually, logs_body};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The answer of the API to a query: its status and body.
fn ask(millrace: &Millrace, sql: &str) -> (u16, Value) {
    let body = serde_json::to_vec(&json!({ "sql": sql })).unwrap();
    let (status, _, answer) = millrace.post(8080, "/api/query", &[JSON], &body);
    (status, serde_json::from_slice(&answer).unwrap())
}

fn record(n: usize) -> Vec<u8> {
    logs_body(&[(&format!("record {n}"), json!({ "event.name": "probe", "n": n.to_string() }))])
}

/// A join of many millions of rows that holds little memory: only time stops it.
fn endless() -> String {
    let numbers: Vec<_> = (0..60_000).map(|n| n.to_string()).collect();
    let numbers = numbers.join(",");
    format!("SELECT COUNT(*) AS n FROM UNNEST([{numbers}]) AS a, UNNEST([{numbers}]) AS b WHERE a + b < 0")
}

/// Scenario: queries with every mistake, and statements that are no queries, over HTTP and on the
/// command line.
/// Guarantees: each has its code, a message that says what and where, and a hint where there is one;
/// the server goes on.
#[test]
fn bad_queries_are_told_why() {
    let millrace = Millrace::started();
    millrace.post_logs(&record(1));
    millrace.settle();
    let columns: Vec<_> = (0..10_000).map(|n| format!("{n} AS c{n}")).collect();
    let wide = format!("SELECT {}", columns.join(", "));
    let large = format!("SELECT '{}' AS x", "x".repeat(1_200_000));
    let cases: &[(&str, u16, &str, &str, &str)] = &[
        ("SELCT 1", 400, "invalid_query", "line 1, column 1", "SELECT"),
        ("SELECT 1\nFRM x", 400, "invalid_query", "line 2", ""),
        (
            "SELECT severty FROM gemini_raw_logs",
            400,
            "invalid_query",
            "severty at line 1, column 8",
            "severity",
        ),
        ("SELECT 1 FROM gemini_raw_log", 404, "not_found", "telemetry.gemini_raw_log", "gemini_raw_logs"),
        ("SELECT JSON_VALU('{}', '$')", 400, "unsupported", "JSON_VALU", "JSON_VALUE"),
        ("SELECT 1 / 0", 400, "invalid_query", "division by zero", ""),
        ("SELECT DIV(1, 0)", 400, "invalid_query", "division by zero", ""),
        ("SELECT CAST('abc' AS INT64)", 400, "invalid_query", "abc", ""),
        ("SELECT CAST(logName AS INT64) FROM gemini_raw_logs", 400, "invalid_query", "", ""),
        ("SELECT JSON_VALUE(jsonPayload_json, '$[') FROM gemini_raw_logs", 400, "invalid_query", "$[", ""),
        ("SELECT JSON_VALUE(jsonPayload_json, 'no path') FROM gemini_raw_logs", 400, "invalid_query", "", ""),
        ("SELECT REGEXP_CONTAINS('a', r'((a{1000}){1000}){1000}')", 400, "invalid_query", "", ""),
        ("SELECT REGEXP_CONTAINS('a', '(')", 400, "invalid_query", "", ""),
        ("", 400, "invalid_query", "no query", ""),
        ("SELECT 1; SELECT 2", 400, "unsupported", "2 statements", "one query"),
        ("CREATE TABLE t (a INT64)", 403, "read_only", "CREATE TABLE", ""),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", 403, "read_only", "CREATE", ""),
        ("DROP TABLE gemini_raw_logs", 403, "read_only", "DROP TABLE", ""),
        ("DELETE FROM gemini_raw_logs WHERE TRUE", 403, "read_only", "DELETE", ""),
        ("INSERT INTO gemini_raw_logs (severity) VALUES ('x')", 403, "read_only", "INSERT", ""),
        ("UPDATE gemini_raw_logs SET severity = 'x' WHERE TRUE", 403, "read_only", "UPDATE", ""),
        ("COPY gemini_raw_logs TO '/tmp/x'", 403, "read_only", "COPY", ""),
        ("EXPLAIN DELETE FROM gemini_raw_logs WHERE TRUE", 403, "read_only", "DELETE", ""),
        ("SELECT * FROM '/etc/passwd'", 404, "not_found", "", ""),
        ("SELECT * FROM 'x.parquet'", 404, "not_found", "", ""),
        ("SELECT * FROM `/etc/passwd`", 404, "not_found", "", "files"),
        ("SELECT * FROM read_csv('/etc/passwd')", 400, "unsupported", "read_csv", ""),
        ("SELECT * FROM read_parquet('x')", 400, "unsupported", "read_parquet", ""),
        (&large, 422, "resources_exceeded", "bytes", ""),
    ];
    for (sql, status, code, message, hint) in cases {
        let (answered, body) = ask(&millrace, sql);
        let error = &body["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        assert_eq!((answered, text("code").as_str()), (*status, *code), "{sql:.100}: {body}");
        assert!(text("message").contains(message), "{sql:.100}: {body}");
        assert!(text("hint").contains(hint), "{sql:.100}: {body}");
        if sql.len() < 100 {
            let output = millrace.run(&["query", sql]);
            let shown = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{sql}");
            assert!(shown.contains(message) && shown.contains(hint), "{sql}: {shown}");
        }
    }
    let (status, body) = ask(&millrace, &wide);
    assert_eq!((status, body["columns"].as_array().unwrap().len()), (200, 10_000));
    assert_eq!(millrace.number("SELECT COUNT(*) FROM gemini_raw_logs"), 1);
}

/// Scenario: two queries may run and one may wait; four come.
/// Guarantees: the fourth is refused at once with 429 and is counted; the third has its turn when one
/// ends; all that run end with their limit on time; then queries are taken as before.
#[test]
fn so_many_run_so_many_wait_and_the_rest_is_refused() {
    let mut millrace =
        Millrace::configured("[sql]\nqueries_at_once_max = 2\nqueries_waiting_max = 1\ntimeout_seconds = 4");
    millrace.start();
    let gauge = |name: &str| {
        let metrics = millrace.get("/metrics").1;
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or("none 0").to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let sql = endless();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..2).map(|_| scope.spawn(|| ask(&millrace, &sql))).collect();
        eventually("two run", || (gauge("millrace_queries_running") == 2.0).then_some(()));
        let waiting = scope.spawn(|| ask(&millrace, "SELECT 3 AS x"));
        eventually("one waits", || (gauge("millrace_queries_waiting") == 1.0).then_some(()));
        let (status, body) = ask(&millrace, "SELECT 4 AS x");
        assert_eq!((status, body["error"]["code"].as_str()), (429, Some("too_many_queries")), "{body}");
        assert!(body["error"]["hint"].as_str().unwrap().contains("queries_at_once_max"), "{body}");
        // The server itself answers meanwhile.
        assert_eq!(millrace.get("/healthz").0, 200);
        for running in running {
            let (status, body) = running.join().unwrap();
            assert_eq!((status, body["error"]["code"].as_str()), (408, Some("timeout")), "{body}");
        }
        // Its time began with the others': it had its turn, or was told that it never came.
        let (status, body) = waiting.join().unwrap();
        assert!(matches!(status, 200 | 408 | 429), "{status} {body}");
    });
    eventually("the places are free", || (gauge("millrace_queries_running") == 0.0).then_some(()));
    assert_eq!(ask(&millrace, "SELECT 5 AS x").1["rows"], json!([[5]]));
    let metrics = millrace.get("/metrics").1;
    assert!(metrics.contains(r#"millrace_queries_refused_total{reason="line"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"millrace_queries_total{outcome="timeout"} 2"#), "{metrics}");
    millrace.stop();
}

/// Scenario: joins of thousands of millions of rows on every place that queries have, while producers
/// send.
/// Guarantees: every request is acknowledged and folded meanwhile; the queries end with their limit; on
/// Linux their threads have a lower priority than those that take events.
#[test]
fn runaway_queries_do_not_keep_producers_waiting() {
    let mut millrace = Millrace::configured("[sql]\ntimeout_seconds = 12\nqueries_at_once_max = 8");
    millrace.start();
    let sql = endless();
    std::thread::scope(|scope| {
        let queries: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&millrace, &sql))).collect();
        eventually("eight run", || {
            millrace.get("/metrics").1.contains("millrace_queries_running 8").then_some(())
        });
        let mut slowest = Duration::ZERO;
        let began = Instant::now();
        for n in 0..200 {
            let sent = Instant::now();
            millrace.post_logs(&record(n));
            slowest = slowest.max(sent.elapsed());
        }
        eprintln!("200 requests beside 8 runaway queries: {:?}, the slowest {slowest:?}", began.elapsed());
        // Generous: what must not happen is that producers wait for queries to end.
        assert!(slowest < Duration::from_secs(4), "{slowest:?}");
        millrace.settle();
        assert!(millrace.get("/metrics").1.contains("millrace_queries_running 8"), "they ran all the while");
        for query in queries {
            let (status, body) = query.join().unwrap();
            assert_eq!((status, body["error"]["code"].as_str()), (408, Some("timeout")), "{body}");
        }
    });
    assert_eq!(millrace.number("SELECT COUNT(*) FROM gemini_raw_logs"), 200);
    #[cfg(target_os = "linux")]
    assert!(nice_of(&millrace, "query") > nice_of(&millrace, "ingest"));
    millrace.stop();
}

/// The nice value of the server's threads of a name: field 19 of `/proc/PID/task/TID/stat`, whose second
/// is the name in parentheses (`man 5 proc_pid_stat`).
#[cfg(target_os = "linux")]
fn nice_of(millrace: &Millrace, name: &str) -> i32 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", millrace.pid())).unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let found = stats.filter_map(|stat| {
        let (head, rest) = stat.rsplit_once(')')?;
        let nice = rest.split_whitespace().nth(16)?.parse().ok()?;
        head.ends_with(&format!("({name}")).then_some(nice)
    });
    found.max().unwrap()
}

/// Scenario: a query with more rows than fit into memory at once, written as Parquet and as CSV; then a
/// query that fails half-way, onto the same file.
/// Guarantees: the Parquet file holds exactly the rows, JSON as strings; a failure leaves the old file and
/// nothing beside it; wrong use is exit code 2.
#[test]
fn results_are_written_to_files_whole_or_not_at_all() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let mut millrace = Millrace::started();
    millrace.post_logs(&record(7));
    millrace.settle();
    let folder = millrace.folder.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("result.parquet");
    let path = file.to_str().unwrap();
    let hundreds: Vec<_> = (0..600).map(|n| n.to_string()).collect();
    let hundreds = hundreds.join(",");
    let many = format!(
        "SELECT a * 1000 + b AS Number, IF(b = 0, NULL, CONCAT('row ', CAST(a AS STRING))) AS text, \
         TIMESTAMP '2026-01-02 03:04:05.678+00' AS at, DATE '2026-01-02' AS day, NUMERIC '1.5' AS price, \
         [a, b] AS pair, STRUCT(a AS x, 'y' AS y) AS both, JSON '{{\"k\": [1, 2]}}' AS doc, b'\\xff' AS raw, NULL AS nothing \
         FROM UNNEST([{hundreds}]) AS a, UNNEST([{hundreds}]) AS b"
    );
    for with_server in [true, false] {
        millrace.ok(&["query", "--format", "parquet", "-o", path, &many]);
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap()).unwrap();
        let schema = reader.schema().clone();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["Number", "text", "at", "day", "price", "pair", "both", "doc", "raw", "nothing"]);
        let types: Vec<_> = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        assert_eq!(types[2], "Timestamp(µs, \"UTC\")");
        assert_eq!(types[9], "Int64");
        let (mut rows, mut sum) = (0, 0_i64);
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let numbers = batch.column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap();
            let docs = batch.column(7).as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
            sum += numbers.values().iter().sum::<i64>();
            assert!(docs.iter().all(|doc| doc == Some("{\"k\":[1,2]}")));
            rows += batch.num_rows();
        }
        let expected: i64 = (0..600).map(|a: i64| (0..600).map(|b| a * 1000 + b).sum::<i64>()).sum();
        assert_eq!((rows, sum), (360_000, expected), "{with_server}");
        if with_server {
            millrace.stop();
        }
    }
    // Failures half-way and at once: the file stays.
    let before = std::fs::read(&file).unwrap();
    for sql in [
        format!(
            "SELECT 1 / (a * 600 + b - 359999) AS x FROM UNNEST([{hundreds}]) AS a, UNNEST([{hundreds}]) AS b"
        ),
        "SELECT nope".to_owned(),
        "SELECT 1 AS a, 2 AS a".to_owned(),
    ] {
        let failed = millrace.run(&["query", "--format", "parquet", "-o", path, &sql]);
        assert_eq!(failed.status.code(), Some(1), "{sql:.80}");
        assert!(std::fs::read(&file).unwrap() == before, "{sql:.80}");
    }
    let csv = folder.join("result.csv");
    millrace.ok(&["query", "--format", "csv", "-o", csv.to_str().unwrap(), "SELECT 1 AS a, 'x' AS b"]);
    assert_eq!(std::fs::read_to_string(&csv).unwrap(), "a,b\n1,x\n");
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["result.csv", "result.parquet"]);
    assert_eq!(millrace.run(&["query", "--format", "parquet", "SELECT 1"]).status.code(), Some(2));
    let folder_as_file = millrace.run(&["query", "-o", folder.to_str().unwrap(), "SELECT 1"]);
    assert!(String::from_utf8_lossy(&folder_as_file.stderr).contains("is not a file"));
}
