//! Versions of a UDF, the life cycle of pipelines and reruns, on the real binary.
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

const CONFIG: &str = r#"
[[pipeline]]
name = "rows"
topic = "gemini-telemetry-logs"
table = "d.rows"
schema = "schema.json"
workers = 2
window = { age_ms_max = 20 }
udf = { path = "t.js", function = "f", reload_interval_seconds = 1 }
"#;

const SCHEMA: &[u8] = br#"[{"name": "text", "type": "STRING"}, {"name": "made_by", "type": "STRING"}]"#;

/// A script that signs its rows, and fails on texts that contain `fails_on`.
fn script(name: &str, fails_on: &str) -> String {
    format!(
        "function f(line) {{ const text = JSON.parse(line).jsonPayload.message; \
         if (text.includes('{fails_on}')) throw new Error('not this one'); \
         return JSON.stringify({{ text, made_by: '{name}' }}); }}\n"
    )
}

fn millrace(first: &str) -> Millrace {
    let millrace = Millrace::configured(CONFIG);
    millrace.write("schema.json", SCHEMA);
    put(&millrace, first);
    millrace
}

fn put(millrace: &Millrace, script: &str) -> String {
    millrace.write("t.js", script.as_bytes()).to_str().unwrap().to_owned()
}

fn send(millrace: &Millrace, prefix: &str, count: usize) {
    let texts: Vec<String> = (0..count).map(|number| format!("{prefix} {number}")).collect();
    let records: Vec<_> = texts.iter().map(|text| (text.as_str(), json!({ "event.name": "x" }))).collect();
    millrace.post_logs(&logs_body(&records));
    millrace.settle();
}

fn pipeline(millrace: &Millrace) -> Value {
    millrace.status()["pipelines"][0].clone()
}

fn made_by(millrace: &Millrace, table: &str) -> Vec<(String, u64)> {
    let sql = format!("SELECT made_by, COUNT(*) AS n FROM {table} GROUP BY made_by ORDER BY made_by");
    millrace
        .query(&sql)
        .iter()
        .map(|row| (row["made_by"].as_str().unwrap().to_owned(), row["n"].as_u64().unwrap()))
        .collect()
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn acts(millrace: &Millrace) -> Vec<String> {
    let history: Value = serde_json::from_str(&millrace.ok(&["udf", "history", "--format", "json"])).unwrap();
    let events = history["events"].as_array().unwrap();
    events.iter().map(|event| event["act"].as_str().unwrap().to_owned()).collect()
}

/// Scenario: a script changes while the server runs: to a good one, to one that fails more often, to one
/// that does not compile; then back by `udf rollback`, a restart, kill -9, a restart with a broken file.
/// Guarantees: only the good one is taken up; the rollback holds until the file changes; each row is
/// there once; what happened is in the history, also while no server runs.
#[test]
fn a_script_is_reloaded_refused_and_rolled_back() {
    let mut millrace = millrace(&script("one", "never"));
    millrace.start();
    send(&millrace, "a", 10);
    let first = pipeline(&millrace)["udf_hash"].clone();

    put(&millrace, &script("two", "never"));
    eventually("the new version runs", || (pipeline(&millrace)["udf_hash"] != first).then_some(()));
    send(&millrace, "b", 10);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 10), ("two", 10)]));

    for (bad, word) in [(script("worse", "b"), "error rate"), ("function f(".to_owned(), "syntax error")] {
        put(&millrace, &bad);
        let note = |status: Value| status["udf_note"].as_str().is_some_and(|note| note.contains(word));
        eventually(word, || note(pipeline(&millrace)).then_some(()));
    }
    send(&millrace, "c", 10);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 10), ("two", 20)]));

    millrace.ok(&["udf", "rollback"]);
    assert_eq!(pipeline(&millrace)["udf_hash"], first);
    put(&millrace, &script("two", "never"));
    eventually("the file changed", || (pipeline(&millrace)["udf_hash"] != first).then_some(()));
    millrace.ok(&["udf", "rollback", "--to", &first.as_str().unwrap()[..8]]);
    millrace.stop();
    millrace.start();
    millrace.kill();
    millrace.start();
    assert_eq!(pipeline(&millrace)["udf_hash"], first, "the file is not taken up again");
    send(&millrace, "d", 10);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 20), ("two", 20)]));

    millrace.stop();
    put(&millrace, "function f(");
    millrace.start();
    assert_eq!(pipeline(&millrace)["udf_hash"], first, "a broken file does not keep it from starting");
    millrace.stop();
    let expected =
        ["start", "reload", "refused", "refused", "rollback", "reload", "rollback", "start", "refused"];
    assert_eq!(acts(&millrace), expected);
    millrace.audit();
}

