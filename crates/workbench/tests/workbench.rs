//! Lines, golden cases and measurements, as the commands use them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::path::Path;
use std::time::Duration;

use millrace_udf::{Script, Shape, Udf, UdfConfig};
use millrace_workbench::{
    BenchOptions, CaseOutcome, Check, InputForm, NodeOutcome, RunOptions, RunReport, TestError, TestOptions,
    TestReport, bench, run, test,
};
use serde_json::{Value, json};

const TRANSFORM: &str = include_str!("../../../examples/gemini/transform.js");
const SCHEMA: &str = include_str!("../../../examples/gemini/gemini_raw_logs.schema.json");
const ENTRIES: &str = include_str!("../../../testdata/gemini-cli/cloud_logging_entries.jsonl");

fn udf_named(source: &str, function: &str) -> Udf {
    let script = Script { name: "test.js".to_owned(), source: source.to_owned() };
    Udf::load(UdfConfig { time_limit: Duration::from_millis(200), ..UdfConfig::new(vec![script], function) })
        .unwrap()
}

fn udf(source: &str) -> Udf {
    udf_named(source, "f")
}

fn lines(udf: &Udf, input: &[u8], options: &RunOptions) -> (Vec<String>, RunReport) {
    let mut output = Vec::new();
    let report = run(udf, input, &mut output, options).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(output.is_empty() || output.ends_with('\n'));
    (output.lines().map(str::to_owned).collect(), report)
}

/// Scenario: lines of every fate through a script that does what they say.
/// Guarantees: one line of JSON for each, in order: a string, `null`, or an error with its class.
#[test]
fn each_line_in_gives_one_line_out() {
    let udf = udf("function f(s) { return s === '' ? '\"empty\"' : new Function('s', s)(s) }");
    let long = format!("return '{}'", "x".repeat(100_000));
    let cases: [(&str, Value); 12] = [
        ("return '{\"a\": 1}'", json!("{\"a\": 1}")),
        ("return null", Value::Null),
        ("return ''", Value::Null),
        ("", json!("\"empty\"")),
        ("return 'not JSON \\u2028 \\u0000 \\t'", json!("not JSON \u{2028} \0 \t")),
        ("return 7", json!("udf_result_type")),
        ("throw new TypeError('mine')", json!("udf_threw")),
        ("for (;;) {}", json!("udf_timeout")),
        ("(function g() { g() })()", json!("udf_stack")),
        ("return 'x'.repeat(1e9)", json!("udf_memory")),
        (&long, json!("x".repeat(100_000))),
        ("return 'last'", json!("last")),
    ];
    let input: Vec<&str> = cases.iter().map(|case| case.0).collect();
    let (output, report) = lines(&udf, input.join("\n").as_bytes(), &RunOptions::default());
    assert_eq!(output.len(), cases.len());
    for (line, (input, expected)) in output.iter().zip(&cases) {
        let value: Value = serde_json::from_str(line).unwrap();
        let shown = value.get("error").map_or(&value, |error| &error["class"]);
        assert_eq!(shown, expected, "{input}");
    }
    assert_eq!(report, RunReport { rows: 5, filtered: 2, failed: 5 });
    let error: Value = serde_json::from_str(&output[6]).unwrap();
    assert_eq!(
        (&error["error"]["stage"], &error["error"]["message"]),
        (&json!("udf"), &json!("TypeError: mine"))
    );
    assert!(error["error"]["stack"].as_str().unwrap().contains("test.js:1"), "{error}");
}

#[test]
fn a_lone_surrogate_is_told_from_its_escape() {
    let udf = udf("function f(s) { return s === 'raw' ? '\\ud800' : '\\\\ud800' }");
    let (output, _) = lines(&udf, b"raw\nescape\n", &RunOptions::default());
    assert_eq!(output, ["\"\\ud800\"", "\"\\\\ud800\""]);
}

