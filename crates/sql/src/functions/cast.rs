//! CAST and SAFE_CAST by BigQuery's rules
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_functions#cast>).

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::{Result, internal_err};

use super::civil::{MICROS_PER_DAY, parse_date, parse_datetime, parse_timestamp};
use super::scalar::{Call, Cell, Definition, form};
use super::text::{date_text, datetime_text, numeric_text, timestamp_text};
use crate::types::Kind;

/// How many units of NUMERIC's last digit make one.
const NUMERIC_ONE: i128 = 1_000_000_000;
/// 29 digits before the point and 9 behind it.
const NUMERIC_MAX: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "cast#int64",
        forms: &[form(&[&[Kind::Int, Kind::Float, Kind::Numeric, Kind::Bool, Kind::String]], Kind::Int)],
        eval: int64,
    },
    Definition {
        name: "cast#float64",
        forms: &[form(&[&[Kind::Float, Kind::Int, Kind::Numeric, Kind::String]], Kind::Float)],
        eval: float64,
    },
    Definition {
        name: "cast#numeric",
        forms: &[form(&[&[Kind::Numeric, Kind::Int, Kind::Float, Kind::String]], Kind::Numeric)],
        eval: numeric,
    },
    Definition {
        name: "cast#bool",
        forms: &[form(&[&[Kind::Bool, Kind::Int, Kind::String]], Kind::Bool)],
        eval: bool,
    },
    Definition {
        name: "cast#string",
        forms: &[form(
            &[&[
                Kind::String,
                Kind::Int,
                Kind::Float,
                Kind::Numeric,
                Kind::Bool,
                Kind::Bytes,
                Kind::Date,
                Kind::Timestamp,
                Kind::Datetime,
            ]],
            Kind::String,
        )],
        eval: string,
    },
    Definition {
        name: "cast#bytes",
        forms: &[form(&[&[Kind::Bytes, Kind::String]], Kind::Bytes)],
        eval: bytes,
    },
    Definition {
        name: "cast#date",
        forms: &[form(&[&[Kind::Date, Kind::Timestamp, Kind::Datetime, Kind::String]], Kind::Date)],
        eval: date,
    },
    Definition {
        name: "cast#timestamp",
        forms: &[form(&[&[Kind::Timestamp, Kind::Date, Kind::Datetime, Kind::String]], Kind::Timestamp)],
        eval: timestamp,
    },
    Definition {
        name: "cast#datetime",
        forms: &[form(&[&[Kind::Datetime, Kind::Timestamp, Kind::Date, Kind::String]], Kind::Datetime)],
        eval: datetime,
    },
];

/// The name of the function that casts to a kind.
pub(crate) fn cast_name(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Int => "cast#int64",
        Kind::Float => "cast#float64",
        Kind::Numeric => "cast#numeric",
        Kind::Bool => "cast#bool",
        Kind::String => "cast#string",
        Kind::Bytes => "cast#bytes",
        Kind::Date => "cast#date",
        Kind::Timestamp => "cast#timestamp",
        Kind::Datetime => "cast#datetime",
        _ => return None,
    })
}

fn unexpected<T>(call: &Call<'_>) -> Result<T> {
    internal_err!("{} of {:?}", call.label, call.kind(0))
}

fn bad(text: &str, target: &str) -> String {
    // A long text would drown the message, and may be a payload.
    let shown: String = text.chars().take(40).collect();
    let dots = if shown.len() < text.len() { "..." } else { "" };
    format!("bad {target} value {shown:?}{dots}")
}

/// Decimal digits, or hexadecimal ones after `0x`, with a sign.
pub(crate) fn int_from_text(text: &str) -> Result<i64, String> {
    let trimmed = text.trim();
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let parsed = match unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let sign = if trimmed.starts_with('-') { "-" } else { "" };
            i64::from_str_radix(&format!("{sign}{digits}"), 16).ok()
        }
        _ => trimmed.parse().ok(),
    };
    parsed.ok_or_else(|| bad(text, "INT64"))
}

/// The nearest integer, halves away from zero.
pub(crate) fn int_from_float(value: f64) -> Result<i64, String> {
    let rounded = value.round();
    // 2^63 is exact in a FLOAT64 and the first number too big.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
        #[expect(clippy::cast_possible_truncation, reason = "just checked")]
        return Ok(rounded as i64);
    }
    Err(format!("{} is beyond INT64", float_to_text(value)))
}

pub(crate) fn float_from_text(text: &str) -> Result<f64, String> {
    let trimmed = text.trim();
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    // Rust reads "infinity", "inf" and "nan" in any case as GoogleSQL does; nothing else has letters but e.
    let value: f64 = trimmed.parse().map_err(|_| bad(text, "FLOAT64"))?;
    let named = unsigned.starts_with(|c: char| c.is_ascii_alphabetic());
    if value.is_infinite() && !named {
        return Err(format!("{} is beyond FLOAT64", trimmed.chars().take(40).collect::<String>()));
    }
    Ok(value)
}

/// 15 significant digits when they give the same number back, else 17; NaN and 0 without a sign.
pub(crate) fn float_to_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let short = significant(value, 15);
    if short.parse() == Ok(value) { short } else { significant(value, 17) }
}

