//! From a text to the commands in it: what reads is taken, what would write is refused before it is planned.

use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use datafusion::sql::sqlparser::ast::{
    CloseCursor, Declare, DeclareType, DiscardObject, Expr, FetchDirection, Ident, ObjectName, Query, Reset,
    Set, Statement, TransactionAccessMode, TransactionMode, Value, ValueWithSpan, visit_relations,
};
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_pg_catalog::sql::rules::{
    CurrentUserVariableToSessionUserFunctionCall, FixVersionColumnName, RewriteArrayAnyAllOperation,
    RewritePgCatalogOperator, RewriteRegCastToSubquery, SqlStatementRewriteRule, StripCallableQualifier,
};
use millrace_sql::parse_postgres;
use pgwire::error::ErrorInfo;

use crate::absent::fit_catalog;
use crate::errors::{error, from_sql, hinted, state};
use crate::fitting::fit;

/// One thing that a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// A query, or its plan.
    Query(Statement),
    /// A query to be read in pieces.
    Declare { cursor: String, query: Statement, hold: bool },
    /// The next rows of a cursor; `None`: all that are left.
    Fetch { cursor: String, rows: Option<usize> },
    /// The end of one cursor, or of all.
    Close(Option<String>),
    /// The beginning of a transaction.
    Begin,
    /// The end of a transaction.
    Commit,
    /// The other end of a transaction.
    Rollback,
    /// A place in a transaction to come back to. Nothing is written, so there is nothing to keep.
    Savepoint,
    /// Such a place is given up.
    Release,
    /// Back to such a place: the transaction is good again.
    RollbackTo,
    /// A change of a setting.
    Set { name: String, value: String, local: bool },
    /// One setting, or all, as at the session's start.
    Reset(Option<String>),
    /// The value of one setting, or of all.
    Show(Option<String>),
    /// A setting that is so already.
    Nothing(&'static str),
    /// The end of one prepared statement, or of all.
    Deallocate(Option<String>),
    /// Everything as at the session's start.
    DiscardAll,
}

/// The library's parser for queries of the catalogue.
static CATALOG_PARSER: LazyLock<PostgresCompatibilityParser> =
    LazyLock::new(PostgresCompatibilityParser::new);

/// What is Postgres' way of writing and not DataFusion's, where the meaning is the same.
static RULES: LazyLock<[Arc<dyn SqlStatementRewriteRule>; 6]> = LazyLock::new(|| {
    [
        Arc::new(RewriteArrayAnyAllOperation),
        Arc::new(StripCallableQualifier),
        Arc::new(CurrentUserVariableToSessionUserFunctionCall),
        Arc::new(RewritePgCatalogOperator),
        Arc::new(RewriteRegCastToSubquery::new()),
        Arc::new(FixVersionColumnName),
    ]
});

/// The commands in a text, in order.
///
/// # Errors
/// Syntax errors with their place, texts over the limits, and statements that are refused here.
pub(crate) fn commands(sql: &str, bytes_max: usize) -> Result<Vec<Command>, ErrorInfo> {
    let spelt_out = bare_fetch(sql);
    let sql = spelt_out.as_deref().unwrap_or(sql);
    let statements = match parse_postgres(sql, bytes_max) {
        Ok(statements) => statements,
        // The library's parser knows some words that this one does not.
        Err(failure) => match failure.message.starts_with("syntax error") && library_parses(sql) {
            true => CATALOG_PARSER.parse(sql).map_err(|_| from_sql(&failure, Some(sql)))?,
            false => return Err(from_sql(&failure, Some(sql))),
        },
    };
    // The library makes queries of the catalogue fit DataFusion, and to do so leaves out what it cannot plan.
    // That serves tools that look at tables and types; for a question about data it would be a wrong answer.
    let mut rewritten = match statements.iter().any(reads_catalog) && library_parses(sql) {
        true => CATALOG_PARSER.parse(sql).unwrap_or_default(),
        false => Vec::new(),
    };
    if rewritten.len() != statements.len() {
        rewritten.clear();
    }
    rewritten.reverse();
    statements
        .into_iter()
        .map(|statement| {
            let rewritten = rewritten.pop();
            command(match reads_catalog(&statement) {
                true => of_catalog(statement, rewritten),
                false => plain(statement),
            })
        })
        .collect()
}

