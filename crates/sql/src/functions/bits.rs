//! Bits (<https://cloud.google.com/bigquery/docs/reference/standard-sql/bit_functions>) and the least and
//! greatest of several values.

use std::cmp::Ordering;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt64Array, make_comparator};
use datafusion::arrow::compute::{SortOptions, cast, concat, take};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, internal_err};

use super::scalar::{Call, Definition, Form, Gives, form};
use crate::types::Kind;

const INT: &[Kind] = &[Kind::Int];

const fn extreme(param: &'static [&'static [Kind]], gives: Kind) -> Form {
    Form { takes: param, optional: 0, many: true, gives: Gives::One(gives) }
}

const EXTREMES: &[Form] = &[
    extreme(&[INT], Kind::Int),
    extreme(&[&[Kind::Numeric]], Kind::Numeric),
    extreme(&[&[Kind::Float]], Kind::Float),
    extreme(&[&[Kind::String]], Kind::String),
    extreme(&[&[Kind::Date]], Kind::Date),
    extreme(&[&[Kind::Timestamp]], Kind::Timestamp),
    extreme(&[&[Kind::Datetime]], Kind::Datetime),
    extreme(&[&[Kind::Bool]], Kind::Bool),
    extreme(&[&[Kind::Bytes]], Kind::Bytes),
];

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition { name: "greatest", forms: EXTREMES, eval: |call| furthest(call, Ordering::Greater) },
    Definition { name: "least", forms: EXTREMES, eval: |call| furthest(call, Ordering::Less) },
    Definition {
        name: "bit_count",
        forms: &[form(&[INT], Kind::Int), form(&[&[Kind::Bytes]], Kind::Int)],
        eval: bit_count,
    },
    Definition {
        name: "#shift_left",
        forms: &[form(&[INT, INT], Kind::Int)],
        eval: |call| shift(call, i64::checked_shl),
    },
    Definition {
        name: "#shift_right",
        forms: &[form(&[INT, INT], Kind::Int)],
        // Zeros come in at the left, whatever the sign.
        eval: |call| shift(call, |value, by| value.cast_unsigned().checked_shr(by).map(u64::cast_signed)),
    },
    Definition {
        name: "range_bucket",
        forms: &[form(&[&[], &[Kind::Array]], Kind::Int)],
        eval: range_bucket,
    },
];

/// The argument that lies furthest; NULL when one is NULL, NaN when one is NaN.
fn furthest(call: &Call<'_>, wanted: Ordering) -> Result<ArrayRef> {
    let columns: Vec<ArrayRef> = (0..call.args.len())
        .map(|index| Ok(cast(&call.array(index)?, call.gives.data_type())?))
        .collect::<Result<_>>()?;
    let all = concat(&columns.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
    let compare = make_comparator(&all, &all, SortOptions::default())?;
    let floats = all.as_primitive_opt::<Float64Type>();
    let rows = call.rows;
    let chosen = (0..rows).map(|row| {
        let mut best = row;
        for index in 0..columns.len() {
            let place = index * rows + row;
            if all.is_null(place) {
                return None;
            }
            let nan = |place: usize| floats.is_some_and(|floats| floats.value(place).is_nan());
            if !nan(best) && (nan(place) || compare(place, best) == wanted) {
                best = place;
            }
        }
        Some(best as u64)
    });
    Ok(take(&all, &UInt64Array::from_iter(chosen), None)?)
}

fn bit_count(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Bytes {
        let values = call.blobs(0)?;
        let ones = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.count_ones())).sum();
        return call.collect::<Int64Type>(|row| Ok(values.get(row).map(ones)));
    }
    let values = call.ints(0)?;
    call.collect::<Int64Type>(|row| Ok(values.get(row).map(|value| i64::from(value.count_ones()))))
}

/// By 64 and more everything is shifted out.
fn shift(call: &Call<'_>, shifted: fn(i64, u32) -> Option<i64>) -> Result<ArrayRef> {
    let (values, counts) = (call.ints(0)?, call.ints(1)?);
    call.collect::<Int64Type>(|row| {
        let (Some(value), Some(count)) = (values.get(row), counts.get(row)) else { return Ok(None) };
        if count < 0 {
            return Err(format!("the number of bits is from 0 on, not {count}"));
        }
        Ok(Some(u32::try_from(count).ok().and_then(|count| shifted(value, count)).unwrap_or(0)))
    })
}

/// How many of the boundaries of an ascending array are not above a value.
fn range_bucket(call: &Call<'_>) -> Result<ArrayRef> {
    let boundaries = call.array(1)?;
    let lists = boundaries.as_list::<i32>();
    let DataType::List(item) = boundaries.data_type() else {
        return internal_err!("RANGE_BUCKET of no array");
    };
    let kinds = [call.kind(0), Kind::of(item)];
    let common = match kinds {
        [Kind::Null, _] => item.data_type().clone(),
        [_, Kind::Null] => call.fields[0].data_type().clone(),
        [left, right] if left == right => item.data_type().clone(),
        // The array's type is not widened to the value's.
        [Kind::Int, Kind::Numeric | Kind::Float] | [Kind::Numeric, Kind::Float] => item.data_type().clone(),
        _ => return Err(super::scalar::no_signature(call.label, &[kinds[0], Kind::Array], None).into()),
    };
    let converted = |array: &ArrayRef| cast(array, &common);
    let (points, values) = (converted(&call.array(0)?)?, converted(lists.values())?);
    let compare = make_comparator(&values, &points, SortOptions::default())?;
    let ascending = make_comparator(&values, &values, SortOptions::default())?;
    let nan = |all: &ArrayRef, place: usize| {
        all.is_valid(place)
            && all.as_primitive_opt::<Float64Type>().is_some_and(|all| all.value(place).is_nan())
    };
    call.collect::<Int64Type>(|row| {
        if points.is_null(row) || lists.is_null(row) || nan(&points, row) {
            return Ok(None);
        }
        let places = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
        if places.clone().any(|place| values.is_null(place)) {
            return Err("the array of boundaries has a NULL in it".to_owned());
        }
        if places.clone().any(|place| nan(&values, place)) {
            return Err("the array of boundaries has a NaN in it".to_owned());
        }
        if places.clone().skip(1).any(|place| ascending(place - 1, place) == Ordering::Greater) {
            return Err("the boundaries are not in ascending order".to_owned());
        }
        let below = places.filter(|place| compare(*place, row) != Ordering::Greater).count();
        Ok(Some(i64::try_from(below).unwrap_or(i64::MAX)))
    })
}
