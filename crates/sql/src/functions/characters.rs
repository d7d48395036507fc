//! Strings by their characters: places, code points, capitals, normal forms
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions>).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Builder, ListBuilder};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use unicode_normalization::UnicodeNormalization as _;

use super::scalar::{Call, Definition, Form, Gives, form, optional};
use super::string::signed;
use crate::error::SqlError;
use crate::types::Kind;

const TEXT: &[Kind] = &[Kind::String];
const INT: &[Kind] = &[Kind::Int];
const BYTES: &[Kind] = &[Kind::Bytes];
const NORMALIZED: &[Form] = &[optional(1, &[TEXT, TEXT], Kind::String)];

/// What INITCAP takes for the end of a word, beside white space, when it is not told.
const DELIMITERS: &str = "[](){}/|\\<>!?@\"^#$&~_,.:;*%+-";

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition { name: "instr", forms: &[optional(2, &[TEXT, TEXT, INT, INT], Kind::Int)], eval: instr },
    Definition { name: "initcap", forms: &[optional(1, &[TEXT, TEXT], Kind::String)], eval: initcap },
    Definition { name: "translate", forms: &[form(&[TEXT, TEXT, TEXT], Kind::String)], eval: translate },
    Definition { name: "ascii", forms: &[form(&[TEXT], Kind::Int), form(&[BYTES], Kind::Int)], eval: ascii },
    Definition { name: "unicode", forms: &[form(&[TEXT], Kind::Int)], eval: |call| first_code(call, false) },
    Definition { name: "chr", forms: &[form(&[INT], Kind::String)], eval: chr },
    Definition {
        name: "to_code_points",
        forms: &[Form {
            takes: &[&[Kind::String, Kind::Bytes]],
            optional: 0,
            many: false,
            gives: Gives::Many(Kind::Int),
        }],
        eval: to_code_points,
    },
    Definition {
        name: "code_points_to_string",
        forms: &[form(&[&[Kind::Array]], Kind::String)],
        eval: code_points_to_string,
    },
    Definition {
        name: "safe_convert_bytes_to_string",
        forms: &[form(&[BYTES], Kind::String)],
        eval: safe_convert,
    },
    Definition { name: "normalize", forms: NORMALIZED, eval: |call| normalized(call, false) },
    Definition { name: "normalize_and_casefold", forms: NORMALIZED, eval: |call| normalized(call, true) },
];

/// The place of the n-th occurrence, counted from 1, and 0 for none. A negative position is counted from
/// the end, and the search goes backwards from there: what begins at that character counts, wherever it
/// ends. Occurrences may overlap.
fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, wanted) = (call.texts(0)?, call.texts(1)?);
    let (positions, occurrences) = (call.ints_or(2, 1)?, call.ints_or(3, 1)?);
    call.collect::<Int64Type>(|row| {
        let (Some(text), Some(wanted)) = (texts.get(row), wanted.get(row)) else { return Ok(None) };
        let (Some(position), Some(occurrence)) = (positions.get(row), occurrences.get(row)) else {
            return Ok(None);
        };
        if position == 0 {
            return Err("the position is counted from 1, or from -1 at the end".to_owned());
        }
        let passed = match usize::try_from(occurrence) {
            Ok(occurrence) if occurrence > 0 => occurrence - 1,
            _ => return Err(format!("the occurrence is a number from 1 on, not {occurrence}")),
        };
        Ok(Some(place_of(text, wanted, position, passed)))
    })
}

fn place_of(text: &str, wanted: &str, position: i64, passed: usize) -> i64 {
    let mut starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    if wanted.is_empty() {
        // An empty text is found before each character, and behind the last one.
        starts.push(text.len());
    }
    let distance = usize::try_from(position.unsigned_abs() - 1).unwrap_or(usize::MAX);
    if distance >= starts.len() {
        return 0;
    }
    let found = |index: &usize| text[starts[*index]..].starts_with(wanted);
    let place = if position > 0 {
        (distance..starts.len()).filter(found).nth(passed)
    } else {
        (0..starts.len() - distance).rev().filter(found).nth(passed)
    };
    place.map_or(0, |index| signed(index) + 1)
}

