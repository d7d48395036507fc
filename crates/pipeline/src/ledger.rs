//! The ledger of one pipeline over one topic, and the marks it is kept as in the table itself.
//!
//! Each number is a mark of its own, `millrace/PIPELINE/TABLE/TOPIC_ID/COUNTER`. Names that are not
//! listed in [`COUNTERS`] are left alone, so that a later version may add some and an older one still opens
//! the table; `udf/SLOT/COUNTER` splits them by version of the UDF (module `versions`).
//!
//! Some counters belong to others than the pipeline, and no window ever sets them, so that a window under
//! way cannot undo them. They are set in the commit that adds or removes the rows they count:
//!
//! | counter | rows table | dead-letter table |
//! |---|---|---|
//! | `erased` | rows erased | dead letters erased |
//! | `replayed` | rows added by replays of dead letters | dead letters removed because they have a row now |
//! | `replayed_filtered` | | dead letters removed because the UDF leaves them out now |
//! | `purged` | | dead letters removed because somebody asked for it |
//!
//! What was counted once stays counted: `written`, `filtered` and `dead_lettered` say what the fold did. So
//! the rows table holds `written + replayed - erased` rows, the dead-letter table (before the fold's
//! position) `dead_lettered - erased - replayed - replayed_filtered - purged`. A replay commits rows first:
//! where the rows table's `replayed` is ahead of the dead-letter table's, that many messages are in both
//! tables until the replay goes on, and count as rows. See [`crate::replay`].

use std::collections::BTreeMap;

use millrace_model::{Offset, TopicId};

use crate::Mark;

/// Counter: where the pipeline continues.
pub const NEXT_OFFSET: &str = "next_offset";
/// Counter: messages read from the topic.
pub const READ: &str = "read";
/// Counter: messages that became rows.
pub const WRITTEN: &str = "written";
/// Counter: messages that the UDF asked to leave out.
pub const FILTERED: &str = "filtered";
/// Counter: messages in the dead-letter table.
pub const DEAD_LETTERED: &str = "dead_lettered";
/// Counter: messages that the topic refused as duplicates, as known when the last window closed.
pub const DUPLICATE: &str = "duplicate";
/// Counter: rows removed by erasure after they were written; set by the erasure only.
pub const ERASED: &str = "erased";
/// Counter: messages that retention removed before they were read.
pub const EXPIRED: &str = "expired";

/// Counter, in both tables: dead letters that became rows by a replay; set by replays only.
pub const REPLAYED: &str = "replayed";

/// Every counter of a rows table's ledger.
pub const COUNTERS: [&str; 9] =
    [NEXT_OFFSET, READ, WRITTEN, FILTERED, DEAD_LETTERED, DUPLICATE, ERASED, EXPIRED, REPLAYED];

/// Counter of the dead-letter table: dead letters that the UDF left out in a replay; set by replays only.
pub const REPLAYED_FILTERED: &str = "replayed_filtered";
/// Counter of the dead-letter table: dead letters removed by a purge; set by purges only.
pub const PURGED: &str = "purged";

/// Whose marks: one pipeline's, for one table and one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerKey {
    prefix: String,
    topic: TopicId,
}

impl LedgerKey {
    /// The key of `pipeline`'s marks for `topic` in `table` (as [`crate::Sink::table`] names it).
    #[must_use]
    pub fn new(pipeline: &str, table: &str, topic: TopicId) -> Self {
        Self { prefix: format!("millrace/{pipeline}/{table}/"), topic }
    }

    /// The app id of one counter's mark.
    #[must_use]
    pub fn app_id(&self, counter: &str) -> String {
        format!("{}{}/{counter}", self.prefix, self.topic)
    }

    /// The value of one counter, `None` when the table has no such mark.
    ///
    /// # Errors
    /// When the mark is negative.
    pub fn get(&self, marks: &BTreeMap<String, i64>, counter: &str) -> Result<Option<u64>, LedgerError> {
        let app_id = self.app_id(counter);
        marks
            .get(&app_id)
            .map(|&version| u64::try_from(version).map_err(|_| LedgerError::Negative { app_id, version }))
            .transpose()
    }

    /// Other topics that the same pipeline has folded into the same table, with where it stood.
    #[must_use]
    pub fn other_topics(&self, marks: &BTreeMap<String, i64>) -> Vec<(TopicId, Offset)> {
        let positions = of_all_topics(&self.prefix, NEXT_OFFSET, marks);
        let others = positions.into_iter().filter(|(topic, _)| *topic != self.topic);
        others.map(|(topic, position)| (topic, Offset(position))).collect()
    }

