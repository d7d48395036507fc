//! What becomes of resources over time: live changes, retention, expiration, limits. Calls come from a thread
//! that may block, as those of the server's maintenance do.

mod dead_letters;
mod expiration;
mod fields;
mod limits;
mod live;
mod retention;
mod snapshots;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use millrace_disk::sim::SimDisk;
use millrace_log::{Log, LogConfig, Topic};
use millrace_model::{Micros, Offset, Source as _};
use tokio::runtime::Runtime;

use crate::machine::Room;
use crate::proto::v1;
use crate::{Broker, PubsubConfig, PubsubError};

const TOPIC: &str = "projects/p/topics/top";
const SUBSCRIPTION: &str = "projects/p/subscriptions/sub";
/// No wait takes that long.
const WAIT_MAX: Duration = Duration::from_secs(120);
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A broker over a disk that loses what was not synced, with a log whose clock can be set.
struct Rig {
    broker: Arc<Broker>,
    log: Arc<Log>,
    disk: SimDisk,
    /// How many seconds ago what is published now is published.
    ago: Arc<AtomicI64>,
    runtime: Runtime,
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut PubsubConfig)) -> Self {
        Self::on(SimDisk::new(17), change)
    }

    fn on(disk: SimDisk, change: impl FnOnce(&mut PubsubConfig)) -> Self {
        let process = Arc::new(disk.process());
        let ago = Arc::new(AtomicI64::new(0));
        let clock = millrace_log::Clock::new({
            let ago = Arc::clone(&ago);
            move || after(Micros::now(), -ago.load(Ordering::Relaxed))
        });
        let log_config = LogConfig { clock, ..LogConfig::default() };
        let log = Arc::new(Log::open(process.clone(), Path::new("log"), log_config).unwrap());
        let mut config = PubsubConfig::new("local".to_owned());
        change(&mut config);
        let runtime = Runtime::new().unwrap();
        let handle = runtime.handle().clone();
        let broker = Broker::open(config, process, Path::new("pubsub"), Arc::clone(&log), handle).unwrap();
        Self { broker, log, disk, ago, runtime }
    }

    /// The power goes, and comes back.
    fn restart(self) -> Self {
        self.restart_with(|_| {})
    }

    fn restart_with(self, change: impl FnOnce(&mut PubsubConfig)) -> Self {
        self.broker.shutdown();
        self.disk.crash();
        let disk = self.disk.clone();
        drop(self);
        Self::on(disk, change)
    }

    fn topic(&self, name: &str) {
        self.broker.create_topic(topic(name)).unwrap();
    }

    fn subscription(&self, change: impl FnOnce(&mut v1::Subscription)) -> v1::Subscription {
        self.broker.create_subscription(subscription(change)).unwrap()
    }

    fn update(
        &self,
        path: &str,
        change: impl FnOnce(&mut v1::Subscription),
    ) -> Result<v1::Subscription, PubsubError> {
        let update_mask = mask(path);
        let subscription = Some(subscription(change));
        self.broker.update_subscription(v1::UpdateSubscriptionRequest { subscription, update_mask })
    }

    fn update_topic(&self, path: &str, topic: v1::Topic) -> Result<v1::Topic, PubsubError> {
        let update_mask = mask(path);
        self.broker.update_topic(v1::UpdateTopicRequest { topic: Some(topic), update_mask })
    }

    /// Publishes messages that are `ago` seconds old.
    fn publish(&self, topic: &str, ago: i64, messages: &[&str]) {
        self.ago.store(ago, Ordering::Relaxed);
        let message = |data: &&str| v1::PubsubMessage {
            data: Bytes::copy_from_slice(data.as_bytes()),
            ordering_key: "k".to_owned(),
            ..v1::PubsubMessage::default()
        };
        let messages = messages.iter().map(message).collect();
        let request = v1::PublishRequest { topic: topic.to_owned(), messages };
        self.runtime.block_on(self.broker.publish(request)).unwrap();
    }

    fn pull_from(&self, name: &str) -> Vec<v1::ReceivedMessage> {
        let subscription = self.broker.subscription(name).unwrap();
        subscription.must_be_pulled().unwrap();
        let room = Room { messages: 100, bytes: 1 << 20 };
        let lease = subscription.settings().ack_deadline;
        let fetch = subscription.fetch(self.broker.new_holder(), room, lease);
        self.runtime.block_on(fetch).unwrap().messages
    }

    fn pull(&self) -> Vec<v1::ReceivedMessage> {
        self.pull_from(SUBSCRIPTION)
    }

    /// Pulls until something comes: for what happens by itself.
    fn pull_late(&self) -> Vec<v1::ReceivedMessage> {
        let subscription = self.broker.subscription(SUBSCRIPTION).unwrap();
        loop {
            let received = self.pull();
            if !received.is_empty() {
                return received;
            }
            let told = async { tokio::time::timeout(WAIT_MAX, subscription.available.notified()).await };
            self.runtime.block_on(told).unwrap();
        }
    }

    fn nack(&self, message: &v1::ReceivedMessage) {
        let subscription = self.broker.subscription(SUBSCRIPTION).unwrap();
        subscription.modify_deadlines(vec![message.ack_id.clone()], &[0]).unwrap();
    }

    fn ack(&self, message: &v1::ReceivedMessage) -> crate::subscription::Verdict {
        let subscription = self.broker.subscription(SUBSCRIPTION).unwrap();
        let (answers, commit) = subscription.acknowledge(vec![message.ack_id.clone()]).unwrap();
        commit.wait().unwrap();
        answers.verdicts[0]
    }

    /// Nacks the first message until it has failed that often more.
    fn fail_first(&self, times: usize) {
        for _ in 0..times {
            self.nack(&self.pull()[0]);
        }
    }

    /// How long a topic keeps messages, in days.
    fn retention_days(&self, log: &str) -> u64 {
        self.log.topic(log).unwrap().config().retention_age.as_secs() / DAY.unsigned_abs()
    }
}

