//! The fates of the messages accepted since a moment.

use millrace_model::{Bounds, Micros, Offset, Source};
use serde::Serialize;

use super::scan::scan;
use super::{AuditInput, Books};

/// What became of the messages accepted since a moment. A message that was left out, purged or erased leaves no
/// trace of its own, so those are what remains; the audit as a whole proves them by count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SinceTotals {
    /// The moment, microseconds since 1970 UTC.
    pub since_micros: i64,
    /// The first message accepted then or later.
    pub from_offset: u64,
    /// Whether the log reaches back to the moment; otherwise these are the messages that it holds.
    pub complete: bool,
    /// Messages accepted.
    pub accepted: u64,
    /// Of these, those that have a row.
    pub written: u64,
    /// Of these, those that are dead letters.
    pub dead_lettered: u64,
    /// Of these, those that are not folded yet.
    pub pending: u64,
    /// The rest: filtered, or purged, erased or expired since.
    pub left_out: u64,
}

/// Where in a topic a moment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The moment.
    pub moment: Micros,
    /// The first message published then or later that the topic holds.
    pub from: Offset,
    /// Whether no earlier message of then or later has been removed from the topic.
    pub complete: bool,
}

impl Since {
    /// Finds the moment, in as many looks as the number of messages has bits.
    #[must_use]
    pub fn find(source: &dyn Source, moment: Micros) -> Self {
        let Bounds { start, end } = source.bounds();
        let is_before = |offset: Offset| source.backlog(offset).1.is_some_and(|published| published < moment);
        let (mut low, mut high) = (start.0, end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(Offset(middle)) { low = middle + 1 } else { high = middle }
        }
        Self { moment, from: Offset(low), complete: low > start.0 || start == Offset::ZERO }
    }
}

pub(super) fn totals(input: &AuditInput<'_>, books: &Books, since: Since) -> SinceTotals {
    let (end, next) = (books.facts.bounds.end, books.ledger.next_offset);
    let from = since.from.min(end);
    let found = scan(input.rows, input.dead_letters, books.identity.topic, from, next);
    let accepted = end.since(from);
    let written = found.rows.unwrap_or(0);
    let dead_lettered = found.dead.unwrap_or(0).saturating_sub(found.in_both.count);
    let pending = end.since(next.max(from));
    SinceTotals {
        since_micros: since.moment.0,
        from_offset: from.0,
        complete: since.complete,
        accepted,
        written,
        dead_lettered,
        pending,
        left_out: accepted.saturating_sub(written + dead_lettered + pending),
    }
}
