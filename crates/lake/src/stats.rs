//! What a data file's Delta statistics say about its rows, so that readers can pass it by.
//!
//! Bounds are kept for whole numbers, days, timestamps and short strings. Not for floats, whose NaN
//! parquet leaves out of its bounds, nor for JSON, whose order means nothing.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value, json};

use crate::typed::is_typed_field;

/// Longest string bound in characters, as in other Delta writers.
const STRING_CHARS_MAX: usize = 32;
/// Sorts behind every string that begins with what stands before it and goes on otherwise.
const LAST_CHAR: char = '\u{10FFFF}';

/// Whether bounds are kept for a column.
pub(crate) fn has_bounds(field: &Field) -> bool {
    match field.data_type() {
        DataType::Int64 | DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => true,
        DataType::Utf8 => field.metadata().get("bigquery_type").is_none_or(|name| name != "JSON"),
        _ => false,
    }
}

/// The `stats` of an `add` action, from what the parquet writer gathered. `schema` is the file's.
pub(crate) fn stats_json(schema: &Schema, parquet: &ParquetMetaData) -> String {
    let (mut mins, mut maxs, mut nulls) = (Map::new(), Map::new(), Map::new());
    for field in schema.fields() {
        // The hidden columns would make every entry of the log many times as long.
        if field.data_type().is_nested() || is_typed_field(field) {
            continue;
        }
        let Some(found) = column_bounds(field, schema, parquet) else { continue };
        if let Some(count) = found.nulls {
            nulls.insert(field.name().clone(), json!(count));
        }
        if let (Some(min), Some(max)) = (found.min, found.max) {
            mins.insert(field.name().clone(), min);
            maxs.insert(field.name().clone(), max);
        }
    }
    let rows = parquet.file_metadata().num_rows();
    json!({ "numRecords": rows, "minValues": mins, "maxValues": maxs, "nullCount": nulls }).to_string()
}

struct ColumnBounds {
    min: Option<Value>,
    max: Option<Value>,
    nulls: Option<u64>,
}

fn column_bounds(field: &Field, schema: &Schema, parquet: &ParquetMetaData) -> Option<ColumnBounds> {
    let descriptor = parquet.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(field.name(), schema, descriptor)
        .ok()?
        .with_missing_null_counts_as_zero(false);
    let groups = parquet.row_groups();
    let counts: UInt64Array = converter.row_group_null_counts(groups).ok()?;
    let nulls = (counts.null_count() == 0).then(|| counts.values().iter().sum());
    if !has_bounds(field) {
        return Some(ColumnBounds { min: None, max: None, nulls });
    }
    let min = extreme(&converter.row_group_mins(groups).ok()?, true).and_then(|min| bound_json(&min, true));
    let max =
        extreme(&converter.row_group_maxes(groups).ok()?, false).and_then(|max| bound_json(&max, false));
    Some(ColumnBounds { min, max, nulls })
}

/// The least or greatest of the row groups' bounds; `None` when one group has none and may hide more.
fn extreme(bounds: &ArrayRef, least: bool) -> Option<ScalarValue> {
    let mut result: Option<ScalarValue> = None;
    for index in 0..bounds.len() {
        let value = ScalarValue::try_from_array(bounds, index).ok().filter(|value| !value.is_null())?;
        let better = match &result {
            None => true,
            Some(best) if least => value < *best,
            Some(best) => value > *best,
        };
        if better {
            result = Some(value);
        }
    }
    result
}

fn bound_json(value: &ScalarValue, is_min: bool) -> Option<Value> {
    match value {
        ScalarValue::Int64(Some(number)) => Some(json!(number)),
        ScalarValue::Date32(Some(day)) => day_text(*day).map(Value::String),
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let moment = DateTime::from_timestamp_micros(*micros)?;
            let suffix = if zone.is_some() { "Z" } else { "" };
            let text = format!("{}{suffix}", moment.format("%Y-%m-%dT%H:%M:%S%.6f"));
            // Years beyond four digits have no spelling that every reader takes.
            (0..=9999).contains(&chrono::Datelike::year(&moment)).then_some(Value::String(text))
        }
        ScalarValue::Utf8(Some(text)) if is_min => Some(json!(first_chars(text))),
        ScalarValue::Utf8(Some(text)) => {
            let start = first_chars(text);
            match text[start.len()..].chars().next() {
                None => Some(json!(start)),
                // Nothing of this length sorts behind such a string.
                Some(LAST_CHAR) => None,
                Some(_) => Some(Value::String(format!("{start}{LAST_CHAR}"))),
            }
        }
        _ => None,
    }
}

