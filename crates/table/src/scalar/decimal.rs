//! Decimal numbers from their text, digit by digit: nothing passes through a double.

use crate::schema::Rounding;

/// Digits of a BIGNUMERIC after the decimal point.
pub(crate) const BIGNUMERIC_SCALE: usize = 38;

/// The largest BIGNUMERIC times 10^38: 2^255 - 1
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types>).
const BIGNUMERIC_MAX: &[u8; 77] =
    b"57896044618658097711785492504343953926634992332820282019728792003956564819967";
/// The smallest, negated: 2^255.
const BIGNUMERIC_MIN: &[u8; 77] =
    b"57896044618658097711785492504343953926634992332820282019728792003956564819968";

/// A decimal number as written: digits, where the point is, the sign. Borrows the digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    /// Digits before the point, then digits behind it; leading zeros of the two together removed.
    whole: &'a [u8],
    fraction: &'a [u8],
    /// How many of the digits stand before the decimal point, exponent included; may be negative or
    /// more than there are.
    point: i64,
}

/// Why a number is not a value of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberProblem {
    /// Too large or too small.
    OutOfRange,
    /// Has digits behind the decimal point.
    Fraction,
}

/// How digits behind the last one that is kept are dealt with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Round(Rounding),
    Drop,
}

impl<'a> Decimal<'a> {
    /// Takes `[+-]digits[.digits][e[+-]digits]`, blanks around it; a digit on one side of the point
    /// is enough. `None` for anything else.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.trim_ascii().as_bytes();
        let (negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (whole, rest) = bytes.split_at(digits(bytes));
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => rest.split_at(digits(rest)),
            rest => (&rest[..0], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
        let whole = &whole[zeros..];
        let zeros =
            if whole.is_empty() { fraction.iter().take_while(|&&digit| digit == b'0').count() } else { 0 };
        let shift = if whole.is_empty() { -to_i64(zeros) } else { to_i64(whole.len()) };
        Some(Self { negative, whole, fraction: &fraction[zeros..], point: shift.saturating_add(exponent) })
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    fn len(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }

    /// The digit at that place from the first significant one on; 0 behind the last.
    fn digit(&self, at: usize) -> u8 {
        let byte = match at.checked_sub(self.whole.len()) {
            None => self.whole[at],
            Some(at) => self.fraction.get(at).copied().unwrap_or(b'0'),
        };
        byte - b'0'
    }

    fn any_digit_from(&self, at: usize) -> bool {
        (at..self.len()).any(|at| self.digit(at) != 0)
    }

    /// The number times 10^scale as digits, the rest rounded or dropped, written into `out` from the
    /// first significant digit on. `None` when there are more than `out` holds.
    fn scaled<'o>(&self, scale: usize, rest: Rest, out: &'o mut [u8; 80]) -> Option<&'o [u8]> {
        let keep = self.point.saturating_add(to_i64(scale));
        if self.len() == 0 || keep < 0 {
            return Some(&[]);
        }
        // One digit more than ever fits, so that rounding up has room.
        let keep = usize::try_from(keep).ok().filter(|&keep| keep < out.len())?;
        for (at, digit) in out[1..=keep].iter_mut().enumerate() {
            *digit = self.digit(at);
        }
        out[0] = 0;
        let up = match (rest, self.digit(keep)) {
            (Rest::Drop, _) | (_, 0..5) => false,
            (Rest::Round(Rounding::HalfEven), 5) if !self.any_digit_from(keep + 1) => out[keep] % 2 == 1,
            _ => true,
        };
        if up {
            for digit in out[..=keep].iter_mut().rev() {
                *digit = (*digit + 1) % 10;
                if *digit != 0 {
                    break;
                }
            }
        }
        let zeros = out[..=keep].iter().take_while(|&&digit| digit == 0).count();
        Some(&out[zeros..=keep])
    }

