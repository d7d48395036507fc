//! The properties over seeds and what is made of them.

use super::mutate::{seeds, try_all};

const CASES: u32 = 400;

#[test]
fn publish_requests() {
    let words = ["\"data\":\"", "\"attributes\":{", "goog", "{}", "null", "\"publishTime\":\"-1s\","];
    try_all(seeds("fuzz/seeds/pubsub_publish", ""), &words, CASES, super::publish);
}

#[test]
fn filters() {
    let words = ["attributes", ":", ".", "a", "\"b\"", " = ", " AND ", " OR ", "NOT ", "(", ")", "\\u0041"];
    try_all(seeds("fuzz/seeds/pubsub_filter", ""), &words, 4 * CASES, super::filter);
}

#[test]
fn ack_ids() {
    try_all(seeds("fuzz/seeds/pubsub_ack_id", ""), &["A", "_", "="], CASES, super::ack_id);
}

#[test]
fn avro_schemas() {
    let words = ["\"string\"", "\"Order\"", "{\"type\":", "[", "]", "}", ",", "\"map\"", "{\"string\":"];
    try_all(seeds("fuzz/seeds/pubsub_schema_avro", ""), &words, CASES, super::avro);
}

#[test]
fn protobuf_schemas() {
    let words =
        ["message A {", "}", "/*}*/", "\"", "'", "//", "map<", "= 1;", "repeated ", "option (b).c.c.c"];
    try_all(seeds("fuzz/seeds/pubsub_schema_protobuf", ""), &words, CASES, super::protobuf);
}
