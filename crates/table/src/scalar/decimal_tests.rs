use super::*;
use NumberProblem::{Fraction, OutOfRange};
use proptest::prelude::*;

fn int(text: &str) -> Option<Result<i64, NumberProblem>> {
    Decimal::parse(text).map(Decimal::to_i64)
}

fn numeric(text: &str) -> Result<i128, NumberProblem> {
    Decimal::parse(text).unwrap().to_numeric(38, 9, Rounding::HalfAwayFromZero)
}

fn big(text: &str, scale: usize, rounding: Rounding) -> Result<String, NumberProblem> {
    let mut out = Vec::new();
    let precision = (scale < BIGNUMERIC_SCALE).then_some(38 + scale);
    Decimal::parse(text).unwrap().bignumeric_into(precision, scale, rounding, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn integers_in_any_spelling() {
    for (text, value) in [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        (" 7\n", 7),
        ("007", 7),
        ("1.0", 1),
        ("1.", 1),
        ("1e3", 1000),
        ("1.5e1", 15),
        ("1200e-2", 12),
        ("0e999999999999999999999", 0),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("92233720368547758070e-1", i64::MAX),
    ] {
        assert_eq!(int(text), Some(Ok(value)), "{text}");
    }
    for (text, problem) in [
        ("1.5", Fraction),
        ("0.1", Fraction),
        ("1e-1", Fraction),
        ("1e-999999999999999999999", Fraction),
        ("9223372036854775808", OutOfRange),
        ("-9223372036854775809", OutOfRange),
        ("1e19", OutOfRange),
        ("1e999999999999999999999", OutOfRange),
    ] {
        assert_eq!(int(text), Some(Err(problem)), "{text}");
    }
    for text in ["", " ", "-", "+", ".", "e1", "1e", "1e+", "1 2", "0x1", "1_000", "1,0", "NaN", "--1", "१"]
    {
        assert_eq!(int(text), None, "{text}");
    }
}

#[test]
fn numerics_are_exact_and_rounded_at_the_ninth_digit() {
    for (text, value) in [
        ("0.1", 100_000_000),
        ("-1.000000001", -1_000_000_001),
        ("1e-9", 1),
        ("5e-10", 1),
        ("-5e-10", -1),
        ("4.99999e-10", 0),
        ("0.9999999999", 1_000_000_000),
        ("99999999999999999999999999999.999999999", 10_i128.pow(38) - 1),
        ("-99999999999999999999999999999.999999999", 1 - 10_i128.pow(38)),
    ] {
        assert_eq!(numeric(text), Ok(value), "{text}");
    }
    for text in ["99999999999999999999999999999.9999999995", "1e29", "1e1000000000000", "-1e30"] {
        assert_eq!(numeric(text), Err(OutOfRange), "{text}");
    }
    let money = |text: &str, rounding| Decimal::parse(text).unwrap().to_numeric(5, 2, rounding);
    assert_eq!(money("999.994", Rounding::HalfAwayFromZero), Ok(999_990_000_000));
    assert_eq!(money("999.995", Rounding::HalfAwayFromZero), Err(OutOfRange));
    assert_eq!(money("0.125", Rounding::HalfEven), Ok(120_000_000));
    assert_eq!(money("0.135", Rounding::HalfEven), Ok(140_000_000));
    assert_eq!(money("0.1250001", Rounding::HalfEven), Ok(130_000_000));
    assert_eq!(money("-0.125", Rounding::HalfAwayFromZero), Ok(-130_000_000));
}

#[test]
fn bignumerics_are_normalised_text() {
    let away = Rounding::HalfAwayFromZero;
    for (text, normal) in [
        ("0", "0"),
        ("-0.0", "0"),
        ("+1.50", "1.5"),
        ("1e3", "1000"),
        ("100", "100"),
        ("0.001", "0.001"),
        ("-12.0340", "-12.034"),
        ("1e-38", "0.00000000000000000000000000000000000001"),
        ("4e-39", "0"),
        ("-4e-39", "0"),
        ("5e-39", "0.00000000000000000000000000000000000001"),
        (
            "578960446186580977117854925043439539266.34992332820282019728792003956564819967",
            "578960446186580977117854925043439539266.34992332820282019728792003956564819967",
        ),
        (
            "-578960446186580977117854925043439539266.34992332820282019728792003956564819968",
            "-578960446186580977117854925043439539266.34992332820282019728792003956564819968",
        ),
    ] {
        assert_eq!(big(text, 38, away).as_deref(), Ok(normal), "{text}");
    }
    for text in [
        "578960446186580977117854925043439539266.34992332820282019728792003956564819968",
        "-578960446186580977117854925043439539266.34992332820282019728792003956564819969",
        "6e38",
        "1e39",
        "1e1000000",
    ] {
        assert_eq!(big(text, 38, away), Err(OutOfRange), "{text}");
    }
    assert_eq!(big("1.25", 1, Rounding::HalfEven).as_deref(), Ok("1.2"));
    assert_eq!(big("1.25", 1, away).as_deref(), Ok("1.3"));
    assert_eq!(big("0.04", 1, away).as_deref(), Ok("0"));
    assert_eq!(big("12345678901234567890", 0, away).as_deref(), Ok("12345678901234567890"));
}

#[test]
fn epoch_seconds_keep_six_digits() {
    let micros = |text: &str| Decimal::parse(text).unwrap().to_micros();
    assert_eq!(micros("1700000000.123456789"), Ok(1_700_000_000_123_456));
    assert_eq!(micros("-1.9999999"), Ok(-1_999_999));
    assert_eq!(micros("1.7e9"), Ok(1_700_000_000_000_000));
    assert_eq!(micros("1e300"), Err(OutOfRange));
}

proptest! {
    #[test]
    fn integers_survive(value: i64, zeros in 0_usize..5) {
        let tail = "0".repeat(zeros);
        prop_assert_eq!(int(&value.to_string()), Some(Ok(value)));
        prop_assert_eq!(int(&format!("{value}.{tail}")), Some(Ok(value)));
        prop_assert_eq!(int(&format!("{value}{tail}e-{zeros}")), Some(Ok(value)));
    }

    #[test]
    fn numerics_survive(units in (1 - 10_i128.pow(38))..10_i128.pow(38)) {
        let (whole, fraction) = (units / 1_000_000_000, (units % 1_000_000_000).abs());
        let sign = if units < 0 && whole == 0 { "-" } else { "" };
        let text = format!("{sign}{whole}.{fraction:09}");
        prop_assert_eq!(numeric(&text), Ok(units));
        let shifted = format!("{units}e-9");
        prop_assert_eq!(numeric(&shifted), Ok(units));
        let normal = big(&text, 38, Rounding::HalfEven).unwrap();
        prop_assert_eq!(numeric(&normal), Ok(units));
    }

    #[test]
    fn nothing_panics(text in "[-+]?[0-9]{0,90}\\.?[0-9]{0,90}([eE][-+]?[0-9]{0,25})?") {
        if let Some(decimal) = Decimal::parse(&text) {
            let _ = decimal.to_i64();
            let _ = decimal.to_micros();
            let _ = decimal.to_numeric(38, 9, Rounding::HalfEven);
            let _ = big(&text, 38, Rounding::HalfEven);
        }
    }
}
