//! Arrays made of arrays, and values looked for in them
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/array_functions>).

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, ListArray, UInt64Array, make_comparator, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{SortOptions, cast, concat, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ReturnFieldArgs;

use super::scalar::{Call, Definition, Form, Gives, form, no_signature};
use crate::error::SqlError;
use crate::types::{Kind, NUMERIC, field_of};

const ARRAY: &[Kind] = &[Kind::Array];
const INT: &[Kind] = &[Kind::Int];
const SAME: &[Form] =
    &[Form { takes: &[ARRAY], optional: 0, many: false, gives: Gives::Computed(array_of_arguments) }];
const ONE: &[Form] = &[Form { takes: &[ARRAY], optional: 0, many: false, gives: Gives::Element }];

/// Stands for ARRAY around the scalar subquery that is its argument.
pub(crate) const ARRAY_OF: &str = "#array_of";

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "array_concat",
        forms: &[Form {
            takes: &[ARRAY],
            optional: 0,
            many: true,
            gives: Gives::Computed(array_of_arguments),
        }],
        eval: array_concat,
    },
    Definition {
        name: "array_reverse",
        forms: SAME,
        eval: |call| pick(call, |_, places| Ok(places.rev().collect())),
    },
    Definition {
        name: "array_slice",
        forms: &[Form {
            takes: &[ARRAY, INT, INT],
            optional: 0,
            many: false,
            gives: Gives::Computed(array_of_arguments),
        }],
        eval: slice,
    },
    Definition { name: "array_first", forms: ONE, eval: |call| end(call, |places| Some(places.start)) },
    Definition { name: "array_last", forms: ONE, eval: |call| end(call, |places| places.end.checked_sub(1)) },
    // ARRAY<type>[] is an array of one NULL of that type, emptied.
    Definition { name: "#emptied", forms: SAME, eval: |call| pick(call, |_, _| Ok(Vec::new())) },
    // CAST(NULL AS ARRAY<type>), likewise.
    Definition {
        name: "#no_array",
        forms: SAME,
        eval: |call| Ok(new_null_array(call.gives.data_type(), call.rows)),
    },
    // An array of JSON, which the engine's own array functions take for strings.
    Definition {
        name: "#json_items",
        forms: &[Form { takes: &[ARRAY], optional: 0, many: false, gives: Gives::Computed(array_of_json) }],
        eval: json_items,
    },
    // ARRAY_CONCAT_AGG: an array of arrays.
    Definition { name: "#flattened", forms: ONE, eval: flattened },
    // ARRAY(SELECT ...), until the plan has something better.
    Definition {
        name: ARRAY_OF,
        forms: &[Form { takes: &[&[]], optional: 0, many: false, gives: Gives::Computed(array_of_values) }],
        eval: |call| internal_err!("{} is still in the plan", call.label),
    },
    // ARRAY(SELECT ...) of no rows.
    Definition { name: "#or_empty", forms: SAME, eval: or_empty },
    Definition { name: "#in_array", forms: &[form(&[&[], ARRAY], Kind::Bool)], eval: in_array },
];

fn item_of(data_type: &DataType) -> Result<&FieldRef> {
    match data_type {
        DataType::List(item) => Ok(item),
        other => internal_err!("{other} is no array"),
    }
}

/// The array that all arrays among the arguments fit into.
fn array_of_arguments(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    let mut found: Option<(&FieldRef, &FieldRef)> = None;
    for field in args.arg_fields {
        let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
            field.data_type()
        else {
            continue;
        };
        found = match found {
            Some((_, known)) if Kind::of(known) == Kind::Null => Some((field, item)),
            Some((_, known)) if Kind::of(item) != Kind::Null && wider(known, item)? => Some((field, item)),
            Some(known) => Some(known),
            None => Some((field, item)),
        };
    }
    let (_, item) =
        found.ok_or_else(|| SqlError::invalid("NULL has no type here").hint("cast it to an array"))?;
    Ok(Arc::new(Field::new("array", DataType::List(Arc::clone(item)), true)))
}

/// Whether elements of the first type become elements of the second.
fn wider(known: &Field, other: &Field) -> Result<bool, SqlError> {
    match (Kind::of(known), Kind::of(other)) {
        (left, right) if left == right => Ok(false),
        (Kind::Int, Kind::Numeric | Kind::Float) | (Kind::Numeric, Kind::Float) => Ok(true),
        (left, right) if left.is_number() && right.is_number() => Ok(false),
        (left, right) => Err(SqlError::invalid(format!(
            "arrays of {} and of {} cannot be put together",
            left.name(),
            right.name()
        ))),
    }
}

/// A list array of `places` in `values` by row; `None` is a NULL array.
fn gathered(item: &FieldRef, values: &dyn Array, rows: Vec<Option<Vec<usize>>>) -> Result<ArrayRef> {
    let valid = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|places| places.as_ref().map_or(0, Vec::len)));
    let places = rows.into_iter().flatten().flatten().map(|place| place as u64);
    let taken = take(values, &UInt64Array::from_iter_values(places), None)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, taken, Some(valid))?))
}

fn places_of(lists: &ListArray, row: usize) -> Option<Range<usize>> {
    let offsets = lists.value_offsets();
    lists.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
}

/// Elements of the first argument by their places.
fn pick(
    call: &Call<'_>,
    chosen: impl Fn(usize, Range<usize>) -> Result<Vec<usize>, String>,
) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let rows = (0..call.rows)
        .map(|row| match places_of(lists, row) {
            Some(places) => call.settle(chosen(row, places).map(Some)),
            None => Ok(None),
        })
        .collect::<Result<_>>()?;
    gathered(item_of(call.gives.data_type())?, lists.values(), rows)
}

