//! `millrace topic`, `subscription` and `snapshot`: each option, by what it does to the messages.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(missing_docs)]

mod common;

use common::{Millrace, eventually};
use serde_json::{Value, json};

/// What a command prints as JSON.
fn rows(millrace: &Millrace, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&millrace.ok(&[arguments, &["--format", "json"]].concat())).unwrap()
}

/// The row of that name.
fn row(millrace: &Millrace, arguments: &[&str], name: &str) -> Value {
    let rows = rows(millrace, arguments);
    rows.iter().find(|row| row["name"] == name).cloned().unwrap_or_else(|| panic!("no {name} in {rows:?}"))
}

/// What a command that must fail says.
fn refused(millrace: &Millrace, arguments: &[&str]) -> String {
    let output = millrace.run(arguments);
    assert!(!output.status.success(), "{arguments:?} did not fail");
    String::from_utf8(output.stderr).unwrap()
}

/// The data of what one pull brings, with `--ack` or other options.
fn pull(millrace: &Millrace, subscription: &str, options: &[&str]) -> Vec<String> {
    let pulled = rows(millrace, &[&["subscription", "pull", subscription][..], options].concat());
    pulled.iter().map(|row| row["data"].as_str().unwrap().to_owned()).collect()
}

/// Pulls and acks until so many messages have come.
fn pull_acked(millrace: &Millrace, subscription: &str, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    eventually("all messages", || {
        all.extend(pull(millrace, subscription, &["--ack"]));
        (all.len() >= count).then_some(())
    });
    all
}

/// Calls a method of a subscription of the project `local` over REST.
fn call(millrace: &Millrace, subscription: &str, method: &str, body: &Value) -> (u16, Value) {
    let path = format!("/v1/projects/local/subscriptions/{subscription}:{method}");
    let headers = [("content-type", "application/json")];
    let (status, _, answer) = millrace.post(8085, &path, &headers, body.to_string().as_bytes());
    (status, serde_json::from_slice(&answer).unwrap())
}

/// Pulls one message over REST and nacks it; its ack id.
fn nacked(millrace: &Millrace, subscription: &str) -> Option<String> {
    let (_, answer) =
        call(millrace, subscription, "pull", &json!({"maxMessages": 1, "returnImmediately": true}));
    let id = answer["receivedMessages"][0]["ackId"].as_str()?.to_owned();
    let nack = json!({"ackIds": [id], "ackDeadlineSeconds": 0});
    assert_eq!(call(millrace, subscription, "modifyAckDeadline", &nack).0, 200);
    Some(id)
}

/// Scenario: topics by id and by whole name, in the configured project and in another one.
/// Guarantees: each is where it was made, with its retention, and is used and deleted by either name.
#[test]
fn topics_of_projects() {
    let millrace = Millrace::started();
    millrace.ok(&["topic", "create", "orders", "--retention-seconds", "7200"]);
    let made = row(&millrace, &["topic", "list"], "projects/local/topics/orders");
    assert_eq!(made["retention"], "7200s");
    let said = refused(&millrace, &["topic", "create", "brief", "--retention-seconds", "5"]);
    assert!(said.contains("message_retention_duration"), "{said}");

    let whole = "projects/other/topics/orders";
    millrace.ok(&["topic", "create", whole]);
    let theirs = rows(&millrace, &["topic", "list", "--project", "other"]);
    assert_eq!((theirs.len(), &theirs[0]["name"]), (1, &json!(whole)), "{theirs:?}");
    millrace.ok(&["subscription", "create", "projects/other/subscriptions/all", "--topic", whole]);
    let theirs = rows(&millrace, &["subscription", "list", "--project", "other"]);
    assert_eq!((theirs.len(), &theirs[0]["topic"]), (1, &json!(whole)), "{theirs:?}");
    millrace.ok(&["topic", "publish", whole, "theirs"]);
    millrace.ok(&["topic", "publish", "projects/local/topics/orders", "ours"]);
    assert_eq!(pull_acked(&millrace, "projects/other/subscriptions/all", 1), ["theirs"]);
    millrace.ok(&["topic", "delete", whole]);
    assert!(rows(&millrace, &["topic", "list", "--project", "other"]).is_empty());
    assert!(refused(&millrace, &["topic", "create", "other/orders"]).contains("projects/PROJECT/topics/ID"));
}

