//! JSON string literals.

use crate::block::{WINDOW, specials};

/// Bytes that are escaped before they are appended.
const BUFFER_BYTES: usize = 1024;

/// Longest escape.
const ESCAPE_BYTES_MAX: usize = 6;

/// What one round of the quick way writes at most: a window of escapes, and what is cut back again.
const ROUND_BYTES_MAX: usize = WINDOW * ESCAPE_BYTES_MAX + 2 * WINDOW;

/// For each byte its escape and the length of that, 0 when it has none. Room for a copy of fixed size.
const ESCAPES: [([u8; 8], u8); 256] = escapes();

/// Appends a JSON string literal with the escapes of QuoteJSONString.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    let bytes = text.as_bytes();
    let mut from = if bytes.len() < 2 * WINDOW { 0 } else { quote_start(out, text) };
    let mut at = from;
    while at < bytes.len() {
        if let Some(eight) = bytes[at..].first_chunk::<8>() {
            let clean = clean_bytes(u64::from_le_bytes(*eight));
            at += clean;
            if clean == 8 {
                continue;
            }
        } else if !matches!(bytes[at], 0..0x20 | b'"' | b'\\') {
            at += 1;
            continue;
        }
        out.push_str(&text[from..at]);
        let (escape, length) = ESCAPES[usize::from(bytes[at])];
        out.extend(escape.iter().take(usize::from(length)).map(|&byte| char::from(byte)));
        at += 1;
        from = at;
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Appends all but the end of a long text, with its escapes; answers how many bytes of the text that were.
#[inline(never)]
fn quote_start(out: &mut String, text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut buffer = [0; BUFFER_BYTES];
    // Bytes that were appended, those that were escaped too, and how many the latter have become.
    let (mut done, mut at, mut end) = (0, 0, 0);
    while let Some(source) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        match escape_window(source, &mut buffer, end) {
            Some(after) => (at, end) = (at + WINDOW, after),
            None => return done,
        }
        let is_last = bytes.len() - at < 2 * WINDOW;
        if is_last || end + ROUND_BYTES_MAX > BUFFER_BYTES {
            // The start of a character waits for its end. It is as it was, so it can be cut off.
            let whole = text.floor_char_boundary(at);
            let escaped = buffer.get(..end.saturating_sub(at - whole)).unwrap_or_default();
            match simdutf8::basic::from_utf8(escaped) {
                Ok(escaped) => out.push_str(escaped),
                Err(_) => return done,
            }
            (done, at, end) = (whole, whole, 0);
            if is_last {
                return done;
            }
        }
    }
    done
}

/// Escapes the first window of two; answers where in the buffer it ends.
#[inline(always)]
fn escape_window(source: &[u8; 2 * WINDOW], buffer: &mut [u8; BUFFER_BYTES], end: usize) -> Option<usize> {
    let window = source.first_chunk::<WINDOW>()?;
    buffer.get_mut(end..end + WINDOW)?.copy_from_slice(window);
    let mut specials = specials(window);
    // Where the window would begin if what came before was as long as it has become.
    let mut base = end;
    while specials != 0 {
        let index = specials.trailing_zeros() as usize;
        let (escape, length) = &ESCAPES[usize::from(*source.get(index)?)];
        let at = base + index;
        buffer.get_mut(at..at + escape.len())?.copy_from_slice(escape);
        // What is behind it once more: more than the rest of the window, but of a fixed size.
        let behind = at + usize::from(*length);
        buffer.get_mut(behind..behind + WINDOW)?.copy_from_slice(source.get(index + 1..index + 1 + WINDOW)?);
        base = behind - (index + 1);
        specials &= specials - 1;
    }
    Some(base + WINDOW)
}

/// QuoteJSONString of ECMA-262, 25.5.2.3.
const fn escapes() -> [([u8; 8], u8); 256] {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let mut escapes = [([0; 8], 0); 256];
    let mut byte = 0;
    while byte < 0x20 {
        let (high, low) = (HEX[byte >> 4], HEX[byte & 15]);
        escapes[byte] = ([b'\\', b'u', b'0', b'0', high, low, 0, 0], 6);
        byte += 1;
    }
    let short = *b"\"\"\\\\\x08b\tt\nn\x0cf\rr";
    let mut index = 0;
    while index < short.len() {
        escapes[short[index] as usize] = ([b'\\', short[index + 1], 0, 0, 0, 0, 0, 0], 2);
        index += 2;
    }
    escapes
}

/// How many of eight bytes, the lowest first, come before one that needs an escape: a quote, a backslash
/// or a control character. Bytes from 0x80 on, of longer characters, never do. A subtraction borrows from
/// the next byte only at a hit, so the lowest hit is always a true one.
fn clean_bytes(eight: u64) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    let below = |bytes: u64, bound: u64| bytes.wrapping_sub(ONES * bound) & !bytes & HIGHS;
    let equal = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    let hits = below(eight, 0x20) | equal(b'"') | equal(b'\\');
    hits.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::quote;
    use proptest::prelude::*;

    proptest! {
        /// serde_json escapes exactly what ECMAScript escapes, in the same spelling.
        #[test]
        fn strings_are_quoted_as_serde_json_quotes_them(
            text in "[\\x00-\\x7f]{0,40}|\\PC{0,40}|[a-z\"\\\\\\x1f\\x20!#\u{80}\u{7ff}]{0,60}\
                |[\\x00-\\x1f]{0,500}|[a-z\"\\\\\n]{0,2000}|x?[\u{e9}]{0,1500}|x{0,2}[\u{20ac}\"]{0,900}\
                |[\u{1f600}a\"\u{e9}\u{20ac}\\x00]{0,1200}",
        ) {
            let mut out = String::new();
            quote(&mut out, &text);
            prop_assert_eq!(out, serde_json::to_string(&text).unwrap());
        }
    }
}
