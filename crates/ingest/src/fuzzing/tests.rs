//! The properties over the recordings and what is made of them.

use super::mutate::{seeds, try_all};

const CASES: u32 = 200;

#[test]
fn logs_in_protobuf_form() {
    let words = ["a", "service.name", "message", "gemini_cli"];
    try_all(seeds("testdata/gemini-cli/otlp_grpc", "grpc_logs"), &words, CASES, super::logs_protobuf);
}

#[test]
fn logs_in_json_form() {
    let words = [
        "\"key\":",
        "{\"stringValue\":\"\\ud83d\"}",
        "1e400",
        "-0",
        "null",
        "\"traceId\":\"ab\",",
        "\u{feff}",
    ];
    try_all(seeds("testdata/gemini-cli/otlp_http_json", "http_logs"), &words, CASES, super::logs_json);
}

#[test]
fn metrics_and_traces() {
    let mut all = Vec::new();
    for (kind, part) in [(0, "grpc_metrics"), (1, "grpc_traces")] {
        let requests = seeds("testdata/gemini-cli/otlp_grpc", part).into_iter();
        all.extend(requests.map(|request| [&[kind], request.as_slice()].concat()));
    }
    try_all(all, &["a"], CASES, super::signals);
}

#[test]
fn filters() {
    let words =
        [" AND ", " OR ", "NOT ", "(", ")", "jsonPayload.a", ":", "=~", "\"", "--", "\n", "severity>="];
    try_all(seeds("fuzz/seeds/ingest_filter", ""), &words, 4 * CASES, super::filter);
}
