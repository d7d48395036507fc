//! Arrays of numbers, days and times with even steps
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/array_functions#generate_array>), and UUIDs.

use std::sync::Arc;

use chrono::NaiveTime;
use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::{Result, internal_err};

use super::civil::{self, MICROS_PER_DAY, part, unit_micros};
use super::scalar::{Call, Cell, Definition, Form, Gives, form};
use crate::error::{Code, SqlError};
use crate::types::Kind;

const INT: &[Kind] = &[Kind::Int];
const NUMERIC: &[Kind] = &[Kind::Numeric];
const FLOAT: &[Kind] = &[Kind::Float];
const DATE: &[Kind] = &[Kind::Date];
const TIMESTAMP: &[Kind] = &[Kind::Timestamp];
const TEXT: &[Kind] = &[Kind::String];

/// Longest array that is made: what BigQuery makes.
const ELEMENTS_MAX: usize = (1 << 20) - 1;
/// Most elements of all arrays that one batch of rows makes, which is before any limit on memory counts them.
const BATCH_ELEMENTS_MAX: usize = 1 << 24;
const NUMERIC_ONE: i128 = 1_000_000_000;

const fn array(takes: &'static [&'static [Kind]], optional: usize, of: Kind) -> Form {
    Form { takes, optional, many: false, gives: Gives::Many(of) }
}

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "generate_array",
        forms: &[
            array(&[INT, INT, INT], 1, Kind::Int),
            array(&[NUMERIC, NUMERIC, NUMERIC], 1, Kind::Numeric),
            array(&[FLOAT, FLOAT, FLOAT], 1, Kind::Float),
        ],
        eval: generate_array,
    },
    Definition {
        name: "generate_date_array",
        forms: &[array(&[DATE, DATE, INT, TEXT], 0, Kind::Date)],
        eval: generate_dates,
    },
    Definition {
        name: "generate_timestamp_array",
        forms: &[array(&[TIMESTAMP, TIMESTAMP, INT, TEXT], 0, Kind::Timestamp)],
        eval: generate_timestamps,
    },
    // The argument is there to be called for each row.
    Definition { name: "generate_uuid", forms: &[form(&[TEXT], Kind::String)], eval: generate_uuid },
];

/// One array for each row.
fn lists<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    mut row: impl FnMut(usize) -> Cell<Vec<T::Native>>,
) -> Result<ArrayRef> {
    let DataType::List(item) = call.gives.data_type() else {
        return internal_err!("{} gives an array", call.label);
    };
    let (mut values, mut lengths, mut valid) = (Vec::new(), Vec::with_capacity(call.rows), Vec::new());
    for index in 0..call.rows {
        let made = call.settle(row(index))?;
        valid.push(made.is_some());
        let length = made.as_ref().map_or(0, Vec::len);
        if values.len() + length > BATCH_ELEMENTS_MAX {
            let message = format!("{} makes more than {BATCH_ELEMENTS_MAX} elements at once", call.label);
            return Err(SqlError::new(Code::ResourcesExceeded, message)
                .hint("make shorter arrays, or fewer at a time")
                .into());
        }
        lengths.push(length);
        values.extend(made.into_iter().flatten());
    }
    let values = PrimitiveArray::<T>::from_iter_values(values).with_data_type(item.data_type().clone());
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        offsets,
        Arc::new(values),
        Some(NullBuffer::from(valid)),
    )?))
}

/// From the first value to the last, or as near as steps come.
fn steps<T: Copy + PartialOrd>(
    first: T,
    last: T,
    zero: T,
    step: T,
    mut next: impl FnMut(usize) -> Option<T>,
) -> Result<Vec<T>, String> {
    if step == zero {
        return Err("the step is 0".to_owned());
    }
    let within = |value: T| if step > zero { value <= last } else { value >= last };
    let (mut made, mut value) = (Vec::new(), Some(first));
    while let Some(there) = value.filter(|value| within(*value)) {
        if made.len() == ELEMENTS_MAX {
            return Err(format!("the array would have more than {ELEMENTS_MAX} elements"));
        }
        made.push(there);
        value = next(made.len());
    }
    Ok(made)
}

