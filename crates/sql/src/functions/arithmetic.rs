//! Arithmetic by GoogleSQL's rules: `/` gives FLOAT64, overflow and division by zero are errors, halves
//! round away from zero
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/mathematical_functions>).

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{
    Date32Type, Decimal128Type, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ReturnFieldArgs;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::civil::{add, civil, date, days, micros, part, unit_micros};
use super::scalar::{Call, Cell, Definition, Form, Gives, form, optional};
use super::text::numeric_text;
use crate::error::SqlError;
use crate::types::Kind;

const INT: &[Kind] = &[Kind::Int];
const FLOAT: &[Kind] = &[Kind::Float];
const NUMERIC: &[Kind] = &[Kind::Numeric];
const DATE: &[Kind] = &[Kind::Date];
const TEXT: &[Kind] = &[Kind::String];

const SAME_KIND: &[Form] = &[
    form(&[INT, INT], Kind::Int),
    form(&[NUMERIC, NUMERIC], Kind::Numeric),
    form(&[FLOAT, FLOAT], Kind::Float),
];
const ADD: &[Form] = &[
    form(&[INT, INT], Kind::Int),
    form(&[NUMERIC, NUMERIC], Kind::Numeric),
    form(&[FLOAT, FLOAT], Kind::Float),
    form(&[DATE, INT], Kind::Date),
];
const DIVIDE_OF: &[Form] = &[
    // Two INT64 give FLOAT64, though NUMERIC would take them too.
    form(&[INT, INT], Kind::Float),
    form(&[NUMERIC, NUMERIC], Kind::Numeric),
    form(&[FLOAT, FLOAT], Kind::Float),
];
const UNARY: &[Form] =
    &[form(&[INT], Kind::Int), form(&[NUMERIC], Kind::Numeric), form(&[FLOAT], Kind::Float)];
const ROUNDING: &[Form] =
    &[optional(1, &[NUMERIC, INT], Kind::Numeric), optional(1, &[FLOAT, INT], Kind::Float)];
const WHOLE: &[Form] = &[form(&[FLOAT], Kind::Float)];
const TWO_FLOATS: &[Form] = &[form(&[FLOAT, FLOAT], Kind::Float)];
const PLUS_INTERVAL: &[Form] = &[
    form(&[&[Kind::Timestamp], INT, TEXT], Kind::Timestamp),
    // A DATE and an interval give a DATETIME.
    form(&[&[Kind::Date, Kind::Datetime], INT, TEXT], Kind::Datetime),
];

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition { name: "#add", forms: ADD, eval: plus },
    Definition { name: "#subtract", forms: ADD, eval: minus },
    Definition { name: "#multiply", forms: SAME_KIND, eval: times },
    Definition { name: "#divide", forms: DIVIDE_OF, eval: divide },
    Definition { name: "#plus_interval", forms: PLUS_INTERVAL, eval: |call| plus_interval(call, 1) },
    Definition { name: "#minus_interval", forms: PLUS_INTERVAL, eval: |call| plus_interval(call, -1) },
    Definition {
        name: "#interval",
        forms: &[Form {
            takes: &[&[], &[]],
            optional: 0,
            many: false,
            gives: Gives::Computed(lone_interval),
        }],
        eval: |_| internal_err!("an INTERVAL has no value of its own"),
    },
    Definition { name: "safe_add", forms: SAME_KIND, eval: |call| plus(&forgiving(call)) },
    Definition { name: "safe_subtract", forms: SAME_KIND, eval: |call| minus(&forgiving(call)) },
    Definition { name: "safe_multiply", forms: SAME_KIND, eval: |call| times(&forgiving(call)) },
    Definition { name: "safe_divide", forms: DIVIDE_OF, eval: |call| divide(&forgiving(call)) },
    Definition { name: "safe_negate", forms: UNARY, eval: |call| negate(&forgiving(call)) },
    Definition { name: "#bit_not", forms: &[form(&[INT], Kind::Int)], eval: bit_not },
    Definition { name: "negate", forms: UNARY, eval: negate },
    Definition { name: "ieee_divide", forms: TWO_FLOATS, eval: |call| floats(call, |a, b| Ok(a / b)) },
    Definition { name: "div", forms: SAME_KIND, eval: div },
    Definition {
        name: "mod",
        forms: &[form(&[INT, INT], Kind::Int), form(&[NUMERIC, NUMERIC], Kind::Numeric)],
        eval: modulo,
    },
    Definition { name: "abs", forms: UNARY, eval: abs },
    Definition { name: "sign", forms: UNARY, eval: sign },
    Definition { name: "round", forms: ROUNDING, eval: |call| rounded(call, f64::round, round_numeric) },
    Definition {
        name: "trunc",
        forms: ROUNDING,
        eval: |call| rounded(call, f64::trunc, |value, unit| value / unit * unit),
    },
    Definition { name: "ceil", forms: WHOLE, eval: |call| float(call, |value| Ok(value.ceil())) },
    Definition { name: "floor", forms: WHOLE, eval: |call| float(call, |value| Ok(value.floor())) },
    Definition {
        name: "sqrt",
        forms: WHOLE,
        eval: |call| float(call, |value| domain(value, value >= 0.0 || value.is_nan(), f64::sqrt)),
    },
    Definition {
        name: "exp",
        forms: WHOLE,
        eval: |call| float(call, |value| finite(value.exp(), value.is_finite())),
    },
    Definition {
        name: "ln",
        forms: WHOLE,
        eval: |call| float(call, |value| domain(value, value > 0.0, f64::ln)),
    },
    Definition {
        name: "log10",
        forms: WHOLE,
        eval: |call| float(call, |value| domain(value, value > 0.0, f64::log10)),
    },
    Definition { name: "log", forms: &[optional(1, &[FLOAT, FLOAT], Kind::Float)], eval: log },
    Definition {
        name: "pow",
        forms: TWO_FLOATS,
        eval: |call| floats(call, |a, b| finite(a.powf(b), a.is_finite() && b.is_finite())),
    },
    Definition {
        name: "is_nan",
        forms: &[form(&[FLOAT], Kind::Bool)],
        eval: |call| float_test(call, f64::is_nan),
    },
    Definition {
        name: "is_inf",
        forms: &[form(&[FLOAT], Kind::Bool)],
        eval: |call| float_test(call, f64::is_infinite),
    },
    Definition { name: "rand", forms: &[form(&[TEXT], Kind::Float)], eval: rand },
];

