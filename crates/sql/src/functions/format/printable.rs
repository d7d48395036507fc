//! %t and %T: a value as text, and as the literal that would give it.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, Float64Type};

use super::super::json::compact;
use super::super::text::cell_text;
use crate::types::Kind;

/// %t: what a reader wants to see; NULL is `NULL`.
pub(super) fn printable(field: &Field, array: &dyn Array, row: usize) -> String {
    text(field, array, row, false)
}

/// %T: GoogleSQL that gives the value.
pub(super) fn literal(field: &Field, array: &dyn Array, row: usize) -> String {
    text(field, array, row, true)
}

fn text(field: &Field, array: &dyn Array, row: usize, literal: bool) -> String {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::List(item) => {
            let values = array.as_list::<i32>().value(row);
            let parts: Vec<_> = (0..values.len()).map(|index| text(item, &values, index, literal)).collect();
            return format!("[{}]", parts.join(", "));
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let parts: Vec<_> = columns.map(|(field, column)| text(field, column, row, literal)).collect();
            let name = if literal && parts.len() < 2 { "STRUCT" } else { "" };
            return format!("{name}({})", parts.join(", "));
        }
        _ => {}
    }
    let kind = Kind::of(field);
    let plain = || cell_text(field, array, row).unwrap_or_default();
    match kind {
        Kind::Float => {
            float(array.as_primitive_opt::<Float64Type>().map_or(0.0, |all| all.value(row)), literal)
        }
        Kind::Numeric => {
            let text = pointed(plain());
            if literal { format!("NUMERIC {}", quoted(&text)) } else { text }
        }
        Kind::Bytes => {
            let bytes = array.as_binary_opt::<i32>().map_or(&[][..], |all| all.value(row));
            if literal { format!("b{}", quoted_bytes(bytes)) } else { escaped(bytes, &['"', '\'', '`']) }
        }
        Kind::String if literal => quoted(&plain()),
        Kind::Date | Kind::Timestamp | Kind::Datetime if literal => {
            format!("{} {}", kind.name(), quoted(&plain()))
        }
        Kind::Json if literal => format!("JSON {}", quoted(&compact(&plain()))),
        Kind::Json => compact(&plain()).into_owned(),
        _ => plain(),
    }
}

/// Told from an INT64 by its point.
fn float(value: f64, literal: bool) -> String {
    let text = super::super::cast::float_to_text(value);
    if !value.is_finite() {
        return if literal { format!("CAST(\"{text}\" AS FLOAT64)") } else { text };
    }
    pointed(text)
}

fn pointed(text: String) -> String {
    if text.contains(['.', 'e']) { text } else { text + ".0" }
}

/// In double quotes, unless the text has such and no single ones.
fn quote_for(has: impl Fn(char) -> bool) -> char {
    if has('"') && !has('\'') { '\'' } else { '"' }
}

fn quoted(text: &str) -> String {
    let quote = quote_for(|quote| text.contains(quote));
    let mut out = quote.to_string();
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            found if found == quote => {
                out.push('\\');
                out.push(found);
            }
            control if control.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push(quote);
    out
}

fn quoted_bytes(bytes: &[u8]) -> String {
    let quote = quote_for(|quote| bytes.iter().any(|byte| char::from(*byte) == quote));
    format!("{quote}{}{quote}", escaped(bytes, &[quote]))
}

/// Bytes that do not print are hexadecimal, a line feed as well.
fn escaped(bytes: &[u8], quotes: &[char]) -> String {
    let one = |byte: &u8| match char::from(*byte) {
        '\\' => "\\\\".to_owned(),
        quote if quotes.contains(&quote) => format!("\\{quote}"),
        plain @ ' '..='~' => plain.to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_googlesql() {
        assert_eq!(quoted("a\"b"), "'a\"b'");
        assert_eq!(quoted("it's \"b\"\n"), "\"it's \\\"b\\\"\\n\"");
        assert_eq!(quoted_bytes(b"abc\x01\xff\n"), "\"abc\\x01\\xff\\x0a\"");
        assert_eq!(quoted_bytes(b"quote\"quote"), "'quote\"quote'");
        assert_eq!(escaped(b"quote'\"quote", &['"', '\'']), "quote\\'\\\"quote");
        assert_eq!(float(1.0, false), "1.0");
        assert_eq!(float(f64::INFINITY, true), "CAST(\"inf\" AS FLOAT64)");
    }
}
