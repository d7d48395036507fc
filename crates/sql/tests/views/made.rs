//! Entries made by hand for what the recording has none of, with the attributes that the CLI writes
//! (`packages/core/src/telemetry/types.ts` of google-gemini/gemini-cli); and other spellings of entries.

use serde_json::{Map, Value, json};

use crate::common::recorded::{Entry, entries, table};
use crate::common::{MemoryCatalog, engine};
use millrace_sql::{Engine, EngineConfig};

/// The recording and what is made by hand.
pub fn all_entries() -> Vec<Entry> {
    let mut all = entries();
    all.extend(made_entries());
    all
}

/// An engine over these rows.
pub fn engine_over(entries: &[Entry], config: EngineConfig) -> Engine {
    engine(config, MemoryCatalog::default().with("telemetry", "gemini_raw_logs", table(entries)))
}

/// One line of the tables below: time on 2026-11-22 or later, user, session, event, attributes.
type Line = (&'static str, Option<&'static str>, &'static str, &'static str, Value);

const ANN: Option<&str> = Some("ann@example.com");
const BOB: Option<&str> = Some("bob@example.org");

fn made_entries() -> Vec<Entry> {
    let lines = [requests(), tool_calls(), resilience(), features(), settings()].concat();
    let mut made: Vec<_> = lines.into_iter().enumerate().map(|(index, line)| entry(index, line)).collect();
    for (index, entry) in made.iter_mut().enumerate().filter(|(index, _)| index % 5 == 1) {
        let version = if index % 2 == 0 { "0.60.0" } else { "0.61.0" };
        entry.labels = json!({"cli_version": version});
        entry.resource["labels"]["team.name"] = json!("search");
    }
    if let [.., before_last, last] = made.as_mut_slice() {
        before_last.labels =
            json!({"cli_version": "0.61.0", "user_email": "label@example.com", "team.id": 7});
        last.labels = json!({"user_email": "label@example.com", "team": "payments"});
    }
    made
}

fn entry(index: usize, (time, user, session, event, attributes): Line) -> Entry {
    let mut payload = json!({
        "event.name": event,
        "session.id": session,
        "event.timestamp": time,
        "installation.id": format!("installation of {session}"),
    });
    if let Some(user) = user {
        payload["user.email"] = json!(user);
    }
    for (key, value) in attributes.as_object().unwrap() {
        payload[key] = value.clone();
    }
    Entry {
        timestamp_micros: chrono::DateTime::parse_from_rfc3339(time).unwrap().timestamp_micros(),
        insert_id: format!("made-{index:03}"),
        resource: json!({"type": "global", "labels": {"project_id": "p"}}),
        payload,
        ..Entry::default()
    }
}

fn response(model: &str, tokens: [i64; 5], duration_ms: i64) -> Value {
    let [input, cached, output, thoughts, tool] = tokens;
    json!({
        "model": model, "status_code": 200, "duration_ms": duration_ms, "input_token_count": input,
        "cached_content_token_count": cached, "output_token_count": output, "thoughts_token_count": thoughts,
        "tool_token_count": tool, "total_token_count": input + output + thoughts + tool,
    })
}

fn failure(model: &str, status: i64, message: &str) -> Value {
    json!({
        "model": model, "status_code": status, "http.status_code": status, "duration_ms": 40, "duration": 40,
        "error.type": "ApiError", "error": message, "error.message": message,
    })
}

/// What vw_429_error_summary makes of the messages here and in the recording.
pub const PATTERNS: [(&str, &str); 5] = [
    (
        "Quota exceeded for project_number:123456789, limit 250.5 a day. Retry in 12.5s. See https://ai.google.dev/x?y=1",
        "Quota exceeded for project_number:<number>, limit <number> a day. Retry in <number>s. See <url>",
    ),
    (
        "Quota exceeded for project_number:77, limit 1,000 a day. Retry in 1s. See http://example.com/other/2",
        "Quota exceeded for project_number:<number>, limit <number> a day. Retry in <number>s. See <url>",
    ),
    (
        "Request 3f2504e0-4f89-11d3-9a0c-0305e82c3301 of projects/my-project at 2026-11-22T23:59:59.5Z by eve@example.com",
        "Request <id> of <id> at <time> by <email>",
    ),
    (
        "Request 00000000-4F89-11D3-9A0C-0305E82C3301 of projects/other at 2026-11-23 00:00:00 by x.y@example.co.uk",
        "Request <id> of <id> at <time> by <email>",
    ),
    (
        r#"{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}}"#,
        r#"{"error":{"code":<number>,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}}"#,
    ),
];

