//! What is refused of snapshots, and how long they may live.

use millrace_model::Micros;
use tonic::Code;

use super::{DAY, HOUR, Rig, SUBSCRIPTION, TOPIC, mask, refused};
use crate::PubsubError;
use crate::proto::v1;

const SNAPSHOT: &str = "projects/p/snapshots/snap";

impl Rig {
    fn snapshot(&self) -> Result<v1::Snapshot, PubsubError> {
        self.broker.create_snapshot(v1::CreateSnapshotRequest {
            name: SNAPSHOT.to_owned(),
            subscription: SUBSCRIPTION.to_owned(),
            ..v1::CreateSnapshotRequest::default()
        })
    }

    fn expire_at(&self, path: &str, time: Option<(i64, i32)>) -> Result<v1::Snapshot, PubsubError> {
        let expire_time = time.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos });
        let snapshot = v1::Snapshot { name: SNAPSHOT.to_owned(), expire_time, ..v1::Snapshot::default() };
        let request = v1::UpdateSnapshotRequest { snapshot: Some(snapshot), update_mask: mask(path) };
        self.broker.update_snapshot(request)
    }
}

/// Scenario: snapshots that cannot be, and seeks to those that do not fit.
/// Guarantees: each is refused with its code and the reason.
#[test]
fn snapshots_that_cannot_be_are_refused() {
    let (other_topic, other) = ("projects/p/topics/other", "projects/p/subscriptions/other");
    let rig = Rig::new();
    rig.topic(TOPIC);
    rig.topic(other_topic);
    rig.subscription(|_| {});
    rig.subscription(|own| (own.name, own.topic) = (other.to_owned(), other_topic.to_owned()));
    rig.publish(TOPIC, 7 * DAY - HOUR / 2, &["old"]);
    refused(rig.snapshot(), Code::FailedPrecondition, "less than an hour");
    rig.ack(&rig.pull()[0]);
    rig.snapshot().unwrap();
    refused(rig.snapshot(), Code::AlreadyExists, SNAPSHOT);
    let seek = |subscription: &str, snapshot: &str| {
        let target = Some(v1::seek_request::Target::Snapshot(snapshot.to_owned()));
        rig.broker.seek(&v1::SeekRequest { subscription: subscription.to_owned(), target })
    };
    refused(seek(other, SNAPSHOT), Code::FailedPrecondition, "another topic");
    let missing = "projects/p/snapshots/missing";
    refused(seek(SUBSCRIPTION, missing), Code::NotFound, missing);
    rig.broker.delete_snapshot(SNAPSHOT).unwrap();
    rig.broker.detach_subscription(SUBSCRIPTION).unwrap();
    refused(rig.snapshot(), Code::FailedPrecondition, "detached");
}

/// Scenario: an update says when a snapshot expires: not at all, in the past, too late, in no time at all.
/// Guarantees: it always expires, and not later than one that is made now; what is refused changes nothing.
#[test]
fn a_snapshot_cannot_be_made_to_live_longer_than_a_new_one() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    rig.subscription(|_| {});
    rig.publish(TOPIC, 3 * DAY, &["old"]);
    let made = rig.snapshot().unwrap();
    let now = Micros::now().0 / 1_000_000;
    for (path, time, rule) in [
        ("expire_time", None, "is not set"),
        ("expire_time", Some((now - 1, 0)), "later than now"),
        ("expire_time", Some((now + 4 * DAY + 600, 0)), "7 days from now less the age"),
        ("expire_time", Some((i64::MAX, 0)), "7 days from now"),
        ("expire_time", Some((i64::MIN, i32::MIN)), "later than now"),
        ("expire_time", Some((now + DAY, 1_000_000_000)), "7 days from now"),
        ("expire_time.nanos", Some((0, -1)), "7 days from now"),
    ] {
        refused(rig.expire_at(path, time), Code::InvalidArgument, rule);
    }
    assert_eq!(rig.broker.get_snapshot(SNAPSHOT).unwrap(), made);
    let sooner = rig.expire_at("expire_time", Some((now + DAY, 5))).unwrap();
    assert_eq!(sooner.expire_time, Some(prost_types::Timestamp { seconds: now + DAY, nanos: 5 }));
    // Up to where a new one would live.
    rig.expire_at("expire_time", Some((now + 4 * DAY - 600, 0))).unwrap();
    rig.expire_at("labels", None).unwrap();
    let rig = rig.restart();
    let kept = rig.broker.get_snapshot(SNAPSHOT).unwrap().expire_time.unwrap().seconds;
    assert_eq!(kept, now + 4 * DAY - 600);
}
