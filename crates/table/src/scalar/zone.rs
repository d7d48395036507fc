//! Time zones: offsets as written and names of the tz database.

use chrono::{DateTime, LocalResult, Offset, TimeZone};
use chrono_tz::Tz;

/// Farthest that a zone lies from UTC, in seconds.
const OFFSET_SECONDS_MAX: i64 = 14 * 3600;

/// The seconds between UTC and the local time `local_seconds` (counted as if it were UTC) in the zone
/// that `text` spells: nothing or `Z` (UTC), `+h`, `+hh`, `+hhmm` or `+hh:mm`, blanks before it, or
/// behind a blank a name of the tz database. Local times that come twice are the first of the two;
/// those that a change of clocks leaves out are counted on from before it, as Java does.
pub(crate) fn offset_seconds(text: &str, local_seconds: i64) -> Option<i64> {
    let name = text.trim_ascii();
    match name.as_bytes() {
        [] | [b'Z' | b'z'] => Some(0),
        [b'+', digits @ ..] => offset(digits),
        [b'-', digits @ ..] => offset(digits).map(|seconds| -seconds),
        _ if name.eq_ignore_ascii_case("UTC") => Some(0),
        _ if text.starts_with(' ') => named(name, local_seconds),
        _ => None,
    }
}

fn offset(digits: &[u8]) -> Option<i64> {
    let (hours, minutes) = match *digits {
        [h] => ([b'0', h], [b'0'; 2]),
        [h, i] => ([h, i], [b'0'; 2]),
        [h, b':', m, n] => ([b'0', h], [m, n]),
        [h, i, b':', n] => ([h, i], [b'0', n]),
        [h, i, m, n] | [h, i, b':', m, n] => ([h, i], [m, n]),
        _ => return None,
    };
    let number = |digits: [u8; 2]| {
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| i64::from(digits[0] - b'0') * 10 + i64::from(digits[1] - b'0'))
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = hours * 3600 + minutes * 60;
    (minutes < 60 && seconds <= OFFSET_SECONDS_MAX).then_some(seconds)
}

fn named(name: &str, local_seconds: i64) -> Option<i64> {
    let zone: Tz = name.parse().ok()?;
    let local = DateTime::from_timestamp(local_seconds, 0)?.naive_utc();
    let offset = match zone.offset_from_local_datetime(&local) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset,
        LocalResult::None => {
            let before = DateTime::from_timestamp(local_seconds.checked_sub(86_400)?, 0)?.naive_utc();
            zone.offset_from_utc_datetime(&before)
        }
    };
    Some(i64::from(offset.fix().local_minus_utc()))
}