#[test]
fn input_that_is_no_text_and_input_without_end_of_line() {
    let udf = udf("function f(s) { return s }");
    let (output, report) = lines(&udf, b"\xff\n{}\r\n\"last\"", &RunOptions::default());
    assert!(output[0].contains("invalid_utf8"), "{}", output[0]);
    assert_eq!(output[1..], ["\"{}\\r\"", "\"\\\"last\\\"\""]);
    assert_eq!(report, RunReport { rows: 2, filtered: 0, failed: 1 });
    assert_eq!(lines(&udf, b"", &RunOptions::default()).0.len(), 0);
}

#[test]
fn thousands_of_lines_keep_their_order() {
    let udf = udf("var count = 0; function f(s) { return s + ' ' + count++ }");
    let input: String = (0..5000).map(|number| format!("{number}\n")).collect();
    let (output, _) = lines(&udf, input.as_bytes(), &RunOptions::default());
    let expected: Vec<String> = (0..5000).map(|number| format!("\"{number} {number}\"")).collect();
    assert_eq!(output, expected);
}

#[test]
fn with_a_schema_a_row_that_does_not_fit_is_an_error() {
    let check = Some(Check::new(r#"[{"name":"a","type":"INT64"}]"#).unwrap());
    let udf = udf("function f(s) { return s }");
    let input = b"{\"a\":1}\n{\"a\":\"x\"}\n{\"b\":1}\nnope\n{\"a\":2}\n";
    let (output, report) = lines(&udf, input, &RunOptions { check, ..RunOptions::default() });
    for (line, class) in [(1, "invalid_value"), (2, "unknown_field"), (3, "invalid_json")] {
        assert!(
            output[line].contains(class) && output[line].contains("\"stage\":\"row\""),
            "{}",
            output[line]
        );
    }
    assert_eq!(report, RunReport { rows: 2, filtered: 0, failed: 3 });
    assert!(Check::new("[]").is_err());
}

/// Scenario: the recorded entries through the default script, held against the default schema.
/// Guarantees: all are rows.
#[test]
fn recorded_entries_are_rows_of_the_default_table() {
    let check = Some(Check::new(SCHEMA).unwrap());
    let udf = udf_named(TRANSFORM, "transform");
    let (output, report) = lines(&udf, ENTRIES.as_bytes(), &RunOptions { check, ..RunOptions::default() });
    assert_eq!((output.len(), report.failed, report.filtered), (ENTRIES.lines().count(), 0, 0));
}

#[test]
fn messages_bring_attributes_times_and_ids_along() {
    let udf = udf(
        "function f(message, metadata) { return {data: [message.data, message.attributes.k, metadata.publish_time, \
         metadata.message_id, metadata.ordering_key].join()} }",
    );
    let id = format!("{}-9", "ab".repeat(16));
    let line = json!({"message": {"data": "aGk=", "attributes": {"k": "v"}, "publishTime": "2026-01-02T03:04:05Z",
        "messageId": id, "orderingKey": "o"}});
    let options = RunOptions { form: InputForm::Message, ..RunOptions::default() };
    let (output, _) = lines(&udf, line.to_string().as_bytes(), &options);
    assert_eq!(output, [json!(format!("hi,v,2026-01-02T03:04:05Z,{id},o")).to_string()]);
    let error = run(&udf, &b"{\"text\":\"a\"}\nnope\n"[..], &mut Vec::new(), &options).unwrap_err();
    assert!(error.to_string().starts_with("line 2 is not a Pub/Sub message: "), "{error}");
}

fn write(folder: &Path, name: &str, text: &str) {
    std::io::Write::write_all(&mut std::fs::File::create(folder.join(name)).unwrap(), text.as_bytes())
        .unwrap();
}

fn failures(report: &TestReport) -> Vec<(&str, &str)> {
    let failed = report.cases.iter().filter_map(|case| match &case.outcome {
        CaseOutcome::Failed(text) => Some((case.name.as_str(), text.as_str())),
        CaseOutcome::Passed | CaseOutcome::Updated => None,
    });
    failed.collect()
}

const CASES: &str = "var seen = 0; function f(s) { seen++; var o = JSON.parse(s); if (o.skip) return null; \
     if (o.bad) throw new RangeError('bad ' + o.bad); return JSON.stringify({v: o.v, seen: seen}) }";

/// Scenario: golden cases that hold, then a script that changed.
/// Guarantees: each case runs on an engine of its own; what differs is shown; an update makes it hold.
#[test]
fn golden_cases_pass_fail_with_a_diff_and_can_be_updated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "row.input.json", "{\"v\": [1, \"é\"]}\n");
    write(at, "row.expected.json", "{ \"seen\": 1,\n \"v\": [1, \"\\u00e9\"] }\n");
    write(at, "skip.input.json", "{\"skip\": true}");
    write(at, "skip.expected.json", "null\n");
    write(at, "bad.message.json", r#"{"text": "{\"bad\": \"luck\"}"}"#);
    write(at, "bad.error.txt", "udf_threw\nbad luck\nRangeError\n");
    write(at, "notes.txt", "not a case");
    let report = test(&udf(CASES), at, &TestOptions::default()).unwrap();
    assert!(report.is_success(), "{report:?}");
    assert_eq!(report.counts(), [3, 0, 0]);

    let changed =
        udf(&CASES.replace("v: o.v", "v: o.v, w: 2").replace("'bad '", "'worse '").replace("null", "'{}'"));
    let report = test(&changed, at, &TestOptions::default()).unwrap();
    assert_eq!(report.counts(), [0, 0, 3]);
    let failed = failures(&report);
    assert_eq!(failed.iter().map(|failure| failure.0).collect::<Vec<_>>(), ["bad", "row", "skip"]);
    assert!(
        failed[0].1.contains("-bad luck") && failed[0].1.contains("+RangeError: worse luck"),
        "{}",
        failed[0].1
    );
    assert!(failed[1].1.contains("+  \"w\": 2") && !failed[1].1.contains("-  \"v\""), "{}", failed[1].1);
    assert!(failed[2].1.contains("-null") && failed[2].1.contains("+{}"), "{}", failed[2].1);

    let update = TestOptions { update: true, ..TestOptions::default() };
    assert_eq!(test(&changed, at, &update).unwrap().counts(), [0, 3, 0]);
    assert!(test(&changed, at, &TestOptions::default()).unwrap().is_success());
    assert!(!test(&udf(CASES), at, &TestOptions::default()).unwrap().is_success());
}

#[test]
fn cases_that_are_not_right_fail_and_a_folder_without_any_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let plain = udf("function f(s) { return s }");
    assert!(matches!(test(&plain, at, &TestOptions::default()), Err(TestError::Empty(_))));
    assert!(matches!(test(&plain, &at.join("none"), &TestOptions::default()), Err(TestError::File { .. })));
    for (name, text) in [
        ("both.input.json", "{}"),
        ("both.expected.json", "{}"),
        ("both.error.txt", "x"),
        ("inputs.input.json", "{}"),
        ("inputs.message.json", "{}"),
        ("lonely.input.json", "{}"),
        ("orphan.expected.json", "{}"),
        ("broken.input.json", "{}"),
        ("broken.expected.json", "{"),
        ("envelope.message.json", "[]"),
        ("class.input.json", "{}"),
        ("class.error.txt", ""),
    ] {
        write(at, name, text);
    }
    let report = test(&plain, at, &TestOptions::default()).unwrap();
    let failed = failures(&report);
    let expected = [
        ("both", "there are both"),
        ("broken", "is not JSON"),
        ("class", "+{}"),
        ("envelope", "is not a Pub/Sub message"),
        ("inputs", "there are both"),
        ("lonely", "came out:\n{}"),
        ("orphan", "there is no input"),
    ];
    assert_eq!(failed.len(), expected.len());
    for ((name, text), (wanted, part)) in failed.iter().zip(expected) {
        assert!(*name == wanted && text.contains(part), "{name}: {text}");
    }
}

