//! Calendar arithmetic: dates as days, times as microseconds, both since 1970-01-01, in BigQuery's
//! range of years 1 to 9999.

use chrono::{
    DateTime, Datelike, Days, LocalResult, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone,
    Timelike, Weekday,
};
use datafusion::arrow::array::timezone::Tz;

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// 0001-01-01 and 9999-12-31T23:59:59.999999.
const MICROS_MIN: i64 = -62_135_596_800_000_000;
const MICROS_MAX: i64 = 253_402_300_799_999_999;

/// A part of a date or time, as queries name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    DayOfWeek,
    DayOfYear,
    /// Weeks that begin on this day; plain WEEK begins on Sunday.
    Week(Weekday),
    IsoWeek,
    Month,
    Quarter,
    Year,
    IsoYear,
    Date,
    Datetime,
}

/// The part of a lower-case name.
///
/// # Errors
/// When it is none.
pub(crate) fn part(name: &str) -> Result<Part, String> {
    Ok(match name {
        "microsecond" => Part::Microsecond,
        "millisecond" => Part::Millisecond,
        "second" => Part::Second,
        "minute" => Part::Minute,
        "hour" => Part::Hour,
        "day" => Part::Day,
        "dayofweek" => Part::DayOfWeek,
        "dayofyear" => Part::DayOfYear,
        "week" | "week(sunday)" => Part::Week(Weekday::Sun),
        "week(monday)" => Part::Week(Weekday::Mon),
        "week(tuesday)" => Part::Week(Weekday::Tue),
        "week(wednesday)" => Part::Week(Weekday::Wed),
        "week(thursday)" => Part::Week(Weekday::Thu),
        "week(friday)" => Part::Week(Weekday::Fri),
        "week(saturday)" => Part::Week(Weekday::Sat),
        "isoweek" => Part::IsoWeek,
        "month" => Part::Month,
        "quarter" => Part::Quarter,
        "year" => Part::Year,
        "isoyear" => Part::IsoYear,
        "date" => Part::Date,
        "datetime" => Part::Datetime,
        other => return Err(format!("{} is not a date part", other.to_uppercase())),
    })
}

/// A time zone by name (`America/New_York`) or offset (`+05:30`, `-8`).
///
/// # Errors
/// When there is none of that name.
pub(crate) fn zone(text: &str) -> Result<Tz, String> {
    let padded = match text.as_bytes() {
        // One digit of hours, which the library does not read.
        [b'+' | b'-', digit, rest @ ..]
            if digit.is_ascii_digit() && !rest.first().is_some_and(u8::is_ascii_digit) =>
        {
            format!("{}0{}", &text[..1], &text[1..])
        }
        _ => text.to_owned(),
    };
    padded.parse().map_err(|_| format!("there is no time zone {text:?}"))
}

pub(crate) fn date(days: i32) -> Result<NaiveDate, String> {
    NaiveDate::from_epoch_days(days).ok_or_else(|| format!("day {days} is out of range"))
}

/// The days of a date in range.
///
/// # Errors
/// When the year is not 1 to 9999.
pub(crate) fn days(date: NaiveDate) -> Result<i32, String> {
    match date.year() {
        1..=9999 => Ok(date.to_epoch_days()),
        year => Err(format!("year {year} is out of range")),
    }
}

/// Microseconds as a civil time in UTC.
pub(crate) fn civil(micros: i64) -> Result<NaiveDateTime, String> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc()).ok_or_else(|| out_of_range(micros))
}

fn out_of_range(micros: i64) -> String {
    format!("timestamp of {micros} microseconds is out of range")
}

/// Checks BigQuery's range.
pub(crate) fn in_range(micros: i64) -> Result<i64, String> {
    if (MICROS_MIN..=MICROS_MAX).contains(&micros) { Ok(micros) } else { Err(out_of_range(micros)) }
}

/// Microseconds of a civil time in UTC.
pub(crate) fn micros(time: NaiveDateTime) -> Result<i64, String> {
    in_range(time.and_utc().timestamp_micros())
}

