//! The views of sessions and teams.

use std::collections::BTreeMap;

use millrace_sql::EngineConfig;
use serde_json::Value;

use crate::common::recorded::Entry;
use crate::expect::{
    Cell, Key, check, count, day, distinct, duration, event, field, groups, is_error, is_request, model,
    rows, session, sum, tokens, truth, user,
};
use crate::made::{all_entries, engine_over};

fn outcome(entry: &Entry) -> Option<String> {
    let says = |key: &str| field(entry, &[key]).is_some();
    let outcome = match (event(entry).as_str(), truth(entry, &["success"])) {
        ("gemini_cli.api_response", _) => "success",
        ("gemini_cli.api_error", _) => "error",
        _ if field(entry, &["decision"]).as_deref() == Some("reject") => "rejected",
        (_, Some(true)) => "success",
        (_, Some(false)) => "error",
        _ if says("error") || says("error.message") => "error",
        _ => return None,
    };
    Some(outcome.to_owned())
}

#[tokio::test]
async fn a_timeline_has_a_sessions_events_in_their_order() {
    let entries = all_entries();
    let which = |entry: &Entry| {
        let event = event(entry);
        session(entry).is_some() && !event.is_empty() && !event.starts_with("gen_ai.")
    };
    let mut expected: BTreeMap<Key, Vec<Cell>> = BTreeMap::new();
    for (key, mut events) in groups(&entries, which, |entry| vec![session(entry)]) {
        events.sort_by_key(|entry| {
            (entry.timestamp_micros, field(entry, &["event.timestamp"]), entry.insert_id.clone())
        });
        let start = events[0].timestamp_micros;
        for (index, entry) in events.iter().enumerate() {
            let seconds = |since: i64| (entry.timestamp_micros - since) as f64 / 1e6;
            let before = index.checked_sub(1).map(|before| seconds(events[before].timestamp_micros));
            let cells = vec![
                Cell::Text(user(entry)),
                Cell::Time(entry.timestamp_micros),
                Cell::Near(Some(seconds(start))),
                Cell::Near(before),
                Cell::Text(Some(event(entry))),
                Cell::Text(model(entry)),
                Cell::Text(field(entry, &["function_name"])),
                Cell::Text(outcome(entry)),
                Cell::Near(duration(entry)),
            ];
            expected.insert(vec![key[0].clone(), Some((index + 1).to_string())], cells);
        }
    }
    assert!(expected.len() > 300, "{} events", expected.len());
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "session_id STRING, user_email STRING, sequence_number INT64, timestamp TIMESTAMP, \
                   seconds_since_session_start FLOAT64, seconds_since_previous_event FLOAT64, event_name STRING, \
                   model STRING, function_name STRING, outcome STRING, duration_ms FLOAT64";
    check(&engine, "vw_session_timeline", columns, &[0, 2], expected).await;
}

fn team(entry: &Entry) -> Option<String> {
    const KEYS: [&str; 5] = ["team.name", "team", "team.id", "department", "cost_center"];
    let place = |payload: &Value| field(&Entry { payload: payload.clone(), ..Entry::default() }, &KEYS);
    field(entry, &KEYS).or_else(|| place(&entry.labels)).or_else(|| place(&entry.resource["labels"]))
}

#[tokio::test]
async fn a_team_is_what_the_resource_attributes_say() {
    let entries = all_entries();
    let expected = rows(groups(&entries, |_| true, |entry| vec![day(entry), team(entry)]), |group| {
        let requests: Vec<_> = group.iter().copied().filter(|entry| is_request(entry)).collect();
        vec![
            distinct(group, user),
            distinct(group, session),
            Cell::count(requests.len()),
            sum(&requests, |entry| tokens(entry, "total")),
            count(group, is_error),
        ]
    });
    let teams: Vec<_> = expected.keys().filter_map(|key| key[1].as_deref()).collect();
    for known in ["checkout", "search", "sales", "payments", "7"] {
        assert!(teams.contains(&known), "{known} in {teams:?}");
    }
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, team STRING, distinct_users INT64, session_count INT64, request_count INT64, \
                   total_tokens INT64, error_count INT64";
    check(&engine, "vw_team_rollup", columns, &[0, 1], expected).await;
}