/// What C's `%.{digits}g` prints.
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let precision = i32::try_from(digits).unwrap_or(17);
    if (-4..precision).contains(&exponent) {
        let decimals = usize::try_from(precision - 1 - exponent).unwrap_or(0);
        return trim(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs())
}

fn numeric_from_text(text: &str) -> Result<i128, String> {
    let invalid = || bad(text, "NUMERIC");
    let trimmed = text.trim();
    let (negative, unsigned) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| invalid())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all: String = whole.chars().chain(fraction.chars()).collect();
    if all.is_empty()
        || !all.bytes().all(|byte| byte.is_ascii_digit())
        || all.len() > 100
        || exponent.abs() > 100
    {
        return Err(invalid());
    }
    // How many digits stand behind the point, and how many to add or round off to make it 9.
    let behind = i32::try_from(fraction.len()).map_err(|_| invalid())? - exponent;
    let shift = 9 - behind;
    let digits = all.trim_start_matches('0');
    let scaled: i128 = if shift >= 0 {
        let zeros = usize::try_from(shift).map_err(|_| invalid())?;
        match digits {
            "" => 0,
            digits => format!("{digits}{}", "0".repeat(zeros)).parse().map_err(|_| invalid())?,
        }
    } else {
        let cut = digits.len().checked_sub(usize::try_from(-shift).map_err(|_| invalid())?);
        match cut {
            Some(cut) => {
                let kept: i128 = if cut == 0 { 0 } else { digits[..cut].parse().map_err(|_| invalid())? };
                kept + i128::from(digits.as_bytes()[cut] >= b'5')
            }
            None => 0,
        }
    };
    in_numeric_range(if negative { -scaled } else { scaled })
}

fn in_numeric_range(value: i128) -> Result<i128, String> {
    if value.abs() <= NUMERIC_MAX { Ok(value) } else { Err("the value is beyond NUMERIC".to_owned()) }
}

fn numeric_to_int(value: i128) -> Result<i64, String> {
    let half = if value < 0 { -NUMERIC_ONE / 2 } else { NUMERIC_ONE / 2 };
    i64::try_from((value + half) / NUMERIC_ONE).map_err(|_| "the value is beyond INT64".to_owned())
}

fn int64(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Int => call.array(0),
        Kind::Float => {
            let values = call.floats(0)?;
            call.collect::<Int64Type>(|row| values.get(row).map(int_from_float).transpose())
        }
        Kind::Numeric => {
            let values = call.numerics(0)?;
            call.collect::<Int64Type>(|row| values.get(row).map(numeric_to_int).transpose())
        }
        Kind::Bool => {
            let values = call.bools(0)?;
            call.collect::<Int64Type>(|row| Ok(at(&values, row).map(i64::from)))
        }
        Kind::String => {
            let values = call.texts(0)?;
            call.collect::<Int64Type>(|row| values.get(row).map(int_from_text).transpose())
        }
        _ => unexpected(call),
    }
}

/// A BOOL of a row.
pub(super) fn at(values: &BooleanArray, row: usize) -> Option<bool> {
    values.is_valid(row).then(|| values.value(row))
}

#[expect(clippy::cast_precision_loss, reason = "GoogleSQL: close but potentially not exact")]
fn float64(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Float => call.array(0),
        Kind::Int => {
            let values = call.ints(0)?;
            call.collect::<Float64Type>(|row| Ok(values.get(row).map(|value| value as f64)))
        }
        Kind::Numeric => {
            let values = call.numerics(0)?;
            call.collect::<Float64Type>(|row| {
                values.get(row).map(|value| float_from_text(&numeric_text(value, 9))).transpose()
            })
        }
        Kind::String => {
            let values = call.texts(0)?;
            call.collect::<Float64Type>(|row| values.get(row).map(float_from_text).transpose())
        }
        _ => unexpected(call),
    }
}

fn numeric(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Numeric => call.array(0),
        Kind::Int => {
            let values = call.ints(0)?;
            call.collect::<Decimal128Type>(|row| {
                Ok(values.get(row).map(|value| i128::from(value) * NUMERIC_ONE))
            })
        }
        Kind::Float => {
            let values = call.floats(0)?;
            call.collect::<Decimal128Type>(|row| {
                values.get(row).map(|value| numeric_from_text(&float_to_text(value))).transpose()
            })
        }
        Kind::String => {
            let values = call.texts(0)?;
            call.collect::<Decimal128Type>(|row| values.get(row).map(numeric_from_text).transpose())
        }
        _ => unexpected(call),
    }
}

fn bool(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Bool => call.array(0),
        Kind::Int => {
            let values = call.ints(0)?;
            call.collect_bools(|row| Ok(values.get(row).map(|value| value != 0)))
        }
        Kind::String => {
            let values = call.texts(0)?;
            call.collect_bools(|row| {
                values
                    .get(row)
                    .map(|text| match text {
                        text if text.eq_ignore_ascii_case("true") => Ok(true),
                        text if text.eq_ignore_ascii_case("false") => Ok(false),
                        other => Err(bad(other, "BOOL")),
                    })
                    .transpose()
            })
        }
        _ => unexpected(call),
    }
}

