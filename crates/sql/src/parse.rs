//! From text to exactly one read-only query, whatever the text is.

use datafusion::sql::sqlparser::ast::{Query, Statement};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError, ParserOptions};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::bounded::Bounded;
use crate::dialect::GoogleSqlDialect;
use crate::error::{Code, SqlError};
use crate::suggest::nearest;

/// How deep a query may nest; BigQuery stops within the hundreds too.
const NESTING_MAX: usize = 200;

/// How deep the parser may recurse: a level of nesting takes it several calls. Out of reach of what
/// [`check_size`] lets through, because the parser takes its own limit for a syntax error now and then.
pub(crate) const PARSER_DEPTH_MAX: usize = 10 * NESTING_MAX;

/// Most operators in one query: each may deepen the tree by one, and trees are taken apart by
/// recursion. Lists of values do not count.
const OPERATORS_MAX: usize = 20_000;

/// How often the parser may read one part of a text: it reads what stands in two parentheses as a query
/// first and as a table next, when the first reading fails at its end, and does so at each level.
const READINGS_MAX: usize = 256;

/// A parsed query and what is to be done with it.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) query: Query,
    /// `EXPLAIN`: show the plan instead of running it.
    pub(crate) explain: bool,
}

/// Parses one query.
///
/// # Errors
/// Syntax errors with their position; statements that are not a query, by their name; none or several
/// statements; texts over the limits of depth and size.
pub(crate) fn parse_query(sql: &str, query_bytes_max: usize) -> Result<Parsed, SqlError> {
    match one_statement(sql, query_bytes_max)? {
        Statement::Query(query) => Ok(Parsed { query: *query, explain: false }),
        Statement::Explain { statement, analyze: false, .. } => match *statement {
            Statement::Query(query) => Ok(Parsed { query: *query, explain: true }),
            other => Err(refuse(&other)),
        },
        other => Err(refuse(&other)),
    }
}

fn one_statement(sql: &str, query_bytes_max: usize) -> Result<Statement, SqlError> {
    statement(tokens(sql, query_bytes_max)?)
}

/// A text's tokens, within the limits of depth and size.
///
/// # Errors
/// Texts that are no tokens or over a limit.
pub(crate) fn tokens(sql: &str, query_bytes_max: usize) -> Result<Vec<TokenWithSpan>, SqlError> {
    // Escapes are left as they are: GoogleSQL's are not the tokenizer's.
    let mut tokens = tokens_of(&GoogleSqlDialect, sql, query_bytes_max, false)?;
    plain_after_safe(&mut tokens);
    Ok(tokens)
}

/// The one statement that tokens make.
///
/// # Errors
/// Syntax errors with their position; none or several statements.
pub(crate) fn statement(tokens: Vec<TokenWithSpan>) -> Result<Statement, SqlError> {
    let dialect = Bounded::new(GoogleSqlDialect, tokens.len());
    let options = ParserOptions::new().with_unescape(false);
    let mut statements = Parser::new(&dialect)
        .with_options(options)
        .with_recursion_limit(PARSER_DEPTH_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| parser_error(&error))?;
    match (statements.pop(), statements.len()) {
        (None, _) => {
            Err(SqlError::invalid("there is no query").hint("write SELECT ... or WITH ... SELECT ..."))
        }
        (Some(statement), 0) => Ok(statement),
        (Some(_), more) => Err(SqlError::unsupported(format!("{} statements in one text", more + 1))
            .hint("send one query at a time")),
    }
}

/// Behind `SAFE.` every name is a function's: the parser would look for the syntax that SUBSTR, TRIM, CEIL
/// and others have in the standard.
fn plain_after_safe(tokens: &mut [TokenWithSpan]) {
    let is_safe =
        |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case("safe"));
    for index in 2..tokens.len() {
        let follows = tokens[index - 1].token == Token::Period && is_safe(&tokens[index - 2].token);
        if let Token::Word(word) = &mut tokens[index].token
            && follows
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
}

