//! The wide view that all others stand on.

use std::collections::BTreeMap;

use millrace_sql::{Engine, EngineConfig, Pseudonyms};
use serde_json::json;

use crate::common::recorded::{Entry, entries};
use crate::common::{self, lines};
use crate::made::engine_over;

fn or_null(text: Option<&str>) -> String {
    text.unwrap_or("NULL").to_owned()
}

/// A FLOAT64 that may differ in its last digits: sums depend on the order of rows.
fn near(text: &str, expected: Option<f64>) -> bool {
    match expected {
        None => text == "NULL",
        Some(expected) => {
            text.parse::<f64>().is_ok_and(|value| (value - expected).abs() <= expected.abs() * 1e-12)
        }
    }
}

/// Result rows as cells, without the head.
async fn cells(engine: &Engine, sql: &str) -> Vec<Vec<String>> {
    let lines = lines(engine, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    lines[1..].iter().map(|line| line.split(" | ").map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn every_record_has_its_row_with_its_fields() {
    let entries = entries();
    assert!(entries.len() > 380, "{} records", entries.len());
    let engine = engine_over(&entries, EngineConfig::default());
    let sql = "SELECT insertId, event_name, session_id, installation_id, user_email, model, auth_type, role, prompt_id, \
               input_tokens, output_tokens, cached_tokens, thoughts_tokens, tool_tokens, total_tokens, duration_ms, \
               status_code, function_name, function_success, tool_type, decision, error_code, gen_ai_request_model, \
               resource_project_id, temperature FROM gemini_analytics_view";
    let rows: BTreeMap<_, _> =
        cells(&engine, sql).await.into_iter().map(|row| (row[0].clone(), row)).collect();
    assert_eq!(rows.len(), entries.len());
    let integer =
        |entry: &Entry, key: &str| entry.number(key).map_or("NULL".to_owned(), |value| format!("{value:.0}"));
    for entry in &entries {
        let row = &rows[&entry.insert_id];
        let model = entry.text("model").or_else(|| entry.text("gen_ai.request.model"));
        let expected: Vec<String> = vec![
            entry.insert_id.clone(),
            or_null(entry.text("event.name")),
            or_null(entry.text("session.id")),
            or_null(entry.text("installation.id")),
            or_null(entry.text("user.email")),
            or_null(model),
            or_null(entry.text("auth_type")),
            or_null(entry.text("role")),
            or_null(entry.text("prompt_id")),
            integer(entry, "input_token_count"),
            integer(entry, "output_token_count"),
            integer(entry, "cached_content_token_count"),
            integer(entry, "thoughts_token_count"),
            integer(entry, "tool_token_count"),
            integer(entry, "total_token_count"),
        ];
        assert_eq!(row[..15], expected, "{}", entry.insert_id);
        let duration = entry.number("duration_ms").or_else(|| entry.number("duration"));
        assert!(near(&row[15], duration), "{}: {} {duration:?}", entry.insert_id, row[15]);
        let status = entry.payload.get("status_code").or_else(|| entry.payload.get("http.status_code"));
        assert_eq!(
            row[16],
            status.and_then(|code| code.as_f64()).map_or("NULL".to_owned(), |code| code.to_string())
        );
        assert_eq!(row[17], or_null(entry.text("function_name")));
        let success = entry.payload.get("success").and_then(|value| value.as_bool());
        assert_eq!(row[18], success.map_or("NULL".to_owned(), |value| value.to_string()));
        assert_eq!(row[19], or_null(entry.text("tool_type")));
        assert_eq!(row[20], or_null(entry.text("decision")));
        assert_eq!(row[21], or_null(entry.text("error.type").or_else(|| entry.text("error_type"))));
        assert_eq!(row[22], or_null(entry.text("gen_ai.request.model")));
        assert_eq!(row[23], or_null(entry.resource["labels"]["project_id"].as_str()));
        assert!(near(&row[24], entry.number("gen_ai.request.temperature")), "{}", row[24]);
    }
}

#[tokio::test]
async fn the_view_has_the_columns_of_the_specification() {
    let engine = engine_over(&entries(), EngineConfig::default());
    let expected = "timestamp TIMESTAMP, receiveTimestamp TIMESTAMP, logName STRING, insertId STRING, severity STRING, \
         trace STRING, spanId STRING, resource_json STRING, labels_json STRING, operation_json STRING, \
         httpRequest_json STRING, jsonPayload_json STRING, \
         resource JSON, labels JSON, operation JSON, httpRequest JSON, payload JSON, \
         event_name STRING, event_domain STRING, event_timestamp TIMESTAMP, \
         session_id STRING, installation_id STRING, user_email STRING, cli_version STRING, resource_project_id STRING, \
         model STRING, model_name STRING, auth_type STRING, prompt_id STRING, role STRING, gen_ai_request_model STRING, \
         temperature FLOAT64, top_p FLOAT64, top_k FLOAT64, max_output_tokens INT64, finish_reason STRING, \
         input_tokens INT64, output_tokens INT64, cached_tokens INT64, thoughts_tokens INT64, tool_tokens INT64, \
         total_tokens INT64, gen_ai_input_tokens INT64, gen_ai_output_tokens INT64, \
         function_name STRING, function_args STRING, function_duration_ms FLOAT64, function_success BOOL, \
         tool_type STRING, mcp_server_name STRING, decision STRING, \
         duration_ms FLOAT64, status_code INT64, error STRING, error_message STRING, error_code STRING";
    let (columns, _) = common::cells(&engine, "SELECT * FROM gemini_analytics_view").await.unwrap();
    assert_eq!(columns.join(", "), expected);
    let config = EngineConfig { pseudonyms: Pseudonyms::Sha256, ..EngineConfig::default() };
    let (columns, _) =
        common::cells(&engine_over(&entries(), config), "SELECT * FROM gemini_analytics_view").await.unwrap();
    let people =
        ("installation_id STRING, user_email STRING", "user_pseudonym STRING, installation_id_hash STRING");
    assert_eq!(columns.join(", "), expected.replace(people.0, people.1));
}

/// Records as collectors and hands have been seen to write them.
pub fn odd_entries() -> Vec<Entry> {
    let payloads = [
        json!({"attributes": {"event.name": "gemini_cli.api_response", "model": "m", "input_token_count": 7}}),
        json!({"attributes": {"event_name": "gemini_cli.tool_call", "duration_ms": "12.5", "success": "true"}}),
        json!({"event_name": "flat", "event.name": "dotted wins", "model": {"not": "a string"}}),
        json!({"event.name": "wrong types", "input_token_count": "many", "duration_ms": [1], "success": 7, "status_code": {}}),
        json!({"event.name": "e\u{1F600}\u{0}\"\\", "status_code": "429", "error": {"type": "x"}, "error.message": "boom"}),
        json!({}),
    ];
    let labels =
        json!({"user_email": "label@example.com", "installation_id": "i-1", "cli_version": "0.61.0"});
    let payloads = payloads.into_iter().enumerate();
    payloads
        .map(|(index, payload)| Entry {
            timestamp_micros: 1_767_225_600_000_000,
            insert_id: index.to_string(),
            labels: labels.clone(),
            payload,
            ..Entry::default()
        })
        .collect()
}

#[tokio::test]
async fn odd_records_are_read_where_they_can_be_and_null_elsewhere() {
    let engine = engine_over(&odd_entries(), EngineConfig::default());
    let rows = cells(
        &engine,
        "SELECT event_name, model, input_tokens, duration_ms, function_success, status_code, error, error_message, \
         user_email, installation_id, cli_version, function_duration_ms, resource FROM gemini_analytics_view ORDER BY insertId",
    )
    .await;
    let expected = [
        "gemini_cli.api_response | m | 7 | NULL | NULL | NULL | NULL | NULL",
        "gemini_cli.tool_call | NULL | NULL | 12.5 | true | NULL | NULL | NULL",
        "dotted wins | NULL | NULL | NULL | NULL | NULL | NULL | NULL",
        "wrong types | NULL | NULL | NULL | NULL | NULL | NULL | NULL",
        "e\u{1F600}\u{0}\"\\ | NULL | NULL | NULL | NULL | 429 | NULL | boom",
        "NULL | NULL | NULL | NULL | NULL | NULL | NULL | NULL",
    ];
    for (row, expected) in rows.iter().zip(expected) {
        let function_duration = if row[0] == "gemini_cli.tool_call" { "12.5" } else { "NULL" };
        assert_eq!(
            row.join(" | "),
            format!("{expected} | label@example.com | i-1 | 0.61.0 | {function_duration} | NULL")
        );
    }
    assert_eq!(rows.len(), expected.len());
}
