//! A replay's list, frozen, and where it stands: what is kept in the data directory and what in the tables.

use std::collections::BTreeMap;

use millrace_model::{Micros, Offset, TopicId};
use serde::{Deserialize, Serialize};

use super::ReplayError;
use crate::ledger::{LedgerKey, REPLAYED, REPLAYED_FILTERED, mark};
use crate::{LedgerError, Mark};

/// Mark, in both tables: the number of the newest replay that committed there.
pub const REPLAY_JOB: &str = "replay_job";
/// Mark, in both tables: how many messages of that replay's list the table is done with.
pub const REPLAY_POSITION: &str = "replay_position";

/// The only form of a stored job.
const FORMAT: u32 = 1;

/// Where a pipeline's job is kept while it is not done: one file in the data directory. What is saved must
/// survive a power loss before `save` returns.
pub trait JobStore: Send + Sync {
    /// The stored text, `None` when there is no job.
    ///
    /// # Errors
    /// Names the file and what is wrong.
    fn load(&self) -> Result<Option<String>, String>;

    /// Puts a text in the place of the one before, whole or not at all.
    ///
    /// # Errors
    /// Names the file and what is wrong.
    fn save(&self, text: &str) -> Result<(), String>;

    /// Removes it.
    ///
    /// # Errors
    /// Names the file and what is wrong.
    fn clear(&self) -> Result<(), String>;
}

/// A replay: a frozen list of dead letters of one topic, and the UDF to show them to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayJob {
    format: u32,
    /// Its number; later ones have higher numbers.
    pub number: u64,
    /// The topic of its messages.
    #[serde(with = "topic_text")]
    pub topic: TopicId,
    /// What the owner makes the transforms of. A job that is resumed goes on with the UDF it began with.
    pub udf: String,
    /// When it was begun.
    pub created_micros: i64,
    /// The counters when it was begun: what it has done itself is what they have grown by.
    pub replayed_before: u64,
    /// As `replayed_before`, of the filtered ones.
    pub filtered_before: u64,
    /// The list: first offset and count of each run of neighbours, ascending.
    runs: Vec<(u64, u64)>,
}

impl ReplayJob {
    pub(super) fn new(
        number: u64,
        topic: TopicId,
        udf: String,
        before: &Stand,
        offsets: impl IntoIterator<Item = Offset>,
    ) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for Offset(offset) in offsets {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == offset => *count += 1,
                _ => runs.push((offset, 1)),
            }
        }
        Self {
            format: FORMAT,
            number,
            topic,
            udf,
            created_micros: Micros::now().0,
            replayed_before: before.replayed,
            filtered_before: before.filtered,
            runs,
        }
    }

    /// How many messages are on the list.
    #[must_use]
    pub fn selected(&self) -> u64 {
        self.runs.iter().map(|(_, count)| count).sum()
    }

    /// The first offset and the one behind the last.
    pub(super) fn range(&self) -> (Offset, Offset) {
        let first = self.runs.first().map_or(0, |(first, _)| *first);
        let end = self.runs.last().map_or(0, |(first, count)| first.saturating_add(*count));
        (Offset(first), Offset(end))
    }

    /// The messages from place `from` of the list on, at most `count`.
    pub(super) fn offsets(&self, from: u64, count: u64) -> Vec<Offset> {
        let mut offsets = Vec::new();
        let (mut skip, mut left) = (from, count);
        for &(first, length) in &self.runs {
            let here = left.min(length.saturating_sub(skip));
            offsets.extend(
                (first + skip.min(length)..).take(usize::try_from(here).unwrap_or(usize::MAX)).map(Offset),
            );
            (skip, left) = (skip.saturating_sub(length), left - here);
            if left == 0 {
                break;
            }
        }
        offsets
    }

    /// Whether `offset` is on the list.
    pub(super) fn contains(&self, offset: Offset) -> bool {
        let after = self.runs.partition_point(|(first, _)| *first <= offset.0);
        after > 0 && offset.0 - self.runs[after - 1].0 < self.runs[after - 1].1
    }

    pub(super) fn to_text(&self) -> String {
        // Numbers and strings always have a JSON text.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn parse(text: &str) -> Result<Self, ReplayError> {
        let damaged = |reason: String| ReplayError::Job { reason };
        let job: Self = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        let ascending = job.runs.windows(2).all(|pair| pair[0].0.saturating_add(pair[0].1) <= pair[1].0);
        match job {
            Self { format, .. } if format != FORMAT => Err(damaged(format!("it has form {format}"))),
            _ if !ascending => Err(damaged("its list is not in order".to_owned())),
            job => Ok(job),
        }
    }
}

