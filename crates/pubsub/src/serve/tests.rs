//! The services as clients see them, in this process, over a disk that loses what was not synced.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::publisher_client::PublisherClient;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::subscriber_client::SubscriberClient;
use http_body_util::BodyExt as _;
use millrace_disk::sim::SimDisk;
use millrace_log::{Log, LogConfig, TopicConfig};
use millrace_model::{Micros, NewMessage};
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
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
        self.broker.shutdown();
        self.disk.crash();
        let disk = self.disk.clone();
        drop(self);
        Self::on(disk, |_| {})
    }

    fn publisher(&self) -> PublisherClient<axum::Router> {
        PublisherClient::new(self.broker.router())
    }

    fn subscriber(&self) -> SubscriberClient<axum::Router> {
        SubscriberClient::new(self.broker.router())
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
    assert_eq!(error.code(), Code::FailedPrecondition);
    let details = tonic_types::StatusExt::get_error_details(&error);
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata.len(), 1);
    assert_eq!(metadata[&first[1].ack_id], "PERMANENT_FAILURE_INVALID_ACK_ID");
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

/// Scenario: a subscription that nobody reads, with a small budget, on a topic with a small one.
/// Guarantees: publishers are not refused; the subscription loses the oldest messages only, and says how
/// many it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_subscription_does_not_stop_publishers() {
    let server = Server::on(SimDisk::new(5), |config| {
        config.backlog_bytes_max = 200_000;
        config.topic = TopicConfig { bytes_max: 500_000, folded_bytes_max: 1, ..TopicConfig::default() };
    });
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    let data = "x".repeat(50_000);
    for _ in 0..40 {
        let message = v1::PubsubMessage {
            data: Bytes::copy_from_slice(data.as_bytes()),
            ..v1::PubsubMessage::default()
        };
        let request = v1::PublishRequest { topic: TOPIC.to_owned(), messages: vec![message] };
        server.publisher().publish(request).await.unwrap();
        server.log.maintain(Micros::now()).unwrap();
        server.broker.maintain(Micros::now());
    }
    let received = server.pull().await;
    assert!((2..40).contains(&received.len()), "{}", received.len());
    server.ack(&received).await.unwrap();
    server.broker.maintain(Micros::now());
    assert_eq!(server.broker.figures()[0].backlog_messages, 0);
}

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
        push_config: Some(v1::PushConfig { push_endpoint: "http://x".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    check(subscriber.create_subscription(push).await.unwrap_err(), Code::Unimplemented, "use Pull");
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
        ("GET", "/v1/projects/p/schemas", None, 501, "schemas are not served yet"),
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
        config.kept_topics.insert("gemini-telemetry-logs".to_owned());
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
