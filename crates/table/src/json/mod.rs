//! A pull parser over JSON text: strict RFC 8259, no tree, no allocation of its own, no recursion.

mod skip;
mod text;

pub(crate) use skip::JSON_LEVELS_MAX;

/// Why the text cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// Not JSON: what is wrong, at which byte.
    Syntax(&'static str, usize),
    /// A `\u` escape of one half of a surrogate pair without the other, at which byte: JSON, but not
    /// Unicode text.
    LoneSurrogate(usize),
    /// Arrays and objects nest deeper than [`JSON_LEVELS_MAX`].
    TooDeep,
}

/// What a value is, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Object,
    Array,
}

/// A position in JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Whether whitespace was skipped since this was last cleared.
    spaced: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, spaced: false }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to an earlier position.
    pub(crate) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// The text from `position` on.
    pub(crate) fn text_from(&self, position: usize) -> &'a str {
        self.text.get(position..).unwrap_or_default()
    }

    /// The text between two positions.
    pub(crate) fn text_between(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax(what, self.at))
    }

    fn skip_whitespace(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => {
                    self.spaced = true;
                    self.at += 1;
                }
                other => return other,
            }
        }
    }

    /// Skips whitespace and tells what value follows, without reading it.
    pub(crate) fn peek(&mut self) -> Result<Kind, JsonError> {
        match self.skip_whitespace() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => self.error("expected a value"),
            None => self.error("the text ends where a value should be"),
        }
    }

    /// Skips whitespace and checks that a field name follows.
    pub(crate) fn peek_name(&mut self) -> Result<(), JsonError> {
        match self.skip_whitespace() {
            Some(b'"') => Ok(()),
            _ => self.error("expected a field name in double quotes"),
        }
    }

    /// Reads the byte `wanted`, whitespace before it skipped.
    pub(crate) fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), JsonError> {
        if self.take(wanted) { Ok(()) } else { self.error(what) }
    }

    /// Reads the byte `wanted` if it is next, whitespace before it skipped.
    pub(crate) fn take(&mut self, wanted: u8) -> bool {
        let found = self.skip_whitespace() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Checks that only whitespace is left.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.skip_whitespace() {
            None => Ok(()),
            Some(_) => self.error("there is more text behind the value"),
        }
    }

    /// Reads `null`.
    pub(crate) fn null(&mut self) -> Result<(), JsonError> {
        self.literal("null")
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Result<bool, JsonError> {
        if self.byte() == Some(b't') {
            self.literal("true").map(|()| true)
        } else {
            self.literal("false").map(|()| false)
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            self.at += literal.len();
            Ok(())
        } else {
            self.error("expected a value")
        }
    }

    /// Reads a number and returns its text.
    pub(crate) fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            // Nothing but a point or an exponent follows a leading zero; whatever reads on finds out.
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.error("expected a digit"),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) {
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.digits();
        if self.at > start { Ok(()) } else { self.error("expected a digit") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a whole document and gives it back without whitespace.
    fn compact(text: &str) -> Result<String, JsonError> {
        let mut reader = Reader::new(text);
        let mut out = Vec::new();
        reader.raw_value(&mut out)?;
        reader.end()?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn documents_lose_their_whitespace_only() {
        for (text, compacted) in [
            (
                " { \"a b\" : [ 1.50 , -0e+1 , \"x\\u00e9 \\\" y\" , { } , [ ] ] } \r\n",
                "{\"a b\":[1.50,-0e+1,\"x\\u00e9 \\\" y\",{},[]]}",
            ),
            ("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}"),
            ("\"\\ud800\"", "\"\\ud800\""),
            ("\ttrue", "true"),
            ("null", "null"),
        ] {
            assert_eq!(compact(text).as_deref(), Ok(compacted), "{text}");
        }
    }

    #[test]
    fn broken_text_is_an_error() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "[1,]",
            "[1 2]",
            "{1:2}",
            "{\"a\" 1}",
            "01",
            "-",
            "1.",
            "1.e1",
            "1e",
            "+1",
            ".5",
            "0x1",
            "NaN",
            "Infinity",
            "tru",
            "nul",
            "truex",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\u{0}\"",
            "\"a\nb\"",
            "\"\t\"",
            "'a'",
            "[}",
            "{]",
            "1 1",
            "{} {}",
            "// c",
            "\u{feff}1",
            "\u{a0}1",
        ] {
            assert!(matches!(compact(text), Err(JsonError::Syntax(..))), "{text:?} {:?}", compact(text));
        }
    }

    #[test]
    fn depth_is_limited_without_recursion() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(compact(&nested(JSON_LEVELS_MAX)).is_ok());
        assert_eq!(compact(&nested(JSON_LEVELS_MAX + 1)), Err(JsonError::TooDeep));
        assert_eq!(compact(&"[".repeat(1_000_000)), Err(JsonError::TooDeep));
        assert_eq!(compact(&"{\"a\":".repeat(1_000_000)), Err(JsonError::TooDeep));
    }

    proptest! {
        /// Accepts what serde_json accepts and nothing else; serde_json refuses two things besides:
        /// lone surrogates (when unescaping) and numbers beyond a double.
        #[test]
        fn agrees_with_another_parser(text in "[\\[\\]{}:,\"\\\\/unl true.0-9eE+a\u{e9}\u{1f600} \n-]{0,24}") {
            let ours = compact(&text);
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?} {:?}", text, ours, theirs);
        }

        #[test]
        fn strings_are_unescaped_like_another_parser(content in "(\\\\u[0-9a-fA-F]{4}|\\\\[\"\\\\/bfnrt]|[^\"\\\\]){0,40}") {
            let text = format!("\"{content}\"");
            let mut out = Vec::new();
            let ours = Reader::new(&text).string_into(&mut out);
            match serde_json::from_str::<String>(&text) {
                Ok(theirs) => {
                    prop_assert_eq!(ours, Ok(()));
                    prop_assert_eq!(String::from_utf8(out).unwrap(), theirs);
                }
                Err(_) => prop_assert!(ours.is_err()),
            }
        }

        #[test]
        fn any_string_survives_being_written_and_read(text in "\\PC{0,200}|(?s).{0,60}") {
            let json = serde_json::to_string(&text).unwrap();
            let mut out = Vec::new();
            Reader::new(&json).string_into(&mut out).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
