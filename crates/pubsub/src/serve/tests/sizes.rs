//! What counts as a message's size: responses and streams are limited by all of it, not by its data alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::streams::{first_request, stream};
use super::{SUBSCRIPTION, Server, TOPIC, texts};
use crate::proto::v1;
use crate::proto::v1::message_transform::Transform;

/// What gRPC clients take unless they are told otherwise.
const CLIENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Attributes of 10 kB.
fn attributes() -> BTreeMap<String, String> {
    (0..10).map(|number| (format!("key-{number}"), "v".repeat(1_000))).collect()
}

async fn publish(server: &Server, messages: Vec<v1::PubsubMessage>) {
    let request = v1::PublishRequest { topic: TOPIC.to_owned(), messages };
    server.publisher().publish(request).await.unwrap();
}

/// Pulls until so many messages have come, each response small enough for a client.
async fn pull_all(server: &Server, count: usize) -> Vec<v1::ReceivedMessage> {
    let mut received = Vec::new();
    while received.len() < count {
        let messages = server.pull_from(SUBSCRIPTION, 1_000).await;
        assert!(!messages.is_empty(), "{} of {count} came", received.len());
        let response = v1::PullResponse { received_messages: messages };
        let bytes = response.encoded_len();
        assert!(bytes < CLIENT_BYTES_MAX, "a response of {bytes} bytes");
        received.extend(response.received_messages);
    }
    assert_eq!(received.len(), count);
    received
}

/// Scenario: 1,000 messages of 10 kB of attributes and no data are pulled, given back, and pulled again.
/// Guarantees: clients can take every response, the first time and the second.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_count_in_a_response() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.ack_deadline_seconds = 600).await;
    for _ in 0..5 {
        let message = v1::PubsubMessage { attributes: attributes(), ..Default::default() };
        publish(&server, vec![message; 200]).await;
    }
    let first = pull_all(&server, 1_000).await;
    server.nack(&first).await.unwrap();
    let second = pull_all(&server, 1_000).await;
    server.ack(&second).await.unwrap();
    assert!(server.pull().await.is_empty());
}

/// Scenario: streams that may have 25 kB at a time, of messages that have 10 kB of attributes, or data of
/// 8.3 kB and an ordering key of 1 kB; another client pulls.
/// Guarantees: the stream has as many as fit; the other client gets the rest; after an ack the stream gets
/// one more, of those that the other client gave back.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_and_ordering_keys_count_in_a_stream() {
    let with_attributes = v1::PubsubMessage { attributes: attributes(), ..Default::default() };
    let with_key = v1::PubsubMessage {
        data: Bytes::from(vec![b'x'; 8_300]),
        ordering_key: "k".repeat(1_000),
        ..Default::default()
    };
    for message in [with_attributes, with_key] {
        let server = Server::start();
        server.topic(TOPIC).await;
        server.subscription(|subscription| subscription.ack_deadline_seconds = 600).await;
        publish(&server, vec![message; 6]).await;
        let first = v1::StreamingPullRequest { max_outstanding_bytes: 25_000, ..first_request() };
        let (requests, mut responses) = stream(&server, first).await;
        let received = responses.message().await.unwrap().unwrap().received_messages;
        assert_eq!(received.len(), 2);
        let others = pull_all(&server, 4).await;
        server.nack(&others).await.unwrap();
        let ack_ids = vec![received[0].ack_id.clone()];
        requests.send(v1::StreamingPullRequest { ack_ids, ..Default::default() }).await.unwrap();
        let received = responses.message().await.unwrap().unwrap().received_messages;
        assert_eq!(received.len(), 1);
        assert_eq!(pull_all(&server, 3).await.len(), 3);
    }
}

/// Scenario: two small messages with 12 MB between them that were acked come again.
/// Guarantees: they come together and in order, however much has to be read for them.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_between_two_messages_is_read_in_parts() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.ack_deadline_seconds = 600).await;
    server.publish(TOPIC, &[("first", "")]).await;
    for _ in 0..4 {
        let message = v1::PubsubMessage { data: Bytes::from(vec![b'x'; 1_000_000]), ..Default::default() };
        publish(&server, vec![message; 3]).await;
    }
    server.publish(TOPIC, &[("last", "")]).await;
    let all = pull_all(&server, 14).await;
    server.ack(&all[1..13]).await.unwrap();
    server.nack(&[all[0].clone(), all[13].clone()]).await.unwrap();
    assert_eq!(texts(&server.pull().await), ["first", "last"]);
}

/// Scenario: a subscription whose transform makes a megabyte of each message.
/// Guarantees: each response is small enough for a client, and everything comes once.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_transform_makes_counts_in_a_response() {
    let server = Server::start();
    server.topic(TOPIC).await;
    let code = "function f(m, meta) { m.data = m.data + 'x'.repeat(1000000); return m }";
    let udf = v1::JavaScriptUdf { function_name: "f".to_owned(), code: code.to_owned() };
    server
        .subscription(|subscription| {
            subscription.ack_deadline_seconds = 600;
            let transform = Some(Transform::JavascriptUdf(udf));
            subscription.message_transforms = vec![v1::MessageTransform { transform, ..Default::default() }];
        })
        .await;
    let numbers: Vec<String> = (0..12).map(|number| format!("{number:02}")).collect();
    let messages: Vec<(&str, &str)> = numbers.iter().map(|number| (number.as_str(), "")).collect();
    server.publish(TOPIC, &messages).await;
    let mut starts: Vec<String> =
        texts(&pull_all(&server, 12).await).iter().map(|text| text[..2].to_owned()).collect();
    starts.sort();
    assert_eq!(starts, numbers);
    assert!(server.pull().await.is_empty());
}