/// A text's tokens in a dialect, when it is not too large to be parsed.
///
/// # Errors
/// What no token is made of, with its position; texts over the limits of depth and size.
pub(crate) fn tokens_of(
    dialect: &dyn Dialect,
    sql: &str,
    bytes_max: usize,
    unescape: bool,
) -> Result<Vec<TokenWithSpan>, SqlError> {
    if sql.len() > bytes_max {
        return Err(SqlError::new(
            Code::ResourcesExceeded,
            format!("the query has {} bytes, the limit is {bytes_max}", sql.len()),
        ));
    }
    let tokens = Tokenizer::new(dialect, sql)
        .with_unescape(unescape)
        .tokenize_with_location()
        .map_err(|error| syntax_error(&error.to_string()))?;
    check_size(&tokens)?;
    Ok(tokens)
}

/// The parser's error in our words.
pub(crate) fn parser_error(error: &ParserError) -> SqlError {
    match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => syntax_error(text),
        ParserError::RecursionLimitExceeded => too_deep(),
    }
}

pub(crate) fn too_deep() -> SqlError {
    SqlError::new(Code::ResourcesExceeded, format!("the query nests deeper than {NESTING_MAX} levels"))
        .hint("take it apart with WITH")
}

/// Counts what can deepen a tree, before a tree is made: a deep one cannot even be dropped safely.
fn check_size(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut nesting: usize = 0;
    let mut prefixes: usize = 0;
    let mut operators: usize = 0;
    let mut parentheses: usize = 0;
    let mut readings = Readings::default();
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            token if is_prefix(token) => prefixes += 1,
            _ => prefixes = 0,
        }
        if is_keyword(&token.token, Keyword::SELECT) || is_keyword(&token.token, Keyword::WITH) {
            readings.begin(nesting, parentheses);
        }
        parentheses = if token.token == Token::LParen { parentheses + 1 } else { 0 };
        match &token.token {
            token if opens(token) => nesting += 1,
            token if closes(token) => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        readings.end(nesting);
        if nesting + prefixes > NESTING_MAX || readings.most() > READINGS_MAX {
            return Err(too_deep());
        }
        match &token.token {
            Token::LParen
            | Token::LBracket
            | Token::LBrace
            | Token::RParen
            | Token::RBracket
            | Token::RBrace
            | Token::Whitespace(_)
            | Token::Comma
            | Token::Period
            | Token::SemiColon
            | Token::EOF
            | Token::Placeholder(_)
            | Token::Number(..) => {}
            Token::Word(word) if word.keyword == Keyword::NoKeyword || word.quote_style.is_some() => {}
            Token::Word(word) => operators += usize::from(deepens(word.keyword)),
            token if is_string(token) => {}
            _ => operators += 1,
        }
    }
    if operators > OPERATORS_MAX {
        return Err(SqlError::new(
            Code::ResourcesExceeded,
            format!("the query has {operators} operators, the limit is {OPERATORS_MAX}"),
        )
        .hint("put long lists into IN (...) or UNNEST([...])"));
    }
    Ok(())
}

/// How often the parser may read the place that it is at.
#[derive(Debug, Default)]
struct Readings {
    /// The queries in several parentheses that are open: how deep they are, and in how many.
    open: Vec<(usize, usize)>,
}

impl Readings {
    /// A query begins, so deep, in so many parentheses of its own.
    fn begin(&mut self, nesting: usize, parentheses: usize) {
        if parentheses > 1 {
            self.open.push((nesting, parentheses));
        }
    }

    /// What is deeper than this has ended.
    fn end(&mut self, nesting: usize) {
        while self.open.last().is_some_and(|(deep, _)| *deep > nesting) {
            self.open.pop();
        }
    }

    fn most(&self) -> usize {
        self.open.iter().fold(1, |product, (_, parentheses)| product.saturating_mul(*parentheses))
    }
}

