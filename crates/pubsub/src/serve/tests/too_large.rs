//! Requests that are too large to be read, over a real connection.

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::publisher_client::PublisherClient;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::subscriber_client::SubscriberClient;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

use super::streams::first_request;
use super::{SUBSCRIPTION, Server, TOPIC};
use crate::proto::v1;

fn publish(bytes: usize) -> v1::PublishRequest {
    let message = v1::PubsubMessage { data: Bytes::from(vec![b'x'; bytes]), ..Default::default() };
    v1::PublishRequest { topic: TOPIC.to_owned(), messages: vec![message] }
}

fn ids(count: usize) -> Vec<String> {
    vec!["x".repeat(crate::ack_id::TEXT_BYTES); count]
}

fn check(status: &Status, text: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains(text), "{status}");
}

async fn server() -> Server {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    server
}

/// Scenario: publish requests somewhat and far too large, plain and packed.
/// Guarantees: the answer is INVALID_ARGUMENT, which clients do not try again, with the limit; the
/// connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_request_that_is_too_large_is_told_the_limit() {
    let server = server().await;
    let channel = server.channel().await;
    let plain = PublisherClient::new(channel.clone());
    let packed = PublisherClient::new(channel).send_compressed(CompressionEncoding::Gzip);
    for mut publisher in [plain, packed] {
        let somewhat = publisher.publish(publish(11_000_000)).await.unwrap_err();
        check(&somewhat, "at most 10000000 bytes");
        let far = publisher.publish(publish(40_000_000)).await.unwrap_err();
        check(&far, "at most 12582912 bytes, unpacked, a publish request 10000000 bytes");
        publisher.publish(publish(9_000_000)).await.unwrap();
    }
}

/// Scenario: more ack ids than a request may have, unary and on a stream, plain and packed.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_too_many_ack_ids_is_told_the_limit() {
    let server = server().await;
    let channel = server.channel().await;
    let plain = SubscriberClient::new(channel.clone());
    let packed = SubscriberClient::new(channel).send_compressed(CompressionEncoding::Gzip);
    for mut subscriber in [plain, packed] {
        let subscription = SUBSCRIPTION.to_owned();
        let ack = v1::AcknowledgeRequest { subscription: subscription.clone(), ack_ids: ids(12_200) };
        check(&subscriber.acknowledge(ack).await.unwrap_err(), "at most 524288 are taken");
        let modify =
            v1::ModifyAckDeadlineRequest { subscription, ack_ids: ids(12_200), ack_deadline_seconds: 10 };
        check(&subscriber.modify_ack_deadline(modify).await.unwrap_err(), "at most 524288 are taken");
        let large = v1::StreamingPullRequest { ack_ids: ids(40_000), ..Default::default() };
        let first = v1::StreamingPullRequest { ack_ids: ids(40_000), ..first_request() };
        for (first, later) in [(first_request(), Some(large)), (first, None)] {
            let (sender, receiver) = tokio::sync::mpsc::channel(2);
            sender.send(first).await.unwrap();
            if let Some(later) = later {
                sender.send(later).await.unwrap();
            }
            let ended = match subscriber.streaming_pull(ReceiverStream::new(receiver)).await {
                Ok(responses) => responses.into_inner().message().await.unwrap_err(),
                Err(status) => status,
            };
            check(&ended, "at most 1048576 bytes");
        }
    }
}

/// Sends a request over HTTP/1 to its last byte, and only then reads the answer, as many clients do.
async fn post(server: &Server, path: &str, body: &[u8]) -> (u16, Value) {
    let mut connection = tokio::net::TcpStream::connect(server.port().await).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// Scenario: the same over REST.
/// Guarantees: the answer is 400 with the limit, and a client that sends all before it reads gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rest_request_that_is_too_large_is_told_the_limit() {
    let server = server().await;
    let data = |bytes: usize| format!(r#"{{"messages": [{{"data": "{}"}}]}}"#, "A".repeat(bytes));
    let to_topic = format!("/v1/{TOPIC}:publish");
    let acks = format!(r#"{{"ackIds": {:?}}}"#, ids(12_200));
    let to_subscription = format!("/v1/{SUBSCRIPTION}:acknowledge");
    for (path, body, text) in [
        (&to_topic, data(14_000_000), "at most 10000000 bytes"),
        (&to_topic, data(17_000_000), "more than 16777216 bytes"),
        (&to_topic, data(40_000_000), "more than 16777216 bytes"),
        (&to_subscription, acks, "at most 524288 are taken"),
    ] {
        let (status, answer) = post(&server, path, body.as_bytes()).await;
        assert_eq!((status, &answer["error"]["status"]), (400, &Value::from("INVALID_ARGUMENT")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(text), "{answer}");
    }
}
