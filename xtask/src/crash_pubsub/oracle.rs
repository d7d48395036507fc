//! The conservation oracle: which messages were promised to publishers, which came to which subscription, which
//! must not come any more.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::message::{self, Told};
use super::order::Order;
use super::topology::Sub;
use crate::pubsub::v1::ReceivedMessage;

/// So many faults are written out; all are counted.
const FAULTS_SHOWN_MAX: usize = 20;

/// How a message came: in which life of the server, and on which stream (or pull).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The life of the server, as known before the stream was opened.
    pub life: u64,
    /// The stream's number.
    pub stream: u64,
}

/// A message as a subscriber got it.
#[derive(Debug, Clone)]
pub struct Came {
    /// Where it is in its topic.
    pub offset: u64,
    /// What it says of itself.
    pub told: Told,
    /// What it is acked by.
    pub ack_id: String,
}

/// What a subscription has seen of one message.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: u64,
    ack_sent: bool,
    /// In which life of the server an ack was confirmed.
    confirmed: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    issued: u64,
    /// Acknowledged publishes: offset in the main topic, and id.
    promised: HashMap<u64, u64>,
    seen: [HashMap<u64, Seen>; Sub::ALL.len()],
    letters: HashSet<u64>,
    order: Order,
    counts: Counts,
    faults: Vec<String>,
    faults_total: u64,
}

/// What has happened.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub struct Counts {
    /// Ids handed out.
    pub issued: u64,
    /// Messages whose publishing was acknowledged.
    pub promised: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Deliveries of messages that had come before, by subscription.
    pub redelivered: [u64; Sub::ALL.len()],
    /// Acks of exactly-once deliveries that were confirmed.
    pub confirmed: u64,
    /// Messages of ordering keys that came again after a later one.
    pub replays: u64,
    /// Different messages in the dead-letter topic.
    pub letters: u64,
    /// Messages never promised that came all the same (allowed: the reply was lost).
    pub unpromised: u64,
    /// Times that acked messages had to come again after a seek, and did.
    pub sought_back: u64,
}

/// Judges what publishers and subscribers tell it; shared by all of them.
pub struct Oracle {
    seed: u64,
    state: Mutex<State>,
}

impl Oracle {
    /// An oracle that has seen nothing.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Hands out the next ids.
    pub fn issue(&self, count: u64) -> Range<u64> {
        let mut state = self.state();
        let first = state.issued;
        state.issued += count;
        first..first + count
    }

    /// Something is wrong.
    pub fn fault(&self, text: String) {
        self.state().fault(text);
    }

    /// A publish was acknowledged: these are owed to every subscription from now on.
    pub fn promise(&self, ids: Range<u64>, message_ids: &[String]) {
        let mut state = self.state();
        if ids.end - ids.start != message_ids.len() as u64 {
            return state.fault(format!("{} message ids for {ids:?}", message_ids.len()));
        }
        for (id, message_id) in ids.zip(message_ids) {
            let Some(offset) = message::offset(message_id) else {
                state.fault(format!("a message id without an offset: {message_id}"));
                continue;
            };
            if state.promised.insert(offset, id).is_some() {
                state.fault(format!("two messages have the id {message_id}"));
            }
        }
    }

    /// Messages came. Gives them as they are to be dealt with; those that make no sense are faults.
    pub fn came(&self, sub: Sub, way: Way, messages: Vec<ReceivedMessage>) -> Vec<Came> {
        let read: Vec<_> = messages.into_iter().map(|message| read(self.seed, message)).collect();
        let mut state = self.state();
        state.counts.delivered += read.len() as u64;
        let mut known = Vec::with_capacity(read.len());
        for came in read {
            match came {
                Ok(came) if came.told.id < state.issued => {
                    state.judge(sub, way, came.offset, &came.told);
                    known.push(came);
                }
                Ok(came) => {
                    state.fault(format!("{}: id {} came, which was never sent", sub.name(), came.told.id))
                }
                Err(text) => state.fault(format!("{}: {text}", sub.name())),
            }
        }
        known
    }

