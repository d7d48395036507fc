//! Rows that no well-meaning client writes: a view answers, and what is of the wrong type is NULL.

use millrace_sql::{EngineConfig, Pseudonyms};
use serde_json::{Value, json};

use crate::common::cells;
use crate::common::recorded::{Entry, NO_TIME};
use crate::made::engine_over;
use crate::spellings::view_names;

/// Events that some view reads.
const EVENTS: [&str; 18] = [
    "gemini_cli.api_request",
    "gemini_cli.api_response",
    "gemini_cli.api_error",
    "gemini_cli.tool_call",
    "gemini_cli.config",
    "gemini_cli.flash_fallback",
    "gemini_cli.chat.content_retry",
    "gemini_cli.chat.content_retry_failure",
    "gemini_cli.network_retry_attempt",
    "gemini_cli.chat_compression",
    "gemini_cli.model_routing",
    "gemini_cli.malformed_json_response",
    "gemini_cli.slash_command",
    "gemini_cli.agent.start",
    "gemini_cli.extension_install",
    "gemini_cli.conversation_finished",
    "gen_ai.client.inference.operation.details",
    "loop_detected",
];

/// Fields that some view reads.
const FIELDS: [&str; 41] = [
    "event.timestamp",
    "event.domain",
    "session.id",
    "installation.id",
    "user.email",
    "model",
    "model_name",
    "auth_type",
    "prompt_id",
    "role",
    "gen_ai.request.model",
    "gen_ai.request.temperature",
    "finish_reasons",
    "input_token_count",
    "output_token_count",
    "cached_content_token_count",
    "thoughts_token_count",
    "tool_token_count",
    "total_token_count",
    "function_name",
    "function_args",
    "success",
    "tool_type",
    "decision",
    "metadata",
    "duration_ms",
    "duration",
    "status_code",
    "error",
    "error.message",
    "error.type",
    "tokens_before",
    "tokens_after",
    "decision_source",
    "routing_latency_ms",
    "failed",
    "sandbox_enabled",
    "extensions_count",
    "approvalMode",
    "turnCount",
    "team.name",
];

fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!("true"),
        json!(0),
        json!(-1),
        json!(429),
        json!("429"),
        json!(12.5),
        json!("12.5"),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!("NaN"),
        json!("-inf"),
        json!(""),
        json!("text"),
        json!("a \" quote, a \\ and \u{0} and \u{1F600}"),
        json!([]),
        json!([429]),
        json!({}),
        json!({"a": {"b": 1}}),
        json!("{\"model_added_lines\": 9223372036854775807, \"user_added_lines\": {}}"),
        json!("9999-12-31T23:59:59.999999Z"),
        json!("x".repeat(2_000)),
    ]
}

fn hostile_entries() -> Vec<Entry> {
    let mut all = Vec::new();
    for event in EVENTS {
        for value in values() {
            let mut payload = json!({"event.name": event});
            FIELDS.iter().for_each(|field| payload[field] = value.clone());
            // Twice, so that sums would overflow.
            for _ in 0..2 {
                all.push(Entry {
                    timestamp_micros: 1_795_000_000_000_000,
                    payload: payload.clone(),
                    ..Entry::default()
                });
            }
            let nested = json!({"attributes": payload.clone()});
            all.push(Entry { timestamp_micros: NO_TIME, payload: nested, ..Entry::default() });
        }
    }
    for value in values() {
        let payload = json!({"event.name": value, "attributes": value});
        let other = json!({"labels": value, "user_email": value, "cli_version": value});
        all.push(Entry { payload, labels: other.clone(), resource: other, ..Entry::default() });
    }
    for text in [
        "",
        " ",
        "null",
        "5",
        "[]",
        "\"text\"",
        "{",
        "}",
        "{}",
        "not JSON",
        "{\"event.name\":",
        "\u{feff}{}",
        "{\"event.name\":\"gemini_cli.api_error\",\"status_code\":429",
        "{'event.name':'gemini_cli.api_error'}",
        "{\"event.name\":\"gemini_cli.api_error\"}}",
        "{\"event.name\":NaN}",
    ] {
        let text = Value::String(text.to_owned());
        all.push(Entry { payload: text.clone(), labels: text.clone(), resource: text, ..Entry::default() });
    }
    // All columns NULL.
    all.push(Entry { timestamp_micros: NO_TIME, ..Entry::default() });
    for (index, entry) in all.iter_mut().enumerate() {
        entry.insert_id = format!("hostile-{index:05}");
    }
    all
}

