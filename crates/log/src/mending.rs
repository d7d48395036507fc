//! Going out of work when the disk fails, and when to try again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::shared::Failure;
use crate::sync::lock;
use crate::{AppendError, LogError};

/// When to try again at a topic that only repair by hand can bring back.
pub(crate) const DAMAGE_RETRY: Duration = Duration::from_secs(60);

impl Core {
    /// Puts the topic out of work until it is mended.
    pub(crate) fn stop(&self, error: &LogError) -> AppendError {
        let is_damage = matches!(error, LogError::Corrupt { .. });
        let mut shared = lock(&self.shared);
        let (min, max) = (self.config.repair_backoff_min, self.config.repair_backoff_max);
        shared.backoff = if shared.backoff.is_zero() { min } else { (shared.backoff * 2).min(max) };
        let retry_after = shared.backoff;
        let reason = error.to_string();
        shared.failure =
            Some(Failure { reason: reason.clone(), is_damage, retry_at: Instant::now() + retry_after });
        self.glance.note_stopped(true);
        drop(shared);
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(topic = self.name, %error, "topic is out of work");
        let retry_after = if is_damage { DAMAGE_RETRY } else { retry_after };
        AppendError::Unavailable { topic: self.name.clone(), reason, retry_after }
    }

    /// Whether and when a failed topic should be tried again without an append asking for it.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        if self.config.repair_backoff_min.is_zero() {
            return None;
        }
        lock(&self.shared)
            .failure
            .as_ref()
            .filter(|failure| !failure.is_damage)
            .map(|failure| failure.retry_at)
    }

    /// The answer while a failure is not due for another try.
    pub(crate) fn refusal_by(&self, failure: &Failure) -> Option<AppendError> {
        let left = failure.retry_at.saturating_duration_since(Instant::now());
        if !failure.is_damage && left.is_zero() {
            return None;
        }
        let retry_after = if failure.is_damage { DAMAGE_RETRY } else { left };
        let (topic, reason) = (self.name.clone(), failure.reason.clone());
        Some(AppendError::Unavailable { topic, reason, retry_after })
    }
}