    /// Acks of these are about to be sent.
    pub fn ack_sent<'a>(&self, sub: Sub, acked: impl IntoIterator<Item = &'a Came>) {
        let mut state = self.state();
        for came in acked {
            if let Some(seen) = state.seen[sub as usize].get_mut(&came.offset) {
                seen.ack_sent = true;
            }
            if let (Sub::Ordered, Some(place)) = (sub, &came.told.place) {
                state.order.ack_sent(came.offset, place);
            }
        }
    }

    /// Acks of these were confirmed to the subscriber of an exactly-once subscription.
    pub fn confirmed(&self, life: u64, offsets: impl IntoIterator<Item = u64>) {
        let mut state = self.state();
        for offset in offsets {
            state.counts.confirmed += 1;
            if let Some(seen) = state.seen[Sub::Exact as usize].get_mut(&offset) {
                seen.confirmed.get_or_insert(life);
            }
        }
    }

    /// Acknowledged publishes: offset in the main topic, and id.
    pub fn promised(&self) -> HashMap<u64, u64> {
        self.state().promised.clone()
    }

    /// So many messages that had been acked came again, as a seek had promised.
    pub fn sought_back(&self, messages: usize) {
        self.state().counts.sought_back += messages as u64;
    }

    /// Promised messages that a subscription has not dealt with; a few of them.
    pub fn open(&self, sub: Sub) -> Vec<u64> {
        let state = self.state();
        state
            .promised
            .iter()
            .filter(|(offset, id)| state.is_open(sub, **offset, **id))
            .map(|(_, id)| *id)
            .take(10)
            .collect()
    }

    /// Compares what was promised with what came. Gives the counts and faults.
    pub fn conclude(&self) -> (Counts, Vec<String>, u64) {
        let mut state = self.state();
        state.conclude();
        (state.counts.clone(), state.faults.clone(), state.faults_total)
    }
}

fn read(seed: u64, received: ReceivedMessage) -> Result<Came, String> {
    let message = received.message.unwrap_or_default();
    let told = message::read(seed, &message)?;
    let offset = message::offset(&message.message_id);
    let offset = offset.ok_or_else(|| format!("a message id without an offset: {}", message.message_id))?;
    Ok(Came { offset, told, ack_id: received.ack_id })
}

impl State {
    fn fault(&mut self, text: String) {
        self.faults_total += 1;
        if self.faults.len() < FAULTS_SHOWN_MAX {
            self.faults.push(text);
        }
    }

    /// Whether this message may come here and now.
    fn judge(&mut self, sub: Sub, way: Way, offset: u64, told: &Told) {
        let (name, id) = (sub.name(), told.id);
        let fresh = Seen { id, ack_sent: false, confirmed: None };
        let before = self.seen[sub as usize].get(&offset).copied();
        self.seen[sub as usize].entry(offset).or_insert(fresh);
        if let Some(before) = before {
            self.counts.redelivered[sub as usize] += 1;
            if before.id != id {
                self.fault(format!("{name}: offset {offset} came with the ids {} and {id}", before.id));
            }
            // A stream of an earlier life may hold what it read before its server was killed.
            if let Some(life) = before.confirmed.filter(|life| *life <= way.life) {
                self.fault(format!(
                    "{name}: id {id} (offset {offset}) came again in life {}, its ack was confirmed in life {life}",
                    way.life
                ));
            }
        }
        if sub == Sub::Letters {
            self.letters.insert(id);
        }
        if sub == Sub::Filtered && !message::is_odd(id) {
            self.fault(format!("{name}: id {id} came, which the filter does not let through"));
        }
        if let (Sub::Ordered, Some(place)) = (sub, &told.place)
            && let Err(text) = self.order.came(way.stream, offset, place)
        {
            self.fault(format!("{name}: id {id}: {text}"));
        }
    }

    fn is_open(&self, sub: Sub, offset: u64, id: u64) -> bool {
        let seen = self.seen[sub as usize].get(&offset);
        match sub {
            Sub::Filtered if !message::is_odd(id) => false,
            Sub::Letters => message::is_bad(id) && !self.letters.contains(&id),
            // Bad ones are never acked, and become letters.
            Sub::Poison if message::is_bad(id) => seen.is_none(),
            // A lease that ended often enough makes a letter of a good one, too.
            Sub::Poison => !seen.is_some_and(|seen| seen.ack_sent) && !self.letters.contains(&id),
            _ => !seen.is_some_and(|seen| seen.ack_sent),
        }
    }

