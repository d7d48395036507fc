//! Streams: limits, confirmations, clients that do not read.

use std::time::Duration;

use bytes::Bytes;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{SUBSCRIPTION, Server, TOPIC, texts};
use crate::proto::v1;

/// Opens a stream; answers where to send requests, and the responses.
async fn stream(
    server: &Server,
    first: v1::StreamingPullRequest,
) -> (tokio::sync::mpsc::Sender<v1::StreamingPullRequest>, tonic::Streaming<v1::StreamingPullResponse>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(10);
    sender.send(first).await.unwrap();
    let responses = server.subscriber().streaming_pull(ReceiverStream::new(receiver)).await.unwrap();
    (sender, responses.into_inner())
}

fn first_request() -> v1::StreamingPullRequest {
    v1::StreamingPullRequest {
        subscription: SUBSCRIPTION.to_owned(),
        stream_ack_deadline_seconds: 60,
        ..v1::StreamingPullRequest::default()
    }
}

/// Scenario: an exactly-once stream that takes two messages at a time.
/// Guarantees: no third one comes before an ack; acks are confirmed; what is stale is told; new messages
/// come by themselves; a limit that changes ends the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_keeps_its_limits_and_confirms() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.enable_exactly_once_delivery = true).await;
    let first = v1::StreamingPullRequest { max_outstanding_messages: 2, ..first_request() };
    let (requests, mut responses) = stream(&server, first).await;
    server.publish(TOPIC, &[("a", ""), ("b", ""), ("c", "")]).await;
    let mut received = Vec::new();
    while received.len() < 2 {
        let response = responses.message().await.unwrap().unwrap();
        assert!(response.subscription_properties.unwrap().exactly_once_delivery_enabled);
        received.extend(response.received_messages);
    }
    let more = tokio::time::timeout(Duration::from_millis(100), responses.message()).await;
    assert!(more.is_err(), "beyond its limit: {more:?}");
    let ack = v1::StreamingPullRequest {
        ack_ids: vec![received[0].ack_id.clone()],
        modify_deadline_ack_ids: vec![received[1].ack_id.clone()],
        modify_deadline_seconds: vec![0],
        ..v1::StreamingPullRequest::default()
    };
    requests.send(ack).await.unwrap();
    let (mut confirmed, mut again) = (Vec::new(), Vec::new());
    while confirmed.is_empty() || again.len() < 2 {
        let response = responses.message().await.unwrap().unwrap();
        confirmed.extend(response.acknowledge_confirmation.unwrap_or_default().ack_ids);
        again.extend(response.received_messages);
    }
    assert_eq!(confirmed, [received[0].ack_id.clone()]);
    assert_eq!(texts(&again), ["b", "c"]);
    let stale = v1::StreamingPullRequest {
        ack_ids: vec![received[1].ack_id.clone()],
        ..v1::StreamingPullRequest::default()
    };
    requests.send(stale).await.unwrap();
    let response = responses.message().await.unwrap().unwrap();
    assert_eq!(response.acknowledge_confirmation.unwrap().invalid_ack_ids, [received[1].ack_id.clone()]);
    let changed = v1::StreamingPullRequest { max_outstanding_messages: 9, ..Default::default() };
    requests.send(changed).await.unwrap();
    let error = loop {
        match responses.message().await {
            Ok(response) => assert!(response.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::InvalidArgument);
}

/// Scenario: a stream at its limit, whose client acks by unary calls, as Google's Python client does; and
/// messages of one ordering key that come while earlier ones are out.
/// Guarantees: the stream goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn acks_by_another_way_give_a_stream_room() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.enable_message_ordering = true).await;
    let first = v1::StreamingPullRequest { max_outstanding_messages: 2, ..first_request() };
    let (_requests, mut responses) = stream(&server, first).await;
    let mut received: Vec<v1::ReceivedMessage> = Vec::new();
    for number in 0..6 {
        server.publish(TOPIC, &[(&number.to_string(), "k")]).await;
    }
    let wait = Duration::from_secs(20);
    while received.len() < 6 {
        let response = tokio::time::timeout(wait, responses.message()).await.unwrap().unwrap().unwrap();
        server.ack(&response.received_messages).await.unwrap();
        received.extend(response.received_messages);
    }
    assert_eq!(texts(&received), ["0", "1", "2", "3", "4", "5"]);
}

/// Scenario: a client opens a stream and never reads; another one pulls; a hundred streams wait idle.
/// Guarantees: the deaf one gets a bounded part, the other one the rest; all idle ones hear of the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_holds_up_nobody() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    let large = "x".repeat(600_000);
    let messages: Vec<(&str, &str)> = (0..20).map(|_| (large.as_str(), "")).collect();
    for chunk in messages.chunks(5) {
        let of = |(data, _): &(&str, &str)| v1::PubsubMessage {
            data: Bytes::copy_from_slice(data.as_bytes()),
            ..v1::PubsubMessage::default()
        };
        let request =
            v1::PublishRequest { topic: TOPIC.to_owned(), messages: chunk.iter().map(of).collect() };
        server.publisher().publish(request).await.unwrap();
    }
    let (_requests, _deaf) = stream(&server, first_request()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut received = 0;
    loop {
        let more = server.pull().await.len();
        if more == 0 {
            break;
        }
        received += more;
    }
    assert!((5..20).contains(&received), "{received}");
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(stream(&server, first_request()).await);
    }
    server.broker.shutdown();
    for (_, mut responses) in idle {
        let ended = loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    }
}
