//! Dead letters of the real binary: listed by class, shown, replayed exactly once, purged, exported; also when it
//! is killed in between.
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

/// Throws on `bad N`, fails the row of `odd N`, leaves out `none`.
const SCRIPT: &str = r#"function transform(text) {
  const what = JSON.parse(text).jsonPayload.message;
  if (what.startsWith("bad")) {
    throw new TypeError("cannot use '" + what + "' at position " + what.length);
  }
  if (what.startsWith("odd")) return JSON.stringify({ number: what });
  if (what === "none") return null;
  return JSON.stringify({ name: what, number: 1 });
}
"#;

/// Takes `bad N` as well, but `bad 0` and `bad 1`; leaves out what is odd.
const FIXED: &str = r#"function transform(text) {
  const what = JSON.parse(text).jsonPayload.message;
  if (what === "bad 0" || what === "bad 1") throw new RangeError("still " + what);
  if (what.startsWith("odd")) return null;
  return JSON.stringify({ name: what, number: 2 });
}
"#;

const SCHEMA: &str = r#"[{"name": "name", "type": "STRING"}, {"name": "number", "type": "INT64"}]"#;

fn millrace(more: &str) -> Millrace {
    let toml = format!(
        "[[pipeline]]\nname = 'main'\ntopic = 'gemini-telemetry-logs'\ntable = 'd.t'\nschema = 's.json'\n\
         udf = {{ path = 'u.js', function = 'transform' }}\n{more}"
    );
    let millrace = Millrace::configured(&toml);
    millrace.write("s.json", SCHEMA.as_bytes());
    millrace.write("u.js", SCRIPT.as_bytes());
    millrace.write("fixed.js", FIXED.as_bytes());
    millrace
}

fn fixed(millrace: &Millrace) -> String {
    millrace.folder.path().join("fixed.js").to_str().unwrap().to_owned()
}

/// Posts records of these texts, each different from all others.
fn post(millrace: &Millrace, texts: &[String], round: u64) {
    let round = json!({ "round": round.to_string() });
    let records: Vec<(&str, Value)> = texts.iter().map(|text| (text.as_str(), round.clone())).collect();
    millrace.post_logs(&logs_body(&records));
    millrace.settle();
}

fn texts(kind: &str, count: u64) -> Vec<String> {
    (0..count).map(|n| format!("{kind} {n}")).collect()
}

fn json_of(millrace: &Millrace, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.extend(["--format", "json"]);
    serde_json::from_str(&millrace.ok(&all)).unwrap()
}

/// Written, filtered, dead-lettered and purged, of an audit that balances.
fn totals(millrace: &Millrace) -> [u64; 4] {
    let totals = millrace.audit()["pipelines"][0]["totals"].clone();
    ["written", "filtered", "dead_lettered", "purged"].map(|name| totals[name].as_u64().unwrap())
}

