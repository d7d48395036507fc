//! Numbers as C's printf writes them.

/// What stands before a width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags {
    /// `-`
    pub(super) left: bool,
    /// `+`
    pub(super) plus: bool,
    /// A blank.
    pub(super) blank: bool,
    /// `#`
    pub(super) alternate: bool,
    /// `0`
    pub(super) zero: bool,
    /// `'`
    pub(super) grouped: bool,
}

impl Flags {
    pub(super) fn set(&mut self, flag: char) {
        match flag {
            '-' => self.left = true,
            '+' => self.plus = true,
            ' ' => self.blank = true,
            '#' => self.alternate = true,
            '0' => self.zero = true,
            _ => self.grouped = true,
        }
    }

    fn sign(self, negative: bool) -> &'static str {
        match (negative, self.plus, self.blank) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        }
    }
}

/// A text in a field of a width, in characters.
pub(super) fn padded(text: &str, width: usize, left: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(text.chars().count()));
    if left { format!("{text}{blanks}") } else { format!("{blanks}{text}") }
}

/// Sign, prefix and digits in a field; `zeros`: filled up with zeros between them.
fn fielded(sign: &str, digits: &str, flags: Flags, width: usize, zeros: bool) -> String {
    if zeros && flags.zero && !flags.left {
        let missing = width.saturating_sub(sign.len() + digits.len());
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    padded(&format!("{sign}{digits}"), width, flags.left)
}

/// Digits in groups from the right.
fn grouped(digits: &str, size: usize, between: char) -> String {
    let mut out = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(size) {
            out.push(between);
        }
        out.push(digit);
    }
    out
}

pub(super) fn integer(
    value: i64,
    specifier: char,
    flags: Flags,
    width: usize,
    precision: Option<usize>,
) -> String {
    let magnitude = value.unsigned_abs();
    let digits = match specifier {
        'o' => format!("{magnitude:o}"),
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        _ => magnitude.to_string(),
    };
    let digits = match precision {
        Some(0) if value == 0 => String::new(),
        Some(least) => format!("{digits:0>least$}"),
        None => digits,
    };
    let digits = match (flags.grouped, specifier) {
        (false, _) => digits,
        (true, 'x' | 'X') => grouped(&digits, 4, ':'),
        (true, 'o') => grouped(&digits, 4, ','),
        (true, _) => grouped(&digits, 3, ','),
    };
    let prefix = match specifier {
        'x' if flags.alternate && value != 0 => "0x",
        'X' if flags.alternate && value != 0 => "0X",
        'o' if flags.alternate && !digits.starts_with('0') => "0",
        _ => "",
    };
    let sign = format!("{}{prefix}", flags.sign(value < 0));
    fielded(&sign, &digits, flags, width, precision.is_none())
}

/// Digits before and behind a point, those before it in groups when it is asked for.
fn fixed(text: &str, flags: Flags) -> String {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let whole = if flags.grouped { grouped(whole, 3, ',') } else { whole.to_owned() };
    match fraction {
        Some(fraction) => format!("{whole}.{fraction}"),
        None if flags.alternate => format!("{whole}."),
        None => whole,
    }
}

/// NUMERIC, rounded half away from zero.
pub(super) fn decimal(value: i128, scale: i8, flags: Flags, width: usize, precision: usize) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let mut digits = value.unsigned_abs();
    let kept = precision.min(scale);
    if let Some(unit) = u32::try_from(scale - kept).ok().and_then(|places| 10_u128.checked_pow(places)) {
        digits = (digits + unit / 2) / unit;
    }
    let text = format!("{digits:0>width$}", width = kept + 1);
    let (whole, fraction) = text.split_at(text.len() - kept);
    let fraction = format!("{fraction:0<precision$}");
    let text = if precision == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") };
    fielded(flags.sign(value < 0), &fixed(&text, flags), flags, width, true)
}

