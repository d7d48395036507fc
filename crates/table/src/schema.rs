//! BigQuery table schemas: what a field is, before it is anything in Arrow.

use std::fmt;

/// Deepest nesting of RECORD fields that BigQuery takes
/// (<https://cloud.google.com/bigquery/docs/nested-repeated#limitations>).
pub const NESTING_LEVELS_MAX: usize = 15;

/// Most columns of a table, nested ones counted
/// (<https://cloud.google.com/bigquery/quotas#all_tables>).
pub const COLUMNS_MAX: usize = 10_000;

/// Longest field name in characters (<https://cloud.google.com/bigquery/docs/schemas#column_names>).
pub const NAME_CHARACTERS_MAX: usize = 300;

/// A field's type, under its GoogleSQL name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Unicode text.
    String,
    /// Any bytes, base64 in JSON.
    Bytes,
    /// A 64-bit signed integer.
    Int64,
    /// A double.
    Float64,
    /// A decimal of 29 digits before and 9 after the point.
    Numeric,
    /// A decimal of about 38 digits before and 38 after the point.
    BigNumeric,
    /// True or false.
    Bool,
    /// A moment, in microseconds.
    Timestamp,
    /// A day of the calendar.
    Date,
    /// A time of day, in microseconds.
    Time,
    /// A day and a time of day, of no time zone.
    DateTime,
    /// Any JSON value.
    Json,
    /// Named fields.
    Record,
}

impl FieldType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 13] = [
        Self::String,
        Self::Bytes,
        Self::Int64,
        Self::Float64,
        Self::Numeric,
        Self::BigNumeric,
        Self::Bool,
        Self::Timestamp,
        Self::Date,
        Self::Time,
        Self::DateTime,
        Self::Json,
        Self::Record,
    ];

    /// The type's GoogleSQL name; `STRUCT` is called `RECORD` as `bq show --schema` does.
    #[must_use]
    pub fn standard_name(self) -> &'static str {
        match self {
            Self::String => "STRING",
            Self::Bytes => "BYTES",
            Self::Int64 => "INT64",
            Self::Float64 => "FLOAT64",
            Self::Numeric => "NUMERIC",
            Self::BigNumeric => "BIGNUMERIC",
            Self::Bool => "BOOL",
            Self::Timestamp => "TIMESTAMP",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::DateTime => "DATETIME",
            Self::Json => "JSON",
            Self::Record => "RECORD",
        }
    }

    /// What a field of this type takes, in a few words: the end of every error about a value.
    #[must_use]
    pub fn takes(self) -> &'static str {
        match self {
            Self::String => "text, a number or a boolean",
            Self::Bytes => "base64 text, standard or URL-safe, padded or not",
            Self::Int64 => "a whole number from -2^63 to 2^63-1, or text of one",
            Self::Float64 => "a number, text of one, or \"NaN\", \"Infinity\", \"-Infinity\"",
            Self::Numeric => "a number or text of one, at most 29 digits before the decimal point",
            Self::BigNumeric => "a number or text of one, up to about 5.78e38",
            Self::Bool => "true or false, or text of one",
            Self::Timestamp => {
                "text like 2024-05-06T07:08:09.123456Z, or seconds since 1970, from year 1 to year 9999"
            }
            Self::Date => "text like 2024-05-06, from year 1 to year 9999",
            Self::Time => "text like 07:08:09.123456",
            Self::DateTime => "text like 2024-05-06T07:08:09.123456 without a time zone",
            Self::Json => "any JSON value, or text of one",
            Self::Record => "an object",
        }
    }

    /// The type of that name, legacy or GoogleSQL, in any case.
    fn from_name(name: &str) -> Result<Self, NameOfType> {
        match name.trim().to_ascii_uppercase().as_str() {
            "STRING" => Ok(Self::String),
            "BYTES" => Ok(Self::Bytes),
            "INTEGER" | "INT64" | "INT" | "SMALLINT" | "BIGINT" | "TINYINT" | "BYTEINT" => Ok(Self::Int64),
            "FLOAT" | "FLOAT64" => Ok(Self::Float64),
            "NUMERIC" | "DECIMAL" => Ok(Self::Numeric),
            "BIGNUMERIC" | "BIGDECIMAL" => Ok(Self::BigNumeric),
            "BOOLEAN" | "BOOL" => Ok(Self::Bool),
            "TIMESTAMP" => Ok(Self::Timestamp),
            "DATE" => Ok(Self::Date),
            "TIME" => Ok(Self::Time),
            "DATETIME" => Ok(Self::DateTime),
            "JSON" => Ok(Self::Json),
            "RECORD" | "STRUCT" => Ok(Self::Record),
            "GEOGRAPHY" | "INTERVAL" | "RANGE" => Err(NameOfType::Unsupported),
            _ => Err(NameOfType::Unknown),
        }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.standard_name())
    }
}

