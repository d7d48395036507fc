//! JSON out of values: JSON_OBJECT and JSON_ARRAY; and values out of JSON of exactly their type: BOOL,
//! INT64, FLOAT64 and STRING
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_object>).

use std::collections::HashSet;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::Result;

use super::super::cast::{float_from_text, int_from_float, int_from_text};
use super::super::scalar::{Call, Cell, Definition, Form, Gives, form, no_signature, optional};
use super::super::text::{Numbers, json_text_with, write_json_with};
use super::normal::write_string;
use super::{ANY, TEXT};
use crate::types::Kind;
use millrace_jsonpath::unescape;

const JSON: &[Kind] = &[Kind::Json];

pub(in super::super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "json_object",
        forms: &[Form { takes: &[ANY, ANY], optional: 0, many: true, gives: Gives::One(Kind::Json) }],
        eval: object,
    },
    Definition {
        name: "json_array",
        forms: &[Form { takes: &[ANY], optional: 0, many: true, gives: Gives::One(Kind::Json) }],
        eval: array,
    },
    Definition { name: "bool", forms: &[form(&[JSON], Kind::Bool)], eval: bool },
    Definition { name: "int64", forms: &[form(&[JSON], Kind::Int)], eval: int64 },
    Definition { name: "float64", forms: &[optional(1, &[JSON, TEXT], Kind::Float)], eval: float64 },
];

/// The first of members with one key stays.
fn member(key: &str, value: &str, keys: &mut HashSet<String>, out: &mut String) {
    if keys.insert(key.to_owned()) {
        if out.len() > 1 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        out.push_str(value);
    }
}

fn object(call: &Call<'_>) -> Result<ArrayRef> {
    let kinds: Vec<_> = (0..call.args.len()).map(|index| call.kind(index)).collect();
    if kinds.as_slice() == [Kind::Array, Kind::Array] {
        return object_of_arrays(call);
    }
    let keys_fit = kinds.iter().step_by(2).all(|kind| matches!(kind, Kind::String | Kind::Null));
    if !keys_fit || kinds.len() % 2 == 1 {
        return Err(no_signature("JSON_OBJECT", &kinds, None)
            .hint("it takes a STRING and a value, and so on")
            .into());
    }
    let columns: Vec<ArrayRef> =
        (0..call.args.len()).map(|index| call.array(index)).collect::<Result<_>>()?;
    let keys: Vec<_> =
        (0..call.args.len()).step_by(2).map(|index| call.texts(index)).collect::<Result<_>>()?;
    call.collect_text(|row| {
        let (mut seen, mut out) = (HashSet::new(), "{".to_owned());
        for (index, key) in keys.iter().enumerate() {
            let key = key.get(row).ok_or_else(|| "a key is NULL".to_owned())?;
            let place = 2 * index + 1;
            let value = json_text_with(Numbers::Plain, &call.fields[place], &columns[place], row);
            member(key, &value, &mut seen, &mut out);
        }
        out.push('}');
        Ok(Some(out))
    })
}

/// Keys in one array, values in another of the same length.
fn object_of_arrays(call: &Call<'_>) -> Result<ArrayRef> {
    let (keys, values) = (call.array(0)?, call.array(1)?);
    let (keys, values) = (keys.as_list::<i32>(), values.as_list::<i32>());
    let DataType::List(item) = values.data_type() else { return call.collect_text::<String>(|_| Ok(None)) };
    call.collect_text(|row| {
        if keys.is_null(row) || values.is_null(row) {
            return Err("an array of keys or of values is NULL".to_owned());
        }
        let (names, values) = (keys.value(row), values.value(row));
        let Some(names) = names.as_string_opt::<i32>() else {
            return if names.is_empty() && values.is_empty() {
                Ok(Some("{}".to_owned()))
            } else {
                Err("the keys are no ARRAY<STRING>".to_owned())
            };
        };
        if names.len() != values.len() {
            return Err(format!("there are {} keys and {} values", names.len(), values.len()));
        }
        let (mut seen, mut out) = (HashSet::new(), "{".to_owned());
        for index in 0..names.len() {
            if names.is_null(index) {
                return Err("a key is NULL".to_owned());
            }
            let value = json_text_with(Numbers::Plain, item, &values, index);
            member(names.value(index), &value, &mut seen, &mut out);
        }
        out.push('}');
        Ok(Some(out))
    })
}

fn array(call: &Call<'_>) -> Result<ArrayRef> {
    let columns: Vec<ArrayRef> =
        (0..call.args.len()).map(|index| call.array(index)).collect::<Result<_>>()?;
    call.collect_text(|row| {
        let mut out = "[".to_owned();
        for (index, (field, column)) in call.fields.iter().zip(&columns).enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_json_with(Numbers::Plain, field, column, row, &mut out);
        }
        out.push(']');
        Ok(Some(out))
    })
}

fn wrong(json: &str, wanted: &str) -> String {
    let shown: String = json.chars().take(40).collect();
    format!("the JSON value {shown} is not {wanted}")
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn bool(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    call.collect_bools(|row| match documents.get(row) {
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(wrong(other, "a boolean")),
        None => Ok(None),
    })
}

fn int64(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    call.collect::<Int64Type>(|row| {
        let Some(json) = documents.get(row) else { return Ok(None) };
        if !is_number(json) {
            return Err(wrong(json, "a number"));
        }
        if let Ok(value) = int_from_text(json) {
            return Ok(Some(value));
        }
        match float_from_text(json) {
            Ok(value) if value == value.trunc() => int_from_float(value).map(Some),
            _ => Err(wrong(json, "an INT64")),
        }
    })
}

/// An integer that no FLOAT64 is becomes the nearest, or is refused.
fn float64(call: &Call<'_>) -> Result<ArrayRef> {
    let (documents, modes) = (call.texts(0)?, call.texts_or(1, "round")?);
    call.collect::<Float64Type>(|row| {
        let (Some(json), Some(mode)) = (documents.get(row), modes.get(row)) else { return Ok(None) };
        if !is_number(json) {
            return Err(wrong(json, "a number"));
        }
        let value = float_from_text(json)?;
        let exact = json.parse::<i128>().is_err() || format!("{value:.0}") == json;
        match mode {
            "round" => Ok(Some(value)),
            "exact" if exact => Ok(Some(value)),
            "exact" => Err(wrong(json, "exactly a FLOAT64, use wide_number_mode=>'round'")),
            other => Err(format!("wide_number_mode is exact or round, not {other:?}")),
        }
    })
}

/// STRING of JSON: a JSON string's text.
pub(in super::super) fn string(json: &str) -> Cell<String> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(content) => unescape(content)
            .map(|text| Some(text.into_owned()))
            .ok_or_else(|| "a JSON string has a wrong escape".to_owned()),
        None => Err(wrong(json, "a string")),
    }
}
