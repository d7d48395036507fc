//! Strings: their end found, and their text copied, a block at a time.

use super::Scanner;
use crate::block::{BLOCK, Escapes, Masks, WINDOW, kept, specials};

/// Room behind the texts, for copies that are cut back to what they were wanted for.
pub(super) const MARGIN_BYTES: usize = 2 * BLOCK;

/// Whether a backslash and this byte are the spelling that JavaScript has for a character.
#[inline(always)]
fn is_kept(escaped: u8) -> bool {
    matches!(escaped, b'"' | b'\\' | b'n' | b't' | b'r' | b'b' | b'f')
}

impl Scanner<'_> {
    /// Scans a string from its opening quote to behind its closing one; answers whether there is an
    /// escape in it. With `COPY` it writes it as `JSON.stringify` would, quotes included.
    #[inline(always)]
    pub(super) fn string<const COPY: bool>(&mut self) -> Option<bool> {
        // Most strings are short: one look finds the end.
        if let Some(window) = self.bytes.get(self.at..)?.first_chunk::<WINDOW>() {
            if COPY {
                self.out.get_mut(self.end..self.end + WINDOW)?.copy_from_slice(window);
            }
            let plain = (specials(window) & !1).trailing_zeros() as usize;
            if window.get(plain) == Some(&b'"') {
                self.pass::<COPY>(plain + 1);
                return Some(false);
            }
        }
        self.string_by_blocks::<COPY>()
    }

    /// Goes on by bytes that have been copied.
    #[inline(always)]
    fn pass<const COPY: bool>(&mut self, bytes: usize) {
        self.at += bytes;
        self.end += if COPY { bytes } else { 0 };
    }

    /// A string that is long, has escapes or is near the end of the message.
    #[inline(never)]
    fn string_by_blocks<const COPY: bool>(&mut self) -> Option<bool> {
        if COPY {
            self.put(b'"')?;
        }
        self.at += 1;
        let mut is_escaped = false;
        let mut escapes = Escapes::default();
        loop {
            let rest = self.bytes.get(self.at..)?;
            let padded;
            let block = match rest.first_chunk::<BLOCK>() {
                Some(block) => block,
                None => {
                    padded = pad(rest);
                    &padded
                }
            };
            if COPY {
                self.out.get_mut(self.end..self.end + BLOCK)?.copy_from_slice(block);
            }
            let masks = Masks::of(block);
            let is_continued = escapes.is_open();
            let escaped = escapes.next(masks.slashes);
            let quotes = masks.quotes & !escaped;
            // The bits below the closing quote, or all.
            let inside = quotes.wrapping_sub(1) & !quotes;
            if masks.controls & inside != 0 {
                // That byte may be the padding: the string has no end.
                return None;
            }
            is_escaped |= masks.slashes & inside != 0;
            if escaped != 0 {
                let odd = escaped & inside & !kept(block);
                if odd != 0 {
                    match odd.trailing_zeros() as usize {
                        // The backslash is the last byte of the block before.
                        0 if is_continued => {
                            self.at -= 1;
                            self.end -= usize::from(COPY);
                        }
                        first => self.pass::<COPY>(first.checked_sub(1)?),
                    }
                    self.escape::<COPY>()?;
                    is_escaped = true;
                    escapes = Escapes::default();
                    continue;
                }
            }
            if quotes != 0 {
                self.pass::<COPY>(quotes.trailing_zeros() as usize + 1);
                return Some(is_escaped);
            }
            self.pass::<COPY>(BLOCK);
        }
    }

    /// Scans an escape, the backslash being next.
    fn escape<const COPY: bool>(&mut self) -> Option<()> {
        let escaped = *self.bytes.get(self.at + 1)?;
        if is_kept(escaped) {
            if COPY {
                self.put(b'\\')?;
                self.put(escaped)?;
            }
            self.at += 2;
            return Some(());
        }
        match escaped {
            b'/' => {
                if COPY {
                    self.put(b'/')?;
                }
                self.at += 2;
                Some(())
            }
            b'u' => {
                let (code, length) = code_at(self.bytes, self.at)?;
                self.at += length;
                if COPY { self.put_code(code) } else { Some(()) }
            }
            _ => None,
        }
    }

    fn put_code(&mut self, code: u32) -> Option<()> {
        let short = match code {
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x22 => b'"',
            0x5c => b'\\',
            _ => 0,
        };
        if short != 0 {
            self.put(b'\\')?;
            return self.put(short);
        }
        match char::from_u32(code).filter(|_| code >= 0x20) {
            Some(character) => {
                let mut buffer = [0; 4];
                character.encode_utf8(&mut buffer).bytes().try_for_each(|byte| self.put(byte))
            }
            // A control character, or half of a surrogate pair, which JSON.stringify escapes too.
            None => {
                self.put(b'\\')?;
                self.put(b'u')?;
                [12, 8, 4, 0].into_iter().try_for_each(|shift| {
                    let digit = char::from_digit(code >> shift & 15, 16)?;
                    self.put(u8::try_from(digit).ok()?)
                })
            }
        }
    }
}

/// The last bytes of a message as a block, zeros behind them.
#[cold]
fn pad(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if let Some(start) = block.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    block
}

/// The code of an escape `\u....` at a position and its length: of two that are a surrogate pair, both.
fn code_at(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = hex(bytes, at + 2)?;
    if (0xd800..0xdc00).contains(&first) && bytes.get(at + 6..at + 8) == Some(b"\\u") {
        let second = hex(bytes, at + 8)?;
        if (0xdc00..0xe000).contains(&second) {
            return Some((0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12));
        }
    }
    Some((first, 6))
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
}

/// Appends a scanned string without its escapes. `None` when half of a surrogate pair is in it.
pub(in crate::plan) fn unescape_into(out: &mut String, text: &str) -> Option<()> {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(rest.get(..at)?);
        let length = match rest.as_bytes().get(at + 1)? {
            b'u' => {
                let (code, length) = code_at(rest.as_bytes(), at)?;
                out.push(char::from_u32(code)?);
                length
            }
            other => {
                out.push(match other {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    itself => char::from(*itself),
                });
                2
            }
        };
        rest = rest.get(at + length..)?;
    }
    out.push_str(rest);
    Some(())
}
