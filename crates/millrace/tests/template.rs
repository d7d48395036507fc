//! `millrace template` on the real binary: what Dataflow's template is told, told to Millrace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
#![allow(missing_docs)]

mod common;

use std::path::PathBuf;

use common::{Millrace, testdata};
use serde_json::{Value, json};

const ENTRIES: &str = "gemini-cli/cloud_logging_entries.jsonl";
const TABLE: &str = "outputTableSpec=local:telemetry.gemini_raw_logs";
const SUBSCRIPTION: &str = "inputSubscription=projects/local/subscriptions/gemini-logs-sub";

/// A folder that stands for Cloud Storage, with the default script in a bucket.
fn cloud_storage(millrace: &Millrace) -> PathBuf {
    let root = millrace.folder.path().join("gs");
    std::fs::create_dir_all(root.join("acme/udf")).unwrap();
    std::fs::copy(testdata("../examples/gemini/transform.js"), root.join("acme/udf/transform.js")).unwrap();
    root
}

/// Every row, every column, in one order.
fn rows(millrace: &Millrace) -> Vec<String> {
    let rows = millrace.query("SELECT * FROM telemetry.gemini_raw_logs");
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

fn udf_parameters(path: &str) -> String {
    format!("javascriptTextTransformGcsPath={path},javascriptTextTransformFunctionName=transform")
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// Scenario: the recorded entries through the default pipeline, and through the pipeline that the template's
/// parameters plan, the script being in a folder for Cloud Storage.
/// Guarantees: `check` accepts what `plan` prints; the rows are the same, every one; the ledger balances.
#[test]
fn rows_of_template_parameters_are_those_of_the_default_pipeline() {
    let file = testdata(ENTRIES);
    let default = Millrace::new();
    default.ok(&["load", file.to_str().unwrap()]);
    let expected = rows(&default);
    assert!(expected.len() > 10);

    let mut millrace = Millrace::new();
    let root = cloud_storage(&millrace);
    let root = root.to_str().unwrap();
    let parameters = format!("{SUBSCRIPTION},{TABLE},{}", udf_parameters("gs://acme/udf/transform.js"));
    let plan = ["template", "plan", "--parameters", &parameters, "--gs-root", root];
    let toml = millrace.ok(&plan);
    let path = millrace.write("plan.toml", toml.as_bytes());
    millrace.config = Some(path);
    assert!(
        millrace.ok(&["check"]).contains("pipeline gemini-logs-sub: gemini-telemetry-logs -> UDF"),
        "{toml}"
    );
    millrace.ok(&["load", file.to_str().unwrap()]);
    assert_eq!(rows(&millrace), expected);
    millrace.audit();
}

/// Scenario: `template run` with parameters from a launch body, the environment and the command line, on a
/// table and topic that are not the default ones; the entries come in while it runs.
/// Guarantees: the same rows under the names that the parameters give; dead letters in their own table.
#[test]
fn a_launch_runs_under_its_own_names() {
    let mut millrace = Millrace::new();
    let root = cloud_storage(&millrace);
    let schema = testdata("../examples/gemini/gemini_raw_logs.schema.json");
    let body = json!({ "launchParameter": {
        "jobName": "acme-logs",
        "containerSpecGcsPath": "gs://dataflow-templates-us-central1/latest/flex/PubSub_to_BigQuery_Flex",
        "parameters": {
            "inputTopic": "projects/acme/topics/acme-logs",
            "outputTableSpec": "acme:warehouse.raw",
            "outputDeadletterTable": "acme:errors.raw_failed",
            "javascriptTextTransformFunctionName": "transform",
            "useStorageWriteApi": "true", "useStorageWriteApiAtLeastOnce": "true",
        },
        "environment": { "maxWorkers": 3, "additionalExperiments": ["streaming_mode_at_least_once"] },
    } });
    let body = millrace.write("launch.json", body.to_string().as_bytes());
    millrace.environment("MILLRACE_TEMPLATE_JAVASCRIPT_TEXT_TRANSFORM_GCS_PATH", "gs://acme/udf");
    millrace.environment("MILLRACE_GS_ROOT", root.to_str().unwrap());
    let run = [
        "template",
        "run",
        "--parameters-file",
        body.to_str().unwrap(),
        "--schema",
        schema.to_str().unwrap(),
    ];
    millrace.start_with(&run);
    let entries = testdata(ENTRIES);
    millrace.ok(&["load", "--topic", "acme-logs", entries.to_str().unwrap()]);
    let bad = millrace.write("bad.jsonl", b"{broken\n");
    millrace.ok(&["load", "--topic", "acme-logs", bad.to_str().unwrap()]);
    millrace.settle();
    let status = millrace.status();
    assert_eq!(status["pipelines"][0]["table"], "warehouse.raw", "{status:#}");
    assert_eq!(status["pipelines"][0]["dead_lettered"], 1, "{status:#}");
    let written = status["pipelines"][0]["written"].as_u64().unwrap();
    let lines = std::fs::read_to_string(&entries).unwrap().lines().count();
    assert_eq!(written, u64::try_from(lines).unwrap());
    assert!(millrace.data_dir().join("lake/errors/raw_failed/_delta_log").is_dir());
    millrace.stop();

    // The table exists now: its schema is read off it, and the plan says so.
    let toml = millrace.ok(&["template", "plan", "--parameters-file", body.to_str().unwrap()]);
    assert!(toml.contains("schema_text") && toml.contains("--partition"), "{toml}");
    let path = millrace.write("plan.toml", toml.as_bytes());
    millrace.config = Some(path);
    millrace.ok(&["check"]);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM warehouse.raw"), written);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM errors.raw_failed"), 1);
    millrace.audit();
}

