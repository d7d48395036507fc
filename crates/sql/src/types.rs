//! BigQuery's type names for Arrow types, and the other way round.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::Column;

/// The field metadata key that holds a column's BigQuery type.
pub(crate) const TYPE_KEY: &str = "bigquery_type";

/// What [`TYPE_KEY`] holds for a column of JSON.
pub const JSON_TYPE_NAME: &str = "JSON";

/// Precision and scale of NUMERIC
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types>).
pub(crate) const NUMERIC: DataType = DataType::Decimal128(38, 9);

/// What GoogleSQL sees in an Arrow type; what operators and functions choose by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Null,
    Int,
    Float,
    Numeric,
    Bool,
    String,
    Bytes,
    Date,
    Timestamp,
    Datetime,
    Interval,
    Json,
    Array,
    Struct,
    Other,
}

impl Kind {
    /// The kind of a field; JSON is told from STRING by the field's metadata.
    pub(crate) fn of(field: &Field) -> Self {
        if is_json(field) {
            return Self::Json;
        }
        Self::of_type(field.data_type())
    }

    pub(crate) fn of_type(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Null,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Decimal128(..) | DataType::Decimal256(..) => Self::Numeric,
            DataType::Boolean => Self::Bool,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(_, Some(_)) => Self::Timestamp,
            DataType::Timestamp(_, None) => Self::Datetime,
            DataType::Interval(_) => Self::Interval,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::FixedSizeList(..) => Self::Array,
            DataType::Struct(_) => Self::Struct,
            DataType::Dictionary(_, value) => Self::of_type(value),
            other if other.is_integer() => Self::Int,
            _ => Self::Other,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Int => "INT64",
            Self::Float => "FLOAT64",
            Self::Numeric => "NUMERIC",
            Self::Bool => "BOOL",
            Self::String => "STRING",
            Self::Bytes => "BYTES",
            Self::Date => "DATE",
            Self::Timestamp => "TIMESTAMP",
            Self::Datetime => "DATETIME",
            Self::Interval => "INTERVAL",
            Self::Json => JSON_TYPE_NAME,
            Self::Array => "ARRAY",
            Self::Struct => "STRUCT",
            Self::Other => "an unsupported type",
        }
    }

    /// The Arrow type that values of this kind have when we make them; `None` for nested ones.
    pub(crate) fn arrow(self) -> Option<DataType> {
        Some(match self {
            Self::Null => DataType::Null,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Numeric => NUMERIC,
            Self::Bool => DataType::Boolean,
            Self::String | Self::Json => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => timestamp_type(),
            Self::Datetime => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Interval | Self::Array | Self::Struct | Self::Other => return None,
        })
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Numeric)
    }
}

/// The Arrow type of TIMESTAMP.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
}

/// A nullable field of a kind, with the metadata that marks JSON.
pub(crate) fn field_of(name: &str, data_type: DataType, json: bool) -> FieldRef {
    let field = Field::new(name, data_type, true);
    let metadata = HashMap::from([(TYPE_KEY.to_owned(), JSON_TYPE_NAME.to_owned())]);
    Arc::new(if json { field.with_metadata(metadata) } else { field })
}

/// Whether a column is JSON rather than a string.
pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().get(TYPE_KEY).is_some_and(|name| name == JSON_TYPE_NAME)
}

/// The name BigQuery would give a result column's type, `ARRAY<STRUCT<a INT64>>` and so on.
pub(crate) fn type_name(field: &Field) -> String {
    match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("ARRAY<{}>", type_name(item))
        }
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{} {}", field.name(), type_name(field))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        // TIME and BIGNUMERIC are strings that carry their type's name with them.
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            field.metadata().get(TYPE_KEY).map_or("STRING", String::as_str).to_owned()
        }
        // A column of nothing but NULL; BigQuery calls it INT64.
        DataType::Null => "INT64".to_owned(),
        other => match Kind::of_type(other) {
            Kind::Other => other.to_string(),
            kind => kind.name().to_owned(),
        },
    }
}

/// A column as a query would write it.
pub(crate) fn display_column(column: &Column) -> String {
    match &column.relation {
        Some(relation) => format!("{}.{}", relation.table(), column.name),
        None => column.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_bigquery_names() {
        let of = |data_type| type_name(&Field::new("x", data_type, true));
        assert_eq!(of(DataType::UInt64), "INT64");
        assert_eq!(of(timestamp_type()), "TIMESTAMP");
        assert_eq!(of(DataType::Timestamp(TimeUnit::Microsecond, None)), "DATETIME");
        let list = DataType::List(Arc::new(Field::new("item", DataType::Float64, true)));
        assert_eq!(of(list), "ARRAY<FLOAT64>");
        assert_eq!(type_name(&field_of("x", DataType::Utf8, true)), "JSON");
    }
}
