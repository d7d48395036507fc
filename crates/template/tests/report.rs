//! Job descriptions as Dataflow gives them, with and without their parts, and what is said of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by panicking")]
#![allow(missing_docs)]

use std::collections::BTreeSet;

use millrace_template::{BEHAVIOURS, Job, Report, ScriptText, Scripts, Severity, Template};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A flex job, as `gcloud dataflow jobs describe --full --format json` prints it, shortened.
fn flex() -> Value {
    json!({
        "id": "2026-11-20_01_02_03-123", "name": "gemini-logs", "projectId": "acme",
        "type": "JOB_TYPE_STREAMING", "currentState": "JOB_STATE_RUNNING",
        "labels": {
            "goog-dataflow-provided-template-name": "pubsub_to_bigquery_flex",
            "goog-dataflow-provided-template-type": "flex",
            "goog-dataflow-provided-template-version": "2026-10-01-00_rc00",
        },
        "jobMetadata": {
            "sdkVersion": { "version": "2.68.0", "versionDisplayName": "Apache Beam SDK for Java" },
            "pubsubDetails": [{ "subscription": "other" }],
        },
        "environment": {
            "experiments": ["enable_streaming_engine"],
            "sdkPipelineOptions": {
                "display_data": [{
                    "key": "outputTableSpec", "type": "STRING", "value": "shown:and.ignored",
                    "namespace": "com.google.cloud.teleport.v2.templates.PubSubToBigQuery$Options",
                }],
                "options": {
                    "inputSubscription": "projects/acme/subscriptions/gemini-logs-sub",
                    "outputTableSpec": "acme:telemetry.gemini_raw_logs",
                    "javascriptTextTransformGcsPath": "gs://acme-udf/transform.js",
                    "javascriptTextTransformFunctionName": "transform",
                    "javascriptTextTransformReloadIntervalMinutes": 10,
                    "useStorageWriteApi": true, "useStorageWriteApiAtLeastOnce": false,
                    "numStorageWriteApiStreams": 0, "storageWriteApiTriggeringFrequencySec": 5,
                    "pythonExternalTextTransformGcsPath": null,
                    "maxNumWorkers": 3, "streaming": true,
                },
            },
        },
    })
}

fn job(value: &Value) -> Job {
    Job::read(&value.to_string()).unwrap()
}

fn scripts(source: &str) -> Scripts {
    let text = ScriptText { name: "transform.js".to_owned(), source: source.to_owned() };
    Scripts::read(&[text], Some("transform"))
}

fn ids(report: &Report) -> BTreeSet<&'static str> {
    report.differences.iter().map(|difference| difference.id).collect()
}

#[test]
fn a_flex_job_and_its_script() {
    let job = job(&flex());
    assert_eq!(job.template, Some(Ok(Template::Flex)));
    assert_eq!(job.given.parameters["outputTableSpec"].0, "acme:telemetry.gemini_raw_logs");
    let source = "function transform(s) {\n  var e = JSON.parse(s);\n  if (!e.keep) return null;\n  return JSON.stringify(e);\n}";
    let report = Report::of(&job, Some(&scripts(source)));
    assert_eq!(report.must_change, []);
    assert_eq!(report.not_known, Vec::<String>::new());
    let lost: Vec<_> = report.lost_by_the_template.iter().map(|loss| loss.id).collect();
    assert_eq!(
        lost,
        [
            "udf-returns-nothing",
            "empty-payload-udf",
            "payload-not-utf8",
            "rejected-original",
            "dead-letter-attributes",
            "binary-payload",
            "dead-letter-ids",
        ]
    );
    assert_eq!(report.lost_by_the_template[0].lines, ["transform.js:3: returns null"]);
    let ids = ids(&report);
    assert!(
        ids.contains("reload") && ids.contains("row-too-large") && ids.contains("storage-retries"),
        "{ids:?}"
    );
    for other in
        ["insert-duplicates", "storage-duplicates", "topic-start", "path-without-function", "empty-payload"]
    {
        assert!(!ids.contains(other), "{other}");
    }
    assert_eq!(report.differences[0].severity, Severity::High);
    let text = report.summary();
    for part in
        ["must be changed first: nothing", "lost silently by the template: 7", "transform.js:3: returns null"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(report.rows().len(), report.differences.len());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["lost_by_the_template"][0]["lines"][0], "transform.js:3: returns null");
    assert_eq!(json["differences"][0]["severity"], "high");
}

#[test]
fn a_classic_job_of_a_topic() {
    let description = json!({
        "id": "1", "name": "old", "projectId": "acme",
        "labels": { "goog-dataflow-provided-template-name": "pubsub_to_bigquery" },
        "pipelineDescription": { "displayData": [
            { "key": "inputTopic", "strValue": "projects/acme/topics/logs",
              "namespace": "com.google.cloud.teleport.templates.PubSubToBigQuery$Options" },
            { "key": "outputTableSpec", "strValue": "acme:telemetry.raw" },
            { "key": "javascriptTextTransformGcsPath",
              "strValue": "RuntimeValueProvider{propertyName=javascriptTextTransformGcsPath, default=null}" },
        ] },
        "environment": { "streamingMode": "STREAMING_MODE_AT_LEAST_ONCE" },
    });
    let job = job(&description);
    assert_eq!(job.template, Some(Ok(Template::ClassicTopic)));
    let report = Report::of(&job, None);
    assert_eq!(report.must_change, []);
    let ids = ids(&report);
    for id in ["topic-start", "empty-payload", "insert-duplicates", "streaming-mode", "rejected-original"] {
        assert!(ids.contains(id), "{id}: {ids:?}");
    }
    // Only the flex template loses these.
    assert!(!ids.contains("dead-letter-attributes") && !ids.contains("binary-payload"), "{ids:?}");
    assert!(report.not_known.iter().any(|line| line.contains("either no UDF")), "{:?}", report.not_known);
}

