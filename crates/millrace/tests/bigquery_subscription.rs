//! BigQuery subscriptions of the real binary: from a topic to a declared table, exactly once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(missing_docs)]

mod common;

use common::{Millrace, eventually};
use serde_json::{Value, json};

const TABLES: &str = r#"
[[table]]
name = "lake.raw"
schema_text = '''[
  {"name": "data", "type": "STRING"},
  {"name": "subscription_name", "type": "STRING"},
  {"name": "message_id", "type": "STRING"},
  {"name": "publish_time", "type": "TIMESTAMP"},
  {"name": "attributes", "type": "JSON"}
]'''

[[table]]
name = "lake.orders"
schema_text = '''[{"name": "id", "type": "INT64", "mode": "REQUIRED"}, {"name": "item", "type": "STRING"}]'''
"#;

fn server() -> Millrace {
    let mut millrace = Millrace::configured(TABLES);
    millrace.start();
    millrace
}

fn publish(millrace: &Millrace, topic: &str, data: &str) -> String {
    millrace.ok(&["topic", "publish", topic, data, "--attribute", "kind=new"]).trim().to_owned()
}

fn wait_for(millrace: &Millrace, sql: &str, rows: u64) {
    eventually(sql, || (millrace.number(sql) == rows).then_some(()));
}

fn refused(millrace: &Millrace, arguments: &[&str]) -> String {
    let output = millrace.run(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn state(millrace: &Millrace, subscription: &str) -> String {
    let listed = millrace.ok(&["subscription", "list", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let name = format!("projects/local/subscriptions/{subscription}");
    rows.iter().find(|row| row["name"] == name).unwrap()["state"].as_str().unwrap().to_owned()
}

/// Scenario: a topic with a message from before; a subscription with metadata; a kill, and a clean stop.
/// Guarantees: the table has what was published since, once each, with what is known of it; the audit
/// balances; nobody can pull; deleting the subscription keeps the table.
#[test]
fn messages_and_metadata_reach_the_table_once() {
    let mut millrace = server();
    millrace.ok(&["topic", "create", "orders"]);
    publish(&millrace, "orders", "before");
    millrace.ok(&[
        "subscription",
        "create",
        "to-lake",
        "--topic",
        "orders",
        "--bigquery-table",
        "lake.raw",
        "--write-metadata",
    ]);
    assert_eq!(state(&millrace, "to-lake"), "ACTIVE");
    let first = publish(&millrace, "orders", "one");
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 1);
    millrace.kill();
    millrace.start();
    publish(&millrace, "orders", "two");
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 2);
    let rows = millrace.query(
        "SELECT data, subscription_name, message_id, JSON_VALUE(attributes, '$.kind') AS kind, \
         publish_time > TIMESTAMP '2020-01-01' AS is_now FROM lake.raw ORDER BY publish_time",
    );
    assert_eq!(
        rows[0],
        json!({
            "data": "one", "subscription_name": "projects/local/subscriptions/to-lake", "message_id": first,
            "kind": "new", "is_now": true,
        })
    );
    assert_eq!(rows[1]["data"], "two");
    let said = refused(&millrace, &["subscription", "pull", "to-lake"]);
    assert!(said.contains("is a BigQuery subscription"), "{said}");
    assert!(millrace.ok(&["audit"]).contains("bigquery~orders~lake.raw"));
    millrace.stop();
    // Without a server, too.
    assert!(millrace.ok(&["audit"]).contains("bigquery~orders~lake.raw"));
    millrace.start();
    assert_eq!(millrace.number("SELECT COUNT(*) FROM lake.raw"), 2);
    millrace.ok(&["subscription", "delete", "to-lake"]);
    publish(&millrace, "orders", "nobody's");
    millrace.ok(&[
        "subscription",
        "create",
        "again",
        "--topic",
        "orders",
        "--bigquery-table",
        "lake.raw",
        "--write-metadata",
    ]);
    publish(&millrace, "orders", "three");
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw WHERE data = 'three'", 1);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM lake.raw"), 3);
    millrace.ok(&["audit"]);
}

