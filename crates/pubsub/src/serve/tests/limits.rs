//! Limits on what is in hand at once: what is above is refused, and there is room again after an end.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use millrace_disk::sim::SimDisk;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt as _;

use super::calls::{Caller, Refusal, framed, grpc};
use super::{SUBSCRIPTION, Server, TOPIC};
use crate::proto::v1;

const PUBLISH: &str = "/v1/projects/p/topics/top:publish";
const BODY: &str = r#"{"messages": [{"data": "eA=="}]}"#;
const EXHAUSTED: &str = "RESOURCEEXHAUSTED";

async fn server(change: impl FnOnce(&mut crate::PubsubConfig)) -> Server {
    let server = Server::on(SimDisk::new(3), change);
    server.topic(TOPIC).await;
    server.subscription(|_| {}).await;
    server
}

/// Scenario: more clients than there are places begin a request over REST and over gRPC, and send no more of it.
/// Guarantees: each is told so after a while, and the places are free again.
#[tokio::test]
async fn who_sends_no_more_loses_the_place() {
    let limit = Duration::from_millis(200);
    let server =
        server(|config| (config.requests_in_flight_max, config.body_read_timeout) = (2, limit)).await;
    let stalled = |path: &str, kind: &str, begun: &'static [u8]| {
        let begun = futures::stream::once(async move { Ok::<_, std::io::Error>(Bytes::from_static(begun)) });
        let body = Body::from_stream(futures::StreamExt::chain(begun, futures::stream::pending()));
        let request = http::Request::post(path).header("content-type", kind).header("te", "trailers");
        server.broker.router().oneshot(request.body(body).unwrap())
    };
    let rest = stalled(PUBLISH, "application/json", b"{");
    let grpc = stalled("/google.pubsub.v1.Publisher/Publish", "application/grpc", &[0, 0, 0, 1, 0, 1]);
    let (rest, grpc) = tokio::join!(rest, grpc);
    assert_eq!(rest.unwrap().status(), 504);
    let grpc = grpc.unwrap();
    assert_eq!(grpc.headers()["grpc-status"], "4", "{:?}", grpc.headers());
    assert!(grpc.headers()["grpc-message"].to_str().unwrap().contains("body"), "{:?}", grpc.headers());
    let (status, _) = server.rest("POST", PUBLISH, Some(serde_json::from_str(BODY).unwrap())).await;
    assert_eq!(status, 200);
}

/// A request whose body stays open until it is told to end.
struct Held {
    end: oneshot::Sender<()>,
    answer: tokio::task::JoinHandle<u16>,
}

impl Held {
    /// Answers when the server has the body's bytes and waits for more.
    async fn publish(server: &Server) -> Self {
        let (waits, waiting) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let rest = futures::FutureExt::flatten_stream(async move {
            // Asked for more: what came before is taken.
            waits.send(()).unwrap();
            ended.await.unwrap();
            futures::stream::empty()
        });
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(BODY.as_bytes()))]);
        let body = Body::from_stream(futures::StreamExt::chain(first, rest));
        let request = http::Request::post(PUBLISH).header("content-type", "application/json");
        let answer = server.broker.router().oneshot(request.body(body).unwrap());
        let answer = tokio::spawn(async move { answer.await.unwrap().status().as_u16() });
        waiting.await.unwrap();
        Self { end, answer }
    }

    async fn end(self) {
        self.end.send(()).unwrap();
        assert_eq!(self.answer.await.unwrap(), 200);
    }
}

fn exhausted(refusal: Option<Refusal>, text: &str) {
    let (code, said) = refusal.expect("it was done");
    assert_eq!(code, EXHAUSTED);
    assert!(said.contains(text), "{said}");
}