    /// The pipelines that have folded messages of `topic` into `table`, with where each stands.
    #[must_use]
    pub fn all_pipelines(
        table: &str,
        topic: TopicId,
        marks: &BTreeMap<String, i64>,
    ) -> BTreeMap<String, Offset> {
        let ending = format!("/{table}/{topic}/{NEXT_OFFSET}");
        let of = |(app_id, &version): (&String, &i64)| {
            let pipeline = app_id.strip_prefix("millrace/")?.strip_suffix(&ending)?;
            Some((pipeline.to_owned(), Offset(u64::try_from(version).unwrap_or(0))))
        };
        marks.iter().filter_map(of).collect()
    }

    /// The values of one counter of `pipeline` in `table`, for every topic that has it; one that is negative
    /// counts as 0.
    #[must_use]
    pub fn all_topics(
        pipeline: &str,
        table: &str,
        counter: &str,
        marks: &BTreeMap<String, i64>,
    ) -> BTreeMap<TopicId, u64> {
        of_all_topics(&format!("millrace/{pipeline}/{table}/"), counter, marks)
    }
}

fn of_all_topics(prefix: &str, counter: &str, marks: &BTreeMap<String, i64>) -> BTreeMap<TopicId, u64> {
    marks
        .range(prefix.to_owned()..)
        .take_while(|(app_id, _)| app_id.starts_with(prefix))
        .filter_map(|(app_id, &version)| {
            let (topic, found) = app_id[prefix.len()..].split_once('/')?;
            let topic = topic.parse().ok().filter(|_| found == counter)?;
            Some((topic, u64::try_from(version).unwrap_or(0)))
        })
        .collect()
}

/// What a ledger's marks contradict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Some counters are there, the position is not.
    #[error("mark {app_id} is missing though other counters of the same ledger are there; run the audit")]
    Missing {
        /// The missing mark.
        app_id: String,
    },
    /// A count below zero.
    #[error("mark {app_id} is {version}, a count cannot be negative; run the audit")]
    Negative {
        /// The mark.
        app_id: String,
        /// Its value.
        version: i64,
    },
    /// The sums do not hold.
    #[error("the ledger does not balance: {0}; a counter was altered outside millrace, run the audit")]
    Unbalanced(String),
}

/// What a table says about how far a pipeline has folded a topic into it. All counts are messages since
/// the topic's first offset.
///
/// Invariant: `next_offset == read + expired` and `read == written + filtered + dead_lettered`;
/// `erased <= written + replayed`; `replayed <= dead_lettered`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Everything before is dealt with.
    pub next_offset: Offset,
    /// See [`READ`].
    pub read: u64,
    /// See [`WRITTEN`].
    pub written: u64,
    /// See [`FILTERED`].
    pub filtered: u64,
    /// See [`DEAD_LETTERED`].
    pub dead_lettered: u64,
    /// See [`DUPLICATE`].
    pub duplicate: u64,
    /// See [`ERASED`].
    pub erased: u64,
    /// See [`EXPIRED`].
    pub expired: u64,
    /// See [`REPLAYED`].
    pub replayed: u64,
}

/// What the dead-letter table says: how far it is, and what was taken out of it since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLedger {
    /// See [`NEXT_OFFSET`]: ahead of the rows table's while a window is between its two commits.
    pub next_offset: Offset,
    /// See [`ERASED`].
    pub erased: u64,
    /// See [`REPLAYED`].
    pub replayed: u64,
    /// See [`REPLAYED_FILTERED`].
    pub replayed_filtered: u64,
    /// See [`PURGED`].
    pub purged: u64,
}

impl DeadLedger {
    /// Reads it off the table's marks; nothing is there as long as no message failed.
    ///
    /// # Errors
    /// When a mark is negative.
    pub fn from_marks(key: &LedgerKey, marks: &BTreeMap<String, i64>) -> Result<Self, LedgerError> {
        let counter = |name| key.get(marks, name).map(Option::unwrap_or_default);
        Ok(Self {
            next_offset: Offset(counter(NEXT_OFFSET)?),
            erased: counter(ERASED)?,
            replayed: counter(REPLAYED)?,
            replayed_filtered: counter(REPLAYED_FILTERED)?,
            purged: counter(PURGED)?,
        })
    }