    fn conclude(&mut self) {
        let mut faults = Vec::new();
        for (offset, id) in &self.promised {
            for sub in Sub::ALL {
                if self.is_open(sub, *offset, *id) {
                    faults
                        .push(format!("{}: id {id} (offset {offset}) was promised and is lost", sub.name()));
                }
                let seen = self.seen[sub as usize].get(offset).filter(|_| sub != Sub::Letters);
                if let Some(seen) = seen.filter(|seen| seen.id != *id) {
                    faults.push(format!(
                        "{}: offset {offset} is id {}, promised as {id}",
                        sub.name(),
                        seen.id
                    ));
                }
            }
        }
        faults.into_iter().for_each(|text| self.fault(text));
        self.counts.issued = self.issued;
        self.counts.promised = self.promised.len() as u64;
        self.counts.letters = self.letters.len() as u64;
        self.counts.replays = self.order.replays;
        let plain = &self.seen[Sub::Plain as usize];
        self.counts.unpromised =
            plain.keys().filter(|offset| !self.promised.contains_key(offset)).count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pubsub::v1::PubsubMessage;

    fn received(oracle: &Oracle, id: u64, offset: u64) -> Vec<ReceivedMessage> {
        let message = message::message(oracle.seed, id, None);
        let message = PubsubMessage { message_id: format!("main-{offset}"), ..message };
        vec![ReceivedMessage { message: Some(message), ..ReceivedMessage::default() }]
    }

    fn deliver(oracle: &Oracle, sub: Sub, life: u64, id: u64) {
        let came = oracle.came(sub, Way { life, stream: 1 }, received(oracle, id, id));
        if sub != Sub::Poison || !message::is_bad(id) {
            oracle.ack_sent(sub, &came);
        }
    }

    fn run(skip: Option<(Sub, u64)>) -> u64 {
        let oracle = Oracle::new(1);
        let ids = oracle.issue(40);
        let message_ids: Vec<String> = ids.clone().map(|id| format!("main-{id}")).collect();
        oracle.promise(ids.clone(), &message_ids);
        for sub in Sub::ALL {
            let goes = |id: &u64| match sub {
                Sub::Filtered => message::is_odd(*id),
                Sub::Letters => message::is_bad(*id),
                _ => true,
            };
            for id in ids.clone().filter(goes).filter(|id| skip != Some((sub, *id))) {
                deliver(&oracle, sub, 1, id);
            }
        }
        oracle.conclude().2
    }

    #[test]
    fn every_promise_is_owed_to_every_subscription() {
        assert_eq!(run(None), 0);
        for sub in Sub::ALL {
            // 5 is odd and bad, so that all subscriptions get it.
            assert_eq!(run(Some((sub, 5))), 1, "{}", sub.name());
        }
    }

    #[test]
    fn what_was_confirmed_must_not_come_again() {
        let oracle = Oracle::new(1);
        oracle.issue(3);
        deliver(&oracle, Sub::Exact, 1, 0);
        deliver(&oracle, Sub::Exact, 2, 0);
        oracle.confirmed(2, [0]);
        deliver(&oracle, Sub::Exact, 1, 0);
        assert_eq!(oracle.conclude().2, 0, "what was read before the restart is no fault");
        deliver(&oracle, Sub::Exact, 2, 0);
        deliver(&oracle, Sub::Exact, 3, 0);
        assert_eq!(oracle.conclude().2, 2);
    }

    #[test]
    fn changed_strange_and_filtered_messages_are_faults() {
        let oracle = Oracle::new(1);
        oracle.issue(3);
        deliver(&oracle, Sub::Filtered, 1, 1);
        assert_eq!(oracle.conclude().2, 0);
        deliver(&oracle, Sub::Filtered, 1, 2);
        deliver(&oracle, Sub::Plain, 1, 3);
        let other = Oracle::new(2);
        let message = received(&other, 0, 0);
        oracle.came(Sub::Plain, Way { life: 1, stream: 1 }, message);
        assert_eq!(oracle.conclude().2, 3);
    }
}
