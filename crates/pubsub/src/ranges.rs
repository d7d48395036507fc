//! Sets of offsets as ranges, which is what acks are: mostly one after the other, with some gaps.

use std::collections::BTreeMap;

/// A set of offsets, kept as the fewest ranges: none touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// Start to end, the end not included.
    ranges: BTreeMap<u64, u64>,
    len: u64,
}

impl RangeSet {
    /// Whether an offset is in the set.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.ranges.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }

    /// Adds `start..end`.
    pub(crate) fn insert(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        // The one before may reach into it or touch it; all that begin inside or at its end go too.
        if let Some((&before, &before_end)) = self.ranges.range(..start).next_back()
            && before_end >= start
        {
            start = before;
        }
        while let Some((&inside, &inside_end)) = self.ranges.range(start..=end).next() {
            self.ranges.remove(&inside);
            self.len -= inside_end - inside;
            end = end.max(inside_end);
        }
        self.len += end - start;
        self.ranges.insert(start, end);
    }

    /// Removes every offset before `floor`.
    pub(crate) fn remove_before(&mut self, floor: u64) {
        while let Some(first) = self.ranges.first_entry() {
            let (start, end) = (*first.key(), *first.get());
            if start >= floor {
                return;
            }
            first.remove();
            self.len -= end.min(floor) - start;
            if end > floor {
                self.ranges.insert(floor, end);
            }
        }
    }

    /// The end of the range that begins exactly at `start`, which is taken out.
    pub(crate) fn take_from(&mut self, start: u64) -> Option<u64> {
        let end = self.ranges.remove(&start)?;
        self.len -= end - start;
        Some(end)
    }

    /// The first offset at or behind `offset` that is not in the set.
    pub(crate) fn next_gap(&self, offset: u64) -> u64 {
        match self.ranges.range(..=offset).next_back() {
            Some((_, &end)) if offset < end => end,
            _ => offset,
        }
    }

    /// How many offsets before `end` there are.
    pub(crate) fn len_before(&self, end: u64) -> u64 {
        match self.ranges.last_key_value() {
            Some((_, &last_end)) if last_end > end => {
                let before = self.ranges.range(..end);
                before.map(|(start, range_end)| (*range_end).min(end) - start).sum()
            }
            _ => self.len,
        }
    }

    /// The ranges in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().map(|(start, end)| (*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Scenario: ranges are added and cut at random.
        /// Guarantees: the set is what a set of single offsets would be, in the fewest ranges.
        #[test]
        fn is_a_set(steps in prop::collection::vec((0u64..60, 0u64..12, 0u8..4), 0..60)) {
            let (mut set, mut plain) = (RangeSet::default(), BTreeSet::new());
            for (at, length, kind) in steps {
                if kind == 0 {
                    set.remove_before(at);
                    plain.retain(|offset| *offset >= at);
                } else {
                    set.insert(at, at + length);
                    plain.extend(at..at + length);
                }
                prop_assert_eq!(set.len, plain.len() as u64);
                for offset in 0..80 {
                    prop_assert_eq!(set.len_before(offset), plain.range(..offset).count() as u64);
                    prop_assert_eq!(set.contains(offset), plain.contains(&offset));
                    prop_assert_eq!(set.next_gap(offset), (offset..).find(|at| !plain.contains(at)).unwrap());
                }
                let ends: Vec<_> = set.iter().collect();
                prop_assert!(ends.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", ends);
            }
        }
    }
}
