//! The way back: the declared schema out of the Arrow schema of a table that was made by it, and as JSON.

use arrow::datatypes::{DataType, Field as ArrowField, Schema};
use millrace_model::names::HIDDEN_COLUMNS;
use serde_json::{Map, Value, json};

use crate::schema::{Field, FieldType, Mode, Rounding, SchemaError, TableSchema};
use crate::spec::{
    METADATA_MAX_LENGTH, METADATA_PRECISION, METADATA_ROUNDING, METADATA_SCALE, METADATA_TYPE,
};

/// What a rounding mode is called in JSON.
pub(crate) const ROUND_HALF_EVEN: &str = "ROUND_HALF_EVEN";

impl TableSchema {
    /// The schema by which a table's columns were made, hidden ones left out. Descriptions, and
    /// roundingMode within a RECORD, are not kept in columns.
    ///
    /// # Errors
    /// When a column does not say its BigQuery type, or says one that does not fit: the table is not ours.
    pub fn from_arrow(columns: &Schema) -> Result<Self, SchemaError> {
        let own = columns.fields().iter().filter(|field| !HIDDEN_COLUMNS.contains(&field.name().as_str()));
        Self::new(own.map(|field| from_arrow(field, "")).collect::<Result<_, _>>()?)
    }

    /// The schema in the format of `bq show --schema`, on several lines; [`parse`](Self::parse) reads it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let lines: Vec<String> =
            self.fields().iter().map(|field| format!("  {}", Value::Object(to_json(field)))).collect();
        format!("[\n{}\n]\n", lines.join(",\n"))
    }
}

fn from_arrow(column: &ArrowField, parent: &str) -> Result<Field, SchemaError> {
    let path = if parent.is_empty() { column.name().clone() } else { format!("{parent}.{}", column.name()) };
    let wrong = |problem: &str| SchemaError::Field { path: path.clone(), problem: problem.to_owned() };
    let metadata = |key: &str| column.metadata().get(key);
    let name = metadata(METADATA_TYPE).ok_or_else(|| wrong("its column does not say its BigQuery type"))?;
    let kind = FieldType::ALL
        .into_iter()
        .find(|kind| kind.standard_name() == name)
        .ok_or_else(|| wrong("its column says a type that is none of BigQuery's"))?;
    let (mode, value) = match column.data_type() {
        DataType::List(element) => (Mode::Repeated, element.data_type()),
        other if column.is_nullable() => (Mode::Nullable, other),
        other => (Mode::Required, other),
    };
    let number = |key: &str| metadata(key).map(|text| text.parse::<u64>()).transpose();
    let number = |key: &str| number(key).map_err(|_| wrong("its column says a length that is no number"));
    let narrow =
        |key: &str| number(key).map(|value| value.map(|value| u8::try_from(value).unwrap_or(u8::MAX)));
    let fields = match (kind, value) {
        (FieldType::Record, DataType::Struct(inner)) => {
            inner.iter().map(|field| from_arrow(field, &path)).collect::<Result<_, _>>()?
        }
        (FieldType::Record, _) => return Err(wrong("its column says RECORD and has no fields")),
        _ => Vec::new(),
    };
    let half_even = metadata(METADATA_ROUNDING).is_some_and(|text| text == ROUND_HALF_EVEN);
    Ok(Field {
        max_length: number(METADATA_MAX_LENGTH)?,
        precision: narrow(METADATA_PRECISION)?,
        scale: narrow(METADATA_SCALE)?,
        rounding: if half_even { Rounding::HalfEven } else { Rounding::HalfAwayFromZero },
        fields,
        ..Field::new(column.name(), kind, mode)
    })
}

fn to_json(field: &Field) -> Map<String, Value> {
    let mode = match field.mode {
        Mode::Nullable => "NULLABLE",
        Mode::Required => "REQUIRED",
        Mode::Repeated => "REPEATED",
    };
    let fields: Vec<Value> = field.fields.iter().map(|field| Value::Object(to_json(field))).collect();
    let entries = [
        ("name", Some(json!(field.name))),
        ("type", Some(json!(field.kind.standard_name()))),
        ("mode", Some(json!(mode))),
        ("description", field.description.as_ref().map(|text| json!(text))),
        ("maxLength", field.max_length.map(|length| json!(length))),
        ("precision", field.precision.map(|digits| json!(digits))),
        ("scale", field.scale.map(|digits| json!(digits))),
        ("roundingMode", (field.rounding == Rounding::HalfEven).then(|| json!(ROUND_HALF_EVEN))),
        ("fields", (!fields.is_empty()).then_some(Value::Array(fields))),
    ];
    entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::TableSpec;

    const SCHEMA: &str = r#"[
        {"name": "a", "type": "STRING", "mode": "REQUIRED", "maxLength": "12"},
        {"name": "b", "type": "BIGNUMERIC", "precision": 40, "scale": 3, "roundingMode": "ROUND_HALF_EVEN"},
        {"name": "c", "type": "NUMERIC", "mode": "REPEATED", "precision": 10},
        {"name": "d", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": "e", "type": "TIME", "mode": "REQUIRED"},
            {"name": "f", "type": "STRUCT", "fields": [{"name": "g", "type": "BYTES", "maxLength": 5}]}
        ]},
        {"name": "h", "type": "JSON"}, {"name": "i", "type": "DATETIME"}, {"name": "j", "type": "DATE"},
        {"name": "k", "type": "TIMESTAMP"}, {"name": "l", "type": "INTEGER"}, {"name": "m", "type": "BOOL"},
        {"name": "n", "type": "FLOAT"}
    ]"#;

    #[test]
    fn what_was_declared_comes_back_out_of_the_columns_and_out_of_json() {
        let declared = TableSchema::parse(SCHEMA).unwrap();
        let columns = TableSpec::new("t", declared.clone(), None, &[]).unwrap().arrow_schema();
        assert_eq!(TableSchema::from_arrow(&columns).unwrap(), declared);
        assert_eq!(TableSchema::parse(&declared.to_json()).unwrap(), declared);
    }

    #[test]
    fn columns_of_others_are_refused() {
        let columns = Schema::new(vec![ArrowField::new("a", DataType::Utf8, true)]);
        let error = TableSchema::from_arrow(&columns).unwrap_err().to_string();
        assert!(error.contains("does not say its BigQuery type"), "{error}");
    }
}
