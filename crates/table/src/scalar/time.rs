//! Days, times of day and moments from text. The forms are those of GoogleSQL's canonical formats
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#timestamp_type>) and of
//! BigQuery's loads (<https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json>).

use chrono::{Datelike, NaiveDate};

use super::decimal::{Decimal, NumberProblem};
use super::zone::offset_seconds;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// The first moment of year 1 and the last of year 9999.
const MICROS_MIN: i64 = -62_135_596_800 * SECOND;
const MICROS_MAX: i64 = 253_402_300_800 * SECOND - 1;

/// Why a text is not a day or moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeProblem {
    /// Not of a known form.
    Format,
    /// Before year 1 or after year 9999.
    OutOfRange,
    /// A number so large that it must be milliseconds or microseconds.
    NotSeconds,
    /// The time zone is unknown.
    Zone,
    /// A DATETIME with a time zone.
    HasZone,
}

use TimeProblem::{Format, HasZone, NotSeconds, OutOfRange, Zone};

/// A moment, in microseconds since 1970: a day, a day and time with or without a zone (UTC), or seconds
/// since 1970 as a number. Digits beyond microseconds are dropped.
pub(crate) fn timestamp(text: &str) -> Result<i64, TimeProblem> {
    let text = text.trim_ascii();
    let Some((day, rest)) = day_part(text, true) else {
        return Decimal::parse(text).ok_or(Format).and_then(epoch_seconds);
    };
    let (time, zone) = match time_behind_day(rest) {
        Some((time, rest)) => (time, rest),
        None => (0, rest),
    };
    let local = i64::from(day?) * DAY + time;
    let problem = if zone.starts_with([' ', '+', '-']) { Zone } else { Format };
    let offset = offset_seconds(zone, local.div_euclid(SECOND)).ok_or(problem)?;
    in_range(local - offset * SECOND)
}

/// Seconds since 1970, as microseconds.
pub(crate) fn epoch_seconds(number: Decimal<'_>) -> Result<i64, TimeProblem> {
    let micros =
        number.to_micros().and_then(|micros| in_range(micros).map_err(|_| NumberProblem::OutOfRange));
    // 1e11 seconds are the year 5138; today's milliseconds are 1.7e12, microseconds 1.7e15.
    micros.map_err(|_| if number.is_negative() { OutOfRange } else { NotSeconds })
}

/// A day and time of no zone, in microseconds as if it were UTC.
pub(crate) fn datetime(text: &str) -> Result<i64, TimeProblem> {
    let text = text.trim_ascii();
    let (day, rest) = day_part(text, false).ok_or(Format)?;
    let day = day?;
    if rest.is_empty() {
        return Ok(i64::from(day) * DAY);
    }
    let (time, rest) = time_behind_day(rest).ok_or(Format)?;
    if !rest.is_empty() {
        return Err(if offset_seconds(rest, 0).is_some() { HasZone } else { Format });
    }
    in_range(i64::from(day) * DAY + time)
}

/// A day, in days since 1970.
pub(crate) fn date(text: &str) -> Result<i32, TimeProblem> {
    match day_part(text.trim_ascii(), false) {
        Some((day, "")) => day,
        _ => Err(Format),
    }
}

/// A time of day, in microseconds since midnight.
pub(crate) fn time_of_day(text: &str) -> Result<i64, TimeProblem> {
    match time_part(text.trim_ascii()) {
        // A leap second at the end of the day would be a time of the next.
        Some((micros, "")) if micros < DAY => Ok(micros),
        _ => Err(Format),
    }
}

/// Appends a time of day as `HH:MM:SS`, with six digits of fraction when there is one.
pub(crate) fn time_into(micros: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    digits_into(seconds / 3600, 2, out);
    out.push(b':');
    digits_into(seconds / 60 % 60, 2, out);
    out.push(b':');
    digits_into(seconds % 60, 2, out);
    if fraction != 0 {
        out.push(b'.');
        digits_into(fraction, 6, out);
    }
}

/// Appends the last `digits` digits of a number that is not negative.
fn digits_into(value: i64, digits: u32, out: &mut Vec<u8>) {
    out.extend((0..digits).rev().map(|place| {
        // The remainder of a division by 10 is a digit.
        b'0' + u8::try_from(value / 10_i64.pow(place) % 10).unwrap_or(0)
    }));
}

fn in_range(micros: i64) -> Result<i64, TimeProblem> {
    if (MICROS_MIN..=MICROS_MAX).contains(&micros) { Ok(micros) } else { Err(OutOfRange) }
}

/// `YYYY-[M]M-[D]D` (or with slashes) at the beginning of the text: days since 1970 and what follows.
/// `None` when the text does not begin so.
fn day_part(text: &str, slashes: bool) -> Option<(Result<i32, TimeProblem>, &str)> {
    let (year, rest) = number(text, 4, 4)?;
    let separator = match rest.as_bytes().first()? {
        b'-' => '-',
        b'/' if slashes => '/',
        _ => return None,
    };
    let (month, rest) = number(rest.strip_prefix(separator)?, 1, 2)?;
    let (day, rest) = number(rest.strip_prefix(separator)?, 1, 2)?;
    if year == 0 {
        return Some((Err(OutOfRange), rest));
    }
    /// Days from the first of year 1, which is number 1, to 1970-01-01.
    const EPOCH_FROM_YEAR_1: i32 = 719_163;
    let date = i32::try_from(year).ok().and_then(|year| NaiveDate::from_ymd_opt(year, month, day));
    Some((date.map(|date| date.num_days_from_ce() - EPOCH_FROM_YEAR_1).ok_or(Format), rest))
}

/// A separator and a time of day: microseconds since midnight and what follows.
fn time_behind_day(text: &str) -> Option<(i64, &str)> {
    time_part(text.strip_prefix([' ', 'T', 't'])?)
}

/// `[H]H:[M]M:[S]S[.F...]` at the beginning of the text: microseconds since midnight and what follows.
/// The 60th second is the next minute's first.
fn time_part(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = number(text, 1, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 1, 2)?;
    let (second, rest) = number(rest.strip_prefix(':')?, 1, 2)?;
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(behind) => fraction(behind)?,
        None => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction = if second == 60 { 0 } else { fraction };
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some((seconds * SECOND + fraction, rest))
}

/// The digits at the beginning of the text as millionths, those beyond the sixth dropped.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return None;
    }
    let digits = text.bytes().take(length).chain(std::iter::repeat(b'0')).take(6);
    Some((digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), &text[length..]))
}

/// As many digits as there are at the beginning of the text, `least` to `most`, as a number.
fn number(text: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if length < least {
        return None;
    }
    let value = text.bytes().take(length).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some((value, &text[length..]))
}

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
