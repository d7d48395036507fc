//! JSON values as they are kept: compact text, numbers in one spelling, the first of repeated keys.

use std::borrow::Cow;
use std::collections::HashSet;

use millrace_jsonpath::{Scanner, unescape};

/// Deepest JSON value
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#json_type>).
const NESTING_MAX: usize = 500;

/// What PARSE_JSON does with a number that no INT64, UINT64 or FLOAT64 holds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WideNumbers {
    /// Refuse it.
    Exact,
    /// Take the nearest.
    Round,
}

/// JSON text as a JSON value.
///
/// # Errors
/// What is not JSON about it.
pub(crate) fn normalize(text: &str, wide: WideNumbers) -> Result<String, String> {
    let mut scanner = Scanner::new(text);
    let mut out = String::with_capacity(text.len());
    value(&mut scanner, &mut out, wide, 0)?;
    scanner.end().ok_or_else(|| invalid(&scanner))?;
    Ok(out)
}

fn invalid(scanner: &Scanner<'_>) -> String {
    match scanner.at < scanner.text.len() {
        true => format!("the text is not JSON at byte {}", scanner.at),
        false => "the JSON text ends too early".to_owned(),
    }
}

fn value(scanner: &mut Scanner<'_>, out: &mut String, wide: WideNumbers, depth: usize) -> Result<(), String> {
    if depth > NESTING_MAX {
        return Err(format!("JSON nests deeper than {NESTING_MAX} levels"));
    }
    scanner.white();
    match scanner.peek().ok_or_else(|| invalid(scanner))? {
        b'{' => object(scanner, out, wide, depth),
        b'[' => array(scanner, out, wide, depth),
        b'"' => {
            let content = scanner.string().ok_or_else(|| invalid(scanner))?;
            string(content, out)
        }
        b'-' | b'0'..=b'9' => {
            let start = scanner.at;
            scanner.number().ok_or_else(|| invalid(scanner))?;
            out.push_str(&number(&scanner.text[start..scanner.at], wide)?);
            Ok(())
        }
        _ => {
            let start = scanner.at;
            scanner.leaf().ok_or_else(|| invalid(scanner))?;
            out.push_str(&scanner.text[start..scanner.at]);
            Ok(())
        }
    }
}

fn object(
    scanner: &mut Scanner<'_>,
    out: &mut String,
    wide: WideNumbers,
    depth: usize,
) -> Result<(), String> {
    scanner.take(b'{').ok_or_else(|| invalid(scanner))?;
    out.push('{');
    let mut keys: HashSet<Cow<'_, str>> = HashSet::new();
    if !scanner.took(b'}') {
        loop {
            let content = scanner.key().ok_or_else(|| invalid(scanner))?;
            let key = unescape(content).ok_or_else(|| "a JSON string has a wrong escape".to_owned())?;
            let kept = out.len();
            if kept > 0 && !keys.is_empty() {
                out.push(',');
            }
            string(content, out)?;
            out.push(':');
            value(scanner, out, wide, depth + 1)?;
            if !keys.insert(key) {
                out.truncate(kept);
            }
            if scanner.took(b'}') {
                break;
            }
            scanner.take(b',').ok_or_else(|| invalid(scanner))?;
        }
    }
    out.push('}');
    Ok(())
}

fn array(scanner: &mut Scanner<'_>, out: &mut String, wide: WideNumbers, depth: usize) -> Result<(), String> {
    scanner.take(b'[').ok_or_else(|| invalid(scanner))?;
    out.push('[');
    if !scanner.took(b']') {
        loop {
            value(scanner, out, wide, depth + 1)?;
            if scanner.took(b']') {
                break;
            }
            scanner.take(b',').ok_or_else(|| invalid(scanner))?;
            out.push(',');
        }
    }
    out.push(']');
    Ok(())
}

fn string(content: &str, out: &mut String) -> Result<(), String> {
    if content.bytes().any(|byte| byte < 0x20) {
        return Err("a JSON string has a control character that is not escaped".to_owned());
    }
    let plain = unescape(content).ok_or_else(|| "a JSON string has a wrong escape".to_owned())?;
    write_string(&plain, out);
    Ok(())
}

