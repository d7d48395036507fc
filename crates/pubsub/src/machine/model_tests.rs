//! The machine beside a model of what was promised, over random histories.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const MESSAGES: u64 = 24;
const LEASE: Moment = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
enum Step {
    Look(u64),
    Deliver {
        holder: u64,
        messages: usize,
    },
    Ack(usize),
    Nack(usize),
    Extend(usize),
    Pass(u64),
    Seek(u64),
    SeekToSnapshot,
    Snapshot,
    Expire(u64),
    Forward,
    /// The settings change.
    Rules(Rules),
    /// The process ends; `lost` of the last changes were not durable.
    Restart {
        lost: usize,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..8).prop_map(Step::Look),
        8 => (0u64..3, 1usize..6).prop_map(|(holder, messages)| Step::Deliver { holder, messages }),
        8 => (0usize..40).prop_map(Step::Ack),
        4 => (0usize..40).prop_map(Step::Nack),
        2 => (0usize..40).prop_map(Step::Extend),
        4 => (1u64..15).prop_map(Step::Pass),
        1 => (0u64..MESSAGES).prop_map(Step::Seek),
        1 => Just(Step::SeekToSnapshot),
        1 => Just(Step::Snapshot),
        1 => (0u64..MESSAGES / 3).prop_map(Step::Expire),
        2 => Just(Step::Forward),
        2 => all_rules().prop_map(Step::Rules),
        1 => (0usize..3).prop_map(|lost| Step::Restart { lost }),
    ]
}

fn all_rules() -> impl Strategy<Value = Rules> {
    let backoff =
        prop::option::of(Just(Backoff { min: Duration::from_secs(2), max: Duration::from_secs(7) }));
    (any::<bool>(), any::<bool>(), backoff, prop::option::of(2u32..4), 3usize..30).prop_map(
        |(ordered, exactly_once, backoff, attempts_max, tracked_max)| Rules {
            ordered,
            exactly_once,
            backoff,
            attempts_max,
            tracked_max,
        },
    )
}

/// A delivery as the subscribers remember it.
#[derive(Debug, Clone, Copy)]
struct Given {
    ticket: Ticket,
    holder: u64,
    until: Moment,
}

/// What is true by the promises alone.
struct Model {
    rules: Rules,
    machine: Machine,
    now: Moment,
    epoch: u32,
    /// Messages not done with.
    open: BTreeSet<u64>,
    /// The newest delivery of each message that may still be out.
    out: BTreeMap<u64, Given>,
    /// Every delivery ever, for acks to pick from.
    given: Vec<Given>,
    /// Which delivery was acked, of this life and seek.
    acked: BTreeMap<u64, Ticket>,
    failures: BTreeMap<u64, u32>,
    /// What the ack log has, and what may be missing of it.
    durable: Progress,
    waiting: Vec<Change>,
    snapshot: Option<Progress>,
    seeks: u32,
}

impl Model {
    fn new(rules: Rules) -> Self {
        let mut machine = Machine::new(rules, Progress::at(0), 1, MESSAGES);
        (0..3).for_each(|holder| machine.open_holder(Holder(holder), 5, 60));
        Self {
            rules,
            machine,
            now: Moment::ZERO,
            epoch: 1,
            open: (0..MESSAGES).collect(),
            out: BTreeMap::new(),
            given: Vec::new(),
            acked: BTreeMap::new(),
            failures: BTreeMap::new(),
            durable: Progress::at(0),
            waiting: Vec::new(),
            snapshot: None,
            seeks: 0,
        }
    }

    fn key_of(offset: u64) -> Vec<u8> {
        // Some messages have no key.
        if offset.is_multiple_of(4) { Vec::new() } else { vec![b'a' + u8::try_from(offset % 3).unwrap()] }
    }

    fn look(&mut self, count: u64) {
        for _ in 0..count {
            let Some(next) = self.machine.next_to_look_at().filter(|next| *next < MESSAGES) else { return };
            self.machine.look_at(next, 10, &Self::key_of(next));
        }
    }

    fn time_passes(&mut self) {
        let over = self.out.iter().filter(|(_, given)| given.until <= self.now);
        let in_order: BTreeSet<(Moment, u64)> = over.map(|(offset, given)| (given.until, *offset)).collect();
        for (_, offset) in in_order {
            // One that came back with an earlier one of its key is out no more.
            if self.out.remove(&offset).is_some() {
                self.failed(offset);
            }
        }
        self.machine.expire(self.now);
    }

    fn failed(&mut self, offset: u64) {
        if self.rules.counts_failures() {
            *self.failures.entry(offset).or_default() += 1;
        }
        let key = Self::key_of(offset);
        if self.rules.ordered && !key.is_empty() {
            self.out.retain(|later, _| *later < offset || Self::key_of(*later) != key);
        }
    }

