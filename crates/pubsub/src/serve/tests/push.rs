//! Push subscriptions against an endpoint on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use millrace_disk::sim::SimDisk;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tonic::Code;

use super::{SUBSCRIPTION, Server, TOPIC, texts};
use crate::proto::v1;
use crate::proto::v1::push_config::{NoWrapper, Wrapper};
use crate::sync::lock;

/// What the endpoint answers to a body, which is the nth request.
type Answer = Box<dyn Fn(&[u8], usize) -> StatusCode + Send + Sync>;

/// An endpoint that keeps what it got.
struct Endpoint {
    url: String,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    more: Arc<Notify>,
}

struct Shared {
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    more: Arc<Notify>,
    answer: Answer,
    elsewhere: String,
}

impl Endpoint {
    async fn start(answer: impl Fn(&[u8], usize) -> StatusCode + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (got, more) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(Notify::new()));
        let shared = Shared {
            got: Arc::clone(&got),
            more: Arc::clone(&more),
            answer: Box::new(answer),
            elsewhere: format!("{base}/elsewhere"),
        };
        let router = Router::new().fallback(take).with_state(Arc::new(shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url: format!("{base}/push?token=secret"), got, more }
    }

    /// The first so many requests, when they are there.
    async fn requests(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        let all_there = async {
            while lock(&self.got).len() < count {
                self.more.notified().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), all_there).await;
        assert!(waited.is_ok(), "only {} of {count} requests came", lock(&self.got).len());
        lock(&self.got).clone()
    }

    fn config(&self, wrapper: Option<Wrapper>) -> Option<v1::PushConfig> {
        Some(v1::PushConfig { push_endpoint: self.url.clone(), wrapper, ..Default::default() })
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    uri: http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(uri.to_string(), "/push?token=secret", "nothing else is asked for");
    let count = {
        let mut got = lock(&shared.got);
        got.push((headers, body.clone()));
        got.len()
    };
    shared.more.notify_one();
    let status = (shared.answer)(&body, count);
    (status, [("location", shared.elsewhere.clone())], "answer").into_response()
}

fn data_of(body: &[u8]) -> String {
    use base64::Engine as _;
    let json: Value = serde_json::from_slice(body).unwrap();
    let data = json["message"]["data"].as_str().unwrap().to_owned();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
}

async fn until_acked(server: &Server) {
    for _ in 0..1_000 {
        let figures = server.broker.figures().into_iter().find(|one| one.name == SUBSCRIPTION).unwrap();
        if figures.backlog_messages == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not all is acked");
}

/// Nobody waits for the sync of a push's ack; whoever acks nothing hears of it.
async fn until_durable(server: &Server) {
    let subscription = server.broker.subscription(SUBSCRIPTION).unwrap();
    let (_, commit) = subscription.acknowledge(Vec::new()).unwrap();
    commit.await.unwrap();
}

/// Scenario: an endpoint that answers with a redirect, an error, and then takes everything.
/// Guarantees: the body is the message as JSON, with the subscription; a redirect is a failure and is not
/// followed; what was not taken comes again, and what was does not, also after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_pushed_until_they_are_taken() {
    let endpoint = Endpoint::start(|_, nth| match nth {
        1 => StatusCode::TEMPORARY_REDIRECT,
        2 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::NO_CONTENT,
    })
    .await;
    let server = Server::start();
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.push_config = endpoint.config(None)).await;
    let ids = server.publish(TOPIC, &[("a", "")]).await;
    let requests = endpoint.requests(3).await;
    let (headers, body) = &requests[2];
    assert_eq!(headers["content-type"], "application/json");
    let json: Value = serde_json::from_slice(body).unwrap();
    let (message, time) = (&json["message"], &json["message"]["publishTime"]);
    assert_eq!(json["subscription"], SUBSCRIPTION);
    assert_eq!(
        (&message["data"], &message["messageId"], &message["attributes"]),
        (&json!("YQ=="), &json!(ids[0]), &json!({"kind": "a"}))
    );
    assert!(time.as_str().is_some_and(|time| time.ends_with('Z')) && message["publish_time"] == *time);
    assert!(requests.iter().all(|(_, other)| other == body), "the same message");
    until_acked(&server).await;
    until_durable(&server).await;
    let server = server.restart();
    server.publish(TOPIC, &[("b", "")]).await;
    assert_eq!(data_of(&endpoint.requests(4).await[3].1), "b");
    until_acked(&server).await;
    assert_eq!(lock(&endpoint.got).len(), 4);
}

/// Scenario: no wrapper, with metadata in headers; a message whose attributes cannot all be headers.
/// Guarantees: the body is the data, byte for byte, and metadata and attributes are headers.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_wrapper_the_body_is_the_data() {
    let endpoint = Endpoint::start(|_, _| StatusCode::OK).await;
    let server = Server::start();
    server.topic(TOPIC).await;
    let wrapper = Wrapper::NoWrapper(NoWrapper { write_metadata: true });
    server.subscription(|subscription| subscription.push_config = endpoint.config(Some(wrapper))).await;
    let ids = server.publish(TOPIC, &[("plain", "key")]).await;
    let requests = endpoint.requests(1).await;
    let (headers, body) = &requests[0];
    assert_eq!((&body[..], &headers["kind"]), (&b"plain"[..], &"plain".parse().unwrap()));
    assert_eq!(headers["x-goog-pubsub-message-id"], ids[0].as_str());
    assert_eq!(headers["x-goog-pubsub-subscription-name"], SUBSCRIPTION);
    assert_eq!(headers["x-goog-pubsub-ordering-key"], "key");
}

