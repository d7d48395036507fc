//! TIMESTAMP and DATETIME functions
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions>). The time zone
//! of everything that names none is UTC.

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::common::Result;

use super::civil::{self, MICROS_PER_DAY, civil, in_range, instant, local, part, unit_micros, zone};
use super::date::truncated;
use super::json::build::string as json_string;
use super::scalar::{Call, Cell, Definition, Form, form, optional};
use super::text::{date_text, datetime_text, timestamp_text};
use crate::types::Kind;

const TIMESTAMP: &[Kind] = &[Kind::Timestamp];
const DATETIME: &[Kind] = &[Kind::Datetime];
const INT: &[Kind] = &[Kind::Int];
const TEXT: &[Kind] = &[Kind::String];
const FROM_INT: &[Form] = &[form(&[INT], Kind::Timestamp)];
const TO_INT: &[Form] = &[form(&[TIMESTAMP], Kind::Int)];
const MOVED: &[Form] = &[form(&[TIMESTAMP, INT, TEXT], Kind::Timestamp)];
const MOVED_CIVIL: &[Form] = &[form(&[DATETIME, INT, TEXT], Kind::Datetime)];

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "timestamp",
        forms: &[optional(
            1,
            &[&[Kind::Timestamp, Kind::Date, Kind::Datetime, Kind::String], TEXT],
            Kind::Timestamp,
        )],
        eval: timestamp,
    },
    Definition {
        name: "datetime",
        forms: &[
            optional(1, &[TIMESTAMP, TEXT], Kind::Datetime),
            form(&[&[Kind::Datetime, Kind::Date, Kind::String]], Kind::Datetime),
            form(&[INT, INT, INT, INT, INT, INT], Kind::Datetime),
        ],
        eval: datetime,
    },
    Definition { name: "timestamp_add", forms: MOVED, eval: |call| moved(call, 1) },
    Definition { name: "timestamp_sub", forms: MOVED, eval: |call| moved(call, -1) },
    Definition { name: "datetime_add", forms: MOVED_CIVIL, eval: |call| moved(call, 1) },
    Definition { name: "datetime_sub", forms: MOVED_CIVIL, eval: |call| moved(call, -1) },
    Definition {
        name: "timestamp_diff",
        forms: &[form(&[TIMESTAMP, TIMESTAMP, TEXT], Kind::Int)],
        eval: timestamp_diff,
    },
    Definition {
        name: "datetime_diff",
        forms: &[form(&[DATETIME, DATETIME, TEXT], Kind::Int)],
        eval: datetime_diff,
    },
    Definition {
        name: "timestamp_trunc",
        forms: &[
            optional(1, &[TIMESTAMP, TEXT, TEXT], Kind::Timestamp),
            form(&[DATETIME, TEXT], Kind::Datetime),
        ],
        eval: truncated,
    },
    Definition { name: "datetime_trunc", forms: &[form(&[DATETIME, TEXT], Kind::Datetime)], eval: truncated },
    Definition { name: "timestamp_seconds", forms: FROM_INT, eval: |call| from_int(call, 1_000_000) },
    Definition { name: "timestamp_millis", forms: FROM_INT, eval: |call| from_int(call, 1_000) },
    Definition { name: "timestamp_micros", forms: FROM_INT, eval: |call| from_int(call, 1) },
    Definition { name: "unix_seconds", forms: TO_INT, eval: |call| to_int(call, 1_000_000) },
    Definition { name: "unix_millis", forms: TO_INT, eval: |call| to_int(call, 1_000) },
    Definition { name: "unix_micros", forms: TO_INT, eval: |call| to_int(call, 1) },
    Definition {
        name: "format_timestamp",
        forms: &[optional(1, &[TEXT, TIMESTAMP, TEXT], Kind::String)],
        eval: format,
    },
    Definition { name: "format_datetime", forms: &[form(&[TEXT, DATETIME], Kind::String)], eval: format },
    Definition {
        name: "parse_timestamp",
        forms: &[optional(1, &[TEXT, TEXT, TEXT], Kind::Timestamp)],
        eval: parse,
    },
    Definition { name: "parse_datetime", forms: &[form(&[TEXT, TEXT], Kind::Datetime)], eval: parse },
    Definition {
        name: "string",
        forms: &[
            optional(1, &[TIMESTAMP, TEXT], Kind::String),
            form(&[&[Kind::Date, Kind::Datetime, Kind::Json]], Kind::String),
        ],
        eval: string,
    },
];

