//! JSON functions, over JSON text and parsed JSON alike
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions>).

pub(super) mod array;
pub(super) mod build;
mod lax;
mod normal;
mod pretty;

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StringBuilder, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ReturnFieldArgs;

use super::scalar::{Call, Definition, Form, Gives, form, optional};
use super::text::{Numbers, json_text_with};
use crate::error::SqlError;
use crate::types::{Kind, field_of, is_json};
use millrace_jsonpath::{Paths, Step, parse as parse_path, scalar};
use normal::{WideNumbers, normalize};
pub(crate) use normal::{compact, write_string as normal_string};
pub(crate) use pretty::pretty;

const TEXT: &[Kind] = &[Kind::String];
const DOCUMENT: &[Kind] = &[Kind::String, Kind::Json];
const ANY: &[Kind] = &[];
const INT: &[Kind] = &[Kind::Int];

/// The name of the function that finds many paths at once; the optimizer's.
pub(crate) const MULTI: &str = "#json_many";

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition { name: "json_value", forms: &[optional(1, &[DOCUMENT, TEXT], Kind::String)], eval: value },
    Definition {
        name: "json_extract_scalar",
        forms: &[optional(1, &[DOCUMENT, TEXT], Kind::String)],
        eval: value,
    },
    Definition { name: "json_query", forms: QUERY, eval: query },
    Definition { name: "json_extract", forms: QUERY, eval: query },
    Definition { name: "parse_json", forms: &[optional(1, &[TEXT, TEXT], Kind::Json)], eval: parse },
    Definition {
        name: "to_json_string",
        forms: &[optional(1, &[ANY, &[Kind::Bool]], Kind::String)],
        eval: to_json_string,
    },
    Definition { name: "to_json", forms: &[form(&[ANY], Kind::Json)], eval: to_json },
    Definition { name: "json_type", forms: &[form(&[&[Kind::Json]], Kind::String)], eval: json_type },
    Definition { name: "lax_int64", forms: &[form(&[&[Kind::Json]], Kind::Int)], eval: lax::int64 },
    Definition { name: "lax_float64", forms: &[form(&[&[Kind::Json]], Kind::Float)], eval: lax::float64 },
    Definition { name: "lax_bool", forms: &[form(&[&[Kind::Json]], Kind::Bool)], eval: lax::bool },
    Definition { name: "lax_string", forms: &[form(&[&[Kind::Json]], Kind::String)], eval: lax::string },
    Definition { name: "json_field", forms: &[form(&[&[Kind::Json], TEXT], Kind::Json)], eval: field },
    Definition { name: "json_item", forms: &[form(&[&[Kind::Json], INT], Kind::Json)], eval: item },
    Definition { name: "#json", forms: &[form(&[DOCUMENT], Kind::Json)], eval: marked },
    Definition {
        name: MULTI,
        forms: &[Form {
            takes: &[DOCUMENT, TEXT],
            optional: 0,
            many: true,
            gives: Gives::Computed(many_field),
        }],
        eval: many,
    },
];

/// JSON gives JSON, text gives text.
const QUERY: &[Form] =
    &[Form { takes: &[DOCUMENT, TEXT], optional: 1, many: false, gives: Gives::Computed(same_as_document) }];

fn same_as_document(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    Ok(field_of("json_query", DataType::Utf8, args.arg_fields.first().is_some_and(|field| is_json(field))))
}

/// What JSON_QUERY makes of a found value: compact text; null is SQL's NULL unless it came as JSON.
fn query_of(span: &str, json: bool) -> Option<Cow<'_, str>> {
    (json || span != "null").then(|| compact(span))
}

