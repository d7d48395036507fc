//! Arrays out of JSON: JSON_QUERY_ARRAY, JSON_VALUE_ARRAY and JSON_KEYS
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_query_array>).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ReturnFieldArgs;

use super::super::scalar::{Call, Definition, Form, Gives};
use super::normal::compact;
use super::{DOCUMENT, INT, TEXT};
use crate::error::SqlError;
use crate::types::{Kind, field_of, is_json};
use millrace_jsonpath::{Paths, Scanner, parse as parse_path, scalar, unescape};

/// Deepest nesting whose keys are looked for.
const DEPTH_MAX: usize = 500;

const QUERIED: &[Form] =
    &[Form { takes: &[DOCUMENT, TEXT], optional: 1, many: false, gives: Gives::Computed(same_as_document) }];
const VALUES: &[Form] =
    &[Form { takes: &[DOCUMENT, TEXT], optional: 1, many: false, gives: Gives::Many(Kind::String) }];

pub(in super::super) const DEFINITIONS: &[Definition] = &[
    Definition { name: "json_query_array", forms: QUERIED, eval: queried },
    Definition { name: "json_extract_array", forms: QUERIED, eval: queried },
    Definition { name: "json_value_array", forms: VALUES, eval: values },
    Definition { name: "json_extract_string_array", forms: VALUES, eval: values },
    Definition {
        name: "json_keys",
        forms: &[Form {
            takes: &[&[Kind::Json], INT, TEXT],
            optional: 2,
            many: false,
            gives: Gives::Many(Kind::String),
        }],
        eval: keys,
    },
];

/// JSON gives an array of JSON, text gives an array of text.
fn same_as_document(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    let json = args.arg_fields.first().is_some_and(|field| is_json(field));
    let list = DataType::List(field_of("item", DataType::Utf8, json));
    Ok(Arc::new(Field::new("json_query_array", list, true)))
}

/// The elements of an array; `None` when the text is something else.
fn elements(text: &str) -> Option<Vec<&str>> {
    let mut scanner = Scanner::new(text);
    scanner.take(b'[')?;
    let mut found = Vec::new();
    if scanner.took(b']') {
        return Some(found);
    }
    loop {
        scanner.white();
        let start = scanner.at;
        scanner.skip()?;
        found.push(&text[start..scanner.at]);
        if scanner.took(b']') {
            return Some(found);
        }
        scanner.take(b',')?;
    }
}

type Element<'a> = Option<Cow<'a, str>>;

/// The array at a path, each element as `finish` has it; NULL when there is none, or `finish` refuses one.
fn arrays(call: &Call<'_>, finish: impl Fn(&str) -> Option<Element<'_>>) -> Result<ArrayRef> {
    let (documents, paths) = (call.texts(0)?, call.texts_or(1, "$")?);
    let DataType::List(item) = call.gives.data_type() else {
        return internal_err!("{} gives an array", call.label);
    };
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
    let mut parsed: Option<(&str, Result<Paths, String>)> = None;
    let mut found = Vec::with_capacity(1);
    for row in 0..call.rows {
        let (Some(document), Some(text)) = (documents.get(row), paths.get(row)) else {
            builder.append(false);
            continue;
        };
        if parsed.as_ref().is_none_or(|(known, _)| *known != text) {
            parsed = Some((text, parse_path(text).map(|steps| Paths::new([steps.as_slice()]))));
        }
        match parsed.as_ref().map(|(_, paths)| paths) {
            Some(Ok(paths)) => paths.extract(document, &mut found),
            Some(Err(reason)) => {
                call.settle::<()>(Err(reason.clone()))?;
                found.clear();
            }
            None => found.clear(),
        }
        let spans = found.first().copied().flatten().and_then(elements);
        let finished: Option<Vec<_>> = spans.and_then(|spans| spans.into_iter().map(&finish).collect());
        finished.iter().flatten().for_each(|element| builder.values().append_option(element.as_deref()));
        builder.append(finished.is_some());
    }
    Ok(Arc::new(builder.finish()))
}

fn queried(call: &Call<'_>) -> Result<ArrayRef> {
    arrays(call, |span| Some(Some(compact(span))))
}

/// Scalars only: an array with an object or an array in it is no array of values. null is NULL.
fn values(call: &Call<'_>) -> Result<ArrayRef> {
    arrays(call, |span| match span.as_bytes().first() {
        Some(b'{' | b'[') => None,
        Some(b'n') => Some(None),
        _ => Some(scalar(span)),
    })
}