/// Runs over a time and a zone.
fn zoned(call: &Call<'_>, compute: impl Fn(NaiveDateTime, &str) -> Cell<i64>) -> Result<ArrayRef> {
    let zones = call.texts_or(1, "UTC")?;
    match call.kind(0) {
        Kind::Date => {
            let dates = call.dates(0)?;
            call.collect::<TimestampMicrosecondType>(|row| match (dates.get(row), zones.get(row)) {
                (Some(day), Some(zone)) => compute(civil::date(day)?.and_time(NaiveTime::MIN), zone),
                _ => Ok(None),
            })
        }
        _ => {
            let times = call.micros(0)?;
            call.collect::<TimestampMicrosecondType>(|row| match (times.get(row), zones.get(row)) {
                (Some(time), Some(zone)) => compute(civil(time)?, zone),
                _ => Ok(None),
            })
        }
    }
}

fn timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::String => {
            let (texts, zones) = (call.texts(0)?, call.texts_or(1, "UTC")?);
            call.collect::<TimestampMicrosecondType>(|row| match (texts.get(row), zones.get(row)) {
                (Some(text), Some(zone)) => civil::parse_timestamp(text, zone).map(Some),
                _ => Ok(None),
            })
        }
        Kind::Timestamp => {
            let times = call.micros(0)?;
            call.collect::<TimestampMicrosecondType>(|row| Ok(times.get(row)))
        }
        _ => zoned(call, |time, name| instant(time, zone(name)?).map(Some)),
    }
}

fn datetime(call: &Call<'_>) -> Result<ArrayRef> {
    if call.args.len() == 6 {
        let parts: Vec<_> = (0..6).map(|index| call.ints(index)).collect::<Result<_>>()?;
        return call.collect::<TimestampMicrosecondType>(|row| {
            let Some(values) = parts.iter().map(|part| part.get(row)).collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            let small = |index: usize| values.get(index).and_then(|value| u32::try_from(*value).ok());
            let date = values.first().and_then(|year| i32::try_from(*year).ok()).zip(small(1)).zip(small(2));
            let time = small(3).zip(small(4)).zip(small(5));
            let date = date.and_then(|((year, month), day)| NaiveDate::from_ymd_opt(year, month, day));
            let time =
                time.and_then(|((hour, minute), second)| NaiveTime::from_hms_opt(hour, minute, second));
            let (date, time) = date.zip(time).ok_or_else(|| "there is no such date or time".to_owned())?;
            civil::micros(date.and_time(time)).map(Some)
        });
    }
    match call.kind(0) {
        Kind::String => {
            let texts = call.texts(0)?;
            call.collect::<TimestampMicrosecondType>(|row| {
                texts.get(row).map(civil::parse_datetime).transpose()
            })
        }
        Kind::Timestamp => {
            zoned(call, |time, name| civil::micros(local(civil::micros(time)?, zone(name)?)?).map(Some))
        }
        _ => zoned(call, |time, _| civil::micros(time).map(Some)),
    }
}

fn moved(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let (times, counts, parts) = (call.micros(0)?, call.ints(1)?, call.texts(2)?);
    let timestamp = call.kind(0) == Kind::Timestamp;
    call.collect::<TimestampMicrosecondType>(|row| {
        let (Some(time), Some(count), Some(name)) = (times.get(row), counts.get(row), parts.get(row)) else {
            return Ok(None);
        };
        let part = part(name)?;
        if timestamp && unit_micros(part).is_none_or(|unit| unit > MICROS_PER_DAY) {
            return Err(format!("a TIMESTAMP does not take INTERVAL n {}", name.to_uppercase()));
        }
        let count = count.checked_mul(sign).ok_or_else(|| "INTERVAL overflow".to_owned())?;
        civil::micros(civil::add(civil(time)?, count, part)?).map(Some)
    })
}

/// Whole units between two moments, what is left over dropped.
fn timestamp_diff(call: &Call<'_>) -> Result<ArrayRef> {
    let (later, earlier, parts) = (call.micros(0)?, call.micros(1)?, call.texts(2)?);
    call.collect::<Int64Type>(|row| {
        let (Some(later), Some(earlier), Some(name)) = (later.get(row), earlier.get(row), parts.get(row))
        else {
            return Ok(None);
        };
        match unit_micros(part(name)?) {
            Some(unit) if unit <= MICROS_PER_DAY => Ok(Some((later - earlier) / unit)),
            _ => Err(format!("TIMESTAMP_DIFF does not count in {}", name.to_uppercase())),
        }
    })
}

