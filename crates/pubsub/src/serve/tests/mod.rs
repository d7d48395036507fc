//! The services as clients see them, in this process, over a disk that loses what was not synced.

mod backlog;
mod calls;
mod ends;
mod export_writers;
mod exports;
mod input;
mod limits;
mod push;
mod refusals;
mod resources;
mod rest_table;
mod schemas;
mod sizes;
mod streams;
mod too_large;
mod transforms;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::publisher_client::PublisherClient;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::subscriber_client::SubscriberClient;
use http_body_util::BodyExt as _;
use millrace_disk::sim::SimDisk;
use millrace_log::{Log, LogConfig};
use serde_json::Value;
use tonic::Code;
use tower::ServiceExt as _;

use crate::proto::v1;
use crate::{Broker, PubsubConfig};

const TOPIC: &str = "projects/p/topics/top";
const SUBSCRIPTION: &str = "projects/p/subscriptions/sub";

/// A server that can be killed and started again.
struct Server {
    disk: SimDisk,
    broker: Arc<Broker>,
    log: Arc<Log>,
}

impl Server {
    fn start() -> Self {
        Self::on(SimDisk::new(11), |_| {})
    }

    fn on(disk: SimDisk, change: impl FnOnce(&mut PubsubConfig)) -> Self {
        let process = Arc::new(disk.process());
        let log = Log::open(process.clone(), Path::new("log"), LogConfig::default()).unwrap();
        let log = Arc::new(log);
        let mut config = PubsubConfig::new("local".to_owned());
        config.pull_wait = Duration::from_millis(200);
        change(&mut config);
        let runtime = tokio::runtime::Handle::current();
        let broker = Broker::open(config, process, Path::new("pubsub"), Arc::clone(&log), runtime).unwrap();
        Self { disk, broker, log }
    }

    /// The power goes, and comes back.
    fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    /// The same with other settings.
    fn restart_with(self, change: impl FnOnce(&mut PubsubConfig)) -> Self {
        self.broker.shutdown();
        self.disk.crash();
        let disk = self.disk.clone();
        drop(self);
        Self::on(disk, change)
    }

    fn publisher(&self) -> PublisherClient<axum::Router> {
        PublisherClient::new(self.broker.router())
    }

    fn subscriber(&self) -> SubscriberClient<axum::Router> {
        SubscriberClient::new(self.broker.router())
    }