/// How JSON_KEYS goes into arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Strict,
    Lax,
    LaxRecursive,
}

fn keys(call: &Call<'_>) -> Result<ArrayRef> {
    let (documents, depths, modes) =
        (call.texts(0)?, call.ints_or(1, i64::MAX)?, call.texts_or(2, "strict")?);
    let DataType::List(item) = call.gives.data_type() else {
        return internal_err!("JSON_KEYS gives an array");
    };
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
    for row in 0..call.rows {
        let (Some(document), Some(mode)) = (documents.get(row), modes.get(row)) else {
            builder.append(false);
            continue;
        };
        // A depth of NULL is as good as none.
        let depth = depths.get(row).unwrap_or(i64::MAX);
        let found = call.settle(keys_of(document, depth, mode).map(Some))?;
        found.iter().flatten().for_each(|key| builder.values().append_value(key));
        builder.append(found.is_some());
    }
    Ok(Arc::new(builder.finish()))
}

fn keys_of(document: &str, depth: i64, mode: &str) -> Result<BTreeSet<String>, String> {
    let depth = match usize::try_from(depth) {
        Ok(depth) if depth > 0 => depth.min(DEPTH_MAX),
        _ => return Err(format!("max_depth is a number from 1 on, not {depth}")),
    };
    let mode = match mode.to_lowercase().as_str() {
        "strict" => Mode::Strict,
        "lax" => Mode::Lax,
        "lax recursive" | "recursive lax" => Mode::LaxRecursive,
        other => return Err(format!("mode is strict, lax or lax recursive, not {other:?}")),
    };
    let mut found = BTreeSet::new();
    collect_keys(document, "", depth, mode, false, &mut found);
    Ok(found)
}

/// `in_array`: the value is an array's element.
fn collect_keys(
    text: &str,
    prefix: &str,
    depth: usize,
    mode: Mode,
    in_array: bool,
    found: &mut BTreeSet<String>,
) {
    let mut scanner = Scanner::new(text);
    if scanner.peek() == Some(b'[') {
        if mode == Mode::LaxRecursive || (mode == Mode::Lax && !in_array) {
            for element in elements(text).unwrap_or_default() {
                collect_keys(element, prefix, depth, mode, true, found);
            }
        }
        return;
    }
    if depth == 0 || !scanner.took(b'{') {
        return;
    }
    while let Some(key) = scanner.key() {
        scanner.white();
        let start = scanner.at;
        if scanner.skip().is_none() {
            return;
        }
        let path = format!("{prefix}{}", path_key(&unescape(key).unwrap_or_default()));
        let value = &text[start..scanner.at];
        collect_keys(value, &format!("{path}."), depth - 1, mode, false, found);
        found.insert(path);
        if !scanner.took(b',') {
            return;
        }
    }
}

/// A key as a path has it: in quotes when it has other characters than letters, digits and `_`.
fn path_key(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
    if bare { key.to_owned() } else { format!("\"{}\"", key.replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths() {
        let keys = |text, depth, mode| keys_of(text, depth, mode).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(keys(r#"{"a":{"b":1},"c.d":{"e":2}}"#, 9, "strict"), ["\"c.d\"", "\"c.d\".e", "a", "a.b"]);
        assert_eq!(keys(r#"{"a":{"b":1}}"#, 1, "strict"), ["a"]);
        let nested = r#"{"a":[{"b":1},[{"c":2}]]}"#;
        assert_eq!(keys(nested, 9, "strict"), ["a"]);
        assert_eq!(keys(nested, 9, "lax"), ["a", "a.b"]);
        assert_eq!(keys(nested, 9, "lax recursive"), ["a", "a.b", "a.c"]);
        assert!(keys_of("{}", 0, "strict").is_err() && keys_of("{}", 1, "x").is_err());
    }

    #[test]
    fn elements_are_those_of_an_array() {
        assert_eq!(elements(r#" [ 1 ,"a,b", {"c":[2]} ]"#), Some(vec!["1", "\"a,b\"", "{\"c\":[2]}"]));
        assert_eq!(elements("[]"), Some(Vec::new()));
        assert_eq!(elements("{}"), None);
        assert_eq!(elements("[1"), None);
    }
}
