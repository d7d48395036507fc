//! Errors as Postgres clients know them: five letters that programs act on, a message and a hint for people,
//! and the place in the statement.

use millrace_sql::{Code, SqlError};
use pgwire::error::{ErrorInfo, PgWireError};

/// `SQLSTATE`s that are named in more than one place
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(crate) mod state {
    pub(crate) const PROTOCOL_VIOLATION: &str = "08P01";
    pub(crate) const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub(crate) const INVALID_PARAMETER_VALUE: &str = "22023";
    pub(crate) const READ_ONLY: &str = "25006";
    pub(crate) const IN_FAILED_TRANSACTION: &str = "25P02";
    pub(crate) const INVALID_CURSOR_NAME: &str = "34000";
    pub(crate) const INVALID_STATEMENT_NAME: &str = "26000";
    pub(crate) const UNDEFINED_OBJECT: &str = "42704";
    pub(crate) const LIMIT_EXCEEDED: &str = "53400";
    pub(crate) const ADMIN_SHUTDOWN: &str = "57P01";
    pub(crate) const INTERNAL: &str = "XX000";
}

/// An error that ends a statement.
pub(crate) fn error(state: &str, message: impl Into<String>) -> ErrorInfo {
    ErrorInfo::new("ERROR".to_owned(), state.to_owned(), message.into())
}

/// An error that ends the connection.
pub(crate) fn fatal(state: &str, message: impl Into<String>) -> ErrorInfo {
    ErrorInfo::new("FATAL".to_owned(), state.to_owned(), message.into())
}

/// An error with a hint.
pub(crate) fn hinted(mut info: ErrorInfo, hint: impl Into<String>) -> ErrorInfo {
    info.hint = Some(hint.into());
    info
}

/// Hands an error to the wire.
pub(crate) fn user(info: ErrorInfo) -> PgWireError {
    PgWireError::UserError(Box::new(info))
}

/// The SQL layer's error, with its place when `sql` is the text that the client sent.
pub(crate) fn from_sql(failure: &SqlError, sql: Option<&str>) -> ErrorInfo {
    let mut info = error(sqlstate(failure), without_paths(&failure.message));
    info.hint.clone_from(&failure.hint);
    info.position = sql.and_then(|sql| position(&failure.message, sql)).map(|place| place.to_string());
    info
}

/// What goes over the wire for any failure of a message.
pub(crate) fn to_info(failure: PgWireError) -> ErrorInfo {
    match failure {
        PgWireError::UserError(info) => *info,
        PgWireError::ApiError(inner) => match inner.downcast_ref::<SqlError>() {
            Some(failure) => from_sql(failure, None),
            None => error(state::INTERNAL, without_paths(&inner.to_string())),
        },
        PgWireError::PortalNotFound(name) => {
            error(state::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
        }
        PgWireError::StatementNotFound(name) => error(
            state::INVALID_STATEMENT_NAME,
            format!("prepared statement \"{}\" does not exist", shown(&name)),
        ),
        // Who tried is known to who tried, and nobody learns here which part was wrong.
        PgWireError::InvalidPassword(_) => fatal("28P01", "password authentication failed"),
        PgWireError::IoError(_) => fatal("08006", "connection failure"),
        other => other.into(),
    }
}

/// The unnamed statement has a name in the library only.
fn shown(name: &str) -> &str {
    if name == pgwire::api::DEFAULT_NAME { "" } else { name }
}

fn sqlstate(failure: &SqlError) -> &'static str {
    let message = failure.message.as_str();
    match failure.code {
        Code::InvalidQuery => invalid_query(message),
        Code::NotFound if message.starts_with("dataset ") => "3F000",
        Code::NotFound => "42P01",
        Code::Unsupported => state::FEATURE_NOT_SUPPORTED,
        Code::ReadOnly => state::READ_ONLY,
        Code::ResourcesExceeded if message.contains("nests deeper") => "54001",
        Code::ResourcesExceeded if message.contains("too large to plan") => "54001",
        Code::ResourcesExceeded if message.contains(" bytes, the limit") => "54000",
        Code::ResourcesExceeded if message.contains(" operators, the limit") => "54000",
        Code::ResourcesExceeded => state::LIMIT_EXCEEDED,
        Code::Timeout | Code::Cancelled => "57014",
        Code::TooManyQueries => "53300",
        Code::AlreadyExists => "42710",
        Code::Internal => state::INTERNAL,
    }
}

/// The kinds of mistakes in a query that clients tell apart, by how the layers below word them.
fn invalid_query(message: &str) -> &'static str {
    const WORDINGS: [(&str, &str); 18] = [
        ("syntax error", "42601"),
        ("unrecognized name", "42703"),
        ("is ambiguous", "42702"),
        ("appears twice", "42701"),
        ("neither grouped nor aggregated", "42803"),
        ("must appear in the GROUP BY", "42803"),
        ("must be part of an aggregate", "42803"),
        ("Invalid function", "42883"),
        ("no matching signature", "42883"),
        ("No function matches", "42883"),
        ("division by zero", "22012"),
        ("Divide by zero", "22012"),
        ("overflow", "22003"),
        ("out of range", "22003"),
        ("Error parsing timestamp", "22007"),
        ("Error parsing date", "22007"),
        ("Cannot cast string", "22P02"),
        ("Cannot cast value", "22P02"),
    ];
    let found = WORDINGS.iter().find(|(wording, _)| message.contains(wording));
    found.map_or("42000", |(_, state)| state)
}

/// Where a message says that the mistake is, as clients count: in characters from 1.
fn position(message: &str, sql: &str) -> Option<usize> {
    let (_, place) = message.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(", column ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let before: usize = sql.split('\n').take(line.checked_sub(1)?).map(|line| line.chars().count() + 1).sum();
    Some(before + column)
}

/// A message without the server's file names in it.
fn without_paths(message: &str) -> String {
    let is_path = |word: &str| {
        let word = word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '/');
        word.contains("://") || (word.starts_with('/') && word.matches('/').count() > 1)
    };
    let words: Vec<_> = message.split(' ').map(|word| if is_path(word) { "(path)" } else { word }).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_sql::parse_postgres;

    #[test]
    fn a_syntax_error_has_its_place() {
        let sql = "SELECT 1,\n  FROM t WHERE";
        let failure = parse_postgres(sql, 1 << 20).unwrap_err();
        let info = from_sql(&failure, Some(sql));
        assert_eq!(info.code, "42601", "{info:?}");
        // The parser's place is that of the word after the one it stumbled over.
        assert_eq!(info.position.as_deref(), Some("18"), "{info:?}");
    }

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(position("unrecognized name: x at line 2, column 3", "SELECT 'ä',\n  x"), Some(15));
        assert_eq!(position("no place", "SELECT 1"), None);
        assert_eq!(position("odd at line 0, column 1", "SELECT 1"), None);
    }

    #[test]
    fn file_names_stay_here() {
        assert_eq!(
            without_paths("Object at location /srv/lake/x.parquet not found: 10/2 'a/b' file:///x"),
            "Object at location (path) not found: 10/2 'a/b' (path)"
        );
    }

    #[test]
    fn a_refused_login_names_nobody() {
        let info = to_info(PgWireError::InvalidPassword("ann".to_owned()));
        assert_eq!((info.code.as_str(), info.is_fatal()), ("28P01", true));
        assert!(!info.message.contains("ann"));
    }
}
