//! What a table is: its schema, and how its rows are filed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};
use millrace_model::names::{COLUMN_EVENT_DAY, COLUMN_OFFSET, COLUMN_TOPIC};

use crate::schema::{Field, FieldType, Mode, Rounding, TableSchema};
use crate::schema_arrow::ROUND_HALF_EVEN;
use crate::schema_check::{clustering_problem, partition_problem};

/// Largest row as JSON text, BigQuery's limit for streamed rows
/// (<https://cloud.google.com/bigquery/quotas#streaming_inserts>).
pub const ROW_BYTES_MAX: usize = 10_000_000;

/// Most clustering columns, BigQuery's limit.
pub const CLUSTERING_COLUMNS_MAX: usize = 4;

/// The key of Arrow field metadata that holds a field's GoogleSQL type name.
pub const METADATA_TYPE: &str = "bigquery_type";
/// The key of Arrow field metadata that holds a declared maxLength.
pub const METADATA_MAX_LENGTH: &str = "bigquery_max_length";
/// The key of Arrow field metadata that holds a declared precision.
pub const METADATA_PRECISION: &str = "bigquery_precision";
/// The key of Arrow field metadata that holds a declared scale.
pub const METADATA_SCALE: &str = "bigquery_scale";
/// The key of Arrow field metadata that holds a declared roundingMode other than the default.
pub const METADATA_ROUNDING: &str = "bigquery_rounding";

/// The name of the field of list elements: what Delta and Parquet call it.
pub(crate) const ELEMENT: &str = "element";

/// A table as declared: name, schema, partitioning and clustering.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// The table's name, without project and dataset.
    pub name: String,
    /// The user's fields.
    pub schema: TableSchema,
    /// The field whose day rows are filed under, as the schema spells it; the day of publishing when
    /// there is none.
    pub partition_field: Option<String>,
    /// The fields that rows are sorted by in a file, as the schema spells them.
    pub clustering: Vec<String>,
    /// Largest row, as JSON text; see [`ROW_BYTES_MAX`].
    pub row_bytes_max: usize,
    arrow: SchemaRef,
}

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The name is not one of BigQuery's.
    #[error("table name {0:?} is not 1 to 1024 bytes of letters, digits, underscores and dashes")]
    Name(String),
    /// The partition or clustering field is not in the schema.
    #[error("table {table}: {role} field {field:?} is not a top-level field of the schema")]
    NoSuchField {
        /// The table.
        table: String,
        /// `partition` or `clustering`.
        role: &'static str,
        /// The name looked for.
        field: String,
    },
    /// The partition or clustering field is of the wrong type.
    #[error("table {table}: field {field} cannot be a {role} field: {reason}")]
    WrongField {
        /// The table.
        table: String,
        /// `partition` or `clustering`.
        role: &'static str,
        /// The field.
        field: String,
        /// Why not.
        reason: &'static str,
    },
    /// More than [`CLUSTERING_COLUMNS_MAX`], or one twice.
    #[error("table {0}: a table is clustered by at most {CLUSTERING_COLUMNS_MAX} different fields")]
    Clustering(String),
}

impl TableSpec {
    /// A table of that schema, filed by the day of `partition_field` and sorted by `clustering`.
    ///
    /// # Errors
    /// When the name is not a table name, or a field is not there or of the wrong type.
    pub fn new(
        name: &str,
        schema: TableSchema,
        partition_field: Option<&str>,
        clustering: &[String],
    ) -> Result<Self, SpecError> {
        if name.is_empty()
            || name.len() > 1024
            || !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        {
            return Err(SpecError::Name(name.to_owned()));
        }
        let find = |role: &'static str, field: &str, problem: fn(&Field) -> Option<&'static str>| {
            let table = name.to_owned();
            match schema.field(field) {
                None => Err(SpecError::NoSuchField { table, role, field: field.to_owned() }),
                Some(found) => match problem(found) {
                    None => Ok(found.name.clone()),
                    Some(reason) => {
                        Err(SpecError::WrongField { table, role, field: found.name.clone(), reason })
                    }
                },
            }
        };
        let partition_field =
            partition_field.map(|field| find("partition", field, partition_problem)).transpose()?;
        let clustering = clustering
            .iter()
            .map(|field| find("clustering", field, clustering_problem))
            .collect::<Result<Vec<_>, _>>()?;
        let twice = clustering.iter().enumerate().any(|(at, field)| clustering[..at].contains(field));
        if clustering.len() > CLUSTERING_COLUMNS_MAX || twice {
            return Err(SpecError::Clustering(name.to_owned()));
        }
        Ok(Self::checked(name.to_owned(), schema, partition_field, clustering))
    }