fn requests() -> Vec<Line> {
    let (r, e) = ("gemini_cli.api_response", "gemini_cli.api_error");
    let twin = json!({"gen_ai.request.model": "gemini-2.5-pro", "gen_ai.usage.input_tokens": 99, "input_token_count": 99,
        "total_token_count": 99, "duration_ms": 9, "status_code": 429});
    vec![
        (
            "2026-11-22T23:58:01Z",
            ANN,
            "s1",
            r,
            response("gemini-2.5-pro", [250_000, 100_000, 500, 100, 20], 900),
        ),
        ("2026-11-22T23:58:01Z", ANN, "s1", "gen_ai.client.inference.operation.details", twin),
        ("2026-11-22T23:58:30Z", ANN, "s1", r, response("gemini-2.5-pro", [200_000, 0, 10, 0, 0], 100)),
        ("2026-11-22T23:58:31Z", ANN, "s1", r, response("gemini-2.5-pro", [200_001, 0, 10, 0, 0], 110)),
        ("2026-11-22T23:59:10Z", ANN, "s1", e, failure("gemini-2.5-pro", 429, PATTERNS[0].0)),
        ("2026-11-22T23:59:11Z", ANN, "s1", e, failure("gemini-2.5-pro", 429, PATTERNS[1].0)),
        ("2026-11-22T23:59:59.999Z", BOB, "s2", e, failure("gemini-2.5-pro", 429, PATTERNS[0].0)),
        ("2026-11-23T00:00:00Z", BOB, "s2", e, failure("gemini-2.5-pro", 429, PATTERNS[1].0)),
        ("2026-11-23T00:00:01Z", BOB, "s2", e, failure("gemini-2.5-pro", 429, PATTERNS[2].0)),
        ("2026-11-23T00:07:01Z", None, "s3", e, failure("gemini-2.5-pro", 429, PATTERNS[3].0)),
        ("2026-11-23T00:08:01Z", BOB, "s2", r, response("gemini-2.5-pro", [10, 0, 10, 0, 0], 120)),
        ("2026-11-23T00:08:59Z", BOB, "s2", r, response("gemini-2.5-pro", [20, 5, 10, 3, 0], 130)),
        ("2026-11-23T00:08:59Z", BOB, "s2", r, response("not-in-the-price-list", [20, 5, 10, 3, 0], 140)),
        // Another hour of the same day.
        ("2026-11-22T10:00:00Z", ANN, "s1", e, failure("gemini-2.5-pro", 429, PATTERNS[0].0)),
        // Before and after its price comes into force; one without any tokens.
        ("2026-05-18T23:59:59Z", BOB, "s4", r, response("gemini-3.5-flash", [1_000_000, 0, 0, 0, 0], 10)),
        ("2026-05-19T00:00:00Z", BOB, "s4", r, response("gemini-3.5-flash", [1_000_000, 0, 0, 0, 0], 20)),
        ("2026-05-19T00:00:00Z", BOB, "s4", r, json!({"model": "gemini-2.5-flash"})),
        // No model, no user, numbers in strings, no status.
        (
            "2026-11-23T00:09:00Z",
            None,
            "s3",
            r,
            json!({"duration_ms": "12.5", "input_token_count": "7", "total_token_count": "8"}),
        ),
        (
            "2026-11-23T00:09:01Z",
            None,
            "s3",
            e,
            json!({"model": "gemini-2.5-pro", "error": "only this", "duration": 3}),
        ),
        (
            "2026-11-23T00:09:02Z",
            None,
            "s3",
            e,
            json!({"model": "gemini-2.5-pro", "status_code": "503", "error_type": "Overloaded"}),
        ),
    ]
}

