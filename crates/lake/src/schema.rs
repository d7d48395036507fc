//! The table's schema as Delta writes it, and whether a declared table and a stored one agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::typed::{METADATA_JSON_PATH, is_typed_field};
use arrow::datatypes::{DataType as ArrowType, FieldRef, Schema, SchemaRef, TimeUnit};
use delta_kernel::engine::arrow_conversion::{TryIntoArrow as _, TryIntoKernel as _};
use delta_kernel::schema::{MetadataValue, StructField, StructType};
use millrace_model::names::{
    COLUMN_ALTERNATES, COLUMN_EVENT_DAY, COLUMN_OFFSET, COLUMN_TOPIC, COLUMN_TYPED, HIDDEN_COLUMNS,
};

/// The key of field metadata that holds a column's GoogleSQL type; two types may share one Delta type.
const METADATA_TYPE: &str = "bigquery_type";

/// The stored schema of a table of Arrow schema `arrow`, field metadata included; `Err` says what is
/// wrong with the declaration.
pub(crate) fn stored_schema(arrow: &SchemaRef) -> Result<StructType, String> {
    let mut seen = BTreeMap::new();
    for field in arrow.fields() {
        // Delta compares column names without case.
        if let Some(first) = seen.insert(field.name().to_lowercase(), field.name()) {
            return Err(format!("columns {first} and {} differ in case only", field.name()));
        }
    }
    check_hidden(arrow)?;
    arrow.as_ref().try_into_kernel().map_err(|error: arrow::error::ArrowError| error.to_string())
}

/// The columns that a stored table was declared with, the lake's own left out; `Err` says why they cannot be
/// told.
pub(crate) fn declared_columns(stored: &StructType) -> Result<SchemaRef, String> {
    let all: Schema = stored.try_into_arrow().map_err(|error: arrow::error::ArrowError| error.to_string())?;
    let own = |field: &FieldRef| !is_typed_field(field) && !HIDDEN_COLUMNS.contains(&field.name().as_str());
    let fields: Vec<FieldRef> = all.fields().iter().filter(|field| own(field)).cloned().collect();
    Ok(Arc::new(Schema::new(fields)))
}

fn check_hidden(arrow: &SchemaRef) -> Result<(), String> {
    let expect = |name: &str, kind: &ArrowType| match arrow.field_with_name(name) {
        Ok(field) if field.data_type() == kind => Ok(()),
        Ok(field) => Err(format!("hidden column {name} is {} and must be {kind}", field.data_type())),
        Err(_) => Err(format!("hidden column {name} is missing")),
    };
    expect(COLUMN_TOPIC, &ArrowType::Utf8)?;
    expect(COLUMN_OFFSET, &ArrowType::Int64)?;
    expect(COLUMN_EVENT_DAY, &ArrowType::Date32)?;
    match arrow.fields().last() {
        Some(last) if last.name() == COLUMN_EVENT_DAY && last.is_nullable() => Ok(()),
        _ => Err(format!("the partition column {COLUMN_EVENT_DAY} must be nullable and the last")),
    }
}

/// Whether a column of this type needs Delta's `timestampNtz` feature.
pub(crate) fn needs_timestamp_ntz(kind: &ArrowType) -> bool {
    match kind {
        ArrowType::Timestamp(TimeUnit::Microsecond, None) => true,
        ArrowType::List(item) => needs_timestamp_ntz(item.data_type()),
        ArrowType::Struct(fields) => fields.iter().any(|field| needs_timestamp_ntz(field.data_type())),
        _ => false,
    }
}

/// What opening a stored table under a declaration comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// Nothing to do.
    Same,
    /// The declaration adds nullable columns, or changes what is only described.
    Extends,
}