/// Scenario: a new version runs in the shadow while messages come, is shown, promoted, rolled back
/// without a server.
/// Guarantees: the shadow writes nothing and reports changed rows as a diff; a version that does worse
/// is not promoted; the promoted one writes rows from then on, also after a restart.
#[test]
fn a_version_in_the_shadow_is_compared_and_promoted() {
    let mut millrace = millrace(&script("one", "never"));
    millrace.start();
    let file = |name: &str, text: &str| millrace.write(name, text.as_bytes()).to_str().unwrap().to_owned();
    let (worse, two) = (file("worse.js", &script("worse", "a")), file("two.js", &script("two", "never")));
    assert!(!millrace.run(&["udf", "promote"]).status.success(), "nothing is in the shadow");

    millrace.ok(&["udf", "shadow", &worse]);
    send(&millrace, "a", 10);
    let output = millrace.run(&["udf", "promote"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"), "{output:?}");

    millrace.ok(&["udf", "shadow", &two]);
    send(&millrace, "b", 10);
    let report = eventually("ten messages in the shadow", || {
        let text = millrace.ok(&["udf", "shadow", "--format", "json"]);
        let shadow: Value = serde_json::from_str(&text).unwrap();
        (shadow["report"]["messages"] == 10).then_some(shadow["report"].clone())
    });
    assert_eq!((&report["changed_rows"], &report["skipped"]), (&json!(10), &json!(0)));
    assert_eq!(report["columns"], json!({ "made_by": 10 }));
    let text = millrace.ok(&["udf", "shadow"]);
    assert!(text.contains("- made_by: one\n+ made_by: two"), "{text}");
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 20)]), "a shadow writes nothing");

    let text = millrace.ok(&["udf", "promote"]);
    assert!(text.contains("20 changed rows"), "{text}");
    send(&millrace, "c", 10);
    millrace.stop();
    millrace.start();
    send(&millrace, "d", 10);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 20), ("two", 20)]));
    let metrics = millrace.get("/metrics").1;
    assert!(!metrics.contains("not this one"), "no payload in a metric");
    millrace.stop();
    assert!(millrace.ok(&["udf", "rollback"]).contains("next start"));
    millrace.start();
    send(&millrace, "e", 10);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 30), ("two", 20)]));
    millrace.audit();
}

/// Scenario: pipelines are drained, cancelled and resumed; the configuration changes in what can be
/// taken up (windows, workers, the UDF's limits and text, another pipeline) and in what cannot.
/// Guarantees: nothing is lost or doubled; what cannot be changed is named, and then nothing changes.
#[test]
fn pipelines_are_drained_cancelled_and_updated() {
    let mut millrace = millrace(&script("one", "never"));
    millrace.start();
    send(&millrace, "a", 10);
    millrace.ok(&["drain"]);
    assert_eq!(pipeline(&millrace)["state"], "stopped");
    let body = logs_body(&[("waits", json!({ "event.name": "x" }))]);
    millrace.post_logs(&body);
    assert_eq!(pipeline(&millrace)["pending"], 1);
    assert_eq!(millrace.get("/readyz").0, 200, "who was drained is where it should be");
    millrace.ok(&["resume", "rows"]);
    millrace.settle();
    millrace.ok(&["cancel", "rows"]);
    assert!(!millrace.run(&["cancel", "none"]).status.success());
    millrace.ok(&["resume"]);
    send(&millrace, "b", 9);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 20)]));

    assert!(millrace.ok(&["update"]).contains("nothing has changed"));
    let second = CONFIG.replace("\"rows\"", "\"second\"").replace("d.rows", "d.second");
    let text = CONFIG
        .replace("workers = 2", "workers = 1")
        .replace("age_ms_max = 20", "rows_max = 5, age_ms_max = 30");
    let text = format!("{text}{second}").replace("function = \"f\"", "function = \"f\", time_limit_ms = 400");
    millrace.write("millrace.toml", text.as_bytes());
    put(&millrace, &script("two", "never"));
    let changes = millrace.ok(&["update"]);
    for word in ["windows of 5 rows, 1 workers", "of its UDF", "pipeline second is started"] {
        assert!(changes.contains(word), "{changes}");
    }
    send(&millrace, "c", 20);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 20), ("two", 20)]));
    assert_eq!(made_by(&millrace, "d.second"), pairs(&[("two", 40)]), "it folds from the beginning");

    let fixed = format!("{text}\n[log]\nretention_hours = 5\n").replace("d.rows", "d.other");
    millrace.write("millrace.toml", fixed.as_bytes());
    let output = millrace.run(&["update"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("log.retention_hours, [[pipeline]] rows: table"), "{error}");
    millrace.write("millrace.toml", b"nonsense = 1");
    let json = ("content-type", "application/json");
    assert_eq!(millrace.post(8080, "/api/update", &[json], b"{}").0, 409, "it is no configuration");
    millrace.write("millrace.toml", text.as_bytes());
    send(&millrace, "d", 10);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 20), ("two", 30)]));
    millrace.audit();
}