/// What the clocks of a zone show.
pub(crate) fn local(micros: i64, zone: Tz) -> Result<NaiveDateTime, String> {
    Ok(zone.from_utc_datetime(&civil(micros)?).naive_local())
}

/// When the clocks of a zone show a time: the earlier moment when they do twice; when never, because
/// they are put forward, the moment they would have shown it.
pub(crate) fn instant(time: NaiveDateTime, zone: Tz) -> Result<i64, String> {
    match zone.from_local_datetime(&time) {
        LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => {
            in_range(moment.timestamp_micros())
        }
        LocalResult::None => {
            let hour = TimeDelta::hours(3);
            match zone.from_local_datetime(&(time - hour)) {
                LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => {
                    in_range((moment + hour).timestamp_micros())
                }
                LocalResult::None => Err(format!("{time} does not exist in that time zone")),
            }
        }
    }
}

/// The beginning of the part that a time lies in.
pub(crate) fn truncate(time: NaiveDateTime, part: Part) -> Result<NaiveDateTime, String> {
    let day = time.date();
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN);
    let first = |year, month| {
        NaiveDate::from_ymd_opt(year, month, 1).map(midnight).ok_or_else(|| "out of range".to_owned())
    };
    let clock = |hour, minute, second, nano| {
        NaiveTime::from_hms_nano_opt(hour, minute, second, nano)
            .map(|clock| day.and_time(clock))
            .ok_or_else(|| "out of range".to_owned())
    };
    match part {
        Part::Microsecond => Ok(time),
        Part::Millisecond => {
            clock(time.hour(), time.minute(), time.second(), time.nanosecond() / 1_000_000 * 1_000_000)
        }
        Part::Second => clock(time.hour(), time.minute(), time.second(), 0),
        Part::Minute => clock(time.hour(), time.minute(), 0, 0),
        Part::Hour => clock(time.hour(), 0, 0, 0),
        Part::Day => Ok(midnight(day)),
        Part::Week(start) => week_start(day, start).map(midnight),
        Part::IsoWeek => week_start(day, Weekday::Mon).map(midnight),
        Part::Month => first(day.year(), day.month()),
        Part::Quarter => first(day.year(), day.month0() / 3 * 3 + 1),
        Part::Year => first(day.year(), 1),
        Part::IsoYear => NaiveDate::from_isoywd_opt(day.iso_week().year(), 1, Weekday::Mon)
            .map(midnight)
            .ok_or_else(|| "out of range".to_owned()),
        Part::DayOfWeek | Part::DayOfYear | Part::Date | Part::Datetime => {
            Err(format!("cannot truncate to {part:?}"))
        }
    }
}

fn week_start(day: NaiveDate, start: Weekday) -> Result<NaiveDate, String> {
    let back = day.weekday().days_since(start);
    day.checked_sub_days(Days::new(u64::from(back))).ok_or_else(|| "out of range".to_owned())
}

/// Months and above by the calendar (31 January plus a month is the last of February), the rest by
/// the clock.
pub(crate) fn add(time: NaiveDateTime, count: i64, part: Part) -> Result<NaiveDateTime, String> {
    let overflow = || format!("adding {count} {part:?} goes out of range");
    let months = match part {
        Part::Month => Some(1),
        Part::Quarter => Some(3),
        Part::Year => Some(12),
        _ => None,
    };
    if let Some(months) = months {
        let count = count.checked_mul(months).ok_or_else(overflow)?;
        let size = Months::new(u32::try_from(count.unsigned_abs()).map_err(|_| overflow())?);
        let moved = if count < 0 { time.checked_sub_months(size) } else { time.checked_add_months(size) };
        return moved.ok_or_else(overflow);
    }
    let unit = unit_micros(part).ok_or_else(|| format!("cannot add {part:?}"))?;
    let delta = count.checked_mul(unit).map(TimeDelta::microseconds).ok_or_else(overflow)?;
    time.checked_add_signed(delta).ok_or_else(overflow)
}