/// Scenario: launches that the template, or this machine, cannot run.
/// Guarantees: exit code 1 and the template's words, or what to do; nothing is made on disk.
#[test]
fn launch_errors() {
    let millrace = Millrace::new();
    let topic = "inputTopic=projects/local/topics/gemini-telemetry-logs";
    let both = format!("{SUBSCRIPTION},{topic},{TABLE}");
    let elsewhere = format!("{SUBSCRIPTION},outputTableSpec=p:d.t");
    let unknown = format!("{TABLE},inputSubscription=projects/p/subscriptions/other-sub");
    let misspelt = format!("{SUBSCRIPTION},{TABLE},outputTabelSpec=x");
    let script = format!("{SUBSCRIPTION},{TABLE},{}", udf_parameters("gs://acme/udf/transform.js"));
    for (parameters, part) in [
        (both.as_str(), "Either input topic or input subscription must be provided, but not both."),
        (TABLE, "Either input topic or input subscription must be provided, but not both."),
        (SUBSCRIPTION, "outputTableSpec: Missing required parameter"),
        (&elsewhere, "the table p:d.t does not exist"),
        (&unknown, "say with --topic"),
        (&misspelt, "perhaps you meant \"outputTableSpec\""),
        (&script, "set gs_root = DIR (--gs-root)"),
        ("a", "Bad syntax for dict arg: [a]"),
    ] {
        for command in ["plan", "run"] {
            let output = millrace.run(&["template", command, "--parameters", parameters]);
            assert_eq!(output.status.code(), Some(1), "{parameters}");
            assert!(text(&output.stderr).contains(part), "{parameters}: {}", text(&output.stderr));
        }
    }
    assert!(!millrace.data_dir().exists());
}

/// Scenario: a job description and scripts, good and not.
/// Guarantees: the lines that lose messages are named; JSON is JSON; exit codes 0, 1 and 3.
#[test]
fn a_job_and_its_script_are_checked() {
    let millrace = Millrace::new();
    let job = json!({ "id": "1", "name": "logs", "labels": {
        "goog-dataflow-provided-template-name": "pubsub_subscription_to_bigquery",
    }, "environment": { "sdkPipelineOptions": { "options": {
        "inputSubscription": "projects/p/subscriptions/logs-sub", "outputTableSpec": "p:d.t",
        "javascriptTextTransformGcsPath": "gs://b/f.js", "javascriptTextTransformFunctionName": "f",
    } } } });
    let job = millrace.write("job.json", job.to_string().as_bytes());
    let good = millrace.write("good.js", b"function f(s) {\n  return s ? s : null;\n}\n");
    let bad = millrace.write("bad.js", b"function g(s) { return s; }\n");
    let check = |script: &PathBuf, format: &str| {
        let (job, script) = (job.to_str().unwrap(), script.to_str().unwrap());
        millrace.run(&["template", "check", "--job", job, "--udf", script, "--format", format])
    };
    let output = check(&good, "table");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for part in ["must be changed first: nothing", "good.js:2: returns null", "udf-returns-nothing"] {
        assert!(text(&output.stdout).contains(part), "{part}\n{}", text(&output.stdout));
    }
    let report: Value = serde_json::from_slice(&check(&good, "json").stdout).unwrap();
    assert_eq!(report["lost_by_the_template"][0]["lines"][0], "good.js:2: returns null");
    let output = check(&bad, "json");
    assert_eq!(output.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["must_change"][0]["text"].as_str().unwrap().contains("no such function"), "{report:#}");
    let output = millrace.run(&["template", "check", "--job", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no JSON"));
}