/// The function behind an operator.
pub(crate) fn operator(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "#add",
        BinaryOperator::Minus => "#subtract",
        BinaryOperator::Multiply => "#multiply",
        BinaryOperator::Divide => "#divide",
        BinaryOperator::StringConcat => "concat",
        BinaryOperator::PGBitwiseShiftLeft => "#shift_left",
        BinaryOperator::PGBitwiseShiftRight => "#shift_right",
        _ => return None,
    })
}

fn lone_interval(_: &ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError> {
    Err(SqlError::unsupported(
        "INTERVAL is supported after + and - and in DATE_ADD, TIMESTAMP_SUB and the like only",
    ))
}

/// The same call, where errors are NULL.
fn forgiving<'a>(call: &Call<'a>) -> Call<'a> {
    Call { safe: true, ..*call }
}

const NUMERIC_ONE: i128 = 1_000_000_000;
const NUMERIC_MAX: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

fn overflow(what: &str) -> String {
    format!("{what} overflow")
}

/// A result in NUMERIC's range.
fn numeric(value: Option<i128>) -> Result<i128, String> {
    value.filter(|value| value.abs() <= NUMERIC_MAX).ok_or_else(|| overflow("NUMERIC"))
}

fn finite(value: f64, inputs_finite: bool) -> Result<f64, String> {
    if inputs_finite && !value.is_finite() { Err(overflow("FLOAT64")) } else { Ok(value) }
}

fn domain(value: f64, inside: bool, function: fn(f64) -> f64) -> Result<f64, String> {
    if inside { Ok(function(value)) } else { Err(format!("{value} is out of its domain")) }
}

fn pair<T>(left: Option<T>, right: Option<T>, combine: impl FnOnce(T, T) -> Result<T, String>) -> Cell<T> {
    left.zip(right).map(|(left, right)| combine(left, right)).transpose()
}

fn ints(call: &Call<'_>, combine: fn(i64, i64) -> Result<i64, String>) -> Result<ArrayRef> {
    let (left, right) = (call.ints(0)?, call.ints(1)?);
    call.collect::<Int64Type>(|row| pair(left.get(row), right.get(row), combine))
}

