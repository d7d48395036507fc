//! Regular expressions
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions#regexp_contains>). One
//! is compiled once for all rows that share it.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use regex::{Regex, RegexBuilder};

use super::pattern::translated;
use super::scalar::{Call, Cell, Definition, Form, Gives, Texts, form, optional};
use super::string::{byte_at, signed};
use crate::types::Kind;

const TEXT: &[Kind] = &[Kind::String];
const INT: &[Kind] = &[Kind::Int];
const EXTRACTED: &[Form] = &[optional(2, &[TEXT, TEXT, INT, INT], Kind::String)];

/// Largest compiled regular expression; the engine itself takes time linear in the text.
const REGEX_BYTES_MAX: usize = 1 << 20;

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition { name: "regexp_contains", forms: &[form(&[TEXT, TEXT], Kind::Bool)], eval: regexp_contains },
    Definition { name: "regexp_extract", forms: EXTRACTED, eval: regexp_extract },
    Definition { name: "regexp_substr", forms: EXTRACTED, eval: regexp_extract },
    Definition {
        name: "regexp_extract_all",
        forms: &[Form { takes: &[TEXT, TEXT], optional: 0, many: false, gives: Gives::Many(Kind::String) }],
        eval: regexp_extract_all,
    },
    Definition {
        name: "regexp_instr",
        forms: &[optional(3, &[TEXT, TEXT, INT, INT, INT], Kind::Int)],
        eval: regexp_instr,
    },
    Definition {
        name: "regexp_replace",
        forms: &[form(&[TEXT, TEXT, TEXT], Kind::String)],
        eval: regexp_replace,
    },
];

/// The last regular expression, compiled: a query nearly always has one for all rows.
#[derive(Default)]
struct Compiled {
    text: String,
    regex: Option<Result<Regex, String>>,
}

impl Compiled {
    fn get(&mut self, text: &str) -> Result<&Regex, String> {
        if self.regex.is_none() || self.text != text {
            let compiled = RegexBuilder::new(&translated(text))
                .size_limit(REGEX_BYTES_MAX)
                .dfa_size_limit(REGEX_BYTES_MAX)
                .build();
            let reason = |error: regex::Error| {
                let last = error.to_string();
                format!(
                    "cannot compile the regular expression: {}",
                    last.lines().last().unwrap_or_default().trim()
                )
            };
            self.regex = Some(compiled.map_err(reason));
            text.clone_into(&mut self.text);
        }
        match &self.regex {
            Some(Ok(regex)) => Ok(regex),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("no regular expression".to_owned()),
        }
    }
}

fn with_regex<'a, T>(
    texts: &Texts<'a>,
    patterns: &Texts<'_>,
    row: usize,
    compiled: &mut Compiled,
    function: impl FnOnce(&Regex, &'a str) -> Cell<T>,
) -> Cell<T> {
    match texts.get(row).zip(patterns.get(row)) {
        Some((text, pattern)) => function(compiled.get(pattern)?, text),
        None => Ok(None),
    }
}

fn regexp_contains(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, mut compiled) = (call.texts(0)?, call.texts(1)?, Compiled::default());
    call.collect_bools(|row| {
        with_regex(&texts, &patterns, row, &mut compiled, |regex, text| Ok(Some(regex.is_match(text))))
    })
}

/// The places of all matches, or of what their one group caught, one after another; `None` for a match
/// whose group caught nothing. As BigQuery's library steps on, and not as ours does: an empty match right
/// behind another one counts.
struct Places<'r, 't> {
    regex: &'r Regex,
    text: &'t str,
    at: usize,
    done: bool,
}

impl Iterator for Places<'_, '_> {
    type Item = Option<(usize, usize)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let Some(captures) = self.regex.captures_at(self.text, self.at) else {
            self.done = true;
            return None;
        };
        let whole = captures.get(0)?;
        self.at = whole.end();
        if whole.is_empty() {
            self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        }
        self.done = self.at >= self.text.len();
        let found = if self.regex.captures_len() == 1 { Some(whole) } else { captures.get(1) };
        Some(found.map(|found| (found.start(), found.end())))
    }
}

fn places<'r, 't>(regex: &'r Regex, text: &'t str) -> Result<Places<'r, 't>, String> {
    match regex.captures_len() {
        1 | 2 => Ok(Places { regex, text, at: 0, done: false }),
        _ => Err("the regular expression has more than one group".to_owned()),
    }
}

/// The text from a position on, counted from 1, and how many occurrences are to be passed over.
fn window(text: &str, position: i64, occurrence: i64) -> Result<Option<(usize, usize)>, String> {
    let positive = |value: i64, what: &str| match usize::try_from(value) {
        Ok(value) if value > 0 => Ok(value - 1),
        _ => Err(format!("{what} is a number from 1 on, not {value}")),
    };
    let (skipped, passed) = (positive(position, "the position")?, positive(occurrence, "the occurrence")?);
    let start = byte_at(text, skipped);
    // Behind the end there is nothing to be found, not even an empty text.
    Ok((skipped == 0 || start < text.len()).then_some((start, passed)))
}