#[test]
fn dead_letters_are_listed_replayed_once_and_purged() {
    let mut millrace = millrace("[audit]\ninterval_seconds = 1\n");
    millrace.start();
    let all: Vec<String> =
        [texts("good", 10), texts("bad", 12), texts("odd", 4), vec!["none".to_owned()]].concat();
    post(&millrace, &all, 0);
    assert_eq!(totals(&millrace), [10, 1, 16, 0]);

    let classes = json_of(&millrace, &["deadletter", "list"]);
    assert_eq!(classes.as_array().unwrap().len(), 2, "{classes:#}");
    let class = classes.as_array().unwrap().iter().find(|class| class["count"] == 12).unwrap();
    assert_eq!(class["error"], "TypeError: cannot use '..' at position #", "{classes:#}");
    let id = class["class"].as_str().unwrap();
    let each = json_of(&millrace, &["deadletter", "list", "--each", "--class", id]);
    assert_eq!(each.as_array().unwrap().len(), 12);
    let shown = millrace.ok(&["deadletter", "show", class["sample"].as_str().unwrap()]);
    assert!(shown.contains(">    4 |     throw new TypeError"), "{shown}");
    assert!(shown.contains("it would fail: TypeError: cannot use"), "{shown}");
    let lines = millrace.ok(&["deadletter", "export", "--class", id]);
    assert_eq!(lines.lines().count(), 12);
    let line: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&line["class"], &line["attempts"]), (&json!(id), &json!(1)));

    let fixed = fixed(&millrace);
    let trial = json_of(&millrace, &["deadletter", "replay", "--udf", &fixed, "--dry-run"]);
    let trial = &trial["pipelines"][0]["trial"];
    assert_eq!(
        (&trial["written"], &trial["filtered"], &trial["failed"]),
        (&json!(10), &json!(4), &json!(2)),
        "{trial:#}"
    );
    assert_eq!(totals(&millrace), [10, 1, 16, 0]);

    // Through the server; one class, then the rest; twice adds nothing.
    let replay = |more: &[&str]| {
        let mut arguments = vec!["deadletter", "replay", "--udf", &fixed];
        arguments.extend(more);
        json_of(&millrace, &arguments)["pipelines"][0]["report"].clone()
    };
    let report = replay(&["--class", id]);
    assert_eq!((&report["written"], &report["failed"]), (&json!(10), &json!(2)), "{report:#}");
    assert_eq!(totals(&millrace), [20, 1, 6, 0]);
    let report = replay(&[]);
    assert_eq!((&report["written"], &report["filtered"]), (&json!(0), &json!(4)), "{report:#}");
    assert_eq!(totals(&millrace), [20, 5, 2, 0]);
    assert_eq!(millrace.number("SELECT COUNT(DISTINCT name) FROM d.t"), 20);
    assert_eq!(millrace.number("SELECT COUNT(*) FROM d.t WHERE number = 2"), 10);
    let attempts = "SELECT MIN(attempts) FROM d.t_error_records WHERE errorMessage LIKE 'RangeError%'";
    assert_eq!(millrace.number(attempts), 3);

    // The fold goes on, and the server finds its own books right.
    post(&millrace, &texts("bad", 3), 1);
    eventually("an audit of its own", || {
        let audit = millrace.status()["pipelines"][0]["audit"].clone();
        assert_ne!(audit["balanced"], false, "{audit:#}");
        (audit["replayed"] == 14).then_some(())
    });
    assert!(millrace.get("/metrics").1.contains("millrace_audit_balanced{pipeline=\"main\"} 1"));
    let refused = millrace.run(&["deadletter", "purge"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--all"));
    millrace.ok(&["deadletter", "purge", "--class", id]);
    assert_eq!(totals(&millrace), [20, 5, 2, 3]);

    // Without a server, the command does it itself.
    post(&millrace, &texts("bad", 5), 2);
    millrace.stop();
    millrace.ok(&["deadletter", "replay", "--udf", &fixed, "--class", id]);
    assert_eq!(totals(&millrace), [23, 5, 4, 3]);
    millrace.ok(&["deadletter", "purge", "--all"]);
    assert_eq!(totals(&millrace), [23, 5, 0, 7]);
    let since = json_of(&millrace, &["audit", "--since", "1d"]);
    let since = &since["pipelines"][0]["since"];
    assert_eq!((&since["accepted"], &since["written"]), (&json!(35), &json!(23)), "{since:#}");
    millrace.start();
    post(&millrace, &texts("good", 2), 3);
    assert_eq!(totals(&millrace), [25, 5, 0, 7]);
    millrace.stop();
}

/// Scenario: the server is killed at some moment of a replay, again and again, until the replay is done.
/// Guarantees: each message is a row or a dead letter, once; the audit balances each time; the server
/// goes on with the replay by itself.
#[test]
fn a_replay_that_is_killed_goes_on() {
    let mut millrace = millrace("[replay]\nbatch_messages_max = 7\n");
    millrace.start();
    post(&millrace, &texts("bad", 300), 0);
    let fixed = fixed(&millrace);
    let file = millrace.data_dir().join("replay/main.json");
    let mut rounds = 0;
    std::thread::scope(|scope| {
        let asked = &millrace;
        let client = scope.spawn(|| asked.run(&["deadletter", "replay", "--udf", &fixed]));
        eventually("the replay has begun", || {
            (file.exists() || millrace.number("SELECT COUNT(*) FROM d.t") > 0).then_some(())
        });
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(millrace.pid()).unwrap()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        let _ = client.join().unwrap();
    });
    while file.exists() && rounds < 40 {
        rounds += 1;
        totals(&millrace);
        let before = millrace.number("SELECT COUNT(*) FROM d.t");
        millrace.kill_if_started();
        millrace.start_unready();
        eventually("the replay has gone on", || {
            let more = millrace.number("SELECT COUNT(*) FROM d.t") > before;
            (more || !file.exists()).then_some(())
        });
        millrace.kill();
    }
    assert_eq!(totals(&millrace), [298, 0, 2, 0]);
    assert_eq!(millrace.number("SELECT COUNT(DISTINCT name) FROM d.t"), 298);
    assert!(!file.exists(), "after {rounds} rounds");
}