fn numerics(call: &Call<'_>, combine: fn(i128, i128) -> Result<i128, String>) -> Result<ArrayRef> {
    let (left, right) = (call.numerics(0)?, call.numerics(1)?);
    call.collect::<Decimal128Type>(|row| pair(left.get(row), right.get(row), combine))
}

fn floats(call: &Call<'_>, combine: fn(f64, f64) -> Result<f64, String>) -> Result<ArrayRef> {
    let (left, right) = (call.floats(0)?, call.floats(1)?);
    call.collect::<Float64Type>(|row| pair(left.get(row), right.get(row), combine))
}

fn float(call: &Call<'_>, function: fn(f64) -> Result<f64, String>) -> Result<ArrayRef> {
    let values = call.floats(0)?;
    call.collect::<Float64Type>(|row| values.get(row).map(function).transpose())
}

fn float_test(call: &Call<'_>, test: fn(f64) -> bool) -> Result<ArrayRef> {
    let values = call.floats(0)?;
    call.collect_bools(|row| Ok(values.get(row).map(test)))
}

/// The kind in which two arguments meet.
fn meeting(call: &Call<'_>) -> Kind {
    match (call.kind(0), call.kind(1)) {
        (Kind::Null, other) | (other, Kind::Null) => other,
        (left, _) => left,
    }
}

fn plus(call: &Call<'_>) -> Result<ArrayRef> {
    match meeting(call) {
        Kind::Int => ints(call, |a, b| a.checked_add(b).ok_or_else(|| format!("INT64 overflow: {a} + {b}"))),
        Kind::Numeric => numerics(call, |a, b| numeric(a.checked_add(b))),
        Kind::Date => move_date(call, 1),
        _ => floats(call, |a, b| finite(a + b, a.is_finite() && b.is_finite())),
    }
}

fn minus(call: &Call<'_>) -> Result<ArrayRef> {
    match meeting(call) {
        Kind::Int => ints(call, |a, b| a.checked_sub(b).ok_or_else(|| format!("INT64 overflow: {a} - {b}"))),
        Kind::Numeric => numerics(call, |a, b| numeric(a.checked_sub(b))),
        Kind::Date => move_date(call, -1),
        _ => floats(call, |a, b| finite(a - b, a.is_finite() && b.is_finite())),
    }
}

fn move_date(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let (dates, counts) = (call.dates(0)?, call.ints(1)?);
    call.collect::<Date32Type>(|row| {
        let moved = dates.get(row).zip(counts.get(row)).map(|(day, count)| {
            let day = count.checked_mul(sign).and_then(|count| i64::from(day).checked_add(count));
            let day = day.and_then(|day| i32::try_from(day).ok()).ok_or_else(|| overflow("DATE"))?;
            days(date(day)?)
        });
        moved.transpose()
    })
}

fn times(call: &Call<'_>) -> Result<ArrayRef> {
    match meeting(call) {
        Kind::Int => ints(call, |a, b| a.checked_mul(b).ok_or_else(|| format!("INT64 overflow: {a} * {b}"))),
        Kind::Numeric => numerics(call, |a, b| numeric(multiply_numeric(a, b))),
        _ => floats(call, |a, b| finite(a * b, a.is_finite() && b.is_finite())),
    }
}

/// The product, rounded half away from zero; `None` when it is out of reach.
fn multiply_numeric(a: i128, b: i128) -> Option<i128> {
    // Whole parts and fractions apart keep every product inside 128 bits whenever the result is.
    let (whole, fraction) = (a / NUMERIC_ONE, a % NUMERIC_ONE);
    let (other, rest) = (b / NUMERIC_ONE, b % NUMERIC_ONE);
    let low = fraction * rest;
    let half = if low < 0 { -NUMERIC_ONE / 2 } else { NUMERIC_ONE / 2 };
    let sum = whole.checked_mul(b)?.checked_add(fraction.checked_mul(other)?)?;
    sum.checked_add((low + half) / NUMERIC_ONE)
}