/// Compares a stored schema with a declared one: the declared may add nullable columns, let a REQUIRED
/// column be null and change descriptions. `Err` says what contradicts.
pub(crate) fn agree(stored: &StructType, declared: &StructType) -> Result<Agreement, String> {
    for old in stored.fields() {
        let name = old.name();
        let Some(new) = declared.field(name) else {
            // A later or earlier program filled it; the JSON text has what it held.
            if old.metadata().contains_key(METADATA_JSON_PATH)
                || [COLUMN_TYPED, COLUMN_ALTERNATES].contains(&name.as_str())
            {
                continue;
            }
            return Err(format!("column {name} is stored but not declared"));
        };
        if old.data_type() != new.data_type() {
            return Err(format!(
                "column {name} is stored as {} and declared as {}",
                old.data_type(),
                new.data_type()
            ));
        }
        if type_name(old) != type_name(new) {
            return Err(format!(
                "column {name} is stored as {} and declared as {}",
                type_name(old),
                type_name(new)
            ));
        }
        if old.is_nullable() && !new.is_nullable() {
            return Err(format!("column {name} may be null as stored and is declared REQUIRED"));
        }
    }
    for new in declared.fields() {
        if stored.field(new.name()).is_none() && !new.is_nullable() {
            return Err(format!(
                "column {} is declared REQUIRED, but rows are stored without it",
                new.name()
            ));
        }
    }
    Ok(if stored == declared { Agreement::Same } else { Agreement::Extends })
}

fn type_name(field: &StructField) -> &str {
    match field.metadata().get(METADATA_TYPE) {
        Some(MetadataValue::String(name)) => name,
        _ => "-",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn schema(columns: &[(&str, ArrowType, bool, &str)]) -> SchemaRef {
        let mut fields: Vec<Field> = columns
            .iter()
            .map(|(name, kind, nullable, type_name)| {
                let metadata = HashMap::from([(METADATA_TYPE.to_owned(), (*type_name).to_owned())]);
                Field::new(*name, kind.clone(), *nullable).with_metadata(metadata)
            })
            .collect();
        fields.push(Field::new(COLUMN_TOPIC, ArrowType::Utf8, false));
        fields.push(Field::new(COLUMN_OFFSET, ArrowType::Int64, false));
        fields.push(Field::new(COLUMN_EVENT_DAY, ArrowType::Date32, true));
        Arc::new(Schema::new(fields))
    }

    #[test]
    fn declarations_that_add_agree_and_those_that_contradict_say_what() {
        use ArrowType::{Int64, Utf8};
        let stored =
            stored_schema(&schema(&[("a", Utf8, true, "TIME"), ("b", Int64, false, "INT64")])).unwrap();
        let check = |columns: &[(&str, ArrowType, bool, &str)]| {
            agree(&stored, &stored_schema(&schema(columns)).unwrap())
        };
        let a = ("a", Utf8, true, "TIME");
        let b = ("b", Int64, false, "INT64");
        assert_eq!(check(&[a.clone(), b.clone()]), Ok(Agreement::Same));
        assert_eq!(check(&[a.clone(), b.clone(), ("c", Utf8, true, "STRING")]), Ok(Agreement::Extends));
        assert_eq!(check(&[a.clone(), ("b", Int64, true, "INT64")]), Ok(Agreement::Extends));
        for (columns, word) in [
            (vec![a.clone()], "column b is stored but not declared"),
            (vec![("a", Int64, true, "INT64"), b.clone()], "column a is stored as"),
            (vec![("a", Utf8, true, "STRING"), b.clone()], "stored as TIME and declared as STRING"),
            (vec![("a", Utf8, false, "TIME"), b.clone()], "declared REQUIRED"),
            (vec![a, b, ("c", Utf8, false, "STRING")], "column c is declared REQUIRED"),
        ] {
            let reason = check(&columns).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn columns_that_differ_in_case_only_are_refused() {
        let twice = schema(&[("a", ArrowType::Utf8, true, "STRING"), ("A", ArrowType::Utf8, true, "STRING")]);
        assert!(stored_schema(&twice).unwrap_err().contains("differ in case"));
    }
}