/// Scenario: dead letters of the first version; a fixed version runs (promoted), while the file still has
/// the first; a replay without `--udf`, through the server and without one. Then a pipeline that comes with
/// an update has a dead letter, too.
/// Guarantees: the replay runs the version that runs, not what lies in the file; a pipeline that was added
/// is replayed and audited without a restart; a step of an update is not done twice.
#[test]
fn a_replay_runs_the_version_that_runs_also_of_a_pipeline_that_was_added() {
    // Looked at when the test says so, and not in between.
    let config = CONFIG.replace("reload_interval_seconds = 1", "reload_interval_seconds = 0");
    let mut millrace = Millrace::configured(&format!("{config}\n[audit]\ninterval_seconds = 1\n"));
    millrace.write("schema.json", SCHEMA);
    put(&millrace, &script("one", "a"));
    millrace.start();
    send(&millrace, "a", 10);
    let fixed = millrace.write("fixed.js", script("fixed", "never").as_bytes());
    millrace.ok(&["udf", "shadow", fixed.to_str().unwrap()]);
    millrace.ok(&["udf", "promote"]);
    let first = "SELECT COUNT(*) FROM d.rows_error_records";
    assert_eq!(millrace.number(first), 10);
    millrace.ok(&["deadletter", "replay"]);
    assert_eq!(millrace.number(first), 0);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("fixed", 10)]));

    // The added pipeline starts with what lies in its file; the script of the first is worse by now.
    let second = config.replace("\"rows\"", "\"second\"").replace("d.rows", "d.second");
    let second = second.replace("t.js", "second.js");
    let text = format!("{config}{second}\n[audit]\ninterval_seconds = 1\n");
    millrace.write("millrace.toml", text.as_bytes());
    millrace.write("second.js", script("second", "a").as_bytes());
    put(&millrace, &script("worse", "a "));
    let output = millrace.run(&["update"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("pipeline second is started"), "{error}");
    assert!(millrace.ok(&["update"]).contains("nothing has changed"), "neither the refused script again");
    assert_eq!(millrace.status()["pipelines"].as_array().unwrap().len(), 2);
    millrace.settle();
    let dead = "SELECT COUNT(*) FROM d.second_error_records";
    assert_eq!(millrace.number(dead), 10);
    let audited = |status: &Value| {
        let second = status["pipelines"].as_array()?.iter().find(|pipeline| pipeline["name"] == "second")?;
        second["audit"]["balanced"].as_bool()
    };
    assert!(eventually("the added pipeline is audited", || audited(&millrace.status())));
    millrace.write("second.js", script("mended", "never").as_bytes());
    millrace.ok(&["udf", "reload", "--pipeline", "second"]);
    millrace.ok(&["deadletter", "replay", "--pipeline", "second"]);
    assert_eq!(millrace.number(dead), 0);
    assert_eq!(made_by(&millrace, "d.second"), pairs(&[("mended", 10)]));

    // Without a server it is the version that the next start runs.
    millrace.ok(&["udf", "rollback", "--pipeline", "second"]);
    send(&millrace, "a again", 1);
    assert_eq!(millrace.number(dead), 1);
    millrace.stop();
    millrace.ok(&["deadletter", "replay", "--pipeline", "second"]);
    assert_eq!(millrace.number(dead), 1, "gone back to, it fails again");
    millrace.write("second.js", script("third", "never").as_bytes());
    millrace.ok(&["deadletter", "replay", "--pipeline", "second"]);
    assert_eq!(made_by(&millrace, "d.second"), pairs(&[("mended", 10), ("third", 1)]));
    millrace.audit();
}

