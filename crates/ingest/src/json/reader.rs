//! Reading JSON (RFC 8259) value by value over the text itself. No recursion: nesting costs a bit a
//! level, so any depth is safe to skip, and callers that do recurse count for themselves.
//!
//! Beyond the RFC in one point only: an unpaired surrogate escape becomes U+FFFD. JavaScript's
//! `JSON.stringify` writes such escapes for strings that were cut inside an emoji, and refusing the
//! whole request would lose every record beside it.

use std::borrow::Cow;

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct SyntaxError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in bytes from the start of the text.
    pub at: usize,
}

/// What the next value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The error `what` at the current position.
    pub(crate) fn error(&self, what: &'static str) -> SyntaxError {
        SyntaxError { what, at: self.at }
    }

    /// Where the reader stands, in bytes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn next_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.next_byte() {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.next_byte() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// What the next value is, without taking it.
    pub(crate) fn peek(&mut self) -> Result<Kind, SyntaxError> {
        self.skip_space();
        match self.next_byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the text ends where a value is expected")),
        }
    }

    /// Requires that nothing but white space follows.
    pub(crate) fn finish(&mut self) -> Result<(), SyntaxError> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("more text after the value")) }
    }

    /// Enters an object; then call [`Self::next_key`] until it gives none.
    pub(crate) fn enter_object(&mut self) -> Result<(), SyntaxError> {
        if self.eat(b'{') { Ok(()) } else { Err(self.error("expected an object")) }
    }

    /// The next key of the object, its value being next; `None` behind the object. `first` starts true.
    pub(crate) fn next_key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>, SyntaxError> {
        if !self.more(b'}', first)? {
            return Ok(None);
        }
        let key = self.text()?;
        if self.eat(b':') { Ok(Some(key)) } else { Err(self.error("expected a colon")) }
    }

    /// Enters an array; then call [`Self::next_element`] until it says no.
    pub(crate) fn enter_array(&mut self) -> Result<(), SyntaxError> {
        if self.eat(b'[') { Ok(()) } else { Err(self.error("expected an array")) }
    }

    /// Whether another element follows, it being next. `first` starts true.
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, SyntaxError> {
        self.more(b']', first)
    }

    fn more(&mut self, close: u8, first: &mut bool) -> Result<bool, SyntaxError> {
        if std::mem::take(first) {
            return Ok(!self.eat(close));
        }
        if self.eat(close) {
            return Ok(false);
        }
        if self.eat(b',') { Ok(true) } else { Err(self.error("expected a comma or the end")) }
    }

    /// Takes a string, unescaped; borrowed when it has no escapes.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        let (start, escaped) = self.scan_text()?;
        let raw = &self.text[start..self.at - 1];
        Ok(if escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) })
    }

    /// Moves behind a string, checking it; gives where its content starts and whether it has escapes.
    fn scan_text(&mut self) -> Result<(usize, bool), SyntaxError> {
        if !self.eat(b'"') {
            return Err(self.error("expected a string"));
        }
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += plain_run(&self.text.as_bytes()[self.at..]);
            match self.next_byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((start, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.scan_escape()?;
                }
                Some(_) => return Err(self.error("control character in a string")),
                None => return Err(self.error("the text ends inside a string")),
            }
        }
    }

    fn scan_escape(&mut self) -> Result<(), SyntaxError> {
        match self.next_byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.error("malformed \\u escape"));
                }
                self.at += 5;
            }
            _ => return Err(self.error("unknown escape")),
        }
        Ok(())
    }

    /// Takes a number; gives its text.
    pub(crate) fn number(&mut self) -> Result<&'a str, SyntaxError> {
        self.skip_space();
        let start = self.at;
        self.at += usize::from(self.next_byte() == Some(b'-'));
        if self.next_byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.next_byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.next_byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.next_byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while self.next_byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.error("expected a digit")) }
    }

    /// Takes `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Result<bool, SyntaxError> {
        if self.literal("true") {
            Ok(true)
        } else if self.literal("false") {
            Ok(false)
        } else {
            Err(self.error("expected true or false"))
        }
    }

    /// Takes `null` when it is next.
    pub(crate) fn null(&mut self) -> bool {
        self.literal("null")
    }

    fn literal(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Moves behind the next value, checking it all; gives its text. Values nested deeper than
    /// `depth_max` are an error.
    pub(crate) fn skip(&mut self, depth_max: usize) -> Result<&'a str, SyntaxError> {
        self.skip_space();
        let start = self.at;
        // One entry a level: whether it is an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            let mut first = false;
            match self.peek()? {
                kind @ (Kind::Object | Kind::Array) => {
                    if open.len() == depth_max {
                        return Err(self.error("nested too deeply"));
                    }
                    self.at += 1;
                    open.push(kind == Kind::Object);
                    first = true;
                }
                Kind::Text => drop(self.scan_text()?),
                Kind::Number => drop(self.number()?),
                Kind::Bool => drop(self.boolean()?),
                Kind::Null if self.null() => {}
                Kind::Null => return Err(self.error("expected null")),
            }
            // Step to the next value to take, closing what ends here.
            loop {
                let more = match open.last() {
                    None => return Ok(&self.text[start..self.at]),
                    Some(true) => self.more(b'}', &mut first)?,
                    Some(false) => self.more(b']', &mut first)?,
                };
                if more {
                    break;
                }
                open.pop();
            }
            if open.last() == Some(&true) {
                self.scan_text()?;
                if !self.eat(b':') {
                    return Err(self.error("expected a colon"));
                }
            }
        }
    }
}

