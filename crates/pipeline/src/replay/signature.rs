//! Which failures are the same failure: the error with everything left out that differs between messages.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest signature, in characters; a longer error is told by its beginning.
const SIGNATURE_CHARACTERS_MAX: usize = 300;

/// A word of hexadecimal digits at least this long, with a digit in it, is an id.
const HEX_ID_CHARACTERS_MIN: usize = 8;

/// A word of letters and digits at least this long, with a digit in it, is an id.
const MIXED_ID_CHARACTERS_MIN: usize = 16;

/// The short id of a class of dead letters: ten hexadecimal digits of a hash of stage, error class and
/// signature. The same error has the same id on every machine and for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassId(String);

/// What is not a class id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a class: `millrace deadletter list` shows them, ten hexadecimal digits")]
pub struct NoClassId(String);

const ID_DIGITS: usize = 10;

impl ClassId {
    /// The class of an error with this signature.
    #[must_use]
    pub fn of(stage: &str, error_class: &str, signature: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [stage, error_class, signature] {
            hasher.update(part.as_bytes());
            hasher.update(b"\0");
        }
        Self(hasher.finalize().to_hex()[..ID_DIGITS].to_owned())
    }
}

impl fmt::Display for ClassId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for ClassId {
    type Err = NoClassId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let good = lower.len() == ID_DIGITS && lower.bytes().all(|byte| byte.is_ascii_hexdigit());
        if good { Ok(Self(lower)) } else { Err(NoClassId(text.to_owned())) }
    }
}

impl TryFrom<String> for ClassId {
    type Error = NoClassId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ClassId> for String {
    fn from(id: ClassId) -> Self {
        id.0
    }
}

/// An error message with numbers as `#`, ids as `<id>`, quoted values as `'..'` and white space as one
/// space.
#[must_use]
pub fn signature(message: &str) -> String {
    let mut text = String::new();
    let mut left = SIGNATURE_CHARACTERS_MAX;
    let mut rest = message.trim();
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let (piece, end) = piece(rest, first, before);
        let count = piece.chars().count();
        if count > left {
            text.push_str("..");
            break;
        }
        left -= count;
        text.push_str(&piece);
        before = rest[..end].chars().next_back().unwrap_or(' ');
        rest = &rest[end..];
    }
    text
}

/// What the beginning of `rest` becomes, and how many bytes of it that was.
fn piece(rest: &str, first: char, before: char) -> (String, usize) {
    if first.is_whitespace() {
        let end = rest.find(|character: char| !character.is_whitespace()).unwrap_or(rest.len());
        return (" ".to_owned(), end);
    }
    // Behind a letter it is an apostrophe.
    if matches!(first, '"' | '\'' | '`')
        && !before.is_alphanumeric()
        && let Some(end) = closing_quote(rest, first)
    {
        return ("'..'".to_owned(), end);
    }
    if is_word(first) {
        let end = rest.find(|character: char| !is_word(character)).unwrap_or(rest.len());
        return word(rest, end);
    }
    (first.to_string(), first.len_utf8())
}

/// Where the text quoted from the beginning of `rest` on ends.
fn closing_quote(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return None,
            _ if character == quote => return Some(at + character.len_utf8()),
            _ => {}
        }
    }
    None
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

/// A word without its numbers; a number takes its decimals and exponent along.
fn word(rest: &str, end: usize) -> (String, usize) {
    let word = &rest[..end];
    if !word.contains(|character: char| character.is_ascii_digit()) {
        return (word.to_owned(), end);
    }
    let hex = word.chars().all(|character| character.is_ascii_hexdigit() || character == '-');
    let number = word.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    if number {
        return ("#".to_owned(), end + decimals(&rest[end..]));
    }
    if (hex && word.len() >= HEX_ID_CHARACTERS_MIN) || word.len() >= MIXED_ID_CHARACTERS_MIN {
        return ("<id>".to_owned(), end);
    }
    let mut text = String::new();
    let mut in_number = false;
    for character in word.chars() {
        match (character.is_ascii_digit(), in_number) {
            (true, true) => {}
            (true, false) => text.push('#'),
            // Writing into a string does not fail.
            (false, _) => drop(text.write_char(character)),
        }
        in_number = character.is_ascii_digit();
    }
    (text, end)
}

/// How many bytes of `.5e+3` there are.
fn decimals(rest: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let fraction = match rest.strip_prefix('.').map(digits) {
        Some(count) if count > 0 => 1 + count,
        _ => return 0,
    };
    let exponent = rest[fraction..].strip_prefix(['e', 'E']).map_or(0, |exponent| {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        match digits(&exponent[sign..]) {
            0 => 0,
            count => 1 + sign + count,
        }
    });
    fraction + exponent
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_differs_between_messages_is_left_out() {
        for (message, wanted) in [
            (
                "threw TypeError: can't read 'foo' of undefined",
                "threw TypeError: can't read '..' of undefined",
            ),
            (
                "field a.b: INT64 takes a whole number, not \"4 \\\"x\"",
                "field a.b: INT# takes a whole number, not '..'",
            ),
            ("it has 3000001 bytes, at most 1.5e+3", "it has # bytes, at most #"),
            ("no user 8c5b2a90-1d2e-4f00-8a7b-0123456789ab here", "no user <id> here"),
            ("trace deadbeef01 of user17 at 12:30:05.123", "trace <id> of user# at #:#:#"),
            ("  two\n\twords ", "two words"),
            ("an open 'quote", "an open 'quote"),
            ("bad token abcDEF0123456789xyz", "bad token <id>"),
            ("threw RangeError: -5 is not > 0", "threw RangeError: # is not > #"),
        ] {
            assert_eq!(signature(message), wanted);
        }
        assert!(signature(&"word ".repeat(10_000)).len() < 400);
        assert_ne!(ClassId::of("udf", "udf_threw", "a"), ClassId::of("row", "udf_threw", "a"));
    }

    proptest! {
        #[test]
        fn any_text_has_a_signature_and_its_number_does_not_matter(text in "\\PC{0,60}", one: u32, other: u32) {
            prop_assert_eq!(signature(&format!("{text} {one}")), signature(&format!("{text} {other}")));
            let id = ClassId::of("udf", "udf_threw", &signature(&text));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