/// Scenario: subscriptions with a filter, with ordering, and with a deadline of ten minutes beside one of ten seconds.
/// Guarantees: only what passes is delivered; the messages of a key in order, and none of it to a second pull; what is
/// not acked comes again after the deadline that was asked for.
#[test]
fn subscriptions_with_filter_order_and_deadline() {
    let millrace = Millrace::started();
    millrace.ok(&["topic", "create", "orders"]);
    let create = |name: &str, options: &[&str]| {
        millrace.ok(&[&["subscription", "create", name, "--topic", "orders"][..], options].concat());
        row(&millrace, &["subscription", "list"], &format!("projects/local/subscriptions/{name}"))
    };
    let filter = r#"attributes.kind = "a""#;
    assert_eq!(create("filtered", &["--filter", filter])["filter"], filter);
    assert_eq!(create("ordered", &["--ordered"])["ordered"], true);
    assert_eq!(create("patient", &["--ack-deadline-seconds", "600"])["ack_deadline_seconds"], 600);
    assert_eq!(create("hasty", &[])["ack_deadline_seconds"], 10);
    for (data, kind, key) in [("1", "kind=a", "k"), ("2", "kind=b", "k"), ("3", "kind=a", "k")] {
        millrace.ok(&["topic", "publish", "orders", data, "--attribute", kind, "--ordering-key", key]);
    }
    let mut passed = pull_acked(&millrace, "filtered", 2);
    passed.sort();
    assert_eq!(passed, ["1", "3"]);

    let first = eventually("the first of the key", || {
        let pulled = rows(&millrace, &["subscription", "pull", "ordered", "--limit", "1"]);
        pulled.into_iter().next()
    });
    assert_eq!((&first["data"], &first["ordering_key"]), (&json!("1"), &json!("k")));
    assert_eq!(pull(&millrace, "ordered", &[]), [""; 0]);
    // The first pull was never acked.
    assert_eq!(pull_acked(&millrace, "ordered", 3), ["1", "2", "3"]);

    assert_eq!(pull(&millrace, "patient", &[]).len(), 3);
    assert_eq!(pull(&millrace, "hasty", &[]).len(), 3);
    assert_eq!(pull_acked(&millrace, "hasty", 3).len(), 3);
    assert_eq!(pull(&millrace, "patient", &[]), [""; 0]);
}

/// Scenario: an exactly-once subscription and a plain one; an ack after a nack of the same delivery.
/// Guarantees: the exactly-once one refuses it, the other does not.
#[test]
fn exactly_once_refuses_late_acks() {
    let millrace = Millrace::started();
    millrace.ok(&["topic", "create", "orders"]);
    millrace.ok(&["subscription", "create", "once", "--topic", "orders", "--exactly-once"]);
    millrace.ok(&["subscription", "create", "plain", "--topic", "orders"]);
    let listed = row(&millrace, &["subscription", "list"], "projects/local/subscriptions/once");
    assert_eq!(listed["exactly_once"], true);
    millrace.ok(&["topic", "publish", "orders", "1"]);
    for (subscription, status) in [("once", 400), ("plain", 200)] {
        let id = eventually("a delivery", || nacked(&millrace, subscription));
        let (answered, said) = call(&millrace, subscription, "acknowledge", &json!({"ackIds": [id]}));
        assert_eq!(answered, status, "{subscription}: {said}");
    }
}

/// Scenario: a message that is nacked five times.
/// Guarantees: it goes to the dead-letter topic, with where it comes from, and does not come again.
#[test]
fn a_dead_letter_topic_takes_what_nobody_acks() {
    let millrace = Millrace::started();
    for topic in ["orders", "dead"] {
        millrace.ok(&["topic", "create", topic]);
    }
    millrace.ok(&["subscription", "create", "work", "--topic", "orders", "--dead-letter-topic", "dead"]);
    millrace.ok(&["subscription", "create", "letters", "--topic", "dead"]);
    let listed = row(&millrace, &["subscription", "list"], "projects/local/subscriptions/work");
    assert_eq!(listed["dead_letter_topic"], "projects/local/topics/dead");
    millrace.ok(&["topic", "publish", "orders", "bad"]);
    for _ in 0..5 {
        eventually("a delivery", || nacked(&millrace, "work"));
    }
    let letter = eventually("the dead letter", || {
        rows(&millrace, &["subscription", "pull", "letters", "--ack"]).into_iter().next()
    });
    assert_eq!(letter["data"], "bad");
    let attributes = letter["attributes"].as_str().unwrap();
    assert!(attributes.contains("CloudPubSubDeadLetterSourceSubscription"), "{attributes}");
    assert_eq!(pull(&millrace, "work", &[]), [""; 0]);
}

