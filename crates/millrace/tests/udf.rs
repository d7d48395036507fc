//! UDF contracts and the workbench's commands against the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use common::{Millrace, logs_body, testdata};
use serde_json::{Value, json};

fn lines(output: &[u8]) -> Vec<Value> {
    output.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

const ODD: &[u8] =
    b"function f(s) { console.log('seen', s); if (s === 'out') return null; if (s === 'stuck') \
    Array.prototype.reverse.call({length: 2 ** 53 - 1}); return JSON.parse(s).text }";

/// Scenario: lines of every fate, more natives that never return than engines may be left behind.
/// Guarantees: one line out for each line in, in order; the command ends; nothing is made on disk.
#[test]
fn run_gives_one_line_for_each() {
    let millrace = Millrace::new();
    let script = millrace.write("odd.js", ODD);
    let script = script.to_str().unwrap();
    let input = b"{\"text\":\"a\\n\"}\nout\nstuck\nstuck\nstuck\nstuck\nnope\n{}\n{\"text\":\"last\"}";
    let arguments = ["udf", "run", script, "--function", "f", "--time-limit-ms", "50"];
    let output = millrace.run_with_input(&arguments, input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let written = lines(&output.stdout);
    let shown: Vec<&Value> =
        written.iter().map(|line| line.get("error").map_or(line, |error| &error["class"])).collect();
    let timeout = json!("udf_timeout");
    assert_eq!(
        shown,
        [
            &json!("a\n"),
            &Value::Null,
            &timeout,
            &timeout,
            &timeout,
            &timeout,
            &json!("udf_threw"),
            &Value::Null,
            &json!("last")
        ]
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("seen out"));
    assert!(!millrace.data_dir().exists());
    for (arguments, error) in [
        (["udf", "run", script, "--function", "g"], "define no function `g`"),
        (["udf", "run", "nowhere.js", "--function", "f"], "nowhere.js"),
        (["udf", "run", "udf.py", "--function", "f"], "Python"),
    ] {
        let output = millrace.run_with_input(&arguments, b"");
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains(error));
    }
    assert_eq!(millrace.run(&["udf", "run", script]).status.code(), Some(2), "without a function");
}

/// Scenario: the example's golden cases with its script, and with another one.
/// Guarantees: the exit code is for CI, the difference is shown.
#[test]
fn test_fails_with_a_difference() {
    let millrace = Millrace::new();
    let cases = "../../examples/gemini/cases";
    let arguments = |script| ["udf", "test", script, "--function", "transform", "--cases", cases];
    let text = millrace.ok(&arguments("../../examples/gemini/transform.js"));
    assert!(text.contains("ok      not_json") && text.contains("0 failed"), "{text}");
    let output = millrace.run(&arguments("../../examples/gemini/transform_small.js"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("-  \"insertId\""));
    let empty = millrace.folder.path().to_str().unwrap();
    let script = "../../examples/gemini/transform.js";
    let output = millrace.run(&["udf", "test", script, "--function", "transform", "--cases", empty]);
    assert_eq!(output.status.code(), Some(1), "no case is no success");
}

#[test]
fn bench_measures_and_compares() {
    let millrace = Millrace::new();
    let entries = testdata("gemini-cli/cloud_logging_entries.jsonl");
    let output = millrace.run(&[
        "udf",
        "bench",
        "../../examples/gemini/transform.js",
        "--function",
        "transform",
        "--input",
        entries.to_str().unwrap(),
        "--seconds",
        "0.1",
        "--format",
        "ndjson",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let figures = lines(&output.stdout);
    assert!(figures.iter().all(|row| row["ns_per_message"].as_f64().unwrap() > 0.0), "{figures:?}");
    assert!(!said.contains("NOT return the same"), "{said}");
}

const PIPELINES: &str = r#"
[[pipeline]]
name = "broken"
topic = "gemini-telemetry-logs"
table = "telemetry.broken"
udf = { path = "broken.js", function = "f", mode = "compatible" }
[[pipeline]]
name = "transform"
topic = "gemini-telemetry-logs"
table = "telemetry.transformed"
udf = { path = "scripts/*.js", function = "f", reproducible = true }
"#;

const SMT: &[u8] = b"function f(message, metadata) { console.log('one\\nline'); return {data: \
    JSON.stringify({insertId: metadata.message_id, trace: helper(), timestamp: metadata.publish_time}), attributes: {x: 'y'}} }";

/// Scenario: in the template's mode a script that does not parse; beside it a single message transform of
/// several files with a frozen clock, whose rows are folded a second time after a restart under another name.
/// Guarantees: the one makes dead letters and says so in `check`; the other makes the same rows twice.
#[test]
fn modes_and_shapes_in_a_running_server() {
    let mut millrace = Millrace::configured(PIPELINES);
    millrace.write("broken.js", b"function f(s) {");
    std::fs::create_dir(millrace.folder.path().join("scripts")).unwrap();
    millrace.write("scripts/b.js", SMT);
    millrace.write("scripts/a.js", b"function helper() { return Math.random() + ' ' + Date.now() }");
    let checked = millrace.ok(&["check"]);
    assert!(checked.contains("UDF that does not load (syntax error in broken.js"), "{checked}");
    millrace.start();
    millrace.post_logs(&logs_body(&[("one", json!({})), ("two", json!({}))]));
    millrace.settle();
    assert_eq!(millrace.number("SELECT COUNT(*) FROM telemetry.broken_error_records"), 2);
    let rows = "SELECT insertId, trace, timestamp FROM telemetry.transformed ORDER BY insertId";
    let first = millrace.query(rows);
    assert_eq!(first.len(), 2);
    assert_ne!(first[0]["trace"], first[1]["trace"]);
    let metrics = millrace.get("/metrics").1;
    assert!(
        metrics.contains("millrace_udf_attribute_changes_dropped_total{pipeline=\"transform\"} 2"),
        "{metrics}"
    );
    assert!(millrace.log().contains("one\\nline"), "{}", millrace.log());
    millrace.stop();
    let again =
        PIPELINES.replace("name = \"transform\"", "name = \"again\"").replace("transformed", "repeated");
    millrace.write("millrace.toml", again.as_bytes());
    millrace.start();
    millrace.settle();
    assert_eq!(millrace.query(&rows.replace("transformed", "repeated")), first);
    millrace.stop();
}
