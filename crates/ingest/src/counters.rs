//! What ingest counts, for the metrics endpoint and for the status page.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestCounters {
    /// Requests answered, whatever the answer.
    pub requests: u64,
    /// Messages stored, once for each topic.
    pub accepted: u64,
    /// Messages that were there already.
    pub duplicates: u64,
    /// Records that were refused.
    pub rejected: u64,
    /// Entries that no route took.
    pub unrouted: u64,
    /// Bytes that requests in hand take now.
    pub in_flight_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) unrouted: AtomicU64,
}

fn add(total: &AtomicU64, count: u64) {
    total.fetch_add(count, Ordering::Relaxed);
}

impl Totals {
    pub(crate) fn request(
        &self,
        protocol: &'static str,
        signal: &'static str,
        outcome: &'static str,
        seconds: f64,
    ) {
        add(&self.requests, 1);
        metrics::counter!("millrace_ingest_requests_total", "protocol" => protocol, "signal" => signal, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("millrace_ingest_seconds", "protocol" => protocol, "signal" => signal)
            .record(seconds);
    }

    /// The topics publish these themselves, whatever they come from.
    pub(crate) fn stored(&self, stored: u64, duplicates: u64) {
        add(&self.accepted, stored);
        add(&self.duplicates, duplicates);
    }

    pub(crate) fn rejected(&self, reason: &'static str, count: u64) {
        if count > 0 {
            add(&self.rejected, count);
            metrics::counter!("millrace_records_rejected_total", "reason" => reason).increment(count);
        }
    }

    pub(crate) fn unrouted(&self, count: u64) {
        if count > 0 {
            add(&self.unrouted, count);
            metrics::counter!("millrace_records_unrouted_total").increment(count);
        }
    }

    pub(crate) fn repaired(&self, count: u64) {
        if count > 0 {
            metrics::counter!("millrace_texts_repaired_total", "reason" => "invalid_utf8").increment(count);
        }
    }

    pub(crate) fn snapshot(&self, in_flight_bytes: usize) -> IngestCounters {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        IngestCounters {
            requests: read(&self.requests),
            accepted: read(&self.accepted),
            duplicates: read(&self.duplicates),
            rejected: read(&self.rejected),
            unrouted: read(&self.unrouted),
            in_flight_bytes: in_flight_bytes as u64,
        }
    }
}
