//! What every method refuses, over gRPC and REST: names that nothing has, names that break the rules, values
//! that make no sense.

use std::collections::BTreeSet;

use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tonic::Code;
use tower::ServiceExt as _;

use super::calls::Caller;
use super::{SUBSCRIPTION, Server, TOPIC};
use crate::proto::v1;

/// Methods with a request whose name is `?`, and the kind of name: in capitals where it is to be made.
const NAMED: [(&str, &str, &str); 42] = [
    ("CreateTopic", "TOPICS", r#"{"name": "?"}"#),
    ("UpdateTopic", "topics", r#"{"topic": {"name": "?"}, "updateMask": "labels"}"#),
    ("Publish", "topics", r#"{"topic": "?", "messages": [{"data": "eA=="}]}"#),
    ("GetTopic", "topics", r#"{"topic": "?"}"#),
    ("ListTopics", "PROJECT", r#"{"project": "?"}"#),
    ("ListTopicSubscriptions", "topics", r#"{"topic": "?"}"#),
    ("ListTopicSnapshots", "topics", r#"{"topic": "?"}"#),
    ("DeleteTopic", "topics", r#"{"topic": "?"}"#),
    ("DetachSubscription", "subscriptions", r#"{"subscription": "?"}"#),
    ("CreateSubscription", "SUBSCRIPTIONS", r#"{"name": "?", "topic": "projects/p/topics/top"}"#),
    ("CreateSubscription", "topics", r#"{"name": "projects/p/subscriptions/new", "topic": "?"}"#),
    ("GetSubscription", "subscriptions", r#"{"subscription": "?"}"#),
    ("UpdateSubscription", "subscriptions", r#"{"subscription": {"name": "?"}, "updateMask": "labels"}"#),
    ("ListSubscriptions", "PROJECT", r#"{"project": "?"}"#),
    ("DeleteSubscription", "subscriptions", r#"{"subscription": "?"}"#),
    (
        "ModifyAckDeadline",
        "subscriptions",
        r#"{"subscription": "?", "ackIds": ["x"], "ackDeadlineSeconds": 10}"#,
    ),
    ("Acknowledge", "subscriptions", r#"{"subscription": "?", "ackIds": ["x"]}"#),
    ("Pull", "subscriptions", r#"{"subscription": "?", "maxMessages": 1}"#),
    ("ModifyPushConfig", "subscriptions", r#"{"subscription": "?", "pushConfig": {}}"#),
    ("Seek", "subscriptions", r#"{"subscription": "?", "time": "2026-01-01T00:00:00Z"}"#),
    ("Seek", "snapshots", r#"{"subscription": "projects/p/subscriptions/sub", "snapshot": "?"}"#),
    ("GetSnapshot", "snapshots", r#"{"snapshot": "?"}"#),
    ("ListSnapshots", "PROJECT", r#"{"project": "?"}"#),
    ("CreateSnapshot", "SNAPSHOTS", r#"{"name": "?", "subscription": "projects/p/subscriptions/sub"}"#),
    ("CreateSnapshot", "subscriptions", r#"{"name": "projects/p/snapshots/new", "subscription": "?"}"#),
    ("UpdateSnapshot", "snapshots", r#"{"snapshot": {"name": "?"}, "updateMask": "labels"}"#),
    ("DeleteSnapshot", "snapshots", r#"{"snapshot": "?"}"#),
    ("CreateSchema", "PROJECT", r#"{"parent": "?", "schemaId": "new", "schema": SCHEMA}"#),
    ("GetSchema", "schemas", r#"{"name": "?"}"#),
    ("ListSchemas", "PROJECT", r#"{"parent": "?"}"#),
    ("ListSchemaRevisions", "schemas", r#"{"name": "?"}"#),
    ("CommitSchema", "schemas", r#"{"name": "?", "schema": SCHEMA}"#),
    ("RollbackSchema", "schemas", r#"{"name": "?", "revisionId": "00000000"}"#),
    ("DeleteSchemaRevision", "schemas", r#"{"name": "?@00000000"}"#),
    ("DeleteSchema", "schemas", r#"{"name": "?"}"#),
    ("ValidateSchema", "PROJECT", r#"{"parent": "?", "schema": SCHEMA}"#),
    ("ValidateMessage", "PROJECT", r#"{"parent": "?", "schema": SCHEMA, "message": "", "encoding": "JSON"}"#),
    ("ValidateMessage", "schemas", r#"{"parent": "projects/p", "name": "?", "encoding": "JSON"}"#),
    ("TestIamPermissions", "topics", r#"{"resource": "?"}"#),
    ("TestIamPermissions", "subscriptions", r#"{"resource": "?"}"#),
    ("TestIamPermissions", "snapshots", r#"{"resource": "?"}"#),
    ("TestIamPermissions", "schemas", r#"{"resource": "?"}"#),
];
/// What these refuse has nothing to do with names.
const WITHOUT_NAMES: [&str; 2] = ["GetIamPolicy", "SetIamPolicy"];
const SCHEMA: &str = r#"{"type": "PROTOCOL_BUFFER", "definition": "syntax = \"proto3\"; message M {}"}"#;

fn request(text: &str, name: &str) -> Value {
    serde_json::from_str(&text.replace("SCHEMA", SCHEMA).replace('?', name)).unwrap()
}

async fn server() -> Server {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    server
}

/// Scenario: every method, over gRPC and REST, with a name that nothing has and with ones that break a rule.
/// Guarantees: NOT_FOUND with the name, INVALID_ARGUMENT with the name and the rule; a new method must be added
/// here.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_nothing_has_or_may_have() {
    let server = server().await;
    let caller = Caller::new(&server);
    for (method, kind, text) in NAMED {
        let word = kind.to_lowercase();
        let wrong = match kind {
            "PROJECT" => vec![("projects/no!".to_owned(), "a project id has 1 to 128")],
            _ => vec![
                (format!("projects/p/{word}/no"), "a name has 3 to 255 characters"),
                (format!("projects/p/{word}/1st"), "a name begins with a letter"),
                (format!("projects/p/{word}/goog-x"), "a name does not begin with goog"),
                (format!("projects/no!/{word}/fine"), "a project id has 1 to 128"),
            ],
        };
        let missing = (format!("projects/p/{word}/missing"), "Resource not found");
        let missing = (kind == word).then_some(("NOTFOUND", missing));
        let wrong = wrong.into_iter().map(|wrong| ("INVALIDARGUMENT", wrong));
        for (code, (name, rule)) in missing.into_iter().chain(wrong) {
            for (protocol, refusal) in caller.both(method, &request(text, &name)).await {
                let (got, said) = refusal.unwrap_or_else(|| panic!("{method} took {name} over {protocol}"));
                assert_eq!(got, code, "{method} {name} over {protocol}: {said}");
                assert!(said.contains(&name) && said.contains(rule), "{method} {name} {protocol}: {said}");
            }
        }
    }
    let called: BTreeSet<&str> = NAMED.into_iter().map(|(method, ..)| method).chain(WITHOUT_NAMES).collect();
    let all: BTreeSet<&str> = caller.methods.all.iter().map(|method| method.name).collect();
    assert_eq!(called, all);
}

/// Scenario: StreamingPull, which REST does not have, of names that nothing has or may have, and of none.
/// Guarantees: the same codes and texts.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_names_that_nothing_has() {
    let server = server().await;
    for (name, code, text) in [
        ("projects/p/subscriptions/missing", Code::NotFound, "projects/p/subscriptions/missing"),
        ("projects/p/subscriptions/no", Code::InvalidArgument, "3 to 255 characters"),
        (TOPIC, Code::InvalidArgument, "must have the form projects/PROJECT/subscriptions/ID"),
        ("", Code::InvalidArgument, "must have the form"),
    ] {
        let first = v1::StreamingPullRequest {
            subscription: name.to_owned(),
            stream_ack_deadline_seconds: 10,
            ..Default::default()
        };
        let requests = tokio_stream::iter([first]);
        let error = server.subscriber().streaming_pull(requests).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(text), "{error}");
    }
}

/// Scenario: values that break a rule, over gRPC and REST.
/// Guarantees: the code, and a text that says the rule or what was given.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_make_no_sense() {
    let server = server().await;
    let caller = Caller::new(&server);
    let invalid = "INVALIDARGUMENT";
    let many = vec!["x".repeat(1_000); 525];
    let message = json!({"data": "eA=="});
    for (method, request, code, text) in [
        (
            "ModifyAckDeadline",
            json!({"subscription": SUBSCRIPTION, "ackIds": ["x"], "ackDeadlineSeconds": -1}),
            invalid,
            "0 to 600 seconds, not -1",
        ),
        (
            "ModifyAckDeadline",
            json!({"subscription": SUBSCRIPTION, "ackIds": ["x"], "ackDeadlineSeconds": 601}),
            invalid,
            "0 to 600 seconds, not 601",
        ),
        (
            "ModifyAckDeadline",
            json!({"subscription": SUBSCRIPTION, "ackDeadlineSeconds": 10}),
            invalid,
            "no ack ids",
        ),
        (
            "ModifyAckDeadline",
            json!({"subscription": SUBSCRIPTION, "ackIds": many, "ackDeadlineSeconds": 10}),
            invalid,
            "have 525000 bytes, at most 524288",
        ),
        ("Acknowledge", json!({"subscription": SUBSCRIPTION}), invalid, "no ack ids"),
        ("Acknowledge", json!({"subscription": SUBSCRIPTION, "ackIds": [""]}), invalid, "invalid ack ID"),
        (
            "Acknowledge",
            json!({"subscription": SUBSCRIPTION, "ackIds": many}),
            invalid,
            "have 525000 bytes, at most 524288",
        ),
        ("Pull", json!({"subscription": SUBSCRIPTION, "maxMessages": -1}), invalid, "at least 1, not -1"),
        ("Seek", json!({"subscription": SUBSCRIPTION}), invalid, "a time or a snapshot"),
        ("Publish", json!({"topic": TOPIC}), invalid, "message"),
        ("Publish", json!({"topic": TOPIC, "messages": vec![&message; 1_001]}), invalid, "1001"),
        ("UpdateTopic", json!({"topic": {"name": TOPIC}}), invalid, "update_mask is empty"),
        (
            "UpdateTopic",
            json!({"topic": {"name": TOPIC}, "updateMask": "name"}),
            invalid,
            "cannot be changed",
        ),
        ("CommitSchema", json!({"name": "projects/p/schemas/one"}), invalid, "schema is not set"),
        (
            "CreateSchema",
            json!({"parent": "projects/p", "schemaId": "no", "schema": {"type": "AVRO", "definition": "{}"}}),
            invalid,
            "3 to 255 characters",
        ),
        (
            "TestIamPermissions",
            json!({"resource": "projects/p/tables/one", "permissions": ["a.b"]}),
            invalid,
            "must have the form",
        ),
        ("TestIamPermissions", json!({"resource": TOPIC, "permissions": ["pubsub.*"]}), invalid, "wildcard"),
        ("CreateTopic", json!({"name": TOPIC}), "ALREADYEXISTS", TOPIC),
    ] {
        refused(&caller, method, &request, code, text).await;
    }
}

/// Scenario: lists with a negative page size, and with page tokens that are no list's or another list's.
/// Guarantees: INVALID_ARGUMENT that repeats what was given; never a page that looks like the end of the list.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_none_of_the_list() {
    let server = server().await;
    let caller = Caller::new(&server);
    let schema = json!({"parent": "projects/p", "schemaId": "one", "schema": serde_json::from_str::<Value>(SCHEMA).unwrap()});
    let [(_, made), _] = caller.both("CreateSchema", &schema).await;
    assert_eq!(made, None);
    for (method, field, name, other) in [
        ("ListTopics", "project", "projects/p", "projects/q/topics/abc"),
        ("ListSubscriptions", "project", "projects/p", "projects/p/topics/abc"),
        ("ListSnapshots", "project", "projects/p", "projects/p/schemas/abc"),
        ("ListTopicSubscriptions", "topic", TOPIC, "projects/p/snapshots/abc"),
        ("ListTopicSnapshots", "topic", TOPIC, "projects/p/subscriptions/abc"),
        ("ListSchemas", "parent", "projects/p", "projects/pp/schemas/abc"),
        ("ListSchemaRevisions", "name", "projects/p/schemas/one", "projects/p/schemas/one"),
    ] {
        refused(&caller, method, &json!({field: name, "pageSize": -1}), "INVALIDARGUMENT", "page_size").await;
        for token in ["zzz", other] {
            let request = json!({field: name, "pageToken": token});
            refused(&caller, method, &request, "INVALIDARGUMENT", &format!("page_token {token:?}")).await;
        }
        for (protocol, refusal) in caller.both(method, &json!({field: name, "pageSize": 1})).await {
            assert_eq!(refusal, None, "{method} {protocol}");
        }
    }
}

async fn refused(caller: &Caller<'_>, method: &str, request: &Value, code: &str, text: &str) {
    for (protocol, refusal) in caller.both(method, request).await {
        let (got, said) = refusal.unwrap_or_else(|| panic!("{method} over {protocol} was done"));
        assert_eq!(got, code, "{method} over {protocol}: {said}");
        assert!(said.contains(text), "{method} over {protocol}: {said}");
    }
}

/// Scenario: requests of REST that are none: bodies, content types, verbs, paths.
/// Guarantees: the status in the header and in the body, and a text that says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn rest_requests_that_are_none() {
    let server = server().await;
    let as_json = "application/json";
    let topic = &format!("/v1/{TOPIC}");
    let publish = &format!("{topic}:publish");
    for (verb, path, content_type, body, status, name, text) in [
        ("PUT", topic, as_json, r#"{"lables": {}}"#, 400, "INVALID_ARGUMENT", "lables"),
        ("PUT", topic, as_json, r#"{"labels": 3}"#, 400, "INVALID_ARGUMENT", "labels: invalid type"),
        (
            "POST",
            publish,
            as_json,
            r#"{"messages": [{"data": 7}]}"#,
            400,
            "INVALID_ARGUMENT",
            "messages[0].data: ",
        ),
        (
            "POST",
            publish,
            as_json,
            r#"{"messages": [{"data": "?"}]}"#,
            400,
            "INVALID_ARGUMENT",
            "messages[0].data: ",
        ),
        (
            "POST",
            publish,
            as_json,
            "messages=1",
            400,
            "INVALID_ARGUMENT",
            "Invalid JSON payload received. expected",
        ),
        ("POST", publish, as_json, "[]", 400, "INVALID_ARGUMENT", "expected a map"),
        ("POST", publish, as_json, r#"{"messages": "#, 400, "INVALID_ARGUMENT", "EOF"),
        ("POST", publish, "text/plain", "{}", 400, "INVALID_ARGUMENT", "content-type: application/json"),
        (
            "PATCH",
            topic,
            as_json,
            r#"{"topic": "x"}"#,
            400,
            "INVALID_ARGUMENT",
            "topic.name is not in an object",
        ),
        (
            "POST",
            topic,
            as_json,
            "{}",
            501,
            "UNIMPLEMENTED",
            "other methods than POST: PUT, PATCH, GET, DELETE",
        ),
        ("GET", publish, as_json, "", 501, "UNIMPLEMENTED", "other methods than GET: POST"),
        ("GET", &format!("{topic}?nothing=1"), as_json, "", 400, "INVALID_ARGUMENT", "nothing"),
        (
            "GET",
            &"/v1/projects/p/topics?pageSize=many".to_owned(),
            as_json,
            "",
            400,
            "INVALID_ARGUMENT",
            "pageSize: ",
        ),
        (
            "GET",
            &"/v2/projects/p/topics".to_owned(),
            as_json,
            "",
            404,
            "NOT_FOUND",
            "/v2/projects/p/topics is no path",
        ),
        ("GET", &"/v1/projects/p/things".to_owned(), as_json, "", 404, "NOT_FOUND", "is no path"),
        ("POST", &format!("{topic}:explode"), as_json, "{}", 404, "NOT_FOUND", "is no path"),
        ("GET", &"/".to_owned(), as_json, "", 404, "NOT_FOUND", "PUBSUB_EMULATOR_HOST"),
    ] {
        let request = http::Request::builder().method(verb).uri(path).header("content-type", content_type);
        let request = request.body(Body::from(body)).unwrap();
        let response = server.broker.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{verb} {path} {body}");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        let error = &answer["error"];
        assert_eq!((&error["code"], &error["status"]), (&json!(status), &json!(name)), "{answer}");
        assert!(error["message"].as_str().unwrap().contains(text), "{verb} {path} {body}: {answer}");
    }
}

/// Scenario: an update whose mask names a field as protobuf and as JSON does.
/// Guarantees: both are taken.
#[tokio::test]
async fn a_field_mask_may_be_in_either_case() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    for (mask, seconds) in [("ack_deadline_seconds", 20), ("ackDeadlineSeconds", 30)] {
        let body = json!({"subscription": {"ackDeadlineSeconds": seconds}, "updateMask": mask});
        let (status, shown) = server.rest("PATCH", "/v1/projects/p/subscriptions/sub", Some(body)).await;
        assert_eq!((status, &shown["ackDeadlineSeconds"]), (200, &json!(seconds)), "{shown}");
    }
}