fn divide(call: &Call<'_>) -> Result<ArrayRef> {
    if meeting(call) == Kind::Int {
        let (left, right) = (call.ints(0)?, call.ints(1)?);
        return call.collect::<Float64Type>(|row| {
            let quotient = left.get(row).zip(right.get(row)).map(|(a, b)| match b {
                0 => Err(format!("division by zero: {a} / 0")),
                #[expect(clippy::cast_precision_loss, reason = "GoogleSQL divides INT64 as FLOAT64")]
                b => Ok(a as f64 / b as f64),
            });
            quotient.transpose()
        });
    }
    match meeting(call) {
        Kind::Numeric => numerics(call, |a, b| match b {
            0 => Err(format!("division by zero: {} / 0", numeric_text(a, 9))),
            b => numeric(divide_numeric(a, b)),
        }),
        _ => floats(call, |a, b| {
            if b == 0.0 {
                return Err(format!("division by zero: {a} / 0"));
            }
            finite(a / b, a.is_finite() && b.is_finite())
        }),
    }
}

/// The quotient, rounded half away from zero.
fn divide_numeric(a: i128, b: i128) -> Option<i128> {
    // Long division, nine digits at a time as far as 128 bits allow.
    let (mut quotient, mut remainder) = (a / b, a % b);
    for _ in 0..9 {
        remainder = remainder.checked_mul(10)?;
        quotient = quotient.checked_mul(10)?.checked_add(remainder / b)?;
        remainder %= b;
    }
    let away = remainder.unsigned_abs() >= b.unsigned_abs() - remainder.unsigned_abs();
    let sign = if (a < 0) == (b < 0) { 1 } else { -1 };
    if away { quotient.checked_add(sign) } else { Some(quotient) }
}

fn div(call: &Call<'_>) -> Result<ArrayRef> {
    match meeting(call) {
        Kind::Int => ints(call, |a, b| match b {
            0 => Err(format!("division by zero: DIV({a}, 0)")),
            b => a.checked_div(b).ok_or_else(|| overflow("INT64")),
        }),
        Kind::Numeric => numerics(call, |a, b| match b {
            0 => Err("division by zero".to_owned()),
            b => numeric((a / b).checked_mul(NUMERIC_ONE)),
        }),
        _ => Err(SqlError::invalid("DIV takes INT64 or NUMERIC, not FLOAT64").into()),
    }
}

fn modulo(call: &Call<'_>) -> Result<ArrayRef> {
    match meeting(call) {
        Kind::Int => ints(call, |a, b| match b {
            0 => Err(format!("division by zero: MOD({a}, 0)")),
            b => Ok(a.checked_rem(b).unwrap_or(0)),
        }),
        _ => numerics(call, |a, b| match b {
            0 => Err("division by zero".to_owned()),
            b => Ok(a % b),
        }),
    }
}

fn unary(
    call: &Call<'_>,
    int: fn(i64) -> Result<i64, String>,
    numeric: fn(i128) -> i128,
    float_of: fn(f64) -> f64,
) -> Result<ArrayRef> {
    match call.kind(0) {
        Kind::Int | Kind::Null => {
            let values = call.ints(0)?;
            call.collect::<Int64Type>(|row| values.get(row).map(int).transpose())
        }
        Kind::Numeric => {
            let values = call.numerics(0)?;
            call.collect::<Decimal128Type>(|row| Ok(values.get(row).map(numeric)))
        }
        _ => {
            let values = call.floats(0)?;
            call.collect::<Float64Type>(|row| Ok(values.get(row).map(float_of)))
        }
    }
}

fn negate(call: &Call<'_>) -> Result<ArrayRef> {
    unary(call, |value| value.checked_neg().ok_or_else(|| overflow("INT64")), |value| -value, |value| -value)
}

fn bit_not(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.ints(0)?;
    call.collect::<Int64Type>(|row| Ok(values.get(row).map(|value| !value)))
}

fn abs(call: &Call<'_>) -> Result<ArrayRef> {
    unary(call, |value| value.checked_abs().ok_or_else(|| overflow("INT64")), i128::abs, f64::abs)
}

fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let of_float = |value: f64| if value == 0.0 || value.is_nan() { value } else { value.signum() };
    unary(call, |value| Ok(value.signum()), |value| value.signum() * NUMERIC_ONE, of_float)
}

fn round_numeric(value: i128, unit: i128) -> i128 {
    let half = if value < 0 { -unit / 2 } else { unit / 2 };
    (value + half) / unit * unit
}