    /// Opens a real port on loopback, until the test ends.
    async fn port(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, self.broker.router()).into_future());
        address
    }

    /// A connection over HTTP/2 to such a port.
    async fn channel(&self) -> tonic::transport::Channel {
        let address = self.port().await;
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
    }

    async fn topic(&self, name: &str) {
        let topic = v1::Topic { name: name.to_owned(), ..v1::Topic::default() };
        self.publisher().create_topic(topic).await.unwrap();
    }

    async fn subscription(&self, change: impl FnOnce(&mut v1::Subscription)) {
        let mut subscription = v1::Subscription {
            name: SUBSCRIPTION.to_owned(),
            topic: TOPIC.to_owned(),
            ..v1::Subscription::default()
        };
        change(&mut subscription);
        self.subscriber().create_subscription(subscription).await.unwrap();
    }

    async fn publish(&self, topic: &str, messages: &[(&str, &str)]) -> Vec<String> {
        let mut ids = Vec::new();
        for (data, key) in messages {
            let attributes = [("kind".to_owned(), (*data).to_owned())].into();
            let message = v1::PubsubMessage {
                data: Bytes::copy_from_slice(data.as_bytes()),
                attributes,
                ordering_key: (*key).to_owned(),
                ..v1::PubsubMessage::default()
            };
            let request = v1::PublishRequest { topic: topic.to_owned(), messages: vec![message] };
            ids.extend(self.publisher().publish(request).await.unwrap().into_inner().message_ids);
        }
        ids
    }

    async fn pull_from(&self, subscription: &str, max_messages: i32) -> Vec<v1::ReceivedMessage> {
        let request = v1::PullRequest {
            subscription: subscription.to_owned(),
            max_messages,
            ..v1::PullRequest::default()
        };
        self.subscriber().pull(request).await.unwrap().into_inner().received_messages
    }

    async fn pull(&self) -> Vec<v1::ReceivedMessage> {
        self.pull_from(SUBSCRIPTION, 100).await
    }

    /// Pulls until something comes: for what happens by itself.
    async fn pull_late(&self, subscription: &str) -> Vec<v1::ReceivedMessage> {
        for _ in 0..100 {
            let received = self.pull_from(subscription, 10).await;
            if !received.is_empty() {
                return received;
            }
        }
        panic!("nothing came");
    }

    async fn ack(&self, messages: &[v1::ReceivedMessage]) -> Result<(), tonic::Status> {
        let ack_ids = messages.iter().map(|message| message.ack_id.clone()).collect();
        let request = v1::AcknowledgeRequest { subscription: SUBSCRIPTION.to_owned(), ack_ids };
        self.subscriber().acknowledge(request).await.map(|_| ())
    }

    async fn nack(&self, messages: &[v1::ReceivedMessage]) -> Result<(), tonic::Status> {
        let ack_ids = messages.iter().map(|message| message.ack_id.clone()).collect();
        let request = v1::ModifyAckDeadlineRequest {
            subscription: SUBSCRIPTION.to_owned(),
            ack_ids,
            ack_deadline_seconds: 0,
        };
        self.subscriber().modify_ack_deadline(request).await.map(|_| ())
    }

    async fn seek(&self, target: v1::seek_request::Target) {
        let request = v1::SeekRequest { subscription: SUBSCRIPTION.to_owned(), target: Some(target) };
        self.subscriber().seek(request).await.unwrap();
    }

    async fn rest(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = http::Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.broker.router().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

fn texts(messages: &[v1::ReceivedMessage]) -> Vec<String> {
    let data = |message: &v1::ReceivedMessage| message.message.clone().unwrap_or_default().data;
    messages.iter().map(|message| String::from_utf8(data(message).to_vec()).unwrap()).collect()
}

/// Scenario: messages are published, some acked, and the power goes.
/// Guarantees: every published message comes again unless its ack was answered; none of the acked does;
/// what the ids say stays; an ack from before the restart counts.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_power_loss() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    let ids = server.publish(TOPIC, &[("a", ""), ("b", ""), ("c", ""), ("d", "")]).await;
    let received = server.pull().await;
    assert_eq!(texts(&received), ["a", "b", "c", "d"]);
    let message = received[1].message.clone().unwrap();
    assert_eq!((message.message_id, message.attributes["kind"].as_str()), (ids[1].clone(), "b"));
    server.ack(&received[1..2]).await.unwrap();
    let server = server.restart();
    server.ack(&received[3..]).await.unwrap();
    assert_eq!(texts(&server.pull().await), ["a", "c"]);
    let server = server.restart();
    assert_eq!(texts(&server.pull().await), ["a", "c"]);
    server.publish(TOPIC, &[("e", "")]).await;
    assert_eq!(texts(&server.pull().await), ["e"]);
}

/// Scenario: an exactly-once subscription; acks in time, late, twice, and of a stale delivery.
/// Guarantees: the error names the ids that are not good, and what was acked is not delivered again.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_tells_which_acks_are_stale() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.enable_exactly_once_delivery = true).await;
    server.publish(TOPIC, &[("a", ""), ("b", "")]).await;
    let first = server.pull().await;
    server.ack(&first[..1]).await.unwrap();
    server.ack(&first[..1]).await.unwrap();
    server.nack(&first[1..]).await.unwrap();
    let second = server.pull().await;
    assert_eq!(texts(&second), ["b"]);
    let error = server.ack(&first).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let details = tonic_types::StatusExt::get_error_details(&error);
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("EXACTLY_ONCE_ACKID_FAILURE", "pubsub.googleapis.com")
    );
    let metadata = &info.metadata;
    assert_eq!(metadata.len(), 1);
    assert_eq!(metadata[&first[1].ack_id], "PERMANENT_FAILURE_INVALID_ACK_ID");
    assert_eq!(server.nack(&first[1..]).await.map_err(|error| error.code()), Err(Code::InvalidArgument));
    server.ack(&second).await.unwrap();
    let server = server.restart();
    assert!(server.pull().await.is_empty());
    assert_eq!(server.nack(&second).await.map_err(|error| error.code()), Ok(()));
}