pub(super) fn float(value: f64, specifier: char, flags: Flags, width: usize, precision: usize) -> String {
    let upper = specifier.is_ascii_uppercase();
    let case = |text: String| if upper { text.to_uppercase() } else { text };
    if value.is_nan() || value.is_infinite() {
        let sign = if value.is_nan() { "" } else { flags.sign(value < 0.0) };
        let name = if value.is_nan() { "nan" } else { "inf" };
        return padded(&format!("{sign}{}", case(name.to_owned())), width, flags.left);
    }
    let magnitude = value.abs();
    let digits = match specifier.to_ascii_lowercase() {
        'f' => fixed(&format!("{magnitude:.precision$}"), flags),
        'e' => exponential(magnitude, precision, flags),
        _ => general(magnitude, precision.max(1), flags),
    };
    fielded(flags.sign(value.is_sign_negative()), &case(digits), flags, width, true)
}

fn exponential(value: f64, precision: usize, flags: Flags) -> String {
    let text = format!("{value:.precision$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => with_exponent(&fixed(mantissa, flags), exponent),
        None => text,
    }
}

/// The exponent gets a sign, and two digits at least.
fn with_exponent(mantissa: &str, exponent: &str) -> String {
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{mantissa}e{sign}{exponent:0>2}")
}

/// %g: with an exponent where it is below -4 or as large as the precision. Zeros at the end go, but with #
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/string_functions#g_and_g_behavior>).
fn general(value: f64, precision: usize, flags: Flags) -> String {
    let scientific = format!("{value:.places$e}", places = precision - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let trimmed = |text: &str| match text.contains('.') && !flags.alternate {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let precision = i64::try_from(precision).unwrap_or(i64::MAX);
    let power = exponent.parse().unwrap_or(0);
    if (-4..precision).contains(&power) {
        let places = usize::try_from(precision - 1 - power).unwrap_or(0);
        return fixed(&trimmed(&format!("{value:.places$}")), flags);
    }
    with_exponent(&fixed(&trimmed(mantissa), flags), exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Flags {
        let mut flags = Flags::default();
        text.chars().for_each(|flag| flags.set(flag));
        flags
    }

    #[test]
    fn numbers_are_printed_as_c_prints_them() {
        let int = |value, spec, set, width, precision| integer(value, spec, flags(set), width, precision);
        assert_eq!(int(10, 'd', "", 5, None), "   10");
        assert_eq!(int(-10, 'd', "0", 5, None), "-0010");
        assert_eq!(int(10, 'd', "-+", 5, None), "+10  ");
        assert_eq!(int(12_345_678, 'd', "'", 0, None), "12,345,678");
        assert_eq!(int(12_345_678, 'x', "'", 0, None), "bc:614e");
        assert_eq!(int(55_555, 'o', "'", 0, None), "15,4403");
        assert_eq!(int(-255, 'x', "#", 0, None), "-0xff");
        assert_eq!(int(i64::MIN, 'd', "", 0, None), i64::MIN.to_string());
        assert_eq!(int(7, 'd', "0", 6, Some(3)), "   007");
        let float = |value, spec, set, width, precision| float(value, spec, flags(set), width, precision);
        assert_eq!(float(5.25, 'f', "0", 7, 1), "00005.2");
        assert_eq!(float(1_234_567.891, 'f', "'", 0, 2), "1,234,567.89");
        assert_eq!(float(-0.000_012_5, 'e', "", 0, 3), "-1.250e-05");
        assert_eq!(float(392_650_000.0, 'G', "", 0, 6), "3.9265E+08");
        // Of ZetaSQL's compliance tests.
        assert_eq!(float(-158.495_592_951_489_02, 'g', "0# ", 15, 5), "-00000000158.50");
        assert_eq!(float(1_000.0, 'g', "'", 0, 6), "1,000");
        assert_eq!(float(1_234_567.0, 'g', "'0", 15, 2), "000000001.2e+06");
        assert_eq!(float(10.0, 'g', "#", 0, 1), "1.e+01");
        assert_eq!(float(0.000_1, 'g', "#", 0, 3), "0.000100");
        assert_eq!(float(1.0, 'e', "#", 0, 0), "1.e+00");
        assert_eq!(float(-0.0, 'g', "", 0, 6), "-0");
        assert_eq!(float(f64::NEG_INFINITY, 'f', "0", 6, 6), "  -inf");
        assert_eq!(decimal(-2_675_000_000, 9, flags(""), 0, 2), "-2.68");
        assert_eq!(decimal(2_000_000_000, 9, flags(""), 0, 12), "2.000000000000");
        assert_eq!(decimal(999_500_000_000, 9, flags("'"), 0, 0), "1,000");
    }
}