/// How many bytes from the start need no escape in a JSON string and are none.
#[inline]
pub(crate) fn plain_run(bytes: &[u8]) -> usize {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    bytes.len() - rest.len() + rest.iter().position(|&byte| special(byte)).unwrap_or(rest.len())
}

/// The top bit of each byte that is a control character, a quote or a backslash: exact for the lowest
/// such byte and wrong at most in bytes above it, where a borrow may have passed
/// (<https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>).
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES * 0x80;
    let less = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word;
    let equal = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    (less(word, 0x20) | equal(b'"') | equal(b'\\')) & TOPS
}

/// Undoes the escapes of a checked string.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(position) = rest.find('\\') {
        text.push_str(&rest[..position]);
        let escape = rest.as_bytes().get(position + 1).copied();
        rest = rest.get(position + 2..).unwrap_or("");
        text.push(match escape {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => take_code_point(&mut rest),
            Some(same) => char::from(same),
            None => break,
        });
    }
    text.push_str(rest);
    text
}

/// Takes the digits of a `\u` escape, and of a second one that completes a surrogate pair.
fn take_code_point(rest: &mut &str) -> char {
    let unit = take_hex(rest);
    if (0xd800..0xdc00).contains(&unit) && rest.starts_with("\\u") {
        let mut after = &rest[2..];
        let low = take_hex(&mut after);
        if (0xdc00..0xe000).contains(&low) {
            *rest = after;
            let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            return char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
    }
    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn take_hex(rest: &mut &str) -> u32 {
    let (digits, after) = rest.split_at_checked(4).unwrap_or((rest, ""));
    *rest = after;
    u32::from_str_radix(digits, 16).unwrap_or(0xfffd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// The value as this reader takes it, to be compared with another reader's.
    fn read(reader: &mut Reader<'_>) -> Result<Value, SyntaxError> {
        let mut first = true;
        Ok(match reader.peek()? {
            Kind::Object => {
                let mut object = serde_json::Map::new();
                reader.enter_object()?;
                while let Some(key) = reader.next_key(&mut first)? {
                    object.insert(key.into_owned(), read(reader)?);
                }
                Value::Object(object)
            }
            Kind::Array => {
                let mut array = Vec::new();
                reader.enter_array()?;
                while reader.next_element(&mut first)? {
                    array.push(read(reader)?);
                }
                Value::Array(array)
            }
            Kind::Text => Value::String(reader.text()?.into_owned()),
            Kind::Number => {
                // serde_json's own reading of doubles is off by one unit in the last place at times.
                let text = reader.number()?;
                text.parse::<i64>().map_or_else(|_| Value::from(text.parse::<f64>().unwrap()), Value::from)
            }
            Kind::Bool => Value::Bool(reader.boolean()?),
            Kind::Null if reader.null() => Value::Null,
            Kind::Null => return Err(reader.error("expected null")),
        })
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(value in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap();
            let mut reader = Reader::new(&text);
            prop_assert_eq!(read(&mut reader).unwrap(), value);
            prop_assert!(reader.finish().is_ok());
            prop_assert_eq!(Reader::new(&text).skip(100).unwrap(), text.as_str());
        }

        /// A text that was damaged in one place is taken or refused as serde_json does.
        #[test]
        fn refuses_what_serde_json_refuses(value in json(), at: prop::sample::Index, with in "[\\[\\]{},:\"\\\\0-9a-z .+-]") {
            let mut text = serde_json::to_string(&value).unwrap();
            let characters: Vec<(usize, char)> = text.char_indices().collect();
            let (start, character) = *at.get(&characters);
            text.replace_range(start..start + character.len_utf8(), &with);
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            let mut reader = Reader::new(&text);
            let ours = reader.skip(1000).and_then(|_| reader.finish());
            prop_assert_eq!(ours.is_ok(), theirs, "{} {:?}", text, ours);
        }
    }

    #[test]
    fn unpaired_surrogates_are_replaced_and_pairs_joined() {
        for (text, expected) in [
            (r#""\ud83d\ude00""#, "😀"),
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\u0000\u00e9""#, "\0é"),
        ] {
            assert_eq!(Reader::new(text).text().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn any_depth_is_skipped_or_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Reader::new(&deep).skip(usize::MAX).is_ok());
        assert_eq!(Reader::new(&deep).skip(64).unwrap_err().what, "nested too deeply");
        assert!(Reader::new(&deep[..150_000]).skip(usize::MAX).is_err());
    }
}
