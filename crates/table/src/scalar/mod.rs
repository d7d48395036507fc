//! What the spellings of single values mean. Pure functions over text: no field, no column.

pub(crate) mod bytes;
pub(crate) mod decimal;
pub(crate) mod time;
pub(crate) mod zone;

/// The boolean that a text spells: what BigQuery lists for CSV files, in any case
/// (<https://cloud.google.com/bigquery/docs/data-types>: "1 or 0, true or false, t or f, yes or no, or y or n").
pub(crate) fn boolean(text: &str) -> Option<bool> {
    const SPELLINGS: [(&str, bool); 10] = [
        ("true", true),
        ("false", false),
        ("t", true),
        ("f", false),
        ("yes", true),
        ("no", false),
        ("y", true),
        ("n", false),
        ("1", true),
        ("0", false),
    ];
    let text = text.trim_ascii();
    SPELLINGS.iter().find(|(spelling, _)| text.eq_ignore_ascii_case(spelling)).map(|&(_, value)| value)
}

/// The double that a text spells: a decimal number, or one of the words that BigQuery's casts take in
/// any case. Numbers beyond a double are refused rather than made infinite.
pub(crate) fn double(text: &str) -> Option<f64> {
    let text = text.trim_ascii();
    let value: f64 = text.parse().ok()?;
    if value.is_finite() {
        return Some(value);
    }
    // The standard library takes the same words for not-finite values; a digit means overflow.
    let overflow = text.bytes().any(|byte| byte.is_ascii_digit());
    (!overflow).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for text in ["true", "TRUE", "True", "t", "Y", "yes", "1", " true "] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["false", "F", "no", "N", "0"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        for text in ["", "2", "on", "off", "truthy", "null", "1.0"] {
            assert_eq!(boolean(text), None, "{text}");
        }
    }

    #[test]
    fn doubles() {
        for (text, value) in [
            ("1", 1.0),
            ("-0", -0.0),
            (" 1.5e3 ", 1500.0),
            ("+2", 2.0),
            (".5", 0.5),
            ("1e-400", 0.0),
            ("0.1", 0.1),
            ("Infinity", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("-INF", f64::NEG_INFINITY),
        ] {
            assert_eq!(double(text).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        assert!(double("NaN").is_some_and(f64::is_nan) && double("nan").is_some_and(f64::is_nan));
        for text in ["", " ", "1e400", "-1e999", "0x10", "1,5", "1_000", "one", "infinit", "1f", "--1", "e5"]
        {
            assert_eq!(double(text), None, "{text}");
        }
    }
}