/// Boundaries between parts, as DATE_DIFF counts them.
fn datetime_diff(call: &Call<'_>) -> Result<ArrayRef> {
    let (later, earlier, parts) = (call.micros(0)?, call.micros(1)?, call.texts(2)?);
    call.collect::<Int64Type>(|row| {
        let (Some(later), Some(earlier), Some(name)) = (later.get(row), earlier.get(row), parts.get(row))
        else {
            return Ok(None);
        };
        let part = part(name)?;
        match unit_micros(part) {
            Some(unit) if unit < MICROS_PER_DAY => {
                Ok(Some(later.div_euclid(unit) - earlier.div_euclid(unit)))
            }
            _ => civil::boundaries(civil(later)?.date(), civil(earlier)?.date(), part).map(Some),
        }
    })
}

fn from_int(call: &Call<'_>, unit: i64) -> Result<ArrayRef> {
    let counts = call.ints(0)?;
    call.collect::<TimestampMicrosecondType>(|row| {
        let micros = counts
            .get(row)
            .map(|count| count.checked_mul(unit).ok_or_else(|| "timestamp overflow".to_owned()));
        micros.transpose()?.map(in_range).transpose()
    })
}

fn to_int(call: &Call<'_>, unit: i64) -> Result<ArrayRef> {
    let times = call.micros(0)?;
    call.collect::<Int64Type>(|row| Ok(times.get(row).map(|time| time.div_euclid(unit))))
}

fn string(call: &Call<'_>) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Json => {
            let documents = call.texts(0)?;
            return call.collect_text(|row| documents.get(row).map_or(Ok(None), json_string));
        }
        Kind::Date => {
            let dates = call.dates(0)?;
            return call.collect_text(|row| Ok(dates.get(row).map(date_text)));
        }
        Kind::Datetime => {
            let times = call.micros(0)?;
            return call.collect_text(|row| Ok(times.get(row).map(|time| datetime_text(time, ' '))));
        }
        _ => {}
    }
    let (times, zones) = (call.micros(0)?, call.texts_or(1, "UTC")?);
    call.collect_text(|row| match (times.get(row), zones.get(row)) {
        (Some(time), Some("UTC")) => Ok(Some(timestamp_text(time))),
        (Some(time), Some(name)) => format_time("%Y-%m-%d %H:%M:%E*S%Ez", time, name).map(Some),
        _ => Ok(None),
    })
}

fn format(call: &Call<'_>) -> Result<ArrayRef> {
    let (formats, times, zones) = (call.texts(0)?, call.micros(1)?, call.texts_or(2, "UTC")?);
    call.collect_text(|row| match (formats.get(row), times.get(row), zones.get(row)) {
        (Some(format), Some(time), Some(zone)) => format_time(format, time, zone).map(Some),
        _ => Ok(None),
    })
}

fn parse(call: &Call<'_>) -> Result<ArrayRef> {
    let (formats, texts, zones) = (call.texts(0)?, call.texts(1)?, call.texts_or(2, "UTC")?);
    call.collect::<TimestampMicrosecondType>(|row| match (formats.get(row), texts.get(row), zones.get(row)) {
        (Some(format), Some(text), Some(zone)) => parse_time(format, text, zone).map(Some),
        _ => Ok(None),
    })
}

/// GoogleSQL's format elements in the library's spelling. Those with digits of fractional seconds that
/// the library has no element for are filled in from `time`.
fn elements(format: &str, time: Option<NaiveDateTime>) -> Result<String, String> {
    let mut out = String::with_capacity(format.len());
    let mut rest = format.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let unknown = || format!("%{} is not a supported format element", rest_of(format));
        match rest.next().ok_or_else(unknown)? {
            'E' => match (rest.next(), rest.peek().copied()) {
                (Some('z'), _) => out.push_str("%:z"),
                (Some('Y'), _) => out.push_str("%Y"),
                (Some('4'), Some('Y')) => {
                    rest.next();
                    out.push_str("%Y");
                }
                (Some('*'), Some('S')) => {
                    rest.next();
                    out.push_str("%S");
                    match time {
                        Some(time) => match time.nanosecond() / 1_000 % 1_000_000 {
                            0 => {}
                            micros => out.push_str(format!(".{micros:06}").trim_end_matches('0')),
                        },
                        None => out.push_str("%.f"),
                    }
                }
                (Some(digit @ '0'..='6'), Some('S')) => {
                    rest.next();
                    out.push_str("%S");
                    let digits = digit.to_digit(10).unwrap_or(0) as usize;
                    match time {
                        Some(time) if digits > 0 => {
                            out.push_str(
                                &format!(".{:06}", time.nanosecond() / 1_000 % 1_000_000)[..=digits],
                            );
                        }
                        Some(_) => {}
                        None => out.push_str("%.f"),
                    }
                }
                _ => return Err(unknown()),
            },
            'Q' => match time {
                Some(time) => out.push_str(&(time.month0() / 3 + 1).to_string()),
                None => return Err("%Q cannot be parsed".to_owned()),
            },
            'P' => out.push_str("%P"),
            element if "AaBbCcDdeFGgHhIjklMmnpRSsTtUuVWwXxYyZz%".contains(element) => {
                out.push('%');
                out.push(element);
            }
            _ => return Err(unknown()),
        }
    }
    Ok(out)
}