    /// How many dead letters were taken out, for whatever reason.
    #[must_use]
    pub fn removed(&self) -> u64 {
        // Altered marks may be anything.
        [self.erased, self.replayed, self.replayed_filtered, self.purged]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// What one window adds to a ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages read.
    pub read: u64,
    /// Of these, rows.
    pub written: u64,
    /// Of these, left out by the UDF.
    pub filtered: u64,
    /// Of these, in the dead-letter table.
    pub dead_lettered: u64,
    /// Offsets that retention removed unread.
    pub expired: u64,
}

impl Tally {
    /// Adds another run of messages.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.written += other.written;
        self.filtered += other.filtered;
        self.dead_lettered += other.dead_lettered;
        self.expired += other.expired;
    }
}

impl Ledger {
    /// Reads a ledger off a table's marks; `None` when there is none yet.
    ///
    /// # Errors
    /// When the marks contradict each other: see [`LedgerError`].
    pub fn from_marks(key: &LedgerKey, marks: &BTreeMap<String, i64>) -> Result<Option<Self>, LedgerError> {
        let Some(ledger) = Self::from_marks_unchecked(key, marks)? else { return Ok(None) };
        ledger.check()?;
        Ok(Some(ledger))
    }

    /// As [`from_marks`](Self::from_marks), but takes a ledger that does not balance: what the audit
    /// needs, which goes on to say how it does not.
    ///
    /// # Errors
    /// When the position is missing though other counters are there, or a mark is negative.
    pub fn from_marks_unchecked(
        key: &LedgerKey,
        marks: &BTreeMap<String, i64>,
    ) -> Result<Option<Self>, LedgerError> {
        let Some(next_offset) = key.get(marks, NEXT_OFFSET)? else {
            return match COUNTERS.iter().any(|counter| marks.contains_key(&key.app_id(counter))) {
                true => Err(LedgerError::Missing { app_id: key.app_id(NEXT_OFFSET) }),
                false => Ok(None),
            };
        };
        let counter = |name| key.get(marks, name).map(Option::unwrap_or_default);
        Ok(Some(Self {
            next_offset: Offset(next_offset),
            read: counter(READ)?,
            written: counter(WRITTEN)?,
            filtered: counter(FILTERED)?,
            dead_lettered: counter(DEAD_LETTERED)?,
            duplicate: counter(DUPLICATE)?,
            erased: counter(ERASED)?,
            expired: counter(EXPIRED)?,
            replayed: counter(REPLAYED)?,
        }))
    }

    /// The marks of a window's commit: every counter but `erased` and `replayed`, which are not the
    /// pipeline's to set.
    #[must_use]
    pub fn to_marks(&self, key: &LedgerKey) -> Vec<Mark> {
        [
            (NEXT_OFFSET, self.next_offset.0),
            (READ, self.read),
            (WRITTEN, self.written),
            (FILTERED, self.filtered),
            (DEAD_LETTERED, self.dead_lettered),
            (DUPLICATE, self.duplicate),
            (EXPIRED, self.expired),
        ]
        .into_iter()
        .map(|(counter, value)| mark(key.app_id(counter), value))
        .collect()
    }

    /// Checks the invariant.
    ///
    /// # Errors
    /// [`LedgerError::Unbalanced`], saying which sum does not hold.
    pub fn check(&self) -> Result<(), LedgerError> {
        // Altered marks may be anything up to 2^63, three of which overflow 64 bits.
        let sum = |parts: &[u64]| parts.iter().map(|&part| u128::from(part)).sum::<u128>();
        let problem = if u128::from(self.next_offset.0) != sum(&[self.read, self.expired]) {
            format!("next_offset {} is not read {} + expired {}", self.next_offset, self.read, self.expired)
        } else if u128::from(self.read) != sum(&[self.written, self.filtered, self.dead_lettered]) {
            format!(
                "read {} is not written {} + filtered {} + dead_lettered {}",
                self.read, self.written, self.filtered, self.dead_lettered
            )
        } else if u128::from(self.erased) > sum(&[self.written, self.replayed]) {
            format!(
                "erased {} is more than written {} + replayed {}",
                self.erased, self.written, self.replayed
            )
        } else if self.replayed > self.dead_lettered {
            format!("replayed {} is more than dead_lettered {}", self.replayed, self.dead_lettered)
        } else {
            return Ok(());
        };
        Err(LedgerError::Unbalanced(problem))
    }

