//! The source against a Pub/Sub server on loopback, over disks that lose what was not synced.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test that cannot go on says so by panicking"
)]

mod common;
mod credentials;
mod lease;
mod tls;

use std::collections::BTreeSet;
use std::time::Duration;

use google_cloud_pubsub::model::Message;
use millrace_pubsub_source::{Input, Source, SourceConfig, SourceError, SourceState};

use common::{Sink, World, config, numbered};

/// Scenario: messages with attributes and ordering keys are published before and while the source reads.
/// Guarantees: every one is in the topic once, with all that belongs to it, and the service has none left.
#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_once_with_all_that_belongs_to_it() {
    let world = World::start().await;
    world.publish(numbered(0..300)).await;
    let sink = Sink::new();
    let source = sink.read(world.config());
    world.publish(numbered(300..500)).await;
    let one = Message::new()
        .set_data(vec![0, 159, 146, 150])
        .set_ordering_key("key")
        .set_attributes([("kind", "binary"), ("empty", "")]);
    world.publish([one]).await;
    let counts = sink.until(&source, |counts| counts.acks == 501).await;
    assert_eq!((counts.received, counts.appended, counts.duplicates, counts.nacks), (501, 501, 0, 0));

    let messages = sink.messages();
    let data: BTreeSet<_> = messages.iter().map(|message| message.data.clone()).collect();
    assert_eq!((messages.len(), data.len()), (501, 501));
    let binary = messages.iter().find(|message| message.data == [0, 159, 146, 150]).unwrap();
    assert_eq!(binary.ordering_key, "key");
    let attribute = |name: &str| binary.attributes.iter().find(|(known, _)| known == name).unwrap().1.clone();
    assert_eq!((attribute("kind"), attribute("empty")), ("binary".to_owned(), String::new()));
    assert!(attribute("pubsub.message_id").contains('-'), "{:?}", binary.attributes);
    assert!(attribute("pubsub.publish_time").ends_with('Z'), "{:?}", binary.attributes);

    let status = source.status();
    assert_eq!((status.state, status.outstanding, status.error), (SourceState::Running, 0, None));
    source.stop().await;
    assert_eq!(source.status().state, SourceState::Stopped);
    world.drained().await;
}

/// Scenario: the source is dropped in the middle and started again, over a log that lost its power; at last its
/// process is killed after messages were stored and before the service was told.
/// Guarantees: nothing is stored twice and nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_adds_nothing_twice_and_loses_nothing() {
    let world = World::start().await;
    world.publish(numbered(0..2000)).await;
    let few = || SourceConfig { outstanding_messages_max: 50, ..world.config() };
    let mut sink = Sink::new();
    for _ in 0..2 {
        let source = sink.read(few());
        sink.until(&source, |counts| counts.received >= 100).await;
        drop(source);
        sink = sink.crash();
    }
    let process = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let silent = SourceConfig { durable: false, ..few() };
    let source = sink.read_on(silent, process.handle());
    sink.until(&source, |counts| counts.appended + counts.duplicates >= 50).await;
    assert_eq!(source.status().counts.acks, 0);
    process.shutdown_background();
    drop(source);
    sink = sink.crash();

    let source = sink.read(world.config());
    world.drained().await;
    sink.holds_exactly(2000);
    let counts = source.status().counts;
    assert!(counts.duplicates >= 50, "what was stored and not acknowledged came again: {counts:?}");
}

/// Scenario: the service loses its power in the middle of a stream and comes back.
/// Guarantees: the source goes on by itself; nothing is stored twice and nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_restarts_is_read_on() {
    let mut world = World::start().await;
    world.publish(numbered(0..1000)).await;
    let sink = Sink::new();
    let source = sink.read(SourceConfig { outstanding_messages_max: 50, ..world.config() });
    sink.until(&source, |counts| counts.received >= 100).await;
    world.restart().await;
    world.publish(numbered(1000..1200)).await;
    sink.until_there_are(1200).await;
    world.drained().await;
    sink.holds_exactly(1200);
    assert_eq!(source.status().state, SourceState::Running);
}

