//! Counters of one UDF, over all its transforms, or of several versions of it together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millrace_model::ErrorClass;

use crate::console::Throttle;

/// What has happened so far. Everything only grows, except `engines_abandoned_live`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UdfStats {
    /// Messages given to the UDF, those that are not UTF-8 included.
    pub calls: u64,
    /// Messages that became a row.
    pub rows: u64,
    /// Messages that the UDF left out.
    pub filtered: u64,
    /// Dead letters by class, those whose result was not a row of the table included.
    pub failures: Vec<(ErrorClass, u64)>,
    /// Messages stopped for their time: the interrupted, and those of abandoned engines.
    pub timeouts: u64,
    /// Engines given up because they were stuck in a native function.
    pub engines_abandoned: u64,
    /// Of those, how many are still stuck.
    pub engines_abandoned_live: u64,
    /// Engines built anew: after a limit, or because scripts had left too much in their globals.
    pub engine_rebuilds: u64,
    /// Messages run again on a new engine because the old one's heap was full of earlier leavings.
    pub memory_retries: u64,
    /// Times a child process was started.
    pub child_starts: u64,
    /// Times no engine or child could be started at once, and a transform waited.
    pub start_failures: u64,
    /// Calls of `console.*` and `print`.
    pub console_calls: u64,
    /// Of those, how many were not written to the log because of its rate limit.
    pub console_lines_dropped: u64,
    /// Messages without a payload that were left out. The template loses them without a count.
    pub empty_payloads_filtered: u64,
    /// Payloads that were not UTF-8 and got U+FFFD where they were not, as the template does it.
    pub payloads_repaired: u64,
    /// Messages whose attributes a single message transform changed. A table has no place for attributes,
    /// so the change went nowhere.
    pub attribute_changes_dropped: u64,
    /// Messages after which more promise jobs were waiting than are run; they went with their engine.
    pub job_overflows: u64,
    /// Messages that the native plan answered, without the engine.
    pub planned: u64,
    /// Messages that the native plan left to the engine, for what is rare in them.
    pub plan_fallbacks: u64,
}

/// The counters of several versions of a UDF together, see [`Udf::load_counting`](crate::Udf::load_counting).
#[derive(Debug, Clone, Default)]
pub struct UdfCounters(pub(crate) Arc<Counters>);

impl UdfCounters {
    /// All counters as they are now.
    #[must_use]
    pub fn stats(&self) -> UdfStats {
        self.0.snapshot()
    }
}

/// The classes a message of a UDF can fail with, in the order of [`Counters::failures`].
pub(crate) const CLASSES: [ErrorClass; 12] = [
    ErrorClass::InvalidUtf8,
    ErrorClass::UdfThrew,
    ErrorClass::UdfTimeout,
    ErrorClass::UdfMemory,
    ErrorClass::UdfStack,
    ErrorClass::UdfResultType,
    ErrorClass::InvalidJson,
    ErrorClass::UnknownField,
    ErrorClass::MissingField,
    ErrorClass::InvalidValue,
    ErrorClass::TooLarge,
    ErrorClass::SinkRejected,
];

/// The live counters behind [`UdfStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub calls: AtomicU64,
    pub rows: AtomicU64,
    pub filtered: AtomicU64,
    failures: [AtomicU64; CLASSES.len()],
    pub engines_abandoned: AtomicU64,
    pub engines_abandoned_live: AtomicU64,
    pub engine_rebuilds: AtomicU64,
    pub memory_retries: AtomicU64,
    pub child_starts: AtomicU64,
    pub start_failures: AtomicU64,
    pub console_calls: AtomicU64,
    pub console_lines_dropped: AtomicU64,
    pub console_rate: Throttle,
    pub empty_payloads_filtered: AtomicU64,
    pub payloads_repaired: AtomicU64,
    pub attribute_changes_dropped: AtomicU64,
    pub job_overflows: AtomicU64,
    pub planned: AtomicU64,
    pub plan_fallbacks: AtomicU64,
}

/// Adds to a counter. Counters order nothing, so relaxed is enough.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    /// Counts a dead letter.
    pub fn failed(&self, class: ErrorClass) {
        if let Some(position) = CLASSES.iter().position(|known| *known == class) {
            add(&self.failures[position], 1);
        }
    }

    /// All counters as they are now.
    pub fn snapshot(&self) -> UdfStats {
        let failures = CLASSES.iter().zip(&self.failures).map(|(class, count)| (*class, get(count)));
        let failures: Vec<_> = failures.filter(|(_, count)| *count > 0).collect();
        let timeouts = failures.iter().find(|(class, _)| *class == ErrorClass::UdfTimeout);
        UdfStats {
            calls: get(&self.calls),
            rows: get(&self.rows),
            filtered: get(&self.filtered),
            timeouts: timeouts.map_or(0, |(_, count)| *count),
            failures,
            engines_abandoned: get(&self.engines_abandoned),
            engines_abandoned_live: get(&self.engines_abandoned_live),
            engine_rebuilds: get(&self.engine_rebuilds),
            memory_retries: get(&self.memory_retries),
            child_starts: get(&self.child_starts),
            start_failures: get(&self.start_failures),
            console_calls: get(&self.console_calls),
            console_lines_dropped: get(&self.console_lines_dropped),
            empty_payloads_filtered: get(&self.empty_payloads_filtered),
            payloads_repaired: get(&self.payloads_repaired),
            attribute_changes_dropped: get(&self.attribute_changes_dropped),
            job_overflows: get(&self.job_overflows),
            planned: get(&self.planned),
            plan_fallbacks: get(&self.plan_fallbacks),
        }
    }
}
