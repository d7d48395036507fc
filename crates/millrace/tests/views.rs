//! Views on the real binary: made, refreshed and removed through a running server and without one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use common::{Millrace, eventually, logs_body};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

fn send(millrace: &Millrace, texts: &[&str]) {
    let records: Vec<_> = texts.iter().map(|text| (*text, json!({ "event.name": "probe" }))).collect();
    millrace.post_logs(&logs_body(&records));
    millrace.settle();
}

fn listed(millrace: &Millrace, name: &str) -> Option<Value> {
    let rows: Vec<Value> =
        serde_json::from_str(&millrace.ok(&["views", "list", "--format", "json"])).unwrap();
    rows.into_iter().find(|row| row["name"] == name)
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const COUNTS: &str = "CREATE OR REPLACE MATERIALIZED VIEW `${project}.${dataset}.counts`
  PARTITION BY day
  OPTIONS (enable_refresh = true, refresh_interval_minutes = 60,
    max_staleness = INTERVAL \"1:0:0\" HOUR TO SECOND, allow_non_incremental_definition = true)
AS SELECT DATE(timestamp) AS day, COUNT(*) AS n FROM gemini_raw_logs GROUP BY day";

/// Scenario: a materialised view is made, queried, refreshed, replaced and removed while the server runs,
/// then all of it again without a server, then the server starts.
/// Guarantees: each step is seen at once by commands and over HTTP, with the same answers; what is made
/// survives restarts; stored results are read as `max_staleness` says.
#[test]
fn views_live_with_a_server_and_without() {
    let mut millrace = Millrace::started();
    send(&millrace, &["one", "two"]);
    let made = millrace.run_with_input(&["views", "create", "counts"], COUNTS.as_bytes());
    assert!(made.status.success(), "{}", stderr(&made));
    eventually("the first refresh", || {
        let row = listed(&millrace, "counts")?;
        (row["materialized"] == "current" && row["rows"] == 1).then_some(())
    });
    assert_eq!(millrace.number("SELECT n FROM counts"), 2);
    // Within the hour, the stored result is good enough, for every entry; a plain query sees all.
    send(&millrace, &["three"]);
    assert_eq!(millrace.number("SELECT n FROM counts"), 2);
    assert_eq!(listed(&millrace, "counts").unwrap()["materialized"], "within limit");
    assert_eq!(millrace.number("SELECT COUNT(*) FROM gemini_raw_logs"), 3);
    assert!(millrace.ok(&["views", "refresh", "--all"]).contains("view counts is refreshed: 1 rows"));
    assert_eq!(millrace.number("SELECT n FROM counts"), 3);
    let shown = millrace.ok(&["views", "show", "counts"]);
    assert!(shown.contains("`local.telemetry.counts`") && shown.contains("PARTITION BY day"), "{shown}");

    let taken = millrace.run_with_input(&["views", "create", "counts"], b"SELECT 1 AS n");
    assert_eq!(taken.status.code(), Some(1));
    assert!(stderr(&taken).contains("there already is a view counts"), "{}", stderr(&taken));
    let file = millrace.write("above.sql", b"SELECT MAX(n) AS most FROM counts");
    millrace.ok(&["views", "create", "above", file.to_str().unwrap()]);
    let needed = millrace.run(&["views", "drop", "counts"]);
    assert!(stderr(&needed).contains("view counts is needed by above"), "{}", stderr(&needed));
    let metrics = millrace.get("/metrics").1;
    assert!(
        metrics.contains(r#"millrace_view_refreshes_total{view="counts",outcome="refreshed"} 2"#),
        "{metrics}"
    );
    millrace.stop();

    // Without a server: the same views, and the same commands take the lock.
    assert_eq!(listed(&millrace, "counts").unwrap()["materialized"], "current");
    assert_eq!(millrace.number("SELECT most FROM above"), 3);
    assert!(millrace.ok(&["views", "refresh", "counts"]).contains("1 rows"));
    millrace.ok(&["views", "drop", "above"]);
    let replaced =
        millrace.run_with_input(&["views", "create", "counts", "-", "--replace"], b"SELECT 7 AS n");
    assert!(replaced.status.success(), "{}", stderr(&replaced));
    assert_eq!(millrace.number("SELECT n FROM counts"), 7);
    assert!(!millrace.data_dir().join("results/counts.result").exists());

    millrace.start();
    let (status, _, answer) =
        millrace.post(8080, "/api/query", &[JSON], br#"{"sql": "SELECT n FROM counts"}"#);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["rows"]), (200, &json!([[7]])));
    millrace.ok(&["views", "drop", "counts"]);
    assert!(millrace.ok(&["views", "drop", "counts", "--if-exists"]).contains("there is no view"));
    assert_eq!(millrace.run(&["views", "drop", "counts"]).status.code(), Some(1));
    assert!(listed(&millrace, "counts").is_none());
    millrace.stop();
}

/// Scenario: views that are none, names that are none, requests as a web page could send them.
/// Guarantees: each is refused with its reason and changes nothing.
#[test]
fn what_is_no_view_is_refused() {
    let millrace = Millrace::started();
    for (name, sql, message) in [
        ("v", "DROP TABLE gemini_raw_logs", "DROP TABLE is refused"),
        ("v", "SELECT nope FROM gemini_raw_logs", "unrecognized name: nope at line 1, column 8"),
        ("v", "CREATE VIEW w AS SELECT 1 AS x", "makes the view w, not telemetry.v"),
        ("gemini_raw_logs", "SELECT 1 AS x", "there is a table telemetry.gemini_raw_logs"),
        ("daily_metrics", "SELECT 1 AS x", "built-in view daily_metrics"),
        ("../../escape", "SELECT 1 AS x", "letters, digits and _ only"),
        ("v", "CREATE MATERIALIZED VIEW v AS SELECT CURRENT_TIMESTAMP() AS t", "cannot be materialised"),
    ] {
        let output = millrace.run_with_input(&["views", "create", name, "--replace"], sql.as_bytes());
        assert_eq!(output.status.code(), Some(1), "{sql}");
        assert!(stderr(&output).contains(message), "{sql}: {}", stderr(&output));
    }
    assert!(!millrace.data_dir().join("views").exists());
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", millrace.port(8080));
    let code = |answer: Result<http::Response<ureq::Body>, ureq::Error>| {
        let mut answer = answer.unwrap();
        let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        (answer.status().as_u16(), body["error"]["code"].as_str().unwrap().to_owned())
    };
    let put = |path: &str, content_type: &str, body: &str| {
        code(agent.put(url(path)).header("content-type", content_type).send(body))
    };
    let good = r#"{"sql": "SELECT 1 AS x"}"#;
    assert_eq!(put("/api/views/v", "text/plain", good), (415, "content_type".to_owned()));
    assert_eq!(put("/api/views/v", "application/json", "{}"), (400, "bad_request".to_owned()));
    assert_eq!(put("/api/views/v?replace=maybe", "application/json", good), (400, "bad_request".to_owned()));
    assert_eq!(put("/api/views/a%2Fb", "application/json", good), (400, "invalid_query".to_owned()));
    let foreign = agent.put(url("/api/views/v")).header("content-type", "application/json");
    assert_eq!(code(foreign.header("origin", "https://evil.example").send(good)).0, 403);
    assert_eq!(code(agent.post(url("/api/views/vw_token_usage/refresh")).send("")).0, 415);
    assert_eq!(code(agent.get(url("/api/views/none")).call()), (404, "not_found".to_owned()));
    assert_eq!(code(agent.delete(url("/api/views/daily_metrics")).call()), (403, "read_only".to_owned()));
    assert_eq!(code(agent.post(url("/api/views/none/refresh")).header(JSON.0, JSON.1).send("")).0, 404);
    assert!(!millrace.data_dir().join("views").exists());
}

/// Scenario: `verify` over good views and one that was put there by hand and lost its table.
/// Guarantees: exit code 0 and 1; the bad one is named with its reason.
#[test]
fn verify_tells_good_from_bad() {
    let mut millrace = Millrace::started();
    send(&millrace, &["one"]);
    let verified: Vec<Value> =
        serde_json::from_str(&millrace.ok(&["views", "verify", "--format", "json"])).unwrap();
    assert!(verified.len() >= 4 && verified.iter().all(|view| view["ok"] == true), "{verified:#?}");
    let views = millrace.data_dir().join("views");
    std::fs::create_dir_all(&views).unwrap();
    std::io::Write::write_all(
        &mut std::fs::File::create(views.join("lost.sql")).unwrap(),
        b"SELECT x FROM nowhere",
    )
    .unwrap();
    let output = millrace.run(&["views", "verify", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let verified: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let bad: Vec<&Value> = verified.iter().filter(|view| view["ok"] == false).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0]["name"], "lost");
    assert!(bad[0]["error"].as_str().unwrap().contains("telemetry.nowhere does not exist"), "{bad:?}");
    // The server has seen it, too, and goes on.
    eventually("the file is seen", || listed(&millrace, "lost"));
    millrace.stop();
}

/// Scenario: pseudonyms under a key, configured.
/// Guarantees: the pseudonym is Python's HMAC of the e-mail; neither `show` nor a plan holds the key; a
/// key that others may read stops `check` and `run`.
#[test]
fn people_are_named_by_the_key() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut millrace = Millrace::configured("[sql]\npseudonyms = 'hmac'\npseudonym_key_file = 'key'");
    let key = millrace.write("key", b"0123456789abcdefghijABCDEFGHIJ0123456789\n");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for command in ["check", "run"] {
        let output = millrace.run(&[command]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(stderr(&output).contains("may be read by others"), "{}", stderr(&output));
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    millrace.start();
    millrace.post_logs(&logs_body(&[("mail dev@example.com", json!({ "user.email": "dev@example.com" }))]));
    millrace.settle();
    let row = &millrace.query("SELECT * FROM gemini_analytics_view")[0];
    // hmac.new(b"0123456789abcdefghijABCDEFGHIJ0123456789", b"dev@example.com", "sha256").hexdigest()
    assert_eq!(row["user_pseudonym"], "a84675538d9840397bc4eef692041f417778590487bc4895a8e8f9135a0b7148");
    assert!(!row.to_string().contains("@example.com"), "{row}");
    let shown = millrace.ok(&["views", "show", "gemini_analytics_view"]);
    assert!(shown.starts_with("-- ${pseudonym_inner_pad}"), "{shown}");
    let plan = millrace.ok(&["query", "EXPLAIN SELECT user_pseudonym FROM gemini_analytics_view"]);
    for text in [&shown, &plan] {
        assert!(
            !text.contains("06070405") && !text.contains("6c6d6e6f") && !text.contains("0123456789abc"),
            "{text}"
        );
    }
    millrace.stop();
}
