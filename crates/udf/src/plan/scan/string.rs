//! Strings: their end found, and their text copied, sixteen bytes at a time.

use wide::u8x16;

use super::Scanner;

const LANES: usize = 16;

/// Room behind the texts, for copies that are cut back to what they were wanted for.
pub(super) const MARGIN_BYTES: usize = 4 * LANES;

/// One bit for each byte that is a quote, a backslash or a control character.
#[inline(always)]
fn special_bytes(block: [u8; LANES]) -> u32 {
    let block = u8x16::new(block);
    let quotes = block.simd_eq(u8x16::splat(b'"'));
    let slashes = block.simd_eq(u8x16::splat(b'\\'));
    let controls = block.min(u8x16::splat(0x1f)).simd_eq(block);
    (quotes | slashes | controls).to_bitmask()
}

/// Whether a backslash and this byte are the spelling that JavaScript has for a character.
#[inline(always)]
fn is_kept(escaped: u8) -> bool {
    matches!(escaped, b'"' | b'\\' | b'n' | b't' | b'r' | b'b' | b'f')
}

impl Scanner<'_> {
    /// Scans a string from its opening quote to behind its closing one; answers whether there is an
    /// escape in it. With `COPY` it writes it as `JSON.stringify` would, quotes included.
    #[inline]
    pub(super) fn string<const COPY: bool>(&mut self) -> Option<bool> {
        if COPY {
            self.put(b'"')?;
        }
        self.at += 1;
        let mut is_escaped = false;
        while let Some(block) = self.bytes.get(self.at..)?.first_chunk::<LANES>() {
            if COPY {
                self.out.get_mut(self.end..self.end + LANES)?.copy_from_slice(block);
            }
            let mut specials = special_bytes(*block);
            let mut plain = specials.trailing_zeros() as usize;
            // Escapes that stay as they are need no stop while they lie within the block.
            while plain < LANES - 1 && block[plain] == b'\\' && is_kept(block[plain + 1]) {
                is_escaped = true;
                specials &= !(3 << plain);
                plain = specials.trailing_zeros() as usize;
            }
            let plain = plain.min(LANES);
            self.at += plain;
            self.end += if COPY { plain } else { 0 };
            if plain == LANES {
                continue;
            }
            match block[plain] {
                b'"' => {
                    self.at += 1;
                    if COPY {
                        self.end += 1;
                    }
                    return Some(is_escaped);
                }
                b'\\' => {
                    is_escaped = true;
                    self.escape::<COPY>()?;
                }
                _ => return None,
            }
        }
        self.string_tail::<COPY>(is_escaped)
    }

    /// The rest of a string that is near the end of the message.
    #[cold]
    fn string_tail<const COPY: bool>(&mut self, mut is_escaped: bool) -> Option<bool> {
        loop {
            match self.byte()? {
                b'\\' => {
                    is_escaped = true;
                    self.escape::<COPY>()?;
                    continue;
                }
                0..=0x1f => return None,
                byte => {
                    if COPY {
                        self.put(byte)?;
                    }
                    self.at += 1;
                    if byte == b'"' {
                        return Some(is_escaped);
                    }
                }
            }
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
