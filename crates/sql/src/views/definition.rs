//! What a view's file says: a bare query, or `CREATE [OR REPLACE] [MATERIALIZED] VIEW ... AS query`.
//!
//! The part before `AS` is read here, token by token, because the parser does not know all of it:
//! <https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_materialized_view_statement>.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::options::{Materialized, options};
use crate::error::SqlError;
use crate::parse::{refuse, statement, tokens};

/// Largest view file in bytes.
pub(super) const VIEW_BYTES_MAX: usize = 1024 * 1024;

/// A view's file, read.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    /// The name that the file gives, in parts; empty for a bare query.
    pub(super) path: Vec<String>,
    /// How the result is kept, for a materialised view.
    pub(crate) materialized: Option<Materialized>,
    /// What the view selects.
    pub(crate) query: Query,
    /// Whether the query asks for the time or for chance, so that its result is another each time.
    pub(crate) varies: bool,
}

/// Reads a view's file.
///
/// # Errors
/// Syntax errors with their position; statements that are neither a view nor a query; options that are
/// not understood; texts over the limits of depth and size.
pub(super) fn parse(sql: &str) -> Result<Definition, SqlError> {
    let tokens = tokens(sql, VIEW_BYTES_MAX)?;
    let mut header = Header::new(&tokens);
    let (path, materialized, body) = match header.create_view()? {
        Some(materialized) => {
            let (path, kept) = header.until_as(materialized)?;
            (path, kept, header.rest())
        }
        None => (Vec::new(), None, tokens),
    };
    match statement(body)? {
        Statement::Query(query) => {
            let mut varying = Varying;
            let varies = Visit::visit(query.as_ref(), &mut varying).is_break();
            Ok(Definition { path, materialized, query: *query, varies })
        }
        other => {
            Err(refuse(&other)
                .hint("a view's file holds CREATE OR REPLACE VIEW name AS SELECT ... or a query"))
        }
    }
}

/// Looks for calls whose value is another each time.
struct Varying;

impl Visitor for Varying {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        const VARYING: [&str; 7] = [
            "current_date",
            "current_datetime",
            "current_time",
            "current_timestamp",
            "generate_uuid",
            "rand",
            "session_user",
        ];
        match expr {
            Expr::Function(function)
                if function.name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| {
                    VARYING.iter().any(|varying| name.value.eq_ignore_ascii_case(varying))
                }) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The tokens of a file, white space left out, and how far they are read.
pub(super) struct Header<'a> {
    tokens: Vec<&'a TokenWithSpan>,
    at: usize,
}

impl<'a> Header<'a> {
    fn new(tokens: &'a [TokenWithSpan]) -> Self {
        let tokens = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        Self { tokens, at: 0 }
    }

    /// Reads `CREATE [OR REPLACE] [MATERIALIZED] VIEW [IF NOT EXISTS]`, whether MATERIALIZED is in it;
    /// `None`, and nothing read, when the file begins with something else.
    fn create_view(&mut self) -> Result<Option<bool>, SqlError> {
        let start = self.at;
        if self.words(&["CREATE"]) {
            self.words(&["OR", "REPLACE"]);
            let materialized = self.words(&["MATERIALIZED"]);
            if self.words(&["VIEW"]) {
                self.words(&["IF", "NOT", "EXISTS"]);
                return Ok(Some(materialized));
            }
        }
        self.at = start;
        Ok(None)
    }

    /// Reads the name and the clauses up to and with AS.
    fn until_as(&mut self, materialized: bool) -> Result<(Vec<String>, Option<Materialized>), SqlError> {
        let path = self.name()?;
        if matches!(self.peek(), Some(Token::LParen)) {
            return Err(SqlError::unsupported("a list of columns behind a view's name is not supported")
                .hint("name the columns in the query: SELECT ... AS name"));
        }
        if materialized && self.words(&["PARTITION", "BY"]) {
            self.skip_to(&["CLUSTER", "OPTIONS", "AS"]);
        }
        if materialized && self.words(&["CLUSTER", "BY"]) {
            self.skip_to(&["OPTIONS", "AS"]);
        }
        let kept = match self.words(&["OPTIONS"]) {
            true => options(self, materialized)?,
            false => Materialized::default(),
        };
        if !self.words(&["AS"]) {
            return Err(self.unexpected("AS and a query"));
        }
        Ok((path, materialized.then_some(kept)))
    }

    /// A dotted name, its parts in back-ticks or not; a project's name may hold dashes.
    fn name(&mut self) -> Result<Vec<String>, SqlError> {
        let mut path = String::new();
        loop {
            match self.peek() {
                Some(Token::Word(word)) => path.push_str(&word.value),
                // `my-project.1st`: the tokenizer takes digits for a number, a dot with them.
                Some(Token::Number(digits, _)) if !path.is_empty() => path.push_str(digits),
                _ => return Err(self.unexpected("the view's name")),
            }
            self.at += 1;
            match self.peek() {
                Some(Token::Period) => path.push('.'),
                Some(Token::Minus) => path.push('-'),
                _ => return Ok(path.split('.').map(str::to_owned).collect()),
            }
            self.at += 1;
        }
    }

    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Reads these words if they are what comes next.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let found = self
            .tokens
            .get(self.at..self.at + words.len())
            .is_some_and(|tokens| tokens.iter().zip(words).all(|(token, word)| is_word(&token.token, word)));
        if found {
            self.at += words.len();
        }
        found
    }

    /// Reads on to the first of these words that is not in parentheses.
    fn skip_to(&mut self, words: &[&str]) {
        let mut depth: usize = 0;
        while let Some(token) = self.peek() {
            match token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                token if depth == 0 && words.iter().any(|word| is_word(token, word)) => return,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// What is not read yet, for the parser.
    fn rest(&self) -> Vec<TokenWithSpan> {
        self.tokens.iter().skip(self.at).map(|token| (*token).clone()).collect()
    }

    /// A complaint about what comes next.
    pub(super) fn unexpected(&self, expected: &str) -> SqlError {
        match self.tokens.get(self.at) {
            Some(token) => SqlError::invalid(format!(
                "syntax error: expected {expected}, found {} at line {}, column {}",
                token.token, token.span.start.line, token.span.start.column
            )),
            None => {
                SqlError::invalid(format!("syntax error: expected {expected}, found the end of the text"))
            }
        }
    }
}

fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected))
}