/// Scenario: the subscription is sent back to its beginning, so that all that was acknowledged comes again.
/// Guarantees: all of it is recognised and acknowledged again.
#[tokio::test(flavor = "multi_thread")]
async fn redelivered_messages_are_recognised() {
    let world = World::start().await;
    let sink = Sink::new();
    let source = sink.read(world.config());
    world.publish(numbered(0..100)).await;
    sink.until(&source, |counts| counts.acks == 100).await;
    world.seek_to_the_beginning().await;
    let counts = sink.until(&source, |counts| counts.duplicates == 100 && counts.acks >= 200).await;
    assert_eq!((counts.appended, counts.nacks), (100, 0));
    sink.holds_exactly(100);
}

/// Scenario: a subscription with exactly-once delivery.
/// Guarantees: acks are confirmed, and everything is stored once.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_subscriptions_confirm() {
    let world = World::start().await;
    let name = "projects/p/subscriptions/once";
    world.subscribe(name, |subscription| subscription.set_enable_exactly_once_delivery(true)).await;
    world.publish(numbered(0..200)).await;
    let sink = Sink::new();
    let source = sink.read(SourceConfig { input: Input::Subscription(name.to_owned()), ..world.config() });
    let counts = sink.until(&source, |counts| counts.acks == 200).await;
    assert_eq!((counts.appended, counts.duplicates, counts.ack_failures), (200, 0, 0));
    sink.holds_exactly(200);
}

/// Scenario: the disk is not to be trusted, and a pipeline commits late.
/// Guarantees: nothing is acknowledged before it is committed; all is afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_durable_disk_nothing_is_acknowledged_before_its_commit() {
    let world = World::start().await;
    world.publish(numbered(0..100)).await;
    let sink = Sink::new();
    let source = sink.read(SourceConfig { durable: false, ..world.config() });
    sink.until(&source, |counts| counts.appended == 100).await;
    assert_eq!((source.status().counts.acks, source.status().outstanding), (0, 100));
    source.committed(millrace_model::Offset(100));
    sink.until(&source, |counts| counts.acks == 100).await;
    assert!(!source.status().durable);
}

/// Scenario: a topic is read, the source is stopped, more is published, the source is started again and then
/// drained.
/// Guarantees: a temporary subscription is made, outlives a stop with all that is published meanwhile, and is
/// gone after the drain.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_read_through_a_temporary_subscription() {
    let world = World::start().await;
    let sink = Sink::new();
    let of_topic = || SourceConfig { input: Input::Topic(world.topic()), ..world.config() };
    let source = sink.read(of_topic());
    Source::check(&of_topic()).await.unwrap();
    let name = source.status().subscription;
    assert!(name.starts_with("projects/p/subscriptions/top_millrace_"), "{name}");
    world.publish(numbered(0..10)).await;
    sink.until(&source, |counts| counts.acks == 10).await;
    source.stop().await;
    world.publish(numbered(10..20)).await;
    let source = sink.read(of_topic());
    assert_eq!(source.status().subscription, name);
    sink.until(&source, |counts| counts.acks == 10).await;
    sink.holds_exactly(20);
    source.drain().await;
    let left = world.subscriptions().await;
    assert_eq!(left, [world.subscription()]);
}

