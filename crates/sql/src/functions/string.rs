//! Strings (<https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions>). Positions
//! count characters from 1.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};

use super::scalar::{Call, Definition, Form, Gives, form, optional};
use crate::types::Kind;

const TEXT: &[Kind] = &[Kind::String];
const INT: &[Kind] = &[Kind::Int];
const MAPPED: &[Form] = &[form(&[TEXT], Kind::String)];
const TRIMMED: &[Form] = &[optional(1, &[TEXT, TEXT], Kind::String)];
const TESTED: &[Form] = &[form(&[TEXT, TEXT], Kind::Bool)];
const PADDED: &[Form] = &[optional(1, &[TEXT, INT, TEXT], Kind::String)];

/// Longest text that REPEAT and the paddings make: beyond it a query would eat memory row by row.
const MADE_BYTES_MAX: usize = 1 << 20;

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

pub(super) fn signed(length: usize) -> i64 {
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
pub(super) fn byte_at(text: &str, character: usize) -> usize {
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
