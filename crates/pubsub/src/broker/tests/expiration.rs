//! Subscriptions and snapshots that nobody wants any more.

use millrace_model::Micros;
use tonic::Code;

use super::{Counts, DAY, HOUR, Rig, SUBSCRIPTION, TOPIC, after, refused, seconds, texts};
use crate::names::{Kind, Name};
use crate::proto::v1;

const USED: &str = "projects/p/subscriptions/used";
const FOR_EVER: &str = "projects/p/subscriptions/for-ever";

impl Rig {
    /// Has all subscriptions last used so many seconds ago, as the list on the disk says it.
    fn last_used_ago(&self, seconds: Option<i64>) {
        let time = seconds.map(|seconds| after(Micros::now(), -seconds));
        let mut registry = self.broker.registry();
        let set = |resources: &mut crate::registry::Resources| {
            resources.subscriptions.values_mut().for_each(|record| record.last_used = time);
            Ok(())
        };
        registry.change(set).unwrap();
    }

    fn written_last_use(&self, name: &str) -> Option<Micros> {
        let registry = self.broker.registry();
        registry.resources().subscriptions[&Name::parse(Kind::Subscription, name).unwrap()].last_used
    }

    fn three_subscriptions(&self) {
        self.topic(TOPIC);
        self.subscription(|_| {});
        self.subscription(|own| USED.clone_into(&mut own.name));
        self.subscription(|own| {
            FOR_EVER.clone_into(&mut own.name);
            own.expiration_policy = Some(v1::ExpirationPolicy { ttl: None });
        });
    }

    /// Maintenance for a bit more than an hour, so that nobody was away because of a jump of the clock.
    fn maintain_until(&self, end: Micros) {
        for before in [HOUR + 60, HOUR / 2, 0] {
            self.broker.maintain(after(end, -before));
        }
    }

    fn names(&self) -> Vec<String> {
        self.broker.figures().into_iter().map(|one| one.name).collect()
    }
}

/// Scenario: nobody uses a subscription for longer than it lives.
/// Guarantees: it is deleted then, not before, and counted; one without a time to live is not.
#[test]
fn a_forgotten_subscription_is_deleted_in_time() {
    let rig = Rig::new();
    rig.three_subscriptions();
    rig.update("expiration_policy", |own| {
        own.expiration_policy = Some(v1::ExpirationPolicy { ttl: seconds(2 * DAY) });
    })
    .unwrap();
    let now = Micros::now();
    let deleted = |days, hours| {
        let counts = Counts::of(|| rig.maintain_until(after(now, days * DAY + hours * HOUR)));
        counts.get("millrace_pubsub_resources_expired_total")
    };
    assert_eq!((deleted(0, 0), deleted(2, 0), deleted(2, 2), deleted(2, 2)), (0, 0, 1, 0));
    assert_eq!(rig.names(), [FOR_EVER, USED]);
    assert_eq!((deleted(31, 0), deleted(32, 0), deleted(3_650, 0)), (0, 1, 0));
    assert_eq!(rig.names(), [FOR_EVER]);
    refused(rig.broker.get_subscription(USED), Code::NotFound, USED);
    assert!(rig.log.topic("p~top").unwrap().cursors().len() == 1, "nothing is held back for them");
}

/// Scenario: a server that is restarted again and again while nobody uses one subscription, and somebody does
/// another.
/// Guarantees: what was last used before the restart counts, so the forgotten one goes, and not within an hour
/// of the start; the others stay.
#[test]
fn a_restart_does_not_begin_the_time_anew() {
    let rig = Rig::new();
    rig.three_subscriptions();
    rig.last_used_ago(Some(20 * DAY));
    let rig = rig.restart();
    rig.broker.maintain(Micros::now());
    let rig = rig.restart();
    assert!(rig.pull_from(USED).is_empty());
    let now = Micros::now();
    rig.maintain_until(after(now, 10 * DAY));
    assert_eq!(rig.names().len(), 3);
    rig.maintain_until(after(now, 12 * DAY));
    assert_eq!(rig.names(), [FOR_EVER, USED]);
    // What is known of the use is on the disk, too.
    let rig = rig.restart();
    rig.maintain_until(after(now, 30 * DAY));
    assert_eq!(rig.names(), [FOR_EVER, USED]);
    rig.maintain_until(after(now, 32 * DAY));
    assert_eq!(rig.names(), [FOR_EVER]);
}

