//! FORMAT, GoogleSQL's printf
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/format-elements#format_string>).

mod number;
mod printable;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, FieldRef, Float64Type, Int64Type};
use datafusion::common::Result;

use super::json::{compact, pretty};
use super::scalar::{Call, Cell, Definition, Form, Gives};
use crate::types::Kind;
use number::Flags;
use printable::{literal, printable};

pub(super) const DEFINITIONS: &[Definition] = &[Definition {
    name: "format",
    forms: &[Form {
        takes: &[&[Kind::String], &[]],
        optional: 1,
        many: true,
        gives: Gives::One(Kind::String),
    }],
    eval: format,
}];

/// Widest field and longest precision: beyond it a query would eat memory row by row.
const WIDTH_MAX: usize = 1 << 16;
/// Longest text that is made.
const MADE_BYTES_MAX: usize = 1 << 20;

/// A number in a specifier, or where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Given(usize),
    /// `*`: the next argument.
    Argument,
}

/// A piece of a format.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value { flags: Flags, width: Option<Size>, precision: Option<Size>, specifier: char },
}

fn pieces(format: &str) -> Result<Vec<Piece>, String> {
    let mut found = Vec::new();
    let mut text = String::new();
    let mut rest = format.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        if rest.peek() == Some(&'%') {
            rest.next();
            text.push('%');
            continue;
        }
        if !text.is_empty() {
            found.push(Piece::Text(std::mem::take(&mut text)));
        }
        let mut flags = Flags::default();
        while let Some(flag) = rest.next_if(|c| "-+ #0'".contains(*c)) {
            flags.set(flag);
        }
        let size = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<Option<Size>, String> {
            if rest.next_if_eq(&'*').is_some() {
                return Ok(Some(Size::Argument));
            }
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            match digits.as_str() {
                "" => Ok(None),
                digits => digits
                    .parse()
                    .ok()
                    .filter(|size| *size <= WIDTH_MAX)
                    .map(|size| Some(Size::Given(size)))
                    .ok_or_else(|| format!("width {digits} is more than {WIDTH_MAX}")),
            }
        };
        let width = size(&mut rest)?;
        let precision = match rest.next_if_eq(&'.') {
            Some(_) => Some(size(&mut rest)?.unwrap_or(Size::Given(0))),
            None => None,
        };
        match rest.next() {
            Some(specifier) if "dioxXfFeEgGpPstT".contains(specifier) => {
                found.push(Piece::Value { flags, width, precision, specifier });
            }
            Some(other) => return Err(format!("%{other} is no format specifier")),
            None => return Err("the format ends in an unfinished specifier".to_owned()),
        }
    }
    if !text.is_empty() {
        found.push(Piece::Text(text));
    }
    Ok(found)
}

fn format(call: &Call<'_>) -> Result<ArrayRef> {
    let formats = call.texts(0)?;
    let columns: Vec<(FieldRef, ArrayRef)> = (1..call.args.len())
        .map(|index| Ok((FieldRef::clone(&call.fields[index]), call.array(index)?)))
        .collect::<Result<_>>()?;
    let mut parsed: Option<(&str, Result<Vec<Piece>, String>)> = None;
    call.collect_text(|row| {
        let Some(text) = formats.get(row) else { return Ok(None) };
        if parsed.as_ref().is_none_or(|(known, _)| *known != text) {
            parsed = Some((text, pieces(text)));
        }
        match parsed.as_ref().map(|(_, pieces)| pieces) {
            Some(Ok(pieces)) => filled(pieces, &columns, row),
            Some(Err(reason)) => Err(reason.clone()),
            None => Ok(None),
        }
    })
}