/// Scenario: an ordered push subscription; the second message of a key fails once, while another key goes
/// on; then a dead-letter policy meets a message that is never taken.
/// Guarantees: within a key each message comes after the one before was taken; the poisonous one ends in
/// the dead-letter topic, and tells its attempts.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_pushed_in_order_and_poison_ends() {
    let failed_once = Mutex::new(false);
    let endpoint = Endpoint::start(move |body, _| match data_of(body).as_str() {
        "a2" if !std::mem::replace(&mut *lock(&failed_once), true) => StatusCode::BAD_GATEWAY,
        "poison" => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    })
    .await;
    let server = Server::start();
    let dead_letters = "projects/p/topics/dead";
    server.topic(TOPIC).await;
    server.topic(dead_letters).await;
    server
        .subscription(|subscription| {
            subscription.enable_message_ordering = true;
            subscription.push_config = endpoint.config(None);
            subscription.retry_policy = Some(v1::RetryPolicy {
                minimum_backoff: Some(prost_types::Duration { seconds: 0, nanos: 10_000_000 }),
                maximum_backoff: Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 }),
            });
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
    let messages = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("poison", "a"), ("a4", "a")];
    server.publish(TOPIC, &messages).await;
    until_acked(&server).await;
    let got: Vec<String> = lock(&endpoint.got).iter().map(|(_, body)| data_of(body)).collect();
    let of_a: Vec<&str> = got.iter().map(String::as_str).filter(|data| *data != "b1").collect();
    let poison = ["poison"; 5];
    let expected: Vec<&str> = ["a1", "a2", "a2", "a3"].into_iter().chain(poison).chain(["a4"]).collect();
    assert_eq!(of_a, expected);
    let attempts: Vec<Value> = lock(&endpoint.got)
        .iter()
        .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap()["deliveryAttempt"].clone())
        .collect();
    assert!(attempts.contains(&json!(5)), "{attempts:?}");
    assert_eq!(texts(&server.pull_late(from_dead).await), ["poison"]);
}

/// Scenario: an endpoint that answers nobody until it is told to, many messages, and few in flight.
/// Guarantees: no more requests are out than may be; then all are taken.
#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_are_in_flight() {
    let (out, most) = (Arc::new(Mutex::new((0_usize, 0_usize))), Arc::new(Notify::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let open = tokio::sync::watch::Sender::new(false);
    let (counted, told, opened) = (Arc::clone(&out), Arc::clone(&most), open.subscribe());
    let router = Router::new().fallback(move || {
        let (counted, told, mut opened) = (Arc::clone(&counted), Arc::clone(&told), opened.clone());
        async move {
            {
                let mut out = lock(&counted);
                out.0 += 1;
                out.1 = out.1.max(out.0);
            }
            told.notify_one();
            let _ = opened.wait_for(|open| *open).await;
            lock(&counted).0 -= 1;
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let server = Server::on(SimDisk::new(2), |config| config.push_messages_max = 3);
    server.topic(TOPIC).await;
    let push_config = Some(v1::PushConfig { push_endpoint: url, ..Default::default() });
    server.subscription(|subscription| subscription.push_config = push_config).await;
    let names: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let messages: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    server.publish(TOPIC, &messages).await;
    while lock(&out).1 < 3 {
        most.notified().await;
    }
    open.send_replace(true);
    until_acked(&server).await;
    assert_eq!(lock(&out).1, 3);
}

/// Scenario: a push subscription is pulled from; becomes a pull subscription while its endpoint is gone, and
/// a push subscription again; push with exactly once.
/// Guarantees: whoever may not pull is told why; nothing is lost on the way; what excludes itself is refused.
#[tokio::test(flavor = "multi_thread")]
async fn push_and_pull_exclude_each_other() {
    let server = Server::start();
    server.topic(TOPIC).await;
    // Nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let push_config = Some(v1::PushConfig { push_endpoint: nobody, ..Default::default() });
    server
        .subscription(|subscription| {
            subscription.push_config = push_config;
            subscription.retry_policy = Some(v1::RetryPolicy {
                minimum_backoff: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
                maximum_backoff: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
            });
        })
        .await;
    server.publish(TOPIC, &[("a", "")]).await;
    let pull =
        v1::PullRequest { subscription: SUBSCRIPTION.to_owned(), max_messages: 1, ..Default::default() };
    let error = server.subscriber().pull(pull).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("clear its push_config"), "{error}");
    let modify =
        |push_config| v1::ModifyPushConfigRequest { subscription: SUBSCRIPTION.to_owned(), push_config };
    server.subscriber().modify_push_config(modify(None)).await.unwrap();
    let received = server.pull_late(SUBSCRIPTION).await;
    assert_eq!(texts(&received), ["a"]);
    server.nack(&received).await.unwrap();
    let endpoint = Endpoint::start(|_, _| StatusCode::OK).await;
    server.subscriber().modify_push_config(modify(endpoint.config(None))).await.unwrap();
    assert_eq!(data_of(&endpoint.requests(1).await[0].1), "a");
    until_acked(&server).await;
    let both = v1::Subscription {
        name: "projects/p/subscriptions/both".to_owned(),
        topic: TOPIC.to_owned(),
        push_config: endpoint.config(None),
        enable_exactly_once_delivery: true,
        ..Default::default()
    };
    let error = server.subscriber().create_subscription(both).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}
