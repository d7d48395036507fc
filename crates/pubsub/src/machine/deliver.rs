//! Handing messages out.

use super::{Holder, Key, Machine, Moment, State, Tracked};

/// How much one delivery may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Messages.
    pub(crate) messages: usize,
    /// Bytes; one message may exceed them when the holder has none yet.
    pub(crate) bytes: u64,
}

/// A message that was just leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Where it is.
    pub(crate) offset: u64,
    /// The number of this delivery, for the ack id.
    pub(crate) delivery: u32,
    /// 1 and how often it has failed.
    pub(crate) attempt: u32,
}

impl Machine {
    /// What the holder may get now, by its own limits and `room`.
    pub(crate) fn room_of(&self, holder: Holder, room: Room) -> Room {
        let Some(held) = self.holders.get(&holder) else { return room };
        let messages = held.messages_max.saturating_sub(held.messages);
        let bytes = held.bytes_max.saturating_sub(held.bytes);
        Room {
            messages: room.messages.min(usize::try_from(messages).unwrap_or(usize::MAX)),
            bytes: room.bytes.min(bytes),
        }
    }

    /// Whether one message of any size may go to the holder: it has none, or there is room for bytes.
    fn takes_more(&self, holder: Holder, room: Room, taken: usize) -> bool {
        let nothing_held = self.holders.get(&holder).is_none_or(|held| held.messages == 0);
        room.messages > 0 && (room.bytes > 0 || (taken == 0 && nothing_held))
    }

    /// Whether the holder can take anything at all now.
    pub(crate) fn has_room(&self, holder: Holder, room: Room) -> bool {
        self.takes_more(holder, self.room_of(holder, room), 0)
    }

    /// Whether messages wait that anybody may get.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Where to read on in the topic, when there is room to track more.
    pub(crate) fn next_to_look_at(&mut self) -> Option<u64> {
        self.next = self.progress.next_open(self.next);
        (self.tracked.len() < self.rules.tracked_max).then_some(self.next)
    }

    /// How many more messages may be looked at.
    pub(crate) fn look_at_most(&self) -> usize {
        self.rules.tracked_max - self.tracked.len().min(self.rules.tracked_max)
    }

    /// Takes note of the next message of the topic. `key` matters to ordered subscriptions only.
    pub(crate) fn look_at(&mut self, offset: u64, bytes: usize, key: &[u8]) {
        if offset < self.next {
            return;
        }
        self.next = offset + 1;
        if self.progress.is_done(offset) {
            return;
        }
        let key: Option<Key> = (self.rules.ordered && !key.is_empty()).then(|| Key::from(key));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let state = self.state_at_rest(offset);
        self.tracked.insert(offset, Tracked { state, delivery: 0, bytes, key: key.clone() });
        self.enter(offset, state);
        if let Some(key) = key {
            self.add_to_key(&key, offset);
        }
    }

    /// Takes note of the next message of the topic, which the filter does not let through.
    pub(crate) fn skip(&mut self, offset: u64) {
        if offset < self.next {
            return;
        }
        self.next = offset + 1;
        if !self.progress.is_done(offset) {
            self.done(offset);
        }
    }

    /// Leases messages that were looked at to a holder, oldest first. [`expire`](Self::expire) comes
    /// before.
    pub(crate) fn deliver(&mut self, holder: Holder, until: Moment, room: Room) -> Vec<Delivery> {
        let mut room = self.room_of(holder, room);
        let mut deliveries = Vec::new();
        while self.takes_more(holder, room, deliveries.len()) {
            let own = self.ready_for.get(&holder).and_then(|set| set.first().copied());
            let shared = self.ready.first().copied();
            let Some(offset) = [own, shared].into_iter().flatten().min() else { break };
            let Some(tracked) = self.tracked.get(&offset) else { break };
            let bytes = u64::from(tracked.bytes);
            if bytes > room.bytes && !(deliveries.is_empty() && self.takes_any(holder)) {
                break;
            }
            deliveries.push(self.lease(offset, holder, until));
            room.messages -= 1;
            room.bytes = room.bytes.saturating_sub(bytes);
        }
        deliveries
    }

