//! Text to tree.

use regex::Regex;

use super::FilterError;
use crate::map::severity_rank;

/// Longest filter in bytes (Cloud Logging's own limit).
const TEXT_BYTES_MAX: usize = 20_000;
/// Deepest nesting of parentheses and negations.
const DEPTH_MAX: usize = 64;
/// Largest compiled regular expression in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A filter as a tree.
#[derive(Debug, Clone)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Compare(Path, Operator, Operand),
}

/// A field of a log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    Severity,
    LogName,
    InsertId,
    Timestamp,
    ReceiveTimestamp,
    Trace,
    SpanId,
    TraceSampled,
    TextPayload,
    ResourceType,
    ResourceLabel(String),
    Label(String),
    /// The keys from `jsonPayload` down, at least one.
    Payload(Vec<String>),
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Has,
    Matches,
    NotMatches,
}

/// What a field is compared with, read once in every way that it may be needed.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    /// In lower case.
    pub(super) text: String,
    pub(super) integer: Option<i64>,
    pub(super) number: Option<f64>,
    pub(super) severity: Option<i64>,
    pub(super) instant: Option<(i64, u32)>,
    pub(super) regex: Option<Regex>,
    /// `:*`, whether the field is there at all.
    pub(super) exists: bool,
}

/// Compiles a text.
pub(super) fn parse(text: &str) -> Result<Node, FilterError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    if text.len() > TEXT_BYTES_MAX {
        return Err(parser.error(0, format!("a filter has at most {TEXT_BYTES_MAX} bytes")));
    }
    parser.skip_space();
    if parser.rest().is_empty() {
        return Ok(Node::All(Vec::new()));
    }
    let node = parser.all()?;
    if parser.rest().is_empty() { Ok(node) } else { Err(parser.unexpected("AND, OR or a comparison")) }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, at: usize, what: impl Into<String>) -> FilterError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        FilterError {
            what: what.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn unexpected(&self, expected: &str) -> FilterError {
        let found = self.rest().chars().next().map_or("the end".to_owned(), |found| format!("{found:?}"));
        self.error(self.at, format!("expected {expected}, found {found}"))
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("--") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
            self.skip_space();
        }
        found
    }

    fn keyword(&mut self, word: &str) -> bool {
        let ends = |rest: &str| !rest.starts_with(|next: char| is_bare(next) || "=!<>:".contains(next));
        self.rest().strip_prefix(word).is_some_and(ends) && self.eat(word)
    }

    fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        if self.depth == DEPTH_MAX {
            return Err(self.error(self.at, format!("nested more than {DEPTH_MAX} levels deep")));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn all(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.any()?];
        while !self.rest().is_empty() && !self.rest().starts_with(')') {
            self.keyword("AND");
            nodes.push(self.any()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn any(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.one()?];
        while self.keyword("OR") {
            nodes.push(self.one()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn one(&mut self) -> Result<Node, FilterError> {
        if self.keyword("NOT") || self.eat("-") {
            return Ok(Node::Not(Box::new(self.nested(Self::one)?)));
        }
        if self.eat("(") {
            let node = self.nested(Self::all)?;
            return if self.eat(")") { Ok(node) } else { Err(self.unexpected("a closing parenthesis")) };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Node, FilterError> {
        let start = self.at;
        let names = self.names()?;
        if self.rest().starts_with('(') {
            return Err(self.error(start, "functions are not supported in a sink filter"));
        }
        let Some(operator) = self.operator() else {
            let what = "a search term without a field is not supported, write FIELD:\"text\"";
            return Err(self.error(start, what));
        };
        let path = Path::from_names(names).map_err(|what| self.error(start, what))?;
        self.values(&path, operator)
    }

    /// One operand or a parenthesised list of them joined by AND or OR.
    fn values(&mut self, path: &Path, operator: Operator) -> Result<Node, FilterError> {
        if !self.eat("(") {
            let start = self.at;
            let (text, quoted) = self.literal()?;
            let operand =
                Operand::new(&text, quoted, path, operator).map_err(|what| self.error(start, what))?;
            return Ok(Node::Compare(path.clone(), operator, operand));
        }
        let node = self.nested(|parser| {
            let mut all = Vec::new();
            loop {
                let mut any = vec![parser.values(path, operator)?];
                while parser.keyword("OR") {
                    any.push(parser.values(path, operator)?);
                }
                all.push(if any.len() == 1 { any.remove(0) } else { Node::Any(any) });
                if !parser.keyword("AND") {
                    return Ok(if all.len() == 1 { all.remove(0) } else { Node::All(all) });
                }
            }
        })?;
        if self.eat(")") { Ok(node) } else { Err(self.unexpected("AND, OR or a closing parenthesis")) }
    }

    fn operator(&mut self) -> Option<Operator> {
        const OPERATORS: [(&str, Operator); 9] = [
            ("=~", Operator::Matches),
            ("!~", Operator::NotMatches),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
            (":", Operator::Has),
        ];
        OPERATORS.into_iter().find(|(token, _)| self.eat(token)).map(|(_, operator)| operator)
    }

    /// The names of a path, joined by dots.
    fn names(&mut self) -> Result<Vec<String>, FilterError> {
        let mut names = Vec::new();
        loop {
            names.push(if self.rest().starts_with(['"', '\'']) {
                self.quoted()?
            } else {
                self.bare(|letter| letter.is_alphanumeric() || "_-/@".contains(letter), "a field")?
            });
            if !self.rest().starts_with('.') {
                self.skip_space();
                return Ok(names);
            }
            self.at += 1;
        }
    }

    fn literal(&mut self) -> Result<(String, bool), FilterError> {
        let quoted = self.rest().starts_with(['"', '\'']);
        let text = if quoted { self.quoted()? } else { self.bare(is_bare, "a value")? };
        self.skip_space();
        Ok((text, quoted))
    }

    fn bare(&mut self, part: impl Fn(char) -> bool, expected: &str) -> Result<String, FilterError> {
        let rest = self.rest();
        let length = rest.find(|letter| !part(letter)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected(expected));
        }
        self.at += length;
        Ok(rest[..length].to_owned())
    }

    fn quoted(&mut self) -> Result<String, FilterError> {
        let start = self.at;
        let mut letters = self.rest().char_indices();
        let quote = letters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((index, letter)) = letters.next() {
            match letter {
                _ if Some(letter) == quote => {
                    self.at += index + 1;
                    return Ok(text);
                }
                '\\' => match letters.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(same @ ('\\' | '"' | '\'')) => text.push(same),
                    // In regular expressions a backslash is mostly meant for them.
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                _ => text.push(letter),
            }
        }
        Err(self.error(start, "this quote is never closed"))
    }
}

fn is_bare(letter: char) -> bool {
    letter.is_alphanumeric() || "_-./+*@%$#&,;[]{}^|?".contains(letter)
}

impl Path {
    fn from_names(names: Vec<String>) -> Result<Self, String> {
        let names_text: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(match names_text.as_slice() {
            ["severity"] => Self::Severity,
            ["logName"] => Self::LogName,
            ["insertId"] => Self::InsertId,
            ["timestamp"] => Self::Timestamp,
            ["receiveTimestamp"] => Self::ReceiveTimestamp,
            ["trace"] => Self::Trace,
            ["spanId"] => Self::SpanId,
            ["traceSampled"] => Self::TraceSampled,
            ["textPayload"] => Self::TextPayload,
            ["resource", "type"] => Self::ResourceType,
            ["resource", "labels", label] => Self::ResourceLabel((*label).to_owned()),
            ["labels", label] => Self::Label((*label).to_owned()),
            ["jsonPayload", _, ..] => Self::Payload(names.into_iter().skip(1).collect()),
            _ => {
                let known = "severity, logName, insertId, timestamp, receiveTimestamp, trace, spanId, \
                    traceSampled, textPayload, resource.type, resource.labels.KEY, labels.KEY, \
                    jsonPayload.KEY";
                return Err(format!("field {} is not supported, there are {known}", names.join(".")));
            }
        })
    }

    fn is_time(&self) -> bool {
        matches!(self, Self::Timestamp | Self::ReceiveTimestamp)
    }
}

impl Operand {
    fn new(text: &str, quoted: bool, path: &Path, operator: Operator) -> Result<Self, String> {
        let is_regex = matches!(operator, Operator::Matches | Operator::NotMatches);
        let exists = operator == Operator::Has && text == "*" && !quoted;
        let severity = text.parse().ok().or_else(|| severity_rank(text)).filter(|_| *path == Path::Severity);
        let instant = if path.is_time() { parse_instant(text) } else { None };
        let ordered = path.is_time() || *path == Path::Severity;
        if ordered && (is_regex || (operator == Operator::Has && !exists)) {
            return Err("this field takes = != < <= > >= only".to_owned());
        }
        if *path == Path::Severity && severity.is_none() && !exists {
            return Err(format!(
                "{text:?} is not a severity, take DEFAULT, DEBUG, INFO, NOTICE, WARNING, ERROR, CRITICAL, ALERT or EMERGENCY"
            ));
        }
        if path.is_time() && instant.is_none() && !exists {
            return Err(format!("{text:?} is not a time, write \"2026-01-31T12:00:00Z\" or \"2026-01-31\""));
        }
        let regex = is_regex.then(|| regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build());
        let regex = regex.transpose().map_err(|error| format!("not a regular expression: {error}"))?;
        Ok(Self {
            text: text.to_lowercase(),
            integer: text.parse().ok(),
            number: text.parse().ok(),
            severity,
            instant,
            regex,
            exists,
        })
    }
}

/// Seconds and nanoseconds since 1970 of an RFC 3339 time or a day.
pub(crate) fn parse_instant(text: &str) -> Option<(i64, u32)> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let time = time.or_else(|| {
        let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(day.and_hms_opt(0, 0, 0)?.and_utc())
    })?;
    Some((time.timestamp(), time.timestamp_subsec_nanos()))
}
