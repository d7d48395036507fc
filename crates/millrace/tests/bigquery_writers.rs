//! Who writes the table of a BigQuery subscription: one pipeline, whatever is asked for in between.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]
#![allow(missing_docs)]

mod common;

use common::{Millrace, eventually};
use serde_json::{Value, json};

const TABLE: &str = r#"
[[table]]
name = "lake.raw"
schema_text = '''[{"name": "data", "type": "STRING"}]'''
"#;

const PIPELINE: &str = r#"
[[pipeline]]
name = "own"
topic = "orders"
table = "TABLE"
schema_text = '''[{"name": "data", "type": "STRING"}]'''
"#;

const COLUMNS: &str = "schema_text = '[{\"name\": \"data\", \"type\": \"STRING\"}]'\n";

fn started(config: &str) -> Millrace {
    let mut millrace = Millrace::configured(config);
    millrace.start();
    millrace
}

fn publish(millrace: &Millrace, data: &str) {
    millrace.ok(&["topic", "publish", "orders", data]);
}

fn subscribe(millrace: &Millrace, name: &str, table: &str) {
    millrace.ok(&["subscription", "create", name, "--topic", "orders", "--bigquery-table", table]);
}

fn wait_for(millrace: &Millrace, sql: &str, rows: u64) {
    eventually(sql, || (millrace.number(sql) == rows).then_some(()));
}

fn refused(millrace: &Millrace, arguments: &[&str]) -> String {
    let output = millrace.run(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn state(millrace: &Millrace) -> String {
    let path = "/v1/projects/local/subscriptions/to-lake";
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(format!("http://127.0.0.1:{}{path}", millrace.port(8085))).call().unwrap();
    let shown: Value = answer.body_mut().read_json().unwrap();
    shown["bigqueryConfig"]["state"].as_str().unwrap().to_owned()
}

/// Scenario: a subscription has written a table; it is deleted, and a pipeline is configured from the same topic
/// to it, while the server runs. Then the other way round.
/// Guarantees: the second one is refused and named the first one; no message has a second row.
#[test]
fn a_pipeline_and_a_subscription_do_not_write_one_after_the_other() {
    let mut millrace = started(&format!("{TABLE}\n[[topic]]\nname = \"orders\"\n"));
    subscribe(&millrace, "to-lake", "lake.raw");
    publish(&millrace, r#"{"data": "one"}"#);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 1);
    millrace.ok(&["subscription", "delete", "to-lake"]);
    let with = |table: &str| {
        let pipeline = PIPELINE.replace("TABLE", table);
        format!("{TABLE}\n[[topic]]\nname = \"orders\"\n{}\n{pipeline}", default_pipeline())
    };
    millrace.write("millrace.toml", with("lake.raw").as_bytes());
    let said = refused(&millrace, &["update"]);
    assert!(said.contains("lake.raw"), "{said}");
    // The other way round.
    millrace.write("millrace.toml", with("lake.own").as_bytes());
    millrace.ok(&["update"]);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.own", 1);
    let create = ["subscription", "create", "second", "--topic", "orders", "--bigquery-table", "lake.own"];
    let said = refused(&millrace, &create);
    assert!(said.contains("pipeline own writes"), "{said}");
    // Neither when it does not write any more.
    let tables = with("lake.elsewhere") + "\n[[table]]\nname = \"lake.own\"\n" + COLUMNS;
    millrace.stop();
    millrace.write("millrace.toml", tables.as_bytes());
    millrace.start();
    let said = refused(&millrace, &create);
    assert!(said.contains("pipeline own has written"), "{said}");
    assert_eq!(millrace.number("SELECT COUNT(*) FROM lake.raw"), 1);
    millrace.audit();
}

/// The default pipeline spelt out: an update may not leave it out.
fn default_pipeline() -> &'static str {
    r#"
[[pipeline]]
name = "gemini-logs-sub"
topic = "gemini-telemetry-logs"
table = "telemetry.gemini_raw_logs"
partition = "timestamp"
clustering = ["logName", "severity"]
udf = { function = "transform" }
"#
}

/// Scenario: as above over a restart, with the [[table]] replaced by a [[pipeline]].
/// Guarantees: the server does not start, and says which two would write the same messages.
#[test]
fn a_pipeline_in_the_place_of_a_table_is_refused_at_the_start() {
    let mut millrace = started(TABLE);
    millrace.ok(&["topic", "create", "orders"]);
    subscribe(&millrace, "to-lake", "lake.raw");
    publish(&millrace, "one");
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 1);
    millrace.stop();
    millrace.write("millrace.toml", PIPELINE.replace("TABLE", "lake.raw").as_bytes());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| millrace.start())).is_err();
    millrace.kill_if_started();
    assert!(ended && millrace.log().contains("would be written a second time"), "{}", millrace.log());
}

