//! Rows by message: reading those of a range, and taking some out. The files that hold them are written again
//! without them, outside the committer; one commit then puts the new files in the place of the old ones.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use deltalake_core::kernel::Add;
use millrace_model::names::{COLUMN_OFFSET, COLUMN_TOPIC};
use millrace_model::{Offset, TopicId};
use millrace_pipeline::Scan;

use crate::compaction::rows_at_once;
use crate::core::{Reserved, TableCore};
use crate::error::LakeError;
use crate::state::{DataFile, TableState};
use crate::stats::{may_hold, whole_bounds};

/// Files without the rows that were to be taken out, on their way into the table.
#[derive(Default)]
pub(crate) struct Rewrite {
    /// The files that hold such rows.
    pub(crate) old: Vec<Arc<DataFile>>,
    /// Their other rows.
    pub(crate) new: Vec<Add>,
    /// Keeps vacuum away from them.
    pub(crate) reserved: Vec<Reserved>,
}

/// The files that may hold rows of `topic` in `range`, by their statistics.
pub(crate) fn files_of(
    core: &TableCore,
    state: &TableState,
    topic: &str,
    range: &Range<Offset>,
) -> Result<Vec<Arc<DataFile>>, LakeError> {
    let topic_column = core.schema.index_of(COLUMN_TOPIC)?;
    let offset_column = core.schema.index_of(COLUMN_OFFSET)?;
    let files = state.files.iter().filter(|file| {
        let overlaps = whole_bounds(&file.statistics, offset_column).is_none_or(|(least, most)| {
            u64::try_from(least).is_ok_and(|least| least < range.end.0)
                && u64::try_from(most).is_ok_and(|most| most >= range.start.0)
        });
        overlaps && may_hold(&file.statistics, topic_column, topic)
    });
    Ok(files.cloned().collect())
}

/// Writes the files that hold rows of the messages `removed` (ascending) again, without those.
pub(crate) fn rewrite(
    core: &Arc<TableCore>,
    state: &TableState,
    topic: TopicId,
    removed: &[Offset],
) -> Result<Rewrite, LakeError> {
    let (Some(first), Some(last)) = (removed.first(), removed.last()) else { return Ok(Rewrite::default()) };
    let (topic, range) = (topic.to_string(), *first..last.plus(1));
    let mut rewrite = Rewrite::default();
    for file in files_of(core, state, &topic, &range)? {
        let mut found = Vec::new();
        core.reader.offsets(&file, &topic, &range, &mut found)?;
        found.retain(|offset| removed.binary_search(offset).is_ok());
        if found.is_empty() {
            continue;
        }
        if file.rows() != Some(found.len() as u64) {
            rewrite_file(core, &file, &topic, removed, &mut rewrite)?;
        }
        rewrite.old.push(file);
    }
    Ok(rewrite)
}

fn rewrite_file(
    core: &Arc<TableCore>,
    file: &DataFile,
    topic: &str,
    removed: &[Offset],
    rewrite: &mut Rewrite,
) -> Result<(), LakeError> {
    let rows_max = rows_at_once(file.size, file.rows().unwrap_or(0), 1);
    let rows = core.reader.rows(file, core.writer.schema(), rows_max)?;
    let kept = rows.map(|rows| -> Result<RecordBatch, LakeError> {
        let rows = rows?;
        let kept = keep(&rows, |of, offset| of != topic || removed.binary_search(&offset).is_err())?;
        Ok(core.writer.filled(&kept)?)
    });
    let mut kept = kept.filter(|rows| !rows.as_ref().is_ok_and(|rows| rows.num_rows() == 0));
    let Some(sample) = kept.next().transpose()? else { return Ok(()) };
    let reserved = core.reserve(file.day)?;
    let rows = std::iter::once(Ok(sample.clone())).chain(kept);
    let sample = std::slice::from_ref(&sample);
    rewrite.new.push(core.writer.write(&reserved.path, file.day, sample, rows, true)?);
    rewrite.reserved.push(reserved);
    Ok(())
}

/// Gives the rows that a scan asks for, of one version, to `take`.
pub(crate) fn scan(
    core: &TableCore,
    state: &TableState,
    scan: &Scan<'_>,
    take: &mut dyn FnMut(&RecordBatch) -> bool,
) -> Result<(), LakeError> {
    let (topic, range) = (scan.topic.to_string(), scan.start..scan.end);
    for file in files_of(core, state, &topic, &range)? {
        let rows_max = rows_at_once(file.size, file.rows().unwrap_or(0), 1);
        for rows in core.reader.columns(&file, core.writer.schema(), scan.columns, rows_max)? {
            let wanted = keep(&rows?, |of, offset| of == topic && range.contains(&offset))?;
            if wanted.num_rows() > 0 && !take(&wanted) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The rows whose topic and offset `wanted` takes; the columns of both must be there.
fn keep(rows: &RecordBatch, wanted: impl Fn(&str, Offset) -> bool) -> Result<RecordBatch, ArrowError> {
    let column = |name| {
        let missing = || ArrowError::SchemaError(format!("rows have no column {name}"));
        rows.column_by_name(name).ok_or_else(missing)
    };
    let wrong = || ArrowError::SchemaError("topic and offset are of other types".to_owned());
    let topics = column(COLUMN_TOPIC)?.as_string_opt::<i32>().ok_or_else(wrong)?;
    let offsets = column(COLUMN_OFFSET)?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
    let mask: BooleanArray = topics
        .iter()
        .zip(offsets.values())
        .map(|(topic, offset)| {
            // An offset below zero is nobody's; it stays where it is.
            let offset = u64::try_from(*offset).map_or(Offset(u64::MAX), Offset);
            Some(wanted(topic.unwrap_or_default(), offset))
        })
        .collect();
    filter_record_batch(rows, &mask)
}
