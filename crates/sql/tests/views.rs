//! The built-in views over the recorded telemetry, against expectations computed from the raw JSON in
//! Rust, not by SQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::recorded::{Entry, entries, table};
use common::{MemoryCatalog, engine, lines};
use millrace_sql::{Engine, EngineConfig, Pseudonyms, ViewOrigin};
use serde_json::json;

fn engine_over(entries: &[Entry], config: EngineConfig) -> Engine {
    engine(config, MemoryCatalog::default().with("telemetry", "gemini_raw_logs", table(entries)))
}

fn day_text(day: i64) -> String {
    chrono::NaiveDate::from_epoch_days(day as i32).unwrap().to_string()
}

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

fn is_request(entry: &Entry) -> bool {
    matches!(entry.event(), "gemini_cli.api_response" | "gemini_cli.api_error")
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
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
    let result = engine.query("SELECT * FROM gemini_analytics_view").await.unwrap();
    let types: BTreeMap<_, _> =
        result.columns.iter().map(|column| (column.name.as_str(), column.type_name.as_str())).collect();
    for (kind, names) in [
        ("TIMESTAMP", "timestamp receiveTimestamp event_timestamp"),
        (
            "STRING",
            "logName insertId severity trace spanId resource_json labels_json operation_json httpRequest_json",
        ),
        (
            "STRING",
            "jsonPayload_json event_name event_domain session_id installation_id user_email cli_version",
        ),
        ("JSON", "resource labels operation httpRequest payload"),
        (
            "STRING",
            "resource_project_id model model_name auth_type prompt_id role gen_ai_request_model finish_reason",
        ),
        ("FLOAT64", "temperature top_p duration_ms function_duration_ms"),
        (
            "INT64",
            "max_output_tokens input_tokens output_tokens cached_tokens thoughts_tokens tool_tokens total_tokens",
        ),
        ("INT64", "gen_ai_input_tokens gen_ai_output_tokens status_code"),
        (
            "STRING",
            "function_name function_args tool_type mcp_server_name decision error error_message error_code",
        ),
        ("BOOL", "function_success"),
    ] {
        for name in names.split(' ') {
            assert_eq!(types.get(name), Some(&kind), "{name}");
        }
    }
    assert!(!types.keys().any(|name| name.starts_with('_')), "{types:?}");
}

#[tokio::test]
async fn daily_metrics_counts_requests_once() {
    let entries = entries();
    let twins =
        entries.iter().filter(|entry| entry.event() == "gen_ai.client.inference.operation.details").count();
    assert!(twins > 50, "the recording has {twins} twins: nothing would be proved");
    let mut groups: BTreeMap<(String, String), Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| is_request(entry)) {
        let model = entry.text("model").or_else(|| entry.text("gen_ai.request.model"));
        groups.entry((day_text(entry.day()), or_null(model))).or_default().push(entry);
    }
    let engine = engine_over(&entries, EngineConfig::default());
    let rows = cells(&engine, "SELECT * FROM daily_metrics ORDER BY day, model").await;
    assert_eq!(rows.len(), groups.len());
    for row in &rows {
        let group = &groups[&(row[0].clone(), row[1].clone())];
        let sum = |key: &str| group.iter().filter_map(|entry| entry.number(key)).sum::<f64>().to_string();
        let users: BTreeSet<_> = group.iter().filter_map(|entry| entry.text("user.email")).collect();
        let durations: Vec<_> = group.iter().filter_map(|entry| entry.number("duration_ms")).collect();
        let errors = group.iter().filter(|entry| entry.event() == "gemini_cli.api_error").count();
        assert_eq!(row[2], group.len().to_string());
        assert_eq!(row[3], users.len().to_string());
        assert_eq!(row[4], sum("input_token_count"));
        assert_eq!(row[5], sum("output_token_count"));
        assert_eq!(row[6], sum("total_token_count"));
        assert!(near(&row[7], mean(&durations)), "{row:?}");
        assert_eq!(row[8], errors.to_string());
    }
    let total: usize = rows.iter().map(|row| row[2].parse::<usize>().unwrap()).sum();
    assert_eq!(total, entries.iter().filter(|entry| is_request(entry)).count());
}

#[tokio::test]
async fn token_usage_is_what_the_responses_say() {
    let entries = entries();
    let mut groups: BTreeMap<(String, String, String), [f64; 5]> = BTreeMap::new();
    const KEYS: [&str; 5] = [
        "input_token_count",
        "output_token_count",
        "cached_content_token_count",
        "thoughts_token_count",
        "total_token_count",
    ];
    for entry in entries.iter().filter(|entry| entry.event() == "gemini_cli.api_response") {
        let key = (day_text(entry.day()), or_null(entry.text("user.email")), or_null(entry.text("model")));
        let sums = groups.entry(key).or_default();
        KEYS.iter().zip(sums).for_each(|(key, sum)| *sum += entry.number(key).unwrap_or(0.0));
    }
    let engine = engine_over(&entries, EngineConfig::default());
    let rows = cells(&engine, "SELECT * FROM vw_token_usage").await;
    assert_eq!(rows.len(), groups.len());
    for row in rows {
        let sums = groups[&(row[0].clone(), row[1].clone(), row[2].clone())];
        assert_eq!(row[3..], sums.map(|sum| sum.to_string()), "{row:?}");
    }
}

