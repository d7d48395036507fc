//! The OPTIONS of a view
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#materialized_view_option_list>).

use std::time::Duration;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::definition::Header;
use crate::error::SqlError;
use crate::suggest::nearest;

/// BigQuery's bounds of a refresh interval: a minute and 7 days
/// (<https://cloud.google.com/bigquery/docs/materialized-views-manage#frequency_cap>).
const REFRESH_INTERVAL_MINUTES: std::ops::RangeInclusive<f64> = 1.0..=7.0 * 24.0 * 60.0;

/// How a materialised view's result is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Materialized {
    /// Whether the result is renewed without being asked for.
    pub enable_refresh: bool,
    /// Time between two refreshes.
    pub refresh_interval: Duration,
    /// How old a stored result may be and still be read while the tables below it change; `None`: it is
    /// read only as long as they do not.
    pub max_staleness: Option<Duration>,
}

impl Default for Materialized {
    /// What BigQuery takes when OPTIONS say nothing.
    fn default() -> Self {
        Self { enable_refresh: true, refresh_interval: Duration::from_secs(30 * 60), max_staleness: None }
    }
}

/// Options that say how a result is kept.
const OF_RESULTS: [&str; 4] =
    ["enable_refresh", "refresh_interval_minutes", "max_staleness", "allow_non_incremental_definition"];
/// Options that only describe; nothing here reads them.
const OF_PEOPLE: [&str; 4] = ["description", "friendly_name", "labels", "tags"];

/// Reads `(key = value, ...)`.
///
/// # Errors
/// Keys that BigQuery has not, those whose promise would not be kept here, values of a wrong kind.
pub(super) fn options(header: &mut Header<'_>, materialized: bool) -> Result<Materialized, SqlError> {
    let mut kept = Materialized::default();
    if !matches!(header.next(), Some(Token::LParen)) {
        return Err(SqlError::invalid("syntax error: expected ( behind OPTIONS"));
    }
    loop {
        let key = match header.peek() {
            Some(Token::RParen) => {
                header.next();
                return Ok(kept);
            }
            Some(Token::Word(word)) => word.value.to_lowercase(),
            _ => return Err(header.unexpected("the name of an option")),
        };
        header.next();
        if !matches!(header.peek(), Some(Token::Eq)) {
            return Err(header.unexpected("="));
        }
        header.next();
        let value = value(header);
        match key.as_str() {
            "enable_refresh" if materialized => kept.enable_refresh = boolean(&key, &value)?,
            // Every refresh computes the whole result: a definition need not be incremental here.
            "allow_non_incremental_definition" if materialized => {
                boolean(&key, &value)?;
            }
            "refresh_interval_minutes" if materialized => {
                kept.refresh_interval = minutes(&value)?;
            }
            "max_staleness" if materialized => kept.max_staleness = Some(interval(&value)?),
            known if OF_PEOPLE.contains(&known) => {}
            _ => return Err(unknown(&key, materialized)),
        }
        match header.peek() {
            Some(Token::Comma) => {
                header.next();
            }
            Some(Token::RParen) => {}
            _ => return Err(header.unexpected(", or ) in OPTIONS")),
        }
    }
}

fn unknown(key: &str, materialized: bool) -> SqlError {
    if !materialized && OF_RESULTS.contains(&key) {
        return SqlError::invalid(format!("option {key} is for materialised views"))
            .hint("write CREATE OR REPLACE MATERIALIZED VIEW");
    }
    let known = OF_PEOPLE.into_iter().chain(OF_RESULTS.into_iter().filter(|_| materialized));
    SqlError::unsupported(format!("option {key} of a view is not supported"))
        .maybe_hint(nearest(key, known).map(|near| format!("did you mean {near}?")))
}

/// The tokens of a value, up to the comma or parenthesis that ends it.
fn value<'a>(header: &mut Header<'a>) -> Vec<&'a Token> {
    let mut value = Vec::new();
    let mut depth: usize = 0;
    while let Some(token) = header.peek() {
        match token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::Comma if depth == 0 => break,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ => {}
        }
        value.push(token);
        header.next();
    }
    value
}

