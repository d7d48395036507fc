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
    /// was not delivered again, also when the process was restarted in between. Exactly once, an ack of
    /// another delivery than the one that was acked is stale: who sends it did not do what was taken.
    pub(crate) fn ack(&mut self, ticket: Ticket, now: Moment) -> Answer {
        self.expire(now);
        if ticket.generation != self.progress.generation() || ticket.delivery == 0 {
            return Answer::Stale;
        }
        if let Some(answer) = self.when_done(ticket) {
            return answer;
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
        if self.rules.exactly_once {
            self.acked.add(ticket.offset, ticket.delivery);
        }
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
            _ => self.when_done(ticket).unwrap_or(Answer::Stale),
        }
    }

    /// The message is given back: it may be delivered again, by the rules at once.
    pub(crate) fn nack(&mut self, ticket: Ticket, now: Moment) -> Answer {
        self.nack_for(ticket, now, Moment::ZERO)
    }

    /// The same, but where the rules neither make it wait nor ever give it up it waits for `pause`.
    pub(crate) fn nack_for(&mut self, ticket: Ticket, now: Moment, pause: Moment) -> Answer {
        self.expire(now);
        let pause = if self.rules.counts_failures() { Moment::ZERO } else { pause };
        match self.lease_of(ticket) {
            Some(State::Leased { .. }) => {
                self.fail(ticket.offset, now, pause);
                Answer::Taken
            }
            _ => self.when_done(ticket).unwrap_or(Answer::Stale),
        }
    }

    /// Whether the lease still lasts that was given with the ticket.
    pub(crate) fn is_leased(&self, ticket: Ticket) -> bool {
        matches!(self.lease_of(ticket), Some(State::Leased { .. }))
    }

    /// The answer when the message is done with.
    fn when_done(&self, ticket: Ticket) -> Option<Answer> {
        if ticket.generation != self.progress.generation() || !self.progress.is_done(ticket.offset) {
            return None;
        }
        let acked = self.acked.delivery_of(ticket.offset).filter(|_| self.rules.exactly_once);
        let other = acked.is_some_and(|acked| (self.epoch, acked) != (ticket.epoch, ticket.delivery));
        Some(if other { Answer::Stale } else { Answer::Already })
    }

    fn lease_of(&self, ticket: Ticket) -> Option<State> {
        let same_life = ticket.generation == self.progress.generation() && ticket.epoch == self.epoch;
        let tracked =
            self.tracked.get(&ticket.offset).filter(|tracked| tracked.delivery == ticket.delivery)?;
        same_life.then_some(tracked.state)
    }

    /// A leased message was not dealt with: counts that, and decides when it may be delivered again.
    pub(super) fn fail(&mut self, offset: u64, now: Moment, pause: Moment) {
        let failures = self.progress.failures_of(offset).saturating_add(1);
        if self.rules.counts_failures() {
            self.record(Change::Failed { offset, failures });
        }
        let is_dead = self.rules.attempts_max.is_some_and(|max| failures >= max);
        let wait = self.rules.backoff.map_or(pause, |backoff| backoff.after(failures));
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
