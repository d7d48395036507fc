//! Resources and their names; what is refused, and how it is told over gRPC and REST.

use axum::body::Body;
use bytes::Bytes;
use millrace_disk::sim::SimDisk;
use millrace_log::TopicConfig;
use millrace_model::NewMessage;
use serde_json::{Value, json};
use tonic::Code;
use tower::ServiceExt as _;

use super::{SUBSCRIPTION, Server, TOPIC, texts};
use crate::proto::v1;

/// Scenario: requests that break a rule, over gRPC.
/// Guarantees: the code and the text say which resource and which rule.
#[tokio::test(flavor = "multi_thread")]
async fn errors_name_the_resource_and_the_rule() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    let missing = "projects/p/topics/missing";
    let topic = |name: &str| v1::Topic { name: name.to_owned(), ..v1::Topic::default() };
    let mut publisher = server.publisher();
    let mut subscriber = server.subscriber();
    let check = |error: tonic::Status, code: Code, text: &str| {
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(text), "{error}");
    };
    let messages = vec![v1::PubsubMessage { data: Bytes::from_static(b"x"), ..Default::default() }];
    let publish = v1::PublishRequest { topic: missing.to_owned(), messages };
    check(publisher.publish(publish).await.unwrap_err(), Code::NotFound, missing);
    check(
        publisher.create_topic(topic("projects/p/topics/x")).await.unwrap_err(),
        Code::InvalidArgument,
        "3 to 255",
    );
    check(publisher.create_topic(topic(TOPIC)).await.unwrap_err(), Code::AlreadyExists, TOPIC);
    let of_missing = v1::Subscription {
        name: "projects/p/subscriptions/other".to_owned(),
        topic: missing.to_owned(),
        ..Default::default()
    };
    check(subscriber.create_subscription(of_missing).await.unwrap_err(), Code::NotFound, missing);
    let push = v1::Subscription {
        name: "projects/p/subscriptions/other".to_owned(),
        topic: TOPIC.to_owned(),
        push_config: Some(v1::PushConfig { push_endpoint: "nonsense".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    check(subscriber.create_subscription(push).await.unwrap_err(), Code::InvalidArgument, "http://");
    let pull = v1::PullRequest { subscription: SUBSCRIPTION.to_owned(), ..Default::default() };
    check(subscriber.pull(pull).await.unwrap_err(), Code::InvalidArgument, "max_messages");
    let ack = |id: &str| v1::AcknowledgeRequest {
        subscription: SUBSCRIPTION.to_owned(),
        ack_ids: vec![id.to_owned()],
    };
    check(
        subscriber.acknowledge(ack("nonsense")).await.unwrap_err(),
        Code::InvalidArgument,
        "invalid ack ID",
    );
    let foreign =
        crate::ack_id::write(1, crate::machine::Ticket { offset: 0, delivery: 1, epoch: 1, generation: 0 });
    check(
        subscriber.acknowledge(ack(&foreign)).await.unwrap_err(),
        Code::InvalidArgument,
        "another subscription",
    );
    let deadline = v1::ModifyAckDeadlineRequest {
        subscription: SUBSCRIPTION.to_owned(),
        ack_ids: vec![foreign],
        ack_deadline_seconds: -1,
    };
    check(subscriber.modify_ack_deadline(deadline).await.unwrap_err(), Code::InvalidArgument, "not -1");
    let update = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription { name: SUBSCRIPTION.to_owned(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["filter".to_owned()] }),
    };
    check(
        subscriber.update_subscription(update).await.unwrap_err(),
        Code::InvalidArgument,
        "cannot be changed",
    );
    let detach = v1::DetachSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
    publisher.detach_subscription(detach).await.unwrap();
    let pull =
        v1::PullRequest { subscription: SUBSCRIPTION.to_owned(), max_messages: 1, ..Default::default() };
    check(subscriber.pull(pull).await.unwrap_err(), Code::FailedPrecondition, SUBSCRIPTION);
}

/// Scenario: everything over REST; paths, verbs and bodies that are wrong.
/// Guarantees: JSON as the service has it, errors in Google's shape.
#[tokio::test(flavor = "multi_thread")]
async fn rest_is_the_same_service() {
    let server = Server::start();
    let (status, topic) =
        server.rest("PUT", &format!("/v1/{TOPIC}"), Some(json!({"labels": {"a": "b"}}))).await;
    assert_eq!((status, &topic["name"], &topic["labels"]["a"]), (200, &json!(TOPIC), &json!("b")), "{topic}");
    let body = json!({"topic": TOPIC, "ackDeadlineSeconds": 20});
    let (status, made) = server.rest("PUT", &format!("/v1/{SUBSCRIPTION}"), Some(body)).await;
    assert_eq!((status, &made["messageRetentionDuration"]), (200, &json!("604800s")), "{made}");
    let body = json!({"messages": [{"data": "aGVsbG8=", "attributes": {"k": "v"}}]});
    let (_, published) = server.rest("POST", &format!("/v1/{TOPIC}:publish"), Some(body)).await;
    let pull = format!("/v1/{SUBSCRIPTION}:pull");
    let (_, pulled) = server.rest("POST", &pull, Some(json!({"maxMessages": 5}))).await;
    let message = &pulled["receivedMessages"][0];
    assert_eq!(message["message"]["messageId"], published["messageIds"][0]);
    assert_eq!(
        (&message["message"]["data"], &message["message"]["attributes"]["k"]),
        (&json!("aGVsbG8="), &json!("v"))
    );
    let body = json!({"ackIds": [message["ackId"]]});
    let (status, answer) = server.rest("POST", &format!("/v1/{SUBSCRIPTION}:acknowledge"), Some(body)).await;
    assert_eq!((status, answer), (200, json!({})));
    let body = json!({"subscription": {"ackDeadlineSeconds": 30, "labels": {"x": "y"}}, "updateMask": "ackDeadlineSeconds"});
    let (_, updated) = server.rest("PATCH", &format!("/v1/{SUBSCRIPTION}"), Some(body)).await;
    assert_eq!((&updated["ackDeadlineSeconds"], &updated["labels"]), (&json!(30), &Value::Null), "{updated}");
    let (_, list) = server.rest("GET", "/v1/projects/p/topics?pageSize=10&prettyPrint=false", None).await;
    assert_eq!(list["topics"][0]["name"], TOPIC);
    let (_, list) = server.rest("GET", &format!("/v1/{TOPIC}/subscriptions"), None).await;
    assert_eq!(list["subscriptions"], json!([SUBSCRIPTION]));
    for (method, path, body, status, text) in [
        ("GET", "/v1/projects/p/topics/missing", None, 404, "projects/p/topics/missing"),
        ("GET", "/v1/nothing", None, 404, "/v1/nothing"),
        ("POST", "/v1/projects/p/topics/top", None, 501, "other methods"),
        ("POST", "/v1/projects/p/topics/top:explode", None, 404, "no path"),
        ("POST", "/v1/projects/p/topics/top:publish", Some(json!({"message": []})), 400, "Invalid JSON"),
        ("GET", "/v1/projects/p/schemas/none", None, 404, "projects/p/schemas/none"),
        ("PUT", "/v1/projects/p/topics/top", None, 409, "already exists"),
        ("DELETE", "/v1/projects/p/subscriptions/missing", None, 404, "missing"),
    ] {
        let (code, answer) = server.rest(method, path, body).await;
        let error = &answer["error"];
        assert_eq!((code, &error["code"]), (status, &json!(status)), "{method} {path}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(text), "{answer}");
    }
    let request = http::Request::post(format!("/v1/{TOPIC}:publish")).body(Body::from("{}")).unwrap();
    let refused = server.broker.router().oneshot(request).await.unwrap();
    assert_eq!(refused.status(), 400, "a body without a content type");
}

/// Scenario: topics of the log that were not made here; two projects with the same names; a topic that is
/// deleted under its subscription and made again.
/// Guarantees: the log's topics are visible and feed their readers; projects do not mix; the deleted
/// topic's messages stay for the subscription, and the new one's do not reach it.
#[tokio::test(flavor = "multi_thread")]
async fn topics_of_the_log_and_of_other_projects() {
    let server = Server::on(SimDisk::new(9), |config| {
        config.kept_topics.extend(["gemini-telemetry-logs".to_owned()]);
    });
    let own = server.log.create_topic("gemini-telemetry-logs", TopicConfig::default()).unwrap();
    let name = "projects/local/topics/gemini-telemetry-logs";
    let mut publisher = server.publisher();
    let list = |project: &str| v1::ListTopicsRequest { project: project.to_owned(), ..Default::default() };
    let topics = publisher.list_topics(list("projects/local")).await.unwrap().into_inner().topics;
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), [name]);
    server.publish(name, &[("entry", "")]).await;
    assert_eq!(own.stats().end.0, 1, "the pipeline's topic has it");
    let delete = |topic: &str| v1::DeleteTopicRequest { topic: topic.to_owned() };
    let refused = publisher.delete_topic(delete(name)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let other = "projects/other/topics/gemini-telemetry-logs";
    server.topic(other).await;
    server.publish(other, &[("foreign", "")]).await;
    assert_eq!(own.stats().end.0, 1);
    let topics = publisher.list_topics(list("projects/local")).await.unwrap().into_inner().topics;
    assert_eq!(topics.len(), 1, "the other project's is not shown here: {topics:?}");

    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    server.publish(TOPIC, &[("old", "")]).await;
    own.append(vec![NewMessage::from_data("direct")]).await.unwrap();
    publisher.delete_topic(delete(TOPIC)).await.unwrap();
    let get = v1::GetSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
    let orphan = server.subscriber().get_subscription(get).await.unwrap().into_inner();
    assert_eq!(orphan.topic, "_deleted_topic_");
    server.topic(TOPIC).await;
    server.publish(TOPIC, &[("new", "")]).await;
    let server = server.restart();
    assert_eq!(texts(&server.pull().await), ["old"]);
    let delete = v1::DeleteSubscriptionRequest { subscription: SUBSCRIPTION.to_owned() };
    server.subscriber().delete_subscription(delete).await.unwrap();
    assert_eq!(server.log.topics().len(), 3, "the deleted topic's messages went with its last subscription");
}