/// Scenario: a stretch of the log is run again with another script into a new table; the server is killed
/// with -9 in the middle and the command is given again, and again after it is done, and without a
/// server.
/// Guarantees: each message of the stretch is in the new table exactly once; other tables are not
/// touched; a table that is taken is refused.
#[test]
fn a_stretch_is_run_again_exactly_once() {
    let mut millrace = millrace(&script("one", "never"));
    millrace.start();
    for part in 0..20 {
        send(&millrace, &format!("part {part}"), 500);
    }
    let again = millrace.write("again.js", script("again", " 7").as_bytes());
    let arguments = [
        "rerun",
        "--from",
        "2020-01-01",
        "--to",
        "2100-01-01T00:00:00Z",
        "--udf",
        again.to_str().unwrap(),
        "--into",
        "d.again",
    ];
    // The same moments as the command's.
    let request = json!({
        "from_micros": 1_577_836_800_000_000_i64, "to_micros": 4_102_444_800_000_000_i64, "into": "d.again",
        "udf": { "scripts": [{ "name": "again.js", "source": script("again", " 7") }] },
    });
    let json = ("content-type", "application/json");
    let (status, _, answer) = millrace.post(8080, "/api/rerun", &[json], request.to_string().as_bytes());
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    millrace.kill();
    millrace.start();
    send(&millrace, "later", 10);
    for _ in 0..2 {
        let text = millrace.ok(&arguments);
        // 7 and 70 to 79 and 700 and so on: the numbers of a part that begin with a 7, and part 7.
        assert!(text.contains("offsets 0 to 10000"), "{text}");
    }
    let dead = millrace.number("SELECT COUNT(*) FROM d.again_error_records");
    assert_eq!(dead, 19 * 11 + 500);
    assert_eq!(made_by(&millrace, "d.again"), pairs(&[("again", 10_000 - dead)]));
    assert_eq!(millrace.number("SELECT COUNT(DISTINCT text) FROM d.again"), 10_000 - dead);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 10_010)]));
    let mut shorter = arguments;
    shorter[4] = "2099-01-01";
    let refused = millrace.run(&shorter);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("--from 2020-01-01T00:00:00"), "{error}");
    let hour = ["rerun", "--from", "1h", "--to", "0s", "--into", "d.hour"];
    millrace.ok(&hour);
    let refused = millrace.run(&hour);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("was filled by a rerun --from 20"), "{error}");
    assert_eq!(made_by(&millrace, "d.hour"), pairs(&[("one", 10_010)]));
    let mut other = arguments;
    other[8] = "d.again_error_records";
    assert!(!millrace.run(&other).status.success(), "its dead letters would be among those");
    other[8] = "d.rows";
    assert!(!millrace.run(&other).status.success(), "a table that is taken");
    millrace.stop();
    other[8] = "d.offline";
    millrace.ok(&other);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM d.offline"), 10_010 - dead - 1, "less `later 7`");
    millrace.start();
    assert_eq!(millrace.number("SELECT COUNT(*) FROM d.again"), 10_000 - dead, "it stays readable");
    millrace.audit();
}

/// Scenario: requests to the new paths that make no sense.
/// Guarantees: each gets its 4xx, and the server still works.
#[test]
fn bad_requests_to_the_controls_get_their_status() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16);

    let mut millrace = millrace(&script("one", "never"));
    millrace.start();
    let json = ("content-type", "application/json");
    let big = format!(r#"{{"to": "{}"}}"#, "a".repeat(300));
    let cases: &[Case<'_>] = &[
        ("/api/udf/rollback", &[], "{}", 415),
        ("/api/udf/rollback", &[json], "nope", 400),
        ("/api/udf/rollback", &[json], r#"{"version": 1}"#, 400),
        ("/api/udf/rollback", &[json], &big, 400),
        ("/api/udf/rollback", &[json], "{}", 404),
        ("/api/udf/rollback", &[json], r#"{"to": "../../../../etc/passwd"}"#, 404),
        ("/api/udf/reload", &[json], r#"{"pipeline": "none"}"#, 404),
        ("/api/udf/reload", &[json], "{}", 409),
        ("/api/udf/promote", &[json], "{}", 409),
        ("/api/udf/shadow", &[json], r#"{"udf": {"scripts": [{"name": "x", "source": "("}]}}"#, 400),
        ("/api/udf/shadow", &[json], r#"{"udf": {"scripts": []}}"#, 400),
        ("/api/pipelines/drain", &[json], r#"{"pipeline": "none"}"#, 404),
        ("/api/pipelines/drain", &[json, ("origin", "https://evil.example")], "{}", 403),
        ("/api/update", &[json], r#"{"force": true}"#, 400),
        ("/api/rerun", &[json], r#"{"from_micros": 5, "to_micros": 5, "into": "d.x"}"#, 409),
        ("/api/rerun", &[json], r#"{"from_micros": 0, "to_micros": 5, "into": "../x.y"}"#, 409),
    ];
    for (path, headers, body, status) in cases {
        let (answered, _, text) = millrace.post(8080, path, headers, body.as_bytes());
        assert_eq!(answered, *status, "{path} {body}: {}", String::from_utf8_lossy(&text));
    }
    send(&millrace, "a", 1);
    assert_eq!(made_by(&millrace, "d.rows"), pairs(&[("one", 1)]));
    assert_eq!(acts(&millrace), ["start"]);
    millrace.stop();
}