#[tokio::test]
async fn every_view_answers_whatever_the_rows_are() {
    let entries = hostile_entries();
    for pseudonyms in [Pseudonyms::Off, Pseudonyms::Sha256] {
        let engine = engine_over(&entries, EngineConfig { pseudonyms, ..EngineConfig::default() });
        for name in view_names(&engine) {
            let sql = format!("SELECT * FROM {name}");
            let (_, rows) = cells(&engine, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert!(!rows.is_empty(), "{name}");
        }
        let sql = "SELECT (SELECT SUM(request_count) FROM daily_metrics), (SELECT SUM(tool_calls) FROM vw_code_changes), \
                   (SELECT COUNT(*) FROM gemini_analytics_view)";
        let (_, rows) = cells(&engine, sql).await.unwrap();
        let of_one_event = values().len() * 3;
        let expected = [of_one_event * 2, of_one_event, entries.len()];
        assert_eq!(rows[0], expected.map(|count| Some(count.to_string())));
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_are_null() {
    let columns = [
        ("input_token_count", "input_tokens"),
        ("duration_ms", "duration_ms"),
        ("success", "function_success"),
        ("status_code", "status_code"),
        ("event.timestamp", "event_timestamp"),
        ("model", "model"),
        ("gen_ai.request.temperature", "temperature"),
    ];
    // What each column makes of a value, or NULL.
    let cases: [(Value, [&str; 7]); 12] = [
        (Value::Null, ["", "", "", "", "", "", ""]),
        (json!({"a": 1}), ["", "", "", "", "", "", ""]),
        (json!([1]), ["", "", "", "", "", "", ""]),
        (json!("text"), ["", "", "", "", "", "text", ""]),
        (json!(true), ["", "", "true", "", "", "true", ""]),
        (json!("FALSE"), ["", "", "false", "", "", "FALSE", ""]),
        (json!(7), ["7", "7", "", "7", "", "7", "7"]),
        (json!("7"), ["7", "7", "", "7", "", "7", "7"]),
        (json!(-2.5), ["", "-2.5", "", "", "", "-2.5", "-2.5"]),
        (json!("-2.5"), ["", "-2.5", "", "", "", "-2.5", "-2.5"]),
        (
            json!(i64::MAX),
            [
                "",
                "9.223372036854775807e18",
                "",
                "9223372036854775807",
                "",
                "9223372036854775807",
                "9.223372036854775807e18",
            ],
        ),
        (
            json!("2026-01-02T03:04:05Z"),
            ["", "", "", "", "2026-01-02 03:04:05+00", "2026-01-02T03:04:05Z", ""],
        ),
    ];
    for (value, expected) in cases {
        let mut payload = json!({});
        columns.iter().for_each(|(field, _)| payload[field] = value.clone());
        let engine = engine_over(&[Entry { payload, ..Entry::default() }], EngineConfig::default());
        let names = columns.map(|(_, column)| column).join(", ");
        let (_, rows) = cells(&engine, &format!("SELECT {names} FROM gemini_analytics_view")).await.unwrap();
        for ((given, expected), (_, column)) in rows[0].iter().zip(expected).zip(columns) {
            let fits = match given {
                None => expected.is_empty(),
                Some(given) => {
                    given == expected || number(given).is_some_and(|value| number(expected) == Some(value))
                }
            };
            assert!(fits, "{column} of {value}: {given:?}, expected {expected}");
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}