fn generate_array(call: &Call<'_>) -> Result<ArrayRef> {
    let stepped = call.args.len() > 2;
    match call.gives.data_type() {
        DataType::List(item) if item.data_type() == &DataType::Int64 => {
            let (firsts, lasts, widths) = (call.ints(0)?, call.ints(1)?, call.ints_or(2, 1)?);
            lists::<Int64Type>(call, |row| match (firsts.get(row), lasts.get(row), widths.get(row)) {
                (Some(first), Some(last), Some(step)) => {
                    let next =
                        |count: usize| i64::try_from(count).ok()?.checked_mul(step)?.checked_add(first);
                    steps(first, last, 0, step, next).map(Some)
                }
                _ => Ok(None),
            })
        }
        DataType::List(item) if item.data_type() == &DataType::Float64 => {
            let (firsts, lasts) = (call.floats(0)?, call.floats(1)?);
            let widths = if stepped { Some(call.floats(2)?) } else { None };
            lists::<Float64Type>(call, |row| {
                let width = widths.as_ref().map_or(Some(1.0), |widths| widths.get(row));
                let (Some(first), Some(last), Some(step)) = (firsts.get(row), lasts.get(row), width) else {
                    return Ok(None);
                };
                if first.is_nan() || last.is_nan() || step.is_nan() {
                    return Err("an argument is NaN".to_owned());
                }
                if step.is_infinite() {
                    return Err("the step is infinite".to_owned());
                }
                #[expect(clippy::cast_precision_loss, reason = "there are fewer elements than 2^53")]
                steps(first, last, 0.0, step, |count| Some(first + step * count as f64)).map(Some)
            })
        }
        _ => {
            let (firsts, lasts) = (call.numerics(0)?, call.numerics(1)?);
            let widths = if stepped { Some(call.numerics(2)?) } else { None };
            lists::<Decimal128Type>(call, |row| {
                let width = widths.as_ref().map_or(Some(NUMERIC_ONE), |widths| widths.get(row));
                let (Some(first), Some(last), Some(step)) = (firsts.get(row), lasts.get(row), width) else {
                    return Ok(None);
                };
                let next = |count: usize| i128::try_from(count).ok()?.checked_mul(step)?.checked_add(first);
                steps(first, last, 0, step, next).map(Some)
            })
        }
    }
}

fn generate_dates(call: &Call<'_>) -> Result<ArrayRef> {
    let (firsts, lasts, widths, parts) = (call.dates(0)?, call.dates(1)?, call.ints(2)?, call.texts(3)?);
    lists::<Date32Type>(call, |row| {
        let (Some(first), Some(last), Some(step), Some(name)) =
            (firsts.get(row), lasts.get(row), widths.get(row), parts.get(row))
        else {
            return Ok(None);
        };
        let part = part(name)?;
        if unit_micros(part).is_some_and(|unit| unit < MICROS_PER_DAY)
            || !matches!(name, "day" | "week" | "month" | "quarter" | "year")
        {
            return Err(format!("dates have no steps of {}", name.to_uppercase()));
        }
        // Each from the one before it, as in ZetaSQL's generate_array.h: a month after 29 February is 29 March.
        let mut reached = civil::date(first)?.and_time(NaiveTime::MIN);
        let next = |_: usize| {
            reached = civil::add(reached, step, part).ok()?;
            civil::days(reached.date()).ok()
        };
        let direction = i32::try_from(step.signum()).unwrap_or(1);
        steps(first, last, 0, direction, next).map(Some)
    })
}

fn generate_timestamps(call: &Call<'_>) -> Result<ArrayRef> {
    let (firsts, lasts, widths, parts) = (call.micros(0)?, call.micros(1)?, call.ints(2)?, call.texts(3)?);
    lists::<TimestampMicrosecondType>(call, |row| {
        let (Some(first), Some(last), Some(step), Some(name)) =
            (firsts.get(row), lasts.get(row), widths.get(row), parts.get(row))
        else {
            return Ok(None);
        };
        let unit = match unit_micros(part(name)?) {
            Some(unit) if unit <= MICROS_PER_DAY => unit,
            _ => return Err(format!("timestamps have no steps of {}", name.to_uppercase())),
        };
        let step = step.checked_mul(unit).ok_or_else(|| "INTERVAL overflow".to_owned())?;
        let next = |count: usize| i64::try_from(count).ok()?.checked_mul(step)?.checked_add(first);
        steps(first, last, 0, step, next).map(Some)
    })
}

/// Version 4 of RFC 9562: 122 bits of chance.
fn generate_uuid(call: &Call<'_>) -> Result<ArrayRef> {
    call.collect_text(|_| {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| format!("there is no chance to be had: {error}"))?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let digits = hex::encode(bytes);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Ok(Some(parts.join("-")))
    })
}
