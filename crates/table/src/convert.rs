//! What a column takes: from JSON text, and from single cells, by one set of rules.

use crate::column::{Column, Texts, Values};
use crate::fault::{Fault, describe, shorten};
use crate::json::{Kind, Reader};
use crate::scalar::bytes::base64_into;
use crate::scalar::decimal::{BIGNUMERIC_SCALE, Decimal, NumberProblem};
use crate::scalar::time::{self, TimeProblem};
use crate::scalar::{boolean, double};
use crate::schema::{FieldType, Mode};
use crate::spec::NUMERIC_PRECISION;

const NUMERIC_DIGITS_MAX: usize = NUMERIC_PRECISION as usize;
const NUMERIC_SCALE_MAX: usize = 9;

/// A value that is not an object, array or null.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    /// A number as JSON spells it.
    Number(&'a str),
    /// A string, unescaped.
    Text(&'a str),
}

/// Why a value does not fit, before anything is said about where.
enum Misfit {
    /// It is not of a form that the type takes.
    Form,
    /// It is, but: why not.
    Because(String),
    /// The column is full.
    Full(Fault),
}

impl From<Fault> for Misfit {
    fn from(fault: Fault) -> Self {
        Self::Full(fault)
    }
}

fn because<T>(reason: impl Into<String>) -> Result<T, Misfit> {
    Err(Misfit::Because(reason.into()))
}

impl Column {
    /// Reads the next JSON value and appends it as the column's next row. A null in a REQUIRED column
    /// appends nothing. After an error the column may hold a part of the row.
    pub(crate) fn put_json(&mut self, reader: &mut Reader<'_>, scratch: &mut Vec<u8>) -> Result<(), Fault> {
        let kind = reader.peek().map_err(Fault::in_row)?;
        if kind == Kind::Null {
            reader.null().map_err(Fault::in_row)?;
            return if self.mode == Mode::Required { Ok(()) } else { self.push_null() };
        }
        if self.mode != Mode::Repeated {
            return self.put_json_value(kind, reader, scratch);
        }
        if kind != Kind::Array {
            return Err(Fault::invalid("a REPEATED field takes an array").quoting(reader));
        }
        self.put_json_list(reader, scratch)
    }

    fn put_json_list(&mut self, reader: &mut Reader<'_>, scratch: &mut Vec<u8>) -> Result<(), Fault> {
        reader.expect(b'[', "expected an array").map_err(Fault::in_row)?;
        let mut index = 0;
        if !reader.take(b']') {
            loop {
                let kind = reader.peek().map_err(Fault::in_row)?;
                if kind == Kind::Null {
                    let fault = Fault::invalid("an array of a REPEATED field cannot hold null");
                    return Err(fault.in_element(index));
                }
                self.put_json_value(kind, reader, scratch).map_err(|fault| fault.in_element(index))?;
                index += 1;
                if !reader.take(b',') {
                    break;
                }
            }
            reader.expect(b']', "expected , or ] in an array").map_err(Fault::in_row)?;
        }
        self.end_list()
    }

    /// Reads one value that is not null.
    fn put_json_value(
        &mut self,
        kind: Kind,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match (&mut self.values, self.kind, kind) {
            (Values::Text(texts), FieldType::String, Kind::String) => {
                // The hot path: long texts go from the row into the column without a stop.
                let start = texts.bytes.len();
                reader.string_into(&mut texts.bytes).map_err(Fault::in_row)?;
                if let Some(most) = self.rules.length_max {
                    check_characters(&texts.bytes[start..], most)?;
                }
                texts.end()?;
            }
            (Values::Text(texts), FieldType::Json, Kind::Object | Kind::Array) => {
                reader.raw_value(&mut texts.bytes).map_err(Fault::in_row)?;
                texts.end()?;
            }
            (Values::Record(record), _, Kind::Object) => {
                let row = self.valid.len();
                record.put_object(row, reader, scratch)?;
                record.end_row(row)?;
            }
            (_, _, Kind::String) => {
                let text = reader.string(scratch).map_err(Fault::in_row)?;
                return self.put_scalar(Scalar::Text(text));
            }
            (_, _, Kind::Number) => {
                let number = reader.number().map_err(Fault::in_row)?;
                return self.put_scalar(Scalar::Number(number));
            }
            (_, _, Kind::Bool) => {
                let value = reader.boolean().map_err(Fault::in_row)?;
                return self.put_scalar(Scalar::Bool(value));
            }
            (_, _, Kind::Object | Kind::Array | Kind::Null) => {
                return Err(Fault::invalid(refusal(self.kind)).quoting(reader));
            }
        }
        self.valid.append_non_null();
        Ok(())
    }

    /// Appends one value. After an error the column may hold a part of it.
    pub(crate) fn put_scalar(&mut self, value: Scalar<'_>) -> Result<(), Fault> {
        match self.try_scalar(value) {
            Ok(()) => {
                self.valid.append_non_null();
                Ok(())
            }
            Err(Misfit::Full(fault)) => Err(fault),
            Err(Misfit::Form) => Err(Fault::invalid(format!("{}, not {}", refusal(self.kind), quote(value)))),
            Err(Misfit::Because(reason)) => {
                Err(Fault::invalid(format!("{} does not fit {}: {reason}", quote(value), self.kind)))
            }
        }
    }

    /// Appends one cell as the column's next row.
    pub(crate) fn put_cell(&mut self, value: Scalar<'_>) -> Result<(), Fault> {
        if self.mode == Mode::Repeated {
            return Err(Fault::invalid(format!("a REPEATED field takes an array, not {}", quote(value))));
        }
        self.put_scalar(value)
    }

    /// Appends a double that JSON has no spelling of; only a FLOAT64 column takes it.
    pub(crate) fn put_not_finite(&mut self, value: f64) -> Result<(), Fault> {
        match &mut self.values {
            Values::Float64(values) if self.mode != Mode::Repeated => {
                values.push(value);
                self.valid.append_non_null();
                Ok(())
            }
            _ => Err(Fault::invalid(format!("{}, not {value}", refusal(self.kind)))),
        }
    }

    fn try_scalar(&mut self, value: Scalar<'_>) -> Result<(), Misfit> {
        let rules = self.rules;
        match &mut self.values {
            Values::Bool(values) => values.append(to_bool(value)?),
            Values::Int64(values) => values.push(match self.kind {
                FieldType::Timestamp => to_timestamp(value)?,
                FieldType::DateTime => to_calendar(value, time::datetime)?,
                _ => to_int64(value)?,
            }),
            Values::Float64(values) => match value {
                Scalar::Text(text) | Scalar::Number(text) => values.push(to_double(text)?),
                Scalar::Bool(_) => return Err(Misfit::Form),
            },
            Values::Decimal(values) => {
                let scale = rules.scale.unwrap_or(NUMERIC_SCALE_MAX);
                let precision = rules.precision.unwrap_or(NUMERIC_DIGITS_MAX);
                let number = to_decimal(value)?.to_numeric(precision, scale, rules.rounding);
                values.push(number.or_else(|_| decimal_overflow(rules.precision, scale))?);
            }
            Values::Day(values) => values.push(to_calendar(value, time::date)?),
            Values::Text(texts) => {
                put_text(self.kind, rules, value, texts)?;
                texts.end()?;
            }
            Values::Record(_) => return Err(Misfit::Form),
        }
        Ok(())
    }
}

fn put_text(
    kind: FieldType,
    rules: crate::column::Rules,
    value: Scalar<'_>,
    texts: &mut Texts,
) -> Result<(), Misfit> {
    let out = &mut texts.bytes;
    let start = out.len();
    match (kind, value) {
        (FieldType::Bytes, Scalar::Text(text)) => {
            if !base64_into(text, out) {
                return Err(Misfit::Form);
            }
            let length = out.len() - start;
            if let Some(most) = rules.length_max.filter(|&most| length > most) {
                return because(format!("it has {length} bytes, the field takes at most {most}"));
            }
        }
        (FieldType::BigNumeric, value) => {
            let scale = rules.scale.unwrap_or(BIGNUMERIC_SCALE);
            let number = to_decimal(value)?;
            let done = number.bignumeric_into(rules.precision, scale, rules.rounding, out);
            done.or_else(|_| decimal_overflow(rules.precision, scale))?;
        }
        (FieldType::Time, value) => time::time_into(to_calendar(value, time::time_of_day)?, out),
        (FieldType::Json, Scalar::Text(text)) => {
            let mut reader = Reader::new(text);
            let read = reader.raw_value(out).and_then(|()| reader.end());
            read.or_else(|error| because(format!("as JSON, {}", describe(error))))?;
        }
        (FieldType::String | FieldType::Json, Scalar::Number(text))
        | (FieldType::String, Scalar::Text(text)) => out.extend_from_slice(text.as_bytes()),
        (FieldType::String | FieldType::Json, Scalar::Bool(value)) => {
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
        _ => return Err(Misfit::Form),
    }
    if let (FieldType::String, Some(most)) = (kind, rules.length_max) {
        check_characters(&out[start..], most)?;
    }
    Ok(())
}

/// Refuses text of more than `most` characters. Every byte of UTF-8 but those that go on begins one.
fn check_characters(text: &[u8], most: usize) -> Result<(), Fault> {
    let count = text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
    if count > most {
        let reason = format!("the text has {count} characters, the field takes at most {most}");
        return Err(Fault::invalid(reason));
    }
    Ok(())
}

fn to_bool(value: Scalar<'_>) -> Result<bool, Misfit> {
    match value {
        Scalar::Bool(value) => Ok(value),
        Scalar::Text(text) | Scalar::Number(text) => boolean(text).ok_or(Misfit::Form),
    }
}

fn to_decimal(value: Scalar<'_>) -> Result<Decimal<'_>, Misfit> {
    match value {
        Scalar::Text(text) | Scalar::Number(text) => Decimal::parse(text).ok_or(Misfit::Form),
        Scalar::Bool(_) => Err(Misfit::Form),
    }
}

fn to_int64(value: Scalar<'_>) -> Result<i64, Misfit> {
    to_decimal(value)?.to_i64().or_else(|problem| match problem {
        NumberProblem::Fraction => because("it is not a whole number: round it in the UDF"),
        NumberProblem::OutOfRange => because("it is beyond 64 bits: use NUMERIC or STRING"),
    })
}

fn to_double(text: &str) -> Result<f64, Misfit> {
    match double(text) {
        Some(value) => Ok(value),
        None if Decimal::parse(text).is_some() => because("it is beyond the largest double, 1.8e308"),
        None => Err(Misfit::Form),
    }
}

fn to_timestamp(value: Scalar<'_>) -> Result<i64, Misfit> {
    let read = match value {
        Scalar::Text(text) => time::timestamp(text),
        Scalar::Number(text) => Decimal::parse(text).ok_or(TimeProblem::Format).and_then(time::epoch_seconds),
        Scalar::Bool(_) => return Err(Misfit::Form),
    };
    read.or_else(time_misfit)
}

fn to_calendar<T>(value: Scalar<'_>, parse: fn(&str) -> Result<T, TimeProblem>) -> Result<T, Misfit> {
    match value {
        Scalar::Text(text) => parse(text).or_else(time_misfit),
        Scalar::Number(_) | Scalar::Bool(_) => Err(Misfit::Form),
    }
}

fn time_misfit<T>(problem: TimeProblem) -> Result<T, Misfit> {
    match problem {
        TimeProblem::Format => Err(Misfit::Form),
        TimeProblem::OutOfRange => because("it is not from year 1 to year 9999"),
        TimeProblem::NotSeconds => because(
            "a number is read as seconds since 1970 and this is beyond year 9999: divide milliseconds by 1000",
        ),
        TimeProblem::Zone => because("its time zone is unknown: use Z, +hh:mm or a name like Europe/Rome"),
        TimeProblem::HasZone => because("it has a time zone: use TIMESTAMP, or leave the zone out"),
    }
}

fn decimal_overflow<T>(precision: Option<usize>, scale: usize) -> Result<T, Misfit> {
    match precision {
        Some(precision) => because(format!(
            "the field takes {} digits before the decimal point and {scale} behind it",
            precision.saturating_sub(scale)
        )),
        None => because("it is beyond the range of the type"),
    }
}

fn refusal(kind: FieldType) -> String {
    format!("{kind} takes {}", kind.takes())
}

fn quote(value: Scalar<'_>) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(text) => shorten(text),
        Scalar::Text(text) => format!("\"{}\"", shorten(text)),
    }
}

impl Fault {
    /// Adds the value that comes next to the message.
    fn quoting(self, reader: &Reader<'_>) -> Self {
        let mut ahead = reader.clone();
        let rest = reader.text_from(reader.position());
        let length = ahead.skip_value().map_or(rest.len(), |()| ahead.position() - reader.position());
        self.saying(&format!(", not {}", shorten(&rest[..length])))
    }
}
