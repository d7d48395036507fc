//! Order within a key.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Holder, Machine, State};

/// An ordering key.
pub(crate) type Key = Arc<[u8]>;

/// The tracked messages of one key: all leased ones come before all waiting ones.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) leased: BTreeSet<u64>,
    pub(super) waiting: BTreeSet<u64>,
    /// Who has the leased ones.
    pub(super) holder: Option<Holder>,
    /// The waiting one that is in a ready set now, and for whom.
    offered: Option<(u64, Option<Holder>)>,
}

impl Machine {
    /// A key has a new waiting message, behind all others of it.
    pub(super) fn add_to_key(&mut self, key: &Key, offset: u64) {
        self.keys.entry(Arc::clone(key)).or_default().waiting.insert(offset);
        self.offer_next_of(key);
    }

    /// The first waiting message of a key was leased.
    pub(super) fn key_leased(&mut self, key: &Key, offset: u64, holder: Holder) {
        if let Some(state) = self.keys.get_mut(key) {
            state.waiting.remove(&offset);
            state.leased.insert(offset);
            state.holder = Some(holder);
        }
        self.offer_next_of(key);
    }

    /// A message of a key is tracked no more.
    pub(super) fn remove_from_key(&mut self, key: &Key, offset: u64) {
        let Some(state) = self.keys.get_mut(key) else { return };
        state.leased.remove(&offset);
        state.waiting.remove(&offset);
        self.offer_next_of(key);
        if self.keys.get(key).is_some_and(|state| state.leased.is_empty() && state.waiting.is_empty()) {
            self.keys.remove(key);
        }
    }

    /// A leased message of a key came back: it and all later ones wait, in order. The later ones are
    /// taken from who has them, which is no failure of theirs.
    pub(super) fn replay_key(&mut self, key: &Key, from: u64) {
        let Some(state) = self.keys.get_mut(key) else { return };
        let mut back = state.leased.split_off(&from);
        state.waiting.extend(&back);
        back.remove(&from);
        for offset in back {
            self.change_state(offset, self.state_at_rest(offset));
        }
        self.offer_next_of(key);
    }

    /// Sees to it that the one message of a key that may be delivered is in a ready set, and no other.
    pub(super) fn offer_next_of(&mut self, key: &Key) {
        let Some(state) = self.keys.get_mut(key) else { return };
        if state.leased.is_empty() {
            state.holder = None;
        }
        let first = state.waiting.first().copied();
        let ready = first
            .filter(|offset| self.tracked.get(offset).is_some_and(|tracked| tracked.state == State::Ready));
        let offer = ready.map(|offset| (offset, state.holder));
        let before = std::mem::replace(&mut state.offered, offer);
        if before == offer {
            return;
        }
        if let Some((offset, holder)) = before {
            self.unoffer(offset, holder);
        }
        match offer {
            Some((offset, Some(holder))) => {
                self.ready_for.entry(holder).or_default().insert(offset);
                if self.holders.contains_key(&holder) {
                    self.woken.insert(holder);
                }
            }
            Some((offset, None)) => {
                self.ready.insert(offset);
            }
            None => {}
        }
    }

    /// Takes a message that leaves the ready state out of the ready sets.
    pub(super) fn withdraw(&mut self, offset: u64) {
        let Some(key) = self.tracked.get(&offset).and_then(|tracked| tracked.key.clone()) else { return };
        let Some(state) = self.keys.get_mut(&key) else { return };
        if let Some((offered, holder)) = state.offered
            && offered == offset
        {
            state.offered = None;
            self.unoffer(offset, holder);
        }
    }

    fn unoffer(&mut self, offset: u64, holder: Option<Holder>) {
        match holder {
            None => {
                self.ready.remove(&offset);
            }
            Some(holder) => {
                if let Some(set) = self.ready_for.get_mut(&holder) {
                    set.remove(&offset);
                    if set.is_empty() {
                        self.ready_for.remove(&holder);
                    }
                }
            }
        }
    }
}
