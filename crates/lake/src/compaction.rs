//! Putting small files together: which (a pure decision), and how (a merge in order of topic and
//! offset, outside the committer, then one commit that replaces them).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use millrace_model::names::{COLUMN_OFFSET, COLUMN_TOPIC};

use crate::committer::{Committer, Request};
use crate::config::CompactionConfig;
use crate::core::TableCore;
use crate::data_reader::FileRows;
use crate::data_writer::row_key;
use crate::error::LakeError;
use crate::metric;
use crate::state::{DataFile, TableState};
use crate::stats::whole_bounds;

/// Files below this size count as equally small.
const SMALLEST_CLASS_BYTES: u64 = 64 * 1024;
/// Files of one class differ by less than this factor in size. Putting `files_min` of them together
/// makes one of a higher class, so that a row is written again a logarithmic number of times only.
const CLASS_FACTOR: u64 = 4;
/// Decoded bytes that the merge keeps in memory, over all files it reads at a time.
const MERGE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How much larger rows are decoded than in a file, roughly, for text.
const DECODED_FACTOR: u64 = 16;

/// Files that are to become one.
#[derive(Debug)]
pub(crate) struct Group {
    day: Option<i32>,
    files: Vec<Arc<DataFile>>,
}

/// Chooses groups of files of one partition and similar size. `table` is for statistics.
pub(crate) fn plan(table: &TableCore, state: &TableState, config: &CompactionConfig) -> Vec<Group> {
    let mut classes: BTreeMap<(Option<i32>, u32), Vec<Arc<DataFile>>> = BTreeMap::new();
    for file in state.files.iter().filter(|file| file.size < config.target_bytes / 2) {
        classes.entry((file.day, size_class(file.size))).or_default().push(Arc::clone(file));
    }
    let mut groups = Vec::new();
    for ((day, _), mut files) in classes {
        files.sort_by_key(|file| least_key(table, file));
        let (mut group, mut bytes) = (Vec::new(), 0);
        for file in files {
            bytes += file.size;
            group.push(file);
            if group.len() >= config.files_max || bytes >= config.target_bytes {
                push_worthwhile(&mut groups, day, std::mem::take(&mut group), config);
                bytes = 0;
            }
        }
        push_worthwhile(&mut groups, day, group, config);
    }
    if groups.is_empty() {
        groups = stale(table, state);
    }
    groups
}

/// Files whose hidden columns are missing or of an older list, each to be written again by itself. Only
/// when nothing else is to be put together: what is, gets its columns then.
fn stale(table: &TableCore, state: &TableState) -> Vec<Group> {
    let Some(typed) = table.typed() else { return Vec::new() };
    let without = state.files.iter().filter(|file| !typed.has(file));
    without.map(|file| Group { day: file.day, files: vec![Arc::clone(file)] }).collect()
}

fn push_worthwhile(
    groups: &mut Vec<Group>,
    day: Option<i32>,
    files: Vec<Arc<DataFile>>,
    config: &CompactionConfig,
) {
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    let full = bytes >= config.target_bytes && files.len() > 1;
    if full || files.len() >= config.files_min.max(2) {
        groups.push(Group { day, files });
    }
}

fn size_class(bytes: u64) -> u32 {
    (bytes / SMALLEST_CLASS_BYTES).checked_ilog(CLASS_FACTOR).map_or(0, |class| class + 1)
}

/// A key that no row of the file is before.
fn least_key(table: &TableCore, file: &DataFile) -> (String, i64) {
    let column = |name| table.schema.index_of(name).ok();
    let topic = column(COLUMN_TOPIC).and_then(|index| file.statistics.column_statistics.get(index)).and_then(
        |statistics| match statistics.min_value.get_value() {
            Some(ScalarValue::Utf8(Some(topic))) => Some(topic.clone()),
            _ => None,
        },
    );
    let offset = column(COLUMN_OFFSET).and_then(|index| whole_bounds(&file.statistics, index));
    match (topic, offset) {
        (Some(topic), Some((least, _))) => (topic, least),
        _ => (String::new(), i64::MIN),
    }
}

