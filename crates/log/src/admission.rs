//! Whether an append is taken: sizes, budgets, and whether the topic works at all.

use std::time::Duration;

use millrace_model::NewMessage;
use millrace_model::limits::{MESSAGE_BYTES_MAX, ORDERING_KEY_BYTES_MAX};

use crate::AppendError;
use crate::core::Core;
use crate::mending::DAMAGE_RETRY;
use crate::queue::{PendingAppend, Refused};
use crate::record::RECORD_OVERHEAD_BYTES;
use crate::sync::lock;

/// When to try again after backpressure: readers and retention need a moment.
const BACKPRESSURE_RETRY: Duration = Duration::from_secs(1);
impl Core {
    /// Puts an append in the queue, or says why not; answers whether a writer has to be started for it.
    pub(crate) fn admit(&self, append: PendingAppend) -> Result<bool, AppendError> {
        if let Some(refusal) = self.refusal(append.bytes as u64) {
            return Err(refusal);
        }
        match self.queue.push(append, self.config.queue_bytes_max) {
            Ok(start_writer) => Ok(start_writer),
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
        if self.glance.is_stopped() {
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
        let held = self.glance.held_bytes();
        let waiting = held + self.queue.bytes() as u64;
        let over = held > 0 && waiting + bytes > self.glance.bytes_max();
        over.then_some(waiting)
    }

    fn backpressure(&self, backlog_bytes: u64) -> AppendError {
        AppendError::Backpressure { topic: self.name.clone(), backlog_bytes, retry_after: BACKPRESSURE_RETRY }
    }

    /// Brings what appends look at up to date after holders, settings or segments changed.
    pub(crate) fn refresh_budget(&self) {
        self.glance.note_all(&lock(&self.shared));
    }

    pub(crate) fn is_over_budget(&self) -> bool {
        let shared = lock(&self.shared);
        shared.bytes() > shared.config.bytes_max
    }
}
