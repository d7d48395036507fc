//! The ledger once more by UDF version: which version wrote, left out and failed how many messages.
//!
//! Marks are numbers and are never removed, versions come and go: so there are [`VERSIONS_MAX`] slots, each
//! with the hash of its version in four numbers, and a new version takes the slot of the one whose last
//! window is oldest, whose counts move to `others`. A window has one version, so its commit sets the marks
//! of one slot (and of `others` when a slot changes hands).

use std::collections::BTreeMap;

use millrace_model::{Offset, UdfHash};
use serde::Serialize;

use crate::ledger::{DEAD_LETTERED, FILTERED, Ledger, LedgerKey, Tally, WRITTEN, mark};
use crate::{LedgerError, Mark};

/// Most versions that have counts of their own.
pub const VERSIONS_MAX: usize = if cfg!(test) { 3 } else { 32 };

/// The marks of a slot that hold its hash, 32 bits each.
const HASH_PARTS: [&str; 4] = ["hash_0", "hash_1", "hash_2", "hash_3"];

/// The mark of a slot that holds the end of its version's last window.
const LAST_OFFSET: &str = "last_offset";

/// Where the counts of versions without a slot are.
const OTHERS: &str = "others";

/// What one version did. Counts are messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub written: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            written: self.written.saturating_add(other.written),
            filtered: self.filtered.saturating_add(other.filtered),
            dead_lettered: self.dead_lettered.saturating_add(other.dead_lettered),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// All zero without a UDF.
    hash: UdfHash,
    counts: Counts,
    last: Offset,
}

/// The counts of all versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    slots: Vec<Slot>,
    others: Counts,
}

/// One line of the ledger by version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionTotals {
    /// The version's hash; `none` without a UDF, `others` for those that have no counts of their own any
    /// more, `not counted` for what was folded before versions were counted.
    pub udf: String,
    /// Messages that it made rows of, erased ones included.
    pub written: u64,
    /// Messages that it left out.
    pub filtered: u64,
    /// Messages that it failed on, those included that were replayed or purged since.
    pub dead_lettered: u64,
    /// Behind the last message that it was shown; absent where there are many versions.
    pub last_offset: Option<u64>,
}

impl Versions {
    pub fn from_marks(key: &LedgerKey, marks: &BTreeMap<String, i64>) -> Result<Self, LedgerError> {
        let counts = |place: &str| -> Result<Counts, LedgerError> {
            let get = |counter| key.get(marks, &name(place, counter)).map(Option::unwrap_or_default);
            Ok(Counts {
                written: get(WRITTEN)?,
                filtered: get(FILTERED)?,
                dead_lettered: get(DEAD_LETTERED)?,
            })
        };
        let mut versions = Self { slots: Vec::new(), others: counts(OTHERS)? };
        for slot in 0..VERSIONS_MAX {
            let place = slot.to_string();
            let get = |counter| key.get(marks, &name(&place, counter));
            let Some(last) = get(LAST_OFFSET)? else { break };
            let mut hash = UdfHash([0; 16]);
            for (part, bytes) in HASH_PARTS.into_iter().zip(hash.0.chunks_exact_mut(4)) {
                let number = get(part)?.unwrap_or_default();
                bytes.copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
            }
            versions.slots.push(Slot { hash, counts: counts(&place)?, last: Offset(last) });
        }
        Ok(versions)
    }

    /// The counts after a window of one version that ends before `end`, and the marks that say so.
    pub fn after(
        &self,
        key: &LedgerKey,
        hash: Option<UdfHash>,
        tally: &Tally,
        end: Offset,
    ) -> (Self, Vec<Mark>) {
        let hash = hash.unwrap_or(UdfHash([0; 16]));
        let mut next = self.clone();
        let mut marks = Vec::new();
        let known = next.slots.iter().position(|slot| slot.hash == hash);
        let index = known.unwrap_or_else(|| {
            let fresh = Slot { hash, counts: Counts::default(), last: end };
            if next.slots.len() < VERSIONS_MAX {
                next.slots.push(fresh);
                return next.slots.len() - 1;
            }
            let oldest = (0..next.slots.len()).min_by_key(|&index| next.slots[index].last).unwrap_or(0);
            next.others = next.others.plus(next.slots[oldest].counts);
            marks.extend(count_marks(key, OTHERS, &next.others));
            next.slots[oldest] = fresh;
            oldest
        });
        let slot = &mut next.slots[index];
        slot.counts = slot.counts.plus(Counts {
            written: tally.written,
            filtered: tally.filtered,
            dead_lettered: tally.dead_lettered,
        });
        slot.last = end;
        let place = index.to_string();
        marks.extend(count_marks(key, &place, &slot.counts));
        marks.push(mark(key.app_id(&name(&place, LAST_OFFSET)), end.0));
        if known.is_none() {
            let parts = HASH_PARTS.into_iter().zip(hash.0.chunks_exact(4));
            marks.extend(parts.map(|(part, bytes)| {
                let number = bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
                mark(key.app_id(&name(&place, part)), number)
            }));
        }
        (next, marks)
    }

