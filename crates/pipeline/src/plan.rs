//! Every decision of a pipeline that is not I/O, as plain functions over plain values.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::{Bounds, Offset, ReadLimit, TopicId};

use crate::config::{PipelineError, WindowLimits};
use crate::ledger::{Ledger, LedgerKey, NEXT_OFFSET};
use crate::versions::Versions;

/// Whose fold it is: names for people, keys for the tables.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub pipeline: String,
    pub topic_name: String,
    pub topic: TopicId,
    pub rows_table: String,
    pub rows_key: LedgerKey,
    pub dead_table: String,
    pub dead_key: LedgerKey,
}

impl Identity {
    pub fn new(pipeline: &str, topic_name: &str, topic: TopicId, rows_table: &str, dead_table: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            topic_name: topic_name.to_owned(),
            topic,
            rows_table: rows_table.to_owned(),
            rows_key: LedgerKey::new(pipeline, rows_table, topic),
            dead_table: dead_table.to_owned(),
            dead_key: LedgerKey::new(pipeline, dead_table, topic),
        }
    }
}

/// Where a pipeline continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub ledger: Ledger,
    /// The same by version of the UDF.
    pub versions: Versions,
    /// How far the dead-letter table is; beyond the ledger's position when a window's dead letters
    /// were committed and its rows were not.
    pub dead_position: Offset,
}

/// Decides where to continue from what the tables and the log say, or why not to start at all.
pub(crate) fn open(
    identity: &Identity,
    rows_marks: &BTreeMap<String, i64>,
    dead_marks: &BTreeMap<String, i64>,
    bounds: Bounds,
    adopt_new_topic: bool,
) -> Result<Opening, PipelineError> {
    let refuse = |table: &str, error| PipelineError::Ledger {
        pipeline: identity.pipeline.clone(),
        table: table.to_owned(),
        error,
    };
    let ledger = Ledger::from_marks(&identity.rows_key, rows_marks)
        .map_err(|error| refuse(&identity.rows_table, error))?;
    let dead_position =
        dead_position(identity, dead_marks).map_err(|error| refuse(&identity.dead_table, error))?;
    let furthest = identity.rows_key.other_topics(rows_marks).into_iter().max_by_key(|(_, offset)| *offset);
    if let (None, Some((known, known_offset)), false) = (ledger, furthest, adopt_new_topic) {
        return Err(PipelineError::UnknownTopic {
            pipeline: identity.pipeline.clone(),
            table: identity.rows_table.clone(),
            topic: identity.topic_name.clone(),
            id: identity.topic,
            known,
            known_offset,
        });
    }
    let ledger = ledger.unwrap_or_default();
    for (table, offset) in [(&identity.rows_table, ledger.next_offset), (&identity.dead_table, dead_position)]
    {
        if offset > bounds.end {
            return Err(PipelineError::BeyondEnd {
                pipeline: identity.pipeline.clone(),
                table: table.clone(),
                topic: identity.topic_name.clone(),
                offset,
                end: bounds.end,
            });
        }
    }
    let versions = Versions::from_marks(&identity.rows_key, rows_marks)
        .map_err(|error| refuse(&identity.rows_table, error))?;
    Ok(Opening { ledger, versions, dead_position })
}

/// How far the dead-letter table is, from its marks.
pub(crate) fn dead_position(
    identity: &Identity,
    dead_marks: &BTreeMap<String, i64>,
) -> Result<Offset, crate::LedgerError> {
    identity.dead_key.get(dead_marks, NEXT_OFFSET).map(|mark| Offset(mark.unwrap_or(0)))
}

/// Most messages and payload bytes of one chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimits {
    pub messages_max: usize,
    pub bytes_max: usize,
}

/// What to do next about the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read from the position on.
    Read(ReadLimit),
    /// The messages from the position up to here are gone.
    Expired(Offset),
    /// There is nothing to read (yet).
    Idle,
    /// The log ends before the position: it has lost synced messages while we ran.
    Beyond(Offset),
}

/// What to read at `position`, never past `stop` (where a window must end, or a drain).
pub(crate) fn next_read(position: Offset, stop: Option<Offset>, bounds: Bounds, limits: ChunkLimits) -> Next {
    if position > bounds.end {
        return Next::Beyond(bounds.end);
    }
    let end = stop.map_or(bounds.end, |stop| stop.min(bounds.end));
    if position >= end {
        return Next::Idle;
    }
    if bounds.start > position {
        return Next::Expired(bounds.start.min(end));
    }
    Next::Read(ReadLimit { messages_max: limits.messages_max, bytes_max: limits.bytes_max, end: stop })
}

/// How much is in a window, or would be added to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub messages: usize,
    pub payload_bytes: usize,
    pub built_bytes: usize,
}

impl Fill {
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            payload_bytes: self.payload_bytes + other.payload_bytes,
            built_bytes: self.built_bytes + other.built_bytes,
        }
    }

    /// What it weighs in memory.
    pub fn bytes(self) -> usize {
        self.payload_bytes + self.built_bytes
    }
}

/// Window limits with the bound on built bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FillLimits {
    pub window: WindowLimits,
    pub built_bytes_max: usize,
}

