use super::*;

const A: Holder = Holder(1);
const B: Holder = Holder(2);
const ALL: Room = Room { messages: usize::MAX, bytes: u64::MAX };

fn rules() -> Rules {
    Rules { ordered: false, exactly_once: false, backoff: None, attempts_max: None, tracked_max: 1000 }
}

fn seconds(count: u64) -> Moment {
    Moment::from_secs(count)
}

/// A machine that has looked at messages of these keys.
fn machine(rules: Rules, keys: &[&str]) -> Machine {
    let mut machine = Machine::new(rules, Progress::at(0), 77, keys.len() as u64);
    for (offset, key) in keys.iter().enumerate() {
        machine.look_at(offset as u64, 10, key.as_bytes());
    }
    machine
}

fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.offset).collect()
}

fn ticket(machine: &Machine, delivery: Delivery) -> Ticket {
    machine.ticket(delivery.offset, delivery.delivery)
}

#[test]
fn a_nack_replays_the_later_messages_of_its_key_in_order() {
    let mut machine = machine(Rules { ordered: true, ..rules() }, &["k", "k", "other", "k"]);
    let first = machine.deliver(A, seconds(10), ALL);
    assert_eq!(offsets(&first), [0, 1, 2, 3]);
    assert_eq!(machine.ack(ticket(&machine, first[0]), seconds(1)), Answer::Taken);
    assert_eq!(machine.nack(ticket(&machine, first[1]), seconds(1)), Answer::Taken);
    // B gets what A gave back and all that comes after it; "other" is still A's.
    let second = machine.deliver(B, seconds(10), ALL);
    assert_eq!(offsets(&second), [1, 3]);
    assert_eq!(second[1].delivery, 2);
    // A's earlier delivery of 3 counts no more.
    assert_eq!(machine.ack(ticket(&machine, first[3]), seconds(2)), Answer::Stale);
    assert_eq!(machine.ack(ticket(&machine, first[2]), seconds(2)), Answer::Taken);
}

#[test]
fn a_key_is_with_one_holder_at_a_time() {
    let mut machine = machine(Rules { ordered: true, ..rules() }, &["k", "k", "k"]);
    let one = machine.deliver(A, seconds(10), Room { messages: 1, ..ALL });
    assert_eq!(offsets(&one), [0]);
    assert!(machine.deliver(B, seconds(10), ALL).is_empty());
    assert_eq!(offsets(&machine.deliver(A, seconds(10), Room { messages: 1, ..ALL })), [1]);
    assert_eq!(machine.expire(seconds(10)), 1, "the later one comes back with the first, not by its own");
    assert_eq!(offsets(&machine.deliver(B, seconds(20), ALL)), [0, 1, 2]);
}

#[test]
fn a_late_ack_counts_unless_deliveries_are_exactly_once() {
    for exactly_once in [false, true] {
        let mut machine = machine(Rules { exactly_once, ..rules() }, &[""]);
        let delivery = machine.deliver(A, seconds(10), ALL)[0];
        let late = machine.ack(ticket(&machine, delivery), seconds(10));
        assert_eq!(late, if exactly_once { Answer::Stale } else { Answer::Taken });
        let again = if exactly_once { Answer::Stale } else { Answer::Already };
        assert_eq!(machine.ack(ticket(&machine, delivery), seconds(11)), again);
    }
}

#[test]
fn acks_of_an_earlier_life_count_until_the_message_is_delivered_again() {
    for exactly_once in [false, true] {
        let rules = Rules { exactly_once, ..rules() };
        let mut before = machine(rules, &["", ""]);
        let deliveries = before.deliver(A, seconds(10), ALL);
        let tickets = [ticket(&before, deliveries[0]), ticket(&before, deliveries[1])];
        let mut after = Machine::new(rules, before.progress().clone(), 78, 2);
        after.look_at(0, 10, b"");
        after.deliver(B, seconds(10), ALL);
        assert_eq!(after.ack(tickets[0], seconds(1)), Answer::Stale, "it was delivered again");
        let not_yet = if exactly_once { Answer::Stale } else { Answer::Taken };
        assert_eq!(after.ack(tickets[1], seconds(1)), not_yet);
        let beyond = Ticket { offset: 2, ..tickets[1] };
        assert_eq!(after.ack(beyond, seconds(1)), Answer::Stale, "nothing was ever delivered there");
    }
}

