//! Times as text.

use chrono::{Datelike as _, NaiveDate};

use crate::calendar::DAY_MS;

/// Writes times of RFC 3339; the day's text is kept, since the next time is nearly always of the same day.
pub(crate) struct Clock {
    day: i64,
    text: [u8; 10],
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { day: i64::MIN, text: [b'0'; 10] }
    }

    /// `2026-11-22T14:25:20.218Z` of milliseconds since 1970.
    pub(crate) fn millis(&mut self, out: &mut Vec<u8>, time_ms: i64) {
        let ms = self.day_and_hour(out, time_ms, b':');
        push_digits(out, ms / 1_000 % 60, 2);
        out.push(b'.');
        push_digits(out, ms % 1_000, 3);
        out.push(b'Z');
    }

    /// The same with microseconds.
    pub(crate) fn micros(&mut self, out: &mut Vec<u8>, time_us: i64) {
        let ms = self.day_and_hour(out, time_us.div_euclid(1_000), b':');
        push_digits(out, ms / 1_000 % 60, 2);
        out.push(b'.');
        push_digits(out, ms % 1_000 * 1_000 + time_us.rem_euclid(1_000) as u32, 6);
        out.push(b'Z');
    }

    /// `2026-11-22T14-25`, as the CLI names its chat files.
    pub(crate) fn minute(&mut self, out: &mut Vec<u8>, time_ms: i64) {
        self.day_and_hour(out, time_ms, b'-');
        out.pop();
    }

    /// Writes up to the minute and the mark behind it; gives the milliseconds of the day.
    fn day_and_hour(&mut self, out: &mut Vec<u8>, time_ms: i64, mark: u8) -> u32 {
        let day = time_ms.div_euclid(DAY_MS.into());
        if day != self.day {
            self.day = day;
            self.text = day_text(day);
        }
        let ms = time_ms.rem_euclid(DAY_MS.into()) as u32;
        out.extend_from_slice(&self.text);
        out.push(b'T');
        push_digits(out, ms / 3_600_000, 2);
        out.push(mark);
        push_digits(out, ms / 60_000 % 60, 2);
        out.push(mark);
        ms
    }
}

/// The days since 1970.
pub(crate) fn day_number(date: NaiveDate) -> i64 {
    date.to_epoch_days().into()
}

/// `Sunday, November 22, 2026`, as the CLI tells the model.
pub(crate) fn long_date(date: NaiveDate) -> String {
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (day, month) = (date.weekday().num_days_from_monday() as usize, date.month0() as usize);
    format!("{}, {} {}, {}", DAYS[day], MONTHS[month], date.day(), date.year())
}

fn day_text(day: i64) -> [u8; 10] {
    let date = i32::try_from(day).ok().and_then(NaiveDate::from_epoch_days).unwrap_or_default();
    let mut text = Vec::with_capacity(10);
    push_digits(&mut text, date.year().unsigned_abs(), 4);
    text.push(b'-');
    push_digits(&mut text, date.month(), 2);
    text.push(b'-');
    push_digits(&mut text, date.day(), 2);
    text.try_into().unwrap_or([b'0'; 10])
}

/// The last so many digits of a number, zeros in front.
pub(crate) fn push_digits(out: &mut Vec<u8>, number: u32, digits: u32) {
    let mut power = 10_u32.pow(digits - 1);
    while power > 0 {
        out.push(b'0' + (number / power % 10) as u8);
        power /= 10;
    }
}

/// A whole number.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// The 16 hexadecimal digits of a number.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (place, byte) in number.to_be_bytes().into_iter().enumerate() {
        text[2 * place] = DIGITS[usize::from(byte >> 4)];
        text[2 * place + 1] = DIGITS[usize::from(byte & 15)];
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_text() {
        let date = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let time_ms = day_number(date) * 86_400_000 + ((14 * 60 + 25) * 60 + 20) * 1_000 + 218;
        let mut clock = Clock::new();
        let mut text = Vec::new();
        clock.millis(&mut text, time_ms);
        text.push(b' ');
        clock.micros(&mut text, time_ms * 1_000 + 7);
        text.push(b' ');
        clock.minute(&mut text, time_ms + 86_400_000);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "2026-11-22T14:25:20.218Z 2026-11-22T14:25:20.218007Z 2026-11-23T14-25"
        );
        assert_eq!(long_date(date), "Sunday, November 22, 2026");
    }

    #[test]
    fn numbers_have_their_digits() {
        let mut text = Vec::new();
        push_number(&mut text, 0);
        push_number(&mut text, u64::MAX);
        push_digits(&mut text, 1_234, 3);
        push_hex(&mut text, 0x00ab_cdef_0123_4567);
        assert_eq!(text, b"01844674407370955161523400abcdef01234567");
    }
}
