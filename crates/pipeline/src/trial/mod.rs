//! Trying a new version of a transform on recent messages before it may replace the old one.
//!
//! Nothing here writes: messages are read from the topic, shown to both versions, and what they made of
//! them is compared and forgotten.

mod cells;
mod compare;
#[cfg(test)]
mod tests;
pub(crate) mod workbench;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_model::{MessageBatch, Offset, ReadLimit, Source, SourceError, TransformFactory};
use millrace_table::TableSpec;
use serde::{Deserialize, Serialize};

pub use cells::ColumnChange;
pub(crate) use cells::cut;
pub use compare::{Comparison, Difference, Fates, SAMPLES_MAX};
use workbench::{RUN_MESSAGES_MAX, Workbench};

/// Most payload bytes that are read at once, plus one message.
const READ_BYTES_MAX: usize = 1 << 20;

/// So many more failures than the old version's decide nothing yet: the old one may fail further on.
const HOPELESS_FAILURES_MIN: u64 = 20;

/// On how much a new version is tried, and what is held against it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrialPolicy {
    /// Most messages: the newest of the topic; 0 tries nothing.
    pub messages_max: usize,
    /// Most payload bytes of them together; one larger message is tried all the same.
    pub bytes_max: u64,
    /// Longest time that both versions may take together, to within one run of sixteen messages. A trial
    /// that is cut short is judged by what it saw.
    pub time_max: Duration,
    /// By how much the share of failed messages may rise, 0 to 1.
    pub error_rate_rise_max: f64,
}

impl Default for TrialPolicy {
    fn default() -> Self {
        Self {
            messages_max: 1000,
            bytes_max: 32 << 20,
            time_max: Duration::from_secs(30),
            error_rate_rise_max: 0.0,
        }
    }
}

/// What a trial found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// The two versions side by side.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The first offset that was tried.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Whether it ended early, for want of time or because nothing could save the new version any more.
    pub cut_short: bool,
}

/// Why a new version may not replace the old one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be loaded: the text says why.
    #[error("it cannot be loaded: {0}")]
    NotLoaded(String),
    /// It fails on more messages than the old one.
    #[error(
        "on {messages} recent messages it fails on {new_failed}, the running version on {old_failed}: the \
         error rate may rise by {allowed} at most"
    )]
    ErrorRate {
        /// Messages tried.
        messages: u64,
        /// Failures of the old version.
        old_failed: u64,
        /// Failures of the new version.
        new_failed: u64,
        /// [`TrialPolicy::error_rate_rise_max`].
        allowed: f64,
    },
    /// The trial itself could not be made.
    #[error("it could not be tried: {0}")]
    NotTried(String),
    /// The trial was asked to stop: it says nothing about the version.
    #[error("its trial was interrupted")]
    Interrupted,
}

/// Shows the topic's newest messages to both versions and compares what they make of them. `stop` is asked
/// between two messages.
///
/// # Errors
/// [`Refusal::NotLoaded`] when the new version gives no transform, [`Refusal::NotTried`] when the old one
/// does not, the topic cannot be read, or a transform breaks its contract, [`Refusal::Interrupted`] when
/// `stop` said so.
pub fn trial(
    source: &dyn Source,
    spec: &Arc<TableSpec>,
    old: &Arc<dyn TransformFactory>,
    new: &Arc<dyn TransformFactory>,
    policy: &TrialPolicy,
    stop: &dyn Fn() -> bool,
) -> Result<TrialReport, Refusal> {
    let began = Instant::now();
    let mut new = Workbench::new(Arc::clone(new), Arc::clone(spec)).map_err(Refusal::NotLoaded)?;
    let mut old = Workbench::new(Arc::clone(old), Arc::clone(spec)).map_err(Refusal::NotTried)?;
    let end = source.bounds().end;
    let mut position = newest(source, policy.messages_max as u64, policy.bytes_max);
    let mut report = TrialReport { start: position.0, ..TrialReport::default() };
    while position < end && !report.cut_short {
        if stop() {
            return Err(Refusal::Interrupted);
        }
        let limit = ReadLimit { messages_max: 256, bytes_max: READ_BYTES_MAX, end: Some(end) };
        let mut batch = match source.read(position, limit) {
            Ok(batch) => batch,
            Err(SourceError::Expired { start, .. }) if start > position => {
                position = start;
                continue;
            }
            Err(error) => return Err(Refusal::NotTried(error.to_string())),
        };
        batch.truncate_at(end);
        let Some(next) = batch.next_offset() else { break };
        let batch = Arc::new(batch);
        let go_on = |found: &Comparison| began.elapsed() < policy.time_max && !is_hopeless(found, policy);
        let compared = compare_batch(&mut old, &mut new, &batch, &mut report.comparison, go_on, stop)
            .map_err(Refusal::NotTried)?;
        if stop() {
            return Err(Refusal::Interrupted);
        }
        report.cut_short = compared < batch.len();
        position = if report.cut_short { batch.get(compared).offset } else { next };
    }
    report.end = position.0;
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Whether the new version may replace the old one.
///
/// # Errors
/// [`Refusal::ErrorRate`].
pub fn judge(found: &Comparison, policy: &TrialPolicy) -> Result<(), Refusal> {
    // Rates of the same messages: one more failure is a rise however many there are.
    let rise = found.new.error_rate() - found.old.error_rate();
    if found.new.failed <= found.old.failed || rise <= policy.error_rate_rise_max {
        return Ok(());
    }
    Err(Refusal::ErrorRate {
        messages: found.messages,
        old_failed: found.old.failed,
        new_failed: found.new.failed,
        allowed: policy.error_rate_rise_max,
    })
}

/// Shows a batch to both versions, a few messages at a time, as long as `go_on` says so between the runs
/// and `stop` does not between two messages; answers how many messages were compared.
pub(crate) fn compare_batch(
    old: &mut Workbench,
    new: &mut Workbench,
    batch: &Arc<MessageBatch>,
    found: &mut Comparison,
    go_on: impl Fn(&Comparison) -> bool,
    stop: &dyn Fn() -> bool,
) -> Result<usize, String> {
    let mut from = 0;
    while from < batch.len() && go_on(found) {
        let to = batch.len().min(from + RUN_MESSAGES_MAX);
        let Some(was) = old.run(batch, from..to, stop)? else { break };
        let Some(is) = new.run(batch, from..to, stop)? else { break };
        found.add(batch, from, &was, &is);
        from = to;
    }
    Ok(from)
}

/// Whether the new version would be refused even if every further message spoke for it. A script that
/// loops for ever would else cost its time limit for each of a thousand messages.
fn is_hopeless(found: &Comparison, policy: &TrialPolicy) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let rise_at_best =
        (found.new.failed as f64 - found.old.failed as f64) / (policy.messages_max.max(1) as f64);
    found.new.failed > found.old.failed + HOPELESS_FAILURES_MIN && rise_at_best > policy.error_rate_rise_max
}

/// Where the newest messages begin: `messages_max` at most, and about `bytes_max` of payload.
fn newest(source: &dyn Source, messages_max: u64, bytes_max: u64) -> Offset {
    let bounds = source.bounds();
    let (mut low, mut high) = (bounds.start.0.max(bounds.end.0.saturating_sub(messages_max)), bounds.end.0);
    // The first offset from which what follows fits; the last message is tried however large it is.
    while low < high {
        let middle = low + (high - low) / 2;
        if source.backlog(Offset(middle)).0 <= bytes_max {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let last = bounds.end.0.saturating_sub(u64::from(messages_max > 0));
    Offset(low.min(last).max(bounds.start.0))
}