fn opens(token: &Token) -> bool {
    matches!(token, Token::LParen | Token::LBracket | Token::LBrace) || is_keyword(token, Keyword::CASE)
}

fn closes(token: &Token) -> bool {
    matches!(token, Token::RParen | Token::RBracket | Token::RBrace) || is_keyword(token, Keyword::END)
}

/// Whether a token may stand before its operand, so that a run of them nests as deeply as it is long.
fn is_prefix(token: &Token) -> bool {
    matches!(token, Token::Plus | Token::Minus | Token::Tilde) || is_keyword(token, Keyword::NOT)
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword && word.quote_style.is_none())
}

fn deepens(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::AND
            | K::OR
            | K::NOT
            | K::IS
            | K::IN
            | K::LIKE
            | K::BETWEEN
            | K::UNION
            | K::EXCEPT
            | K::INTERSECT
            | K::JOIN
            | K::COLLATE
            | K::AT
            | K::CASE
            | K::SELECT
            | K::WITH
            | K::ANY
            | K::ALL
            | K::SOME
    )
}

fn is_string(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::TripleSingleQuotedByteStringLiteral(_)
            | Token::TripleDoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::TripleSingleQuotedRawStringLiteral(_)
            | Token::TripleDoubleQuotedRawStringLiteral(_)
            | Token::HexStringLiteral(_)
    )
}

/// Adds to the complaint of an unknown name where the query has it, in the query's spelling.
pub(crate) fn point_out(error: SqlError, sql: &str) -> SqlError {
    point_out_in(&GoogleSqlDialect, error, sql)
}

/// The same in another dialect.
pub(crate) fn point_out_in(dialect: &dyn Dialect, error: SqlError, sql: &str) -> SqlError {
    let Some(path) = error.message.strip_prefix("unrecognized name: ") else { return error };
    let name = path.rsplit('.').next().unwrap_or(path);
    let tokens = Tokenizer::new(dialect, sql).with_unescape(false).tokenize_with_location();
    let found = tokens.unwrap_or_default().into_iter().find_map(|token| match token.token {
        Token::Word(word) if word.value.to_lowercase() == name => Some((word.value, token.span.start)),
        _ => None,
    });
    match found {
        Some((spelled, place)) => {
            let path = format!("{}{spelled}", &path[..path.len() - name.len()]);
            let message =
                format!("unrecognized name: {path} at line {}, column {}", place.line, place.column);
            SqlError { message, ..error }
        }
        None => error,
    }
}

/// A syntax error in our words: the parser's text says what it expected, what it found and where.
fn syntax_error(text: &str) -> SqlError {
    let text = text.trim_start_matches("sql parser error: ");
    let (what, place) = match text.rfind(" at Line: ") {
        Some(at) => (&text[..at], text[at + " at Line: ".len()..].split_once(", Column: ")),
        None => (text, None),
    };
    let found = what.rsplit_once("found: ").map(|(_, found)| found.trim());
    let mut message = format!(
        "syntax error: {}",
        what.replacen("Expected: ", "expected ", 1).replacen("found: ", "found ", 1)
    );
    if let Some((line, column)) = place {
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        message.push_str(&format!(" at line {line}, column {column}"));
    }
    SqlError::invalid(message).maybe_hint(found.and_then(syntax_hint))
}

const KEYWORDS: [&str; 28] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "QUALIFY",
    "WINDOW",
    "LIMIT",
    "OFFSET",
    "WITH",
    "JOIN",
    "LEFT JOIN",
    "CROSS JOIN",
    "ON",
    "USING",
    "UNION ALL",
    "UNION DISTINCT",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "DISTINCT",
    "EXCEPT",
    "REPLACE",
    "PARTITION BY",
    "UNNEST",
];

fn syntax_hint(found: &str) -> Option<String> {
    match found {
        "EOF" => {
            Some("the query ends too early: look for a missing name, value or closing parenthesis".to_owned())
        }
        ")" => Some("look for a closing parenthesis too many or a missing value before it".to_owned()),
        word if KEYWORDS.contains(&word.to_uppercase().as_str()) => None,
        word => nearest(word, KEYWORDS).map(|keyword| format!("did you mean {keyword}?")),
    }
}