#[tokio::test]
async fn tool_performance_is_what_the_tool_calls_say() {
    let entries = entries();
    let mut groups: BTreeMap<(String, String, String), Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.event() == "gemini_cli.tool_call") {
        let key =
            (day_text(entry.day()), or_null(entry.text("function_name")), or_null(entry.text("tool_type")));
        groups.entry(key).or_default().push(entry);
    }
    assert!(groups.len() > 5, "{} tools", groups.len());
    let engine = engine_over(&entries, EngineConfig::default());
    let rows = cells(&engine, "SELECT * FROM vw_tool_performance").await;
    assert_eq!(rows.len(), groups.len());
    for row in rows {
        let group = &groups[&(row[0].clone(), row[1].clone(), row[2].clone())];
        let went = |well: bool| group.iter().filter(|entry| entry.payload["success"] == json!(well)).count();
        let mut durations: Vec<_> = group.iter().filter_map(|entry| entry.number("duration_ms")).collect();
        durations.sort_by(f64::total_cmp);
        let p95 = durations.get((durations.len() * 95).div_ceil(100).saturating_sub(1)).copied();
        assert_eq!(row[3], group.len().to_string(), "{row:?}");
        assert_eq!(row[4], went(true).to_string(), "{row:?}");
        assert_eq!(row[5], went(false).to_string(), "{row:?}");
        assert!(near(&row[6], Some(went(true) as f64 / group.len() as f64)), "{row:?}");
        assert!(near(&row[7], mean(&durations)), "{row:?}");
        assert!(near(&row[8], p95), "{row:?} {p95:?}");
    }
}

/// Records as collectors and hands have been seen to write them.
fn odd_entries() -> Vec<Entry> {
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

#[tokio::test]
async fn pseudonyms_leave_no_email_anywhere() {
    let mut entries = entries();
    entries.extend(odd_entries());
    entries.push(Entry {
        insert_id: "hidden in text".to_owned(),
        payload: json!({"event.name": "x", "prompt": "mail\njane.doe@example.com\\dev@example.org é.x@example.com", "error": "to a@b.example.com"}),
        ..Entry::default()
    });
    let config = EngineConfig { pseudonyms: Pseudonyms::Sha256, ..EngineConfig::default() };
    let engine = engine_over(&entries, config);
    let found = lines(&engine, "SELECT * FROM gemini_analytics_view").await.unwrap();
    assert_eq!(found.len(), entries.len() + 1);
    assert!(
        found[0].contains("user_pseudonym STRING | installation_id_hash STRING")
            && !found[0].contains("user_email")
    );
    for line in &found {
        assert!(!line.contains("@example.") && !line.contains("@b.example"), "{line}");
    }
    // What is blanked is still JSON, and the hash is the e-mail's.
    let parsed = cells(&engine, "SELECT COUNTIF(jsonPayload_json IS NOT NULL), COUNTIF(payload IS NOT NULL) FROM gemini_analytics_view").await;
    assert_eq!(parsed[0][0], parsed[0][1]);
    let sql =
        "SELECT COUNT(*) FROM gemini_analytics_view WHERE user_pseudonym = TO_HEX(SHA256('dev@example.com'))";
    let dev = entries.iter().filter(|entry| entry.text("user.email") == Some("dev@example.com")).count();
    assert_eq!(cells(&engine, sql).await[0][0], dev.to_string());
    let usage = lines(&engine, "SELECT * FROM vw_token_usage").await.unwrap();
    assert!(usage[0].starts_with("day DATE | user_pseudonym STRING | model STRING"), "{}", usage[0]);
}

#[tokio::test]
async fn user_files_become_views() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        use std::io::Write;
        std::fs::File::create(folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    };
    write(
        "events.sql",
        "-- mine\nSELECT event_name, COUNT(*) AS n FROM `${project}.${dataset}.gemini_analytics_view` GROUP BY 1",
    );
    write(
        "top_event.sql",
        "CREATE OR REPLACE VIEW top_event AS SELECT * FROM events QUALIFY ROW_NUMBER() OVER (ORDER BY n DESC, event_name) = 1",
    );
    write("loop.sql", "SELECT * FROM telemetry.loop");
    write("broken.sql", "SELECT FROM WHERE");
    write("evil.sql", "DROP TABLE gemini_raw_logs");
    write("daily_metrics.sql", "SELECT 1 AS x");
    write("notes.txt", "not a view");
    let config = EngineConfig { user_views_dir: Some(folder.path().to_owned()), ..EngineConfig::default() };
    let engine = engine_over(&odd_entries(), config);
    let views = engine.views();
    let names: Vec<_> = views.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(
        names[..4],
        ["gemini_analytics_view", "daily_metrics", "vw_token_usage", "vw_tool_performance"]
    );
    assert_eq!(names[4..], ["broken", "daily_metrics.sql", "events", "evil", "loop", "top_event"]);
    assert!(
        views[0].origin == ViewOrigin::BuiltIn && views[0].sql.contains("`local.telemetry.gemini_raw_logs`")
    );
    let broken: Vec<_> =
        views.iter().filter(|view| view.error.is_some()).map(|view| view.name.as_str()).collect();
    assert_eq!(broken, ["broken", "daily_metrics.sql", "evil"]);
    assert_eq!(lines(&engine, "SELECT * FROM top_event").await.unwrap().len(), 2);
    assert!(lines(&engine, "SELECT * FROM loop").await.unwrap_err().message.contains("stands on itself"));
    assert!(lines(&engine, "SELECT * FROM broken").await.unwrap_err().message.contains("syntax error"));
}

#[tokio::test]
async fn hidden_columns_stay_behind_views() {
    let engine = engine_over(&odd_entries(), EngineConfig::default());
    let lines = lines(&engine, "SELECT a.* FROM gemini_raw_logs AS a JOIN (SELECT _offset, insertId FROM gemini_raw_logs) AS b ON a._offset = b._offset WHERE b.insertId = '3'").await.unwrap();
    assert_eq!(lines.len(), 2);
    assert!(!lines[0].contains("_offset") && lines[0].ends_with("jsonPayload_json STRING"), "{}", lines[0]);
}