/// A row's text; NULL when a value is, but for %t and %T, or a width or precision.
fn filled(pieces: &[Piece], columns: &[(FieldRef, ArrayRef)], row: usize) -> Cell<String> {
    let mut out = String::new();
    let mut arguments = columns.iter();
    let mut whole = true;
    for piece in pieces {
        let (flags, width, precision, specifier) = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Value { flags, width, precision, specifier } => (*flags, *width, *precision, *specifier),
        };
        let mut size = |size: Option<Size>| -> Cell<i64> {
            match size {
                None => Ok(None),
                Some(Size::Given(size)) => Ok(i64::try_from(size).ok()),
                Some(Size::Argument) => {
                    let (_, column) = arguments.next().ok_or_else(too_few)?;
                    if column.data_type() == &DataType::Null {
                        whole = false;
                        return Ok(None);
                    }
                    let sizes = column.as_primitive_opt::<Int64Type>();
                    let sizes = sizes.ok_or_else(|| "a width given by * is an INT64".to_owned())?;
                    match sizes.is_valid(row).then(|| sizes.value(row)) {
                        Some(size) if size.unsigned_abs() > WIDTH_MAX as u64 => {
                            Err(format!("width {size} is more than {WIDTH_MAX}"))
                        }
                        size => {
                            whole &= size.is_some();
                            Ok(size)
                        }
                    }
                }
            }
        };
        let (width, precision) = (size(width)?, size(precision)?);
        let (field, column) = arguments.next().ok_or_else(too_few)?;
        // A negative width is a width and the flag -; a negative precision is none.
        let flags = Flags { left: flags.left || width.is_some_and(|width| width < 0), ..flags };
        let width = width.map_or(0, |width| usize::try_from(width.unsigned_abs()).unwrap_or(WIDTH_MAX));
        let precision = precision.and_then(|precision| usize::try_from(precision).ok());
        match value(specifier, flags, width, precision, field, column, row)? {
            Some(text) => out.push_str(&text),
            None => whole = false,
        }
        if out.len() > MADE_BYTES_MAX {
            return Err(format!("the result would have more than {MADE_BYTES_MAX} bytes"));
        }
    }
    match arguments.next() {
        Some(_) => Err("there are more arguments than specifiers".to_owned()),
        None => Ok(whole.then_some(out)),
    }
}

fn too_few() -> String {
    "there are fewer arguments than specifiers".to_owned()
}

fn value(
    specifier: char,
    flags: Flags,
    width: usize,
    precision: Option<usize>,
    field: &FieldRef,
    column: &ArrayRef,
    row: usize,
) -> Cell<String> {
    let cut = |text: String| match precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    };
    let kind = Kind::of(field);
    let null = kind == Kind::Null || column.is_null(row);
    let wrong = |wanted: &str| Err(format!("%{specifier} takes {wanted}, not {}", kind.name()));
    let text = match (specifier, kind) {
        ('t', _) => cut(printable(field, column, row)),
        ('T', _) => cut(literal(field, column, row)),
        ('d' | 'i' | 'o' | 'x' | 'X', Kind::Int | Kind::Null)
        | ('f' | 'F' | 'e' | 'E' | 'g' | 'G', Kind::Float | Kind::Numeric | Kind::Null)
        | ('s', Kind::String | Kind::Null)
        | ('p' | 'P', Kind::Json | Kind::Null)
            if null =>
        {
            return Ok(None);
        }
        ('d' | 'i' | 'o' | 'x' | 'X', Kind::Int) => {
            let value = column.as_primitive::<Int64Type>().value(row);
            return Ok(Some(number::integer(value, specifier, flags, width, precision)));
        }
        ('d' | 'i' | 'o' | 'x' | 'X', _) => return wrong("INT64"),
        ('f' | 'F' | 'e' | 'E' | 'g' | 'G', Kind::Float | Kind::Numeric) => {
            let precision = precision.unwrap_or(6);
            return Ok(Some(match column.data_type() {
                DataType::Decimal128(_, scale) if matches!(specifier, 'f' | 'F') => {
                    let value = column.as_primitive::<Decimal128Type>().value(row);
                    number::decimal(value, *scale, flags, width, precision)
                }
                _ => {
                    let column = cast(column, &DataType::Float64).map_err(|error| error.to_string())?;
                    let value = column.as_primitive::<Float64Type>().value(row);
                    number::float(value, specifier, flags, width, precision)
                }
            }));
        }
        ('f' | 'F' | 'e' | 'E' | 'g' | 'G', _) => return wrong("FLOAT64 or NUMERIC"),
        ('s', Kind::String) => cut(printable(field, column, row)),
        ('s', _) => return wrong("STRING"),
        ('p', Kind::Json) => compact(&printable(field, column, row)).into_owned(),
        ('P', Kind::Json) => pretty(&compact(&printable(field, column, row))),
        _ => return wrong("JSON"),
    };
    Ok(Some(number::padded(&text, width, flags.left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read() {
        assert_eq!(pieces("100%%").unwrap(), [Piece::Text("100%".to_owned())]);
        let flags = Flags { zero: true, grouped: true, ..Flags::default() };
        let value = Piece::Value {
            flags,
            width: Some(Size::Given(12)),
            precision: Some(Size::Argument),
            specifier: 'f',
        };
        assert_eq!(
            pieces("a%'012.*fb").unwrap(),
            [Piece::Text("a".to_owned()), value, Piece::Text("b".to_owned())]
        );
        for bad in ["%", "%-", "%y", "%5", "%99999999d", "%u"] {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }
}