/// ROUND and TRUNC, to as many decimal places as the second argument says.
fn rounded(call: &Call<'_>, float: fn(f64) -> f64, numeric_of: fn(i128, i128) -> i128) -> Result<ArrayRef> {
    let places = call.ints_or(1, 0)?;
    if call.kind(0) == Kind::Numeric {
        let values = call.numerics(0)?;
        return call.collect::<Decimal128Type>(|row| {
            Ok(values.get(row).zip(places.get(row)).map(|(value, places)| match 9 - places {
                ..=0 => value,
                power @ 1..=37 => numeric_of(value, 10_i128.pow(u32::try_from(power).unwrap_or(0))),
                _ => 0,
            }))
        });
    }
    let values = call.floats(0)?;
    call.collect::<Float64Type>(|row| {
        Ok(values.get(row).zip(places.get(row)).map(|(value, places)| {
            let scale = 10_f64.powi(i32::try_from(places.clamp(-400, 400)).unwrap_or(0));
            let scaled = value * scale;
            match scaled.is_finite() && scale > 0.0 {
                true if places < 0 => {
                    float(value / 10_f64.powi(i32::try_from(-places.max(-400)).unwrap_or(0))) / scale
                }
                true => float(scaled) / scale,
                false => {
                    if places < 0 {
                        0.0
                    } else {
                        value
                    }
                }
            }
        }))
    })
}

fn log(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.floats(0)?;
    let bases = if call.args.len() > 1 { Some(call.floats(1)?) } else { None };
    call.collect::<Float64Type>(|row| {
        let Some(value) = values.get(row) else { return Ok(None) };
        let base = match &bases {
            Some(bases) => match bases.get(row) {
                Some(base) => base,
                None => return Ok(None),
            },
            None => std::f64::consts::E,
        };
        match value > 0.0 && base > 0.0 && base != 1.0 {
            true => Ok(Some(if bases.is_some() { value.log(base) } else { value.ln() })),
            false => Err(format!("LOG({value}, {base}) is out of its domain")),
        }
    })
}

fn plus_interval(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let (counts, parts) = (call.ints(1)?, call.texts(2)?);
    let timestamp = call.kind(0) == Kind::Timestamp;
    let moved = |time: i64, row: usize| -> Cell<i64> {
        let (Some(count), Some(name)) = (counts.get(row), parts.get(row)) else { return Ok(None) };
        let part = part(name)?;
        if timestamp && unit_micros(part).is_none_or(|unit| unit > super::civil::MICROS_PER_DAY) {
            return Err(format!("a TIMESTAMP does not take INTERVAL n {}", name.to_uppercase()));
        }
        let count = count.checked_mul(sign).ok_or_else(|| overflow("INTERVAL"))?;
        micros(add(civil(time)?, count, part)?).map(Some)
    };
    if call.kind(0) == Kind::Date {
        let dates = call.dates(0)?;
        return call.collect::<TimestampMicrosecondType>(|row| match dates.get(row) {
            Some(day) => moved(i64::from(day) * super::civil::MICROS_PER_DAY, row),
            None => Ok(None),
        });
    }
    let times = call.micros(0)?;
    call.collect::<TimestampMicrosecondType>(|row| match times.get(row) {
        Some(time) => moved(time, row),
        None => Ok(None),
    })
}

/// Numbers from 0 up to, not including, 1.
fn rand(call: &Call<'_>) -> Result<ArrayRef> {
    use std::hash::{BuildHasher, RandomState};
    // A keyed hash of a counter: no generator to keep, and good enough for sampling.
    let keys = RandomState::new();
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a FLOAT64")]
    call.collect::<Float64Type>(|row| Ok(Some((keys.hash_one(row) >> 11) as f64 / (1_u64 << 53) as f64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_arithmetic_rounds_half_away_from_zero() {
        let one = NUMERIC_ONE;
        assert_eq!(multiply_numeric(3 * one / 2, -3 * one / 2), Some(-9 * one / 4));
        assert_eq!(divide_numeric(one, 3 * one), Some(333_333_333));
        assert_eq!(divide_numeric(2 * one, 3 * one), Some(666_666_667));
        assert_eq!(divide_numeric(-2 * one, 3 * one), Some(-666_666_667));
        assert_eq!(round_numeric(5 * one / 2, one), 3 * one);
    }
}
