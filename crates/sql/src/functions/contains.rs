//! CONTAINS_SUBSTR: a text looked for in everything that a value holds
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions#contains_substr>).

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use millrace_jsonpath::{Scanner, unescape};

use super::characters::comparable;
use super::scalar::{Call, Definition, optional};
use super::text::cell_text;
use crate::error::SqlError;
use crate::types::{Kind, is_json};

const TEXT: &[Kind] = &[Kind::String];

pub(super) const DEFINITIONS: &[Definition] = &[Definition {
    name: "contains_substr",
    forms: &[optional(1, &[&[], TEXT, TEXT], Kind::Bool)],
    eval: contains_substr,
}];

/// What is looked for, and in which parts of JSON.
struct Search {
    wanted: String,
    keys: bool,
    values: bool,
}

/// Whether a text is somewhere in a value, its fields and elements included; case does not count.
fn contains_substr(call: &Call<'_>) -> Result<ArrayRef> {
    let Some(wanted) = constant(call, 1)? else {
        return Err(SqlError::invalid("CONTAINS_SUBSTR takes a literal to search for").into());
    };
    let scope = if call.args.len() > 2 { constant(call, 2)? } else { Some("JSON_VALUES") };
    let (keys, values) = match scope {
        Some("JSON_VALUES") => (false, true),
        Some("JSON_KEYS") => (true, false),
        Some("JSON_KEYS_AND_VALUES") => (true, true),
        _ => {
            let message = "json_scope is 'JSON_VALUES', 'JSON_KEYS' or 'JSON_KEYS_AND_VALUES'";
            return Err(SqlError::invalid(message).into());
        }
    };
    let search = Search { wanted: comparable(wanted), keys, values };
    let (array, field) = (call.array(0)?, &call.fields[0]);
    call.collect_bools(|row| Ok(search.found(field, &array, row)))
}

/// An argument that is the same text for all rows.
fn constant<'a>(call: &Call<'a>, index: usize) -> Result<Option<&'a str>> {
    match call.args.get(index) {
        Some(ColumnarValue::Scalar(_)) => Ok(call.texts(index)?.get(0)),
        _ => Ok(None),
    }
}

impl Search {
    /// NULL when nothing is found, but a NULL was met.
    fn found(&self, field: &Field, array: &dyn Array, row: usize) -> Option<bool> {
        if array.is_null(row) || array.data_type() == &DataType::Null {
            return None;
        }
        let mut parts: Vec<Option<bool>> = Vec::new();
        match array.data_type() {
            DataType::Struct(fields) => {
                for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                    parts.push(self.found(field, column, row));
                }
            }
            DataType::List(item) => {
                let values = array.as_list::<i32>().value(row);
                parts.extend((0..values.len()).map(|index| self.found(item, &values, index)));
            }
            _ if is_json(field) => parts.push(Some(self.in_json(&cell_text(field, array, row)?))),
            _ => parts.push(Some(self.fits(&cell_text(field, array, row)?))),
        }
        match parts.contains(&Some(true)) {
            true => Some(true),
            false if parts.contains(&None) => None,
            false => Some(false),
        }
    }

    fn fits(&self, text: &str) -> bool {
        comparable(text).contains(&self.wanted)
    }

    /// Goes from one string, number or boolean to the next, without regard to what holds them.
    fn in_json(&self, json: &str) -> bool {
        let mut scanner = Scanner::new(json);
        while let Some(next) = scanner.peek() {
            let start = scanner.at;
            match next {
                b'"' => {
                    let Some(content) = scanner.string() else { return false };
                    scanner.white();
                    let searched = if scanner.peek() == Some(b':') { self.keys } else { self.values };
                    if searched && unescape(content).is_some_and(|text| self.fits(&text)) {
                        return true;
                    }
                }
                b'-' | b'0'..=b'9' | b't' | b'f' => {
                    if scanner.leaf().is_none() {
                        return false;
                    }
                    if self.values && json.get(start..scanner.at).is_some_and(|text| self.fits(text)) {
                        return true;
                    }
                }
                // Brackets, commas, white space, and null, which is no text.
                _ => scanner.at += 1,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_of_json_are_told_apart() {
        let found = |wanted: &str, keys, values| {
            Search { wanted: comparable(wanted), keys, values }
                .in_json(r#"{"lunch": {"Soup": [null, "Tom\u0061to", 12, true]}}"#)
        };
        assert!(found("soup", true, false) && !found("soup", false, true));
        assert!(found("TOMATO", false, true) && !found("tomato", true, false));
        assert!(found("12", false, true) && found("tru", false, true));
        assert!(!found("null", true, true) && !found("{", true, true));
        assert!(!Search { wanted: "a".to_owned(), keys: true, values: true }.in_json("{\"x"));
    }
}
