//! The deduplication window: the keys of the newest messages, bounded by age, by number and by memory.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hashbrown::HashTable;
use millrace_model::{DedupKey, Micros, Offset};

use crate::bytes_le::u64_at;

/// What one key takes in memory: its entry in the ring (32) and its share of a table of 4-byte places
/// that is between 7/16 and 7/8 full, rounded up.
const MEMORY_BYTES_PER_KEY: usize = 48;

/// A key that was seen, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) key: DedupKey,
    pub(crate) offset: Offset,
    /// The message's publish time.
    pub(crate) time: Micros,
}

/// The bounds of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DedupLimits {
    pub(crate) age: Duration,
    pub(crate) entries_max: usize,
}

impl DedupLimits {
    pub(crate) fn new(age: Duration, entries_max: usize, memory_bytes_max: usize) -> Self {
        Self { age, entries_max: entries_max.min(memory_bytes_max / MEMORY_BYTES_PER_KEY) }
    }
}

/// The window: a ring of entries in the order of their offsets, and a table of places in it. A place is
/// an entry's number since the window began, modulo 2^32, which is more than the ring ever holds.
#[derive(Debug)]
pub(crate) struct DedupWindow {
    ring: VecDeque<KeyEntry>,
    first_place: u32,
    table: HashTable<u32>,
    hasher: KeyHasher,
    limits: DedupLimits,
}

/// Spreads keys over the table. They are hashes already, but perhaps of someone else's choosing: two
/// secret numbers keep it from knowing which of them meet.
#[derive(Debug, Clone, Copy)]
struct KeyHasher {
    secrets: [u64; 2],
}

impl KeyHasher {
    fn new() -> Self {
        let random = RandomState::new();
        Self { secrets: [random.hash_one(0), random.hash_one(1)] }
    }

    fn hash(self, key: &DedupKey) -> u64 {
        let [low, high] = [u64_at(&key.0, 0) ^ self.secrets[0], u64_at(&key.0, 8) ^ self.secrets[1]];
        let product = u128::from(low) * u128::from(high);
        (product >> 64) as u64 ^ product as u64
    }
}

impl DedupWindow {
    pub(crate) fn new(limits: DedupLimits) -> Self {
        Self {
            ring: VecDeque::new(),
            first_place: 0,
            table: HashTable::new(),
            hasher: KeyHasher::new(),
            limits,
        }
    }

    pub(crate) fn set_limits(&mut self, limits: DedupLimits) {
        self.limits = limits;
    }

    /// Makes room for that many entries, as far as the limits go.
    pub(crate) fn reserve(&mut self, entries: usize) {
        let entries = entries.min(self.limits.entries_max);
        let Self { ring, first_place, table, hasher, .. } = self;
        table.reserve(entries, |place| {
            ring.get(place.wrapping_sub(*first_place) as usize).map_or(0, |entry| hasher.hash(&entry.key))
        });
        ring.reserve(entries);
    }