fn initcap(call: &Call<'_>) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    let delimiters = if call.args.len() > 1 { Some(call.texts(1)?) } else { None };
    call.collect_text(|row| {
        let Some(text) = texts.get(row) else { return Ok(None) };
        let set = match delimiters.as_ref().map(|delimiters| delimiters.get(row)) {
            Some(None) => return Ok(None),
            Some(set) => set,
            None => None,
        };
        let ends = |c: char| match set {
            Some(set) => set.contains(c),
            None => c.is_whitespace() || DELIMITERS.contains(c),
        };
        let (mut out, mut begins) = (String::with_capacity(text.len()), true);
        for character in text.chars() {
            match (ends(character), begins) {
                (true, _) => out.push(character),
                (false, true) => out.extend(character.to_uppercase()),
                (false, false) => out.extend(character.to_lowercase()),
            }
            begins = ends(character);
        }
        Ok(Some(out))
    })
}

fn translate(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, sources, targets) = (call.texts(0)?, call.texts(1)?, call.texts(2)?);
    call.collect_text(|row| {
        let (Some(text), Some(source), Some(target)) = (texts.get(row), sources.get(row), targets.get(row))
        else {
            return Ok(None);
        };
        let from: Vec<char> = source.chars().collect();
        let to: Vec<char> = target.chars().collect();
        if let Some(twice) = from.iter().enumerate().find(|(index, c)| from[..*index].contains(c)) {
            return Err(format!("character {:?} is twice among those to replace", twice.1));
        }
        let replaced = text.chars().filter_map(|c| match from.iter().position(|known| *known == c) {
            Some(index) => to.get(index).copied(),
            None => Some(c),
        });
        Ok(Some(replaced.collect::<String>()))
    })
}

/// The first byte of bytes, and of a text the first character, which has to be ASCII.
fn ascii(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Bytes {
        let values = call.blobs(0)?;
        let first = |bytes: &[u8]| bytes.first().map_or(0, |byte| i64::from(*byte));
        return call.collect::<Int64Type>(|row| Ok(values.get(row).map(first)));
    }
    first_code(call, true)
}

/// The first character's number; 0 of an empty text.
fn first_code(call: &Call<'_>, ascii: bool) -> Result<ArrayRef> {
    let texts = call.texts(0)?;
    call.collect::<Int64Type>(|row| match texts.get(row).map(|text| text.chars().next()) {
        None => Ok(None),
        Some(None) => Ok(Some(0)),
        Some(Some(c)) if ascii && !c.is_ascii() => Err(format!("{c:?} is not ASCII")),
        Some(Some(c)) => Ok(Some(i64::from(u32::from(c)))),
    })
}

fn character(code: i64) -> Result<char, String> {
    u32::try_from(code).ok().and_then(char::from_u32).ok_or_else(|| format!("{code} is no code point"))
}

fn chr(call: &Call<'_>) -> Result<ArrayRef> {
    let codes = call.ints(0)?;
    call.collect_text(|row| match codes.get(row) {
        Some(0) => Ok(Some(String::new())),
        Some(code) => character(code).map(|c| Some(c.to_string())),
        None => Ok(None),
    })
}

fn to_code_points(call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::List(item) = call.gives.data_type() else {
        return internal_err!("code points are an array");
    };
    let mut builder = ListBuilder::new(Int64Builder::new()).with_field(Arc::clone(item));
    if call.kind(0) == Kind::Bytes {
        let values = call.blobs(0)?;
        for row in 0..call.rows {
            values.get(row).into_iter().flatten().for_each(|byte| {
                builder.values().append_value(i64::from(*byte));
            });
            builder.append(values.get(row).is_some());
        }
        return Ok(Arc::new(builder.finish()));
    }
    let texts = call.texts(0)?;
    for row in 0..call.rows {
        let codes = texts.get(row).into_iter().flat_map(str::chars).map(|c| Some(i64::from(u32::from(c))));
        builder.values().extend(codes);
        builder.append(texts.get(row).is_some());
    }
    Ok(Arc::new(builder.finish()))
}

