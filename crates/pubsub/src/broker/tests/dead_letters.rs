//! Dead-letter topics that are not there, or not any more.

use millrace_model::{Offset, Source as _};
use tonic::Code;

use super::{Rig, SUBSCRIPTION, TOPIC, WAIT_MAX, has_one_message, refused, subscription, texts};
use crate::proto::v1;

const DEAD: &str = "projects/p/topics/dead";

#[expect(clippy::unnecessary_wraps, reason = "resources have it so")]
fn policy(topic: &str) -> Option<v1::DeadLetterPolicy> {
    Some(v1::DeadLetterPolicy { dead_letter_topic: topic.to_owned(), max_delivery_attempts: 5 })
}

/// Scenario: a subscription is made, or changed, with a dead-letter topic that does not exist.
/// Guarantees: it is refused by the topic's name and nothing is made or changed; other fields may change also
/// when the topic was deleted since.
#[test]
fn a_dead_letter_topic_must_be_there() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    let with_policy = subscription(|own| own.dead_letter_policy = policy(DEAD));
    refused(rig.broker.create_subscription(with_policy), Code::NotFound, DEAD);
    refused(rig.broker.get_subscription(SUBSCRIPTION), Code::NotFound, SUBSCRIPTION);
    assert!(rig.log.topic("p~top").unwrap().cursors().is_empty(), "nothing is held back for it");
    let made = rig.subscription(|_| {});
    refused(
        rig.update("dead_letter_policy", |own| own.dead_letter_policy = policy(DEAD)),
        Code::NotFound,
        DEAD,
    );
    assert_eq!(rig.broker.get_subscription(SUBSCRIPTION).unwrap(), made);

    rig.topic(DEAD);
    rig.update("dead_letter_policy", |own| own.dead_letter_policy = policy(DEAD)).unwrap();
    rig.broker.delete_topic(DEAD).unwrap();
    rig.update("ack_deadline_seconds", |own| own.ack_deadline_seconds = 30).unwrap();
    let attempts = "dead_letter_policy.max_delivery_attempts";
    refused(rig.update(attempts, |own| own.dead_letter_policy = policy(DEAD)), Code::NotFound, DEAD);
}

/// Scenario: the dead-letter topic is deleted, and made again after a message has failed too often; the same
/// over a restart.
/// Guarantees: the message waits, with its ordering key, and is forwarded once the topic is there.
#[test]
fn dead_letters_wait_for_their_topic_and_then_go_on() {
    for restarts in [false, true] {
        let mut rig = Rig::new();
        rig.topic(TOPIC);
        rig.topic(DEAD);
        rig.subscription(|own| {
            own.dead_letter_policy = policy(DEAD);
            own.enable_message_ordering = true;
        });
        rig.broker.delete_topic(DEAD).unwrap();
        rig.publish(TOPIC, 0, &["poison", "later"]);
        rig.fail_first(5);
        assert!(rig.pull().is_empty(), "its key waits");
        if restarts {
            // Nobody waits for a nack; this is answered when it and all before it are on the disk.
            rig.subscription(|own| own.name = "projects/p/subscriptions/later".to_owned());
            rig = rig.restart();
            assert!(rig.pull().is_empty(), "its key waits");
        }
        rig.topic(DEAD);
        let dead = rig.log.topic("p~dead").unwrap();
        has_one_message(&dead);
        assert_eq!(texts(&rig.pull_late()), ["later"], "its key goes on");
    }
}

/// Scenario: large messages are dead letters while their topic is not there.
/// Guarantees: as many go together as fit into a piece, so that neither memory nor the topic's queue is full of
/// them; a larger one goes alone.
#[test]
fn large_dead_letters_go_in_pieces() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    rig.topic(DEAD);
    rig.subscription(|own| own.dead_letter_policy = policy(DEAD));
    rig.broker.delete_topic(DEAD).unwrap();
    for megabytes in [9, 3, 3, 3] {
        rig.publish(TOPIC, 0, &[&"x".repeat(megabytes << 20)]);
        rig.fail_first(5);
    }
    let subscription = rig.broker.subscription(SUBSCRIPTION).unwrap();
    let sizes = || -> Vec<usize> {
        let letters = subscription.dead_letters().unwrap();
        letters.iter().map(|(_, letter)| letter.data.len() >> 20).collect()
    };
    assert_eq!(sizes(), [9]);
    subscription.change(|machine, _| machine.forwarded(0));
    assert_eq!(sizes(), [3, 3]);
    rig.topic(DEAD);
    let dead = rig.log.topic("p~dead").unwrap();
    assert_eq!(dead.wait(Offset(2), WAIT_MAX), Offset(3));
}