    fn sum(&self) -> Counts {
        self.slots.iter().fold(self.others, |sum, slot| sum.plus(slot.counts))
    }

    /// The lines of a report: the newest version first, so that all together make up the ledger. `Err` says
    /// which counter has more by version than in all.
    pub fn report(&self, ledger: &Ledger) -> Result<Vec<VersionTotals>, String> {
        let sum = self.sum();
        let mut rest = Counts::default();
        for (counter, part, all, rest) in [
            (WRITTEN, sum.written, ledger.written, &mut rest.written),
            (FILTERED, sum.filtered, ledger.filtered, &mut rest.filtered),
            (DEAD_LETTERED, sum.dead_lettered, ledger.dead_lettered, &mut rest.dead_lettered),
        ] {
            *rest = all.checked_sub(part).ok_or_else(|| {
                format!("the versions of the UDF have {counter} {part} together, of {all} in all")
            })?;
        }
        let mut slots = self.slots.clone();
        slots.sort_by_key(|slot| std::cmp::Reverse(slot.last));
        let label = |hash: UdfHash| if hash.0 == [0; 16] { "none".to_owned() } else { hash.to_string() };
        let mut lines: Vec<_> =
            slots.iter().map(|slot| totals(label(slot.hash), slot.counts, Some(slot.last.0))).collect();
        for (udf, counts) in [(OTHERS, self.others), ("not counted", rest)] {
            if counts != Counts::default() {
                lines.push(totals(udf.to_owned(), counts, None));
            }
        }
        Ok(lines)
    }
}

fn totals(udf: String, counts: Counts, last_offset: Option<u64>) -> VersionTotals {
    let Counts { written, filtered, dead_lettered } = counts;
    VersionTotals { udf, written, filtered, dead_lettered, last_offset }
}

fn name(place: &str, counter: &str) -> String {
    format!("udf/{place}/{counter}")
}

fn count_marks(key: &LedgerKey, place: &str, counts: &Counts) -> Vec<Mark> {
    [(WRITTEN, counts.written), (FILTERED, counts.filtered), (DEAD_LETTERED, counts.dead_lettered)]
        .into_iter()
        .map(|(counter, value)| mark(key.app_id(&name(place, counter)), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use millrace_model::TopicId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many versions there are, nothing is lost, the marks say the same, and there are never more
        /// than so many.
        #[test]
        fn versions_are_counted_within_their_bound(windows in prop::collection::vec((0u8..6, 0u64..9, 0u64..9, 0u64..9), 0..40)) {
            let key = LedgerKey::new("main", "rows", TopicId([7; 16]));
            let (mut versions, mut ledger) = (Versions::default(), Ledger::default());
            let mut marks = BTreeMap::new();
            for (version, written, filtered, dead_lettered) in windows {
                let hash = (version > 0).then_some(UdfHash([version * 40; 16]));
                let read = written + filtered + dead_lettered;
                let tally = Tally { read, written, filtered, dead_lettered, expired: 0 };
                ledger = ledger.after(ledger.next_offset.plus(read), &tally, 0);
                let (next, set) = versions.after(&key, hash, &tally, ledger.next_offset);
                marks.extend(set.into_iter().map(|mark| (mark.app_id, mark.version)));
                versions = next;
                prop_assert_eq!(&Versions::from_marks(&key, &marks).unwrap(), &versions);
                let lines = versions.report(&ledger).unwrap();
                let own = lines.iter().filter(|line| line.last_offset.is_some()).count();
                prop_assert!(own <= VERSIONS_MAX);
                prop_assert!(lines.iter().all(|line| line.udf != "not counted"));
                prop_assert_eq!(lines.iter().map(|line| line.written).sum::<u64>(), ledger.written);
                let newest = hash.map_or("none".to_owned(), |hash| hash.to_string());
                prop_assert!(lines.iter().any(|line| line.udf == newest));
            }
        }
    }
}