#[test]
fn failures_back_off_and_end_in_the_dead_letter_topic() {
    let backoff = Backoff { min: seconds(10), max: seconds(25) };
    let rules = Rules { backoff: Some(backoff), attempts_max: Some(4), ..rules() };
    let mut machine = machine(rules, &[""]);
    let mut now = seconds(0);
    for (attempt, wait) in [(1, 10), (2, 20), (3, 25)] {
        let delivery = machine.deliver(A, now + seconds(5), ALL)[0];
        assert_eq!(delivery.attempt, attempt);
        assert_eq!(machine.nack(ticket(&machine, delivery), now), Answer::Taken);
        now += seconds(wait);
        machine.expire(now - Moment::from_micros(1));
        assert!(machine.deliver(A, now, ALL).is_empty(), "attempt {attempt}");
        machine.expire(now);
    }
    machine.deliver(A, now + seconds(5), ALL);
    assert_eq!(machine.expire(now + seconds(5)), 1);
    assert!(machine.deliver(A, now, ALL).is_empty());
    assert_eq!(machine.dead(10), [(0, 4)]);
    // A restart before it was forwarded forgets nothing.
    let mut after = Machine::new(machine.rules, machine.progress().clone(), 78, 1);
    after.look_at(0, 10, b"");
    assert_eq!(after.dead(10), [(0, 4)]);
    after.forwarded(0);
    assert_eq!(after.progress(), &Progress::at(1));
}

#[test]
fn flow_control_counts_messages_and_bytes() {
    let mut machine = machine(rules(), &[""; 10]);
    machine.open_holder(A, 3, 1000);
    machine.open_holder(B, 100, 25);
    let to_a = machine.deliver(A, seconds(10), ALL);
    assert_eq!(to_a.len(), 3);
    assert_eq!(machine.deliver(B, seconds(10), ALL).len(), 2, "a third one would pass its bytes");
    assert!(!machine.has_room(A, ALL));
    machine.ack(ticket(&machine, to_a[0]), seconds(1));
    assert_eq!(machine.deliver(A, seconds(10), ALL).len(), 1);
    machine.close_holder(A);
    machine.open_holder(A, 3, 5);
    assert_eq!(machine.deliver(A, seconds(10), ALL).len(), 1, "one that is too large, for who has none");
}

#[test]
fn a_seek_voids_what_was_delivered() {
    let mut machine = machine(rules(), &["", "", ""]);
    let before = machine.deliver(A, seconds(10), ALL);
    machine.ack(ticket(&machine, before[0]), seconds(1));
    let old = ticket(&machine, before[1]);
    machine.seek(Progress::at(0), 5);
    assert_eq!(machine.ack(old, seconds(1)), Answer::Stale);
    assert_eq!(machine.next_to_look_at(), Some(0));
    assert_eq!(machine.leased(), 0);
}

#[test]
fn what_the_topic_lost_is_counted_once() {
    let mut machine = machine(rules(), &[""; 6]);
    let deliveries = machine.deliver(A, seconds(10), ALL);
    machine.ack(ticket(&machine, deliveries[1]), seconds(1));
    machine.ack(ticket(&machine, deliveries[4]), seconds(1));
    assert_eq!(machine.expire_before(3), 2);
    assert_eq!(machine.expire_before(3), 0);
    assert_eq!(machine.ack(ticket(&machine, deliveries[2]), seconds(1)), Answer::Already);
    assert_eq!(machine.progress().open_before(6), 2);
}

#[test]
fn exactly_once_an_earlier_delivery_is_stale_also_when_a_later_one_was_acked() {
    let mut machine = machine(Rules { exactly_once: true, ..rules() }, &[""]);
    let deliver = |machine: &mut Machine, holder| {
        let delivery = machine.deliver(holder, seconds(10), ALL)[0];
        ticket(machine, delivery)
    };
    let first = deliver(&mut machine, A);
    assert_eq!(machine.nack(first, seconds(1)), Answer::Taken);
    let second = deliver(&mut machine, B);
    assert_eq!(machine.ack(second, seconds(2)), Answer::Taken);
    // A did not do what B did, and must not be told so.
    assert_eq!(machine.ack(first, seconds(3)), Answer::Stale);
    assert_eq!(machine.extend(first, seconds(3), seconds(9)), Answer::Stale);
    assert_eq!(machine.nack(first, seconds(3)), Answer::Stale);
    // B may not have heard the answer.
    assert_eq!(machine.ack(second, seconds(3)), Answer::Already);
}

