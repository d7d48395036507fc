//! Values as text: what CAST AS STRING and TO_JSON_STRING give, and what results show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::Timelike;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt64Type,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::cast::float_to_text;
use super::civil::{civil, date};
use super::json::normal_string;
use crate::types::is_json;

/// Integers beyond this are strings in JSON: JavaScript would round them.
const JSON_INTEGER_MAX: i64 = 1 << 53;

pub(crate) fn date_text(days: i32) -> String {
    date(days).map_or_else(|reason| reason, |date| date.format("%Y-%m-%d").to_string())
}

/// A time of day's fraction in as many groups of three digits as it needs.
fn fraction(micros: u32) -> String {
    match micros {
        0 => String::new(),
        micros if micros % 1_000 == 0 => format!(".{:03}", micros / 1_000),
        micros => format!(".{micros:06}"),
    }
}

fn time_text(micros: i64, between: char) -> String {
    civil(micros).map_or_else(
        |reason| reason,
        |time| {
            let whole = time.format("%Y-%m-%d").to_string();
            format!("{whole}{between}{}{}", time.format("%H:%M:%S"), fraction(time.nanosecond() / 1_000))
        },
    )
}

/// A TIMESTAMP as CAST AS STRING shows it, in UTC.
pub(crate) fn timestamp_text(micros: i64) -> String {
    format!("{}+00", time_text(micros, ' '))
}

/// A TIMESTAMP as RFC 3339 has it.
pub(crate) fn timestamp_rfc3339(micros: i64) -> String {
    format!("{}Z", time_text(micros, 'T'))
}

pub(crate) fn datetime_text(micros: i64, between: char) -> String {
    time_text(micros, between)
}

/// A decimal without the zeros behind its last digit.
pub(crate) fn numeric_text(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    let sign = if value < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// A value as a table or a CSV file shows it: NULL is `None`, everything nested is JSON. `field` tells JSON
/// from strings; `row` counts from 0.
pub fn cell_text(field: &Field, array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => float_to_text(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            timestamp_text(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            datetime_text(array.as_primitive::<TimestampMicrosecondType>().value(row), ' ')
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) => json_text(field, array, row),
        _ => leaf_text(array, row),
    })
}

fn leaf_text(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Date32 => date_text(array.as_primitive::<Date32Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            numeric_text(array.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Binary => BASE64.encode(array.as_binary::<i32>().value(row)),
        DataType::BinaryView => BASE64.encode(array.as_binary_view().value(row)),
        DataType::LargeBinary => BASE64.encode(array.as_binary::<i64>().value(row)),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        _ => ArrayFormatter::try_new(array, &FormatOptions::default())
            .map_or_else(|error| error.to_string(), |formatter| formatter.value(row).to_string()),
    }
}

/// Which numbers JSON has as strings
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// INT64 beyond 2^53: what results show.
    Shown,
    /// Those, and NUMERIC beyond it or with digits behind the point: what TO_JSON_STRING gives.
    Exact,
    /// None: what TO_JSON gives, and what else makes JSON.
    Plain,
}

/// A value as JSON: integers beyond 2^53, NaN and infinities, times and bytes are strings; a JSON
/// column's value is itself.
pub(crate) fn json_text(field: &Field, array: &dyn Array, row: usize) -> String {
    json_text_with(Numbers::Shown, field, array, row)
}

/// As [`json_text`], at the end of `out`.
pub(crate) fn write_json(field: &Field, array: &dyn Array, row: usize, out: &mut String) {
    write_json_with(Numbers::Shown, field, array, row, out);
}

/// As [`json_text`], but for its numbers.
pub(crate) fn json_text_with(numbers: Numbers, field: &Field, array: &dyn Array, row: usize) -> String {
    let mut out = String::new();
    write_json_with(numbers, field, array, row, &mut out);
    out
}

/// As [`json_text_with`], at the end of `out`.
pub(crate) fn write_json_with(
    numbers: Numbers,
    field: &Field,
    array: &dyn Array,
    row: usize,
    out: &mut String,
) {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Int64 => {
            let value = array.as_primitive::<Int64Type>().value(row);
            match is_safe(value) || numbers == Numbers::Plain {
                true => out.push_str(&value.to_string()),
                false => normal_string(&value.to_string(), out),
            }
        }
        DataType::UInt64 => {
            let value = array.as_primitive::<UInt64Type>().value(row);
            match value <= JSON_INTEGER_MAX.unsigned_abs() || numbers == Numbers::Plain {
                true => out.push_str(&value.to_string()),
                false => normal_string(&value.to_string(), out),
            }
        }
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => {
            out.push_str(&leaf_text(array, row));
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            match value.is_finite() {
                true => out.push_str(&float_to_text(value)),
                false => normal_string(&json_non_finite(value), out),
            }
        }
        DataType::Decimal128(..) => {
            let text = leaf_text(array, row);
            match numbers != Numbers::Exact || text.parse().is_ok_and(is_safe) {
                true => out.push_str(&text),
                false => normal_string(&text, out),
            }
        }
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            let text = cell_text(field, array, row).unwrap_or_default();
            if is_json(field) { out.push_str(&text) } else { normal_string(&text, out) }
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            normal_string(
                &timestamp_rfc3339(array.as_primitive::<TimestampMicrosecondType>().value(row)),
                out,
            );
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            normal_string(
                &datetime_text(array.as_primitive::<TimestampMicrosecondType>().value(row), 'T'),
                out,
            );
        }
        DataType::List(item) => list(numbers, item, &array.as_list::<i32>().value(row), out),
        DataType::LargeList(item) => list(numbers, item, &array.as_list::<i64>().value(row), out),
        DataType::Struct(fields) => {
            out.push('{');
            for (index, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if index > 0 {
                    out.push(',');
                }
                normal_string(field.name(), out);
                out.push(':');
                write_json_with(numbers, field, column, row, out);
            }
            out.push('}');
        }
        _ => normal_string(&leaf_text(array, row), out),
    }
}

/// Whether JavaScript holds an integer exactly.
fn is_safe(value: i64) -> bool {
    (-JSON_INTEGER_MAX..=JSON_INTEGER_MAX).contains(&value)
}

fn list(numbers: Numbers, item: &Field, values: &dyn Array, out: &mut String) {
    out.push('[');
    for row in 0..values.len() {
        if row > 0 {
            out.push(',');
        }
        write_json_with(numbers, item, values, row, out);
    }
    out.push(']');
}

fn json_non_finite(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value > 0.0 => "Infinity".to_owned(),
        _ => "-Infinity".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_decimals_have_bigquery_text() {
        assert_eq!(timestamp_text(1_767_225_600_000_000), "2026-01-01 00:00:00+00");
        assert_eq!(timestamp_text(1_767_225_600_045_000), "2026-01-01 00:00:00.045+00");
        assert_eq!(timestamp_rfc3339(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(numeric_text(-1_500_000_000, 9), "-1.5");
        assert_eq!(numeric_text(7, 9), "0.000000007");
        assert_eq!(numeric_text(7_000_000_000, 9), "7");
    }
}