    fn scaled_i128(&self, scale: usize, rest: Rest) -> Result<i128, NumberProblem> {
        let mut buffer = [0; 80];
        let digits = self.scaled(scale, rest, &mut buffer).ok_or(NumberProblem::OutOfRange)?;
        if digits.len() > 38 {
            return Err(NumberProblem::OutOfRange);
        }
        let magnitude = digits.iter().fold(0_i128, |sum, &digit| sum * 10 + i128::from(digit));
        Ok(if self.negative { -magnitude } else { magnitude })
    }

    /// The number as an integer, when it is one.
    pub(crate) fn to_i64(self) -> Result<i64, NumberProblem> {
        let keep = usize::try_from(self.point).unwrap_or(0);
        if self.any_digit_from(keep) {
            return Err(NumberProblem::Fraction);
        }
        let value = self.scaled_i128(0, Rest::Drop)?;
        i64::try_from(value).map_err(|_| NumberProblem::OutOfRange)
    }

    /// The number in millionths, digits beyond them dropped.
    pub(crate) fn to_micros(self) -> Result<i64, NumberProblem> {
        let value = self.scaled_i128(6, Rest::Drop)?;
        i64::try_from(value).map_err(|_| NumberProblem::OutOfRange)
    }

    /// The number as a NUMERIC of that precision and scale, in units of 10^-9.
    pub(crate) fn to_numeric(
        self,
        precision: usize,
        scale: usize,
        rounding: Rounding,
    ) -> Result<i128, NumberProblem> {
        let value = self.scaled_i128(scale, Rest::Round(rounding))?;
        let limit = 10_i128.pow(u32::try_from(precision.min(38)).unwrap_or(38));
        if value <= -limit || value >= limit {
            return Err(NumberProblem::OutOfRange);
        }
        let unit = 10_i128.pow(u32::try_from(9_usize.saturating_sub(scale)).unwrap_or(0));
        value.checked_mul(unit).ok_or(NumberProblem::OutOfRange)
    }

    /// Appends the number as a BIGNUMERIC of that precision (when declared) and scale: no exponent, no
    /// zero that says nothing, no plus, no minus before zero.
    pub(crate) fn bignumeric_into(
        self,
        precision: Option<usize>,
        scale: usize,
        rounding: Rounding,
        out: &mut Vec<u8>,
    ) -> Result<(), NumberProblem> {
        let mut buffer = [0; 80];
        let digits =
            self.scaled(scale, Rest::Round(rounding), &mut buffer).ok_or(NumberProblem::OutOfRange)?;
        if !fits_bignumeric(digits, scale, self.negative) || precision.is_some_and(|most| digits.len() > most)
        {
            return Err(NumberProblem::OutOfRange);
        }
        if digits.is_empty() {
            out.push(b'0');
            return Ok(());
        }
        if self.negative {
            out.push(b'-');
        }
        let whole = digits.len().saturating_sub(scale);
        if whole == 0 {
            out.push(b'0');
        }
        out.extend(digits[..whole].iter().map(|digit| digit + b'0'));
        let zeros = digits.iter().rev().take_while(|&&digit| digit == 0).count().min(scale);
        let fraction = &digits[whole..digits.len().saturating_sub(zeros).max(whole)];
        if !fraction.is_empty() {
            out.push(b'.');
            out.resize(out.len() + scale.saturating_sub(digits.len()), b'0');
            out.extend(fraction.iter().map(|digit| digit + b'0'));
        }
        Ok(())
    }
}

/// Whether digits times 10^-scale lie within BIGNUMERIC.
fn fits_bignumeric(digits: &[u8], scale: usize, negative: bool) -> bool {
    let limit: &[u8] = if negative { BIGNUMERIC_MIN } else { BIGNUMERIC_MAX };
    let length = digits.len() + (BIGNUMERIC_SCALE - scale);
    if digits.is_empty() || length != limit.len() {
        return digits.is_empty() || length < limit.len();
    }
    let padded = digits.iter().map(|digit| digit + b'0').chain(std::iter::repeat(b'0'));
    padded.take(limit.len()).le(limit.iter().copied())
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// An exponent; one of very many digits is as good as the largest.
fn exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::MAX / 4)
    });
    Some(if negative { -value } else { value })
}

fn to_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "decimal_tests.rs"]
mod tests;