/// Scenario: as many requests as may be in hand, and one more, over gRPC and REST.
/// Guarantees: RESOURCE_EXHAUSTED, 429 over REST, before the body is looked at; a pull has another limit; room
/// again when one is answered.
#[tokio::test(flavor = "multi_thread")]
async fn requests_in_hand_are_limited() {
    let server = server(|config| config.requests_in_flight_max = 2).await;
    let caller = Caller::new(&server);
    let get = json!({"topic": TOPIC});
    let (one, two) = (Held::publish(&server).await, Held::publish(&server).await);
    for (_, refusal) in caller.both("GetTopic", &get).await {
        exhausted(refusal, "too many requests or streams");
    }
    let (status, _) = server.rest("GET", &format!("/v1/{TOPIC}"), None).await;
    assert_eq!(status, 429);
    assert!(server.pull().await.is_empty());
    one.end().await;
    for (protocol, refusal) in caller.both("GetTopic", &get).await {
        assert_eq!(refusal, None, "{protocol}");
    }
    two.end().await;
    assert_eq!(server.pull().await.len(), 2, "what was in hand is done");
}

/// Scenario: a request holds almost all bytes that may be in hand; others come, over gRPC and REST.
/// Guarantees: RESOURCE_EXHAUSTED, 429 over REST; what needs no more than is left is done; room again later.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_hand_are_limited() {
    let left = BODY.len() - 1;
    let server = server(|config| config.in_flight_bytes_max = 2 * BODY.len() - 1).await;
    let publish = v1::PublishRequest {
        topic: TOPIC.to_owned(),
        messages: vec![v1::PubsubMessage { data: Bytes::from(vec![b'x'; left / 2]), ..Default::default() }],
    };
    let large = Bytes::from(framed(&prost::Message::encode_to_vec(&publish)));
    let path = "/google.pubsub.v1.Publisher/Publish";
    assert!(large.len() > left && large.len() < 2 * BODY.len());
    let held = Held::publish(&server).await;
    exhausted(grpc(&server, path, Body::from(large.clone())).await, "too many bytes");
    let body: Value = serde_json::from_str(BODY).unwrap();
    let padded = json!({"messages": body["messages"], "topic": "x".repeat(left)});
    let (status, answer) = server.rest("POST", PUBLISH, Some(padded)).await;
    assert_eq!((status, &answer["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("too many bytes"), "{answer}");
    let (status, _) = server.rest("GET", &format!("/v1/{TOPIC}"), None).await;
    assert_eq!(status, 200);
    held.end().await;
    assert_eq!(grpc(&server, path, Body::from(large)).await, None);
    assert_eq!(server.pull().await.len(), 2);
}

/// Scenario: the only place for streams is taken by one; another stream and pulls come; the first one is closed.
/// Guarantees: RESOURCE_EXHAUSTED, 429 over REST; other requests go on; the place is free after the close.
#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited() {
    let server = server(|config| config.streams_max = 1).await;
    let caller = Caller::new(&server);
    let pull = json!({"subscription": SUBSCRIPTION, "maxMessages": 1});
    let open = async || {
        let first = v1::StreamingPullRequest {
            subscription: SUBSCRIPTION.to_owned(),
            stream_ack_deadline_seconds: 60,
            ..Default::default()
        };
        let (requests, receiver) = tokio::sync::mpsc::channel(1);
        requests.send(first).await.unwrap();
        let responses = server.subscriber().streaming_pull(ReceiverStream::new(receiver)).await;
        responses.map(|responses| (requests, responses))
    };
    let stream = open().await.unwrap();
    let refused = open().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    for (_, refusal) in caller.both("Pull", &pull).await {
        exhausted(refusal, "too many requests or streams");
    }
    let (status, _) = server.rest("GET", &format!("/v1/{TOPIC}"), None).await;
    assert_eq!(status, 200);
    drop(stream);
    let opened = async {
        loop {
            match open().await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let again = tokio::time::timeout(Duration::from_secs(30), opened).await;
    drop(again.expect("the place of the closed stream is free"));
}
