//! A window: transformed messages that will be committed in one step.

use std::collections::BTreeMap;
use std::time::Instant;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use millrace_model::{ErrorClass, Failure, Offset, Stage, UdfHash};
use millrace_table::Outcome;

use crate::chunk::Transformed;
use crate::ledger::Tally;
use crate::plan::{Fill, FillLimits};
use crate::trouble::Trouble;

/// Consecutive parts of one UDF version.
pub(crate) struct Window {
    pub start: Offset,
    pub end: Offset,
    pub parts: Vec<Transformed>,
    pub fill: Fill,
    /// When its first message was read.
    pub opened_at: Instant,
    /// Whether it lies before the dead-letter table's end: then age does not close it.
    pub replayed: bool,
    ends: bool,
    version: u64,
}

impl Window {
    pub fn open(first: Transformed) -> Self {
        Self {
            start: first.start,
            end: first.end,
            fill: first.fill,
            opened_at: first.read_at,
            replayed: first.replayed && !first.ends_window,
            ends: first.ends_window,
            version: first.version.number,
            parts: vec![first],
        }
    }

    /// Whether `next` may join.
    pub fn admits(&self, next: &Transformed, limits: &FillLimits) -> bool {
        !self.is_closed(limits)
            && self.version == next.version.number
            && limits.has_room(self.fill, next.fill)
    }

    /// Whether nothing may join.
    pub fn is_closed(&self, limits: &FillLimits) -> bool {
        self.ends || limits.is_full(self.fill)
    }

    pub fn push(&mut self, next: Transformed) {
        self.end = next.end;
        self.fill = self.fill.plus(next.fill);
        self.ends = next.ends_window;
        self.replayed = next.replayed && !next.ends_window;
        self.parts.push(next);
    }

    /// The version of the UDF that it was shown to.
    pub fn udf_hash(&self) -> Option<UdfHash> {
        self.parts.first().and_then(|part| part.version.udf_hash)
    }

    pub fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.parts.iter().for_each(|part| sum.add(&part.tally));
        sum
    }
}

/// A failure that is not in the dead-letter table yet: which part of the window, which message of
/// its batch.
pub(crate) struct Undelivered {
    pub part: usize,
    pub message: usize,
    pub failure: Failure,
}

/// A closed window on its way into the tables. Survives failed tries.
pub(crate) struct Pending {
    pub window: Window,
    pub undelivered: Vec<Undelivered>,
    /// A dead-letter commit has failed: some of `undelivered` may be there after all.
    pub dead_uncertain: bool,
    /// A rows commit has failed: it may have happened after all.
    pub rows_uncertain: bool,
    /// The topic's duplicates when the window closed.
    pub duplicate: u64,
    /// New dead letters by kind, for metrics.
    pub kinds: BTreeMap<(&'static str, &'static str), u64>,
}

impl Pending {
    pub fn new(mut window: Window, duplicate: u64) -> Self {
        let mut kinds = BTreeMap::new();
        let mut undelivered = Vec::new();
        for (part, transformed) in window.parts.iter_mut().enumerate() {
            for (message, failure) in std::mem::take(&mut transformed.failures) {
                *kinds.entry((failure.stage.as_str(), failure.class.as_str())).or_default() += 1;
                undelivered.push(Undelivered { part, message, failure });
            }
        }
        Self { window, undelivered, dead_uncertain: false, rows_uncertain: false, duplicate, kinds }
    }

    /// The offset of a message of the window.
    pub fn offset_of(&self, part: usize, message: usize) -> Offset {
        self.window.parts[part].batch.get(message).offset
    }

    /// The window's rows, without empty batches.
    pub fn rows(&self) -> Vec<RecordBatch> {
        let rows = self.window.parts.iter().map(|part| &part.rows);
        rows.filter(|rows| rows.num_rows() > 0).cloned().collect()
    }

    /// Turns rows that the sink refused into failures: `refused` counts rows over all of
    /// [`rows`](Self::rows).
    ///
    /// # Errors
    /// When the sink named no row, or one that there is not.
    pub fn reject(&mut self, table: &str, refused: Vec<(usize, String)>) -> Result<(), Trouble> {
        let mut reasons: BTreeMap<usize, String> = refused.into_iter().collect();
        let rows: usize = self.window.parts.iter().map(|part| part.rows.num_rows()).sum();
        if reasons.last_key_value().is_none_or(|(&last, _)| last >= rows) {
            return Err(Trouble::Broken(format!(
                "table {table} refused a commit of {rows} rows without naming which of them; this is a bug \
                 in the sink"
            )));
        }
        let mut before = 0;
        for index in 0..self.window.parts.len() {
            let rows = self.window.parts[index].rows.num_rows();
            let beyond = reasons.split_off(&(before + rows));
            let here = std::mem::replace(&mut reasons, beyond);
            if !here.is_empty() {
                self.reject_in_part(
                    index,
                    here.into_iter().map(|(row, text)| (row - before, text)).collect(),
                )?;
            }
            before += rows;
        }
        Ok(())
    }

    fn reject_in_part(&mut self, index: usize, refused: BTreeMap<usize, String>) -> Result<(), Trouble> {
        let part = &mut self.window.parts[index];
        let keep: BooleanArray =
            (0..part.rows.num_rows()).map(|row| Some(!refused.contains_key(&row))).collect();
        part.rows = filter_record_batch(&part.rows, &keep)
            .map_err(|error| Trouble::Broken(format!("cannot leave out refused rows: {error}")))?;
        let written = part.outcomes.iter().enumerate().filter(|(_, outcome)| **outcome == Outcome::Written);
        let messages: Vec<usize> = written.map(|(message, _)| message).collect();
        for (row, reason) in refused {
            let (message, class) = (messages[row], ErrorClass::SinkRejected);
            part.outcomes[message] = Outcome::DeadLettered;
            part.tally.written -= 1;
            part.tally.dead_lettered += 1;
            *self.kinds.entry((Stage::Sink.as_str(), class.as_str())).or_default() += 1;
            let failure = Failure { stage: Stage::Sink, class, message: reason, stack: None };
            self.undelivered.push(Undelivered { part: index, message: part.range.start + message, failure });
        }
        Ok(())
    }
}