fn array_concat(call: &Call<'_>) -> Result<ArrayRef> {
    let item = item_of(call.gives.data_type())?;
    let arrays: Vec<ArrayRef> = (0..call.args.len())
        .map(|index| Ok(cast(&call.array(index)?, call.gives.data_type())?))
        .collect::<Result<_>>()?;
    let lists: Vec<&ListArray> = arrays.iter().map(|array| array.as_list::<i32>()).collect();
    let values = concat(&lists.iter().map(|list| list.values().as_ref()).collect::<Vec<_>>())?;
    let rows = (0..call.rows)
        .map(|row| {
            let (mut places, mut before) = (Vec::new(), 0);
            for list in &lists {
                places.extend(places_of(list, row)?.map(|place| place + before));
                before += list.values().len();
            }
            Some(places)
        })
        .collect();
    gathered(item, &values, rows)
}

/// The elements between two offsets, both inclusive, and counted from the end when negative.
fn slice(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let (starts, ends) = (call.ints(1)?, call.ints(2)?);
    let rows = (0..call.rows)
        .map(|row| {
            let (places, start, end) = (places_of(lists, row)?, starts.get(row)?, ends.get(row)?);
            let length = i64::try_from(places.len()).unwrap_or(i64::MAX);
            let from_start = |offset: i64| if offset < 0 { offset.saturating_add(length) } else { offset };
            let (start, end) = (from_start(start).max(0), from_start(end).min(length - 1));
            let offsets = (start..=end).filter_map(|offset| usize::try_from(offset).ok());
            Some(offsets.map(|offset| places.start + offset).collect())
        })
        .collect();
    gathered(item_of(call.gives.data_type())?, lists.values(), rows)
}

/// The first or the last element.
fn end(call: &Call<'_>, which: fn(Range<usize>) -> Option<usize>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let places = (0..call.rows)
        .map(|row| match places_of(lists, row) {
            None => Ok(None),
            Some(places) if places.is_empty() => call.settle(Err("the array is empty".to_owned())),
            Some(places) => Ok(which(places).map(|place| place as u64)),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(take(lists.values(), &UInt64Array::from(places), None)?)
}

fn array_of_values(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    let field = args.arg_fields.first().ok_or_else(|| SqlError::internal("ARRAY of nothing"))?;
    if Kind::of(field) == Kind::Array {
        return Err(SqlError::invalid("an ARRAY cannot have elements that are arrays")
            .hint("put them into structs: ARRAY(SELECT AS STRUCT ...)"));
    }
    let item = Arc::new(field.as_ref().clone().with_name("item").with_nullable(true));
    Ok(Arc::new(Field::new("array", DataType::List(item), true)))
}

fn array_of_json(_: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    let item = field_of("item", DataType::Utf8, true);
    Ok(Arc::new(Field::new("array", DataType::List(item), true)))
}

fn json_items(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let values = cast(lists.values(), &DataType::Utf8)?;
    let item = Arc::clone(item_of(call.gives.data_type())?);
    Ok(Arc::new(ListArray::try_new(item, lists.offsets().clone(), values, lists.nulls().cloned())?))
}

fn flattened(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let Some(inner) = lists.values().as_list_opt::<i32>() else {
        return Err(SqlError::invalid("ARRAY_CONCAT_AGG takes arrays").into());
    };
    let rows = (0..call.rows)
        .map(|row| {
            let places = places_of(lists, row)?.filter_map(|place| places_of(inner, place)).flatten();
            Some(places.collect())
        })
        .collect();
    gathered(item_of(call.gives.data_type())?, inner.values(), rows)
}

fn or_empty(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let rows =
        (0..call.rows).map(|row| Some(places_of(lists, row).into_iter().flatten().collect())).collect();
    gathered(item_of(call.gives.data_type())?, lists.values(), rows)
}

/// `x IN UNNEST(array)`: NULL when nothing is equal, but there is a NULL on either side; FALSE for an
/// empty array and for none.
fn in_array(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(1)?;
    let lists = array.as_list::<i32>();
    let item = item_of(array.data_type())?;
    let kinds = [call.kind(0), Kind::of(item)];
    let common = match kinds {
        [Kind::Null, _] => item.data_type().clone(),
        [_, Kind::Null] => call.fields[0].data_type().clone(),
        [Kind::Json, _] | [_, Kind::Json] | [Kind::Array, _] => return Err(unlike(kinds)),
        [Kind::Numeric | Kind::Int, Kind::Numeric | Kind::Int] if kinds.contains(&Kind::Numeric) => NUMERIC,
        [left, right] if left == right => item.data_type().clone(),
        [left, right] if left.is_number() && right.is_number() => DataType::Float64,
        _ => return Err(unlike(kinds)),
    };
    let (wanted, values) = (cast(&call.array(0)?, &common)?, cast(lists.values(), &common)?);
    let compare = make_comparator(&values, &wanted, SortOptions::default())?;
    call.collect_bools(|row| {
        let Some(places) = places_of(lists, row).filter(|places| !places.is_empty()) else {
            return Ok(Some(false));
        };
        if wanted.is_null(row) {
            return Ok(None);
        }
        let mut unknown = false;
        for place in places {
            match values.is_null(place) {
                true => unknown = true,
                false if compare(place, row) == Ordering::Equal => return Ok(Some(true)),
                false => {}
            }
        }
        Ok((!unknown).then_some(false))
    })
}

fn unlike(kinds: [Kind; 2]) -> datafusion::error::DataFusionError {
    no_signature("operator IN UNNEST", &kinds, None).hint("cast one of them").into()
}