/// The library's parser reads the arguments of a call twice, so that what nests deep would keep it for years:
/// it gets what tools write, and of the rest only the tree.
fn library_parses(sql: &str) -> bool {
    const BYTES_MAX: usize = 64 << 10;
    const NESTING_MAX: usize = 10;
    let mut nesting: usize = 0;
    let mut most = 0;
    for byte in sql.bytes() {
        match byte {
            b'(' | b'[' => nesting += 1,
            b')' | b']' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        most = most.max(nesting);
    }
    sql.len() <= BYTES_MAX && most <= NESTING_MAX
}

/// A question about the catalogue, made to fit; `rewritten` is what the library made of its text.
fn of_catalog(mut statement: Statement, rewritten: Option<Statement>) -> Statement {
    let mut fitted = match rewritten {
        Some(rewritten) => rewritten,
        None => {
            fit(&mut statement);
            CATALOG_PARSER.rewrite(statement)
        }
    };
    fit(&mut fitted);
    fit_catalog(&mut fitted);
    fitted
}

/// `FETCH c`, which the parser does not know, spelt out.
fn bare_fetch(sql: &str) -> Option<String> {
    let mut words = sql.trim().trim_end_matches(';').split_whitespace();
    let (fetch, cursor) = (words.next()?, words.next()?);
    let whole = fetch.eq_ignore_ascii_case("FETCH") && words.next().is_none();
    whole.then(|| format!("FETCH NEXT FROM {cursor}"))
}

fn plain(mut statement: Statement) -> Statement {
    fit(&mut statement);
    RULES.iter().fold(statement, |statement, rule| rule.rewrite(statement))
}

/// Whether a statement asks for tables, types and functions rather than for data.
fn reads_catalog(statement: &Statement) -> bool {
    let found = visit_relations(statement, |name| match is_catalog(name) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn is_catalog(name: &ObjectName) -> bool {
    let mut parts = name.0.iter().filter_map(|part| part.as_ident()).map(|part| part.value.to_lowercase());
    match name.0.len() {
        1 => parts
            .next()
            .is_some_and(|part| PG_CATALOG_TABLES.contains(&part.as_str()) || part == "pg_get_keywords"),
        _ => parts.any(|part| part == "pg_catalog" || part == "information_schema"),
    }
}

fn command(statement: Statement) -> Result<Command, ErrorInfo> {
    if let Statement::Explain { statement: explained, .. } = &statement {
        return match explained.as_ref() {
            Statement::Query(_) => Ok(Command::Query(statement)),
            other => Err(refused(other)),
        };
    }
    match statement {
        Statement::Query(query) => readable(query).map(Command::Query),
        Statement::Declare { stmts } => declare(stmts),
        Statement::Fetch { name, direction, into: None, .. } => {
            Ok(Command::Fetch { cursor: name.value, rows: rows(&direction)? })
        }
        Statement::Close { cursor: CloseCursor::All } => Ok(Command::Close(None)),
        Statement::Close { cursor: CloseCursor::Specific { name } } => Ok(Command::Close(Some(name.value))),
        Statement::StartTransaction { modes, statements, .. } if statements.is_empty() => {
            reading(&modes).map(|()| Command::Begin)
        }
        Statement::Commit { chain: false, .. } => Ok(Command::Commit),
        Statement::Rollback { chain: false, savepoint: None } => Ok(Command::Rollback),
        Statement::Rollback { savepoint: Some(_), .. } => Ok(Command::RollbackTo),
        Statement::Savepoint { .. } => Ok(Command::Savepoint),
        Statement::ReleaseSavepoint { .. } => Ok(Command::Release),
        Statement::Set(set) => change(set),
        Statement::Reset(reset) => Ok(Command::Reset(match reset.reset {
            Reset::ALL => None,
            Reset::ConfigurationParameter(name) => Some(name.to_string()),
        })),
        Statement::ShowVariable { variable } => Ok(Command::Show(setting(&variable))),
        Statement::Deallocate { name, .. } => Ok(Command::Deallocate(unless_all(name))),
        Statement::Discard { object_type: DiscardObject::ALL } => Ok(Command::DiscardAll),
        Statement::Discard { .. } => Ok(Command::Nothing("DISCARD")),
        // There is nothing to listen to, so there is nothing to stop listening to.
        Statement::UNLISTEN { .. } => Ok(Command::Nothing("UNLISTEN")),
        other => Err(refused(&other)),
    }
}

/// A query that asks for no locks: there is nothing to lock out.
fn readable(query: Box<Query>) -> Result<Statement, ErrorInfo> {
    if query.locks.is_empty() {
        return Ok(Statement::Query(query));
    }
    let info = error(state::READ_ONLY, "SELECT ... FOR UPDATE or FOR SHARE is refused: this port only reads");
    Err(hinted(info, "leave FOR ... out: each query reads a snapshot"))
}

fn declare(mut declares: Vec<Declare>) -> Result<Command, ErrorInfo> {
    let unsupported = |message: &str| Err(error(state::FEATURE_NOT_SUPPORTED, message));
    let Some(declare) = declares.pop().filter(|_| declares.is_empty()) else {
        return unsupported("DECLARE takes one cursor at a time");
    };
    let cursor = declare.names.into_iter().next().map(|name| name.value);
    match (cursor, declare.declare_type, declare.for_query) {
        _ if declare.binary == Some(true) => unsupported("binary cursors are not supported"),
        _ if declare.scroll == Some(true) => {
            let info = error(state::FEATURE_NOT_SUPPORTED, "cursors only go forward here");
            Err(hinted(info, "leave SCROLL out"))
        }
        (Some(cursor), Some(DeclareType::Cursor), Some(query)) => {
            Ok(Command::Declare { cursor, query: plain(readable(query)?), hold: declare.hold == Some(true) })
        }
        _ => unsupported("DECLARE name CURSOR FOR query is the only form of DECLARE here"),
    }
}

/// How many rows a FETCH asks for; `None`: all that are left.
fn rows(direction: &FetchDirection) -> Result<Option<usize>, ErrorInfo> {
    let forward_only = || error("55000", "cursor can only scan forward");
    match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Ok(Some(1)),
        FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
            match &limit.value {
                Value::Number(number, _) => number.parse().map(Some).map_err(|_| forward_only()),
                _ => Err(forward_only()),
            }
        }
        FetchDirection::All | FetchDirection::ForwardAll => Ok(None),
        _ => Err(forward_only()),
    }
}

/// Whether a transaction begins as every transaction does here.
fn reading(modes: &[TransactionMode]) -> Result<(), ErrorInfo> {
    let writes = TransactionMode::AccessMode(TransactionAccessMode::ReadWrite);
    match modes.contains(&writes) {
        true => {
            let info =
                error(state::READ_ONLY, "cannot set transaction read-write mode: this port only reads");
            Err(hinted(info, "leave READ WRITE out"))
        }
        false => Ok(()),
    }
}

fn change(set: Set) -> Result<Command, ErrorInfo> {
    use datafusion::sql::sqlparser::ast::ContextModifier::Local;
    match set {
        Set::SingleAssignment { scope, hivevar: false, variable, values } => {
            let name = variable.to_string();
            let values: Vec<_> = values.iter().map(text).collect();
            let local = scope == Some(Local);
            match values.as_slice() {
                [only] if only.eq_ignore_ascii_case("default") => Ok(Command::Reset(Some(name))),
                values => Ok(Command::Set { name, value: values.join(", "), local }),
            }
        }
        Set::SetTimeZone { local, value } => {
            Ok(Command::Set { name: "TimeZone".to_owned(), value: text(&value), local })
        }
        Set::SetNames { charset_name, .. } => {
            Ok(Command::Set { name: "client_encoding".to_owned(), value: charset_name.value, local: false })
        }
        Set::SetNamesDefault {} => Ok(Command::Reset(Some("client_encoding".to_owned()))),
        Set::SetTransaction { modes, snapshot: None, .. } => {
            reading(&modes).map(|()| Command::Nothing("SET"))
        }
        other => Err(error(state::FEATURE_NOT_SUPPORTED, format!("{} is not supported", words(&other)))),
    }
}

/// A setting's value as it is written, without its quotes.
fn text(value: &Expr) -> String {
    match value {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.clone(),
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    }
}

/// The setting that SHOW names; some have names of several words.
fn setting(words: &[Ident]) -> Option<String> {
    let words: Vec<_> = words.iter().map(|word| word.value.to_lowercase()).collect();
    match words.join(" ").as_str() {
        "all" => None,
        "time zone" => Some("TimeZone".to_owned()),
        "transaction isolation level" => Some("transaction_isolation".to_owned()),
        "session authorization" => Some("session_authorization".to_owned()),
        _ => Some(words.join(".")),
    }
}

fn unless_all(name: Ident) -> Option<String> {
    (name.quote_style.is_some() || !name.value.eq_ignore_ascii_case("all")).then_some(name.value)
}

/// A statement's first words, which name it.
fn words(statement: &impl ToString) -> String {
    let text = statement.to_string();
    let words: Vec<_> = text.split_whitespace().take(2).collect();
    match words.as_slice() {
        [first @ ("CREATE" | "DROP" | "ALTER" | "TRUNCATE" | "SET"), second] => format!("{first} {second}"),
        [first, ..] => (*first).to_owned(),
        [] => "this statement".to_owned(),
    }
}

fn refused(statement: &Statement) -> ErrorInfo {
    let name = words(statement);
    let (code, hint) = match statement {
        Statement::Prepare { .. } | Statement::Execute { .. } => {
            (state::FEATURE_NOT_SUPPORTED, "use the driver's prepared statements")
        }
        Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowSchemas { .. }
        | Statement::ShowDatabases { .. }
        | Statement::ExplainTable { .. } => {
            (state::FEATURE_NOT_SUPPORTED, "query information_schema, or use \\d in psql")
        }
        _ => (state::READ_ONLY, "this port only reads: write SELECT ... or WITH ... SELECT ..."),
    };
    let verb = if code == state::READ_ONLY { "is refused" } else { "is not supported" };
    hinted(error(code, format!("{name} {verb}")), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sql: &str) -> Result<Command, ErrorInfo> {
        commands(sql, 1 << 20).map(|mut commands| commands.remove(0))
    }

    #[test]
    fn what_writes_is_refused_by_name() {
        for (sql, name) in [
            ("CREATE TABLE t (a int)", "CREATE TABLE"),
            ("CREATE EXTERNAL TABLE t (a int) STORED AS CSV LOCATION '/etc/passwd'", "CREATE"),
            ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
            ("DROP TABLE t", "DROP TABLE"),
            ("INSERT INTO t VALUES (1)", "INSERT"),
            ("UPDATE t SET a = 1", "UPDATE"),
            ("DELETE FROM t", "DELETE"),
            ("TRUNCATE t", "TRUNCATE"),
            ("COPY t TO '/tmp/x'", "COPY"),
            ("COPY t FROM STDIN", "COPY"),
            ("GRANT SELECT ON t TO ann", "GRANT"),
            ("EXPLAIN DELETE FROM t", "DELETE"),
            ("VACUUM", "VACUUM"),
            ("SELECT 1 FOR UPDATE", "SELECT"),
            ("BEGIN READ WRITE", "cannot set transaction"),
        ] {
            let refused = one(sql).unwrap_err();
            assert!(["25006", "42601"].contains(&refused.code.as_str()), "{sql}: {refused:?}");
            assert!(refused.code == "42601" || refused.message.starts_with(name), "{sql}: {refused:?}");
            assert!(refused.code == "42601" || refused.hint.is_some(), "{sql}: {refused:?}");
        }
    }

    #[test]
    fn settings_are_read_in_every_spelling() {
        let set = |sql: &str| match one(sql).unwrap() {
            Command::Set { name, value, local } => (name, value, local),
            other => panic!("{sql}: {other:?}"),
        };
        let owned = |name: &str, value: &str, local| (name.to_owned(), value.to_owned(), local);
        assert_eq!(set("SET statement_timeout = '5s'"), owned("statement_timeout", "5s", false));
        assert_eq!(set("SET LOCAL statement_timeout TO 5000"), owned("statement_timeout", "5000", true));
        assert_eq!(set("SET SESSION application_name TO x"), owned("application_name", "x", false));
        assert_eq!(set("SET search_path TO a, b"), owned("search_path", "a, b", false));
        assert_eq!(set("SET TIME ZONE 'UTC'"), owned("TimeZone", "UTC", false));
        assert_eq!(set("SET NAMES 'UTF8'"), owned("client_encoding", "UTF8", false));
        assert_eq!(set("SET datafusion.execution.batch_size = 1").0, "datafusion.execution.batch_size");
        assert!(matches!(one("SET jit TO DEFAULT").unwrap(), Command::Reset(Some(name)) if name == "jit"));
        assert!(matches!(one("RESET ALL").unwrap(), Command::Reset(None)));
        assert!(matches!(one("SHOW ALL").unwrap(), Command::Show(None)));
        assert!(matches!(one("SHOW TIME ZONE").unwrap(), Command::Show(Some(name)) if name == "TimeZone"));
        assert!(matches!(
            one("SHOW TRANSACTION ISOLATION LEVEL").unwrap(),
            Command::Show(Some(name)) if name == "transaction_isolation"
        ));
        assert!(matches!(
            one("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").unwrap(),
            Command::Nothing("SET")
        ));
        assert_eq!(one("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE").unwrap_err().code, "25006");
    }

    #[test]
    fn cursors_and_transactions_are_read() {
        assert!(matches!(
            one("DECLARE \"c 1\" CURSOR WITH HOLD FOR SELECT 1").unwrap(),
            Command::Declare { cursor, hold: true, .. } if cursor == "c 1"
        ));
        let fetched = |sql: &str| match one(sql) {
            Ok(Command::Fetch { rows, .. }) => rows,
            other => panic!("{sql}: {other:?}"),
        };
        assert_eq!(fetched("FETCH c"), Some(1));
        assert_eq!(fetched("FETCH FORWARD 100 FROM c"), Some(100));
        assert_eq!(fetched("FETCH 7 FROM c"), Some(7));
        assert_eq!(fetched("FETCH ALL FROM c"), None);
        assert_eq!(one("FETCH PRIOR FROM c").unwrap_err().code, "55000");
        assert!(matches!(one("ABORT").unwrap(), Command::Rollback));
        assert!(matches!(one("END").unwrap(), Command::Commit));
        assert!(matches!(one("DEALLOCATE ALL").unwrap(), Command::Deallocate(None)));
        assert!(matches!(one("DEALLOCATE \"all\"").unwrap(), Command::Deallocate(Some(_))));
        assert_eq!(commands("SELECT 1; ; SELECT 2;", 1 << 20).unwrap().len(), 2);
        assert!(commands("-- nothing", 1 << 20).unwrap().is_empty());
    }

    #[test]
    fn a_question_about_data_is_not_made_to_fit() {
        let text = |sql: &str| match one(sql).unwrap() {
            Command::Query(statement) => statement.to_string(),
            other => panic!("{sql}: {other:?}"),
        };
        // The library would make NULL of the correlated subquery.
        let data = "SELECT a, (SELECT max(b) FROM u WHERE u.k = t.k) FROM t";
        assert_eq!(text(data), data);
        let catalog = "SELECT relname, (SELECT nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) FROM pg_class c";
        assert!(text(catalog).contains("pg_catalog.pg_class"), "{}", text(catalog));
    }
}
