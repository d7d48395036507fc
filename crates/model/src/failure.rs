//! Why a message became a dead letter.

use std::fmt;

/// Where on its path a message failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The user's JavaScript: threw, ran out of a limit, or returned something else than a string.
    Udf,
    /// The UDF's result is not a row of the table.
    Row,
    /// The sink refused the row.
    Sink,
}

impl Stage {
    /// The word used in the dead-letter table, in metrics and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udf => "udf",
            Self::Row => "row",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The kind of a failure, a closed list so that it can label metrics and group dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The payload is not UTF-8, so no UDF can take it as a string.
    InvalidUtf8,
    /// The UDF threw.
    UdfThrew,
    /// The UDF passed its time limit.
    UdfTimeout,
    /// The UDF passed its heap limit.
    UdfMemory,
    /// The UDF recursed past its stack.
    UdfStack,
    /// The UDF returned something other than a string, null or undefined.
    UdfResultType,
    /// The UDF's result is not JSON, or not a JSON object.
    InvalidJson,
    /// The row has a field that the table has not.
    UnknownField,
    /// A REQUIRED field is missing or null.
    MissingField,
    /// A value does not fit its column.
    InvalidValue,
    /// The row, or a value in it, is over a size limit.
    TooLarge,
    /// The sink refused the row.
    SinkRejected,
}

impl ErrorClass {
    /// The word used in the dead-letter table, in metrics and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::UdfThrew => "udf_threw",
            Self::UdfTimeout => "udf_timeout",
            Self::UdfMemory => "udf_memory",
            Self::UdfStack => "udf_stack",
            Self::UdfResultType => "udf_result_type",
            Self::InvalidJson => "invalid_json",
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::InvalidValue => "invalid_value",
            Self::TooLarge => "too_large",
            Self::SinkRejected => "sink_rejected",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One message's failure, as the dead-letter table keeps it. The message itself is not in here: it is
/// still in its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where it failed.
    pub stage: Stage,
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// What went wrong, for a person.
    pub message: String,
    /// The JavaScript stack with line numbers, where there is one.
    pub stack: Option<String>,
}
