//! Streams: limits, confirmations, clients that do not read.

use std::time::Duration;

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::subscriber_client::SubscriberClient;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{SUBSCRIPTION, Server, TOPIC, texts};
use crate::proto::v1;

/// Opens a stream; answers where to send requests, and the responses.
pub(super) async fn stream(
    server: &Server,
    first: v1::StreamingPullRequest,
) -> (tokio::sync::mpsc::Sender<v1::StreamingPullRequest>, tonic::Streaming<v1::StreamingPullResponse>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(10);
    sender.send(first).await.unwrap();
    let responses = server.subscriber().streaming_pull(ReceiverStream::new(receiver)).await.unwrap();
    (sender, responses.into_inner())
}

pub(super) fn first_request() -> v1::StreamingPullRequest {
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

/// Scenario: over a real connection a client opens a stream and never reads, and others pull; then a hundred
/// streams wait idle until the server ends.
/// Guarantees: the deaf one is leased what may be on its way to it, three responses at most, and the others
/// get all the rest; all idle ones hear of the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_holds_up_nobody() {
    const MESSAGES: usize = 40;
    // As many of them as one response has room for.
    const RESPONSE_MESSAGES: usize = 5;
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.ack_deadline_seconds = 600).await;
    for _ in 0..MESSAGES / 10 {
        let message = v1::PubsubMessage { data: Bytes::from(vec![b'x'; 600_000]), ..Default::default() };
        let request = v1::PublishRequest { topic: TOPIC.to_owned(), messages: vec![message; 10] };
        server.publisher().publish(request).await.unwrap();
    }
    let leased = || usize::try_from(server.broker.figures()[0].leased_messages).unwrap();
    let (_requests, receiver) = {
        let (sender, receiver) = tokio::sync::mpsc::channel(10);
        let first = v1::StreamingPullRequest { stream_ack_deadline_seconds: 600, ..first_request() };
        sender.send(first).await.unwrap();
        (sender, receiver)
    };
    let mut deaf = SubscriberClient::new(server.channel().await);
    let _unread = deaf.streaming_pull(ReceiverStream::new(receiver)).await.unwrap();
    while leased() == 0 {
        tokio::task::yield_now().await;
    }
    let mut others = 0;
    while leased() < MESSAGES {
        others += server.pull().await.len();
    }
    let held = MESSAGES - others;
    assert!((RESPONSE_MESSAGES..=3 * RESPONSE_MESSAGES).contains(&held), "{held}");
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(stream(&server, first_request()).await);
    }
    server.broker.shutdown();
    for (_requests, mut responses) in idle {
        assert_eq!(responses.message().await.unwrap_err().code(), Code::Unavailable);
    }
}
