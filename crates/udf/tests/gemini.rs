//! The recorded Cloud Logging entries through the example scripts, against an expectation that is
//! computed here without any JavaScript.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;

use common::{Outcome, run};
use millrace_udf::{Script, Udf, UdfConfig};
use serde_json::value::RawValue;

const ENTRIES: &str = include_str!("../../../testdata/gemini-cli/cloud_logging_entries.jsonl");
const SCALARS: [&str; 7] =
    ["timestamp", "receiveTimestamp", "logName", "insertId", "severity", "trace", "spanId"];
const OBJECTS: [&str; 5] = ["resource", "labels", "operation", "httpRequest", "jsonPayload"];

fn example(name: &str) -> Udf {
    let path = format!("../../examples/gemini/{name}");
    let script = Script { name: name.to_owned(), source: std::fs::read_to_string(path).unwrap() };
    Udf::load(UdfConfig::new(vec![script], "transform")).unwrap()
}

/// JSON text as `JSON.stringify` writes it: nothing between tokens, strings with the fewest escapes.
fn compact(json: &str) -> String {
    let (mut out, mut rest) = (String::new(), json);
    while let Some(first) = rest.chars().next() {
        if first != '"' {
            if !first.is_ascii_whitespace() {
                out.push(first);
            }
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let text = strings.next().unwrap().unwrap();
        out.push_str(&serde_json::to_string(&text).unwrap());
        rest = &rest[strings.byte_offset()..];
    }
    out
}

fn expected(entry: &str, scalars: &[&str], objects: &[&str]) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(entry).unwrap();
    let scalar = |name: &&str| {
        fields.get(*name).map(|raw| ((*name).to_owned(), serde_json::from_str(raw.get()).unwrap()))
    };
    let object = |name: &&str| fields.get(*name).map(|raw| (format!("{name}_json"), compact(raw.get())));
    scalars.iter().filter_map(scalar).chain(objects.iter().filter_map(object)).collect()
}

fn check(udf: &Udf, scalars: &[&str], objects: &[&str]) {
    // More than one chunk, so that chunks are joined too.
    let entries: Vec<&str> = ENTRIES.lines().cycle().take(500).collect();
    let outcomes = run(udf, &entries);
    for (entry, outcome) in entries.iter().zip(outcomes) {
        let Outcome::Row(row) = outcome else { panic!("{outcome:?}") };
        let row: BTreeMap<String, String> = serde_json::from_str(&row).unwrap();
        assert_eq!(row, expected(entry, scalars, objects));
    }
    let stats = udf.stats();
    assert_eq!((stats.calls, stats.rows, stats.filtered), (500, 500, 0));
    assert!(stats.failures.is_empty());
}

#[test]
fn the_default_script_makes_the_expected_row_of_every_recorded_entry() {
    check(&example("transform.js"), &SCALARS, &OBJECTS);
}

#[test]
fn the_smaller_script_makes_the_expected_row_of_every_recorded_entry() {
    let scalars = ["timestamp", "severity", "logName"];
    check(&example("transform_small.js"), &scalars, &["resource", "labels", "jsonPayload"]);
}

#[test]
fn fields_that_are_null_or_false_or_odd_come_out_as_they_are() {
    let entry = r#"{"severity":null,"insertId":"","trace":0,"labels":{},"operation":[1,null],"resource":null,
        "jsonPayload":{"b":1.50,"2":"two","a":{"deep":[{}]},"s":"\ud83d\ude00 \u0000 \ud800 \"q\""},"other":1}"#;
    let Outcome::Row(row) = run(&example("transform.js"), &[entry]).remove(0) else { panic!() };
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    let payload = r#"{"2":"two","b":1.5,"a":{"deep":[{}]},"s":"😀 \u0000 \ud800 \"q\""}"#;
    let expected = serde_json::json!({
        "insertId": "", "trace": 0, "labels_json": "{}", "operation_json": "[1,null]", "jsonPayload_json": payload,
    });
    assert_eq!(row, expected);
}

#[test]
fn a_message_of_twelve_megabytes_passes() {
    let large = "0123456789 \\\" ".repeat(12 * 1024 * 1024 / 14);
    for text in [large.clone(), format!("{large} \u{e9}"), format!("{large} \u{1f600}")] {
        let entry = serde_json::json!({"logName": "l", "jsonPayload": {"text": text}}).to_string();
        let outcome = run(&example("transform.js"), &[entry]).remove(0);
        let Outcome::Row(row) = outcome else { panic!("{outcome:?}") };
        let row: BTreeMap<String, String> = serde_json::from_str(&row).unwrap();
        let payload: BTreeMap<String, String> = serde_json::from_str(&row["jsonPayload_json"]).unwrap();
        assert!(payload["text"] == text);
    }
}

#[test]
fn the_table_has_a_column_for_every_field_that_the_script_makes() {
    let path = "../../examples/gemini/gemini_raw_logs.schema.json";
    let schema: Vec<BTreeMap<String, String>> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let columns: Vec<&str> = schema.iter().map(|column| column["name"].as_str()).collect();
    let objects = OBJECTS.map(|name| format!("{name}_json"));
    let fields: Vec<&str> = SCALARS.into_iter().chain(objects.iter().map(String::as_str)).collect();
    assert_eq!(columns, fields);
    assert!(schema.iter().all(|column| column["mode"] == "NULLABLE"));
    for column in &schema {
        let is_time = ["timestamp", "receiveTimestamp"].contains(&column["name"].as_str());
        assert_eq!(column["type"], if is_time { "TIMESTAMP" } else { "STRING" });
    }
}
