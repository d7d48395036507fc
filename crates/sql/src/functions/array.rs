//! Arrays, fields and elements
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/array_functions>).

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Builder, ListArray, ListBuilder, StringBuilder, UInt64Array,
    new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ReturnFieldArgs;

use super::json::{path::Step, scan::Paths};
use super::scalar::{Call, Definition, Form, Gives, form, optional};
use super::text::cell_text;
use crate::error::SqlError;
use crate::suggest::nearest;
use crate::types::{Kind, field_of};

const ARRAY: &[Kind] = &[Kind::Array];
const TEXT: &[Kind] = &[Kind::String];

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "#at",
        forms: &[
            Form { takes: &[ARRAY, &[Kind::Int], TEXT], optional: 0, many: false, gives: Gives::Element },
            form(&[&[Kind::Json], &[Kind::Int, Kind::String], TEXT], Kind::Json),
        ],
        eval: at,
    },
    Definition {
        name: "#field",
        forms: &[Form {
            takes: &[&[Kind::Struct, Kind::Json], TEXT],
            optional: 0,
            many: false,
            gives: Gives::Computed(field_type),
        }],
        eval: field,
    },
    Definition { name: "array_length", forms: &[form(&[ARRAY], Kind::Int)], eval: length },
    Definition {
        name: "#first",
        forms: &[Form {
            takes: &[ARRAY, &[Kind::Int]],
            optional: 0,
            many: false,
            gives: Gives::Computed(same_type),
        }],
        eval: first,
    },
    Definition {
        name: "#offsets",
        forms: &[Form { takes: &[ARRAY], optional: 0, many: false, gives: Gives::Many(Kind::Int) }],
        eval: offsets,
    },
    Definition { name: "#join", forms: &[form(&[ARRAY, TEXT], Kind::String)], eval: join },
    Definition {
        name: "array_to_string",
        forms: &[optional(1, &[ARRAY, TEXT, TEXT], Kind::String)],
        eval: to_string,
    },
];

/// `array[OFFSET(n)]` and its kin; `json[n]` and `json['key']`.
fn at(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Json {
        return json_at(call);
    }
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let (positions, kinds) = (call.ints(1)?, call.texts(2)?);
    let mut indices = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        let (Some(position), Some(kind)) = (positions.get(row), kinds.get(row)) else {
            indices.push(None);
            continue;
        };
        if lists.is_null(row) {
            indices.push(None);
            continue;
        }
        let from = if kind.ends_with("ordinal") { 1 } else { 0 };
        let length = i64::from(lists.value_length(row));
        let offset = position.checked_sub(from).filter(|offset| (0..length).contains(offset));
        let index = match offset {
            Some(offset) => Some(i64::from(lists.value_offsets()[row]) + offset),
            None if kind.starts_with("safe") => None,
            None => call.settle(Err(format!(
                "array index {position} is out of bounds, the array has {length} elements"
            )))?,
        };
        indices.push(index.and_then(|index| u64::try_from(index).ok()));
    }
    Ok(take(lists.values(), &UInt64Array::from(indices), None)?)
}