fn code_points_to_string(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(0)?;
    let lists = array.as_list::<i32>();
    let Some(codes) = lists.values().as_primitive_opt::<Int64Type>() else {
        return Err(SqlError::invalid("CODE_POINTS_TO_STRING takes an ARRAY<INT64>").into());
    };
    call.collect_text(|row| {
        if lists.is_null(row) {
            return Ok(None);
        }
        let places = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
        let mut out = String::new();
        for place in places {
            if codes.is_null(place) {
                return Ok(None);
            }
            out.push(character(codes.value(place))?);
        }
        Ok(Some(out))
    })
}

fn safe_convert(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.blobs(0)?;
    call.collect_text(|row| Ok(values.get(row).map(|bytes| String::from_utf8_lossy(bytes).into_owned())))
}

fn normalized(call: &Call<'_>, fold: bool) -> Result<ArrayRef> {
    let (texts, modes) = (call.texts(0)?, call.texts_or(1, "nfc")?);
    call.collect_text(|row| {
        let (Some(text), Some(mode)) = (texts.get(row), modes.get(row)) else { return Ok(None) };
        let form = |text: &str| match mode {
            "nfc" => Ok(text.nfc().collect::<String>()),
            "nfkc" => Ok(text.nfkc().collect()),
            "nfd" => Ok(text.nfd().collect()),
            "nfkd" => Ok(text.nfkd().collect()),
            other => Err(format!("{other} is not NFC, NFKC, NFD or NFKD")),
        };
        let plain = form(text)?;
        Ok(Some(if fold { form(&folded(&plain))? } else { plain }))
    })
}

/// Unicode's full case folding. What has one lower case after its upper case is what has one folding, but
/// for the i without a dot, which folds to itself.
fn folded(text: &str) -> String {
    let fold = |c: char| -> String {
        match c {
            'ı' => c.to_string(),
            c => c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect(),
        }
    };
    text.chars().map(fold).collect()
}

/// A text as CONTAINS_SUBSTR compares it.
pub(super) fn comparable(text: &str) -> String {
    let plain: String = text.nfkc().collect();
    folded(&plain).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_forwards_and_backwards() {
        // The examples of BigQuery's documentation.
        for (text, wanted, position, occurrence, place) in [
            ("banana", "an", 1, 1, 2),
            ("banana", "an", 1, 2, 4),
            ("banana", "an", 1, 3, 0),
            ("banana", "an", 3, 1, 4),
            ("banana", "an", -1, 1, 4),
            ("banana", "an", -3, 1, 4),
            ("banana", "ann", 1, 1, 0),
            ("helloooo", "oo", 1, 1, 5),
            ("helloooo", "oo", 1, 2, 6),
            // Those of ZetaSQL's compliance tests.
            ("abcdef", "cd", -4, 1, 3),
            ("abcdef", "cd", -5, 1, 0),
            ("aaabbaaa", "aa", -7, 2, 1),
            ("zгдlгдl", "дl", -3, 1, 3),
            ("", "", 1, 1, 1),
            ("x", "", 2, 1, 2),
            ("x", "", 3, 1, 0),
            ("xx", "", -1, 2, 2),
            ("x", "", -3, 1, 0),
        ] {
            assert_eq!(place_of(text, wanted, position, occurrence - 1), place, "{text} {wanted} {position}");
        }
        assert_eq!(place_of("äöü", "ü", i64::MIN, 0), 0);
    }

    #[test]
    fn folding_is_full() {
        assert_eq!(folded("Straße ẞ ΣΑΣ İ ı K"), "strasse ss σασ i\u{307} ı k");
        assert_eq!(comparable("Ⅸ"), "ix");
    }
}