fn rest_of(format: &str) -> &str {
    format.rsplit('%').next().unwrap_or_default()
}

/// FORMAT_TIMESTAMP.
pub(super) fn format_time(format: &str, micros: i64, zone_name: &str) -> Result<String, String> {
    use chrono::TimeZone as _;
    let zoned = zone(zone_name)?.from_utc_datetime(&civil(micros)?);
    let spelled = elements(format, Some(zoned.naive_local()))?;
    let items: Vec<_> = StrftimeItems::new(&spelled).collect();
    if items.contains(&Item::Error) {
        return Err(format!("{format:?} is not a format"));
    }
    Ok(zoned.format_with_items(items.iter()).to_string())
}

/// PARSE_TIMESTAMP: what the format leaves out is of 1970-01-01 00:00:00.
pub(super) fn parse_time(format: &str, text: &str, zone_name: &str) -> Result<i64, String> {
    let spelled = elements(format, None)?;
    let items: Vec<_> = StrftimeItems::new(&spelled).collect();
    if items.contains(&Item::Error) {
        return Err(format!("{format:?} is not a format"));
    }
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        format!("{shown:?} does not have the format {format:?}")
    };
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text.trim(), items.iter()).map_err(|_| wrong())?;
    if let Some(seconds) = parsed.timestamp() {
        return in_range(seconds.checked_mul(1_000_000).ok_or_else(wrong)?);
    }
    let mut dated = parsed.clone();
    let has_day_of_year = dated.ordinal().is_some();
    if dated.year().is_none() && dated.year_mod_100().is_none() && dated.isoyear().is_none() {
        let _ = dated.set_year(1970);
    }
    if dated.month().is_none() && !has_day_of_year && dated.isoweek().is_none() {
        let _ = dated.set_month(1);
    }
    if dated.day().is_none() && !has_day_of_year && dated.isoweek().is_none() {
        let _ = dated.set_day(1);
    }
    let date = dated.to_naive_date().map_err(|_| wrong())?;
    if dated.hour_mod_12().is_none() && dated.hour_div_12().is_none() {
        let _ = dated.set_hour(0);
    }
    if dated.hour_mod_12().is_some() && dated.hour_div_12().is_none() {
        let _ = dated.set_ampm(false);
    }
    if dated.minute().is_none() {
        let _ = dated.set_minute(0);
    }
    let time = dated.to_naive_time().map_err(|_| wrong())?;
    let civil_time = date.and_time(time);
    match parsed.offset() {
        Some(seconds) => in_range(civil::micros(civil_time)? - i64::from(seconds) * 1_000_000),
        None => instant(civil_time, zone(zone_name)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_googlesql_ones() {
        let time = 1_767_323_045_678_900; // 2026-01-02T03:04:05.6789Z
        for (format, text) in [
            ("%Y-%m-%d %H:%M:%S", "2026-01-02 03:04:05"),
            ("%E4Y-%m-%dT%H:%M:%E3S%Ez", "2026-01-02T03:04:05.678+00:00"),
            ("%E*S", "05.6789"),
            ("%F %T Q%Q %%", "2026-01-02 03:04:05 Q1 %"),
            ("%A %b %e", "Friday Jan  2"),
        ] {
            assert_eq!(format_time(format, time, "UTC").unwrap(), text);
        }
        assert_eq!(format_time("%H %z", time, "America/New_York").unwrap(), "22 -0500");
        assert!(format_time("%J", time, "UTC").is_err() && format_time("%", time, "UTC").is_err());
    }

    #[test]
    fn texts_are_parsed_by_format() {
        let day = 1_767_225_600_000_000;
        assert_eq!(parse_time("%Y-%m-%d", "2026-01-01", "UTC"), Ok(day));
        assert_eq!(
            parse_time("%Y-%m-%dT%H:%M:%E*S%Ez", "2026-01-01T01:00:00.5+01:00", "UTC"),
            Ok(day + 500_000)
        );
        assert_eq!(parse_time("%s", "1767225600", "UTC"), Ok(day));
        assert_eq!(parse_time("%Y", "2026", "UTC"), Ok(day));
        assert!(parse_time("%Y-%m-%d", "yesterday", "UTC").is_err());
    }
}