#[test]
fn a_case_holds_against_a_schema_and_against_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "one.message.json", r#"{"text": "{\"a\": 1}", "attributes": {"k": "v"}}"#);
    write(at, "one.expected.json", "{\"a\": 1}");
    write(at, "one.attributes.json", "{\"k\": \"v\", \"new\": \"w\"}");
    let source = "function f(message, metadata) { message.attributes.new = 'w'; return message }";
    let with = |schema: &str| TestOptions { check: Some(Check::new(schema).unwrap()), update: false };
    let good = with(r#"[{"name":"a","type":"INT64"}]"#);
    assert!(test(&udf(source), at, &good).unwrap().is_success());
    let bad = with(r#"[{"name":"b","type":"INT64"}]"#);
    assert!(failures(&test(&udf(source), at, &bad).unwrap())[0].1.contains("dead letter: unknown_field"));
    let other = udf(&source.replace("'w'", "'x'"));
    assert!(failures(&test(&other, at, &good).unwrap())[0].1.contains("+  \"new\": \"x\""));
}

#[test]
fn the_default_scripts_cases_hold() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/gemini/cases");
    let options = TestOptions { check: Some(Check::new(SCHEMA).unwrap()), update: false };
    let report = test(&udf_named(TRANSFORM, "transform"), &cases, &options).unwrap();
    assert!(report.is_success() && report.cases.len() >= 3, "{report:?}");
}

