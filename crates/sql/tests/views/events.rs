//! The views of single events: resilience, routing, features, settings, conversations.

use millrace_sql::EngineConfig;

use crate::common::recorded::Entry;
use crate::expect::{
    Cell, check, cli_version, count, day, event, field, float, groups, integer, mean, model, rows, truth,
    user,
};
use crate::made::{all_entries, engine_over};

fn is(name: &'static str) -> impl Fn(&Entry) -> bool {
    move |entry| event(entry) == name
}

#[tokio::test]
async fn resilience_counts_falls_back_retries_and_compressions() {
    let entries = all_entries();
    let events = [
        "gemini_cli.flash_fallback",
        "gemini_cli.chat.content_retry",
        "gemini_cli.chat.content_retry_failure",
        "gemini_cli.network_retry_attempt",
    ];
    let compression = is("gemini_cli.chat_compression");
    let which = |entry: &Entry| events.contains(&event(entry).as_str()) || compression(entry);
    let expected = rows(groups(&entries, which, |entry| vec![day(entry), model(entry)]), |group| {
        let compressions: Vec<_> = group.iter().copied().filter(|entry| compression(entry)).collect();
        let ratio = |entry: &Entry| {
            let before = float(entry, &["tokens_before"]).filter(|before| *before > 0.0)?;
            Some(float(entry, &["tokens_after"])? / before)
        };
        let mut cells = events.map(|event| count(group, is(event))).to_vec();
        cells.push(mean(&compressions, |entry| float(entry, &["tokens_before"])));
        cells.push(mean(&compressions, |entry| float(entry, &["tokens_after"])));
        cells.push(mean(&compressions, ratio));
        cells
    });
    assert!(expected.len() > 2);
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, model STRING, flash_fallback_count INT64, content_retry_count INT64, \
                   content_retry_failure_count INT64, network_retry_count INT64, \
                   avg_tokens_before_compression FLOAT64, avg_tokens_after_compression FLOAT64, \
                   avg_compression_ratio FLOAT64";
    check(&engine, "vw_cli_performance_and_resilience", columns, &[0, 1], expected).await;
}

#[tokio::test]
async fn routing_is_by_who_decided_and_for_what() {
    let entries = all_entries();
    let key = |entry: &Entry| {
        vec![day(entry), field(entry, &["decision_source"]), field(entry, &["decision_model"])]
    };
    let expected = rows(groups(&entries, is("gemini_cli.model_routing"), key), |group| {
        let failures = group.iter().filter(|entry| truth(entry, &["failed"]) == Some(true)).count();
        vec![
            Cell::count(group.len()),
            Cell::count(failures),
            Cell::ratio(failures, group.len()),
            mean(group, |entry| float(entry, &["routing_latency_ms"])),
        ]
    });
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, decision_source STRING, decision_model STRING, decision_count INT64, \
                   failure_count INT64, failure_rate FLOAT64, avg_routing_latency_ms FLOAT64";
    check(&engine, "vw_model_routing_analysis", columns, &[0, 1, 2], expected).await;
}

#[tokio::test]
async fn malformed_answers_are_counted() {
    let entries = all_entries();
    let key = |entry: &Entry| vec![day(entry), model(entry), user(entry)];
    let malformed = groups(&entries, is("gemini_cli.malformed_json_response"), key);
    let expected = rows(malformed, |group| vec![Cell::count(group.len())]);
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, model STRING, user_email STRING, malformed_json_count INT64";
    check(&engine, "vw_malformed_json_responses", columns, &[0, 1, 2], expected).await;
}

#[tokio::test]
async fn feature_adoption_counts_commands_agents_and_extensions() {
    let entries = all_entries();
    let events = ["gemini_cli.slash_command", "gemini_cli.agent.start", "gemini_cli.extension_install"];
    let which = |entry: &Entry| events.contains(&event(entry).as_str());
    let key = |entry: &Entry| vec![day(entry), user(entry), cli_version(entry)];
    let expected =
        rows(groups(&entries, which, key), |group| events.map(|event| count(group, is(event))).to_vec());
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, user_email STRING, cli_version STRING, slash_command_usage_count INT64, \
                   agent_mode_usage_count INT64, extension_install_count INT64";
    check(&engine, "vw_feature_adoption", columns, &[0, 1, 2], expected).await;
}

#[tokio::test]
async fn user_configuration_is_the_latest() {
    let entries = all_entries();
    let expected = rows(groups(&entries, is("gemini_cli.config"), |entry| vec![user(entry)]), |group| {
        let time = |entry: &Entry| (entry.timestamp_micros, field(entry, &["event.timestamp"]));
        let latest = group.iter().max_by_key(|entry| (time(entry), entry.insert_id.clone())).unwrap();
        let text = |key: &str| Cell::Text(field(latest, &[key]));
        let truth = |key: &str| Cell::Text(truth(latest, &[key]).map(|truth| truth.to_string()));
        let number = |key: &str| Cell::Text(integer(latest, &[key]).map(|number| number.to_string()));
        vec![
            Cell::Text(cli_version(latest)),
            Cell::Text(model(latest)),
            text("approval_mode"),
            truth("sandbox_enabled"),
            truth("log_user_prompts_enabled"),
            text("output_format"),
            text("extensions"),
            number("extensions_count"),
            number("mcp_servers_count"),
            Cell::Time(latest.timestamp_micros),
        ]
    });
    assert_eq!(expected.len(), 3);
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "user_email STRING, cli_version STRING, model STRING, approval_mode STRING, sandbox_enabled BOOL, \
                   log_prompts_enabled BOOL, output_format STRING, extensions STRING, extension_count INT64, \
                   mcp_servers_count INT64, last_config_timestamp TIMESTAMP";
    check(&engine, "vw_user_configuration", columns, &[0], expected).await;
}

#[tokio::test]
async fn conversations_are_measured_in_turns() {
    let entries = all_entries();
    let mode = |entry: &Entry| field(entry, &["approvalMode"]);
    let key = |entry: &Entry| vec![day(entry), user(entry), cli_version(entry), mode(entry)];
    let turns = |entry: &Entry| integer(entry, &["turnCount"]);
    let expected = rows(groups(&entries, is("gemini_cli.conversation_finished"), key), |group| {
        let all = || group.iter().filter_map(|entry| turns(entry));
        let number = |number: Option<i64>| Cell::Text(number.map(|number| number.to_string()));
        vec![
            Cell::count(group.len()),
            mean(group, |entry| Some(turns(entry)? as f64)),
            number(all().min()),
            number(all().max()),
        ]
    });
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, user_email STRING, cli_version STRING, approval_mode STRING, conversation_count INT64, \
                   avg_turn_count FLOAT64, min_turn_count INT64, max_turn_count INT64";
    check(&engine, "vw_conversation_analysis", columns, &[0, 1, 2, 3], expected).await;
}