/// Scenario: a poisonous message among good ones with its key, nacked each time.
/// Guarantees: attempts are told and go up; after five the message is in the dead-letter topic with where
/// it comes from, and the later one of its key goes on.
#[tokio::test(flavor = "multi_thread")]
async fn poison_ends_in_the_dead_letter_topic() {
    let server = Server::start();
    let dead_letters = "projects/p/topics/dead";
    server.topic(TOPIC).await;
    server.topic(dead_letters).await;
    let policy =
        v1::DeadLetterPolicy { dead_letter_topic: dead_letters.to_owned(), max_delivery_attempts: 5 };
    server
        .subscription(|subscription| {
            subscription.enable_message_ordering = true;
            subscription.dead_letter_policy = Some(policy);
        })
        .await;
    let from_dead = "projects/p/subscriptions/from-dead";
    let subscription = v1::Subscription {
        name: from_dead.to_owned(),
        topic: dead_letters.to_owned(),
        ..v1::Subscription::default()
    };
    server.subscriber().create_subscription(subscription).await.unwrap();
    server.publish(TOPIC, &[("poison", "k"), ("later", "k")]).await;
    for attempt in 1..=5 {
        let received = server.pull().await;
        assert_eq!(texts(&received), ["poison", "later"], "attempt {attempt}");
        assert_eq!((received[0].delivery_attempt, received[1].delivery_attempt), (attempt, 1));
        server.nack(&received[..1]).await.unwrap();
    }
    let received = server.pull_late(from_dead).await;
    assert_eq!(texts(&received), ["poison"]);
    let message = received[0].message.clone().unwrap();
    assert_eq!(message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "5");
    assert_eq!(message.attributes["CloudPubSubDeadLetterSourceSubscription"], "sub");
    assert_eq!((message.ordering_key.as_str(), message.attributes["kind"].as_str()), ("k", "poison"));
    assert_eq!(texts(&server.pull_late(SUBSCRIPTION).await), ["later"]);
}

/// Scenario: a filter, a snapshot, a seek to it, to the past and to now.
/// Guarantees: only what passes is delivered; seeks bring back what they should, across a restart.
#[tokio::test(flavor = "multi_thread")]
async fn filters_snapshots_and_seeks() {
    let server = Server::start();
    server.topic(TOPIC).await;
    server
        .subscription(|subscription| {
            subscription.filter = r#"hasPrefix(attributes.kind, "y")"#.to_owned();
            subscription.retain_acked_messages = true;
        })
        .await;
    server.publish(TOPIC, &[("y1", ""), ("n1", ""), ("y2", ""), ("n2", "")]).await;
    let received = server.pull().await;
    assert_eq!(texts(&received), ["y1", "y2"]);
    server.ack(&received[1..]).await.unwrap();
    let snapshot = v1::CreateSnapshotRequest {
        subscription: SUBSCRIPTION.to_owned(),
        ..v1::CreateSnapshotRequest::default()
    };
    let snapshot = server.subscriber().create_snapshot(snapshot).await.unwrap().into_inner();
    assert!(snapshot.name.starts_with("projects/p/snapshots/") && snapshot.topic == TOPIC, "{snapshot:?}");
    server.ack(&received[..1]).await.unwrap();
    server.publish(TOPIC, &[("y3", "")]).await;
    let server = server.restart();
    server.seek(v1::seek_request::Target::Snapshot(snapshot.name.clone())).await;
    let received = server.pull().await;
    assert_eq!(texts(&received), ["y1", "y3"]);
    server.seek(v1::seek_request::Target::Time(prost_types::Timestamp::default())).await;
    assert_eq!(texts(&server.pull().await), ["y1", "y2", "y3"]);
    server.ack(&received).await.unwrap();
    let future = prost_types::Timestamp { seconds: i64::MAX / 1_000_000 - 1, nanos: 0 };
    server.seek(v1::seek_request::Target::Time(future)).await;
    assert!(server.pull().await.is_empty());
    server.publish(TOPIC, &[("y4", "")]).await;
    assert_eq!(texts(&server.pull().await), ["y4"]);
}