enum NameOfType {
    Unknown,
    Unsupported,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// None or one.
    Nullable,
    /// One.
    Required,
    /// Any number, in order.
    Repeated,
}

/// What happens to digits beyond a NUMERIC or BIGNUMERIC field's scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To the nearest, ties away from zero: BigQuery's default.
    #[default]
    HalfAwayFromZero,
    /// To the nearest, ties to the even digit.
    HalfEven,
}

/// One field of a table or of a RECORD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name as declared; compared without case.
    pub name: String,
    /// The type.
    pub kind: FieldType,
    /// How many values.
    pub mode: Mode,
    /// For people.
    pub description: Option<String>,
    /// STRING: most characters; BYTES: most bytes.
    pub max_length: Option<u64>,
    /// NUMERIC and BIGNUMERIC: most digits.
    pub precision: Option<u8>,
    /// NUMERIC and BIGNUMERIC: digits after the decimal point.
    pub scale: Option<u8>,
    /// NUMERIC and BIGNUMERIC.
    pub rounding: Rounding,
    /// RECORD: its fields; else empty.
    pub fields: Vec<Field>,
}

impl Field {
    /// A field without parameters.
    #[must_use]
    pub fn new(name: &str, kind: FieldType, mode: Mode) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            mode,
            description: None,
            max_length: None,
            precision: None,
            scale: None,
            rounding: Rounding::default(),
            fields: Vec::new(),
        }
    }
}

/// A table's fields, in order, checked against BigQuery's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub(crate) fields: Vec<Field>,
}

/// Why a schema was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The text is not JSON of the expected shape.
    #[error(
        "the schema is not the JSON that `bq show --schema` prints, an array of fields or {{\"fields\": [...]}}: {0}"
    )]
    Json(String),
    /// There is no field.
    #[error("the schema has no field: declare at least one")]
    Empty,
    /// More than [`COLUMNS_MAX`] fields.
    #[error("the schema has {0} columns, nested ones counted: BigQuery takes at most {COLUMNS_MAX}")]
    TooManyColumns(usize),
    /// One field is wrong.
    #[error("field {path}: {problem}")]
    Field {
        /// The field's full path, dotted.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl TableSchema {
    /// Reads a schema in the format of `bq show --schema`: a JSON array of fields, or an object whose
    /// `fields` is that array. Keys that say nothing about values (policyTags, collation, ...) are
    /// ignored.
    ///
    /// # Errors
    /// See [`SchemaError`]; the text names the field's path.
    pub fn parse(json: &str) -> Result<Self, SchemaError> {
        crate::schema_json::parse(json)
    }

    /// A schema of these fields.
    ///
    /// # Errors
    /// See [`SchemaError`].
    pub fn new(fields: Vec<Field>) -> Result<Self, SchemaError> {
        crate::schema_check::check(&fields)?;
        Ok(Self { fields })
    }

    /// The fields, in order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The top-level field of that name, compared without case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        let wanted = name.to_lowercase();
        self.fields.iter().find(|field| field.name.to_lowercase() == wanted)
    }
}

/// The type of that name for a schema error's sake.
pub(crate) fn type_named(path: &str, name: &str) -> Result<FieldType, SchemaError> {
    FieldType::from_name(name).map_err(|problem| {
        let problem = match problem {
            NameOfType::Unsupported => {
                format!("type {name} is not supported: keep such values in a STRING or JSON field")
            }
            NameOfType::Unknown => {
                let known = FieldType::ALL.map(FieldType::standard_name).join(", ");
                format!("unknown type {name:?}: use one of {known}, or its legacy name")
            }
        };
        SchemaError::Field { path: path.to_owned(), problem }
    })
}
