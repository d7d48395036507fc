//! Strings: found, checked and unescaped eight bytes at a time.

use super::{JsonError, Reader};

const LANES: usize = 8;
const ONES: u64 = u64::from_le_bytes([1; LANES]);
const HIGHS: u64 = u64::from_le_bytes([0x80; LANES]);

/// The top bit of every byte that is a quote, a backslash or a control character. Bits above the first
/// that is set may be wrong: a borrow runs upwards.
fn special_bytes(word: u64) -> u64 {
    let quotes = word ^ (ONES * b'"' as u64);
    let slashes = word ^ (ONES * b'\\' as u64);
    let zero = |lanes: u64| lanes.wrapping_sub(ONES) & !lanes;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (zero(quotes) | zero(slashes) | controls) & HIGHS
}

fn is_special(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < 0x20
}

/// The eight bytes at `at`, when there are as many.
fn word_at(bytes: &[u8], at: usize) -> Option<[u8; LANES]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Where the first special byte from `at` on is; the length when there is none.
fn find_special(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word_at(bytes, at) {
        let special = special_bytes(u64::from_le_bytes(word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / LANES;
        }
        at += LANES;
    }
    at + bytes[at..].iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len() - at)
}

/// Appends bytes from `at` on up to the first special one; returns where that is.
fn copy_plain(bytes: &[u8], mut at: usize, out: &mut Vec<u8>) -> usize {
    while let Some(word) = word_at(bytes, at) {
        // A store of fixed size, cut back, is far cheaper than a copy of just the right length:
        // escapes come every few bytes in JSON inside JSON.
        out.extend_from_slice(&word);
        let special = special_bytes(u64::from_le_bytes(word));
        if special != 0 {
            let plain = special.trailing_zeros() as usize / LANES;
            out.truncate(out.len() - LANES + plain);
            return at + plain;
        }
        at += LANES;
    }
    let end = find_special(bytes, at);
    out.extend_from_slice(&bytes[at..end]);
    end
}

impl<'a> Reader<'a> {
    /// Reads a string, the opening quote being next, and appends its text to `out`. After an error
    /// `out` may hold the beginning of it.
    pub(crate) fn string_into(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let end = find_special(bytes, start);
        out.extend_from_slice(&bytes[start..end]);
        self.at = end;
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.unescape(out)?,
                _ => return self.broken_string(),
            }
            self.at = copy_plain(bytes, self.at, out);
        }
    }

    /// Reads a string; its text is a part of the document when nothing in it is escaped, else it is
    /// put into `scratch`.
    pub(crate) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s str, JsonError>
    where
        'a: 's,
    {
        let start = self.at + 1;
        let end = find_special(self.text.as_bytes(), start);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(&self.text[start..end]);
        }
        scratch.clear();
        self.string_into(scratch)?;
        std::str::from_utf8(scratch).map_err(|_| JsonError::Syntax("the string is not UTF-8", start))
    }

    /// Reads a string for its end only. Halves of surrogate pairs pass.
    pub(super) fn skip_string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            self.at = find_special(self.text.as_bytes(), self.at);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    if self.escape()? == b'u' {
                        self.hex()?;
                    }
                }
                _ => return self.broken_string(),
            }
        }
    }

    fn broken_string<T>(&self) -> Result<T, JsonError> {
        self.error(match self.byte() {
            None => "the text ends inside a string",
            Some(_) => "a string holds an unescaped control character",
        })
    }

    /// Reads a backslash and the byte behind it.
    fn escape(&mut self) -> Result<u8, JsonError> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(&escaped @ (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u')) => {
                self.at += 2;
                Ok(escaped)
            }
            Some(_) => self.error("a string holds an unknown escape"),
            None => self.error("the text ends inside a string"),
        }
    }

    fn unescape(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let start = self.at;
        out.push(match self.escape()? {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let scalar = self.scalar(start)?;
                out.extend_from_slice(scalar.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            itself => itself,
        });
        Ok(())
    }

    /// Reads what follows `\u`: four digits, or eight with another `\u` between for a pair.
    fn scalar(&mut self, start: usize) -> Result<char, JsonError> {
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                    return Err(JsonError::LoneSurrogate(start));
                }
                self.at += 2;
                match self.hex()? {
                    second @ 0xdc00..=0xdfff => 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => return Err(JsonError::LoneSurrogate(start)),
                }
            }
            other => other,
        };
        char::from_u32(code).ok_or(JsonError::LoneSurrogate(start))
    }

    fn hex(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let code = digits.and_then(|digits| {
            digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
        });
        match code {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => self.error("\\u is not followed by four hexadecimal digits"),
        }
    }
}