mod topic_text {
    use millrace_model::TopicId;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(topic: &TopicId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(topic)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TopicId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// How far replays are in one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// See [`REPLAY_JOB`].
    pub job: u64,
    /// See [`REPLAY_POSITION`].
    pub position: u64,
    /// See [`REPLAYED`].
    pub replayed: u64,
    /// See [`REPLAYED_FILTERED`]; 0 in the rows table.
    pub filtered: u64,
}

impl Stand {
    pub fn from_marks(key: &LedgerKey, marks: &BTreeMap<String, i64>) -> Result<Self, LedgerError> {
        let counter = |name| key.get(marks, name).map(Option::unwrap_or_default);
        Ok(Self {
            job: counter(REPLAY_JOB)?,
            position: counter(REPLAY_POSITION)?,
            replayed: counter(REPLAYED)?,
            filtered: counter(REPLAYED_FILTERED)?,
        })
    }

    pub fn to_marks(self, key: &LedgerKey) -> Vec<Mark> {
        let counters = [
            (REPLAY_JOB, self.job),
            (REPLAY_POSITION, self.position),
            (REPLAYED, self.replayed),
            (REPLAYED_FILTERED, self.filtered),
        ];
        let set = counters.into_iter().filter(|(counter, value)| *counter != REPLAYED_FILTERED || *value > 0);
        set.map(|(counter, value)| mark(key.app_id(counter), value)).collect()
    }

    fn position_in(&self, job: &ReplayJob) -> u64 {
        if self.job == job.number { self.position } else { 0 }
    }
}

/// What a job does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Its rows from place `from` of the list on are in no table yet.
    Begin { from: u64 },
    /// The rows of these places are in the rows table; the dead letters are still there.
    Finish { from: u64, to: u64 },
    /// Nothing.
    Done,
}

/// Decides from what the tables say. The dead-letter table is the later one, so it says where the job is;
/// the rows table is ahead of it when the job was interrupted between the two, and behind it after batches
/// without a row.
pub(super) fn next(job: &ReplayJob, rows: &Stand, dead: &Stand) -> Result<Next, ReplayError> {
    for stand in [rows, dead] {
        if stand.job > job.number {
            return Err(ReplayError::Superseded { job: job.number, newest: stand.job });
        }
    }
    let (rows, dead, end) = (rows.position_in(job), dead.position_in(job), job.selected());
    if rows > end || dead > end {
        let reason = format!("a table is at place {} of a list of {end}", rows.max(dead));
        return Err(ReplayError::Job { reason });
    }
    Ok(match (rows > dead, dead == end) {
        (true, _) => Next::Finish { from: dead, to: rows },
        (false, true) => Next::Done,
        (false, false) => Next::Begin { from: dead },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_is_what_went_in(offsets in prop::collection::btree_set(0u64..60, 0..40), from in 0u64..40, count in 0u64..40) {
            let job = ReplayJob::new(3, TopicId([7; 16]), "x".to_owned(), &Stand::default(), offsets.iter().copied().map(Offset));
            prop_assert_eq!(&ReplayJob::parse(&job.to_text()).unwrap(), &job);
            let all: Vec<_> = offsets.iter().copied().collect();
            prop_assert_eq!(job.selected(), all.len() as u64);
            let some: Vec<_> = job.offsets(from, count).into_iter().map(|offset| offset.0).collect();
            let wanted: Vec<_> = all.iter().copied().skip(from as usize).take(count as usize).collect();
            prop_assert_eq!(some, wanted);
            for offset in 0..60 {
                prop_assert_eq!(job.contains(Offset(offset)), offsets.contains(&offset));
            }
        }
    }

    #[test]
    fn what_is_next_is_read_off_the_tables() {
        let job = ReplayJob::new(2, TopicId([7; 16]), String::new(), &Stand::default(), (0..10).map(Offset));
        let stand = |job, position| Stand { job, position, ..Stand::default() };
        let check = |rows, dead| next(&job, &rows, &dead);
        assert_eq!(check(stand(1, 7), stand(1, 7)).unwrap(), Next::Begin { from: 0 });
        assert_eq!(check(stand(2, 4), stand(1, 7)).unwrap(), Next::Finish { from: 0, to: 4 });
        assert_eq!(check(stand(2, 4), stand(2, 4)).unwrap(), Next::Begin { from: 4 });
        assert_eq!(check(stand(2, 4), stand(2, 6)).unwrap(), Next::Begin { from: 6 });
        assert_eq!(check(stand(2, 10), stand(2, 6)).unwrap(), Next::Finish { from: 6, to: 10 });
        assert_eq!(check(stand(1, 9), stand(2, 10)).unwrap(), Next::Done);
        assert!(matches!(check(stand(3, 0), stand(2, 0)), Err(ReplayError::Superseded { newest: 3, .. })));
        assert!(matches!(check(stand(2, 11), stand(2, 0)), Err(ReplayError::Job { .. })));
    }
}
