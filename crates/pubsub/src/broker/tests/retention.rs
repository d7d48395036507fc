//! How long topics and subscriptions keep messages.

use millrace_log::TopicConfig;
use millrace_model::Micros;
use tonic::Code;

use super::{Counts, DAY, HOUR, Rig, SUBSCRIPTION, TOPIC, refused, seconds, texts, topic};
use crate::proto::v1;

const LOG: &str = "p~top";

/// Scenario: messages older and newer than a subscription keeps them.
/// Guarantees: the older ones are dropped and counted, whether or not somebody has them; newer ones stay, and
/// so do those of a subscription that keeps them longer.
#[test]
fn messages_too_old_for_a_subscription_are_dropped_and_counted() {
    let other = "projects/p/subscriptions/other";
    let rig = Rig::new();
    rig.topic(TOPIC);
    rig.subscription(|own| own.message_retention_duration = seconds(1_800));
    rig.subscription(|own| own.name = other.to_owned());
    rig.publish(TOPIC, HOUR, &["old", "leased"]);
    rig.publish(TOPIC, 60, &["new"]);
    assert_eq!(texts(&rig.pull()), ["old", "leased", "new"]);
    let now = Micros::now();
    let counts = Counts::of(|| rig.broker.maintain(now));
    assert_eq!(counts.get("millrace_pubsub_expired_total"), 2);
    let open = |name| rig.broker.figures().into_iter().find(|one| one.name == name).unwrap().backlog_messages;
    assert_eq!((open(SUBSCRIPTION), open(other)), (1, 3));
    assert_eq!(Counts::of(|| rig.broker.maintain(now)).get("millrace_pubsub_expired_total"), 0);
    let later = super::after(now, 1_800);
    assert_eq!(Counts::of(|| rig.broker.maintain(later)).get("millrace_pubsub_expired_total"), 1);
    assert_eq!((open(SUBSCRIPTION), open(other)), (0, 3));
    rig.publish(TOPIC, 0, &["newest"]);
    assert_eq!(texts(&rig.pull()), ["newest"]);
}

/// Scenario: retention of topic and subscriptions is set, changed, and gone with its subscription, by whatever
/// way; then the configuration's changes.
/// Guarantees: the topic keeps messages for the longest of them at each time.
#[test]
fn a_topic_keeps_messages_for_the_longest_of_all_that_want_them() {
    let other = "projects/p/subscriptions/other";
    let rig = Rig::with(|config| config.topic.retention_age = std::time::Duration::from_secs(2 * 86_400));
    let own = |days| v1::Topic { message_retention_duration: seconds(days * DAY), ..topic(TOPIC) };
    rig.broker.create_topic(own(3)).unwrap();
    assert_eq!(rig.retention_days(LOG), 3);
    rig.subscription(|_| {});
    assert_eq!(rig.retention_days(LOG), 7, "a subscription's default");
    rig.subscription(|sub| {
        sub.name = other.to_owned();
        sub.message_retention_duration = seconds(20 * DAY);
    });
    assert_eq!(rig.retention_days(LOG), 20);
    rig.update_topic("message_retention_duration", own(30)).unwrap();
    assert_eq!(rig.retention_days(LOG), 30);
    rig.update_topic("message_retention_duration", topic(TOPIC)).unwrap();
    assert_eq!(rig.retention_days(LOG), 20);
    rig.update("message_retention_duration", |sub| sub.message_retention_duration = seconds(9 * DAY))
        .unwrap();
    rig.broker.delete_subscription(other).unwrap();
    assert_eq!(rig.retention_days(LOG), 9);
    rig.broker.detach_subscription(SUBSCRIPTION).unwrap();
    assert_eq!(rig.retention_days(LOG), 2);
    let rig =
        rig.restart_with(|config| config.topic.retention_age = std::time::Duration::from_secs(4 * 86_400));
    assert_eq!(rig.retention_days(LOG), 4);
}

/// Scenario: a topic that the configuration names, for less time than a subscription wants it, is to keep
/// messages longer; one that was made here, with a retention of its own, is named by the configuration later.
/// Guarantees: what would do nothing is refused, and says what to do; other fields may change; nothing is shown
/// that is not done.
#[test]
fn topics_of_the_configuration_keep_its_retention() {
    let name = "projects/local/topics/orders";
    let rig = Rig::new();
    rig.broker
        .create_topic(v1::Topic { message_retention_duration: seconds(30 * DAY), ..topic(name) })
        .unwrap();
    rig.subscription(|own| own.topic = name.to_owned());
    let rig = rig.restart_with(|config| config.kept_topics.extend(["orders".to_owned()]));
    // As the server does with each topic that its configuration names.
    let retention_age = std::time::Duration::from_secs(86_400);
    rig.log.create_topic("orders", TopicConfig { retention_age, ..TopicConfig::default() }).unwrap();
    let longer = v1::Topic { message_retention_duration: seconds(20 * DAY), ..topic(name) };
    refused(
        rig.update_topic("message_retention_duration", longer),
        Code::FailedPrecondition,
        "retention_hours",
    );
    assert_eq!(rig.broker.get_topic(name).unwrap().message_retention_duration, None);
    let shown = rig.broker.get_subscription(SUBSCRIPTION).unwrap();
    assert_eq!(shown.topic_message_retention_duration, None);
    let labels = [("a".to_owned(), "b".to_owned())].into();
    rig.update_topic("labels", v1::Topic { labels, ..topic(name) }).unwrap();
    rig.update_topic("message_retention_duration", topic(name)).unwrap();
    rig.broker.delete_subscription(SUBSCRIPTION).unwrap();
    assert_eq!(rig.retention_days("orders"), 1);
}