fn boolean(key: &str, value: &[&Token]) -> Result<bool, SqlError> {
    match value {
        [Token::Word(word)] if word.value.eq_ignore_ascii_case("true") => Ok(true),
        [Token::Word(word)] if word.value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(SqlError::invalid(format!("option {key} is true or false"))),
    }
}

fn minutes(value: &[&Token]) -> Result<Duration, SqlError> {
    let minutes = match value {
        [Token::Number(text, _)] => text.parse::<f64>().ok(),
        _ => None,
    };
    match minutes.filter(|minutes| REFRESH_INTERVAL_MINUTES.contains(minutes)) {
        Some(minutes) => Ok(Duration::from_secs_f64(minutes * 60.0)),
        None => Err(SqlError::invalid("option refresh_interval_minutes is a number from 1 to 10080")),
    }
}

/// The parts of an interval's text from the left, with their seconds and what stands before them
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#interval_literals>). Years and
/// months have no fixed length.
const PARTS: [(&str, Option<u32>); 6] = [
    ("YEAR", None),
    ("MONTH", None),
    ("DAY", Some(86_400)),
    ("HOUR", Some(3_600)),
    ("MINUTE", Some(60)),
    ("SECOND", Some(1)),
];

/// `INTERVAL 4 HOUR`, `INTERVAL "4" HOUR`, `INTERVAL "1:30:0" HOUR TO SECOND`.
fn interval(value: &[&Token]) -> Result<Duration, SqlError> {
    let wrong = || {
        SqlError::invalid("option max_staleness is an interval of days, hours, minutes or seconds")
            .hint("write INTERVAL \"4:0:0\" HOUR TO SECOND, or INTERVAL 4 HOUR")
    };
    let part = |token: &Token| match token {
        Token::Word(word) => PARTS.iter().position(|(name, _)| word.value.eq_ignore_ascii_case(name)),
        _ => None,
    };
    let is = |token: &Token, name: &str| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
    let (text, first, last) = match value {
        [begin, text, first] if is(begin, "INTERVAL") => (text, part(first), part(first)),
        [begin, text, first, to, last] if is(begin, "INTERVAL") && is(to, "TO") => {
            (text, part(first), part(last))
        }
        _ => return Err(wrong()),
    };
    let text = match text {
        Token::Number(text, _) | Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text,
        _ => return Err(wrong()),
    };
    let (Some(first), Some(last)) = (first, last) else { return Err(wrong()) };
    let numbers: Vec<&str> = text.split(['-', ' ', ':']).collect();
    if first > last || numbers.len() != last - first + 1 {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    for (number, (_, length)) in numbers.iter().zip(&PARTS[first..=last]) {
        let number = number.parse::<f64>().ok().filter(|number| *number >= 0.0).ok_or_else(wrong)?;
        match length {
            Some(length) => seconds += number * f64::from(*length),
            None if number == 0.0 => {}
            None => return Err(wrong()),
        }
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::super::definition::parse;
    use super::*;

    fn kept(options: &str) -> Result<Option<Materialized>, SqlError> {
        parse(&format!("CREATE MATERIALIZED VIEW a.b {options} AS SELECT 1 AS x"))
            .map(|definition| definition.materialized)
    }

    #[test]
    fn options_are_read_as_bigquery_writes_them() {
        assert_eq!(kept(""), Ok(Some(Materialized::default())));
        let all = "PARTITION BY DATE_TRUNC(day, MONTH) CLUSTER BY a, b OPTIONS (enable_refresh = true, refresh_interval_minutes = 60,
            max_staleness = INTERVAL \"1:0:0\" HOUR TO SECOND, allow_non_incremental_definition = true,
            description = 'AS, (what)', labels = [('a', 'b'), (\"c\", \"d\")],)";
        let expected = Materialized {
            enable_refresh: true,
            refresh_interval: Duration::from_secs(3600),
            max_staleness: Some(Duration::from_secs(3600)),
        };
        assert_eq!(kept(all), Ok(Some(expected)));
        for (text, seconds) in [
            ("4 HOUR", 14_400),
            ("\"4\" HOUR", 14_400),
            ("'0-0 1 2:3:4' YEAR TO SECOND", 93_784),
            ("'1 0' DAY TO HOUR", 86_400),
            ("\"0:30:0\" HOUR TO SECOND", 1800),
            ("'90:0' MINUTE TO SECOND", 5400),
        ] {
            let kept = kept(&format!("OPTIONS (max_staleness = INTERVAL {text})")).unwrap().unwrap();
            assert_eq!(kept.max_staleness, Some(Duration::from_secs(seconds)), "{text}");
        }
        assert!(!kept("OPTIONS (enable_refresh = FALSE)").unwrap().unwrap().enable_refresh);
    }

    #[test]
    fn options_that_are_not_understood_are_refused() {
        for (options, message) in [
            ("OPTIONS (enable_refresh = 1)", "true or false"),
            ("OPTIONS (enable_refresh)", "expected ="),
            ("OPTIONS (enable_refresh = true", "true or false"),
            ("OPTIONS enable_refresh = true", "expected ( behind OPTIONS"),
            ("OPTIONS (refresh_interval_minutes = 0)", "from 1 to 10080"),
            ("OPTIONS (refresh_interval_minutes = 'x')", "from 1 to 10080"),
            ("OPTIONS (max_staleness = INTERVAL 1 MONTH)", "interval of days"),
            ("OPTIONS (max_staleness = INTERVAL '1:0' HOUR TO SECOND)", "interval of days"),
            ("OPTIONS (max_staleness = INTERVAL -4 HOUR)", "interval of days"),
            ("OPTIONS (max_staleness = '4')", "interval of days"),
            ("OPTIONS (kms_key_name = 'k')", "kms_key_name of a view is not supported"),
            ("OPTIONS (expiration_timestamp = NULL)", "is not supported"),
            ("(a, b)", "list of columns"),
            ("WHAT", "expected AS"),
        ] {
            let error = kept(options).unwrap_err();
            assert!(error.message.contains(message), "{options}: {error:?}");
        }
        let near = kept("OPTIONS (max_stalenes = INTERVAL 4 HOUR)").unwrap_err();
        assert_eq!(near.hint.as_deref(), Some("did you mean max_staleness?"));
        let plain = parse("CREATE VIEW v OPTIONS (max_staleness = INTERVAL 4 HOUR) AS SELECT 1").unwrap_err();
        assert!(plain.message.contains("for materialised views"), "{plain:?}");
    }

    #[test]
    fn names_and_bodies_are_found() {
        for (sql, path) in [
            ("-- first\nCREATE OR REPLACE VIEW `p-1.d.v` AS SELECT 1", vec!["p-1", "d", "v"]),
            (
                "create view if not exists my-project.d.`v` OPTIONS () as (SELECT 1)",
                vec!["my-project", "d", "v"],
            ),
            ("WITH a AS (SELECT 1 AS x) SELECT * FROM a;", vec![]),
        ] {
            assert_eq!(parse(sql).unwrap().path, path, "{sql}");
        }
        assert!(parse("SELECT CURRENT_DATE() AS d").unwrap().varies);
        assert!(parse("SELECT * FROM t WHERE a IN (SELECT rand())").unwrap().varies);
        assert!(parse("SELECT CURRENT_DATE AS d").unwrap().varies, "the parentheses may be left out");
        assert!(!parse("SELECT rand, DATE(t) FROM t").unwrap().varies);
        let place = parse("CREATE VIEW v AS\nSELECT FROM WHERE").unwrap_err();
        assert!(place.message.contains("line 2"), "{place:?}");
        assert_eq!(parse("CREATE TABLE t (a INT64)").unwrap_err().code, crate::Code::ReadOnly);
    }
}
