//! Fields that are not served, that only the server says, or that no protobuf may hold.

use tonic::Code;

use super::{DAY, Rig, SUBSCRIPTION, TOPIC, refused, seconds, subscription, topic};
use crate::proto::v1;

fn tags() -> std::collections::BTreeMap<String, String> {
    [("123/environment".to_owned(), "production".to_owned())].into()
}

/// Scenario: a topic with a storage policy, and resources with tags.
/// Guarantees: what would not be done is refused, at creation and by updates; what an earlier version has taken
/// is not shown and does not stand in the way.
#[test]
fn what_would_not_be_done_is_refused() {
    let policy = v1::MessageStoragePolicy {
        allowed_persistence_regions: vec!["europe-west1".to_owned()],
        enforce_in_transit: true,
    };
    let with_policy = v1::Topic { message_storage_policy: Some(policy), ..topic(TOPIC) };
    let rig = Rig::new();
    let made = rig.broker.create_topic(with_policy.clone());
    refused(made, Code::Unimplemented, "message_storage_policy");
    refused(rig.broker.create_topic(v1::Topic { tags: tags(), ..topic(TOPIC) }), Code::Unimplemented, "tags");
    rig.topic(TOPIC);
    let changed = rig.update_topic("message_storage_policy", with_policy.clone());
    refused(changed, Code::Unimplemented, "message_storage_policy");
    let changed = rig.update_topic("tags", v1::Topic { tags: tags(), ..topic(TOPIC) });
    refused(changed, Code::InvalidArgument, "cannot be changed");
    refused(
        rig.broker.create_subscription(subscription(|own| own.tags = tags())),
        Code::Unimplemented,
        "tags",
    );
    rig.subscription(|_| {});
    let snapshot = v1::CreateSnapshotRequest {
        subscription: SUBSCRIPTION.to_owned(),
        tags: tags(),
        ..v1::CreateSnapshotRequest::default()
    };
    refused(rig.broker.create_snapshot(snapshot), Code::Unimplemented, "tags");

    let earlier = |resources: &mut crate::registry::Resources| {
        if let Some(record) = resources.topics.values_mut().next() {
            record.resource = v1::Topic { tags: tags(), ..with_policy };
        }
        resources.subscriptions.values_mut().for_each(|record| record.resource.tags = tags());
        Ok(())
    };
    rig.broker.registry().change(earlier).unwrap();
    let rig = rig.restart();
    let shown = rig.broker.get_topic(TOPIC).unwrap();
    assert_eq!((shown.message_storage_policy, shown.tags.len()), (None, 0));
    let labels = [("a".to_owned(), "b".to_owned())].into();
    rig.update_topic("labels", v1::Topic { labels, ..topic(TOPIC) }).unwrap();
    assert!(rig.pull().is_empty(), "the subscription works");
    let updated = rig.update("ack_deadline_seconds", |own| own.ack_deadline_seconds = 20).unwrap();
    assert!(updated.tags.is_empty());
}

/// Scenario: requests that set what only the server says; a topic with a retention, without, and deleted.
/// Guarantees: what they say is ignored; the topic's retention is shown with each answer as it is.
#[test]
fn the_topics_retention_is_shown_as_it_is() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    let made = rig.subscription(|own| {
        own.topic_message_retention_duration = seconds(i64::MAX);
        own.analytics_hub_subscription_info = Some(v1::subscription::AnalyticsHubSubscriptionInfo::default());
    });
    assert_eq!(made.topic_message_retention_duration, None);
    assert_eq!(made.analytics_hub_subscription_info, None);
    let shown = || rig.broker.get_subscription(SUBSCRIPTION).unwrap().topic_message_retention_duration;
    let own = v1::Topic { message_retention_duration: seconds(3 * DAY), ..topic(TOPIC) };
    rig.update_topic("message_retention_duration", own).unwrap();
    assert_eq!(shown(), seconds(3 * DAY));
    let updated = rig.update("labels", |own| own.topic_message_retention_duration = seconds(DAY)).unwrap();
    assert_eq!(updated.topic_message_retention_duration, seconds(3 * DAY));
    let list = v1::ListSubscriptionsRequest { project: "projects/p".to_owned(), ..Default::default() };
    let listed = rig.broker.list_subscriptions(&list).unwrap().subscriptions;
    assert_eq!(listed[0].topic_message_retention_duration, seconds(3 * DAY));
    rig.broker.delete_topic(TOPIC).unwrap();
    assert_eq!(shown(), None);
}

/// Scenario: durations that no protobuf holds, and the longest that one does.
/// Guarantees: the request is told so, and not that the server is at fault; the longest one is kept.
#[test]
fn durations_beyond_protobufs_are_the_requests_fault() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    let longest = 315_576_000_000;
    let expires = |ttl| Some(v1::ExpirationPolicy { ttl });
    for ttl in [seconds(longest + 1), seconds(i64::MAX), seconds(i64::MIN)] {
        let made = rig.broker.create_subscription(subscription(|own| own.expiration_policy = expires(ttl)));
        refused(made, Code::InvalidArgument, "expiration_policy.ttl");
    }
    for nanos in [1_000_000_000, -1, i32::MIN, i32::MAX] {
        let bad = Some(prost_types::Duration { seconds: 2 * DAY, nanos });
        let made = rig.broker.create_subscription(subscription(|own| own.expiration_policy = expires(bad)));
        refused(made, Code::InvalidArgument, "expiration_policy.ttl");
        let made = rig
            .broker
            .create_topic(v1::Topic { message_retention_duration: bad, ..topic("projects/p/topics/other") });
        refused(made, Code::InvalidArgument, "message_retention_duration");
        let policy = v1::RetryPolicy {
            minimum_backoff: Some(prost_types::Duration { seconds: 1, nanos }),
            maximum_backoff: None,
        };
        let made = rig.broker.create_subscription(subscription(|own| own.retry_policy = Some(policy)));
        refused(made, Code::InvalidArgument, "minimum_backoff");
    }
    rig.subscription(|own| own.expiration_policy = expires(seconds(longest)));
    let rig = rig.restart();
    rig.broker.maintain(millrace_model::Micros::now());
    let shown = rig.broker.get_subscription(SUBSCRIPTION).unwrap();
    assert_eq!(shown.expiration_policy, expires(seconds(longest)));
}
