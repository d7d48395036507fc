//! DATE functions (<https://cloud.google.com/bigquery/docs/reference/standard-sql/date_functions>) and
//! EXTRACT, which takes all kinds of times.

use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Date32Type, FieldRef, Int64Type, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::logical_expr::ReturnFieldArgs;

use super::civil::{self, MICROS_PER_DAY, Part, boundaries, civil, days, extract, local, part, zone};
use super::scalar::{Call, Cell, Definition, Form, Gives, form, optional};
use super::timestamp::{format_time, parse_time};
use crate::error::SqlError;
use crate::types::{Kind, field_of};

const DATE: &[Kind] = &[Kind::Date];
const INT: &[Kind] = &[Kind::Int];
const TEXT: &[Kind] = &[Kind::String];
const TIME: &[Kind] = &[Kind::Timestamp, Kind::Datetime];
const MOVED: &[Form] =
    &[form(&[DATE, INT, TEXT], Kind::Date), form(&[&[Kind::Datetime], INT, TEXT], Kind::Datetime)];

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "date",
        forms: &[
            form(&[INT, INT, INT], Kind::Date),
            optional(1, &[&[Kind::Timestamp], TEXT], Kind::Date),
            form(&[&[Kind::Datetime, Kind::Date, Kind::String]], Kind::Date),
        ],
        eval: date,
    },
    Definition { name: "date_add", forms: MOVED, eval: |call| moved(call, 1) },
    Definition { name: "date_sub", forms: MOVED, eval: |call| moved(call, -1) },
    Definition { name: "date_diff", forms: &[form(&[DATE, DATE, TEXT], Kind::Int)], eval: diff },
    Definition {
        name: "date_trunc",
        forms: &[
            form(&[DATE, TEXT], Kind::Date),
            optional(1, &[&[Kind::Timestamp], TEXT, TEXT], Kind::Timestamp),
            form(&[&[Kind::Datetime], TEXT], Kind::Datetime),
        ],
        eval: truncated,
    },
    Definition { name: "last_day", forms: &[optional(1, &[DATE, TEXT], Kind::Date)], eval: last_day },
    Definition {
        name: "extract",
        forms: &[Form {
            takes: &[TEXT, &[Kind::Timestamp, Kind::Date, Kind::Datetime], TEXT],
            optional: 1,
            many: false,
            gives: Gives::Computed(extracted_type),
        }],
        eval: extracted,
    },
    Definition { name: "unix_date", forms: &[form(&[DATE], Kind::Int)], eval: unix_date },
    Definition { name: "date_from_unix_date", forms: &[form(&[INT], Kind::Date)], eval: from_unix_date },
    Definition { name: "format_date", forms: &[form(&[TEXT, DATE], Kind::String)], eval: format_date },
    Definition { name: "parse_date", forms: &[form(&[TEXT, TEXT], Kind::Date)], eval: parse_date },
];

fn midnight(days: i32) -> Result<NaiveDateTime, String> {
    Ok(civil::date(days)?.and_time(NaiveTime::MIN))
}

fn date(call: &Call<'_>) -> Result<ArrayRef> {
    if call.args.len() == 3 {
        let (years, months, dates) = (call.ints(0)?, call.ints(1)?, call.ints(2)?);
        return call.collect::<Date32Type>(|row| {
            let (Some(year), Some(month), Some(day)) = (years.get(row), months.get(row), dates.get(row))
            else {
                return Ok(None);
            };
            let date = i32::try_from(year).ok().zip(u32::try_from(month).ok()).zip(u32::try_from(day).ok());
            let date = date.and_then(|((year, month), day)| NaiveDate::from_ymd_opt(year, month, day));
            days(date.ok_or_else(|| format!("there is no date {year}-{month}-{day}"))?).map(Some)
        });
    }
    match call.kind(0) {
        Kind::Date | Kind::Null => call.array(0),
        Kind::String => {
            let texts = call.texts(0)?;
            call.collect::<Date32Type>(|row| texts.get(row).map(civil::parse_date).transpose())
        }
        _ => {
            let (times, zones) = (call.micros(0)?, call.texts_or(1, "UTC")?);
            call.collect::<Date32Type>(|row| match (times.get(row), zones.get(row)) {
                (Some(time), Some("UTC")) => i32::try_from(time.div_euclid(MICROS_PER_DAY))
                    .map(Some)
                    .map_err(|_| "out of range".to_owned()),
                (Some(time), Some(name)) => days(local(time, zone(name)?)?.date()).map(Some),
                _ => Ok(None),
            })
        }
    }
}

