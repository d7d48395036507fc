//! What of a subscription outlives the process: which messages are done with, and how often the others
//! have failed.

use std::collections::BTreeMap;

use crate::ranges::RangeSet;

/// How far a subscription is. The same changes in the same order give the same progress, so the ack log
/// keeps the changes and, now and then, the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Everything before it is done with.
    floor: u64,
    /// What is done with behind the floor.
    acked: RangeSet,
    /// How often messages that are not done with were given back or not acked in time.
    failures: BTreeMap<u64, u32>,
    /// Another one after each seek, so that acks from before it are known.
    generation: u32,
}

/// One change to a progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Everything is as said, whatever was before: the subscription is new, or was sent elsewhere.
    Reset(Progress),
    /// `start..end` is done with.
    Acked { start: u64, end: u64 },
    /// A message has failed that often.
    Failed { offset: u64, failures: u32 },
    /// The topic begins at `start` now: what lay before is gone.
    Expired { start: u64 },
    /// The subscription is no more.
    Removed,
}

impl Progress {
    /// At `floor`, nothing behind it done.
    pub(crate) fn at(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    /// From its parts.
    pub(crate) fn from_parts(
        floor: u64,
        generation: u32,
        acked: RangeSet,
        failures: BTreeMap<u64, u32>,
    ) -> Self {
        let mut progress = Self { floor, acked, failures, generation };
        progress.settle();
        progress
    }

    /// Everything before it is done with.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Which seek brought it here.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The same place after a seek.
    pub(crate) fn with_generation(self, generation: u32) -> Self {
        Self { generation, ..self }
    }

    /// Without the failures, which a snapshot does not keep.
    pub(crate) fn without_failures(self) -> Self {
        Self { failures: BTreeMap::new(), ..self }
    }

    /// What is done with behind the floor.
    pub(crate) fn acked(&self) -> &RangeSet {
        &self.acked
    }

    /// How often each message has failed.
    pub(crate) fn failures(&self) -> &BTreeMap<u64, u32> {
        &self.failures
    }

    /// How often a message has failed.
    pub(crate) fn failures_of(&self, offset: u64) -> u32 {
        self.failures.get(&offset).copied().unwrap_or(0)
    }

    /// Whether a message is done with.
    pub(crate) fn is_done(&self, offset: u64) -> bool {
        offset < self.floor || self.acked.contains(offset)
    }

    /// The first message at or behind `offset` that is not done with.
    pub(crate) fn next_open(&self, offset: u64) -> u64 {
        self.acked.next_gap(offset.max(self.floor))
    }

    /// How many messages before `end` are not done with.
    pub(crate) fn open_before(&self, end: u64) -> u64 {
        end.saturating_sub(self.floor).saturating_sub(self.acked.len_before(end))
    }

    /// Makes a change. [`Change::Removed`] is the business of whoever holds the progress.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Reset(progress) => self.clone_from(progress),
            Change::Acked { start, end } => {
                self.acked.insert((*start).max(self.floor), *end);
                if self.failures.range(start..end).next().is_some() {
                    self.failures.retain(|offset, _| offset < start || offset >= end);
                }
            }
            Change::Failed { offset, failures } if !self.is_done(*offset) => {
                self.failures.insert(*offset, *failures);
            }
            Change::Expired { start } => self.floor = self.floor.max(*start),
            Change::Failed { .. } | Change::Removed => {}
        }
        self.settle();
    }

    /// Moves the floor over what is done with.
    fn settle(&mut self) {
        self.acked.remove_before(self.floor);
        if let Some(end) = self.acked.take_from(self.floor) {
            self.floor = end;
        }
        while self.failures.first_key_value().is_some_and(|(offset, _)| *offset < self.floor) {
            self.failures.pop_first();
        }
    }
}
