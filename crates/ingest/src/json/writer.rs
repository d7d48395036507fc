//! Writing JSON straight into a byte buffer, without values in between.

use super::reader::plain_run;

/// Writes a string with its quotes. Text that is not UTF-8 has each bad sequence replaced by U+FFFD;
/// the answer is whether that happened.
pub(crate) fn text_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(string) => {
            text(out, string);
            false
        }
        Err(_) => {
            text(out, &String::from_utf8_lossy(bytes));
            true
        }
    }
}

/// Writes a string with its quotes, escaping what JSON requires and nothing more.
#[inline]
pub(crate) fn text(out: &mut Vec<u8>, string: &str) {
    out.push(b'"');
    escaped(out, string.as_bytes());
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, mut rest: &[u8]) {
    loop {
        let run = plain_run(rest);
        let (plain, tail) = rest.split_at(run);
        out.extend_from_slice(plain);
        let Some((&special, after)) = tail.split_first() else { return };
        let short = match special {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            12 => b'f',
            _ => 0,
        };
        if short == 0 {
            out.extend_from_slice(b"\\u00");
            hex(out, &[special]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
        rest = after;
    }
}

/// Writes bytes as hexadecimal digits, without quotes.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Writes bytes as a base64 string (standard alphabet, padded), with quotes.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    use base64::Engine;
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = base64::engine::general_purpose::STANDARD.encode_slice(bytes, &mut out[start..]);
    // The room is exact, so the only error (too little room) cannot come.
    out.truncate(start + written.unwrap_or(0));
    out.push(b'"');
}

/// Writes an integer in full, beyond 2^53 too.
#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a double as ECMAScript prints it: the shortest digits that read back as the same double, no
/// fraction on whole numbers. JSON has no NaN and no infinities, so those become strings, spelt as in
/// protobuf's JSON mapping; -0 keeps its sign.
pub(crate) fn double(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if number.is_infinite() {
        out.extend_from_slice(if number > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else if number == 0.0 && number.is_sign_negative() {
        out.extend_from_slice(b"-0");
    } else {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
    }
}

/// Writes a time as RFC 3339 in UTC, without quotes: `nanos` since 1970, with 0, 3, 6 or 9 digits of
/// fraction, as few as keep it exact (protobuf's JSON form of a timestamp).
pub(crate) fn timestamp(out: &mut Vec<u8>, nanos: u64) {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let second_of_day = seconds % 86_400;
    digits(out, year, 4);
    out.push(b'-');
    digits(out, month, 2);
    out.push(b'-');
    digits(out, day, 2);
    out.push(b'T');
    digits(out, second_of_day / 3600, 2);
    out.push(b':');
    digits(out, second_of_day / 60 % 60, 2);
    out.push(b':');
    digits(out, second_of_day % 60, 2);
    if fraction != 0 {
        out.push(b'.');
        if fraction.is_multiple_of(1_000_000) {
            digits(out, fraction / 1_000_000, 3);
        } else if fraction.is_multiple_of(1_000) {
            digits(out, fraction / 1_000, 6);
        } else {
            digits(out, fraction, 9);
        }
    }
    out.push(b'Z');
}

fn digits(out: &mut Vec<u8>, number: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    let mut rest = number;
    for slot in out[start..].iter_mut().rev() {
        *slot = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: the year is taken
/// to begin in March, so that the leap day comes last and months have a regular pattern of lengths.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn strings_are_written_as_serde_json_does(string: String, control in "[\\x00-\\x1f\"\\\\\\x7f]{0,80}") {
            for string in [string, control] {
                prop_assert_eq!(written(|out| text(out, &string)), serde_json::to_string(&string).unwrap());
            }
        }

        #[test]
        fn doubles_read_back(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let read: f64 = written(|out| double(out, number)).parse().unwrap();
            prop_assert_eq!(read.to_bits(), bits);
        }

        #[test]
        fn times_agree_with_chrono(nanos: u64) {
            let nanos = nanos / 2;
            let expected = chrono::DateTime::from_timestamp_nanos(i64::try_from(nanos).unwrap());
            let expected = expected.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
            prop_assert_eq!(written(|out| timestamp(out, nanos)), expected);
        }
    }

    #[test]
    fn numbers_json_has_not_are_strings() {
        for (number, expected) in [
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.95, "0.95"),
            (1e21, "1e+21"),
        ] {
            assert_eq!(written(|out| double(out, number)), expected);
        }
        assert_eq!(written(|out| integer(out, i64::MIN)), "-9223372036854775808");
        assert_eq!(written(|out| base64(out, b"\xff\x00\x01\x02")), "\"/wABAg==\"");
        assert_eq!(written(|out| timestamp(out, u64::MAX)), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn bad_utf8_is_replaced_and_said() {
        let mut out = Vec::new();
        assert!(text_bytes(&mut out, b"a\xed\xa0\xbdb"));
        assert!(!text_bytes(&mut out, "é".as_bytes()));
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\u{fffd}\u{fffd}\u{fffd}b\"\"é\"");
    }
}
