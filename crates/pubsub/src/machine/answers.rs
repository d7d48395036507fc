//! What subscribers answer: acks, nacks, extensions.

use super::{Machine, Moment, State};
use crate::progress::Change;

/// What an ack id says about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The message.
    pub(crate) offset: u64,
    /// Which delivery of it.
    pub(crate) delivery: u32,
    /// In which life of the process.
    pub(crate) epoch: u32,
    /// After which seek.
    pub(crate) generation: u32,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was taken.
    Taken,
    /// The message was done with already, so nothing had to be done.
    Already,
    /// The delivery is not the one that counts (any more): the answer changed nothing.
    Stale,
}

impl Machine {
    /// The parts of an ack id of a delivery that was just made.
    pub(crate) fn ticket(&self, offset: u64, delivery: u32) -> Ticket {
        Ticket { offset, delivery, epoch: self.epoch, generation: self.progress.generation() }
    }

    /// The message is done with.
    ///
    /// Where deliveries are at least once, an ack that comes too late still counts as long as the message
    /// was not delivered again, also when the process was restarted in between.
    pub(crate) fn ack(&mut self, ticket: Ticket, now: Moment) -> Answer {
        self.expire(now);
        if ticket.generation != self.progress.generation() || ticket.delivery == 0 {
            return Answer::Stale;
        }
        if self.progress.is_done(ticket.offset) {
            return Answer::Already;
        }
        let counts = match self.tracked.get(&ticket.offset) {
            Some(tracked) if self.rules.exactly_once => {
                ticket.epoch == self.epoch
                    && tracked.delivery == ticket.delivery
                    && matches!(tracked.state, State::Leased { .. })
            }
            Some(tracked) if ticket.epoch == self.epoch => tracked.delivery == ticket.delivery,
            Some(tracked) => tracked.delivery == 0 && ticket.offset < self.life_began_at,
            None => {
                !self.rules.exactly_once && ticket.epoch != self.epoch && ticket.offset < self.life_began_at
            }
        };
        if !counts {
            return Answer::Stale;
        }
        self.done(ticket.offset);
        Answer::Taken
    }

    /// The lease lasts until `until`.
    pub(crate) fn extend(&mut self, ticket: Ticket, now: Moment, until: Moment) -> Answer {
        self.expire(now);
        match self.lease_of(ticket) {
            Some(State::Leased { holder, .. }) => {
                self.change_state(ticket.offset, State::Leased { until, holder });
                Answer::Taken
            }
            _ if self.is_done(ticket) => Answer::Already,
            _ => Answer::Stale,
        }
    }

    /// The message is given back: it may be delivered again, by the rules at once.
    pub(crate) fn nack(&mut self, ticket: Ticket, now: Moment) -> Answer {
        self.expire(now);
        match self.lease_of(ticket) {
            Some(State::Leased { .. }) => {
                self.fail(ticket.offset, now);
                Answer::Taken
            }
            _ if self.is_done(ticket) => Answer::Already,
            _ => Answer::Stale,
        }
    }

    fn is_done(&self, ticket: Ticket) -> bool {
        ticket.generation == self.progress.generation() && self.progress.is_done(ticket.offset)
    }

    fn lease_of(&self, ticket: Ticket) -> Option<State> {
        let same_life = ticket.generation == self.progress.generation() && ticket.epoch == self.epoch;
        let tracked =
            self.tracked.get(&ticket.offset).filter(|tracked| tracked.delivery == ticket.delivery)?;
        same_life.then_some(tracked.state)
    }

    /// A leased message was not dealt with: counts that, and decides when it may be delivered again.
    pub(super) fn fail(&mut self, offset: u64, now: Moment) {
        let failures = self.progress.failures_of(offset).saturating_add(1);
        if self.rules.counts_failures() {
            self.record(Change::Failed { offset, failures });
        }
        let is_dead = self.rules.attempts_max.is_some_and(|max| failures >= max);
        let wait = self.rules.backoff.map_or(Moment::ZERO, |backoff| backoff.after(failures));
        let state = match is_dead {
            true => State::Dead,
            false if wait.is_zero() => State::Ready,
            false => State::Waiting { until: now.saturating_add(wait) },
        };
        let key = self.tracked.get(&offset).and_then(|tracked| tracked.key.clone());
        self.change_state(offset, state);
        if let Some(key) = key {
            self.replay_key(&key, offset);
        }
    }
}
