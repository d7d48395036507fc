//! The one error of this crate, and how errors of the layers below become it.

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use crate::suggest::nearest;
use crate::types::display_column;

/// What kind of failure, as a stable word for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The query is wrong: its syntax, a name in it, a type, or a value that it met.
    InvalidQuery,
    /// A table, view or dataset that does not exist.
    NotFound,
    /// GoogleSQL that is not spoken here.
    Unsupported,
    /// A statement that would write.
    ReadOnly,
    /// A limit on memory, rows or size.
    ResourcesExceeded,
    /// The limit on time.
    Timeout,
    /// Somebody asked for it to end.
    Cancelled,
    /// The limit on queries that run and wait at once.
    TooManyQueries,
    /// A name that is taken.
    AlreadyExists,
    /// Neither the query's nor the client's fault.
    Internal,
}

impl Code {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidQuery => "invalid_query",
            Self::NotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::ReadOnly => "read_only",
            Self::ResourcesExceeded => "resources_exceeded",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::TooManyQueries => "too_many_queries",
            Self::AlreadyExists => "already_exists",
            Self::Internal => "internal",
        }
    }
}

/// Why a query failed and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What kind of failure.
    pub code: Code,
    /// What failed, on what.
    pub message: String,
    /// What to try next, when there is something to say.
    pub hint: Option<String>,
}

impl SqlError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidQuery, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Code::Unsupported, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// What DataFusion's error says, as one of ours: what went wrong while a session's rows were made.
    #[must_use]
    pub fn of(error: &DataFusionError) -> Self {
        from_datafusion(error)
    }

    pub(crate) fn too_many_rows(rows_max: usize) -> Self {
        Self::new(Code::ResourcesExceeded, format!("the result has more than {rows_max} rows"))
            .hint("add LIMIT, aggregate, or raise sql.rows_max")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        if hint.is_some() {
            self.hint = hint;
        }
        self
    }
}

/// An error of ours on its way through DataFusion; [`from_datafusion`] gets it back whole.
impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        Self::External(Box::new(error))
    }
}

/// Turns DataFusion's error into ours: codes by kind, names in the query's spelling, no internals.
pub(crate) fn from_datafusion(error: &DataFusionError) -> SqlError {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => match inner.downcast_ref::<DataFusionError>() {
                Some(nested) => from_datafusion(nested),
                None => SqlError::internal(first_line(&inner.to_string())),
            },
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_datafusion(inner),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => from_datafusion(first),
            None => SqlError::internal("planning failed without a reason"),
        },
        DataFusionError::SchemaError(inner, _) => from_schema(inner),
        DataFusionError::ArrowError(inner, _) => from_arrow(inner),
        DataFusionError::ResourcesExhausted(text) => SqlError::new(
            Code::ResourcesExceeded,
            format!("the query needs more memory than it may have: {}", first_line(text)),
        )
        .hint("read fewer rows or columns, group by fewer keys, or raise the memory limit of queries"),
        DataFusionError::NotImplemented(text) if text.contains("Exists(") => {
            SqlError::unsupported("EXISTS is supported in WHERE only")
                .hint("write (SELECT COUNT(*) FROM ...) > 0")
        }
        DataFusionError::NotImplemented(text) => SqlError::unsupported(first_line(text)),
        DataFusionError::SQL(inner, _) => SqlError::invalid(first_line(&inner.to_string())),
        DataFusionError::Plan(text) | DataFusionError::Execution(text) => SqlError::invalid(first_line(text)),
        other => SqlError::internal(first_line(&other.strip_backtrace())),
    }
}

fn from_arrow(error: &ArrowError) -> SqlError {
    match error {
        ArrowError::DivideByZero => SqlError::invalid("division by zero")
            .hint("use SAFE_DIVIDE, or exclude the rows where the divisor is 0"),
        ArrowError::ArithmeticOverflow(text) => {
            SqlError::invalid(format!("arithmetic overflow: {}", first_line(text)))
        }
        ArrowError::ComputeError(text)
        | ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::InvalidArgumentError(text) => SqlError::invalid(first_line(text)),
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(nested) => from_datafusion(nested),
            None => match inner.downcast_ref::<SqlError>() {
                Some(ours) => ours.clone(),
                None => SqlError::internal(first_line(&inner.to_string())),
            },
        },
        other => SqlError::internal(first_line(&other.to_string())),
    }
}

fn from_schema(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let known = valid_fields.iter().map(|column| column.name.as_str());
            SqlError::invalid(format!("unrecognized name: {}", display_column(field)))
                .maybe_hint(nearest(&field.name, known).map(|name| format!("did you mean {name}?")))
        }
        SchemaError::AmbiguousReference { field } => {
            SqlError::invalid(format!("column name {} is ambiguous", field.name))
                .hint("say which table it is of: alias.column")
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::invalid(format!("column name {name} appears twice")).hint("give one of them an alias")
        }
    }
}

/// The first line of a text: what follows it there is a backtrace or a list of internals.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_error_survives_datafusion_and_arrow() {
        let ours = SqlError::unsupported("no such thing").hint("try that");
        let wrapped = DataFusionError::from(ours.clone()).context("while planning");
        assert_eq!(from_datafusion(&wrapped), ours);
        let arrow = ArrowError::ExternalError(Box::new(DataFusionError::from(ours.clone())));
        assert_eq!(from_datafusion(&DataFusionError::ArrowError(Box::new(arrow), None)), ours);
    }
}