/// Scenario: a snapshot between two messages, all acked; seeks to the snapshot, to the beginning and to the end.
/// Guarantees: exactly what was not acked at the snapshot comes again, then everything, then nothing; a snapshot is
/// listed until it is deleted.
#[test]
fn seeks_to_snapshots_and_times() {
    let millrace = Millrace::started();
    millrace.ok(&["topic", "create", "orders"]);
    millrace.ok(&["subscription", "create", "work", "--topic", "orders"]);
    millrace.ok(&["topic", "publish", "orders", "1"]);
    assert_eq!(pull_acked(&millrace, "work", 1), ["1"]);
    let whole = "projects/local/snapshots/between";
    millrace.ok(&["snapshot", "create", "between", "--subscription", "work"]);
    let listed = row(&millrace, &["snapshot", "list"], whole);
    assert_eq!(listed["topic"], "projects/local/topics/orders");
    assert!(listed["expire_time"].as_str().unwrap().ends_with('Z'), "{listed}");
    assert!(rows(&millrace, &["snapshot", "list", "--project", "other"]).is_empty());
    let said = refused(&millrace, &["snapshot", "create", "between", "--subscription", "work"]);
    assert!(said.contains(whole), "{said}");
    millrace.ok(&["topic", "publish", "orders", "2"]);
    assert_eq!(pull_acked(&millrace, "work", 1), ["2"]);

    for snapshot in ["between", whole] {
        millrace.ok(&["subscription", "seek", "work", "--snapshot", snapshot]);
        assert_eq!(pull_acked(&millrace, "work", 1), ["2"]);
    }
    millrace.ok(&["subscription", "seek", "work", "--time", "2020-01-01T00:00:00Z"]);
    let mut again = pull_acked(&millrace, "work", 2);
    again.sort();
    assert_eq!(again, ["1", "2"]);
    millrace.ok(&["topic", "publish", "orders", "3"]);
    millrace.ok(&["subscription", "seek", "work", "--time", "2100-01-01T00:00:00Z"]);
    assert_eq!(pull(&millrace, "work", &[]), [""; 0]);

    millrace.ok(&["snapshot", "delete", "between"]);
    assert!(rows(&millrace, &["snapshot", "list"]).is_empty());
    assert!(refused(&millrace, &["snapshot", "delete", whole]).contains("there is no"));
    assert!(refused(&millrace, &["subscription", "seek", "work", "--snapshot", "between"]).contains(whole));
    assert!(refused(&millrace, &["subscription", "seek", "work"]).contains("--time"));
}

/// Scenario: whole names of other kinds of resources, and names with letters that mean something in a path.
/// Guarantees: nothing else is made or deleted, and the rule is told.
#[test]
fn a_name_means_what_it_says() {
    let millrace = Millrace::started();
    millrace.ok(&["topic", "create", "orders"]);
    millrace.ok(&["subscription", "create", "orders-sub", "--topic", "orders"]);
    for (command, name) in [
        ("topic", "projects/local/subscriptions/orders-sub"),
        ("subscription", "projects/local/topics/orders"),
    ] {
        let said = refused(&millrace, &[command, "delete", name]);
        assert!(said.contains("or whole: projects/PROJECT/"), "{said}");
    }
    refused(&millrace, &["topic", "create", "orders:publish"]);
    for name in ["orders#old", "orders?x=1", "orders old"] {
        let said = refused(&millrace, &["topic", "create", name]);
        assert!(said.contains("a name holds letters"), "{name}: {said}");
        refused(&millrace, &["topic", "delete", name]);
    }
    assert_eq!(
        row(&millrace, &["topic", "list"], "projects/local/topics/orders")["name"],
        "projects/local/topics/orders"
    );
    row(&millrace, &["subscription", "list"], "projects/local/subscriptions/orders-sub");
    let said = refused(
        &millrace,
        &["subscription", "create", "late", "--topic", "orders", "--ack-deadline-seconds", "-5"],
    );
    assert!(said.contains("-5") && !said.contains("tip"), "{said}");
}