    pub(crate) fn entries_max(&self) -> usize {
        self.limits.entries_max
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// The oldest message whose key is remembered; beyond all messages when there is none.
    pub(crate) fn first_offset(&self) -> Offset {
        self.ring.front().map_or(Offset(u64::MAX), |entry| entry.offset)
    }

    /// Where the first message with that key lies, if it is remembered.
    pub(crate) fn get(&self, key: &DedupKey) -> Option<Offset> {
        let hash = self.hasher.hash(key);
        let place =
            self.table.find(hash, |place| self.entry(*place).is_some_and(|entry| entry.key == *key))?;
        self.entry(*place).map(|entry| entry.offset)
    }

    /// Remembers a key; the offset is behind all others'.
    pub(crate) fn insert(&mut self, entry: KeyEntry) {
        let Self { ring, first_place, table, hasher, .. } = self;
        let place = first_place.wrapping_add(ring.len() as u32);
        ring.push_back(entry);
        let at = |place: u32| ring.get(place.wrapping_sub(*first_place) as usize);
        let hash = hasher.hash(&entry.key);
        match table.find_mut(hash, |other| at(*other).is_some_and(|other| other.key == entry.key)) {
            Some(known) => *known = place,
            None => {
                table.insert_unique(hash, place, |other| at(*other).map_or(0, |e| hasher.hash(&e.key)));
            }
        }
    }

    /// Forgets the keys of messages at `end` and beyond: they never became durable.
    pub(crate) fn roll_back(&mut self, end: Offset) {
        while self.ring.back().is_some_and(|entry| entry.offset >= end) {
            let place = self.first_place.wrapping_add(self.ring.len() as u32 - 1);
            self.unlist(place);
            self.ring.pop_back();
        }
    }

    /// Forgets what is too old at `now` or too much.
    pub(crate) fn trim(&mut self, now: Micros) {
        let oldest = now.minus(self.limits.age);
        let before = self.ring.len();
        while self
            .ring
            .front()
            .is_some_and(|entry| entry.time < oldest || self.ring.len() > self.limits.entries_max)
        {
            self.unlist(self.first_place);
            self.ring.pop_front();
            self.first_place = self.first_place.wrapping_add(1);
        }
        let (used, room) = (self.ring.len(), self.ring.capacity());
        if used < before && room > 4096 && used < room / 4 {
            self.ring.shrink_to(used * 2);
            let Self { ring, first_place, table, hasher, .. } = self;
            table.shrink_to(used * 2, |place| {
                ring.get(place.wrapping_sub(*first_place) as usize).map_or(0, |entry| hasher.hash(&entry.key))
            });
        }
    }

    /// The entries from `base` up to, not including, `end`, oldest first.
    pub(crate) fn between(&self, base: Offset, end: Offset) -> Vec<KeyEntry> {
        let first = self.ring.partition_point(|entry| entry.offset < base);
        let last = self.ring.partition_point(|entry| entry.offset < end);
        self.ring.range(first..last.max(first)).copied().collect()
    }

    fn entry(&self, place: u32) -> Option<&KeyEntry> {
        self.ring.get(place.wrapping_sub(self.first_place) as usize)
    }

    /// Takes a place out of the table, unless a later entry with the same key has taken it over.
    fn unlist(&mut self, place: u32) {
        let Some(entry) = self.entry(place) else { return };
        let hash = self.hasher.hash(&entry.key);
        if let Ok(known) = self.table.find_entry(hash, |other| *other == place) {
            known.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    fn window(entries_max: usize) -> DedupWindow {
        DedupWindow::new(DedupLimits::new(Duration::from_micros(50), entries_max, usize::MAX))
    }

    proptest! {
        /// Scenario: keys from a small set come, batches fail, time passes; against a plain list.
        /// Guarantees: exactly the keys inside age and number are found, at their first offset.
        #[test]
        fn a_window_is_a_bounded_list(
            steps in prop::collection::vec((0_u8..30, 0_i64..20, any::<bool>()), 1..200),
            place: u32,
        ) {
            let mut window = window(10);
            window.first_place = place;
            let mut model: Vec<KeyEntry> = Vec::new();
            let (mut now, mut next) = (0, 0);
            for (key, passed, fails) in steps {
                now += passed;
                window.trim(Micros(now));
                model.retain(|entry| entry.time.0 >= now - 50);
                model.drain(..model.len().saturating_sub(10));
                let key = DedupKey([key; 16]);
                let known = model.iter().find(|entry| entry.key == key).map(|entry| entry.offset);
                prop_assert_eq!(window.get(&key), known);
                if known.is_none() {
                    let entry = KeyEntry { key, offset: Offset(next), time: Micros(now) };
                    window.insert(entry);
                    if fails {
                        window.roll_back(Offset(next));
                        prop_assert_eq!(window.get(&key), None);
                    } else {
                        model.push(entry);
                        next += 1;
                    }
                }
                prop_assert_eq!(window.len(), model.len());
            }
            let listed: BTreeMap<_, _> = window.between(Offset(0), Offset(next)).into_iter().map(|e| (e.key, e.offset)).collect();
            prop_assert_eq!(listed.len(), window.table.len());
        }
    }

    /// Scenario: a million keys, then all of them grow old.
    /// Guarantees: the memory limit holds as computed, and memory goes back when the window empties.
    #[test]
    fn memory_is_bounded_and_given_back() {
        let limits = DedupLimits::new(Duration::from_micros(50), 1_000_000, 4_800_000);
        assert_eq!(limits.entries_max, 100_000);
        let mut window = DedupWindow::new(limits);
        for number in 0..300_000_u64 {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&number.to_le_bytes());
            window.insert(KeyEntry { key: DedupKey(key), offset: Offset(number), time: Micros(0) });
            window.trim(Micros(0));
        }
        assert_eq!(window.len(), 100_000);
        let memory = |window: &DedupWindow| window.ring.capacity() * 32 + window.table.allocation_size();
        assert!(memory(&window) <= 2 * 4_800_000, "{}", memory(&window));
        window.trim(Micros(1000));
        assert_eq!((window.len(), window.get(&DedupKey([0; 16]))), (0, None));
        assert!(memory(&window) < 100_000, "{}", memory(&window));
    }
}