fn after(time: Micros, seconds: i64) -> Micros {
    Micros(time.0 + seconds * 1_000_000)
}

fn topic(name: &str) -> v1::Topic {
    v1::Topic { name: name.to_owned(), ..v1::Topic::default() }
}

fn subscription(change: impl FnOnce(&mut v1::Subscription)) -> v1::Subscription {
    let (name, topic) = (SUBSCRIPTION.to_owned(), TOPIC.to_owned());
    let mut subscription = v1::Subscription { name, topic, ..v1::Subscription::default() };
    change(&mut subscription);
    subscription
}

#[expect(clippy::unnecessary_wraps, reason = "requests have it so")]
fn mask(path: &str) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: vec![path.to_owned()] })
}

#[expect(clippy::unnecessary_wraps, reason = "resources have it so")]
fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn texts(messages: &[v1::ReceivedMessage]) -> Vec<String> {
    let data = |message: &v1::ReceivedMessage| message.message.clone().unwrap_or_default().data;
    messages.iter().map(|message| String::from_utf8(data(message).to_vec()).unwrap()).collect()
}

/// The code, when the text has `part` in it.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, PubsubError>, code: tonic::Code, part: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error}");
}

/// Waits until a topic has one message.
#[track_caller]
fn has_one_message(topic: &Topic) {
    assert_eq!(topic.wait(Offset::ZERO, WAIT_MAX), Offset(1));
}

/// Counters by name, with whatever labels.
#[derive(Default)]
struct Counts(Mutex<HashMap<String, Arc<Count>>>);

#[derive(Default)]
struct Count(AtomicI64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(i64::try_from(value).unwrap(), Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(i64::try_from(value).unwrap(), Ordering::Relaxed);
    }
}

impl Counts {
    /// What is counted on this thread meanwhile.
    fn of(work: impl FnOnce()) -> Self {
        let counts = Self::default();
        metrics::with_local_recorder(&counts, work);
        counts
    }

    fn get(&self, name: &str) -> i64 {
        self.0.lock().unwrap().get(name).map_or(0, |count| count.0.load(Ordering::Relaxed))
    }
}

impl metrics::Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counts = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(counts.entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
