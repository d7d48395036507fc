//! What a subscription decides: which message goes to whom and when, and what an ack, a nack, a deadline
//! or a seek does. Plain data: no clock, no file, no payload.
//!
//! A message is *open* until it is done with. Of the open ones, those that were looked at are *tracked*,
//! each in one [`State`]. Durable changes are collected and taken away by the caller
//! ([`Machine::take_changes`]), who writes them to the ack log.
//!
//! With ordering keys, the tracked messages of a key are in two sets: the leased ones come before the
//! waiting ones, and are all leased to one holder. The first waiting one is the only one of its key that
//! may be delivered, and only to that holder while there are leased ones.

mod acked;
mod answers;
mod deliver;
mod keys;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use acked::Acked;
pub(crate) use answers::{Answer, Ticket};
pub(crate) use deliver::{Delivery, Room};
use keys::{Key, KeyState};

use crate::progress::{Change, Progress};

/// A moment: how long after the start of the process, by a clock that never goes back.
pub(crate) type Moment = Duration;

/// Who messages are leased to: a stream, or one pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Holder(pub(crate) u64);

/// How long a message that failed waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// After its first failure; twice as long after each further one.
    pub(crate) min: Duration,
    /// At most.
    pub(crate) max: Duration,
}

impl Backoff {
    fn after(self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.min.checked_mul(factor).map_or(self.max, |wait| wait.min(self.max))
    }
}

/// What of a subscription's settings matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Messages of one ordering key are delivered in order.
    pub(crate) ordered: bool,
    /// An ack or extension counts only while its own lease lasts.
    pub(crate) exactly_once: bool,
    /// `None`: what failed may be delivered again at once.
    pub(crate) backoff: Option<Backoff>,
    /// After so many deliveries a message goes to the dead-letter topic.
    pub(crate) attempts_max: Option<u32>,
    /// Most messages that are tracked; while there are so many, no new ones are looked at.
    pub(crate) tracked_max: usize,
}

impl Rules {
    /// Whether failures are counted, and so written down.
    fn counts_failures(&self) -> bool {
        self.attempts_max.is_some() || self.backoff.is_some()
    }
}

/// Where a tracked message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may be delivered, unless its ordering key holds it back.
    Ready,
    /// It failed and may be delivered again then.
    Waiting { until: Moment },
    /// Somebody has it, until then.
    Leased { until: Moment, holder: Holder },
    /// It failed too often and goes to the dead-letter topic.
    Dead,
}

#[derive(Debug, Clone)]
struct Tracked {
    state: State,
    /// How often it was delivered in this life of the process; 0: not yet.
    delivery: u32,
    bytes: u32,
    key: Option<Key>,
}

/// What a holder has, and what it may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    messages: u64,
    bytes: u64,
    messages_max: u64,
    bytes_max: u64,
}

/// The state machine of one subscription.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    progress: Progress,
    /// Tells deliveries of this life of the process from those of earlier ones.
    epoch: u32,
    /// The topic's end when this life began: what earlier ones delivered lies before it.
    life_began_at: u64,
    /// The first message that was not looked at.
    next: u64,
    tracked: BTreeMap<u64, Tracked>,
    /// Deliverable to anybody.
    ready: BTreeSet<u64>,
    /// Deliverable to one holder only, who has earlier messages of the same key.
    ready_for: HashMap<Holder, BTreeSet<u64>>,
    /// When leases and waits end.
    timers: BTreeSet<(Moment, u64)>,
    keys: HashMap<Key, KeyState>,
    holders: HashMap<Holder, Held>,
    dead: BTreeSet<u64>,
    leased: usize,
    changes: Vec<Change>,
    acked: Acked,
    /// Holders that may get something now: they have more room, or messages wait for them alone.
    woken: BTreeSet<Holder>,
}

impl Machine {
    /// A subscription that is where `progress` says, of a topic that ends at `end`.
    pub(crate) fn new(rules: Rules, progress: Progress, epoch: u32, end: u64) -> Self {
        Self {
            rules,
            next: progress.floor(),
            progress,
            epoch,
            life_began_at: end,
            tracked: BTreeMap::new(),
            ready: BTreeSet::new(),
            ready_for: HashMap::new(),
            timers: BTreeSet::new(),
            keys: HashMap::new(),
            holders: HashMap::new(),
            dead: BTreeSet::new(),
            leased: 0,
            changes: Vec::new(),
            acked: Acked::default(),
            woken: BTreeSet::new(),
        }
    }