/// Scenario: a subscription that does not exist, then does.
/// Guarantees: the error says what to do; the source tries again and reads when the subscription is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_not_there_is_told_and_waited_for() {
    let world = World::start().await;
    let name = "projects/p/subscriptions/later";
    let later = SourceConfig { input: Input::Subscription(name.to_owned()), ..world.config() };
    let sink = Sink::new();
    let error = Source::check(&later).await.unwrap_err();
    let source = sink.read(later);
    assert!(matches!(error, SourceError::NotFound(_)) && !error.is_transient(), "{error}");
    for part in [name, "gcloud pubsub subscriptions create later --topic TOPIC --project p", "of source test"]
    {
        assert!(error.to_string().contains(part), "{error}");
    }
    sink.until(&source, |_| source.status().state == SourceState::Failing).await;
    assert_eq!(source.status().error, Some(error.to_string()));
    world.subscribe(name, |subscription| subscription).await;
    world.publish(numbered(0..10)).await;
    let counts = sink.until(&source, |counts| counts.acks == 10).await;
    assert!(counts.reconnects > 0, "{counts:?}");
    assert_eq!((source.status().state, source.status().error), (SourceState::Running, None));

    let missing = Input::Topic("projects/p/topics/nowhere".to_owned());
    let of_topic = SourceConfig { input: missing, ..world.config() };
    let error = Source::check(&of_topic).await.unwrap_err().to_string();
    assert!(error.contains("gcloud pubsub topics create nowhere"), "{error}");
}

/// Scenario: nobody listens where the service should be.
/// Guarantees: the source starts all the same, says so, and the watchdog's gauge grows.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_answer_is_told() {
    let sink = Sink::new();
    // The port of tcpmux, which nothing has used for decades.
    let nowhere = config("http://127.0.0.1:1");
    let error = Source::check(&nowhere).await.unwrap_err();
    let source = sink.read(nowhere);
    assert!(error.is_transient() && error.to_string().contains("does not answer"), "{error}");
    sink.until(&source, |_| source.status().stalled_seconds >= 1).await;
    sink.until(&source, |_| source.status().state == SourceState::Failing).await;
    assert!(source.status().error.unwrap().contains("does not answer"));
    // An end does not wait for the service.
    let stopped = tokio::time::timeout(Duration::from_secs(30), source.stop()).await;
    assert!(stopped.is_ok());
}

/// Scenario: no message comes for long.
/// Guarantees: the service is asked and answers, so that nothing stalls; the stream is opened anew and reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_is_opened_anew() {
    let world = World::start().await;
    let sink = Sink::new();
    let quiet = SourceConfig {
        probe_after: Duration::from_millis(10),
        reopen_after: Duration::from_millis(1500),
        ..world.config()
    };
    let source = sink.read(quiet);
    sink.until(&source, |counts| counts.reconnects >= 2).await;
    assert_eq!(source.status().state, SourceState::Running);
    world.publish(numbered(0..10)).await;
    sink.until(&source, |counts| counts.acks == 10).await;
    sink.holds_exactly(10);
}

/// Scenario: Google's own emulator, which keeps nothing on disk; the source is killed once.
/// Guarantees: as with the server of this project: each message once, through a temporary subscription too.
/// Needs `gcloud beta emulators pubsub start`, and PUBSUB_EMULATOR_HOST.
#[cfg(feature = "googles-emulator")]
#[tokio::test(flavor = "multi_thread")]
async fn googles_emulator_is_read() {
    let address = std::env::var("PUBSUB_EMULATOR_HOST").unwrap();
    let world = World::at(&address).await;
    world.publish(numbered(0..2000)).await;
    let mut sink = Sink::new();
    let source = sink.read(SourceConfig { outstanding_messages_max: 50, ..world.config() });
    sink.until(&source, |counts| counts.received >= 100).await;
    drop(source);
    sink = sink.crash();
    let source = sink.read(world.config());
    sink.until_there_are(2000).await;
    source.stop().await;
    sink.holds_exactly(2000);

    let sink = Sink::new();
    let of_topic = || SourceConfig { input: Input::Topic(world.topic()), ..world.config() };
    let source = sink.read(of_topic());
    sink.until(&source, |_| source.status().state == SourceState::Running).await;
    world.publish(numbered(0..10)).await;
    sink.until(&source, |counts| counts.acks == 10).await;
    source.drain().await;
    sink.holds_exactly(10);
    assert_eq!(world.subscriptions().await, [world.subscription()]);
}
