//! Moments as people write and read them.

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use millrace_model::Micros;

/// A moment from `90s`, `30m`, `24h` or `7d` (so long before `now`), from `2026-11-27`, or from RFC 3339.
///
/// # Errors
/// When it is none of these.
pub fn parse(text: &str, now: Micros) -> Result<Micros> {
    let wrong = || format!("{text:?} is no moment: write 30m, 24h, 7d, 2026-11-27 or 2026-11-27T08:00:00Z");
    if let Some((digits, unit)) = text.split_at_checked(text.len().saturating_sub(1))
        && let Ok(count) = digits.parse::<u64>()
    {
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            _ => bail!(wrong()),
        };
        return Ok(now.minus(std::time::Duration::from_secs(count.saturating_mul(seconds))));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        let midnight = day.and_hms_opt(0, 0, 0).with_context(wrong)?;
        return Ok(Micros(midnight.and_utc().timestamp_micros()));
    }
    let moment = DateTime::parse_from_rfc3339(text).ok().with_context(wrong)?;
    Ok(Micros(moment.timestamp_micros()))
}

/// Whether a moment is one of those that count back from now.
pub fn is_relative(text: &str) -> bool {
    let count = text.strip_suffix(['s', 'm', 'h', 'd']);
    count.is_some_and(|count| count.parse::<u64>().is_ok())
}

/// A moment as RFC 3339, in UTC.
pub fn text(moment: Micros) -> String {
    let moment: Option<DateTime<Utc>> = DateTime::from_timestamp_micros(moment.0);
    moment.map(|moment| moment.to_rfc3339_opts(SecondsFormat::Micros, true)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spans_back_days_or_rfc_3339() {
        let now = Micros(1_000_000_000_000_000);
        let back = |seconds: i64| Micros(now.0 - seconds * 1_000_000);
        for (text, wanted) in
            [("90s", back(90)), ("30m", back(1800)), ("24h", back(86_400)), ("7d", back(604_800))]
        {
            assert_eq!(parse(text, now).unwrap(), wanted);
            assert!(is_relative(text));
        }
        assert_eq!(parse("1970-01-02", now).unwrap(), Micros(86_400_000_000));
        assert!(!is_relative("1970-01-02") && !is_relative("1970-01-01T01:00:00Z"));
        assert_eq!(parse("1970-01-01T01:00:00.5+01:00", now).unwrap(), Micros(500_000));
        for wrong in ["", "h", "7", "7w", "yesterday", "2026-13-01", "é"] {
            assert!(parse(wrong, now).is_err(), "{wrong}");
        }
        assert_eq!(text(Micros(500_000)), "1970-01-01T00:00:00.500000Z");
    }
}
