//! Strings (<https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions>). Positions
//! count characters from 1; a regular expression is compiled once for all rows that share it.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use regex::{Regex, RegexBuilder};

use super::scalar::{Call, Cell, Definition, Form, Gives, Texts, form, optional};
use crate::types::Kind;

const TEXT: &[Kind] = &[Kind::String];
const INT: &[Kind] = &[Kind::Int];
const MAPPED: &[Form] = &[form(&[TEXT], Kind::String)];
const TRIMMED: &[Form] = &[optional(1, &[TEXT, TEXT], Kind::String)];
const TESTED: &[Form] = &[form(&[TEXT, TEXT], Kind::Bool)];
const PADDED: &[Form] = &[optional(1, &[TEXT, INT, TEXT], Kind::String)];

/// Longest text that REPEAT and the paddings make: beyond it a query would eat memory row by row.
const MADE_BYTES_MAX: usize = 1 << 20;
/// Largest compiled regular expression; the engine itself takes time linear in the text.
const REGEX_BYTES_MAX: usize = 1 << 20;

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "concat",
        forms: &[
            Form { takes: &[TEXT], optional: 0, many: true, gives: Gives::One(Kind::String) },
            Form { takes: &[&[Kind::Bytes]], optional: 0, many: true, gives: Gives::One(Kind::Bytes) },
        ],
        eval: concat,
    },
    Definition { name: "length", forms: &[form(&[&[Kind::String, Kind::Bytes]], Kind::Int)], eval: length },
    Definition {
        name: "byte_length",
        forms: &[form(&[&[Kind::String, Kind::Bytes]], Kind::Int)],
        eval: byte_length,
    },
    Definition { name: "lower", forms: MAPPED, eval: |call| map(call, |text| text.to_lowercase().into()) },
    Definition { name: "upper", forms: MAPPED, eval: |call| map(call, |text| text.to_uppercase().into()) },
    Definition {
        name: "reverse",
        forms: MAPPED,
        eval: |call| map(call, |text| text.chars().rev().collect()),
    },
    Definition { name: "trim", forms: TRIMMED, eval: |call| trim(call, true, true) },
    Definition { name: "ltrim", forms: TRIMMED, eval: |call| trim(call, true, false) },
    Definition { name: "rtrim", forms: TRIMMED, eval: |call| trim(call, false, true) },
    Definition {
        name: "starts_with",
        forms: TESTED,
        eval: |call| test(call, |text, other| text.starts_with(other)),
    },
    Definition {
        name: "ends_with",
        forms: TESTED,
        eval: |call| test(call, |text, other| text.ends_with(other)),
    },
    Definition { name: "strpos", forms: &[form(&[TEXT, TEXT], Kind::Int)], eval: strpos },
    Definition { name: "substr", forms: &[optional(1, &[TEXT, INT, INT], Kind::String)], eval: substr },
    Definition { name: "left", forms: &[form(&[TEXT, INT], Kind::String)], eval: |call| side(call, true) },
    Definition { name: "right", forms: &[form(&[TEXT, INT], Kind::String)], eval: |call| side(call, false) },
    Definition { name: "replace", forms: &[form(&[TEXT, TEXT, TEXT], Kind::String)], eval: replace },
    Definition { name: "repeat", forms: &[form(&[TEXT, INT], Kind::String)], eval: repeat },
    Definition { name: "lpad", forms: PADDED, eval: |call| pad(call, true) },
    Definition { name: "rpad", forms: PADDED, eval: |call| pad(call, false) },
    Definition {
        name: "split",
        forms: &[Form { takes: &[TEXT, TEXT], optional: 1, many: false, gives: Gives::Many(Kind::String) }],
        eval: split,
    },
    Definition { name: "regexp_contains", forms: TESTED, eval: regexp_contains },
    Definition { name: "regexp_extract", forms: &[form(&[TEXT, TEXT], Kind::String)], eval: regexp_extract },
    Definition {
        name: "regexp_replace",
        forms: &[form(&[TEXT, TEXT, TEXT], Kind::String)],
        eval: regexp_replace,
    },
];

