//! How a replay is asked to end early.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A request to stop, looked at between two batches; once made, it stays.
#[derive(Debug, Default)]
pub struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Nothing is asked for yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { asked: Mutex::new(false), changed: Condvar::new() }
    }

    /// Asks.
    pub fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for as long, or until it is asked for; answers whether it was.
    pub fn wait(&self, span: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(asked, span, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
