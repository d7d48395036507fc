//! What is refused and what is stopped: statements that write, limits of a query, limits of a connection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Server, code, failure, lines, until};
use millrace_postgres::PostgresConfig;
use millrace_sql::EngineConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

/// Runs for hours when nobody ends it.
const ENDLESS: &str = "SELECT sum(a.n * b.n + c.n - d.n) FROM numbers a, numbers b, numbers c, numbers d";

async fn with(engine: EngineConfig) -> Server {
    Server::start(PostgresConfig::default(), engine).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_reading_is_done() {
    let server = Server::default().await;
    let client = server.connect().await;
    for sql in [
        "CREATE TABLE t (a int)",
        "CREATE TABLE t AS SELECT 1 AS a",
        "CREATE VIEW v AS SELECT 1 AS a",
        "CREATE SCHEMA s",
        "CREATE DATABASE d",
        "CREATE FUNCTION f() RETURNS int RETURN 1",
        "DROP TABLE visits",
        "DROP VIEW daily_metrics",
        "INSERT INTO numbers VALUES (1)",
        "INSERT INTO numbers SELECT 1",
        "UPDATE numbers SET n = 1",
        "DELETE FROM numbers",
        "TRUNCATE numbers",
        "COPY numbers TO '/tmp/millrace-copied'",
        "COPY (SELECT 1) TO STDOUT",
        "COPY numbers FROM STDIN",
        "WITH gone AS (DELETE FROM numbers RETURNING n) SELECT * FROM gone",
        "SELECT 1 AS a INTO t",
        "EXPLAIN ANALYZE DELETE FROM numbers",
        "GRANT ALL ON numbers TO ann",
        "VACUUM",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET default_transaction_read_only = off",
        "BEGIN READ WRITE",
    ] {
        let found = code(&client, sql).await;
        // What the parser does not even know is a syntax error.
        assert!(["25006", "42601", "0A000"].contains(&found.as_str()), "{sql}: {found}");
        if let Err(failed) = client.prepare(sql).await {
            assert_ne!(failure(&failed).0, "XX000", "{sql}");
        }
    }
    assert!(!std::path::Path::new("/tmp/millrace-copied").exists());
    for sql in ["SET datafusion.execution.batch_size = 1", "SET datafusion.runtime.memory_limit = '1G'"] {
        assert_eq!(code(&client, sql).await, "42704", "{sql}");
    }
    assert_eq!(code(&client, "SET statement_timeout = '1h'").await, "53400");
    assert_eq!(lines(&client, "SELECT count(*) FROM numbers").await.unwrap(), ["1000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_addresses_are_not_read() {
    let server = Server::default().await;
    let client = server.connect().await;
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM 'x.parquet'",
        "SELECT * FROM \"https://example.com/x.parquet\"",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "LOAD '/tmp/x.so'",
    ] {
        let found = code(&client, sql).await;
        let refusals = ["42P01", "42601", "42883", "42000", "25006", "3F000"];
        assert!(refusals.contains(&found.as_str()), "{sql}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_their_letters_and_a_hint() {
    let server = Server::default().await;
    let client = server.connect().await;
    for (sql, expected, said, hint) in [
        ("SELCT 1", "42601", "syntax error", "did you mean SELECT?"),
        ("SELECT userneme FROM visits", "42703", "unrecognized name", "did you mean username?"),
        ("SELECT * FROM vists", "42P01", "telemetry.vists does not exist", "did you mean visits?"),
        ("SELECT * FROM nowhere.visits", "42P01", "nowhere.visits", ""),
        ("SELECT upperr('x')", "42883", "upperr", "did you mean 'upper'?"),
        ("SELECT 1 / (n - n) FROM numbers", "22012", "zero", "SAFE_DIVIDE"),
        ("SELECT CAST(username AS int) FROM visits", "22P02", "ann", ""),
        ("SELECT n FROM numbers a JOIN numbers b ON true", "42702", "ambiguous", ""),
        ("SELECT count(*), username FROM visits", "42803", "", ""),
        ("FETCH 1 FROM nothing", "34000", "nothing", ""),
        ("SHOW nothing", "42704", "nothing", "SHOW ALL"),
        ("SELECT $1", "42P02", "$1", ""),
    ] {
        let found = failure(&lines(&client, sql).await.unwrap_err());
        assert_eq!(found.0, expected, "{sql}: {found:?}");
        assert!(found.1.contains(said), "{sql}: {found:?}");
        assert!(found.2.contains(hint), "{sql}: {found:?}");
    }
    let error = lines(&client, "SELECT 1,\n  userneme\nFROM visits").await.unwrap_err();
    let position = error.as_db_error().unwrap().position();
    assert_eq!(position, Some(&tokio_postgres::error::ErrorPosition::Original(13)));
}

#[tokio::test(flavor = "multi_thread")]
async fn runaway_queries_end_at_their_limit() {
    let server =
        with(EngineConfig { timeout: Duration::from_millis(800), rows_max: 500, ..Default::default() }).await;
    let client = server.connect().await;
    let started = Instant::now();
    assert_eq!(code(&client, ENDLESS).await, "57014");
    assert!(client.query_one(ENDLESS, &[]).await.is_err());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(code(&client, "SELECT n FROM numbers").await, "53400");
    assert_eq!(lines(&client, "SELECT n FROM numbers LIMIT 500").await.unwrap().len(), 500);
    lines(&client, "SET statement_timeout = 200").await.unwrap();
    let started = Instant::now();
    let failed = failure(&lines(&client, ENDLESS).await.unwrap_err());
    assert_eq!((failed.0.as_str(), failed.1.as_str()), ("57014", "the query ran longer than 200 ms"));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let small = with(EngineConfig { memory_bytes_max: 8 << 20, ..EngineConfig::default() }).await;
    let client = small.connect().await;
    let sorted = "SELECT repeat('x', 100) || a.n AS y FROM numbers a, numbers b ORDER BY y";
    assert_eq!(code(&client, sorted).await, "53400");
    assert_eq!(lines(&client, "SELECT count(*) FROM numbers").await.unwrap(), ["1000"]);
    assert_eq!(code(&client, "SELECT length(repeat('x', 2000000000))").await, "42000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_query_ends_at_once() {
    let server = Server::default().await;
    let client = server.connect().await;
    for prepared in [false, true] {
        let token = client.cancel_token();
        // Cancelled over and over until it has ended: a request that comes too early changes nothing.
        let cancelling = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                token.cancel_query(NoTls).await.unwrap();
            }
        });
        let started = Instant::now();
        let ended = match prepared {
            false => lines(&client, ENDLESS).await.map(|_| ()),
            true => client.query_one(ENDLESS, &[]).await.map(|_| ()),
        };
        cancelling.abort();
        let failed = failure(&ended.unwrap_err());
        assert_eq!(failed.1, "canceling statement due to user request", "{failed:?}");
        assert_eq!(failed.0, "57014");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
    // A cancellation of nothing is no cancellation of what comes next.
    client.cancel_token().cancel_query(NoTls).await.unwrap();
    assert_eq!(lines(&client, "SELECT 1 AS one").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_messages_have_a_size() {
    let server = Server::default().await;
    let client = server.connect().await;
    let large = format!("SELECT '{}' AS x", "x".repeat(1_100_000));
    assert_eq!(code(&client, &large).await, "54000");
    let fits = format!("SELECT length('{}') AS x", "x".repeat(900_000));
    assert_eq!(lines(&client, &fits).await.unwrap(), ["900000"]);
    let nested = format!("SELECT {}1{} AS x", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(code(&client, &nested).await, "54001");
    let operators = format!("SELECT 1{} AS x", "+1".repeat(400_000));
    assert_eq!(code(&client, &operators).await, "54000");
    let list = (0..100_000).map(|number| (number + 1_000_000).to_string()).collect::<Vec<_>>().join(",");
    let listed = format!("SELECT count(*) FROM numbers WHERE n IN ({list}, 5)");
    assert_eq!(lines(&client, &listed).await.unwrap(), ["1"]);
    // Larger than any message may be: the connection ends.
    let huge = format!("SELECT '{}' AS x", "x".repeat(4 << 20));
    assert!(lines(&client, &huge).await.is_err());
    until("the connection is closed", async || client.is_closed()).await;
    let again = server.connect().await;
    assert_eq!(lines(&again, "SELECT 1 AS one").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_long_statements_hurt_nobody() {
    let server = Server::default().await;
    let client = server.connect().await;
    for sql in [
        format!("SELECT 1{} AS x", "+1".repeat(900)),
        format!("SELECT 1 AS x WHERE true{}", " AND 1 = 1".repeat(900)),
        format!("SELECT 1 AS x WHERE false{}", " OR 1 = 1".repeat(5000)),
        format!("SELECT 'a'{} AS x", " || 'b'".repeat(900)),
        format!("SELECT {} 1 AS x", "- ".repeat(150)),
        format!("SELECT 1 AS x{}", " UNION ALL SELECT 1".repeat(300)),
        format!("SELECT {}1{} AS x", "abs(".repeat(150), ")".repeat(150)),
        format!("SELECT * FROM {}numbers{}", "(SELECT * FROM ".repeat(150), ") AS x".repeat(150)),
        format!("SELECT {}n{} FROM numbers", "CASE WHEN n = 1 THEN ".repeat(90), " ELSE 2 END".repeat(90)),
        format!("SELECT {}n{} AS x FROM numbers", "((".repeat(60), ") = 1)::int".repeat(60)),
        format!("SELECT {}1{} AS x", "(SELECT ".repeat(90), ")".repeat(90)),
    ] {
        let started = Instant::now();
        // A result or an error; a server that is gone is neither.
        let done = lines(&client, &sql).await.map(|lines| lines.len());
        let prepared = client.prepare(&sql).await.is_ok();
        eprintln!(
            "{:.40}: {:?}, prepared: {prepared}, {:?}",
            sql,
            done.map_err(|error| failure(&error)),
            started.elapsed()
        );
        assert!(!client.is_closed(), "{sql:.60}");
    }
    let wide = (0..10_000).map(|index| format!("n + {index} AS c{index}")).collect::<Vec<_>>().join(", ");
    let wide = format!("SELECT {wide} FROM numbers LIMIT 1");
    let rows = client.query(&wide, &[]).await;
    match rows {
        Ok(rows) => assert_eq!(rows[0].len(), 10_000),
        Err(error) => panic!("{:?}", failure(&error)),
    }
    // Each use of a query of a WITH is planned anew.
    let steps: String =
        (1..40).map(|at| format!(", a{at} AS (SELECT a.n FROM a{0} a CROSS JOIN a{0} b)", at - 1)).collect();
    let bomb = format!("WITH a0 AS (SELECT n FROM numbers){steps} SELECT * FROM a39");
    assert_eq!(code(&client, &bomb).await, "54001");
}

#[tokio::test(flavor = "multi_thread")]
async fn planning_ends_at_the_limit_on_time_and_when_cancelled() {
    let server = Server::default().await;
    let client = server.connect().await;
    // Takes a second to plan, and is let through.
    let slow = format!("SELECT n{} AS x FROM numbers", " + 1".repeat(1_000));
    lines(&client, "SET statement_timeout = '50ms'").await.unwrap();
    let failed = failure(&lines(&client, &slow).await.unwrap_err());
    assert_eq!(failed.0, "57014", "{failed:?}");
    lines(&client, "SET statement_timeout = 0").await.unwrap();
    let token = client.cancel_token();
    let cancelling = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            token.cancel_query(NoTls).await.unwrap();
        }
    });
    let failed = failure(&lines(&client, &slow).await.unwrap_err());
    cancelling.abort();
    assert_eq!(failed.1, "canceling statement due to user request", "{failed:?}");
    // More of them than are planned at once do not keep others out for long.
    let mut given_up = Vec::new();
    for _ in 0..12 {
        let (config, slow) = (server.config(), slow.clone());
        given_up.push(tokio::spawn(async move {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.simple_query("SET statement_timeout = '50ms'").await.unwrap();
            client.simple_query(&slow).await.map(|_| ())
        }));
    }
    for ended in given_up {
        assert!(ended.await.unwrap().is_err());
    }
    until("there is a place again", async || lines(&client, "SELECT 1 AS one").await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_let_go() {
    let config = PostgresConfig { write_stall_max: Duration::from_millis(500), ..PostgresConfig::default() };
    let server = Server::start(config, EngineConfig::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"\0\0\0\x12\0\x03\0\0user\0ann\0\0").await.unwrap();
    let mut greeting = [0; 4096];
    assert!(stream.read(&mut greeting).await.unwrap() > 0);
    // Some hundred megabytes, of which nothing is read.
    let sql = b"SELECT repeat('x', 1000) AS x FROM numbers a, numbers b LIMIT 300000\0";
    let length = u32::try_from(sql.len() + 4).unwrap();
    stream.write_all(&[b"Q".as_slice(), &length.to_be_bytes(), sql].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut left = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut left)).await;
    let _ = read.expect("the server must have closed the connection");
    assert!(left.len() < 100 << 20, "{} bytes were sent to somebody who did not read", left.len());
    assert_eq!(lines(&server.connect().await, "SELECT 1 AS one").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_ends() {
    let server = with(EngineConfig { memory_bytes_max: 64 << 20, ..EngineConfig::default() }).await;
    // Holds most of the memory for as long as it runs.
    let hungry = "SELECT count(*) FROM (SELECT a.n, b.n AS m, c.n AS o, row_number() OVER (ORDER BY a.n + b.n) AS r \
                  FROM numbers a, numbers b, numbers c WHERE c.n < 1) x, numbers y, numbers z, numbers w";
    for _ in 0..3 {
        let config = server.config();
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let asked = tokio::spawn(async move { client.simple_query(hungry).await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(300)).await;
        // The client is gone without a word.
        connection.abort();
        asked.abort();
    }
    let client = server.connect().await;
    let sorted =
        "SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY a.n * b.n) AS r FROM numbers a, numbers b)";
    until("the memory is free again", async || lines(&client, sorted).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_and_cursors_are_counted() {
    let server = Server::default().await;
    let client = server.connect().await;
    let mut held = Vec::new();
    let refused = loop {
        match client.prepare("SELECT 1 AS one").await {
            Ok(statement) => held.push(statement),
            Err(error) => break failure(&error),
        }
        assert!(held.len() <= 1000);
    };
    assert_eq!(refused.0, "53400");
    held.clear();
    until("statements are closed", async || client.prepare("SELECT 1 AS one").await.is_ok()).await;
    lines(&client, "BEGIN").await.unwrap();
    let mut cursors = 0;
    let refused = loop {
        match lines(&client, &format!("DECLARE c{cursors} CURSOR FOR SELECT n FROM numbers")).await {
            Ok(_) => cursors += 1,
            Err(error) => break failure(&error),
        }
        assert!(cursors <= 100);
    };
    assert_eq!(refused.0, "53400");
}
