//! Looks at every offset of both tables, in bounded pieces.

use std::fmt::Write as _;

use millrace_model::{Offset, TopicId};

use crate::{Sink, SinkError};

/// Most offsets that one question to a table covers: bounds the memory of an answer to 8 MiB.
/// Few in tests, so that they ask more than once.
const OFFSETS_PER_QUESTION_MAX: u64 = if cfg!(test) { 16 } else { 1 << 20 };

/// A list in a finding names at most this many offsets.
const OFFSETS_NAMED_MAX: usize = 10;

/// Offsets with something wrong: how many, and the first of them.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    pub count: u64,
    first: Vec<Offset>,
}

impl Suspects {
    pub fn add(&mut self, offset: Offset) {
        self.count += 1;
        if self.first.len() < OFFSETS_NAMED_MAX {
            self.first.push(offset);
        }
    }

    /// `offsets 3, 4, 9 and 12 more`.
    pub fn list(&self) -> String {
        let mut text = String::from(if self.count == 1 { "offset" } else { "offsets" });
        for (index, offset) in self.first.iter().enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            // Writing into a string does not fail.
            let _ = write!(text, "{separator}{offset}");
        }
        if self.count > self.first.len() as u64 {
            let _ = write!(text, " and {} more", self.count - self.first.len() as u64);
        }
        text
    }
}

/// What was found in both tables in a range before the rows' position.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Different offsets in the rows table; `None` when it could not be read.
    pub rows: Option<u64>,
    /// Different offsets in the dead-letter table; `None` when it could not be read.
    pub dead: Option<u64>,
    pub rows_twice: Suspects,
    pub dead_twice: Suspects,
    pub in_both: Suspects,
    /// Why a table could not be read: its name, the range asked for, the reason.
    pub unreadable: Vec<(String, Offset, Offset, SinkError)>,
}

/// Scans `start..end`.
pub(super) fn scan(rows: &dyn Sink, dead: &dyn Sink, topic: TopicId, mut start: Offset, end: Offset) -> Scan {
    let mut scan = Scan { rows: Some(0), dead: Some(0), ..Scan::default() };
    while start < end {
        let stop = end.min(start.plus(OFFSETS_PER_QUESTION_MAX));
        let mut unreadable = Vec::new();
        let mut ask = |sink: &dyn Sink, sum: &mut Option<u64>, twice: &mut Suspects| {
            // One unreadable piece makes a table's sum worthless; the other table is still looked at.
            (*sum)?;
            match sink.offsets(topic, start, stop) {
                Ok(mut offsets) => {
                    offsets.retain(|&offset| (start..stop).contains(&offset));
                    let offsets = distinct(offsets, twice);
                    *sum = sum.map(|sum| sum + offsets.len() as u64);
                    Some(offsets)
                }
                Err(error) => {
                    unreadable.push((sink.table().to_owned(), start, stop, error));
                    *sum = None;
                    None
                }
            }
        };
        let in_rows = ask(rows, &mut scan.rows, &mut scan.rows_twice);
        let in_dead = ask(dead, &mut scan.dead, &mut scan.dead_twice);
        scan.unreadable.append(&mut unreadable);
        if let (Some(in_rows), Some(in_dead)) = (in_rows, in_dead) {
            let both = in_dead.iter().filter(|offset| in_rows.binary_search(offset).is_ok());
            both.for_each(|&offset| scan.in_both.add(offset));
        }
        start = stop;
    }
    scan
}

/// Removes repetitions, noting each offset that has one.
fn distinct(mut offsets: Vec<Offset>, twice: &mut Suspects) -> Vec<Offset> {
    offsets.sort_unstable();
    let mut last_noted = None;
    offsets.dedup_by(|next, kept| {
        let same = next == kept;
        if same && last_noted != Some(*kept) {
            twice.add(*kept);
            last_noted = Some(*kept);
        }
        same
    });
    offsets
}

/// The offsets from `start` on, to the end of all numbers; stops looking at the first piece that has
/// any, so that a table whose position was set back does not fill the memory.
pub(super) fn beyond(
    sink: &dyn Sink,
    topic: TopicId,
    start: Offset,
    end: Offset,
) -> Result<Vec<Offset>, SinkError> {
    let mut from = start;
    while from < end {
        let stop = end.min(from.plus(OFFSETS_PER_QUESTION_MAX));
        let found = sink.offsets(topic, from, stop)?;
        if !found.is_empty() {
            return Ok(found);
        }
        from = stop;
    }
    // Tables keep offsets as signed 64 bits.
    let last = Offset(i64::MAX.unsigned_abs());
    if from < last { sink.offsets(topic, from, last) } else { Ok(Vec::new()) }
}