/// Writes the rows of a group into one file and commits it in their place.
pub(crate) fn compact(core: &Arc<TableCore>, committer: &Committer, group: &Group) -> Result<(), LakeError> {
    let reserved = core.reserve(group.day)?;
    let merge = Merge::new(core, &group.files)?;
    let mut filled = merge.map(|rows| Ok(core.writer.filled(&rows?)?));
    let sample: Vec<RecordBatch> = filled.next().transpose()?.into_iter().collect();
    let rows = sample.clone().into_iter().map(Ok).chain(filled);
    let add = core.writer.write(&reserved.path, group.day, &sample, rows, false)?;
    committer.ask(|reply| Request::Replace { old: group.files.clone(), new: vec![add], reply })?;
    metric::compaction(&core.label);
    Ok(())
}

/// How many rows are decoded at once of each of `files` that have so many bytes and rows together.
pub(crate) fn rows_at_once(bytes: u64, rows: u64, files: usize) -> usize {
    let row_bytes = (bytes * DECODED_FACTOR / rows.max(1)).max(1);
    let at_once = MERGE_BYTES_MAX / row_bytes / files.max(1) as u64;
    usize::try_from(at_once).unwrap_or(usize::MAX).clamp(16, 8192)
}

/// The rows of several files, each in order, in order over all. A file is opened when its turn comes.
struct Merge<'a> {
    core: &'a TableCore,
    /// Not yet opened, the next last.
    waiting: Vec<((String, i64), Arc<DataFile>)>,
    open: Vec<Open>,
    rows_max: usize,
}

struct Open {
    rows: FileRows,
    batch: RecordBatch,
    /// The first row of `batch` not yet given.
    row: usize,
}

impl Open {
    fn key(&self) -> (&str, i64) {
        row_key(&self.batch, self.row)
    }
}

impl<'a> Merge<'a> {
    fn new(core: &'a TableCore, files: &[Arc<DataFile>]) -> Result<Self, LakeError> {
        let mut waiting: Vec<_> =
            files.iter().map(|file| (least_key(core, file), Arc::clone(file))).collect();
        waiting.sort_by(|left, right| right.0.cmp(&left.0));
        let rows: u64 = files.iter().filter_map(|file| file.rows()).sum();
        let bytes: u64 = files.iter().map(|file| file.size).sum();
        let rows_max = rows_at_once(bytes, rows, files.len());
        Ok(Self { core, waiting, open: Vec::new(), rows_max })
    }

    fn open_next(&mut self) -> Result<(), LakeError> {
        if let Some((_, file)) = self.waiting.pop() {
            let rows = self.core.reader.rows(&file, self.core.writer.schema(), self.rows_max)?;
            let empty = RecordBatch::new_empty(Arc::clone(self.core.writer.schema()));
            self.advance(Open { rows, batch: empty, row: 0 })?;
        }
        Ok(())
    }

    /// Puts a file back among the open ones, with its next rows if it has given all it had.
    fn advance(&mut self, mut file: Open) -> Result<(), LakeError> {
        while file.row >= file.batch.num_rows() {
            match file.rows.next() {
                Some(batch) => (file.batch, file.row) = (batch?, 0),
                None => return Ok(()),
            }
        }
        self.open.push(file);
        Ok(())
    }

    /// The open file whose next row is first, opening all that might come before it.
    fn first(&mut self) -> Result<Option<usize>, LakeError> {
        loop {
            let least = (0..self.open.len()).min_by(|a, b| self.open[*a].key().cmp(&self.open[*b].key()));
            let earlier_waits = match (least, self.waiting.last()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(index), Some((key, _))) => (key.0.as_str(), key.1) <= self.open[index].key(),
            };
            if !earlier_waits {
                return Ok(least);
            }
            self.open_next()?;
        }
    }

    fn next_run(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        let Some(index) = self.first()? else { return Ok(None) };
        let mut file = self.open.swap_remove(index);
        let others = self.open.iter().map(|other| other.key());
        let unopened = self.waiting.last().map(|(key, _)| (key.0.as_str(), key.1));
        let limit = others.chain(unopened).min();
        let run = run_length(&file.batch, file.row, limit);
        let rows = file.batch.slice(file.row, run);
        file.row += run;
        self.advance(file)?;
        Ok(Some(rows))
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_run().transpose()
    }
}

/// How many rows from `start` on come no later than `limit`; at least one.
fn run_length(batch: &RecordBatch, start: usize, limit: Option<(&str, i64)>) -> usize {
    let Some(limit) = limit else { return batch.num_rows() - start };
    let (mut low, mut high) = (start + 1, batch.num_rows());
    while low < high {
        let middle = low + (high - low) / 2;
        if row_key(batch, middle) <= limit { low = middle + 1 } else { high = middle }
    }
    low - start
}
