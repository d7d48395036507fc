//! Whether an append is taken: sizes, budgets, and whether the topic works at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millrace_model::NewMessage;
use millrace_model::limits::{MESSAGE_BYTES_MAX, ORDERING_KEY_BYTES_MAX};

use crate::AppendError;
use crate::mending::DAMAGE_RETRY;
use crate::queue::{PendingAppend, Refused};
use crate::record::RECORD_OVERHEAD_BYTES;
use crate::shared::Shared;
use crate::sync::lock;
use crate::topic::Topic;

/// When to try again after backpressure: readers and retention need a moment.
const BACKPRESSURE_RETRY: Duration = Duration::from_secs(1);
/// `held_from` when nobody holds the topic.
const NOT_HELD: u64 = u64::MAX;

/// Copies of what is in [`Shared`], for appends to look at without its lock.
#[derive(Debug)]
pub(crate) struct Glance {
    stopped: AtomicBool,
    stored_end: AtomicU64,
    held_from: AtomicU64,
    bytes_max: AtomicU64,
}

impl Default for Glance {
    fn default() -> Self {
        Self {
            stopped: AtomicBool::new(false),
            stored_end: AtomicU64::new(0),
            held_from: AtomicU64::new(NOT_HELD),
            bytes_max: AtomicU64::new(u64::MAX),
        }
    }
}

impl Glance {
    pub(crate) fn note_end(&self, shared: &Shared) {
        self.stored_end.store(shared.stored_end(), Ordering::Relaxed);
    }

    pub(crate) fn note_stopped(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Release);
    }
}

impl Topic {
    /// Puts an append in the queue, or says why not.
    pub(crate) fn enqueue(self: &Arc<Self>, append: PendingAppend) -> Result<(), AppendError> {
        if let Some(refusal) = self.refusal(append.bytes as u64) {
            return Err(refusal);
        }
        match self.queue.push(append, self.config.queue_bytes_max) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.start_writer();
                Ok(())
            }
            Err(Refused::Closed) => Err(AppendError::Closed { topic: self.name.clone() }),
            Err(Refused::Full { bytes }) => Err(self.backpressure(bytes as u64)),
        }
    }

    /// What an append weighs against budgets.
    pub(crate) fn weigh(&self, messages: &[NewMessage]) -> Result<usize, AppendError> {
        let mut sum = 0;
        for (index, message) in messages.iter().enumerate() {
            let over = [
                (message.size_bytes(), MESSAGE_BYTES_MAX),
                (message.ordering_key.len(), ORDERING_KEY_BYTES_MAX),
            ];
            if let Some((bytes, bytes_max)) = over.into_iter().find(|(bytes, bytes_max)| bytes > bytes_max) {
                return Err(AppendError::TooLarge { topic: self.name.clone(), index, bytes, bytes_max });
            }
            sum += message.size_bytes() + RECORD_OVERHEAD_BYTES;
        }
        Ok(sum)
    }

    fn refusal(&self, bytes: u64) -> Option<AppendError> {
        if self.read_only {
            let reason = "the log was opened to read only".to_owned();
            return Some(AppendError::Unavailable {
                topic: self.name.clone(),
                reason,
                retry_after: DAMAGE_RETRY,
            });
        }
        if self.glance.stopped.load(Ordering::Acquire) {
            let failure = lock(&self.shared).failure.clone();
            if let Some(refusal) = failure.and_then(|failure| self.refusal_by(&failure)) {
                return Some(refusal);
            }
        }
        let over = self.over_budget_by(bytes)?;
        // A cursor that holds back too much must not stop ingest.
        let detached = lock(&self.shared).detach_cursors(bytes);
        if detached {
            self.refresh_budget();
            self.over_budget_by(bytes)?;
        }
        Some(self.backpressure(over))
    }

    /// What waits for readers, when that and `bytes` more are over the budget.
    fn over_budget_by(&self, bytes: u64) -> Option<u64> {
        let held_from = self.glance.held_from.load(Ordering::Relaxed);
        let held = self.glance.stored_end.load(Ordering::Relaxed).saturating_sub(held_from);
        let waiting = held + self.queue.bytes() as u64;
        let over = held > 0 && waiting + bytes > self.glance.bytes_max.load(Ordering::Relaxed);
        over.then_some(waiting)
    }

    fn backpressure(&self, backlog_bytes: u64) -> AppendError {
        AppendError::Backpressure { topic: self.name.clone(), backlog_bytes, retry_after: BACKPRESSURE_RETRY }
    }

    /// Brings what appends look at up to date after holders, settings or segments changed.
    pub(crate) fn refresh_budget(&self) {
        let shared = lock(&self.shared);
        self.glance.note_end(&shared);
        let held = shared.held_from().map_or(NOT_HELD, |offset| shared.stored_at(offset));
        self.glance.held_from.store(held, Ordering::Relaxed);
        self.glance.bytes_max.store(shared.config.bytes_max, Ordering::Relaxed);
    }

    pub(crate) fn is_over_budget(&self) -> bool {
        let shared = lock(&self.shared);
        shared.bytes() > shared.config.bytes_max
    }
}