    /// Whether a message that is too large for the room may go to the holder all the same: it has none.
    fn takes_any(&self, holder: Holder) -> bool {
        self.holders.get(&holder).is_none_or(|held| held.messages == 0)
    }

    fn lease(&mut self, offset: u64, holder: Holder, until: Moment) -> Delivery {
        self.change_state(offset, State::Leased { until, holder });
        let attempt = self.progress.failures_of(offset).saturating_add(1);
        let (mut delivery, mut key) = (0, None);
        if let Some(tracked) = self.tracked.get_mut(&offset) {
            tracked.delivery = tracked.delivery.saturating_add(1);
            (delivery, key) = (tracked.delivery, tracked.key.clone());
        }
        if let Some(key) = key {
            self.key_leased(&key, offset, holder);
        }
        Delivery { offset, delivery, attempt }
    }

    /// Takes deliveries back that could not be handed over, as if they had not been made.
    pub(crate) fn take_back(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries {
            let tracked = self.tracked.get(&delivery.offset);
            let Some(tracked) = tracked.filter(|tracked| tracked.delivery == delivery.delivery) else {
                continue;
            };
            let key = tracked.key.clone();
            if matches!(tracked.state, State::Leased { .. }) {
                self.change_state(delivery.offset, self.state_at_rest(delivery.offset));
                if let Some(key) = key {
                    self.replay_key(&key, delivery.offset);
                }
            }
        }
    }

    /// Ends leases and waits that are over.
    pub(crate) fn expire(&mut self, now: Moment) -> usize {
        let mut expired = 0;
        while let Some((moment, offset)) = self.timers.first().copied().filter(|(moment, _)| *moment <= now) {
            match self.state_of(offset) {
                Some(State::Leased { .. }) => {
                    self.fail(offset, moment.max(now), Moment::ZERO);
                    expired += 1;
                }
                Some(State::Waiting { .. }) => self.wait_is_over(offset),
                _ => {
                    self.timers.remove(&(moment, offset));
                }
            }
        }
        expired
    }

    fn wait_is_over(&mut self, offset: u64) {
        self.change_state(offset, self.state_at_rest(offset));
        if let Some(key) = self.tracked.get(&offset).and_then(|tracked| tracked.key.clone()) {
            self.offer_next_of(&key);
        }
    }

    /// Messages that failed too often, for the dead-letter topic, oldest first, with how often each was
    /// delivered. They stay until [`forwarded`](Self::forwarded).
    pub(crate) fn dead(&self, messages_max: usize) -> Vec<(u64, u32)> {
        let dead = self.dead.iter().take(messages_max);
        dead.map(|offset| (*offset, self.progress.failures_of(*offset))).collect()
    }

    /// Whether there are messages for the dead-letter topic.
    pub(crate) fn has_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// A message is in the dead-letter topic: it is done with here.
    pub(crate) fn forwarded(&mut self, offset: u64) {
        if !self.progress.is_done(offset) {
            self.done(offset);
        }
    }

    /// Dead letters that wait, and would be none by the rules now, are ordinary messages again.
    pub(super) fn revive_dead(&mut self) {
        let alive = self.dead.iter().copied().filter(|offset| !self.is_exhausted(*offset));
        alive.collect::<Vec<_>>().into_iter().for_each(|offset| self.wait_is_over(offset));
    }

    /// Messages that nobody has, and that have had all the deliveries that the rules allow now, are dead
    /// letters.
    pub(super) fn bury_exhausted(&mut self) {
        let at_rest = |state| matches!(state, State::Ready | State::Waiting { .. });
        let exhausted = self
            .progress
            .failures()
            .keys()
            .copied()
            .filter(|offset| self.is_exhausted(*offset) && self.state_of(*offset).is_some_and(at_rest));
        exhausted.collect::<Vec<_>>().into_iter().for_each(|offset| self.wait_is_over(offset));
    }
}
