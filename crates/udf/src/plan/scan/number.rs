//! Numbers, in the one spelling that JavaScript has for each.

use super::Scanner;
use crate::block;

/// Decimal digits that every double tells apart: of two decimals of so many digits no two are the same
/// double, so the shorter spelling that JavaScript looks for is the one at hand.
const DIGITS_SAFE: usize = 15;

/// Longest spelling of a double in JavaScript, with room: `-1.2345678901234567e-300` and the like.
const SPELLING_BYTES_MAX: usize = 32;

impl Scanner<'_> {
    /// Scans a number; answers whether JavaScript spells it another way.
    #[inline]
    pub(super) fn number<const COPY: bool>(&mut self) -> Option<bool> {
        let start = self.at;
        let is_negative = self.byte()? == b'-';
        self.at += usize::from(is_negative);
        let first = self.at;
        let leading = self.byte()?;
        match leading {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        let whole = self.at - first;
        let mut is_odd = whole > DIGITS_SAFE || (is_negative && leading == b'0');
        if self.byte() == Some(b'.') {
            self.at += 1;
            let fraction = self.at;
            self.digits();
            let digits = self.bytes.get(fraction..self.at)?;
            let is_small = leading == b'0' && digits.starts_with(b"000000");
            is_odd |= digits.last()? == &b'0' || whole + digits.len() > DIGITS_SAFE || is_small;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            let exponent = self.at;
            self.digits();
            if exponent == self.at {
                return None;
            }
            is_odd = true;
        }
        if COPY {
            self.copy_number(start, is_odd)?;
        }
        Some(is_odd)
    }

    #[inline(always)]
    fn digits(&mut self) {
        // Most numbers are short: one look finds the end.
        if let Some(block) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            self.at += block::digits(block);
        }
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    #[inline]
    fn copy_number(&mut self, start: usize, is_odd: bool) -> Option<()> {
        if !is_odd {
            // At most a sign, a point and the safe digits: a copy of fixed size is cheaper.
            let length = self.at - start;
            match (self.bytes.get(start..)?.first_chunk::<16>(), length <= 16) {
                (Some(block), true) => self.out.get_mut(self.end..self.end + 16)?.copy_from_slice(block),
                _ => {
                    let spelled = self.bytes.get(start..self.at)?;
                    self.out.get_mut(self.end..self.end + length)?.copy_from_slice(spelled);
                }
            }
            self.end += length;
            return Some(());
        }
        let spelled = std::str::from_utf8(self.bytes.get(start..self.at)?).ok()?;
        let mut buffer = ryu_js::Buffer::new();
        let spelled = spell(spelled, &mut buffer)?;
        // It may be longer than it was, and the rest of the message must still fit behind it.
        self.out.resize(self.out.len() + SPELLING_BYTES_MAX, 0);
        self.out.get_mut(self.end..self.end + spelled.len())?.copy_from_slice(spelled.as_bytes());
        self.end += spelled.len();
        Some(())
    }
}

/// Appends a number of JSON as JavaScript spells it. `None` beyond the doubles.
pub(in crate::plan) fn format_into(out: &mut String, number: &str) -> Option<()> {
    out.push_str(spell(number, &mut ryu_js::Buffer::new())?);
    Some(())
}

fn spell<'b>(number: &str, buffer: &'b mut ryu_js::Buffer) -> Option<&'b str> {
    let value: f64 = number.parse().ok()?;
    value.is_finite().then(|| buffer.format_finite(value))
}