/// How long a part is when all of its kind are equally long.
pub(crate) fn unit_micros(part: Part) -> Option<i64> {
    Some(match part {
        Part::Microsecond => 1,
        Part::Millisecond => 1_000,
        Part::Second => MICROS_PER_SECOND,
        Part::Minute => 60 * MICROS_PER_SECOND,
        Part::Hour => 3_600 * MICROS_PER_SECOND,
        Part::Day => MICROS_PER_DAY,
        Part::Week(_) => 7 * MICROS_PER_DAY,
        _ => return None,
    })
}

/// How many boundaries between two parts lie between two dates.
pub(crate) fn boundaries(later: NaiveDate, earlier: NaiveDate, part: Part) -> Result<i64, String> {
    let months = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
    let weeks = |start| -> Result<i64, String> {
        Ok((week_start(later, start)? - week_start(earlier, start)?).num_days() / 7)
    };
    Ok(match part {
        Part::Day => (later - earlier).num_days(),
        Part::Week(start) => weeks(start)?,
        Part::IsoWeek => weeks(Weekday::Mon)?,
        Part::Month => months(later) - months(earlier),
        Part::Quarter => months(later).div_euclid(3) - months(earlier).div_euclid(3),
        Part::Year => i64::from(later.year()) - i64::from(earlier.year()),
        Part::IsoYear => i64::from(later.iso_week().year()) - i64::from(earlier.iso_week().year()),
        other => return Err(format!("DATE_DIFF does not take {other:?}")),
    })
}

/// The number that EXTRACT gives.
pub(crate) fn extract(time: NaiveDateTime, part: Part) -> Result<i64, String> {
    Ok(match part {
        Part::Microsecond => i64::from(time.nanosecond() / 1_000),
        Part::Millisecond => i64::from(time.nanosecond() / 1_000_000),
        Part::Second => i64::from(time.second()),
        Part::Minute => i64::from(time.minute()),
        Part::Hour => i64::from(time.hour()),
        Part::Day => i64::from(time.day()),
        Part::DayOfWeek => i64::from(time.weekday().number_from_sunday()),
        Part::DayOfYear => i64::from(time.ordinal()),
        // Days before the year's first week day are in week 0.
        Part::Week(start) => i64::from((time.ordinal0() + 7 - time.weekday().days_since(start)) / 7),
        Part::IsoWeek => i64::from(time.iso_week().week()),
        Part::Month => i64::from(time.month()),
        Part::Quarter => i64::from(time.month0() / 3 + 1),
        Part::Year => i64::from(time.year()),
        Part::IsoYear => i64::from(time.iso_week().year()),
        Part::Date | Part::Datetime => return Err(format!("{part:?} is not a number")),
    })
}

/// Reads a TIMESTAMP in its canonical form, `YYYY-M-D[( |T)H:M:S[.F]][zone]`; without a zone in it, in
/// `default_zone`
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#canonical_format_for_timestamp_literals>).
///
/// # Errors
/// When the text is something else.
pub(crate) fn parse_timestamp(text: &str, default_zone: &str) -> Result<i64, String> {
    let (time, rest) = parse_civil(text)?;
    match rest.trim_start() {
        "" => instant(time, zone(default_zone)?),
        "Z" | "z" | "UTC" => micros(time),
        name if name.starts_with(['+', '-']) || rest.starts_with(' ') => instant(time, zone(name)?),
        _ => Err(format!("invalid timestamp {text:?}")),
    }
}

/// Reads a DATETIME: as a TIMESTAMP, without zone.
///
/// # Errors
/// When the text is something else.
pub(crate) fn parse_datetime(text: &str) -> Result<i64, String> {
    match parse_civil(text)? {
        (time, "") => micros(time),
        _ => Err(format!("invalid datetime {text:?}")),
    }
}

