//! Message transforms as clients see them.

use bytes::Bytes;
use serde_json::{Value, json};
use tonic::Code;

use super::{SUBSCRIPTION, Server, TOPIC, texts};
use crate::proto::v1;
use crate::proto::v1::message_transform::Transform;

fn transform(code: &str) -> v1::MessageTransform {
    let udf = v1::JavaScriptUdf {
        function_name: "f".to_owned(),
        code: format!("function f(m, meta) {{ {code} }}"),
    };
    v1::MessageTransform { transform: Some(Transform::JavascriptUdf(udf)), ..Default::default() }
}

async fn topic(server: &Server, code: &str) {
    let message_transforms = vec![transform(code)];
    let topic = v1::Topic { name: TOPIC.to_owned(), message_transforms, ..Default::default() };
    server.publisher().create_topic(topic).await.unwrap();
}

fn message(data: &'static str) -> v1::PubsubMessage {
    v1::PubsubMessage { data: Bytes::from_static(data.as_bytes()), ..Default::default() }
}

/// Scenario: a topic whose transform changes data and attributes, leaves some messages out, and throws; a
/// restart; the transform is disabled by an update.
/// Guarantees: what is published is what the transform made, in order, and every message of the request has
/// an id; a request with one message that fails publishes none, and says which; the transform outlives the
/// restart and ends with the update.
#[tokio::test(flavor = "multi_thread")]
async fn a_topics_transform_runs_before_publishing() {
    let server = Server::start();
    let code = "if (m.data === 'out') return null;
        if (m.data === 'bad') throw new Error('mine');
        return {data: m.data + '!', attributes: {was: m.data, id: String(meta.message_id)}};";
    topic(&server, code).await;
    server.subscription(|_| {}).await;
    let publish = |messages: Vec<v1::PubsubMessage>| v1::PublishRequest { topic: TOPIC.to_owned(), messages };
    let mut publisher = server.publisher();
    let request = publish(vec![message("a"), message("out"), message("b")]);
    let ids = publisher.publish(request).await.unwrap().into_inner().message_ids;
    assert!(ids.len() == 3 && ids[1].contains("left-out"), "{ids:?}");
    let all_out = publisher.publish(publish(vec![message("out")])).await.unwrap().into_inner();
    assert!(all_out.message_ids.len() == 1 && all_out.message_ids[0] != ids[1]);
    let error = publisher.publish(publish(vec![message("c"), message("bad")])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("message 1: f: Error: mine"), "{error}");
    let received = server.pull().await;
    assert_eq!(texts(&received), ["a!", "b!"]);
    let first = received[0].message.clone().unwrap();
    assert_eq!((&first.message_id, first.attributes["was"].as_str()), (&ids[0], "a"));
    assert_eq!(first.attributes["id"], "undefined", "it has none before it is published");
    server.ack(&received).await.unwrap();
    let server = server.restart();
    server.publish(TOPIC, &[("d", "")]).await;
    let received = server.pull().await;
    assert_eq!(texts(&received), ["d!"]);
    server.ack(&received).await.unwrap();
    let disabled = v1::MessageTransform { disabled: true, ..transform("return null") };
    let update = v1::UpdateTopicRequest {
        topic: Some(v1::Topic {
            name: TOPIC.to_owned(),
            message_transforms: vec![disabled],
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["message_transforms".to_owned()] }),
    };
    server.publisher().update_topic(update).await.unwrap();
    server.publish(TOPIC, &[("out", "")]).await;
    assert_eq!(texts(&server.pull().await), ["out"]);
}

/// Scenario: two subscriptions of one topic, one with a transform.
/// Guarantees: only its own subscriber sees the change; what it leaves out is acked, also when nothing else
/// is there, and stays so after a restart; what came before and after comes once.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscriptions_transform_runs_before_delivery() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server
        .subscription(|subscription| {
            let code = "if (m.data === 'out') return null; m.data = m.data + meta.message_id; return m;";
            subscription.message_transforms = vec![transform(code)];
        })
        .await;
    let other = "projects/p/subscriptions/other";
    let plain = v1::Subscription { name: other.to_owned(), topic: TOPIC.to_owned(), ..Default::default() };
    server.subscriber().create_subscription(plain).await.unwrap();
    let ids = server.publish(TOPIC, &[("out", ""), ("out", ""), ("a", ""), ("out", "")]).await;
    let received = server.pull().await;
    assert_eq!(texts(&received), [format!("a{}", ids[2])]);
    assert_eq!(received[0].message.clone().unwrap().attributes["kind"], "a");
    assert_eq!(texts(&server.pull_from(other, 10).await), ["out", "out", "a", "out"]);
    server.ack(&received).await.unwrap();
    assert!(server.pull().await.is_empty());
    let backlog = server.broker.figures().into_iter().find(|one| one.name == SUBSCRIPTION).unwrap();
    assert_eq!(backlog.backlog_messages, 0);
    let server = server.restart();
    assert!(server.pull().await.is_empty());
}

