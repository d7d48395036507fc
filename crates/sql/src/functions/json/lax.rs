//! LAX_ conversions of JSON: NULL instead of an error, and more forms than the strict ones take
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#lax_converters>).

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::common::Result;

use super::super::cast::{float_from_text, float_to_text, int_from_float, int_from_text};
use super::super::scalar::Call;
use millrace_jsonpath::unescape;

/// A JSON value that is no object, array or null.
enum Leaf<'a> {
    Bool(bool),
    Number(&'a str),
    Text(std::borrow::Cow<'a, str>),
}

fn leaf(json: &str) -> Option<Leaf<'_>> {
    match json.as_bytes().first()? {
        b't' => Some(Leaf::Bool(true)),
        b'f' => Some(Leaf::Bool(false)),
        b'"' => unescape(json.get(1..json.len() - 1)?).map(Leaf::Text),
        b'{' | b'[' | b'n' => None,
        _ => Some(Leaf::Number(json)),
    }
}

pub(super) fn int64(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    call.collect::<Int64Type>(|row| {
        let number = |text: &str| match int_from_text(text) {
            Ok(value) => Some(value),
            Err(_) => float_from_text(text).and_then(int_from_float).ok(),
        };
        Ok(documents.get(row).and_then(leaf).and_then(|leaf| match leaf {
            Leaf::Bool(value) => Some(i64::from(value)),
            Leaf::Number(text) => number(text),
            Leaf::Text(text) => number(&text),
        }))
    })
}

pub(super) fn float64(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    call.collect::<Float64Type>(|row| {
        Ok(documents.get(row).and_then(leaf).and_then(|leaf| match leaf {
            // "LAX_FLOAT64: JSON boolean: NULL".
            Leaf::Bool(_) => None,
            Leaf::Number(text) => float_from_text(text).ok(),
            Leaf::Text(text) => float_from_text(&text).ok(),
        }))
    })
}

pub(super) fn bool(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    call.collect_bools(|row| {
        Ok(documents.get(row).and_then(leaf).and_then(|leaf| match leaf {
            Leaf::Bool(value) => Some(value),
            Leaf::Number(text) => float_from_text(text).ok().map(|value| value != 0.0),
            Leaf::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Leaf::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Leaf::Text(_) => None,
        }))
    })
}

pub(super) fn string(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    call.collect_text(|row| {
        Ok(documents.get(row).and_then(leaf).map(|leaf| match leaf {
            Leaf::Bool(value) => value.to_string(),
            Leaf::Number(text) if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() => {
                text.to_owned()
            }
            Leaf::Number(text) => float_from_text(text).map_or_else(|_| text.to_owned(), float_to_text),
            Leaf::Text(text) => text.into_owned(),
        }))
    })
}
