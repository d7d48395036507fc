//! Subscriptions that hold back too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use millrace_disk::sim::SimDisk;
use millrace_log::{CursorState, TopicConfig};
use millrace_model::Micros;

use super::{SUBSCRIPTION, Server, TOPIC};
use crate::proto::v1;

/// Adds up one counter of what is done on this thread.
struct Sum {
    metric: &'static str,
    sum: Arc<AtomicU64>,
}

impl Recorder for Sum {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == self.metric { Counter::from_arc(Arc::clone(&self.sum)) } else { Counter::noop() }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Publishes messages of 50 kB, each with its number, with a round of maintenance after each.
async fn publish(server: &Server, numbers: std::ops::Range<u64>, expired: &Sum) {
    for number in numbers {
        let message = v1::PubsubMessage {
            data: Bytes::from(vec![b'x'; 50_000]),
            attributes: [("number".to_owned(), number.to_string())].into(),
            ..Default::default()
        };
        let request = v1::PublishRequest { topic: TOPIC.to_owned(), messages: vec![message] };
        server.publisher().publish(request).await.unwrap();
        maintain(server, expired);
    }
}

fn maintain(server: &Server, expired: &Sum) {
    metrics::with_local_recorder(expired, || {
        server.log.maintain(Micros::now()).unwrap();
        server.broker.maintain(Micros::now());
    });
}

fn numbers(received: &[v1::ReceivedMessage]) -> Vec<u64> {
    let of = |one: &v1::ReceivedMessage| one.message.clone().unwrap().attributes["number"].parse().unwrap();
    received.iter().map(of).collect()
}

/// Scenario: a subscription that nobody reads, with a small budget, on a topic with a small one; later it is
/// read to the end, and left alone again with a backlog within its budget.
/// Guarantees: publishers are not refused; the subscription loses the oldest messages only, and what was
/// counted as expired and what it has make up all; once it has caught up it holds messages back again and
/// loses none.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_subscription_does_not_stop_publishers() {
    let server = Server::on(SimDisk::new(5), |config| {
        config.backlog_bytes_max = 200_000;
        config.topic = TopicConfig { bytes_max: 500_000, folded_bytes_max: 1, ..TopicConfig::default() };
    });
    server.topic(TOPIC).await;
    server.subscription(|subscription| subscription.ack_deadline_seconds = 600).await;
    let state = || {
        let topics = server.log.topics();
        let cursors: Vec<_> = topics.iter().flat_map(|topic| topic.cursors()).collect();
        assert_eq!(cursors.len(), 1);
        cursors[0].state().unwrap()
    };
    let sum = Arc::new(AtomicU64::new(0));
    let expired = Sum { metric: "millrace_pubsub_expired_total", sum: Arc::clone(&sum) };
    assert_eq!(state(), CursorState::Attached);
    publish(&server, 0..40, &expired).await;
    assert_eq!(state(), CursorState::Detached);
    let first = sum.load(Ordering::Relaxed);
    assert!((1..39).contains(&first), "{first} expired");
    assert_eq!(server.broker.figures()[0].backlog_messages, 40 - first);
    let received = server.pull_from(SUBSCRIPTION, 1_000).await;
    assert_eq!(numbers(&received), (first..40).collect::<Vec<_>>());
    server.ack(&received).await.unwrap();
    maintain(&server, &expired);
    assert_eq!(server.broker.figures()[0].backlog_messages, 0);
    assert_eq!(state(), CursorState::Attached);
    publish(&server, 40..43, &expired).await;
    maintain(&server, &expired);
    assert_eq!(state(), CursorState::Attached);
    assert_eq!(numbers(&server.pull_from(SUBSCRIPTION, 1_000).await), [40, 41, 42]);
    assert_eq!(sum.load(Ordering::Relaxed), first);
}