    fn deliver(&mut self, holder: u64, messages: usize) -> Result<(), TestCaseError> {
        self.time_passes();
        let room = Room { messages, bytes: 1000 };
        let until = self.now + LEASE;
        for delivery in self.machine.deliver(Holder(holder), until, room) {
            let offset = delivery.offset;
            prop_assert!(self.open.contains(&offset), "{offset} is done with");
            prop_assert!(!self.out.contains_key(&offset), "{offset} is leased");
            let failures = self.failures.get(&offset).copied().unwrap_or(0);
            prop_assert_eq!(delivery.attempt, failures + 1);
            prop_assert!(self.rules.attempts_max.is_none_or(|max| failures < max));
            let key = Self::key_of(offset);
            if self.rules.ordered && !key.is_empty() {
                for earlier in self.open.range(..offset).filter(|earlier| Self::key_of(**earlier) == key) {
                    let with = self.out.get(earlier).map(|given| given.holder);
                    prop_assert_eq!(with, Some(holder), "{} before {}", earlier, offset);
                }
            }
            let ticket = self.machine.ticket(offset, delivery.delivery);
            let given = Given { ticket, holder, until };
            prop_assert!(self.given.iter().all(|before| before.ticket != ticket), "a ticket came twice");
            self.out.insert(offset, given);
            self.given.push(given);
        }
        let holding: Vec<_> = self.out.values().filter(|given| given.holder == holder).collect();
        prop_assert!(holding.len() <= 5, "flow control");
        Ok(())
    }

    /// The newest delivery is this one, and its lease lasts.
    fn is_leased(&self, ticket: Ticket) -> bool {
        self.out.get(&ticket.offset).is_some_and(|given| given.ticket == ticket)
    }

    fn ack(&mut self, index: usize) -> Result<(), TestCaseError> {
        let Some(given) = self.given.len().checked_sub(1 + index).map(|at| self.given[at]) else {
            return Ok(());
        };
        self.time_passes();
        let leased = self.is_leased(given.ticket);
        let offset = given.ticket.offset;
        let was_open = self.open.contains(&offset);
        match self.machine.ack(given.ticket, self.now) {
            Answer::Taken => {
                prop_assert!(was_open);
                prop_assert!(leased || !self.rules.exactly_once, "a lease that was over");
                // Which delivery of an earlier life was the last is not written down.
                let newest = self.given.iter().rfind(|other| other.ticket.offset == offset);
                let newest = newest.map(|newest| newest.ticket);
                let earlier_life = newest.is_some_and(|newest| newest.epoch < self.epoch);
                prop_assert!(earlier_life || newest == Some(given.ticket), "a stale ack counted");
                self.open.remove(&offset);
                self.out.remove(&offset);
                self.failures.remove(&offset);
                // What is acked while any delivery counts is not remembered for when only one does.
                if self.rules.exactly_once {
                    self.acked.insert(offset, given.ticket);
                }
            }
            Answer::Already => {
                prop_assert!(!was_open);
                let acked = self.acked.get(&offset).filter(|_| self.rules.exactly_once);
                prop_assert!(acked.is_none_or(|acked| *acked == given.ticket), "acked by another delivery");
            }
            Answer::Stale => prop_assert!(!leased, "an ack in time must count"),
        }
        Ok(())
    }

    fn answer(&mut self, index: usize, nack: bool) -> Result<(), TestCaseError> {
        let Some(given) = self.given.len().checked_sub(1 + index).map(|at| self.given[at]) else {
            return Ok(());
        };
        self.time_passes();
        let leased = self.is_leased(given.ticket);
        let until = self.now + LEASE;
        let answer = match nack {
            true => self.machine.nack(given.ticket, self.now),
            false => self.machine.extend(given.ticket, self.now, until),
        };
        prop_assert_eq!(answer == Answer::Taken, leased);
        if leased && nack {
            self.out.remove(&given.ticket.offset);
            self.failed(given.ticket.offset);
        } else if leased && let Some(out) = self.out.get_mut(&given.ticket.offset) {
            out.until = until;
        }
        Ok(())
    }

    fn seek(&mut self, to: Progress) {
        self.open = (0..MESSAGES).filter(|offset| !to.is_done(*offset)).collect();
        self.failures.clear();
        self.out.clear();
        self.acked.clear();
        self.seeks += 1;
        self.machine.seek(to, self.seeks);
    }

