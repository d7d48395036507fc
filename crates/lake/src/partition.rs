//! Which rows of a window go into which partition file.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{AsArray as _, Date32Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Date32Type;
use arrow::error::ArrowError;

/// Rows that share a partition, in their order, still with all columns.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The day; `None` for the shared partition.
    pub(crate) day: Option<i32>,
    /// Its rows.
    pub(crate) pieces: Vec<RecordBatch>,
}

/// Splits rows by the day in column `day_column` (Date32) into at most `files_max` partitions. Beyond
/// that, the least populated days go to the shared partition, as do days that have no text.
pub(crate) fn split(
    batches: &[RecordBatch],
    day_column: usize,
    files_max: usize,
) -> Result<Vec<Partition>, ArrowError> {
    let days: Vec<&Date32Array> =
        batches.iter().map(|batch| batch.column(day_column).as_primitive::<Date32Type>()).collect();
    let kept = kept_days(&days, files_max);
    let mut partitions: BTreeMap<Option<i32>, Vec<RecordBatch>> = BTreeMap::new();
    for (batch, days) in batches.iter().zip(&days) {
        for (day, rows) in rows_by_day(days, &kept) {
            let piece = if rows.len() == batch.num_rows() {
                batch.clone()
            } else {
                take_record_batch(batch, &UInt32Array::from(rows))?
            };
            partitions.entry(day).or_default().push(piece);
        }
    }
    Ok(partitions.into_iter().map(|(day, pieces)| Partition { day, pieces }).collect())
}

fn kept_days(batches: &[&Date32Array], files_max: usize) -> HashSet<i32> {
    let mut counts: HashMap<i32, usize> = HashMap::new();
    let mut shared = false;
    for days in batches {
        for day in days.iter() {
            match day {
                Some(day) if crate::stats::day_text(day).is_some() => *counts.entry(day).or_default() += 1,
                _ => shared = true,
            }
        }
    }
    if counts.len() + usize::from(shared) <= files_max {
        return counts.into_keys().collect();
    }
    let mut ranked: Vec<_> = counts.into_iter().collect();
    ranked.sort_unstable_by_key(|(day, count)| (std::cmp::Reverse(*count), std::cmp::Reverse(*day)));
    ranked.truncate(files_max.saturating_sub(1));
    ranked.into_iter().map(|(day, _)| day).collect()
}

fn rows_by_day(days: &Date32Array, kept: &HashSet<i32>) -> BTreeMap<Option<i32>, Vec<u32>> {
    let mut rows: BTreeMap<Option<i32>, Vec<u32>> = BTreeMap::new();
    let mut run: Option<(Option<i32>, Vec<u32>)> = None;
    // Neighbours mostly share a day: the map is asked once per run.
    for (row, day) in (0_u32..).zip(days.iter()) {
        let day = day.filter(|day| kept.contains(day));
        match &mut run {
            Some((current, list)) if *current == day => list.push(row),
            _ => {
                if let Some((day, list)) = run.take() {
                    rows.insert(day, list);
                }
                let mut list = rows.remove(&day).unwrap_or_default();
                list.push(row);
                run = Some((day, list));
            }
        }
    }
    rows.extend(run);
    rows
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: &[(i64, Option<i32>)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("day", DataType::Date32, true),
        ]);
        let ids: Int64Array = rows.iter().map(|row| row.0).collect();
        let days: Date32Array = rows.iter().map(|row| row.1).collect();
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(days)]).unwrap()
    }

    proptest! {
        #[test]
        fn every_row_goes_to_one_partition_in_order(
            windows in prop::collection::vec(prop::collection::vec(prop::option::of(0..6_i32), 0..40), 1..4),
            files_max in 1_usize..5,
        ) {
            let mut next = 0;
            let batches: Vec<_> = windows.iter().map(|days| {
                let rows: Vec<_> = days.iter().map(|day| { next += 1; (next, *day) }).collect();
                batch(&rows)
            }).collect();
            let partitions = split(&batches, 1, files_max).unwrap();
            prop_assert!(partitions.len() <= files_max);
            let mut all: Vec<i64> = Vec::new();
            for partition in partitions {
                let mut ids: Vec<i64> = Vec::new();
                for piece in &partition.pieces {
                    ids.extend(piece.column(0).as_primitive::<Int64Type>().values());
                    let days = piece.column(1).as_primitive::<Date32Type>();
                    if let Some(day) = partition.day {
                        prop_assert!(days.iter().all(|found| found == Some(day)));
                    }
                }
                prop_assert!(ids.is_sorted());
                all.extend(ids);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (1..=next).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_most_populated_days_keep_their_partition() {
        let rows: Vec<_> = (0..10_000).map(|id| (id, Some((id % 9_000) as i32))).collect();
        let partitions = split(&[batch(&rows)], 1, 32).unwrap();
        assert_eq!(partitions.len(), 32);
        let days: Vec<_> = partitions.iter().filter_map(|partition| partition.day).collect();
        assert_eq!(days.len(), 31);
        assert!(days.iter().all(|day| *day < 1_000), "{days:?}");
    }
}