/// The first match from a position on, or the n-th one, or what its one group caught.
fn regexp_extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, mut compiled) = (call.texts(0)?, call.texts(1)?, Compiled::default());
    let (positions, occurrences) = (call.ints_or(2, 1)?, call.ints_or(3, 1)?);
    call.collect_text(|row| {
        let (Some(position), Some(occurrence)) = (positions.get(row), occurrences.get(row)) else {
            return Ok(None);
        };
        with_regex(&texts, &patterns, row, &mut compiled, |regex, text| {
            let Some((start, passed)) = window(text, position, occurrence)? else { return Ok(None) };
            let rest = &text[start..];
            Ok(places(regex, rest)?.nth(passed).flatten().map(|(from, to)| &rest[from..to]))
        })
    })
}

fn regexp_extract_all(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, mut compiled) = (call.texts(0)?, call.texts(1)?, Compiled::default());
    let DataType::List(item) = call.gives.data_type() else {
        return internal_err!("REGEXP_EXTRACT_ALL gives an array");
    };
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
    for row in 0..call.rows {
        let found = with_regex(&texts, &patterns, row, &mut compiled, |regex, text| {
            // A group that caught nothing is an empty text here.
            let found = places(regex, text)?.map(|place| place.map_or("", |(from, to)| &text[from..to]));
            Ok(Some(found.collect::<Vec<_>>()))
        });
        let found = call.settle(found)?;
        found.iter().flatten().for_each(|part| builder.values().append_value(part));
        builder.append(found.is_some());
    }
    Ok(Arc::new(builder.finish()))
}

/// Where a match begins, or with 1 as the last argument where it has ended, counted from 1; 0 for none.
fn regexp_instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, mut compiled) = (call.texts(0)?, call.texts(1)?, Compiled::default());
    let (positions, occurrences, ends) = (call.ints_or(2, 1)?, call.ints_or(3, 1)?, call.ints_or(4, 0)?);
    call.collect::<Int64Type>(|row| {
        let (Some(position), Some(occurrence), Some(end)) =
            (positions.get(row), occurrences.get(row), ends.get(row))
        else {
            return Ok(None);
        };
        if !matches!(end, 0 | 1) {
            return Err(format!("the last argument is 0 for a match's begin or 1 for its end, not {end}"));
        }
        with_regex(&texts, &patterns, row, &mut compiled, |regex, text| {
            let Some((start, passed)) = window(text, position, occurrence)? else { return Ok(Some(0)) };
            let rest = &text[start..];
            if rest.is_empty() || regex.as_str().is_empty() {
                return Ok(Some(0));
            }
            let place = places(regex, rest)?.nth(passed).flatten();
            Ok(Some(place.map_or(0, |(from, to)| {
                let bytes = if end == 0 { from } else { to };
                signed(rest[..bytes].chars().count()) + position
            })))
        })
    })
}

/// `\1` to `\9` in the replacement are groups, `\0` the whole match, `\\` a backslash.
fn regexp_replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, others) = (call.texts(0)?, call.texts(1)?, call.texts(2)?);
    let mut compiled = Compiled::default();
    call.collect_text(|row| {
        let Some(other) = others.get(row) else { return Ok(None) };
        with_regex(&texts, &patterns, row, &mut compiled, |regex, text| {
            let replacement = replacement(other, regex.captures_len())?;
            Ok(Some(regex.replace_all(text, replacement.as_str())))
        })
    })
}

/// The replacement in the spelling of the library: `${1}` for `\1`, `$$` for `$`.
fn replacement(text: &str, groups: usize) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => out.push_str("$$"),
            '\\' => {
                match characters.next() {
                    Some('\\') => out.push('\\'),
                    Some(digit) if digit.to_digit(10).is_some_and(|group| (group as usize) < groups) => {
                        out.push_str(&format!("${{{digit}}}"));
                    }
                    _ => return Err(
                        "a backslash in the replacement is followed by no group of the regular expression"
                            .to_owned(),
                    ),
                }
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_rewritten() {
        assert_eq!(replacement(r"a\1$\\", 2).unwrap(), "a${1}$$\\");
        assert!(replacement(r"\2", 2).is_err() && replacement("\\", 2).is_err());
    }

    #[test]
    fn a_regex_bomb_is_an_error() {
        assert!(Compiled::default().get(r"((a{1000}){1000}){1000}").is_err());
        assert!(Compiled::default().get("(").is_err());
    }

    #[test]
    fn matches_follow_one_another_as_in_bigquery() {
        let all = |pattern: &str, text: &str| {
            let regex = Regex::new(pattern).unwrap();
            places(&regex, text).unwrap().map(|place| place.unwrap_or((9, 9))).collect::<Vec<_>>()
        };
        assert_eq!(all("ana", "banana"), [(1, 4)]);
        assert_eq!(all("a*", "ab"), [(0, 1), (1, 1)]);
        assert_eq!(all("x*", ""), [(0, 0)]);
        assert_eq!(all("(b)?.", "ac"), [(9, 9), (9, 9)]);
    }
}
