//! Settings that change while messages are out.

use std::time::Duration;

use super::{Rig, SUBSCRIPTION, TOPIC, has_one_message, seconds, texts};
use crate::proto::v1;
use crate::subscription::Verdict;

const DEAD: &str = "projects/p/topics/dead";

fn attempts(messages: &[v1::ReceivedMessage]) -> Vec<i32> {
    messages.iter().map(|message| message.delivery_attempt).collect()
}

/// Scenario: retry policy, dead-letter policy, exactly-once delivery and ack deadline change while messages are
/// out, and the power goes.
/// Guarantees: each takes effect with the next answer or delivery, and is in force after the restart.
#[test]
fn changed_settings_take_effect_at_once_and_outlive_a_restart() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    rig.topic(DEAD);
    rig.subscription(|_| {});
    rig.publish(TOPIC, 0, &["a", "b"]);
    let first = rig.pull();
    assert_eq!((texts(&first), attempts(&first)), (vec!["a".to_owned(), "b".to_owned()], vec![0, 0]));
    rig.nack(&first[0]);
    let again = rig.pull();
    assert_eq!(texts(&again), ["a"], "without a retry policy at once");
    let policy = v1::RetryPolicy { minimum_backoff: seconds(600), maximum_backoff: seconds(600) };
    rig.update("retry_policy", |own| own.retry_policy = Some(policy)).unwrap();
    rig.nack(&again[0]);
    assert!(rig.pull().is_empty(), "with one it waits");
    let policy = v1::DeadLetterPolicy { dead_letter_topic: DEAD.to_owned(), max_delivery_attempts: 6 };
    rig.update("dead_letter_policy", |own| own.dead_letter_policy = Some(policy.clone())).unwrap();
    rig.update("enable_exactly_once_delivery", |own| own.enable_exactly_once_delivery = true).unwrap();
    rig.update("ack_deadline_seconds", |own| own.ack_deadline_seconds = 600).unwrap();
    // From before it was exactly once, and the newest of its message.
    assert_eq!(rig.ack(&first[1]), Verdict::Good);

    let rig = rig.restart();
    let shown = rig.broker.get_subscription(SUBSCRIPTION).unwrap();
    assert_eq!((shown.retry_policy.is_some(), shown.dead_letter_policy), (true, Some(policy)));
    let settings = rig.broker.subscription(SUBSCRIPTION).unwrap().settings();
    assert_eq!(settings.ack_deadline, Duration::from_secs(600));
    assert!(settings.rules.exactly_once && settings.rules.attempts_max == Some(6));
    let third = rig.pull();
    assert_eq!((texts(&third), attempts(&third)), (vec!["a".to_owned()], vec![2]), "one failure was counted");
    rig.update("retry_policy", |own| own.retry_policy = None).unwrap();
    rig.nack(&third[0]);
    let fourth = rig.pull();
    assert_eq!((texts(&fourth), attempts(&fourth)), (vec!["a".to_owned()], vec![3]));
    assert_eq!(rig.ack(&third[0]), Verdict::Stale);
    assert_eq!(rig.ack(&fourth[0]), Verdict::Good);
}

/// Scenario: dead letters wait, as their topic was deleted; then the policy names another topic, or goes.
/// Guarantees: they are forwarded there, or delivered again; the same over a restart.
#[test]
fn waiting_dead_letters_follow_the_policy() {
    let other = "projects/p/topics/other";
    for (removes, restarts) in [(false, false), (true, false), (true, true)] {
        let mut rig = Rig::new();
        [TOPIC, DEAD, other].into_iter().for_each(|name| rig.topic(name));
        let policy = |name: &str| v1::DeadLetterPolicy {
            dead_letter_topic: name.to_owned(),
            max_delivery_attempts: 5,
        };
        rig.subscription(|own| own.dead_letter_policy = Some(policy(DEAD)));
        rig.broker.delete_topic(DEAD).unwrap();
        rig.publish(TOPIC, 0, &["poison"]);
        rig.fail_first(5);
        assert!(rig.pull().is_empty());
        let after = if removes { None } else { Some(policy(other)) };
        rig.update("dead_letter_policy", |own| own.dead_letter_policy = after).unwrap();
        if restarts {
            rig = rig.restart();
        }
        if removes {
            assert_eq!(texts(&rig.pull()), ["poison"]);
        } else {
            let to = rig.log.topic("p~other").unwrap();
            has_one_message(&to);
        }
    }
}

/// Scenario: a stricter dead-letter policy than a waiting message has failed already.
/// Guarantees: it is forwarded without another delivery.
#[test]
fn a_stricter_policy_holds_for_what_has_failed_before() {
    let rig = Rig::new();
    rig.topic(TOPIC);
    rig.topic(DEAD);
    let policy = |max_delivery_attempts| {
        let dead_letter_topic = DEAD.to_owned();
        Some(v1::DeadLetterPolicy { dead_letter_topic, max_delivery_attempts })
    };
    rig.subscription(|own| own.dead_letter_policy = policy(9));
    rig.publish(TOPIC, 0, &["poison"]);
    rig.fail_first(6);
    rig.update("dead_letter_policy", |own| own.dead_letter_policy = policy(5)).unwrap();
    let dead = rig.log.topic("p~dead").unwrap();
    has_one_message(&dead);
    assert!(rig.pull().is_empty());
}