/// Scenario: a server that was down for longer than its subscriptions live.
/// Guarantees: whoever comes back within an hour finds them.
#[test]
fn a_server_that_was_down_long_waits_for_its_subscribers() {
    let rig = Rig::new();
    rig.three_subscriptions();
    rig.publish(TOPIC, 0, &["a"]);
    rig.last_used_ago(Some(40 * DAY));
    let rig = rig.restart();
    let now = Micros::now();
    rig.broker.maintain(after(now, HOUR - 60));
    assert_eq!(rig.names().len(), 3);
    assert_eq!(texts(&rig.pull_from(USED)), ["a"]);
    rig.broker.maintain(after(now, HOUR + 60));
    assert_eq!(rig.names(), [FOR_EVER, USED]);
}

/// Scenario: the machine is suspended for longer than subscriptions live.
/// Guarantees: they are there for an hour after it wakes.
#[test]
fn a_machine_that_slept_long_waits_for_its_subscribers() {
    let rig = Rig::new();
    rig.three_subscriptions();
    let woken = after(Micros::now(), 40 * DAY);
    rig.broker.maintain(woken);
    rig.broker.maintain(after(woken, HOUR - 60));
    assert_eq!(rig.names().len(), 3);
    rig.broker.maintain(after(woken, HOUR + 60));
    assert_eq!(rig.names(), [FOR_EVER]);
}

/// Scenario: the list of an earlier version, which does not say when subscriptions were last used; then use of
/// every kind of frequency.
/// Guarantees: it is read, the time begins at the start, and is written down once; use within the hour is not
/// written down, later use is.
#[test]
fn use_is_written_down_once_an_hour() {
    let rig = Rig::new();
    rig.three_subscriptions();
    rig.last_used_ago(None);
    let rig = rig.restart();
    assert_eq!(rig.written_last_use(USED), None);
    rig.broker.maintain(Micros::now());
    let begun = rig.written_last_use(USED).unwrap();
    assert!(Micros::now().since(begun).as_secs() < 600);
    rig.pull_from(USED);
    rig.broker.maintain(Micros::now());
    assert_eq!(rig.written_last_use(USED), Some(begun));
    rig.last_used_ago(Some(2 * HOUR));
    rig.broker.maintain(Micros::now());
    assert!(rig.written_last_use(USED).unwrap() > begun);
}

/// Scenario: a snapshot, over a restart.
/// Guarantees: it is there until its expire_time, and goes then, with what it holds back.
#[test]
fn a_snapshot_goes_at_its_time() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    rig.subscription(|_| {});
    let name = "projects/p/snapshots/snap";
    let request = v1::CreateSnapshotRequest {
        name: name.to_owned(),
        subscription: SUBSCRIPTION.to_owned(),
        ..v1::CreateSnapshotRequest::default()
    };
    let made = rig.broker.create_snapshot(request).unwrap();
    let expires = Micros(made.expire_time.unwrap().seconds * 1_000_000);
    assert!(after(Micros::now(), 7 * DAY).since(expires).as_secs() < 600);
    let rig = rig.restart();
    rig.broker.maintain(after(expires, -1));
    assert_eq!(rig.broker.get_snapshot(name).unwrap(), made);
    let counts = Counts::of(|| rig.broker.maintain(expires));
    assert_eq!(counts.get("millrace_pubsub_resources_expired_total"), 1);
    refused(rig.broker.get_snapshot(name), Code::NotFound, name);
    let rig = rig.restart();
    refused(rig.broker.get_snapshot(name), Code::NotFound, name);
    assert_eq!(rig.log.topic("p~top").unwrap().cursors().len(), 1, "the subscription's");
}