    /// The ledger after a window that ends before `end`. `duplicate` is the topic's cumulative count
    /// and never goes back.
    #[must_use]
    pub fn after(&self, end: Offset, tally: &Tally, duplicate: u64) -> Self {
        Self {
            next_offset: end,
            read: self.read + tally.read,
            written: self.written + tally.written,
            filtered: self.filtered + tally.filtered,
            dead_lettered: self.dead_lettered + tally.dead_lettered,
            duplicate: self.duplicate.max(duplicate),
            erased: self.erased,
            expired: self.expired + tally.expired,
            replayed: self.replayed,
        }
    }

    /// Whether two ledgers say the same about everything that a window's commit sets.
    #[must_use]
    pub fn same_fold(&self, other: &Self) -> bool {
        Self { erased: 0, replayed: 0, ..*self } == Self { erased: 0, replayed: 0, ..*other }
    }
}

/// A mark of a count; counts beyond 2^63 do not occur (one per message or row).
pub(crate) fn mark(app_id: String, value: u64) -> Mark {
    Mark { app_id, version: i64::try_from(value).unwrap_or(i64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> LedgerKey {
        LedgerKey::new("main", "rows", TopicId([7; 16]))
    }

    fn map(marks: Vec<Mark>) -> BTreeMap<String, i64> {
        marks.into_iter().map(|mark| (mark.app_id, mark.version)).collect()
    }

    proptest! {
        #[test]
        fn a_ledger_survives_its_marks(windows in prop::collection::vec((0u64..99, 0u64..99, 0u64..99, 0u64..99, 0u64..99), 0..8)) {
            let mut ledger = Ledger::default();
            for (written, filtered, dead_lettered, expired, duplicate) in windows {
                let read = written + filtered + dead_lettered;
                let end = ledger.next_offset.plus(read + expired);
                ledger = ledger.after(end, &Tally { read, written, filtered, dead_lettered, expired }, duplicate);
                prop_assert_eq!(Ledger::from_marks(&key(), &map(ledger.to_marks(&key()))), Ok(Some(ledger)));
            }
        }

        #[test]
        fn any_altered_counter_is_noticed_or_harmless(counter in 0usize..9, value: i64) {
            let tally = Tally { read: 9, written: 5, filtered: 3, dead_lettered: 1, expired: 2 };
            let ledger = Ledger::default().after(Offset(11), &tally, 4);
            let mut marks = map(ledger.to_marks(&key()));
            marks.insert(key().app_id(COUNTERS[counter]), value);
            // Duplicates are only ever compared with the topic's own count, which the audit does.
            let free = match COUNTERS[counter] {
                DUPLICATE => true,
                ERASED => value <= 5,
                REPLAYED => value <= 1,
                _ => false,
            };
            let unchanged = map(ledger.to_marks(&key())).get(&key().app_id(COUNTERS[counter])) == Some(&value);
            prop_assert_eq!(Ledger::from_marks(&key(), &marks).is_ok(), value >= 0 && (free || unchanged));
        }
    }

    #[test]
    fn other_counters_other_pipelines_and_other_tables_are_left_alone() {
        let other = TopicId([9; 16]);
        let marks = BTreeMap::from([
            (key().app_id("udf/00ff/written"), 4),
            (LedgerKey::new("main", "rows2", other).app_id(NEXT_OFFSET), 4),
            (LedgerKey::new("mai", "rows", other).app_id(NEXT_OFFSET), 4),
        ]);
        assert_eq!(Ledger::from_marks(&key(), &marks), Ok(None));
        assert_eq!(key().other_topics(&marks), []);
        let marks = BTreeMap::from([
            (LedgerKey::new("main", "rows", other).app_id(NEXT_OFFSET), 4),
            (LedgerKey::new("main", "rows", other).app_id(READ), 4),
        ]);
        assert_eq!(key().other_topics(&marks), [(other, Offset(4))]);
    }

    #[test]
    fn a_position_that_is_gone_is_named() {
        let marks = BTreeMap::from([(key().app_id(WRITTEN), 4)]);
        let missing = LedgerError::Missing { app_id: key().app_id(NEXT_OFFSET) };
        assert_eq!(Ledger::from_marks(&key(), &marks), Err(missing));
    }
}
