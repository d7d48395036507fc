//! What drivers do: connect, look around, prepare, read in pieces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use chrono::{DateTime, NaiveDate, Utc};
use common::{Server, code, failure, lines};
use tokio_postgres::types::Type;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_connects_and_reads() {
    let server = Server::default().await;
    let client = server.connect().await;
    assert_eq!(lines(&client, "SELECT count(*) FROM numbers").await.unwrap(), ["1000"]);
    assert_eq!(
        lines(&client, "SELECT username, score FROM visits WHERE score > 5 ORDER BY score DESC")
            .await
            .unwrap(),
        ["bob | 20", "ann | 10"]
    );
    assert_eq!(lines(&client, "SELECT 1 AS a; SELECT 2 AS b").await.unwrap(), ["1", "2"]);
    let events = "SELECT count(*) FROM gemini_analytics_view WHERE event_name = 'gemini_cli.api_response'";
    assert_ne!(lines(&client, events).await.unwrap(), ["0"]);
    let payload = "SELECT payload_json ->> 'event.name', payload_json -> 'nested' -> 'k' ->> 1, \
                   json_value(payload_json, '$.n') FROM visits WHERE day = '2026-01-01' ORDER BY 1";
    assert_eq!(lines(&client, payload).await.unwrap(), ["x | q | 1.50", "y | NULL | NULL"]);
    assert_eq!(code(&client, "SELECT nothing FROM visits").await, "42703");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_have_types_in_text_and_binary() {
    let server = Server::default().await;
    let client = server.connect().await;
    // tokio-postgres sends and reads binary.
    let rows = client
        .query("SELECT username FROM visits WHERE username = $1 AND score >= $2", &[&"ann", &5_i64])
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(), ["ann"]);
    let day = NaiveDate::from_ymd_opt(2026, 1, 2).unwrap();
    let moment = day.and_hms_opt(0, 0, 0).unwrap().and_utc();
    let row = client
        .query_one(
            "SELECT score, ratio, ok, day, seen FROM visits WHERE day = $1 AND seen = $2 AND ratio < $3 AND ok = $4",
            &[&day, &moment, &0.5_f64, &true],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, f64>(1), row.get::<_, bool>(2)), (0, -2.5, true));
    assert_eq!((row.get::<_, NaiveDate>(3), row.get::<_, DateTime<Utc>>(4)), (day, moment));
    // Values that are NULL keep their places.
    let row = client
        .query_one(
            "SELECT $1 AS a, $2::bigint AS b, $3 AS c, $4::text AS d",
            &[&None::<&str>, &7_i64, &"{x,y}", &None::<&str>],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, Option<String>>(0), None);
    assert_eq!((row.get::<_, i64>(1), row.get::<_, &str>(2)), (7, "{x,y}"));
    let rows = client
        .query("SELECT n FROM numbers WHERE n < $1 AND n > $2 ORDER BY n", &[&4_i64, &1_i64])
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [2, 3]);
    let null = client.query_one("SELECT NULL AS nothing", &[]).await.unwrap();
    assert_eq!(null.get::<_, Option<String>>(0), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_refused() {
    let server = Server::default().await;
    let client = server.connect().await;
    let typed = [Type::TEXT];
    let statement = client.prepare_typed("SELECT n FROM numbers WHERE n = $1", &typed).await.unwrap();
    let rows = client.query(&statement, &[&"17"]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 17);
    let failed = failure(&client.query(&statement, &[&"many"]).await.unwrap_err());
    assert_eq!(failed.0, "22P02", "{failed:?}");
    let statement = client.prepare_typed("SELECT n FROM numbers WHERE n = $1", &[Type::BOOL]).await;
    if let Ok(statement) = statement {
        assert_eq!(failure(&client.query(&statement, &[&true]).await.unwrap_err()).0, "42804");
    }
    let statement = client.prepare("SELECT $1::bigint AS n, $2 AS t").await.unwrap();
    assert_eq!(statement.params(), [Type::INT8, Type::TEXT]);
    let several = failure(&client.prepare("SELECT 1 AS a; SELECT 2 AS b").await.unwrap_err());
    assert_eq!(several.0, "42601");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_reads_what_there_is_when_it_runs() {
    let server = Server::default().await;
    let client = server.connect().await;
    let statement = client.prepare("SELECT now() AS moment, $1 AS x").await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let row = client.query_one(&statement, &[&"x"]).await.unwrap();
        seen.push(row.get::<_, DateTime<Utc>>(0));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(seen[0] < seen[1] && seen[1] < seen[2], "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_in_pieces() {
    let server = Server::default().await;
    let mut client = server.connect().await;
    let transaction = client.transaction().await.unwrap();
    let portal =
        transaction.bind("SELECT n FROM numbers WHERE n >= $1 ORDER BY n", &[&10_i64]).await.unwrap();
    let first = transaction.query_portal(&portal, 3).await.unwrap();
    let second = transaction.query_portal(&portal, 2).await.unwrap();
    let rest = transaction.query_portal(&portal, 0).await.unwrap();
    let numbers = |rows: &[tokio_postgres::Row]| rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>();
    assert_eq!((numbers(&first), numbers(&second)), (vec![10, 11, 12], vec![13, 14]));
    assert_eq!((rest.len(), rest[0].get::<_, i64>(0)), (985, 15));
    assert!(transaction.query_portal(&portal, 0).await.unwrap().is_empty());
    transaction.commit().await.unwrap();

    lines(&client, "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT n FROM numbers ORDER BY n").await.unwrap();
    assert_eq!(lines(&client, "FETCH FORWARD 2 FROM c").await.unwrap(), ["0", "1"]);
    assert_eq!(lines(&client, "FETCH c").await.unwrap(), ["2"]);
    let rows = client.query("FETCH 2 FROM c", &[]).await.unwrap();
    assert_eq!(numbers(&rows), [3, 4]);
    assert_eq!(lines(&client, "FETCH ALL FROM c").await.unwrap().len(), 995);
    assert_eq!(lines(&client, "FETCH ALL FROM c").await.unwrap().len(), 0);
    lines(&client, "CLOSE c").await.unwrap();
    assert_eq!(code(&client, "FETCH c").await, "34000");
    lines(&client, "ROLLBACK").await.unwrap();
    lines(&client, "DECLARE c CURSOR WITH HOLD FOR SELECT 1 AS one").await.unwrap();
    lines(&client, "BEGIN; COMMIT").await.unwrap();
    assert_eq!(lines(&client, "FETCH c").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_begin_fail_and_end() {
    let server = Server::default().await;
    let mut client = server.connect().await;
    lines(&client, "BEGIN; SELECT 1 AS one; COMMIT").await.unwrap();
    lines(&client, "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await.unwrap();
    lines(&client, "SAVEPOINT s; SELECT 1 AS one").await.unwrap();
    assert_eq!(code(&client, "SELECT nothing").await, "42703");
    assert_eq!(code(&client, "SELECT 1 AS one").await, "25P02");
    assert_eq!(failure(&client.prepare("SELECT 1 AS one").await.unwrap_err()).0, "25P02");
    lines(&client, "ROLLBACK TO SAVEPOINT s").await.unwrap();
    assert_eq!(lines(&client, "SELECT 1 AS one").await.unwrap(), ["1"]);
    assert_eq!(code(&client, "SELECT nothing").await, "42703");
    lines(&client, "COMMIT").await.unwrap();
    assert_eq!(lines(&client, "SELECT 1 AS one").await.unwrap(), ["1"]);
    lines(&client, "BEGIN; SET LOCAL statement_timeout = '1s'").await.unwrap();
    assert_eq!(lines(&client, "SHOW statement_timeout").await.unwrap(), ["1000ms"]);
    lines(&client, "ROLLBACK").await.unwrap();
    assert_eq!(lines(&client, "SHOW statement_timeout").await.unwrap(), ["60000ms"]);
    let transaction = client.build_transaction().read_only(true).start().await.unwrap();
    transaction.query_one("SELECT count(*) FROM numbers", &[]).await.unwrap();
    transaction.rollback().await.unwrap();
    // What came before a mistake has been answered.
    let messages = client.simple_query("SELECT 1 AS a; SELECT nothing; SELECT 2 AS b").await;
    assert_eq!(failure(&messages.unwrap_err()).0, "42703");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_the_sessions_own() {
    let server = Server::default().await;
    let (first, second) = (server.connect().await, server.connect().await);
    lines(&first, "SET search_path TO other; SET application_name = 'x'").await.unwrap();
    assert_eq!(lines(&first, "SELECT count(*) FROM numbers").await.unwrap(), ["3"]);
    assert_eq!(lines(&second, "SELECT count(*) FROM numbers").await.unwrap(), ["1000"]);
    assert_eq!(
        lines(&first, "SELECT current_schema(), current_setting('search_path')").await.unwrap(),
        ["other | other"]
    );
    lines(&first, "DISCARD ALL").await.unwrap();
    assert_eq!(lines(&first, "SELECT count(*) FROM numbers").await.unwrap(), ["1000"]);
    let shown = lines(&first, "SHOW ALL").await.unwrap();
    assert!(shown.contains(&"default_transaction_read_only | on".to_owned()), "{shown:?}");
    assert!(shown.contains(&"TimeZone | UTC".to_owned()), "{shown:?}");
    assert_eq!(lines(&first, "SHOW is_superuser; SHOW server_encoding").await.unwrap(), ["off", "UTF8"]);
    let version = lines(&first, "SELECT version()").await.unwrap();
    assert!(version[0].starts_with("PostgreSQL 16.6 (Millrace "), "{version:?}");
    let pids =
        [lines(&first, "SELECT pg_backend_pid()").await, lines(&second, "SELECT pg_backend_pid()").await];
    assert_ne!(pids[0].as_ref().unwrap(), pids[1].as_ref().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_views_columns_and_types_are_listed() {
    let server = Server::default().await;
    let client = server.connect().await;
    let schemas = "SELECT schema_name FROM information_schema.schemata ORDER BY 1";
    assert_eq!(
        lines(&client, schemas).await.unwrap(),
        ["information_schema", "other", "pg_catalog", "telemetry"]
    );
    let kinds =
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'telemetry'";
    let kinds = lines(&client, kinds).await.unwrap();
    for expected in [
        "visits | BASE TABLE",
        "gemini_raw_logs | BASE TABLE",
        "gemini_analytics_view | VIEW",
        "daily_metrics | VIEW",
    ] {
        assert!(kinds.contains(&expected.to_owned()), "{expected} in {kinds:?}");
    }
    let columns = "SELECT column_name, data_type, udt_name FROM information_schema.columns \
                   WHERE table_schema = 'telemetry' AND table_name = 'visits' ORDER BY ordinal_position";
    assert_eq!(
        lines(&client, columns).await.unwrap(),
        [
            "username | text | text",
            "score | bigint | int8",
            "ratio | double precision | float8",
            "seen | timestamp with time zone | timestamptz",
            "day | date | date",
            "ok | boolean | bool",
            "tags | ARRAY | _text",
            "doc | text | text",
            "payload_json | text | text",
        ]
    );
    let classes = "SELECT c.relname, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                   ON n.oid = c.relnamespace WHERE n.nspname = 'telemetry' ORDER BY 1";
    let classes = lines(&client, classes).await.unwrap();
    assert!(classes.contains(&"visits | r".to_owned()), "{classes:?}");
    assert!(classes.contains(&"vw_token_usage | v".to_owned()), "{classes:?}");
    let attributes = "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a \
                      WHERE a.attrelid = 'telemetry.visits'::regclass AND a.attnum > 0 ORDER BY a.attnum LIMIT 4";
    assert_eq!(
        lines(&client, attributes).await.unwrap(),
        ["username | text", "score | bigint", "ratio | double precision", "seen | timestamp with time zone"]
    );
    // Object ids are the same in every session, as they are in Postgres.
    let oid = "SELECT oid FROM pg_class WHERE relname = 'visits'";
    let other = server.connect().await;
    assert_eq!(lines(&client, oid).await.unwrap(), lines(&other, oid).await.unwrap());
    let hidden = failure(&lines(&client, "SELECT _offset FROM visits").await.unwrap_err());
    assert_eq!(hidden.0, "42703");
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_everything_is_quick() {
    let server = Server::default().await;
    let client = server.connect().await;
    for sql in [
        "SELECT count(*) FROM pg_class",
        "SELECT count(*) FROM pg_attribute",
        "SELECT count(*) FROM information_schema.columns",
        "SELECT count(*) FROM gemini_analytics_view",
    ] {
        let started = std::time::Instant::now();
        lines(&client, sql).await.unwrap();
        let first = started.elapsed();
        let started = std::time::Instant::now();
        lines(&client, sql).await.unwrap();
        eprintln!("{sql}: {first:?}, again {:?}", started.elapsed());
        // Generous: a slow machine must not fail the build.
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_may_be_counts_lists_and_what_the_client_says() {
    let server = Server::default().await;
    let client = server.connect().await;
    let numbers = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>();
    let statement = client.prepare("SELECT n FROM numbers ORDER BY n LIMIT $1 OFFSET $2").await.unwrap();
    assert_eq!(statement.params(), [Type::INT8, Type::INT8]);
    assert_eq!(numbers(client.query(&statement, &[&2_i64, &3_i64]).await.unwrap()), [3, 4]);
    assert_eq!(numbers(client.query(&statement, &[&1_i64, &7_i64]).await.unwrap()), [7]);
    let statement = client.prepare("SELECT n FROM numbers WHERE n = ANY($1) ORDER BY n").await.unwrap();
    assert_eq!(statement.params(), [Type::INT8_ARRAY]);
    assert_eq!(numbers(client.query(&statement, &[&vec![5_i64, 1, 2000]]).await.unwrap()), [1, 5]);
    assert_eq!(numbers(client.query(&statement, &[&None::<Vec<i64>>]).await.unwrap()), [0_i64; 0]);
    let names = "SELECT count(*) FROM visits WHERE username = ANY($1) AND NOT username = ANY($2)";
    let row = client.query_one(names, &[&["ann", "bob"].as_slice(), &["bob"].as_slice()]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    // The client's word counts where the statement has none of its own.
    let statement = client.prepare_typed("SELECT $1 AS x, abs($2) AS y", &[Type::INT4, Type::FLOAT8]).await;
    let row = client.query_one(&statement.unwrap(), &[&7_i32, &-1.5_f64]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, f64>(1)), (7, 1.5));
    let statement =
        client.prepare_typed("SELECT n FROM numbers WHERE n = ANY($1)", &[Type::INT4_ARRAY]).await;
    assert_eq!(numbers(client.query(&statement.unwrap(), &[&vec![9_i32]]).await.unwrap()), [9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_may_have_any_escape() {
    let server = Server::default().await;
    let client = server.connect().await;
    let sql = "SELECT 'pg_x' LIKE 'pg/_%' ESCAPE '/' AS a, 'pgxx' LIKE 'pg/_%' ESCAPE '/' AS b, \
               'A%' ILIKE 'a!%' ESCAPE '!' AS c";
    assert_eq!(lines(&client, sql).await.unwrap(), ["t | f | t"]);
    let row = client.query_one("SELECT '50%' LIKE $1 || '/%' ESCAPE '/' AS x", &[&"50"]).await.unwrap();
    assert!(row.get::<_, bool>(0));
}