#[test]
fn what_somebody_else_has_done_is_done_whoever_had_it() {
    let mut machine = machine(Rules { ordered: true, ..rules() }, &["k", "", "k", ""]);
    let leased = machine.deliver(A, seconds(10), ALL);
    assert_eq!(machine.ack(ticket(&machine, leased[1]), seconds(1)), Answer::Taken);
    assert_eq!(machine.done_before(3), 2);
    assert_eq!((machine.progress().floor(), machine.leased()), (3, 1));
    assert_eq!((machine.done_before(2), machine.done_before(3)), (0, 0));
    // Also what was never looked at.
    assert_eq!(machine.done_before(9), 6);
    assert_eq!((machine.next_to_look_at(), machine.leased()), (Some(9), 0));
    assert!(machine.deliver(B, seconds(10), ALL).is_empty());
}

/// Two messages of a key of which the first has failed twice.
fn failed_twice(rules: Rules) -> Machine {
    let mut machine = machine(Rules { ordered: true, ..rules }, &["k", "k"]);
    for _ in 0..2 {
        let delivery = machine.deliver(A, seconds(10), ALL)[0];
        assert_eq!(machine.nack(ticket(&machine, delivery), seconds(0)), Answer::Taken);
    }
    machine
}

#[test]
fn a_dead_letter_waits_only_as_long_as_the_rules_say_that_it_is_one() {
    for rules_after in [rules(), Rules { attempts_max: Some(3), ..rules() }] {
        let mut machine = failed_twice(Rules { attempts_max: Some(2), ..rules() });
        assert_eq!(machine.dead(10), [(0, 2)]);
        assert!(machine.deliver(A, seconds(10), ALL).is_empty(), "its key waits");
        machine.set_rules(rules_after);
        assert!(!machine.has_dead());
        let again = machine.deliver(A, seconds(10), ALL);
        assert_eq!((offsets(&again), again[0].attempt), (vec![0, 1], 3));
        assert_eq!(machine.nack(ticket(&machine, again[0]), seconds(0)), Answer::Taken);
        assert_eq!(machine.has_dead(), rules_after.attempts_max.is_some());
    }
}

#[test]
fn what_has_had_its_deliveries_by_a_stricter_rule_is_a_dead_letter_at_once() {
    let stricter = Rules { attempts_max: Some(2), ..rules() };
    let backoff = Backoff { min: seconds(10), max: seconds(10) };
    // Ready, waiting, and out.
    let mut ready = failed_twice(Rules { attempts_max: Some(5), ..rules() });
    ready.set_rules(stricter);
    assert_eq!(ready.dead(10), [(0, 2)]);
    assert!(ready.deliver(A, seconds(10), ALL).is_empty(), "its key waits");
    ready.forwarded(0);
    assert_eq!(offsets(&ready.deliver(A, seconds(10), ALL)), [1]);

    let mut waiting = failed_twice(Rules { attempts_max: Some(5), ..rules() });
    waiting.set_rules(Rules { attempts_max: Some(5), backoff: Some(backoff), ..rules() });
    let third = waiting.deliver(A, seconds(10), ALL)[0];
    waiting.nack(ticket(&waiting, third), seconds(0));
    waiting.set_rules(stricter);
    assert_eq!((waiting.dead(10), waiting.next_timer()), (vec![(0, 3)], None));

    let mut out = failed_twice(Rules { attempts_max: Some(5), ..rules() });
    let third = out.deliver(A, seconds(10), ALL);
    out.set_rules(stricter);
    assert!(!out.has_dead(), "who has it may still ack it");
    out.take_back(&third);
    assert_eq!(out.dead(10), [(0, 2)]);
}

#[test]
fn a_changed_backoff_and_exactly_once_count_from_the_next_failure_and_ack() {
    let backoff = |length| Some(Backoff { min: seconds(length), max: seconds(length) });
    let mut machine = machine(Rules { backoff: backoff(100), ..rules() }, &["", ""]);
    let first = machine.deliver(A, seconds(10), ALL);
    machine.nack(ticket(&machine, first[0]), seconds(0));
    machine.set_rules(Rules { backoff: backoff(5), exactly_once: true, ..rules() });
    assert_eq!(machine.expire(seconds(10)), 1, "the second one");
    // Exactly once, an ack that comes too late counts no more.
    assert_eq!(machine.ack(ticket(&machine, first[1]), seconds(11)), Answer::Stale);
    assert_eq!(machine.next_timer(), Some(seconds(15)), "the first one waits as it was told");
    machine.expire(seconds(15));
    assert_eq!(offsets(&machine.deliver(A, seconds(200), ALL)), [1]);
    machine.expire(seconds(100));
    assert_eq!(offsets(&machine.deliver(A, seconds(200), ALL)), [0]);
}