fn tool_calls() -> Vec<Line> {
    let call = |decision: &str, success: bool, metadata: &str| {
        json!({"function_name": "replace", "tool_type": "native", "duration_ms": 5, "decision": decision,
               "success": success, "metadata": metadata})
    };
    let lines = |model_added: u32, user_removed: u32| {
        format!(
            "{{\n  \"model_added_lines\": {model_added},\n  \"model_removed_lines\": 1,\n  \"user_added_lines\": 2,\n  \"user_removed_lines\": {user_removed}\n}}"
        )
    };
    let event = "gemini_cli.tool_call";
    let rejected = json!({"function_name": "replace", "tool_type": "native", "duration_ms": 5, "decision": "reject",
        "success": false, "error": "cancelled by the user", "error.message": "cancelled by the user"});
    vec![
        ("2026-11-22T23:59:01Z", ANN, "s1", event, call("accept", true, &lines(10, 0))),
        ("2026-11-22T23:59:02Z", ANN, "s1", event, call("modify", true, &lines(5, 4))),
        ("2026-11-22T23:59:03Z", ANN, "s1", event, call("auto_accept", true, r#"{"model_added_lines":"3"}"#)),
        ("2026-11-22T23:59:04Z", ANN, "s1", event, call("accept", false, &lines(1000, 1000))),
        ("2026-11-22T23:59:05Z", ANN, "s1", event, call("auto_accept", true, "not JSON")),
        ("2026-11-22T23:59:06Z", ANN, "s1", event, rejected),
        ("2026-11-23T00:00:07Z", BOB, "s2", event, call("auto_accept", true, r#"{"exitCode": 3}"#)),
        (
            "2026-11-23T00:00:08Z",
            BOB,
            "s2",
            event,
            json!({"function_name": "mcp_x", "tool_type": "mcp", "mcp_server_name": "m",
            "duration_ms": 2.5, "error_type": "mcp_tool_error", "error.type": "mcp_tool_error", "success": false}),
        ),
        // Neither succeeded nor failed.
        ("2026-11-23T00:00:09Z", BOB, "s2", event, json!({"function_name": "mcp_x", "tool_type": "mcp"})),
    ]
}

fn resilience() -> Vec<Line> {
    vec![
        (
            "2026-11-22T23:59:20Z",
            ANN,
            "s1",
            "gemini_cli.flash_fallback",
            json!({"auth_type": "oauth-personal"}),
        ),
        (
            "2026-11-22T23:59:21Z",
            ANN,
            "s1",
            "gemini_cli.flash_fallback",
            json!({"auth_type": "oauth-personal"}),
        ),
        (
            "2026-11-22T23:59:22Z",
            ANN,
            "s1",
            "gemini_cli.chat.content_retry_failure",
            json!({"total_attempts": 3, "final_error_type": "NO_FINISH_REASON", "model": "gemini-2.5-flash"}),
        ),
        (
            "2026-11-22T23:59:23Z",
            BOB,
            "s2",
            "gemini_cli.network_retry_attempt",
            json!({"attempt": 1, "max_attempts": 4, "error_type": "ECONNRESET", "delay_ms": 1000, "model": "gemini-2.5-pro"}),
        ),
        (
            "2026-11-22T23:59:24Z",
            BOB,
            "s2",
            "gemini_cli.chat_compression",
            json!({"tokens_before": 1000, "tokens_after": 250}),
        ),
        (
            "2026-11-22T23:59:25Z",
            BOB,
            "s2",
            "gemini_cli.chat_compression",
            json!({"tokens_before": 2000, "tokens_after": 1000}),
        ),
        (
            "2026-11-22T23:59:26Z",
            BOB,
            "s2",
            "gemini_cli.chat_compression",
            json!({"tokens_before": 0, "tokens_after": 0}),
        ),
        // Has tokens before and after, and is no compression.
        (
            "2026-11-22T23:59:27Z",
            BOB,
            "s2",
            "gemini_cli.tool_output_masking",
            json!({"tokens_before": 9, "tokens_after": 1}),
        ),
        (
            "2026-11-22T23:59:28Z",
            BOB,
            "s2",
            "gemini_cli.model_routing",
            json!({"decision_model": "gemini-2.5-flash",
            "decision_source": "agent-router/override", "routing_latency_ms": 12.5, "failed": true, "error_message": "x"}),
        ),
        (
            "2026-11-22T23:59:29Z",
            BOB,
            "s2",
            "gemini_cli.model_routing",
            json!({"decision_model": "gemini-2.5-pro",
            "decision_source": "agent-router/Classifier", "routing_latency_ms": 340, "failed": false}),
        ),
        (
            "2026-11-22T23:59:30Z",
            ANN,
            "s1",
            "gemini_cli.malformed_json_response",
            json!({"model": "gemini-2.5-flash"}),
        ),
    ]
}

fn features() -> Vec<Line> {
    let install = |status: &str| json!({"extension_name": "x", "extension_version": "1", "extension_source": "s", "status": status});
    let finished = |mode: &str, turns: i64| json!({"approvalMode": mode, "turnCount": turns});
    vec![
        (
            "2026-11-22T23:59:40Z",
            ANN,
            "s1",
            "gemini_cli.slash_command",
            json!({"command": "chat", "subcommand": "list", "status": "success"}),
        ),
        ("2026-11-22T23:59:41Z", ANN, "s1", "gemini_cli.slash_command", json!({"command": "model"})),
        (
            "2026-11-22T23:59:41Z",
            ANN,
            "s1",
            "gemini_cli.slash_command.model",
            json!({"model_name": "gemini-2.5-pro"}),
        ),
        ("2026-11-23T00:01:41Z", ANN, "s1", "gemini_cli.slash_command", json!({"command": "quit"})),
        ("2026-11-22T23:59:42Z", ANN, "s1", "gemini_cli.extension_install", install("success")),
        ("2026-11-22T23:59:43Z", BOB, "s2", "gemini_cli.extension_install", install("error")),
        ("2026-11-22T23:59:44Z", BOB, "s2", "gemini_cli.extension_uninstall", install("success")),
        (
            "2026-11-22T23:59:45Z",
            BOB,
            "s2",
            "gemini_cli.agent.start",
            json!({"agent_id": "a", "agent_name": "n"}),
        ),
        ("2026-11-22T23:59:50Z", ANN, "s1", "gemini_cli.conversation_finished", finished("yolo", 4)),
        ("2026-11-22T23:59:51Z", ANN, "s1", "gemini_cli.conversation_finished", finished("yolo", 9)),
        ("2026-11-22T23:59:52Z", ANN, "s1", "gemini_cli.conversation_finished", finished("yolo", 1)),
        ("2026-11-22T23:59:53Z", BOB, "s2", "gemini_cli.conversation_finished", finished("default", 3)),
        (
            "2026-11-22T23:59:54Z",
            BOB,
            "s2",
            "gemini_cli.conversation_finished",
            json!({"approvalMode": "default"}),
        ),
    ]
}

fn settings() -> Vec<Line> {
    let config = |mode: &str, extensions: &str, count: i64| {
        json!({"model": "gemini-2.5-pro", "approval_mode": mode, "sandbox_enabled": count > 1, "output_format": "json",
            "log_user_prompts_enabled": false, "extensions": extensions, "extensions_count": count, "mcp_servers_count": 2})
    };
    let event = "gemini_cli.config";
    vec![
        ("2026-11-22T23:57:00Z", ANN, "s1", event, config("default", "", 0)),
        ("2026-11-22T23:58:00Z", ANN, "s1", event, config("plan", "a,b", 2)),
        ("2026-11-22T23:57:59Z", ANN, "s1", event, config("yolo", "c", 1)),
        ("2026-11-22T23:57:00Z", BOB, "s2", event, config("default", "d", 1)),
        (
            "2026-11-23T00:20:00Z",
            None,
            "s5",
            "gemini_cli.user_prompt",
            json!({"prompt_length": 3, "department": "sales"}),
        ),
        // Their labels name a user, which counts only where the payload names none.
        ("2026-11-23T00:21:00Z", None, "s5", "gemini_cli.user_prompt", json!({"prompt_length": 3})),
        ("2026-11-23T00:22:00Z", BOB, "s2", "gemini_cli.user_prompt", json!({"prompt_length": 3})),
    ]
}

/// An entry with dots in keys turned into underscores, as sinks to BigQuery do.
pub fn underscored(entry: &Entry) -> Entry {
    let payload: Map<_, _> = (entry.payload.as_object().unwrap().iter())
        .map(|(key, value)| (key.replace('.', "_"), value.clone()))
        .collect();
    Entry { payload: Value::Object(payload), ..entry.clone() }
}

/// An entry with all its fields under `attributes`.
pub fn nested(entry: &Entry) -> Entry {
    Entry { payload: json!({"attributes": entry.payload}), ..entry.clone() }
}