/// Scenario: the [[table]] is missing at a start, and comes with `millrace update`.
/// Guarantees: the subscription is written again without a restart, with what waited.
#[test]
fn a_table_that_is_declared_again_is_written_again() {
    let mut millrace = started(TABLE);
    millrace.ok(&["topic", "create", "orders"]);
    subscribe(&millrace, "to-lake", "lake.raw");
    millrace.stop();
    millrace.write("millrace.toml", b"");
    millrace.start();
    assert_eq!(state(&millrace), "NOT_FOUND");
    publish(&millrace, "waits");
    millrace.write("millrace.toml", TABLE.as_bytes());
    millrace.ok(&["update"]);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 1);
    assert_eq!(state(&millrace), "ACTIVE");
    millrace.audit();
}

/// Scenario: the file of the table's schema changes while the server runs, and so does the subscription.
/// Guarantees: the open table is written as it was opened.
#[test]
fn an_open_table_keeps_its_columns() {
    let mut millrace = Millrace::new();
    let schema = |text: &str| millrace.write("orders.schema.json", text.as_bytes());
    let path = schema(r#"[{"name": "id", "type": "INT64"}]"#);
    let table = format!("[[table]]\nname = \"lake.orders\"\nschema = {:?}\n", path.to_str().unwrap());
    millrace.config = Some(millrace.write("millrace.toml", table.as_bytes()));
    millrace.start();
    millrace.ok(&["topic", "create", "orders"]);
    let create =
        ["subscription", "create", "to-lake", "--topic", "orders", "--bigquery-table", "lake.orders"];
    millrace.ok(&[&create[..], &["--use-table-schema"]].concat());
    publish(&millrace, r#"{"id": 1}"#);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.orders", 1);
    millrace.write(
        "orders.schema.json",
        br#"[{"name": "id", "type": "INT64"}, {"name": "more", "type": "STRING"}]"#,
    );
    millrace.ok(&["subscription", "delete", "to-lake"]);
    millrace.ok(&[&create[..], &["--use-table-schema", "--drop-unknown-fields"]].concat());
    publish(&millrace, r#"{"id": 2, "more": "x"}"#);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.orders", 2);
    assert_eq!(state(&millrace), "ACTIVE");
}

/// Scenario: its pipeline is drained and started again; then topic and subscription are deleted and made anew,
/// with the same names.
/// Guarantees: the state says that nothing is written; the audit balances also before the new topic's first
/// message, and after it.
#[test]
fn what_is_drained_says_so_and_what_is_made_anew_balances() {
    let millrace = started(TABLE);
    millrace.ok(&["topic", "create", "orders"]);
    subscribe(&millrace, "to-lake", "lake.raw");
    publish(&millrace, "one");
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 1);
    millrace.ok(&["drain", "bigquery~orders~lake.raw"]);
    eventually("the drain to be told", || (state(&millrace) == "PERMISSION_DENIED").then_some(()));
    millrace.ok(&["resume", "bigquery~orders~lake.raw"]);
    assert_eq!(state(&millrace), "ACTIVE");
    millrace.ok(&["subscription", "delete", "to-lake"]);
    millrace.ok(&["topic", "delete", "orders"]);
    millrace.ok(&["topic", "create", "orders"]);
    subscribe(&millrace, "to-lake", "lake.raw");
    millrace.audit();
    publish(&millrace, "anew");
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.raw", 2);
    millrace.audit();
}

/// Scenario: a replay of a subscription's dead letters was begun, and the server ended.
/// Guarantees: the next start goes on with it.
#[test]
fn an_unfinished_replay_goes_on_at_the_start() {
    let table = "[[table]]\nname = \"lake.ids\"\nschema_text = '[{\"name\": \"id\", \"type\": \"INT64\"}]'\n";
    let mut millrace = started(table);
    millrace.ok(&["topic", "create", "orders"]);
    let create = ["subscription", "create", "to-lake", "--topic", "orders", "--bigquery-table", "lake.ids"];
    millrace.ok(&[&create[..], &["--use-table-schema"]].concat());
    publish(&millrace, r#"{"id": 1, "more": 2}"#);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.ids_error_records", 1);
    millrace.ok(&["subscription", "delete", "to-lake"]);
    millrace.ok(&[&create[..], &["--use-table-schema", "--drop-unknown-fields"]].concat());
    let status = millrace.status();
    let topics = status["topics"].as_array().unwrap();
    let topic = topics.iter().find(|topic| topic["name"] == "orders").unwrap()["id"].clone();
    millrace.stop();
    let job = json!({
        "format": 1, "number": 1, "topic": topic, "udf": "null", "created_micros": 0, "replayed_before": 0,
        "filtered_before": 0, "runs": [[0, 1]],
    });
    std::fs::create_dir_all(millrace.data_dir().join("replay")).unwrap();
    millrace.write("data/replay/bigquery~orders~lake.ids.json", job.to_string().as_bytes());
    millrace.start();
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.ids", 1);
    wait_for(&millrace, "SELECT COUNT(*) FROM lake.ids_error_records", 0);
    millrace.audit();
}