/// Scenario: the recorded entries, measured for a moment.
/// Guarantees: every message of a pass is counted once; Node, where it is, returns the same texts.
#[test]
fn a_measurement_counts_its_messages_and_agrees_with_node() {
    let messages: Vec<Vec<u8>> = ENTRIES.lines().map(|line| line.as_bytes().to_vec()).collect();
    let udf = udf_named(TRANSFORM, "transform");
    let options = BenchOptions { time: Duration::from_millis(50), engines_max: 2, node: true };
    let report = bench(&udf, &udf, &messages, &options).unwrap();
    assert_eq!(report.outcomes, [messages.len() as u64, 0, 0]);
    assert_eq!(report.measured.iter().map(|measured| measured.engines).collect::<Vec<_>>(), [1, 2]);
    assert!(report.measured.iter().all(|one| one.messages > 0 && one.nanoseconds_per_message() > 0.0));
    match report.node.unwrap() {
        NodeOutcome::Absent => assert_eq!(report.same_as_node, None),
        NodeOutcome::Failed(reason) => panic!("{reason}"),
        NodeOutcome::Ran { messages: ran, .. } => {
            assert!(ran >= messages.len() as u64);
            assert_eq!(report.same_as_node, Some(true));
        }
    }
    assert!(bench(&udf, &udf, &[], &options).is_err());
}

#[test]
fn node_is_compared_on_odd_results_too_and_not_for_single_message_transforms() {
    let odd = udf(
        "var n = 0; function f(s) { console.log(s); print(s); n++; if (s === 'a') return null; if (s === 'b') throw s; \
         if (s === 'c') return {}; if (s === 'd') return '\\ud800x\\ud83d\\ude00\\udc00'; return s + '-0é' + -0 + 1e21 }",
    );
    let messages: Vec<Vec<u8>> = ["a", "b", "c", "d", "e", ""].map(|text| text.as_bytes().to_vec()).into();
    let options = BenchOptions { time: Duration::from_millis(10), engines_max: 1, node: true };
    let report = bench(&odd, &odd, &messages, &options).unwrap();
    assert_eq!(report.outcomes, [3, 1, 2]);
    assert_ne!(report.same_as_node, Some(false));
    let smt = udf("function f(message, metadata) { return message }");
    assert_eq!(smt.config().shape, Shape::MessageTransform);
    assert_eq!(bench(&smt, &smt, &messages, &options).unwrap().node, None);
}