fn string(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::String => call.array(0).and_then(|array| Ok(compute::cast(&array, &DataType::Utf8)?)),
        Kind::Int => {
            let values = call.ints(0)?;
            call.collect_text(|row| Ok(values.get(row).map(|value| value.to_string())))
        }
        Kind::Float => {
            let values = call.floats(0)?;
            call.collect_text(|row| Ok(values.get(row).map(float_to_text)))
        }
        Kind::Numeric => {
            let values = call.numerics(0)?;
            call.collect_text(|row| Ok(values.get(row).map(|value| numeric_text(value, 9))))
        }
        Kind::Bool => {
            let values = call.bools(0)?;
            call.collect_text(|row| Ok(at(&values, row).map(|value| value.to_string())))
        }
        Kind::Bytes => {
            let values = call.blobs(0)?;
            call.collect_text(|row| -> Cell<String> {
                let text = values.get(row).map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
                text.map_err(|_| "the bytes are not UTF-8".to_owned())
            })
        }
        Kind::Date => {
            let values = call.dates(0)?;
            call.collect_text(|row| Ok(values.get(row).map(date_text)))
        }
        Kind::Timestamp => {
            let values = call.micros(0)?;
            call.collect_text(|row| Ok(values.get(row).map(timestamp_text)))
        }
        Kind::Datetime => {
            let values = call.micros(0)?;
            call.collect_text(|row| Ok(values.get(row).map(|value| datetime_text(value, ' '))))
        }
        _ => unexpected(call),
    }
}

fn bytes(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Bytes => call.array(0),
        Kind::String => {
            let values = call.texts(0)?;
            call.collect_blobs(|row| Ok(values.get(row)))
        }
        _ => unexpected(call),
    }
}

fn date(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Date => call.array(0),
        Kind::Timestamp | Kind::Datetime => {
            let values = call.micros(0)?;
            call.collect::<Date32Type>(|row| {
                let days = values.get(row).map(|value| i32::try_from(value.div_euclid(MICROS_PER_DAY)));
                days.transpose().map_err(|_| "the date is out of range".to_owned())
            })
        }
        Kind::String => {
            let values = call.texts(0)?;
            call.collect::<Date32Type>(|row| values.get(row).map(parse_date).transpose())
        }
        _ => unexpected(call),
    }
}

/// Both kinds of times, which differ in how they read a string.
fn times(call: &Call<'_>, read: fn(&str) -> Result<i64, String>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Date => {
            let values = call.dates(0)?;
            call.collect::<TimestampMicrosecondType>(|row| {
                Ok(values.get(row).map(|days| i64::from(days) * MICROS_PER_DAY))
            })
        }
        Kind::Timestamp | Kind::Datetime => {
            let values = call.micros(0)?;
            call.collect::<TimestampMicrosecondType>(|row| Ok(values.get(row)))
        }
        Kind::String => {
            let values = call.texts(0)?;
            call.collect::<TimestampMicrosecondType>(|row| values.get(row).map(read).transpose())
        }
        _ => unexpected(call),
    }
}

fn timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    times(call, |text| parse_timestamp(text, "UTC"))
}

fn datetime(call: &Call<'_>) -> Result<ArrayRef> {
    times(call, parse_datetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_the_shortest_text_of_15_or_17_digits() {
        for (value, text) in [
            (1.0, "1"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "1e+20"),
            (1.5e-7, "1.5e-07"),
            (123_456_789.0, "123456789"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
            (1e15, "1e+15"),
            (2.5, "2.5"),
            (100.0, "100"),
        ] {
            assert_eq!(float_to_text(value), text);
        }
    }

    #[test]
    fn numbers_are_read_as_googlesql_reads_them() {
        assert_eq!(int_from_text(" -0x1F "), Ok(-31));
        assert_eq!(int_from_text("9223372036854775807"), Ok(i64::MAX));
        for bad in ["", "1.5", "9223372036854775808", "0x", "0x-1", "1_000", "٣"] {
            assert!(int_from_text(bad).is_err(), "{bad}");
        }
        assert_eq!([int_from_float(1.5), int_from_float(-0.5), int_from_float(2.5)], [Ok(2), Ok(-1), Ok(3)]);
        assert!(int_from_float(f64::NAN).is_err() && int_from_float(9.3e18).is_err());
        assert!(float_from_text("1e400").is_err() && float_from_text("abc").is_err());
        assert_eq!(float_from_text("-Infinity"), Ok(f64::NEG_INFINITY));
        assert_eq!(numeric_from_text("1.0000000005"), Ok(1_000_000_001));
        assert_eq!(numeric_from_text("-1e-9"), Ok(-1));
        assert_eq!(numeric_from_text("1e28").map(|n| n / NUMERIC_ONE), Ok(10_i128.pow(28)));
        assert!(numeric_from_text("1e29").is_err() && numeric_from_text("1.2.3").is_err());
        assert_eq!(numeric_to_int(-1_500_000_000), Ok(-2));
    }
}