fn moved(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let (counts, parts) = (call.ints(1)?, call.texts(2)?);
    let shifted = |time: NaiveDateTime, row: usize| -> Cell<NaiveDateTime> {
        let (Some(count), Some(name)) = (counts.get(row), parts.get(row)) else { return Ok(None) };
        let count = count.checked_mul(sign).ok_or_else(|| "INTERVAL overflow".to_owned())?;
        civil::add(time, count, part(name)?).map(Some)
    };
    if call.kind(0) == Kind::Datetime {
        let times = call.micros(0)?;
        return call.collect::<TimestampMicrosecondType>(|row| match times.get(row) {
            Some(time) => shifted(civil(time)?, row)?.map(civil::micros).transpose(),
            None => Ok(None),
        });
    }
    let dates = call.dates(0)?;
    call.collect::<Date32Type>(|row| {
        if let Some(name @ ("hour" | "minute" | "second" | "millisecond" | "microsecond")) = parts.get(row) {
            return Err(format!("a DATE does not take INTERVAL n {}", name.to_uppercase()));
        }
        match dates.get(row) {
            Some(day) => shifted(midnight(day)?, row)?.map(|time| days(time.date())).transpose(),
            None => Ok(None),
        }
    })
}

fn diff(call: &Call<'_>) -> Result<ArrayRef> {
    let (later, earlier, parts) = (call.dates(0)?, call.dates(1)?, call.texts(2)?);
    call.collect::<Int64Type>(|row| match (later.get(row), earlier.get(row), parts.get(row)) {
        (Some(later), Some(earlier), Some(name)) => {
            boundaries(civil::date(later)?, civil::date(earlier)?, part(name)?).map(Some)
        }
        _ => Ok(None),
    })
}

/// DATE_TRUNC, which takes times as well.
pub(super) fn truncated(call: &Call<'_>) -> Result<ArrayRef> {
    let (parts, zones) = (call.texts(1)?, call.texts_or(2, "UTC")?);
    if matches!(call.kind(0), Kind::Timestamp | Kind::Datetime) {
        let times = call.micros(0)?;
        return call.collect::<TimestampMicrosecondType>(|row| {
            let (Some(time), Some(name), Some(zone_name)) = (times.get(row), parts.get(row), zones.get(row))
            else {
                return Ok(None);
            };
            if zone_name == "UTC" {
                return civil::micros(civil::truncate(civil(time)?, part(name)?)?).map(Some);
            }
            let zone = zone(zone_name)?;
            civil::instant(civil::truncate(local(time, zone)?, part(name)?)?, zone).map(Some)
        });
    }
    let dates = call.dates(0)?;
    call.collect::<Date32Type>(|row| {
        let (Some(day), Some(name)) = (dates.get(row), parts.get(row)) else { return Ok(None) };
        let part = part(name)?;
        if civil::unit_micros(part).is_some_and(|unit| unit < MICROS_PER_DAY) {
            return Err(format!("a DATE has no {}", name.to_uppercase()));
        }
        days(civil::truncate(midnight(day)?, part)?.date()).map(Some)
    })
}