/// The refusal of a statement that is not a query, by its first words.
pub(crate) fn refuse(statement: &Statement) -> SqlError {
    let text = statement.to_string();
    let words: Vec<_> = text.split_whitespace().take(2).collect();
    let name = match words.as_slice() {
        [first @ ("CREATE" | "DROP" | "ALTER" | "TRUNCATE"), second] => format!("{first} {second}"),
        [first, ..] => (*first).to_owned(),
        [] => "this statement".to_owned(),
    };
    SqlError::new(Code::ReadOnly, format!("{name} is refused: only queries are run here"))
        .hint("write SELECT ... or WITH ... SELECT ...")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(sql: &str) -> SqlError {
        parse_query(sql, 1 << 20).unwrap_err()
    }

    #[test]
    fn syntax_errors_say_where_and_what() {
        let typo = error("SELCT 1");
        assert_eq!(typo.code, Code::InvalidQuery);
        assert!(typo.message.contains("line 1, column 1"), "{typo:?}");
        assert_eq!(typo.hint.as_deref(), Some("did you mean SELECT?"));
        let open = error("SELECT (1\nFROM");
        assert!(open.message.contains("line 2"), "{open:?}");
        assert!(error("SELECT 'abc").message.contains("syntax error"));
        assert!(error("").message.contains("no query"));
        assert_eq!(error("SELECT 1; SELECT 2").code, Code::Unsupported);
    }

    #[test]
    fn statements_that_write_are_refused_by_name() {
        for (sql, name) in [
            ("CREATE TABLE t (a INT64)", "CREATE TABLE"),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE"),
            ("DROP TABLE t", "DROP TABLE"),
            ("INSERT INTO t VALUES (1)", "INSERT"),
            ("UPDATE t SET a = 1 WHERE TRUE", "UPDATE"),
            ("DELETE FROM t WHERE TRUE", "DELETE"),
            ("COPY t TO '/tmp/x'", "COPY"),
            ("SET x = 1", "SET"),
            ("TRUNCATE TABLE t", "TRUNCATE TABLE"),
            ("EXPLAIN DELETE FROM t WHERE TRUE", "DELETE"),
        ] {
            let error = error(sql);
            assert_eq!(error.code, Code::ReadOnly, "{sql}: {error:?}");
            assert!(error.message.starts_with(name), "{sql}: {error:?}");
        }
    }

    #[test]
    fn hostile_sizes_are_refused_before_a_tree_is_made() {
        let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(error(&deep).code, Code::ResourcesExceeded);
        let long = format!("SELECT 1{}", "+1".repeat(400_000));
        assert_eq!(error(&long).code, Code::ResourcesExceeded);
        let not = format!("SELECT {} TRUE", "NOT ".repeat(10_000));
        assert_eq!(error(&not).code, Code::ResourcesExceeded);
        assert_eq!(error(&"x".repeat(2 << 20)).code, Code::ResourcesExceeded);
        // Mistakes at the bottom of what may be read in two ways at each level.
        let (open, close) = ("((SELECT * FROM ".repeat(60), ") AS x)".repeat(60));
        assert_eq!(error(&format!("SELECT * FROM {open}t t t{close}")).code, Code::ResourcesExceeded);
        for open in ["CASE(", "INTERVAL(", "f(", "f(g(1, ", "ARRAY[", "1 IN (", "EXISTS(SELECT ", "DATE("] {
            let text = format!("SELECT {}1 1", open.repeat(90));
            let code = error(&text).code;
            assert!([Code::InvalidQuery, Code::ResourcesExceeded].contains(&code), "{open}: {code:?}");
        }
        let list = format!("SELECT 1 IN ({}0)", "123456, ".repeat(100_000));
        assert!(parse_query(&list, 1 << 20).is_ok());
    }
}