/// Scenario: payloads that are rows of the table, have more fields, or are none; a dead-letter topic; then
/// a second subscription that drops fields.
/// Guarantees: rows are typed; what cannot be a row is a dead letter, and in the dead-letter topic with the
/// reason; a replay makes rows as the subscription does.
#[test]
fn fields_reach_their_columns_and_the_rest_the_dead_letters() {
    let millrace = server();
    for topic in ["orders", "more-orders", "dead"] {
        millrace.ok(&["topic", "create", topic]);
    }
    millrace.ok(&["subscription", "create", "watch", "--topic", "dead"]);
    let schema = ["--bigquery-table", "lake.orders", "--use-table-schema"];
    let strict = ["subscription", "create", "strict", "--topic", "orders", "--dead-letter-topic", "dead"];
    millrace.ok(&[&strict[..], &schema].concat());
    publish(&millrace, "orders", r#"{"id": 1, "item": "a"}"#);
    publish(&millrace, "orders", r#"{"id": 2, "extra": true}"#);
    publish(&millrace, "orders", r#"{"item": "no id"}"#);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.orders_error_records", 2);
    assert_eq!(millrace.query("SELECT id, item FROM lake.orders"), [json!({"id": 1, "item": "a"})]);
    let letters = eventually("the dead letters in their topic", || {
        let text = millrace.ok(&["subscription", "pull", "watch", "--limit", "10", "--format", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        (!rows.is_empty()).then_some(rows)
    });
    let attributes = letters[0]["attributes"].as_str().unwrap();
    assert!(attributes.contains("DeliveryErrorMessage") && attributes.contains("extra"), "{attributes}");
    let drops = ["subscription", "create", "drops", "--topic", "more-orders", "--drop-unknown-fields"];
    millrace.ok(&[&drops[..], &schema].concat());
    publish(&millrace, "more-orders", r#"{"id": 3, "extra": true}"#);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.orders WHERE id = 3", 1);
    // The same subscription with another setting makes rows of what it could not before.
    millrace.ok(&["subscription", "delete", "strict"]);
    let again = ["subscription", "create", "again", "--topic", "orders", "--drop-unknown-fields"];
    millrace.ok(&[&again[..], &schema].concat());
    // One of the two fails again, and the command says so.
    millrace.run(&["deadletter", "replay", "--pipeline", "bigquery~orders~lake.orders"]);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.orders WHERE id = 2", 1);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM lake.orders_error_records"), 1);
    millrace.ok(&["audit"]);
}

/// Scenario: tables that are not declared or do not fit, a table that is written from the topic already, a
/// table that is taken out of the configuration.
/// Guarantees: each is refused with the reason; the last one is told by the state, and its messages wait
/// until the table is back.
#[test]
fn what_cannot_be_written_says_so() {
    let mut millrace = server();
    millrace.ok(&["topic", "create", "orders"]);
    let create = |name: &'static str, table: &'static str| {
        ["subscription", "create", name, "--topic", "orders", "--bigquery-table", table]
    };
    let said = refused(&millrace, &create("one", "lake.missing"));
    assert!(said.contains("declare it in a [[table]]"), "{said}");
    let said = refused(&millrace, &create("one", "elsewhere.lake.raw"));
    assert!(said.contains("of project local"), "{said}");
    let said = refused(&millrace, &create("one", "lake.orders"));
    assert!(said.contains("no column data"), "{said}");
    millrace.ok(&create("one", "lake.raw"));
    let said = refused(&millrace, &create("two", "lake.raw"));
    assert!(said.contains("already"), "{said}");
    millrace.stop();
    millrace.write("millrace.toml", TABLES.replace("lake.raw", "lake.other").as_bytes());
    millrace.start();
    assert_eq!(state(&millrace, "one"), "NOT_FOUND");
    publish(&millrace, "orders", "waits");
    millrace.stop();
    millrace.write("millrace.toml", TABLES.as_bytes());
    millrace.start();
    assert_eq!(state(&millrace, "one"), "ACTIVE");
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 1);
}