    fn forward(&mut self) -> Result<(), TestCaseError> {
        self.time_passes();
        for (offset, attempts) in self.machine.dead(2) {
            prop_assert_eq!(Some(attempts), self.failures.get(&offset).copied());
            prop_assert!(self.rules.attempts_max.is_some_and(|max| attempts >= max));
            self.machine.forwarded(offset);
            self.open.remove(&offset);
            self.failures.remove(&offset);
        }
        Ok(())
    }

    /// Which messages are dead letters follows from the rules and the failures, so a restart changes nothing
    /// about it.
    fn set_rules(&mut self, rules: Rules) -> Result<(), TestCaseError> {
        self.time_passes();
        self.rules = Rules { ordered: self.rules.ordered, ..rules };
        self.machine.set_rules(rules);
        let max = self.rules.attempts_max;
        let is_exhausted = |offset: &u64| {
            max.is_some_and(|max| self.failures.get(offset).is_some_and(|failures| *failures >= max))
        };
        for (offset, _) in self.machine.dead(usize::MAX) {
            prop_assert!(is_exhausted(&offset), "{offset} may be delivered");
        }
        Ok(())
    }

    fn restart(&mut self, lost: usize) {
        // What was lost was not answered, so to the subscribers it may or may not have happened.
        let kept = self.waiting.len().saturating_sub(lost);
        self.waiting.drain(..kept).for_each(|change| self.durable.apply(&change));
        self.waiting.clear();
        self.open = (0..MESSAGES).filter(|offset| !self.durable.is_done(*offset)).collect();
        self.failures = self.durable.failures().clone();
        self.out.clear();
        self.acked.clear();
        self.epoch += 1;
        self.machine = Machine::new(self.rules, self.durable.clone(), self.epoch, MESSAGES);
        (0..3).for_each(|holder| self.machine.open_holder(Holder(holder), 5, 60));
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Look(count) => self.look(count),
            Step::Deliver { holder, messages } => self.deliver(holder, messages)?,
            Step::Ack(index) => self.ack(index)?,
            Step::Nack(index) => self.answer(index, true)?,
            Step::Extend(index) => self.answer(index, false)?,
            Step::Pass(seconds) => self.now += Duration::from_secs(seconds),
            Step::Seek(offset) => self.seek(Progress::at(offset)),
            Step::Snapshot => self.snapshot = Some(self.machine.progress().clone().without_failures()),
            Step::SeekToSnapshot => {
                if let Some(snapshot) = self.snapshot.clone() {
                    self.seek(snapshot);
                }
            }
            Step::Expire(start) => {
                self.time_passes();
                let gone: BTreeSet<u64> = self.open.range(..start).copied().collect();
                prop_assert_eq!(self.machine.expire_before(start), gone.len() as u64);
                self.open.retain(|offset| *offset >= start);
                self.out.retain(|offset, _| *offset >= start);
                self.failures.retain(|offset, _| *offset >= start);
            }
            Step::Forward => self.forward()?,
            Step::Rules(rules) => self.set_rules(rules)?,
            Step::Restart { lost } => self.restart(lost),
        }
        self.waiting.extend(self.machine.take_changes());
        self.check()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let progress = self.machine.progress();
        let open: BTreeSet<u64> = (0..MESSAGES).filter(|offset| !progress.is_done(*offset)).collect();
        prop_assert_eq!(&open, &self.open);
        prop_assert_eq!(progress.open_before(MESSAGES), open.len() as u64);
        prop_assert_eq!(self.machine.leased() >= self.out.len(), true);
        let mut written = self.durable.clone();
        self.waiting.iter().for_each(|change| written.apply(change));
        prop_assert_eq!(&written, progress, "the changes are the whole truth");
        Ok(())
    }

    /// Everything that is open gets delivered and acked, or forwarded, in bounded time.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..400 {
            if self.open.is_empty() {
                return Ok(());
            }
            self.now += Duration::from_secs(3);
            self.look(4);
            self.forward()?;
            let before = self.given.len();
            self.deliver(0, 3)?;
            let new = self.given.len() - before;
            (0..new).try_for_each(|index| self.ack(index))?;
            self.waiting.extend(self.machine.take_changes());
            self.check()?;
        }
        Err(TestCaseError::fail(format!("never delivered: {:?}", self.open)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Scenario: any history of deliveries, answers, time, seeks, losses and restarts, under any rules, which
    /// change.
    /// Guarantees: nothing is delivered that is leased or done with; keys stay in order and with one
    /// holder; flow control holds; a stale answer changes nothing and one in time always counts; failures
    /// are counted and end in a dead letter; changes tell the whole truth; in the end all is delivered.
    #[test]
    fn promises_are_kept(rules in all_rules(), history in prop::collection::vec(steps(), 1..120)) {
        let mut model = Model::new(rules);
        for step in history {
            model.step(step)?;
        }
        model.drain()?;
    }
}
