//! GoogleSQL's literals: strings in six quotings with GoogleSQL's escapes, bytes, numbers.

use datafusion::sql::sqlparser::ast::{Expr, Value};

use super::calls::call;
use crate::error::SqlError;

/// The literal as the planner takes it: strings single-quoted and unescaped, bytes as a cast of
/// hexadecimal digits.
pub(super) fn literal(value: Value) -> Result<Expr, SqlError> {
    Ok(match value {
        Value::SingleQuotedString(text) => string(unescape_once(&text, '\'')?),
        Value::DoubleQuotedString(text) => string(unescape_once(&text, '"')?),
        Value::TripleSingleQuotedString(text) | Value::TripleDoubleQuotedString(text) => {
            string(unescape_text(&text)?)
        }
        Value::SingleQuotedRawStringLiteral(text)
        | Value::DoubleQuotedRawStringLiteral(text)
        | Value::TripleSingleQuotedRawStringLiteral(text)
        | Value::TripleDoubleQuotedRawStringLiteral(text) => string(text),
        Value::SingleQuotedByteStringLiteral(text)
        | Value::DoubleQuotedByteStringLiteral(text)
        | Value::TripleSingleQuotedByteStringLiteral(text)
        | Value::TripleDoubleQuotedByteStringLiteral(text) => {
            call("from_hex", vec![string(hex::encode(unescape(&text, true)?))])
        }
        Value::HexStringLiteral(digits) => match i64::from_str_radix(&digits, 16) {
            Ok(number) => Expr::Value(Value::Number(number.to_string(), false).into()),
            Err(_) => {
                return Err(SqlError::invalid(format!(
                    "integer literal 0x{digits} is not a hexadecimal INT64"
                )));
            }
        },
        Value::Number(text, long) => {
            let integer = text.bytes().all(|byte| byte.is_ascii_digit());
            if integer && text.parse::<i64>().is_err() {
                return Err(SqlError::invalid(format!("integer literal {text} is beyond INT64"))
                    .hint("write it as NUMERIC '...' or as a FLOAT64 with a decimal point"));
            }
            Expr::Value(Value::Number(text, long).into())
        }
        Value::Placeholder(name) => {
            return Err(SqlError::unsupported(format!("query parameter {name} is not supported"))
                .hint("write the value into the query"));
        }
        value @ (Value::Boolean(_) | Value::Null) => Expr::Value(value.into()),
        other => return Err(SqlError::invalid(format!("{other} is not a GoogleSQL literal"))),
    })
}

/// The text of a literal that is a string.
pub(super) fn string_value(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => string_value(inner),
        _ => None,
    }
}

pub(super) fn string(text: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.into()).into())
}

/// A doubled quote is one string in other dialects and two strings, side by side, here.
fn unescape_once(text: &str, quote: char) -> Result<String, SqlError> {
    let mut doubled = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            found if found == quote => doubled = true,
            _ => {}
        }
    }
    if doubled {
        return Err(SqlError::invalid("two string literals side by side")
            .hint(format!("write \\{quote} for a quote inside a string")));
    }
    unescape_text(text)
}

fn unescape_text(text: &str) -> Result<String, SqlError> {
    String::from_utf8(unescape(text, false)?)
        .map_err(|_| SqlError::invalid("a string literal's escapes give bytes that are not UTF-8"))
}

/// Undoes GoogleSQL's escapes
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences>). In a
/// bytes literal `\x` and octal escapes are bytes, in a string they are characters.
fn unescape(text: &str, bytes: bool) -> Result<Vec<u8>, SqlError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            push(&mut out, character);
            continue;
        }
        let escape = rest.next().ok_or_else(|| SqlError::invalid("a string literal ends in a backslash"))?;
        let simple = match escape {
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            '\\' | '?' | '"' | '\'' | '`' => Some(escape),
            _ => None,
        };
        if let Some(simple) = simple {
            push(&mut out, simple);
            continue;
        }
        let (digits, radix, first) = match escape {
            'x' | 'X' => (2, 16, None),
            'u' if !bytes => (4, 16, None),
            'U' if !bytes => (8, 16, None),
            '0'..='3' => (2, 8, Some(escape)),
            _ => return Err(bad_escape(escape)),
        };
        let code: String = first.into_iter().chain(rest.by_ref().take(digits)).collect();
        let complete = code.len() == digits + usize::from(first.is_some());
        let code =
            u32::from_str_radix(&code, radix).ok().filter(|_| complete).ok_or_else(|| bad_escape(escape))?;
        match (bytes, u8::try_from(code)) {
            (true, Ok(byte)) => out.push(byte),
            _ => push(&mut out, char::from_u32(code).ok_or_else(|| bad_escape(escape))?),
        }
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn bad_escape(escape: char) -> SqlError {
    SqlError::invalid(format!("illegal escape \\{escape} in a string literal"))
        .hint("write \\\\ for a backslash, or r'...' for a raw string")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_googlesql_ones() {
        assert_eq!(unescape_text(r"a\n\x41\u00e9\U0001F600\101\\\'").unwrap(), "a\nAé😀A\\'");
        assert_eq!(unescape(r"\xff\377é", true).unwrap(), [0xff, 0xff, 0xc3, 0xa9]);
        for bad in [r"\d", r"\x4", r"\uD800", r"\400", "\\"] {
            assert!(unescape_text(bad).is_err(), "{bad}");
        }
        assert!(unescape_once("a''b", '\'').is_err());
        assert_eq!(unescape_once(r"it\'s", '\'').unwrap(), "it's");
    }
}
