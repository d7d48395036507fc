//! Leases of messages that the log does not take for long.

use std::time::Duration;

use millrace_pubsub_source::{SourceConfig, SourceState};
use tokio::time::Instant;

use crate::common::{Sink, World, numbered};

/// The ack deadline of these tests, the shortest that Pub/Sub knows.
const ACK_DEADLINE: Duration = Duration::from_secs(10);

/// Scenario: the log takes nothing for more than two ack deadlines, then everything.
/// Guarantees: the leases are extended, so that the service never delivers again; then all is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn leases_are_extended_while_the_log_takes_nothing() {
    let world = World::start().await;
    let sink = Sink::new();
    sink.take_nothing();
    let source = sink.read(SourceConfig { ack_deadline: ACK_DEADLINE, ..world.config() });
    world.publish(numbered(0..20)).await;
    sink.until(&source, |counts| counts.received == 20 && counts.holds > 0).await;
    let held = Instant::now();
    while held.elapsed() < ACK_DEADLINE * 5 / 2 {
        assert_eq!((world.leased(), source.status().counts.received), (20, 20), "after {:?}", held.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((source.status().state, source.status().outstanding), (SourceState::Holding, 20));

    sink.take_all();
    let counts = sink.until(&source, |counts| counts.acks == 20).await;
    assert_eq!((counts.received, counts.appended, counts.duplicates, counts.nacks), (20, 20, 0, 0));
    world.drained().await;
    sink.holds_exactly(20);
}

/// Scenario: the log takes nothing for longer than leases are extended, then everything.
/// Guarantees: messages come again while the first copies wait; all are recognised, stored once, and acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_longer_than_its_lease_comes_again_and_is_recognised() {
    let world = World::start().await;
    let sink = Sink::new();
    sink.take_nothing();
    let short =
        SourceConfig { ack_deadline: ACK_DEADLINE, lease_max: Duration::from_secs(1), ..world.config() };
    let source = sink.read(short);
    world.publish(numbered(0..20)).await;
    sink.until(&source, |counts| counts.received >= 40 && counts.holds > 0).await;
    assert_eq!((source.status().state, source.status().counts.nacks), (SourceState::Holding, 0));

    sink.take_all();
    let counts = sink.until(&source, |counts| counts.acks >= 40).await;
    assert_eq!((counts.appended, counts.nacks), (20, 0));
    assert!(counts.duplicates >= 20, "{counts:?}");
    world.drained().await;
    sink.holds_exactly(20);
}