fn json_at(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    let by_key = call.kind(1) == Kind::String;
    let mut builder = StringBuilder::new();
    let mut found = Vec::with_capacity(1);
    for row in 0..call.rows {
        let step = match by_key {
            true => call.texts(1)?.get(row).map(|key| Step::Key(key.to_owned())),
            false => call.ints(1)?.get(row).and_then(|index| usize::try_from(index).ok()).map(Step::Item),
        };
        match documents.get(row).zip(step) {
            Some((document, step)) => {
                Paths::new([[step].as_slice()]).extract(document, &mut found);
                builder.append_option(found.first().copied().flatten());
            }
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The field of a struct by its name in any case, or a member of a JSON object.
fn field_type(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    let Some(field) = args.arg_fields.first() else {
        return Err(SqlError::internal("a field access without a value"));
    };
    let DataType::Struct(fields) = field.data_type() else {
        return Ok(field_of("json", DataType::Utf8, true));
    };
    let name = match args.scalar_arguments.get(1) {
        Some(Some(value)) => value.try_as_str().flatten().unwrap_or_default(),
        _ => "",
    };
    fields.iter().find(|field| field.name().eq_ignore_ascii_case(name)).map(Arc::clone).ok_or_else(|| {
        let near = nearest(name, fields.iter().map(|field| field.name().as_str()));
        SqlError::invalid(format!("field {name} does not exist in the struct"))
            .maybe_hint(near.map(|near| format!("did you mean {near}?")))
    })
}

fn field(call: &Call<'_>) -> Result<ArrayRef> {
    let name = call.texts(1)?.get(0).unwrap_or_default();
    if call.kind(0) == Kind::Json {
        let documents = call.texts(0)?;
        let paths = Paths::new([[Step::Key(name.to_owned())].as_slice()]);
        let mut found = Vec::with_capacity(1);
        return call.collect_text(|row| {
            Ok(documents.get(row).and_then(|document| {
                paths.extract(document, &mut found);
                found.first().copied().flatten()
            }))
        });
    }
    let array = call.array(0)?;
    let Some(structs) = array.as_struct_opt() else {
        return internal_err!("a field of a value that is no struct");
    };
    let index = structs.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
    let Some(column) = index.map(|index| structs.column(index)) else {
        return Ok(new_null_array(call.gives.data_type(), call.rows));
    };
    match structs.nulls() {
        // A NULL struct has NULL fields, whatever lies beneath.
        Some(nulls) => {
            let rows = (0..call.rows).map(|row| nulls.is_valid(row).then_some(row as u64));
            Ok(take(column, &UInt64Array::from_iter(rows), None)?)
        }
        None => Ok(Arc::clone(column)),
    }
}

fn length(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    call.collect::<Int64Type>(|row| Ok(lists.is_valid(row).then(|| i64::from(lists.value_length(row)))))
}

fn same_type(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    let field = args.arg_fields.first().ok_or_else(|| SqlError::internal("an array function without one"))?;
    Ok(Arc::clone(field))
}

/// The first elements, at most so many: the LIMIT of ARRAY_AGG. None is NULL, as an aggregate of nothing is.
fn first(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let DataType::List(item) = array.data_type() else { return internal_err!("a LIMIT of no array") };
    let lists = array.as_list::<i32>();
    let limits = call.ints(1)?;
    let (mut indices, mut lengths, mut valid) = (Vec::new(), Vec::with_capacity(call.rows), Vec::new());
    for row in 0..call.rows {
        let limit = match limits.get(row).map(usize::try_from) {
            Some(Ok(limit)) => limit,
            _ => call.settle(Err("LIMIT is a number of elements from 0 on".to_owned()))?.unwrap_or_default(),
        };
        let there = if lists.is_valid(row) { lists.value_length(row) as usize } else { 0 };
        let (start, length) = (lists.value_offsets()[row] as u64, there.min(limit));
        indices.extend((0..length as u64).map(|offset| start + offset));
        lengths.push(length);
        valid.push(length > 0);
    }
    let values = take(lists.values(), &UInt64Array::from(indices), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, Some(NullBuffer::from(valid)))?))
}

/// Each element's offset: what UNNEST ... WITH OFFSET unnests beside the array.
fn offsets(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let mut builder = ListBuilder::new(Int64Builder::new());
    for row in 0..call.rows {
        let length = if lists.is_valid(row) { i64::from(lists.value_length(row)) } else { 0 };
        builder.values().extend((0..length).map(Some));
        builder.append(lists.is_valid(row));
    }
    let DataType::List(item) = call.gives.data_type() else { return internal_err!("offsets are no array") };
    let (_, offsets, values, nulls) = builder.finish().into_parts();
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
}

/// STRING_AGG of a list that was cut: like ARRAY_TO_STRING, of strings only.
fn join(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    match array.data_type() {
        DataType::List(item) if matches!(Kind::of(item), Kind::String | Kind::Null) => to_string(call),
        _ => Err(SqlError::invalid("STRING_AGG with LIMIT takes strings")
            .hint("cast the value: CAST(x AS STRING)")
            .into()),
    }
}

/// The elements as text with a text between them; NULLs left out, or as the third argument.
fn to_string(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let DataType::List(item) = array.data_type() else { return internal_err!("ARRAY_TO_STRING of no array") };
    let lists = array.as_list::<i32>();
    let (between, nulls) = (call.texts(1)?, if call.args.len() > 2 { Some(call.texts(2)?) } else { None });
    call.collect_text(|row| {
        let Some(between) = between.get(row).filter(|_| lists.is_valid(row)) else { return Ok(None) };
        let values = lists.value(row);
        let null = nulls.as_ref().and_then(|nulls| nulls.get(row));
        let parts: Vec<_> = (0..values.len())
            .filter_map(|index| cell_text(item, &values, index).or_else(|| null.map(str::to_owned)))
            .collect();
        Ok(Some(parts.join(between)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Field;
    use datafusion::common::ScalarValue;

    #[test]
    fn a_struct_field_is_found_in_any_case() {
        let fields = vec![Field::new("alpha", DataType::Int64, true)].into();
        let value = Arc::new(Field::new("s", DataType::Struct(fields), true));
        let text = Arc::new(Field::new("n", DataType::Utf8, true));
        let name = ScalarValue::from("ALPHA");
        let args = ReturnFieldArgs {
            arg_fields: &[Arc::clone(&value), text],
            scalar_arguments: &[None, Some(&name)],
        };
        assert_eq!(field_type(&args).unwrap().data_type(), &DataType::Int64);
    }
}