fn map(call: &Call<'_>, function: fn(&str) -> Cow<'_, str>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    call.collect_text(|row| Ok(texts.get(row).map(function)))
}

fn test(call: &Call<'_>, function: fn(&str, &str) -> bool) -> Result<ArrayRef> {
    let (texts, others) = (call.texts(0)?, call.texts(1)?);
    call.collect_bools(|row| {
        Ok(texts.get(row).zip(others.get(row)).map(|(text, other)| function(text, other)))
    })
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Bytes {
        let parts: Vec<_> = (0..call.args.len()).map(|index| call.blobs(index)).collect::<Result<_>>()?;
        return call.collect_blobs(|row| {
            Ok(parts.iter().map(|part| part.get(row)).collect::<Option<Vec<_>>>().map(|parts| parts.concat()))
        });
    }
    let parts: Vec<_> = (0..call.args.len()).map(|index| call.texts(index)).collect::<Result<_>>()?;
    call.collect_text(|row| {
        Ok(parts.iter().map(|part| part.get(row)).collect::<Option<Vec<_>>>().map(|parts| parts.concat()))
    })
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn length(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Bytes {
        return byte_length(call);
    }
    let texts = call.texts(0)?;
    call.collect::<Int64Type>(|row| Ok(texts.get(row).map(|text| signed(text.chars().count()))))
}

fn byte_length(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Bytes {
        let values = call.blobs(0)?;
        return call.collect::<Int64Type>(|row| Ok(values.get(row).map(|bytes| signed(bytes.len()))));
    }
    let texts = call.texts(0)?;
    call.collect::<Int64Type>(|row| Ok(texts.get(row).map(|text| signed(text.len()))))
}

/// Without a second argument white space goes, as Unicode defines it.
fn trim(call: &Call<'_>, start: bool, end: bool) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let sets = if call.args.len() > 1 { Some(call.texts(1)?) } else { None };
    call.collect_text(|row| {
        let Some(text) = texts.get(row) else { return Ok(None) };
        let set = match &sets {
            Some(sets) => match sets.get(row) {
                Some(set) => Some(set),
                None => return Ok(None),
            },
            None => None,
        };
        let drop = |c: char| set.map_or_else(|| c.is_whitespace(), |set| set.contains(c));
        let text = if start { text.trim_start_matches(drop) } else { text };
        Ok(Some(if end { text.trim_end_matches(drop) } else { text }))
    })
}

fn strpos(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, others) = (call.texts(0)?, call.texts(1)?);
    call.collect::<Int64Type>(|row| {
        Ok(texts
            .get(row)
            .zip(others.get(row))
            .map(|(text, other)| text.find(other).map_or(0, |at| signed(text[..at].chars().count()) + 1)))
    })
}

/// The byte position of a character counted from 0, or the end.
fn byte_at(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}

/// From a position counted from 1, or from the end when it is negative; 0 is 1.
fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, positions) = (call.texts(0)?, call.ints(1)?);
    let counts = call.ints_or(2, i64::MAX)?;
    call.collect_text(|row| {
        let (Some(text), Some(position), Some(count)) = (texts.get(row), positions.get(row), counts.get(row))
        else {
            return Ok(None);
        };
        let count = usize::try_from(count).map_err(|_| "a length cannot be negative".to_owned())?;
        let start = match position {
            0 | 1 => 0,
            2.. => byte_at(text, usize::try_from(position - 1).unwrap_or(usize::MAX)),
            _ => {
                let length = signed(text.chars().count());
                byte_at(text, usize::try_from((length.saturating_add(position)).max(0)).unwrap_or(usize::MAX))
            }
        };
        let rest = &text[start..];
        Ok(Some(&rest[..byte_at(rest, count)]))
    })
}

