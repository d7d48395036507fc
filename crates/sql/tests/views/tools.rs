//! The views of tool calls and errors.

use millrace_sql::EngineConfig;
use serde_json::Value;

use crate::common::recorded::Entry;
use crate::expect::{
    Cell, check, cli_version, count, day, distinct, duration, event, field, groups, is_error, mean, model,
    percentile, rows, sum, truth, user,
};
use crate::made::{all_entries, engine_over};

fn is_call(entry: &Entry) -> bool {
    event(entry) == "gemini_cli.tool_call"
}

fn went(well: bool) -> impl Fn(&Entry) -> bool {
    move |entry| truth(entry, &["success"]) == Some(well)
}

#[tokio::test]
async fn tool_performance_is_what_the_tool_calls_say() {
    let entries = all_entries();
    let key =
        |entry: &Entry| vec![day(entry), field(entry, &["function_name"]), field(entry, &["tool_type"])];
    let expected = rows(groups(&entries, is_call, key), |group| {
        let successes = group.iter().filter(|entry| went(true)(entry)).count();
        vec![
            Cell::count(group.len()),
            Cell::count(successes),
            count(group, went(false)),
            Cell::ratio(successes, group.len()),
            mean(group, duration),
            percentile(group, 95),
        ]
    });
    assert!(expected.len() > 5, "{} tools", expected.len());
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, function_name STRING, tool_type STRING, total_calls INT64, successful_calls INT64, \
                   failed_calls INT64, success_rate FLOAT64, average_execution_duration_ms FLOAT64, \
                   p95_execution_duration_ms FLOAT64";
    check(&engine, "vw_tool_performance", columns, &[0, 1, 2], expected).await;
}

#[tokio::test]
async fn error_analysis_is_of_failed_requests_and_failed_tool_calls() {
    let entries = all_entries();
    let failed = |entry: &Entry| is_error(entry) || (is_call(entry) && went(false)(entry));
    let key = |entry: &Entry| {
        vec![
            day(entry),
            cli_version(entry),
            model(entry),
            field(entry, &["error.type", "error_type"]),
            field(entry, &["error.message"]).or_else(|| field(entry, &["error"])),
            Some(event(entry)),
        ]
    };
    let expected =
        rows(groups(&entries, failed, key), |group| vec![Cell::count(group.len()), distinct(group, user)]);
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, cli_version STRING, model STRING, error_code STRING, error_message STRING, \
                   error_count INT64, distinct_users_affected INT64, event_name STRING";
    check(&engine, "vw_error_analysis", columns, &[0, 1, 2, 3, 4, 7], expected).await;
}

/// A number in the JSON that is the call's metadata.
fn lines(entry: &Entry, key: &str) -> Option<i64> {
    let metadata: Value = serde_json::from_str(&field(entry, &["metadata"])?).ok()?;
    let value = metadata.get(key)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).filter(|_| went(true)(entry))
}

#[tokio::test]
async fn code_changes_are_lines_that_went_in_and_decisions_that_were_made() {
    let entries = all_entries();
    let expected = rows(groups(&entries, is_call, |entry| vec![day(entry), user(entry)]), |group| {
        let decided = |decision: &str| {
            group.iter().filter(|entry| field(entry, &["decision"]).as_deref() == Some(decision)).count()
        };
        let [accepted, auto, modified, rejected] = ["accept", "auto_accept", "modify", "reject"].map(decided);
        let good = accepted + auto + modified;
        let mut cells =
            ["model_added_lines", "model_removed_lines", "user_added_lines", "user_removed_lines"]
                .map(|key| sum(group, |entry| lines(entry, key)))
                .to_vec();
        cells.extend([group.len(), accepted, auto, modified, rejected].map(Cell::count));
        cells.push(Cell::ratio(good, good + rejected));
        cells
    });
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, user_email STRING, model_lines_added INT64, model_lines_removed INT64, \
                   user_lines_added INT64, user_lines_removed INT64, tool_calls INT64, accepted_calls INT64, \
                   auto_accepted_calls INT64, modified_calls INT64, rejected_calls INT64, acceptance_rate FLOAT64";
    check(&engine, "vw_code_changes", columns, &[0, 1], expected).await;
}