/// Scenario: a transform that throws on one message of an ordering key, with a dead-letter policy; the
/// message behind it has the same key.
/// Guarantees: the one behind does not overtake it; the poisonous one goes to the dead-letter topic as it
/// was published, and then the other comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_transformed_becomes_a_dead_letter() {
    let server = Server::start();
    let dead_letters = "projects/p/topics/dead";
    server.topic(TOPIC).await;
    server.topic(dead_letters).await;
    server
        .subscription(|subscription| {
            subscription.enable_message_ordering = true;
            subscription.message_transforms =
                vec![transform("if (m.data === 'poison') throw 'no'; return {data: m.data + '!'};")];
            subscription.dead_letter_policy = Some(v1::DeadLetterPolicy {
                dead_letter_topic: dead_letters.to_owned(),
                max_delivery_attempts: 5,
            });
        })
        .await;
    let from_dead = "projects/p/subscriptions/from-dead";
    let subscription =
        v1::Subscription { name: from_dead.to_owned(), topic: dead_letters.to_owned(), ..Default::default() };
    server.subscriber().create_subscription(subscription).await.unwrap();
    server.publish(TOPIC, &[("first", "k"), ("poison", "k"), ("later", "k")]).await;
    let first = server.pull_late(SUBSCRIPTION).await;
    assert_eq!(texts(&first), ["first!"]);
    server.ack(&first).await.unwrap();
    assert_eq!(texts(&server.pull_late(SUBSCRIPTION).await), ["later!"]);
    assert_eq!(texts(&server.pull_late(from_dead).await), ["poison"]);
}

/// Scenario: a transform that throws, and no policy.
/// Guarantees: others are delivered; the message waits and is not lost, and comes when the transform is
/// mended.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_a_message_that_fails_waits() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server
        .subscription(|subscription| {
            subscription.message_transforms = vec![transform("if (m.data === 'bad') throw 'no'; return m;")];
        })
        .await;
    server.publish(TOPIC, &[("bad", ""), ("good", "")]).await;
    let received = server.pull().await;
    assert_eq!(texts(&received), ["good"]);
    server.ack(&received).await.unwrap();
    assert!(server.pull().await.is_empty());
    assert_eq!(server.broker.figures()[0].backlog_messages, 1);
    let mask = prost_types::FieldMask { paths: vec!["message_transforms".to_owned()] };
    let update = v1::UpdateSubscriptionRequest {
        subscription: Some(v1::Subscription { name: SUBSCRIPTION.to_owned(), ..Default::default() }),
        update_mask: Some(mask),
    };
    server.subscriber().update_subscription(update).await.unwrap();
    let server = server.restart();
    assert_eq!(texts(&server.pull().await), ["bad"]);
}

/// Scenario: transforms that cannot be run, over REST.
/// Guarantees: they are refused when the resource is made, with the reason, and the resource is not there.
#[tokio::test(flavor = "multi_thread")]
async fn transforms_that_do_not_load_are_refused() {
    let server = Server::start();
    let path = format!("/v1/{TOPIC}");
    let udf = |code: &str| json!([{"javascriptUdf": {"functionName": "f", "code": code}}]);
    for (transforms, status, text) in [
        (udf("function f("), 400, "syntax error"),
        (udf("function g(m, meta) {}"), 400, "no function `f`"),
        (json!([{"aiInference": {"endpoint": "x"}}]), 501, "ai_inference"),
    ] {
        let body = json!({"messageTransforms": transforms});
        let (code, answer) = server.rest("PUT", &path, Some(body)).await;
        assert_eq!(code, status, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(text), "{answer}");
        assert_eq!(server.rest("GET", &path, None).await.0, 404);
    }
    let body = json!({"messageTransforms": udf("function f(m, meta) { return m }")});
    let (code, made) = server.rest("PUT", &path, Some(body)).await;
    assert_eq!((code, &made["messageTransforms"][0]["disabled"]), (200, &Value::Null), "{made}");
}
