//! The JSON of `bq show --schema`.

use serde::Deserialize;

use crate::schema::{Field, FieldType, Mode, Rounding, SchemaError, TableSchema, type_named};

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Bare(Vec<RawField>),
    Wrapped { fields: Vec<RawField> },
}

/// A field as written. Numbers come as JSON strings from the REST API and as numbers by hand.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    mode: Option<String>,
    description: Option<String>,
    fields: Option<Vec<RawField>>,
    max_length: Option<RawNumber>,
    precision: Option<RawNumber>,
    scale: Option<RawNumber>,
    rounding_mode: Option<String>,
    default_value_expression: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawNumber {
    Number(u64),
    Text(String),
}

pub(crate) fn parse(json: &str) -> Result<TableSchema, SchemaError> {
    // Untagged enums lose the position of an error, so the document is told apart by hand first.
    let fields = if json.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<RawField>>(json)
    } else {
        serde_json::from_str::<Document>(json).map(|document| match document {
            Document::Bare(fields) | Document::Wrapped { fields } => fields,
        })
    };
    let fields = fields.map_err(|error| SchemaError::Json(error.to_string()))?;
    let fields = fields.into_iter().map(|field| convert(field, "")).collect::<Result<_, _>>()?;
    TableSchema::new(fields)
}

fn convert(raw: RawField, parent: &str) -> Result<Field, SchemaError> {
    let path = if parent.is_empty() { raw.name.clone() } else { format!("{parent}.{}", raw.name) };
    let kind = type_named(&path, &raw.kind)?;
    let wrong = |problem: String| SchemaError::Field { path: path.clone(), problem };
    if raw.default_value_expression.is_some_and(|text| !text.is_empty()) {
        return Err(wrong(
            "defaultValueExpression is not supported: set the value in the UDF and remove it here".to_owned(),
        ));
    }
    let mode = match raw.mode.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("" | "NULLABLE") => Mode::Nullable,
        Some("REQUIRED") => Mode::Required,
        Some("REPEATED") => Mode::Repeated,
        Some(other) => {
            return Err(wrong(format!("unknown mode {other:?}: use NULLABLE, REQUIRED or REPEATED")));
        }
    };
    let rounding = match raw.rounding_mode.as_deref() {
        None | Some("" | "ROUNDING_MODE_UNSPECIFIED" | "ROUND_HALF_AWAY_FROM_ZERO") => {
            Rounding::HalfAwayFromZero
        }
        Some("ROUND_HALF_EVEN") => Rounding::HalfEven,
        Some(other) => {
            return Err(wrong(format!(
                "unknown roundingMode {other:?}: use ROUND_HALF_AWAY_FROM_ZERO or ROUND_HALF_EVEN"
            )));
        }
    };
    if raw.fields.as_ref().is_some_and(|fields| !fields.is_empty()) && kind != FieldType::Record {
        return Err(wrong(format!("a {kind} has no fields: make it a RECORD or remove them")));
    }
    let number = |key: &str, value: Option<RawNumber>| {
        number(value).ok_or_else(|| wrong(format!("{key} is not a whole number")))
    };
    let narrow = |key: &str, value: Option<RawNumber>| {
        // Anything over 255 is far over every limit; the check says so in better words.
        number(key, value).map(|value| value.map(|value| u8::try_from(value).unwrap_or(u8::MAX)))
    };
    Ok(Field {
        kind,
        mode,
        max_length: number("maxLength", raw.max_length)?,
        precision: narrow("precision", raw.precision)?,
        scale: narrow("scale", raw.scale)?,
        rounding,
        description: raw.description.filter(|text| !text.is_empty()),
        fields: raw
            .fields
            .unwrap_or_default()
            .into_iter()
            .map(|field| convert(field, &path))
            .collect::<Result<_, _>>()?,
        name: raw.name,
    })
}

/// The number, `Some(None)` when there is none, `None` when it is not one. The API leaves parameters
/// that are not set out, or writes 0.
fn number(value: Option<RawNumber>) -> Option<Option<u64>> {
    let value = match value {
        None => return Some(None),
        Some(RawNumber::Number(value)) => value,
        Some(RawNumber::Text(text)) => text.trim().parse().ok()?,
    };
    Some((value > 0).then_some(value))
}