fn last_day(call: &Call<'_>) -> Result<ArrayRef> {
    let (dates, parts) = (call.dates(0)?, call.texts_or(1, "month")?);
    call.collect::<Date32Type>(|row| {
        let (Some(day), Some(name)) = (dates.get(row), parts.get(row)) else { return Ok(None) };
        let part = part(name)?;
        let first = civil::truncate(midnight(day)?, part)?;
        let next = match part {
            Part::IsoWeek => civil::add(first, 7, Part::Day)?,
            Part::IsoYear => {
                let within =
                    first.checked_add_months(Months::new(13)).ok_or_else(|| "out of range".to_owned())?;
                civil::truncate(within.with_month(6).unwrap_or(within), Part::IsoYear)?
            }
            part => civil::add(first, 1, part)?,
        };
        days(civil::add(next, -1, Part::Day)?.date()).map(Some)
    })
}

fn extracted_part(args: &ReturnFieldArgs<'_>) -> Result<Part, SqlError> {
    let name = match args.scalar_arguments.first() {
        Some(Some(value)) => value.try_as_str().flatten().unwrap_or_default(),
        _ => "",
    };
    part(name).map_err(SqlError::invalid)
}

fn extracted_type(args: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    let kind = match extracted_part(args)? {
        Part::Date => Kind::Date,
        Part::Datetime => Kind::Datetime,
        _ => Kind::Int,
    };
    Ok(field_of("extract", kind.arrow().unwrap_or(DataType::Int64), false))
}

/// The civil time of a row, in the zone of the third argument.
fn extracted(call: &Call<'_>) -> Result<ArrayRef> {
    let name = call.texts(0)?.get(0).unwrap_or_default().to_owned();
    let wanted = part(&name).map_err(SqlError::invalid)?;
    let zones = call.texts_or(2, "UTC")?;
    let kind = call.kind(1);
    let dates = if kind == Kind::Date { Some(call.dates(1)?) } else { None };
    let times = if TIME.contains(&kind) { Some(call.micros(1)?) } else { None };
    let time = |row: usize| -> Cell<NaiveDateTime> {
        if let Some(dates) = &dates {
            if civil::unit_micros(wanted).is_some_and(|unit| unit < MICROS_PER_DAY) {
                return Err(format!("a DATE has no {}", name.to_uppercase()));
            }
            return dates.get(row).map(midnight).transpose();
        }
        let Some(time) = times.as_ref().and_then(|times| times.get(row)) else { return Ok(None) };
        match zones.get(row) {
            Some("UTC") => civil(time).map(Some),
            Some(name) => local(time, zone(name)?).map(Some),
            None => Ok(None),
        }
    };
    match wanted {
        Part::Date => call.collect::<Date32Type>(|row| time(row)?.map(|time| days(time.date())).transpose()),
        Part::Datetime => {
            call.collect::<TimestampMicrosecondType>(|row| time(row)?.map(civil::micros).transpose())
        }
        wanted => call.collect::<Int64Type>(|row| time(row)?.map(|time| extract(time, wanted)).transpose()),
    }
}

fn unix_date(call: &Call<'_>) -> Result<ArrayRef> {
    let dates = call.dates(0)?;
    call.collect::<Int64Type>(|row| Ok(dates.get(row).map(i64::from)))
}

fn from_unix_date(call: &Call<'_>) -> Result<ArrayRef> {
    let counts = call.ints(0)?;
    call.collect::<Date32Type>(|row| {
        let day = counts
            .get(row)
            .map(|count| i32::try_from(count).map_err(|_| "the date is out of range".to_owned()));
        day.transpose()?.map(|day| days(civil::date(day)?)).transpose()
    })
}

fn format_date(call: &Call<'_>) -> Result<ArrayRef> {
    let (formats, dates) = (call.texts(0)?, call.dates(1)?);
    call.collect_text(|row| match (formats.get(row), dates.get(row)) {
        (Some(format), Some(day)) => format_time(format, civil::micros(midnight(day)?)?, "UTC").map(Some),
        _ => Ok(None),
    })
}

fn parse_date(call: &Call<'_>) -> Result<ArrayRef> {
    let (formats, texts) = (call.texts(0)?, call.texts(1)?);
    call.collect::<Date32Type>(|row| match (formats.get(row), texts.get(row)) {
        (Some(format), Some(text)) => days(civil(parse_time(format, text, "UTC")?)?.date()).map(Some),
        _ => Ok(None),
    })
}
