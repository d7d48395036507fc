//! The views of requests to the model.

use std::collections::BTreeMap;

use millrace_sql::EngineConfig;

use crate::common::recorded::Entry;
use crate::expect::{
    Cell, Key, check, count, day, distinct, duration, event, field, groups, is_429, is_error, is_request,
    mean, model, percentile, rows, session, sum, tokens, user,
};
use crate::made::{PATTERNS, all_entries, engine_over};

#[tokio::test]
async fn daily_metrics_counts_requests_once() {
    let entries = all_entries();
    let twins =
        entries.iter().filter(|entry| event(entry) == "gen_ai.client.inference.operation.details").count();
    assert!(twins > 50, "there are {twins} twins: nothing would be proved");
    let expected = rows(groups(&entries, is_request, |entry| vec![day(entry), model(entry)]), |group| {
        vec![
            Cell::count(group.len()),
            distinct(group, user),
            sum(group, |entry| tokens(entry, "input")),
            sum(group, |entry| tokens(entry, "output")),
            sum(group, |entry| tokens(entry, "total")),
            mean(group, duration),
            count(group, is_error),
        ]
    });
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, model STRING, request_count INT64, distinct_users INT64, total_input_tokens INT64, \
                   total_output_tokens INT64, total_tokens INT64, average_duration_ms FLOAT64, error_count INT64";
    check(&engine, "daily_metrics", columns, &[0, 1], expected).await;
}

#[tokio::test]
async fn user_activity_is_of_all_records_and_of_requests() {
    let entries = all_entries();
    let requests = |group: &[&Entry]| -> Vec<Entry> {
        group.iter().filter(|entry| is_request(entry)).map(|entry| (*entry).clone()).collect()
    };
    let expected = rows(groups(&entries, |_| true, |entry| vec![user(entry)]), |group| {
        let requests = requests(group);
        let requests: Vec<_> = requests.iter().collect();
        let times = || group.iter().map(|entry| entry.timestamp_micros);
        vec![
            Cell::Time(times().min().unwrap()),
            Cell::Time(times().max().unwrap()),
            Cell::count(requests.len()),
            distinct(group, session),
            mean(&requests, duration),
            sum(&requests, |entry| tokens(entry, "total")),
        ]
    });
    assert!(expected.len() > 3, "{} users", expected.len());
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "user_email STRING, first_seen TIMESTAMP, last_seen TIMESTAMP, total_requests INT64, \
                   total_sessions INT64, average_request_duration_ms FLOAT64, total_tokens_used INT64";
    check(&engine, "vw_user_activity", columns, &[0], expected).await;
}

#[tokio::test]
async fn token_usage_is_what_the_responses_say() {
    let entries = all_entries();
    let responses = |entry: &Entry| event(entry) == "gemini_cli.api_response";
    let key = |entry: &Entry| vec![day(entry), user(entry), model(entry)];
    let expected = rows(groups(&entries, responses, key), |group| {
        ["input", "output", "cached_content", "thoughts", "total"]
            .map(|kind| sum(group, |entry| tokens(entry, kind)))
            .to_vec()
    });
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, user_email STRING, model STRING, total_input_tokens INT64, total_output_tokens INT64, \
                   total_cached_tokens INT64, total_thoughts_tokens INT64, grand_total_tokens INT64";
    check(&engine, "vw_token_usage", columns, &[0, 1, 2], expected).await;
}

#[tokio::test]
async fn quota_tracking_knows_the_minute_the_hour_and_the_day() {
    let entries = all_entries();
    let minute_of_day = |entry: &Entry| entry.timestamp_micros.div_euclid(60_000_000) % 1440;
    let text = |number: i64| Some(number.to_string());
    let minute = |entry: &Entry| {
        let minute = minute_of_day(entry);
        vec![day(entry), text(minute / 60), text(minute % 60), user(entry), model(entry)]
    };
    let hour = |entry: &Entry| vec![day(entry), text(minute_of_day(entry) / 60), user(entry), model(entry)];
    let by_day = |entry: &Entry| vec![day(entry), user(entry), model(entry)];
    let (hours, days) = (groups(&entries, is_request, hour), groups(&entries, is_request, by_day));
    let expected = rows(groups(&entries, is_request, minute), |group| {
        let (hour, day) = (&hours[&hour(group[0])], &days[&by_day(group[0])]);
        vec![
            Cell::count(group.len()),
            sum(group, |entry| tokens(entry, "input")),
            sum(group, |entry| tokens(entry, "output")),
            sum(group, |entry| tokens(entry, "total")),
            Cell::count(day.len()),
            count(group, is_429),
            count(hour, is_429),
            count(day, is_429),
            count(group, is_error),
        ]
    });
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, hour INT64, minute INT64, user_email STRING, model STRING, requests_per_minute INT64, \
                   input_tokens_per_minute INT64, output_tokens_per_minute INT64, total_tokens_per_minute INT64, \
                   requests_per_day INT64, error_429_count_per_minute INT64, error_429_count_per_hour INT64, \
                   error_429_count_per_day INT64, total_errors_per_minute INT64";
    check(&engine, "vw_quota_tracking", columns, &[0, 1, 2, 3, 4], expected).await;
}

#[tokio::test]
async fn errors_429_are_grouped_by_what_is_the_same_in_their_messages() {
    let entries = all_entries();
    let pattern = |entry: &Entry| {
        let message = field(entry, &["error.message", "error"]).unwrap();
        let (_, pattern) = PATTERNS.iter().find(|(known, _)| *known == message).unwrap();
        Some((*pattern).to_owned())
    };
    let expected = rows(groups(&entries, is_429, |entry| vec![model(entry), pattern(entry)]), |group| {
        let times = || group.iter().map(|entry| entry.timestamp_micros);
        let mut minutes: BTreeMap<i64, usize> = BTreeMap::new();
        times().for_each(|time| *minutes.entry(time.div_euclid(60_000_000)).or_default() += 1);
        vec![
            Cell::count(group.len()),
            distinct(group, user),
            Cell::Time(times().min().unwrap()),
            Cell::Time(times().max().unwrap()),
            Cell::count(*minutes.values().max().unwrap()),
        ]
    });
    assert_eq!(expected.len(), 3);
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "model STRING, error_message_pattern STRING, total_429_errors INT64, distinct_users INT64, \
                   oldest_error TIMESTAMP, newest_error TIMESTAMP, peak_per_minute INT64";
    check(&engine, "vw_429_error_summary", columns, &[0, 1], expected).await;
}

#[tokio::test]
async fn latency_percentiles_are_of_all_requests_that_say_how_long() {
    let entries = all_entries();
    let expected: BTreeMap<Key, Vec<Cell>> =
        rows(groups(&entries, is_request, |entry| vec![day(entry), model(entry)]), |group| {
            let mut cells = vec![Cell::count(group.len())];
            cells.extend([50, 90, 95, 99, 100].map(|percent| percentile(group, percent)));
            cells
        });
    let engine = engine_over(&entries, EngineConfig::default());
    let columns = "day DATE, model STRING, request_count INT64, p50_duration_ms FLOAT64, p90_duration_ms FLOAT64, \
                   p95_duration_ms FLOAT64, p99_duration_ms FLOAT64, max_duration_ms FLOAT64";
    check(&engine, "vw_latency_percentiles", columns, &[0, 1], expected).await;
}