/// Reads a DATE: `YYYY-M-D`, nothing after it but a time, which is passed over.
///
/// # Errors
/// When the text is something else.
pub(crate) fn parse_date(text: &str) -> Result<i32, String> {
    match parse_civil(text)? {
        (time, "") => days(time.date()),
        _ => Err(format!("invalid date {text:?}")),
    }
}

/// Date and time at the beginning of a text, and the text after them.
fn parse_civil(text: &str) -> Result<(NaiveDateTime, &str), String> {
    let invalid = || format!("invalid date or time {text:?}");
    let trimmed = text.trim();
    let (year, rest) = digits(trimmed, 4, 4).ok_or_else(invalid)?;
    let (month, rest) = rest.strip_prefix('-').and_then(|rest| digits(rest, 1, 2)).ok_or_else(invalid)?;
    let (day, rest) = rest.strip_prefix('-').and_then(|rest| digits(rest, 1, 2)).ok_or_else(invalid)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).map_err(|_| invalid())?, month, day)
        .ok_or_else(invalid)?;
    days(date)?;
    let clock =
        rest.strip_prefix([' ', 'T', 't']).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let Some(clock) = clock else { return Ok((date.and_time(NaiveTime::MIN), rest)) };
    let (hour, rest) = digits(clock, 1, 2).ok_or_else(invalid)?;
    let (minute, rest) = rest.strip_prefix(':').and_then(|rest| digits(rest, 1, 2)).ok_or_else(invalid)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => digits(rest, 1, 2).ok_or_else(invalid)?,
        None => (0, rest),
    };
    let (micro, rest) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            if end > 6 {
                return Err(format!("{text:?} has more than 6 digits of fractional seconds"));
            }
            let padded = format!("{:0<6}", &fraction[..end]);
            (padded.parse::<u32>().map_err(|_| invalid())?, &fraction[end..])
        }
        None => (0, rest),
    };
    let time = NaiveTime::from_hms_micro_opt(hour, minute, second, micro).ok_or_else(invalid)?;
    Ok((date.and_time(time), rest))
}

fn digits(text: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let end = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if end < least {
        return None;
    }
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_in_all_their_forms() {
        let midnight = 1_767_225_600_000_000; // 2026-01-01T00:00:00Z
        for text in [
            "2026-01-01",
            "2026-1-1 00:00:00",
            "2026-01-01T00:00:00Z",
            "2026-01-01 02:00:00+2",
            "2026-01-01 05:30:00+05:30",
            "2025-12-31 19:00:00 America/New_York",
            "2026-01-01 00:00:00.000000 UTC",
            "2025-12-31T16:00:00-08",
        ] {
            assert_eq!(parse_timestamp(text, "UTC"), Ok(midnight), "{text}");
        }
        assert_eq!(parse_timestamp("2026-01-01 00:00:00.5", "UTC"), Ok(midnight + 500_000));
        for bad in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01 25:00:00",
            "2026-01-01x",
            "2026-01-01 00:00:00.1234567",
            "0000-01-01",
        ] {
            assert!(parse_timestamp(bad, "UTC").is_err(), "{bad}");
        }
    }

    #[test]
    fn weeks_begin_on_sunday() {
        // 2017-01-01 was a Sunday.
        let day = |text: &str| date(parse_date(text).unwrap()).unwrap();
        let at = |text: &str| day(text).and_time(NaiveTime::MIN);
        assert_eq!(extract(at("2017-01-01"), Part::Week(Weekday::Sun)), Ok(1));
        assert_eq!(extract(at("2018-01-01"), Part::Week(Weekday::Sun)), Ok(0));
        assert_eq!(truncate(at("2017-01-07"), Part::Week(Weekday::Sun)), Ok(at("2017-01-01")));
        assert_eq!(boundaries(day("2017-10-15"), day("2017-10-14"), Part::Week(Weekday::Sun)), Ok(1));
        assert_eq!(boundaries(day("2017-12-30"), day("2014-12-30"), Part::Year), Ok(3));
        assert_eq!(add(at("2026-01-31"), 1, Part::Month), Ok(at("2026-02-28")));
    }
}
