//! BigQuery's rules for schemas.

use std::collections::HashSet;

use millrace_model::names::HIDDEN_COLUMNS;

use crate::schema::{
    COLUMNS_MAX, Field, FieldType, Mode, NAME_CHARACTERS_MAX, NESTING_LEVELS_MAX, SchemaError,
};

/// What a column name may not begin with
/// (<https://cloud.google.com/bigquery/docs/schemas#column_names>), in lower case.
const RESERVED_PREFIXES: [&str; 7] =
    ["_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_"];

/// Characters that BigQuery's flexible column names allow besides letters, marks, digits and `_`. Its
/// spaces and `=` are left out: Delta tables and Parquet readers do not take them.
const FLEXIBLE: &str = "-&%+:'<>#|";

pub(crate) fn check(fields: &[Field]) -> Result<(), SchemaError> {
    if fields.is_empty() {
        return Err(SchemaError::Empty);
    }
    let columns = count(fields);
    if columns > COLUMNS_MAX {
        return Err(SchemaError::TooManyColumns(columns));
    }
    check_level(fields, "", 1)
}

fn count(fields: &[Field]) -> usize {
    fields.iter().map(|field| 1 + count(&field.fields)).sum()
}

fn check_level(fields: &[Field], parent: &str, level: usize) -> Result<(), SchemaError> {
    let mut names = HashSet::new();
    for field in fields {
        let path = if parent.is_empty() { field.name.clone() } else { format!("{parent}.{}", field.name) };
        let wrong = |problem: String| Err(SchemaError::Field { path: path.clone(), problem });
        if let Some(problem) = name_problem(&field.name, parent.is_empty()) {
            return wrong(problem);
        }
        if !names.insert(field.name.to_lowercase()) {
            return wrong("the name is taken by a field before it, case does not tell them apart".to_owned());
        }
        if let Some(problem) = parameter_problem(field) {
            return wrong(problem);
        }
        if field.kind == FieldType::Record {
            if level > NESTING_LEVELS_MAX {
                return wrong(format!("RECORDs nest at most {NESTING_LEVELS_MAX} levels deep"));
            }
            if field.fields.is_empty() {
                return wrong("a RECORD needs fields: declare them, or use JSON for any shape".to_owned());
            }
            check_level(&field.fields, &path, level + 1)?;
        }
    }
    Ok(())
}

fn name_problem(name: &str, top_level: bool) -> Option<String> {
    let lower = name.to_lowercase();
    if name.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if name.chars().count() > NAME_CHARACTERS_MAX {
        return Some(format!("the name is longer than {NAME_CHARACTERS_MAX} characters"));
    }
    if let Some(bad) = name.chars().find(|&c| !(c.is_alphanumeric() || c == '_' || FLEXIBLE.contains(c))) {
        return Some(format!("the name holds {bad:?}: use letters, digits and underscores"));
    }
    if let Some(prefix) = RESERVED_PREFIXES.iter().find(|prefix| lower.starts_with(**prefix)) {
        return Some(format!("names that begin with {prefix} are reserved by BigQuery: rename the field"));
    }
    if top_level && HIDDEN_COLUMNS.contains(&lower.as_str()) {
        return Some(format!("{lower} is the name of a hidden column of every table: rename the field"));
    }
    None
}

/// Limits of parameterized types:
/// <https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#parameterized_data_types>.
fn parameter_problem(field: &Field) -> Option<String> {
    let kind = field.kind;
    if field.max_length.is_some() && !matches!(kind, FieldType::String | FieldType::Bytes) {
        return Some(format!("maxLength is for STRING and BYTES, not {kind}: remove it"));
    }
    let (whole_max, scale_max) = match kind {
        FieldType::Numeric => (29, 9),
        FieldType::BigNumeric => (38, 38),
        _ if field.precision.is_some() || field.scale.is_some() => {
            return Some(format!(
                "precision and scale are for NUMERIC and BIGNUMERIC, not {kind}: remove them"
            ));
        }
        _ => return None,
    };
    let scale = field.scale.unwrap_or(0);
    match field.precision {
        None if field.scale.is_some() => Some("scale needs a precision: set it".to_owned()),
        None => None,
        Some(_) if scale > scale_max => Some(format!("the scale of a {kind} is at most {scale_max}")),
        Some(precision) if precision < scale.max(1) || precision > scale + whole_max => Some(format!(
            "the precision of a {kind} of scale {scale} is from {} to {}",
            scale.max(1),
            scale + whole_max
        )),
        Some(_) => None,
    }
}

/// Why a table cannot be partitioned by `field`, or `None`.
pub(crate) fn partition_problem(field: &Field) -> Option<&'static str> {
    match (field.kind, field.mode) {
        (_, Mode::Repeated) => Some("a REPEATED field cannot partition a table"),
        (FieldType::Timestamp | FieldType::Date | FieldType::DateTime, _) => None,
        _ => Some("a table is partitioned by a TIMESTAMP, DATE or DATETIME field"),
    }
}

/// Why a table cannot be clustered by `field`, or `None`
/// (<https://cloud.google.com/bigquery/docs/clustered-tables#limitations>).
pub(crate) fn clustering_problem(field: &Field) -> Option<&'static str> {
    match (field.kind, field.mode) {
        (_, Mode::Repeated) => Some("a REPEATED field cannot cluster a table"),
        (
            FieldType::Record | FieldType::Json | FieldType::Float64 | FieldType::Bytes | FieldType::Time,
            _,
        ) => Some(
            "a table is clustered by STRING, INT64, NUMERIC, BIGNUMERIC, BOOL, DATE, DATETIME or TIMESTAMP",
        ),
        _ => None,
    }
}