#[test]
fn what_the_service_found_out_stands_in_for_options() {
    let description = json!({
        "id": "1", "projectId": "acme",
        "jobMetadata": {
            "pubsubDetails": [{ "subscription": "logs-sub" }],
            "bigqueryDetails": [
                { "projectId": "acme", "dataset": "telemetry", "table": "raw_error_records" },
                { "projectId": "acme", "dataset": "telemetry", "table": "raw" },
            ],
        },
    });
    let job = job(&description);
    assert_eq!(job.given.parameters["inputSubscription"].0, "projects/acme/subscriptions/logs-sub");
    assert_eq!(job.given.parameters["outputTableSpec"].0, "acme:telemetry.raw");
    assert_eq!(Report::of(&job, None).must_change, []);
    let portable = json!({ "id": "1", "environment": { "sdkPipelineOptions": { "options": {
        "beam:option:input_subscription:v1": "projects/p/subscriptions/sub",
        "beam:option:output_table_spec:v1": "p:d.t",
    } } } });
    assert_eq!(Report::of(&self::job(&portable), None).must_change, []);
}

#[test]
fn what_must_be_changed_first() {
    let set = |name: &str, value: Value| {
        let mut description = flex();
        description["environment"]["sdkPipelineOptions"]["options"][name] = value;
        job(&description)
    };
    let changes = |job: &Job, source: &str| Report::of(job, Some(&scripts(source))).must_change;
    let good = "function transform(s) { return s; }";

    let found = changes(&set("javascriptTextTransformFunctionName", json!("")), good);
    assert!(found[0].runs_in_compatible_mode && found[0].text.contains("untransformed"), "{found:?}");
    let found = changes(&set("pythonExternalTextTransformGcsPath", json!("gs://b/a.py")), good);
    assert!(
        found.iter().any(|change| !change.runs_in_compatible_mode && change.text.contains("JavaScript only"))
    );
    let mut sibling = flex();
    sibling["labels"]["goog-dataflow-provided-template-name"] = json!("pubsub_cdc_to_bigquery");
    let found = changes(&job(&sibling), good);
    assert!(found[0].at == "template" && found[0].text.contains("PubSub_CDC_to_BigQuery"), "{found:?}");

    for (source, part) in [
        ("function transfrom(s) { return s; }", "did you mean transfrom?"),
        ("function transform(s, t) { return s; }", "two parameters"),
        ("function transform(s) { return Java.type('x'); }", "Nashorn's"),
        ("function transform(s) { return require('x'); }", "Node or browsers"),
        ("function transform(s) { return s", "cannot be read: line 1"),
    ] {
        let found = changes(&job(&flex()), source);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains(part), "{source}: {found:?}");
    }
}

#[test]
fn what_is_no_description_is_refused() {
    for (text, part) in [
        ("id: 1", "--format json"),
        ("[]", "describe one job"),
        ("[{\"id\": \"1\"}, {\"id\": \"2\"}]", "describe one job"),
        ("3", "no object"),
        ("{\"launchParameter\": {}}", "neither id nor environment"),
    ] {
        let error = Job::read(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(Job::read("[{\"id\": \"1\"}]").is_ok());
}

#[test]
fn every_behaviour_has_a_name_of_its_own_and_is_in_the_manual() {
    let ids: BTreeSet<_> = BEHAVIOURS.iter().map(|behaviour| behaviour.id).collect();
    assert_eq!(ids.len(), BEHAVIOURS.len());
    let manual = include_str!("../../../docs/template.md");
    for behaviour in BEHAVIOURS {
        let (id, about, template) = (behaviour.id, behaviour.about, behaviour.template);
        let row =
            format!("| `{id}` | {} | {about} | {template} | {}", behaviour.severity.name(), behaviour.strict);
        assert!(manual.contains(&row), "docs/template.md lacks {row}");
    }
    for parameter in millrace_template::PARAMETERS {
        assert!(
            manual.contains(&format!("`{}`", parameter.name)),
            "docs/template.md lacks {}",
            parameter.name
        );
    }
}

proptest! {
    /// Whatever parts are missing or of another type, there is a report.
    #[test]
    fn descriptions_with_parts_missing_or_wrong(paths in proptest::collection::vec(0usize..40, 0..8), kind in 0u8..5) {
        let mut description = flex();
        let wrong = [json!(null), json!("text"), json!(7), json!([{}, 1, "x"]), json!({"a": {"b": []}})];
        for path in paths {
            let pointers = pointers(&description);
            let Some(pointer) = pointers.get(path % pointers.len().max(1)) else { continue };
            *description.pointer_mut(pointer).unwrap() = wrong[usize::from(kind)].clone();
        }
        if let Ok(job) = Job::read(&description.to_string()) {
            let report = Report::of(&job, None);
            prop_assert!(!report.summary().is_empty());
        }
    }
}

/// The pointers of everything within a value.
fn pointers(value: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    inner
        .into_iter()
        .flat_map(|(key, value)| {
            let below = pointers(value).into_iter().map({
                let key = key.clone();
                move |below| format!("/{key}{below}")
            });
            std::iter::once(format!("/{key}")).chain(below).collect::<Vec<_>>()
        })
        .collect()
}
