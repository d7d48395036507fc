//! A payload's JSON object on its way to a row: fields left out or refused, and others put beside them.
//! Values stay the text that they are; what a column takes is the table's business.

use std::borrow::Cow;
use std::fmt;

use millrace_model::{CellError, ErrorClass};
use millrace_table::{Field, FieldType, Mode};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::is_metadata;

/// What becomes of the fields of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// The columns.
    pub(crate) fields: &'a [Field],
    /// Fields that are no columns are left out; else they are left in, for the table to refuse.
    pub(crate) drops_unknown: bool,
    /// The metadata columns are not the payload's to fill.
    pub(crate) keeps_metadata: bool,
}

/// The text of a row: `before`, which is the inside of an object and may be empty, and then the payload's
/// fields by the rules.
///
/// # Errors
/// When the payload is no JSON object, or has a field that it must not have.
pub(crate) fn row(payload: &str, before: &str, rules: Rules<'_>) -> Result<String, CellError> {
    let object: Object<'_> = serde_json::from_str(payload).map_err(|error| not_an_object(&error))?;
    let mut row = String::with_capacity(before.len() + payload.len() + 3);
    row.push('{');
    row.push_str(before);
    for (name, value) in &object.0 {
        if rules.keeps_metadata && is_metadata(name) {
            if rules.drops_unknown {
                continue;
            }
            let message = format!("unknown field {name:?}: the subscription's metadata fill that column");
            return Err(CellError { class: ErrorClass::UnknownField, message });
        }
        put(&mut row, name, value, rules)?;
    }
    row.push('}');
    Ok(row)
}

/// Appends a field, unless it is left out.
fn put(row: &mut String, name: &str, value: &RawValue, rules: Rules<'_>) -> Result<(), CellError> {
    let field = rules.fields.iter().find(|field| is_same(&field.name, name));
    if field.is_none() && rules.drops_unknown {
        return Ok(());
    }
    if !row.ends_with('{') {
        row.push(',');
    }
    row.push_str(&text(name)?);
    row.push(':');
    match field {
        Some(field) if rules.drops_unknown && field.kind == FieldType::Record => {
            put_record(row, field, value.get(), rules)
        }
        _ => {
            row.push_str(value.get());
            Ok(())
        }
    }
}

/// Appends a RECORD's value without the fields that it has not. What is no record is left as it is: the
/// table says what is wrong with it.
fn put_record(row: &mut String, field: &Field, value: &str, rules: Rules<'_>) -> Result<(), CellError> {
    let inner = Rules { fields: &field.fields, keeps_metadata: false, ..rules };
    if field.mode != Mode::Repeated {
        return put_object(row, value, inner);
    }
    let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(value) else {
        row.push_str(value);
        return Ok(());
    };
    row.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            row.push(',');
        }
        put_object(row, element.get(), inner)?;
    }
    row.push(']');
    Ok(())
}

fn put_object(row: &mut String, value: &str, rules: Rules<'_>) -> Result<(), CellError> {
    let Ok(object) = serde_json::from_str::<Object<'_>>(value) else {
        row.push_str(value);
        return Ok(());
    };
    row.push('{');
    for (name, value) in &object.0 {
        put(row, name, value, rules)?;
    }
    row.push('}');
    Ok(())
}

/// Names of columns are compared without case.
fn is_same(column: &str, name: &str) -> bool {
    column.eq_ignore_ascii_case(name) || column.to_lowercase() == name.to_lowercase()
}

/// A text as JSON.
pub(crate) fn text(text: &str) -> Result<String, CellError> {
    serde_json::to_string(text)
        .map_err(|error| CellError { class: ErrorClass::InvalidJson, message: error.to_string() })
}

fn not_an_object(error: &serde_json::Error) -> CellError {
    let message = format!("the payload is not a JSON object: {error}");
    CellError { class: ErrorClass::InvalidJson, message }
}

/// An object's fields in order, those of one name included, values as text.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<Field> {
        let inner = vec![Field::new("a", FieldType::Int64, Mode::Nullable)];
        let record =
            |name: &str, mode| Field { fields: inner.clone(), ..Field::new(name, FieldType::Record, mode) };
        vec![
            Field::new("id", FieldType::Int64, Mode::Nullable),
            Field::new("free", FieldType::Json, Mode::Nullable),
            record("one", Mode::Nullable),
            record("many", Mode::Repeated),
            Field::new("attributes", FieldType::Json, Mode::Nullable),
        ]
    }

    fn of(payload: &str, before: &str, drops_unknown: bool) -> Result<String, CellError> {
        let fields = fields();
        row(payload, before, Rules { fields: &fields, drops_unknown, keeps_metadata: !before.is_empty() })
    }

    #[test]
    fn unknown_fields_are_left_out_at_every_level() {
        let payload = r#" {"ID":1, "x":[{"y":2}], "free":{"x":1}, "one":{"a":1,"b":2}, "many":[{"b":1},{"A":2,"c":{}}],
            "id":3, "q\"uote": 1} "#;
        let left = r#"{"ID":1,"free":{"x":1},"one":{"a":1},"many":[{},{"A":2}],"id":3}"#;
        assert_eq!(of(payload, "", true).unwrap(), left);
        assert_eq!(of("{\"x\":1}", "", true).unwrap(), "{}");
        // Wrong values are the table's to refuse.
        let wrong = r#"{"one":7,"many":{"b":1}}"#;
        assert_eq!(of(wrong, "", true).unwrap(), wrong);
        assert_eq!(of(r#"{"many":[7,null]}"#, "", true).unwrap(), r#"{"many":[7,null]}"#);
    }

    #[test]
    fn metadata_come_first_and_are_not_the_payloads_to_fill() {
        let before = r#""message_id":"m""#;
        assert_eq!(of(r#"{"x":1}"#, before, false).unwrap(), r#"{"message_id":"m","x":1}"#);
        assert_eq!(of("{}", before, true).unwrap(), r#"{"message_id":"m"}"#);
        assert_eq!(of(r#"{"Message_ID":"z"}"#, before, true).unwrap(), r#"{"message_id":"m"}"#);
        let refused = of(r#"{"attributes":{}}"#, before, false).unwrap_err();
        assert_eq!(refused.class, ErrorClass::UnknownField);
        assert_eq!(of(r#"{"attributes":{}}"#, "", true).unwrap(), r#"{"attributes":{}}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[]", "7", "{", "{\"a\":}", "{} {}", "null", "{\"\\ud800\":1}"] {
            assert_eq!(of(bad, "", true).unwrap_err().class, ErrorClass::InvalidJson, "{bad}");
        }
    }
}
