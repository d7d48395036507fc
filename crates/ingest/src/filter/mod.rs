//! The sink filter: which entries go to which topic, in a subset of the Cloud Logging query language
//! (<https://cloud.google.com/logging/docs/view/logging-query-language>).
//!
//! Taken: `=` `!=` `<` `<=` `>` `>=` `:` (holds; `:*` exists) `=~` `!~` on `severity`, `logName`,
//! `insertId`, `timestamp`, `receiveTimestamp`, `trace`, `spanId`, `traceSampled`, `textPayload`,
//! `resource.type`, `resource.labels.KEY`, `labels.KEY` and `jsonPayload.KEY...` (keys with dots in
//! quotes: `jsonPayload."event.name"`); `AND`, `OR`, `NOT`, `-`, parentheses, lists of values
//! (`severity=(ERROR OR ALERT)`), `--` comments; two comparisons side by side are joined by AND, and OR
//! binds more tightly than AND, as there. Texts compare without case, regular expressions with it.
//! A comparison with a payload or label field that an entry has not is false, `!=` and `!~` too.
//! Anything else (search terms without a field, functions, other fields) is an error with its position.

mod entry;
mod eval;
mod parse;

pub(crate) use entry::JsonEntry;
pub(crate) use eval::{Entry, Scalar};
pub(crate) use parse::{Path, parse_instant};

/// A sink: entries that pass the filter (all of them when there is none) get a copy in the topic.
#[derive(Debug, Clone)]
pub struct Route {
    /// The sink's name, for people.
    pub name: String,
    /// The topic that takes its entries.
    pub topic: String,
    /// Which entries it takes.
    pub filter: Option<Filter>,
}

impl Route {
    pub(crate) fn takes(&self, entry: &dyn Entry) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(entry))
    }
}

/// The routes that take an entry, a bit each.
pub(crate) fn routes_of(routes: &[Route], entry: &dyn Entry) -> u64 {
    routes.iter().enumerate().fold(0, |bits, (index, route)| bits | u64::from(route.takes(entry)) << index)
}

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    tree: parse::Node,
}

/// Why a text is not a filter that is supported here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter, line {line} column {column}: {what}")]
pub struct FilterError {
    /// What is wrong and what to write instead.
    pub what: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
}

impl Filter {
    /// Compiles a filter; the empty text takes every entry.
    ///
    /// # Errors
    /// When the text is malformed or uses something that is not supported.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Ok(Self { text: text.to_owned(), tree: parse::parse(text)? })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, entry: &dyn Entry) -> bool {
        eval::matches(&self.tree, entry)
    }
}