impl FillLimits {
    /// Whether a window of `fill` takes no more.
    pub fn is_full(&self, fill: Fill) -> bool {
        fill.messages >= self.window.rows_max
            || fill.payload_bytes >= self.window.bytes_max
            || fill.built_bytes >= self.built_bytes_max
    }

    /// Whether a window of `fill`, not full, has room for `more`.
    pub fn has_room(&self, fill: Fill, more: Fill) -> bool {
        let sum = fill.plus(more);
        sum.messages <= self.window.rows_max
            && sum.payload_bytes <= self.window.bytes_max
            && sum.built_bytes <= self.built_bytes_max
    }
}

/// The wait before try number `failures + 1`: doubles from `min` up to `max`.
pub(crate) fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    min.saturating_mul(1 << doublings).min(max.max(min))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Tally;

    fn identity() -> Identity {
        Identity::new("main", "events", TopicId([7; 16]), "rows", "rows_dead")
    }

    fn marks(ledger: Ledger) -> BTreeMap<String, i64> {
        ledger.to_marks(&identity().rows_key).into_iter().map(|mark| (mark.app_id, mark.version)).collect()
    }

    fn ledger_at(offset: u64) -> Ledger {
        let tally = Tally { read: offset, written: offset, ..Tally::default() };
        Ledger::default().after(Offset(offset), &tally, 0)
    }

    fn bounds(start: u64, end: u64) -> Bounds {
        Bounds { start: Offset(start), end: Offset(end) }
    }

    #[test]
    fn a_new_table_starts_at_the_beginning_and_an_old_one_where_it_was() {
        let none = BTreeMap::new();
        let opening = open(&identity(), &none, &none, bounds(0, 9), false).unwrap();
        let versions = Versions::default();
        assert_eq!(opening, Opening { ledger: Ledger::default(), versions, dead_position: Offset::ZERO });
        let dead = BTreeMap::from([(identity().dead_key.app_id(NEXT_OFFSET), 8)]);
        let opening = open(&identity(), &marks(ledger_at(5)), &dead, bounds(0, 9), false).unwrap();
        assert_eq!((opening.ledger, opening.dead_position), (ledger_at(5), Offset(8)));
    }

    #[test]
    fn a_table_ahead_of_the_log_is_refused() {
        let none = BTreeMap::new();
        let error = open(&identity(), &marks(ledger_at(10)), &none, bounds(0, 9), false).unwrap_err();
        assert!(matches!(error, PipelineError::BeyondEnd { ref table, .. } if table == "rows"), "{error}");
        let dead = BTreeMap::from([(identity().dead_key.app_id(NEXT_OFFSET), 10)]);
        let error = open(&identity(), &marks(ledger_at(5)), &dead, bounds(0, 9), false).unwrap_err();
        assert!(
            matches!(error, PipelineError::BeyondEnd { ref table, .. } if table == "rows_dead"),
            "{error}"
        );
    }

    #[test]
    fn another_topic_under_the_same_name_is_refused_until_adopted() {
        let none = BTreeMap::new();
        let old = LedgerKey::new("main", "rows", TopicId([1; 16]));
        let marks: BTreeMap<_, _> =
            ledger_at(5).to_marks(&old).into_iter().map(|mark| (mark.app_id, mark.version)).collect();
        let error = open(&identity(), &marks, &none, bounds(0, 9), false).unwrap_err();
        assert!(error.to_string().contains("adopt_new_topic"), "{error}");
        assert!(open(&identity(), &marks, &none, bounds(0, 9), true).is_ok());
    }

    #[test]
    fn an_altered_ledger_is_refused() {
        let mut marks = marks(ledger_at(5));
        marks.insert(identity().rows_key.app_id("written"), 4);
        let error = open(&identity(), &marks, &BTreeMap::new(), bounds(0, 9), false).unwrap_err();
        assert!(matches!(error, PipelineError::Ledger { .. }), "{error}");
    }

    #[test]
    fn what_to_read_next() {
        let limits = ChunkLimits { messages_max: 10, bytes_max: 100 };
        let read = |end| Next::Read(ReadLimit { messages_max: 10, bytes_max: 100, end });
        let next = |position, stop: Option<u64>, bounds| {
            next_read(Offset(position), stop.map(Offset), bounds, limits)
        };
        assert_eq!(next(3, None, bounds(0, 9)), read(None));
        assert_eq!(next(3, Some(7), bounds(0, 9)), read(Some(Offset(7))));
        assert_eq!(next(9, None, bounds(0, 9)), Next::Idle);
        assert_eq!(next(7, Some(7), bounds(0, 9)), Next::Idle);
        assert_eq!(next(3, None, bounds(5, 9)), Next::Expired(Offset(5)));
        assert_eq!(next(3, Some(4), bounds(5, 9)), Next::Expired(Offset(4)));
        assert_eq!(next(9, None, bounds(9, 9)), Next::Idle);
        assert_eq!(next(10, None, bounds(0, 9)), Next::Beyond(Offset(9)));
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(30));
        let waits: Vec<_> = [1, 2, 3, 9, 10, u32::MAX].map(|n| backoff(n, min, max).as_millis()).into();
        assert_eq!(waits, [100, 200, 400, 25_600, 30_000, 30_000]);
    }
}