    /// Changes the rules from here on. Ordering cannot change. Which messages are dead letters is as if the
    /// rules had always been these; those that are out stay out, and waits last as they were begun.
    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.rules = Rules { ordered: self.rules.ordered, ..rules };
        self.revive_dead();
        self.bury_exhausted();
    }

    /// Whether a message has had all its deliveries.
    fn is_exhausted(&self, offset: u64) -> bool {
        self.rules.attempts_max.is_some_and(|max| self.progress.failures_of(offset) >= max)
    }

    /// The state of a message that nobody has, and that does not wait.
    fn state_at_rest(&self, offset: u64) -> State {
        if self.is_exhausted(offset) { State::Dead } else { State::Ready }
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Messages that are leased now.
    pub(crate) fn leased(&self) -> usize {
        self.leased
    }

    fn state_of(&self, offset: u64) -> Option<State> {
        self.tracked.get(&offset).map(|tracked| tracked.state)
    }

    /// When something ends by itself next.
    pub(crate) fn next_timer(&self) -> Option<Moment> {
        self.timers.first().map(|(moment, _)| *moment)
    }

    /// The changes that are not written down yet, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The streams to look again for messages, since this was last asked.
    pub(crate) fn take_woken(&mut self) -> BTreeSet<Holder> {
        std::mem::take(&mut self.woken)
    }

    /// A stream that will hold at most so much.
    pub(crate) fn open_holder(&mut self, holder: Holder, messages_max: u64, bytes_max: u64) {
        let held = self.holders.entry(holder).or_default();
        (held.messages_max, held.bytes_max) = (messages_max, bytes_max);
    }

    /// A stream that ended. What it holds stays leased until its deadlines.
    pub(crate) fn close_holder(&mut self, holder: Holder) {
        self.holders.remove(&holder);
    }

    /// Sends the subscription elsewhere: what `to` says is done with is, all else is open. Everything
    /// that was delivered before is forgotten, and its ack ids are void: `generation` is a number that no
    /// seek has had, those that were not durable when a process ended included.
    pub(crate) fn seek(&mut self, to: Progress, generation: u32) {
        self.record(Change::Reset(to.with_generation(generation)));
        self.next = self.progress.floor();
        self.tracked.clear();
        self.ready.clear();
        self.ready_for.clear();
        self.timers.clear();
        self.keys.clear();
        self.dead.clear();
        self.leased = 0;
        self.acked = Acked::default();
        for held in self.holders.values_mut() {
            (held.messages, held.bytes) = (0, 0);
        }
    }

    /// The topic's oldest message is now at `start`. Answers how many open messages are gone.
    pub(crate) fn expire_before(&mut self, start: u64) -> u64 {
        if start <= self.progress.floor() {
            return 0;
        }
        let open = self.progress.open_before(start);
        let gone: Vec<u64> = self.tracked.range(..start).map(|(offset, _)| *offset).collect();
        gone.into_iter().for_each(|offset| self.forget(offset));
        self.record(Change::Expired { start });
        self.next = self.next.max(self.progress.floor());
        open
    }

    /// Everything before `end` is done with. Answers how many messages of it were open.
    pub(crate) fn done_before(&mut self, end: u64) -> u64 {
        let start = self.progress.floor();
        if end <= start {
            return 0;
        }
        let open = self.progress.open_before(end);
        let done: Vec<u64> = self.tracked.range(..end).map(|(offset, _)| *offset).collect();
        done.into_iter().for_each(|offset| self.forget(offset));
        self.record(Change::Acked { start, end });
        self.next = self.next.max(self.progress.floor());
        open
    }

    fn record(&mut self, change: Change) {
        self.progress.apply(&change);
        self.changes.push(change);
    }

    /// Marks a message as done with.
    fn done(&mut self, offset: u64) {
        self.forget(offset);
        // Acks come in runs; one change for a run keeps the ack log small.
        if let Some(Change::Acked { end, .. }) = self.changes.last_mut()
            && *end == offset
        {
            *end = offset + 1;
            self.progress.apply(&Change::Acked { start: offset, end: offset + 1 });
            return;
        }
        self.record(Change::Acked { start: offset, end: offset + 1 });
    }

    /// Stops tracking a message.
    fn forget(&mut self, offset: u64) {
        let Some(tracked) = self.tracked.get(&offset) else { return };
        let (state, key) = (tracked.state, tracked.key.clone());
        self.leave(offset, state);
        self.tracked.remove(&offset);
        if let Some(key) = key {
            self.remove_from_key(&key, offset);
        }
    }

    /// Undoes what a state keeps elsewhere.
    fn leave(&mut self, offset: u64, state: State) {
        match state {
            State::Ready => {
                self.ready.remove(&offset);
                // A key's candidate may wait for one holder.
                if self.rules.ordered {
                    self.withdraw(offset);
                }
            }
            State::Waiting { until } => {
                self.timers.remove(&(until, offset));
            }
            State::Leased { until, holder } => {
                self.leased -= 1;
                self.timers.remove(&(until, offset));
                let bytes = self.tracked.get(&offset).map_or(0, |tracked| u64::from(tracked.bytes));
                if let Some(held) = self.holders.get_mut(&holder) {
                    held.messages = held.messages.saturating_sub(1);
                    held.bytes = held.bytes.saturating_sub(bytes);
                    self.woken.insert(holder);
                }
            }
            State::Dead => {
                self.dead.remove(&offset);
            }
        }
    }

    /// Puts a tracked message into a state.
    fn enter(&mut self, offset: u64, state: State) {
        let Some(tracked) = self.tracked.get_mut(&offset) else { return };
        let bytes = u64::from(tracked.bytes);
        let has_key = tracked.key.is_some();
        tracked.state = state;
        match state {
            State::Ready if has_key => {}
            State::Ready => {
                self.ready.insert(offset);
            }
            State::Waiting { until } => {
                self.timers.insert((until, offset));
            }
            State::Leased { until, holder } => {
                self.leased += 1;
                self.timers.insert((until, offset));
                if let Some(held) = self.holders.get_mut(&holder) {
                    held.messages += 1;
                    held.bytes += bytes;
                }
            }
            State::Dead => {
                self.dead.insert(offset);
            }
        }
    }

    fn change_state(&mut self, offset: u64, state: State) {
        if let Some(before) = self.state_of(offset) {
            self.leave(offset, before);
            self.enter(offset, state);
        }
    }
}
