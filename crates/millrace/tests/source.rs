//! A server that reads the Pub/Sub of another one, as it reads Google's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(missing_docs)]

mod common;

use common::{Millrace, eventually, testdata};
use serde_json::{Value, json};

const FEED: &str = "projects/local/subscriptions/feed";

/// A server with a topic and a subscription that nothing of it folds.
fn service() -> Millrace {
    let service = Millrace::started();
    service.ok(&["topic", "create", "orders"]);
    service.ok(&["subscription", "create", "feed", "--topic", "orders"]);
    service
}

fn endpoint(service: &Millrace) -> String {
    format!("127.0.0.1:{}", service.port(8085))
}

fn publish(service: &Millrace, ids: &[&str]) {
    for id in ids {
        let entry = json!({
            "logName": "projects/local/logs/gemini_cli", "insertId": id, "timestamp": "2026-01-01T00:00:00Z",
            "jsonPayload": {"body": "published"}, "labels": {"event.name": "gemini_cli.user_prompt"},
        });
        service.ok(&["topic", "publish", "orders", &entry.to_string(), "--attribute", "by=hand"]);
    }
}

fn wait_for_rows(reader: &Millrace, count: u64) {
    eventually("the rows", || (reader.number("SELECT COUNT(*) FROM gemini_raw_logs") == count).then_some(()));
}

fn source(reader: &Millrace) -> Value {
    reader.status()["sources"][0].clone()
}

/// Scenario: messages are published before and after the reader is killed, which it is in the middle.
/// Guarantees: each becomes one row; status and metrics tell; nothing is left with the service.
#[test]
fn a_source_fills_a_pipelines_topic() {
    let service = service();
    publish(&service, &["a", "b", "c"]);
    let mut reader = Millrace::configured(&format!(
        "[[source]]\nname = \"feed\"\nsubscription = \"{FEED}\"\ninto = \"gemini-telemetry-logs\"\nendpoint = \"{}\"\n",
        endpoint(&service)
    ));
    assert!(reader.ok(&["check"]).contains(&format!("source feed: {FEED} -> gemini-telemetry-logs")));
    reader.start();
    wait_for_rows(&reader, 3);
    reader.kill();
    publish(&service, &["d", "e"]);
    reader.start();
    wait_for_rows(&reader, 5);
    let told = eventually("the acks", || Some(source(&reader)).filter(|source| source["outstanding"] == 0));
    assert_eq!((told["name"].as_str(), told["state"].as_str()), (Some("feed"), Some("running")), "{told:#}");
    assert_eq!((told["topic"].as_str(), &told["durable"]), (Some("gemini-telemetry-logs"), &json!(true)));
    let metrics = reader.get("/metrics").1;
    assert!(metrics.contains("millrace_pubsub_source_appended_total{source=\"feed\"}"), "{metrics}");
    assert!(metrics.contains("millrace_pubsub_source_stalled_seconds{source=\"feed\"}"), "{metrics}");
    reader.audit();
    reader.stop();
    let left = service.ok(&["subscription", "pull", "feed", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&left).unwrap(), Vec::<Value>::new());
}

/// Scenario: `template run` of a subscription that is there and of one that is not, of the service at an
/// endpoint; and what is planned without a network.
/// Guarantees: rows under the template's names; a launch of what is not there ends with what to do.
#[test]
fn the_template_reads_the_real_service() {
    let service = service();
    publish(&service, &["a", "b"]);
    let endpoint = endpoint(&service);
    let script = std::path::absolute(testdata("../examples/gemini/transform.js")).unwrap();
    let udf = format!(
        "javascriptTextTransformGcsPath={},javascriptTextTransformFunctionName=transform",
        script.display()
    );
    let table = "outputTableSpec=local:telemetry.gemini_raw_logs";
    let parameters = |input: &str| format!("{input},{table},{udf}");

    let mut reader = Millrace::new();
    let missing = parameters("inputSubscription=projects/local/subscriptions/missing");
    let refused =
        reader.run(&["template", "run", "--parameters", &missing, "--pubsub-endpoint", endpoint.as_str()]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("gcloud pubsub subscriptions create missing"), "{said}");

    let there = parameters(&format!("inputSubscription={FEED}"));
    let plan = reader.ok(&["template", "plan", "--parameters", &there, "--source", "google"]);
    assert!(
        plan.contains(&format!("subscription = \"{FEED}\"")) && plan.contains("into = \"feed\""),
        "{plan}"
    );
    reader.start_with(&["template", "run", "--parameters", &there, "--pubsub-endpoint", endpoint.as_str()]);
    wait_for_rows(&reader, 2);
    assert_eq!(reader.status()["pipelines"][0]["topic"], "feed");
    reader.stop();
}

/// Scenario: a topic is read, and the pipeline that folds it is drained and resumed.
/// Guarantees: the temporary subscription is there while it is read, and gone with the drain; after the resume
/// reading goes on.
#[test]
fn a_drain_deletes_the_temporary_subscription() {
    let service = service();
    let mut reader = Millrace::configured(&format!(
        "[[source]]\nname = \"orders\"\ntopic = \"projects/local/topics/orders\"\n\
         into = \"gemini-telemetry-logs\"\nendpoint = \"{}\"\n",
        endpoint(&service)
    ));
    reader.start();
    let subscriptions = || service.ok(&["subscription", "list", "--format", "csv"]);
    eventually("the temporary subscription", || subscriptions().contains("orders_millrace_").then_some(()));
    publish(&service, &["a"]);
    wait_for_rows(&reader, 1);
    reader.ok(&["drain"]);
    assert_eq!(source(&reader)["state"], "stopped");
    assert!(!subscriptions().contains("orders_millrace_"), "{}", subscriptions());
    reader.ok(&["resume"]);
    eventually("it again", || subscriptions().contains("orders_millrace_").then_some(()));
    publish(&service, &["b"]);
    wait_for_rows(&reader, 2);
    reader.stop();
}

#[test]
fn sources_that_make_no_sense_are_refused() {
    let subscription = format!("subscription = \"{FEED}\"\n");
    for (section, reason) in [
        ("into = \"logs\"\n".to_owned(), "give one of them"),
        ("into = \"logs\"\nsubscription = \"feed\"\n".to_owned(), "projects/PROJECT/subscriptions/ID"),
        (format!("{subscription}into = \"x\"\n"), "topic name"),
        (format!("{subscription}into = \"logs\"\ndurable = false\n"), "no pipeline reads topic logs"),
        (format!("{subscription}into = \"logs\"\nendpoint = \"ftp://x\"\n"), "is no address"),
        (format!("{subscription}into = \"logs\"\nack_deadline_seconds = 5\n"), "ack_deadline_seconds"),
        (format!("{subscription}into = \"logs\"\noutstanding_messages = 5\n"), "did you mean"),
    ] {
        let refused =
            Millrace::configured(&format!("[[source]]\nname = \"feed\"\n{section}")).run(&["check"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(reason), "{section}: {said}");
    }
}
