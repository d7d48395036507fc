//! When a materialised view is refreshed: a plain function of what is known.

use crate::error::SqlError;
use crate::views::Materialized;

/// How the newest refresh of a view went.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// When it began, microseconds since 1970 UTC.
    pub(super) at_micros: i64,
    /// The text of the view then: a new text is tried at once.
    pub(super) digest: String,
    pub(super) error: Option<SqlError>,
}

/// Whether a view is to be refreshed now, tables aside: `refreshed_micros` is the moment that a usable
/// result of its present definition shows.
pub(super) fn is_due(
    kept: Materialized,
    digest: &str,
    refreshed_micros: Option<i64>,
    attempt: Option<&Attempt>,
    now_micros: i64,
) -> bool {
    let interval = i64::try_from(kept.refresh_interval.as_micros()).unwrap_or(i64::MAX);
    let attempted = attempt.filter(|attempt| attempt.digest == digest).map(|attempt| attempt.at_micros);
    let newest = attempted.max(refreshed_micros);
    kept.enable_refresh
        // A clock that has gone back must not put refreshes off for as long as it went.
        && newest.is_none_or(|newest| newest > now_micros || now_micros - newest >= interval)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_view_is_due_at_first_after_its_interval_and_when_it_changes() {
        const MINUTE: i64 = 60_000_000;
        let kept = Materialized { refresh_interval: Duration::from_secs(60), ..Materialized::default() };
        let attempt = |at_micros| Attempt { at_micros, digest: "a".to_owned(), error: None };
        let due = |refreshed, attempt: Option<&Attempt>, now| is_due(kept, "a", refreshed, attempt, now);
        assert!(due(None, None, 0));
        assert!(!due(Some(0), None, MINUTE - 1) && due(Some(0), None, MINUTE));
        // A failure, or finding nothing changed, counts as a try.
        assert!(!due(Some(0), Some(&attempt(MINUTE)), MINUTE + 1));
        assert!(due(Some(0), Some(&attempt(MINUTE)), 2 * MINUTE));
        assert!(!due(None, Some(&attempt(MINUTE)), MINUTE + 1));
        // Another text is due at once, and so is everything when the clock has gone back.
        assert!(is_due(kept, "b", None, Some(&attempt(MINUTE)), MINUTE + 1));
        assert!(due(Some(5 * MINUTE), None, MINUTE));
        let never = Materialized { enable_refresh: false, ..kept };
        assert!(!is_due(never, "a", None, None, MINUTE));
    }
}