fn first_chars(text: &str) -> &str {
    text.char_indices().nth(STRING_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// A day since 1970-01-01 as `YYYY-MM-DD`, how Delta spells a DATE partition value.
pub(crate) fn day_text(day: i32) -> Option<String> {
    let date = NaiveDate::from_num_days_from_ce_opt(day.checked_add(719_163)?)?;
    (0..=9999).contains(&chrono::Datelike::year(&date)).then(|| date.format("%Y-%m-%d").to_string())
}

/// The inverse of [`day_text`].
pub(crate) fn parse_day(text: &str) -> Option<i32> {
    let date: NaiveDate = text.parse().ok()?;
    chrono::Datelike::num_days_from_ce(&date).checked_sub(719_163)
}

/// What DataFusion may know about a file from the `stats` of its `add` action: for every column of
/// the table, the partition column (the last) included. Unreadable statistics tell nothing.
pub(crate) fn statistics(table: &Schema, stats: Option<&str>, bytes: u64, day: Option<i32>) -> Statistics {
    let mut result = Statistics::new_unknown(table);
    result.total_byte_size = Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
    let Some(stats) = stats.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return result };
    let Some(rows) = stats["numRecords"].as_u64().and_then(|rows| usize::try_from(rows).ok()) else {
        return result;
    };
    result.num_rows = Precision::Exact(rows);
    for (field, column) in table.fields().iter().zip(&mut result.column_statistics) {
        if let Some(count) = stats["nullCount"][field.name()].as_u64() {
            column.null_count = Precision::Exact(usize::try_from(count).unwrap_or(usize::MAX));
        }
        if has_bounds(field) {
            column.min_value = parse_bound(&stats["minValues"][field.name()], field);
            column.max_value = parse_bound(&stats["maxValues"][field.name()], field);
        }
    }
    if let Some(column) = result.column_statistics.last_mut() {
        *column = day_statistics(day, rows);
    }
    result
}

fn day_statistics(day: Option<i32>, rows: usize) -> ColumnStatistics {
    let unknown = ColumnStatistics::new_unknown();
    match day {
        None => unknown.with_null_count(Precision::Exact(rows)),
        Some(_) => unknown
            .with_null_count(Precision::Exact(0))
            .with_min_value(Precision::Exact(ScalarValue::Date32(day)))
            .with_max_value(Precision::Exact(ScalarValue::Date32(day))),
    }
}

fn parse_bound(value: &Value, field: &Field) -> Precision<ScalarValue> {
    let text = value.as_str().unwrap_or_default();
    // A timestamp without microseconds may have been cut by another writer.
    let exact_time = text.split('.').nth(1).is_some_and(|fraction| fraction.trim_end_matches('Z').len() >= 6);
    let (scalar, exact) = match field.data_type() {
        DataType::Int64 => (value.as_i64().map(|number| ScalarValue::Int64(Some(number))), true),
        DataType::Date32 => (parse_day(text).map(|day| ScalarValue::Date32(Some(day))), true),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = match zone {
                Some(_) => DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.timestamp_micros()),
                None => text.parse::<NaiveDateTime>().ok().map(|moment| moment.and_utc().timestamp_micros()),
            };
            (micros.map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), zone.clone())), exact_time)
        }
        DataType::Utf8 => {
            let whole = text.chars().count() < STRING_CHARS_MAX;
            (value.as_str().map(|text| ScalarValue::Utf8(Some(text.to_owned()))), whole)
        }
        _ => (None, false),
    };
    match scalar {
        None => Precision::Absent,
        Some(scalar) if exact => Precision::Exact(scalar),
        Some(scalar) => Precision::Inexact(scalar),
    }
}

/// The bounds of a whole-number column, when they are known.
pub(crate) fn whole_bounds(statistics: &Arc<Statistics>, column: usize) -> Option<(i64, i64)> {
    let column = statistics.column_statistics.get(column)?;
    match (column.min_value.get_value(), column.max_value.get_value()) {
        (Some(ScalarValue::Int64(Some(min))), Some(ScalarValue::Int64(Some(max)))) => Some((*min, *max)),
        _ => None,
    }
}

/// Whether a string column may hold `text`.
pub(crate) fn may_hold(statistics: &Arc<Statistics>, column: usize, text: &str) -> bool {
    let Some(column) = statistics.column_statistics.get(column) else { return true };
    match (column.min_value.get_value(), column.max_value.get_value()) {
        (Some(ScalarValue::Utf8(Some(min))), Some(ScalarValue::Utf8(Some(max)))) => {
            min.as_str() <= text && text <= max.as_str()
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn string_bounds_hold_whatever_the_text(text in "(\\PC|\u{10FFFF}){0,40}") {
            let scalar = ScalarValue::Utf8(Some(text.clone()));
            let min = bound_json(&scalar, true).unwrap();
            prop_assert!(min.as_str().unwrap() <= text.as_str());
            if let Some(max) = bound_json(&scalar, false) {
                prop_assert!(max.as_str().unwrap() >= text.as_str());
            }
        }

        #[test]
        fn days_survive_their_text(day in -719_162..2_932_896_i32) {
            prop_assert_eq!(parse_day(&day_text(day).unwrap()), Some(day));
        }

        #[test]
        fn timestamps_survive_their_text(micros in -62_135_596_800_000_000..253_402_300_799_999_999_i64) {
            for zone in [None, Some(Arc::from("UTC"))] {
                let field = Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), true);
                let scalar = ScalarValue::TimestampMicrosecond(Some(micros), zone);
                let text = bound_json(&scalar, true).unwrap();
                prop_assert_eq!(parse_bound(&text, &field), Precision::Exact(scalar));
            }
        }
    }

    #[test]
    fn days_out_of_four_digits_have_no_text() {
        assert_eq!(day_text(i32::MAX), None);
        assert_eq!(day_text(2_932_897), None);
        assert_eq!(day_text(0).as_deref(), Some("1970-01-01"));
    }
}