    /// The table with another row limit.
    #[must_use]
    pub fn with_row_bytes_max(mut self, row_bytes_max: usize) -> Self {
        self.row_bytes_max = row_bytes_max;
        self
    }

    /// A table whose parts are known to fit.
    pub(crate) fn checked(
        name: String,
        schema: TableSchema,
        partition_field: Option<String>,
        clustering: Vec<String>,
    ) -> Self {
        let arrow = arrow_schema(&schema);
        Self { name, schema, partition_field, clustering, row_bytes_max: ROW_BYTES_MAX, arrow }
    }

    /// The Arrow schema of the table's rows: the user's columns in order, then the hidden ones
    /// `_topic` (Utf8, 32 hexadecimal digits), `_offset` (Int64) and `_event_day` (Date32, nullable).
    #[must_use]
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    /// Where the partition field stands among the columns.
    pub(crate) fn partition_index(&self) -> Option<usize> {
        let name = self.partition_field.as_ref()?;
        self.schema.fields().iter().position(|field| field.name == *name)
    }
}

fn arrow_schema(schema: &TableSchema) -> SchemaRef {
    let mut fields: Vec<ArrowField> = schema.fields().iter().map(column).collect();
    let hidden = [
        (COLUMN_TOPIC, DataType::Utf8, FieldType::String, false),
        (COLUMN_OFFSET, DataType::Int64, FieldType::Int64, false),
        (COLUMN_EVENT_DAY, DataType::Date32, FieldType::Date, true),
    ];
    for (name, data_type, kind, nullable) in hidden {
        let metadata = HashMap::from([(METADATA_TYPE.to_owned(), kind.standard_name().to_owned())]);
        fields.push(ArrowField::new(name, data_type, nullable).with_metadata(metadata));
    }
    Arc::new(Schema::new(fields))
}

/// The column of a field. Only here does the rounding mode stand: within a RECORD it would be part of the
/// column's type, and tables that were made before it was written could not be opened.
fn column(field: &Field) -> ArrowField {
    let mut column = arrow_field(field);
    if field.rounding == Rounding::HalfEven {
        let rounding = (METADATA_ROUNDING.to_owned(), ROUND_HALF_EVEN.to_owned());
        let metadata = column.metadata().clone().into_iter().chain([rounding]).collect();
        column = column.with_metadata(metadata);
    }
    column
}

/// The Arrow field of a field. A REPEATED field is a list of non-null elements; it is nullable itself,
/// although rows written here always have a list, since files from before the column was added have
/// none.
pub(crate) fn arrow_field(field: &Field) -> ArrowField {
    let value = arrow_type(field);
    let (data_type, nullable) = match field.mode {
        Mode::Nullable => (value, true),
        Mode::Required => (value, false),
        Mode::Repeated => (DataType::List(Arc::new(ArrowField::new(ELEMENT, value, false))), true),
    };
    let numbers = [
        (METADATA_MAX_LENGTH, field.max_length),
        (METADATA_PRECISION, field.precision.map(u64::from)),
        (METADATA_SCALE, field.scale.map(u64::from)),
    ];
    let metadata = numbers
        .into_iter()
        .filter_map(|(key, number)| Some((key.to_owned(), number?.to_string())))
        .chain([(METADATA_TYPE.to_owned(), field.kind.standard_name().to_owned())])
        .collect();
    ArrowField::new(&field.name, data_type, nullable).with_metadata(metadata)
}

/// The Arrow type of one value of a field.
fn arrow_type(field: &Field) -> DataType {
    match field.kind {
        FieldType::String | FieldType::Json | FieldType::BigNumeric | FieldType::Time => DataType::Utf8,
        FieldType::Bytes => DataType::Binary,
        FieldType::Int64 => DataType::Int64,
        FieldType::Float64 => DataType::Float64,
        FieldType::Numeric => DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
        FieldType::Bool => DataType::Boolean,
        FieldType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        FieldType::Date => DataType::Date32,
        FieldType::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
        FieldType::Record => DataType::Struct(field.fields.iter().map(arrow_field).collect()),
    }
}

pub(crate) const NUMERIC_PRECISION: u8 = 38;
pub(crate) const NUMERIC_SCALE: i8 = 9;
pub(crate) const UTC: &str = "UTC";