/// Runs over the documents with a path for each row, parsed once when it is the same for all.
fn with_paths(call: &Call<'_>, finish: impl Fn(&str) -> Option<Cow<'_, str>>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    let paths = call.texts_or(1, "$")?;
    let mut parsed: Option<(&str, Result<Paths, String>)> = None;
    let mut found = Vec::with_capacity(1);
    let mut builder = StringBuilder::with_capacity(call.rows, call.rows * 16);
    for row in 0..call.rows {
        let (Some(document), Some(text)) = (documents.get(row), paths.get(row)) else {
            builder.append_null();
            continue;
        };
        if parsed.as_ref().is_none_or(|(known, _)| *known != text) {
            parsed = Some((text, parse_path(text).map(|steps| Paths::new([steps.as_slice()]))));
        }
        match parsed.as_ref().map(|(_, paths)| paths) {
            Some(Ok(paths)) => {
                paths.extract(document, &mut found);
                builder.append_option(found.first().copied().flatten().and_then(&finish));
            }
            Some(Err(reason)) => builder.append_option(call.settle::<String>(Err(reason.clone()))?),
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn value(call: &Call<'_>) -> Result<ArrayRef> {
    with_paths(call, scalar)
}

fn query(call: &Call<'_>) -> Result<ArrayRef> {
    let json = call.kind(0) == Kind::Json;
    with_paths(call, |span| query_of(span, json))
}

/// One struct of all paths' values, each argument `v` (as JSON_VALUE) or `q` (as JSON_QUERY) and a path.
fn many(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    let json = call.kind(0) == Kind::Json;
    let mut steps: Vec<Vec<Step>> = Vec::with_capacity(call.args.len());
    let mut scalars = Vec::with_capacity(call.args.len());
    for index in 1..call.args.len() {
        let path = call.texts(index)?.get(0).unwrap_or_default();
        scalars.push(path.starts_with('v'));
        steps.push(parse_path(path.get(1..).unwrap_or_default()).map_err(SqlError::invalid)?);
    }
    let paths = Paths::new(steps.iter().map(Vec::as_slice));
    let mut builders: Vec<_> = steps.iter().map(|_| StringBuilder::with_capacity(call.rows, 0)).collect();
    let mut found = Vec::with_capacity(steps.len());
    for row in 0..call.rows {
        match documents.get(row) {
            Some(document) => paths.extract(document, &mut found),
            None => {
                found.clear();
                found.resize(steps.len(), None);
            }
        }
        for ((builder, span), as_scalar) in builders.iter_mut().zip(&found).zip(&scalars) {
            builder.append_option(
                span.and_then(|span| if *as_scalar { scalar(span) } else { query_of(span, json) }),
            );
        }
    }
    let fields = many_fields(call.fields);
    let columns = builders.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, None, call.rows)?))
}

/// The name of the struct's field for the path that is argument `index`, counted from 0.
pub(crate) fn many_name(index: usize) -> String {
    format!("p{index}")
}

fn many_fields(arguments: &[FieldRef]) -> Fields {
    (1..arguments.len()).map(|index| Field::new(many_name(index - 1), DataType::Utf8, true)).collect()
}

fn many_field(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    Ok(field_of(MULTI, DataType::Struct(many_fields(args.arg_fields)), false))
}

fn parse(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, modes) = (call.texts(0)?, call.texts_or(1, "exact")?);
    call.collect_text(|row| match (texts.get(row), modes.get(row)) {
        (Some(text), Some(mode)) => {
            let mode = match mode {
                "exact" => WideNumbers::Exact,
                "round" => WideNumbers::Round,
                other => return Err(format!("wide_number_mode is exact or round, not {other:?}")),
            };
            normalize(text, mode).map(Some)
        }
        _ => Ok(None),
    })
}

/// A value that is JSON, told so.
fn marked(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(cast(&call.array(0)?, &DataType::Utf8)?)
}

fn to_json_string(call: &Call<'_>) -> Result<ArrayRef> {
    let (array, field) = (call.array(0)?, &call.fields[0]);
    let lines = if call.args.len() > 1 { Some(call.bools(1)?) } else { None };
    call.collect_text(|row| {
        let text = json_text_with(Numbers::Exact, field, &array, row);
        match &lines {
            None => Ok(Some(text)),
            Some(lines) if lines.is_null(row) => Ok(None),
            Some(lines) => Ok(Some(if lines.value(row) { pretty(&compact(&text)) } else { text })),
        }
    })
}

fn to_json(call: &Call<'_>) -> Result<ArrayRef> {
    let (array, field) = (call.array(0)?, &call.fields[0]);
    call.collect_text(|row| Ok(Some(json_text_with(Numbers::Plain, field, &array, row))))
}

fn json_type(call: &Call<'_>) -> Result<ArrayRef> {
    let documents = call.texts(0)?;
    call.collect_text(|row| {
        Ok(documents.get(row).map(|text| match text.as_bytes().first() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "boolean",
            Some(b'n') | None => "null",
            Some(_) => "number",
        }))
    })
}

fn step_into(document: &str, step: Step) -> Option<String> {
    let mut found = Vec::with_capacity(1);
    Paths::new([[step].as_slice()]).extract(document, &mut found);
    found.first().copied().flatten().map(|span| compact(span).into_owned())
}

/// `json.key` and `json['key']`.
fn field(call: &Call<'_>) -> Result<ArrayRef> {
    let (documents, keys) = (call.texts(0)?, call.texts(1)?);
    call.collect_text(|row| {
        Ok(documents
            .get(row)
            .zip(keys.get(row))
            .and_then(|(text, key)| step_into(text, Step::Key(key.to_owned()))))
    })
}

/// `json[0]`.
fn item(call: &Call<'_>) -> Result<ArrayRef> {
    let (documents, indices) = (call.texts(0)?, call.ints(1)?);
    call.collect_text(|row| {
        Ok(documents
            .get(row)
            .zip(indices.get(row))
            .and_then(|(text, index)| step_into(text, Step::Item(usize::try_from(index).ok()?))))
    })
}

/// The path of a literal argument, checked.
pub(crate) fn literal_path(value: &ScalarValue) -> Option<&str> {
    let text = value.try_as_str().flatten()?;
    parse_path(text).ok().map(|_| text)
}