fn side(call: &Call<'_>, left: bool) -> Result<ArrayRef> {
    let (texts, counts) = (call.texts(0)?, call.ints(1)?);
    call.collect_text(|row| {
        let (Some(text), Some(count)) = (texts.get(row), counts.get(row)) else { return Ok(None) };
        let count = usize::try_from(count).map_err(|_| "a length cannot be negative".to_owned())?;
        if left {
            return Ok(Some(&text[..byte_at(text, count)]));
        }
        let length = text.chars().count();
        Ok(Some(&text[byte_at(text, length.saturating_sub(count))..]))
    })
}

fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, wanted, others) = (call.texts(0)?, call.texts(1)?, call.texts(2)?);
    call.collect_text(|row| {
        let (Some(text), Some(wanted), Some(other)) = (texts.get(row), wanted.get(row), others.get(row))
        else {
            return Ok(None);
        };
        // An empty text is found nowhere.
        Ok(Some(if wanted.is_empty() { text.to_owned() } else { text.replace(wanted, other) }))
    })
}

fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, counts) = (call.texts(0)?, call.ints(1)?);
    call.collect_text(|row| {
        let (Some(text), Some(count)) = (texts.get(row), counts.get(row)) else { return Ok(None) };
        let count = usize::try_from(count).map_err(|_| "a count cannot be negative".to_owned())?;
        match text.len().checked_mul(count) {
            Some(bytes) if bytes <= MADE_BYTES_MAX => Ok(Some(text.repeat(count))),
            _ => Err(format!("the result would have more than {MADE_BYTES_MAX} bytes")),
        }
    })
}

fn pad(call: &Call<'_>, left: bool) -> Result<ArrayRef> {
    let (texts, lengths, patterns) = (call.texts(0)?, call.ints(1)?, call.texts_or(2, " ")?);
    call.collect_text(|row| {
        let (Some(text), Some(length), Some(pattern)) = (texts.get(row), lengths.get(row), patterns.get(row))
        else {
            return Ok(None);
        };
        let length = usize::try_from(length).map_err(|_| "a length cannot be negative".to_owned())?;
        if length > MADE_BYTES_MAX {
            return Err(format!("the result would have more than {MADE_BYTES_MAX} characters"));
        }
        let has = text.chars().count();
        if has >= length {
            return Ok(Some(text[..byte_at(text, length)].to_owned()));
        }
        if pattern.is_empty() {
            return Err("the pattern is empty".to_owned());
        }
        let padding: String = pattern.chars().cycle().take(length - has).collect();
        Ok(Some(if left { padding + text } else { text.to_owned() + &padding }))
    })
}

fn split(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, delimiters) = (call.texts(0)?, call.texts_or(1, ",")?);
    let DataType::List(item) = call.gives.data_type() else {
        return internal_err!("SPLIT gives an array");
    };
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(item));
    for row in 0..call.rows {
        match texts.get(row).zip(delimiters.get(row)) {
            Some((text, "")) => {
                text.char_indices()
                    .for_each(|(at, c)| builder.values().append_value(&text[at..at + c.len_utf8()]));
                builder.append(true);
            }
            Some((text, delimiter)) => {
                text.split(delimiter).for_each(|part| builder.values().append_value(part));
                builder.append(true);
            }
            None => builder.append(false),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// The last regular expression, compiled: a query nearly always has one for all rows.
#[derive(Default)]
struct Compiled {
    text: String,
    regex: Option<Result<Regex, String>>,
}

impl Compiled {
    fn get(&mut self, text: &str) -> Result<&Regex, String> {
        if self.regex.is_none() || self.text != text {
            let compiled =
                RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build();
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

/// The first match, or what its one group caught.
fn regexp_extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, mut compiled) = (call.texts(0)?, call.texts(1)?, Compiled::default());
    call.collect_text(|row| {
        with_regex(&texts, &patterns, row, &mut compiled, |regex, text| match regex.captures_len() {
            1 => Ok(regex.find(text).map(|found| found.as_str())),
            2 => Ok(regex.captures(text).and_then(|captures| captures.get(1)).map(|found| found.as_str())),
            _ => Err("the regular expression has more than one group".to_owned()),
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
}