/// A JSON string with the escapes that it needs and no others.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A number in one spelling: integers as digits, others as the shortest text of their FLOAT64.
fn number(text: &str, wide: WideNumbers) -> Result<String, String> {
    let integer = !text.contains(['.', 'e', 'E']);
    if integer && let Ok(value) = text.parse::<i64>() {
        return Ok(value.to_string());
    }
    if integer && let Ok(value) = text.parse::<u64>() {
        return Ok(value.to_string());
    }
    let float: f64 = text.parse().map_err(|_| format!("{text} is no JSON number"))?;
    if !float.is_finite() {
        return Err(format!("JSON number {text} is beyond FLOAT64"));
    }
    if wide == WideNumbers::Exact && digits(text) != digits(&format!("{float:e}")) {
        return Err(format!("JSON number {text} cannot be kept exactly, use wide_number_mode=>'round'"));
    }
    Ok(json_float(float))
}

/// Significant digits and the power of ten they are multiplied with, so that spellings compare.
fn digits(text: &str) -> (String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mut exponent = exponent.parse::<i64>().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent -= i64::try_from(fraction.len()).unwrap_or(0);
    let all: String = whole.chars().chain(fraction.chars()).filter(char::is_ascii_digit).collect();
    let trimmed = all.trim_end_matches('0');
    exponent += i64::try_from(all.len() - trimmed.len()).unwrap_or(0);
    let significant = trimmed.trim_start_matches('0').to_owned();
    if significant.is_empty() { (significant, 0) } else { (significant, exponent) }
}

/// The shortest text of a finite FLOAT64 that says that it is one.
fn json_float(float: f64) -> String {
    if float == float.trunc() && float.abs() < 1e15 {
        return format!("{float:.1}");
    }
    let exponent = float.abs().log10();
    if (-5.0..15.0).contains(&exponent) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, power) = exponent.strip_prefix('-').map_or(('+', exponent), |power| ('-', power));
            format!("{mantissa}e{sign}{power:0>2}")
        }
        None => text,
    }
}

/// JSON text without white space between its tokens. Text that is not JSON comes back as it is.
pub(crate) fn compact(text: &str) -> Cow<'_, str> {
    let mut in_string = false;
    let mut escaped = false;
    let mut out: Option<String> = None;
    for (at, character) in text.char_indices() {
        let drop = !in_string && matches!(character, ' ' | '\t' | '\n' | '\r');
        if drop && out.is_none() {
            out = Some(text[..at].to_owned());
        }
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        if !drop && let Some(out) = &mut out {
            out.push(character);
        }
    }
    out.map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_spelling() {
        let normal = |text| normalize(text, WideNumbers::Exact);
        assert_eq!(
            normal(r#" { "b" : [1, 2.50, -0, 1e2], "\u0061": "\u00e9\n" } "#).unwrap(),
            "{\"b\":[1,2.5,0,100.0],\"a\":\"é\\n\"}"
        );
        assert_eq!(normal(r#"{"a":1,"b":2,"a":3}"#).unwrap(), r#"{"a":1,"b":2}"#);
        assert_eq!(normal("18446744073709551615").unwrap(), "18446744073709551615");
        assert_eq!(normal("1e20").unwrap(), "1e+20");
        assert_eq!(normal("0.1").unwrap(), "0.1");
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for bad in ["", "{", "[1,]", "nul", "01", "\"\u{1}\"", r#""\q""#, "1 2", "NaN", r#"{"a"}"#, "1e999"] {
            assert!(normalize(bad, WideNumbers::Round).is_err(), "{bad}");
        }
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(normalize(&deep, WideNumbers::Exact).unwrap_err().contains("deeper"));
    }

    #[test]
    fn wide_numbers_are_refused_or_rounded() {
        let wide = "1.000000000000000000001";
        assert!(normalize(wide, WideNumbers::Exact).is_err());
        assert_eq!(normalize(wide, WideNumbers::Round).unwrap(), "1.0");
    }

    #[test]
    fn compact_keeps_strings() {
        assert_eq!(compact("{ \"a b\" : \"x \\\" y\" }"), "{\"a b\":\"x \\\" y\"}");
        assert!(matches!(compact("[1,2]"), Cow::Borrowed(_)));
    }
}
