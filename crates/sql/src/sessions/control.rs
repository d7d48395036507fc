//! What a session is told from outside while it runs: to give up, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Code, SqlError};

/// The outer handle of one session: cancels what runs in it and shortens its time limit.
#[derive(Debug)]
pub struct SessionControl {
    /// Whether a statement is being worked on.
    busy: AtomicBool,
    /// How often something was cancelled.
    cancelled: watch::Sender<u64>,
    /// The client's own time limit in milliseconds; 0: the engine's.
    statement_timeout_ms: AtomicU64,
}

/// Says that a statement is being worked on, until it is dropped.
#[derive(Debug)]
pub struct Busy<'a>(&'a SessionControl);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

/// Hears of cancellations from the moment it was made.
#[derive(Debug)]
pub(crate) struct Cancellation(watch::Receiver<u64>);

impl SessionControl {
    /// A handle for a new session.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            busy: AtomicBool::new(false),
            cancelled: watch::Sender::new(0),
            statement_timeout_ms: AtomicU64::new(0),
        })
    }

    /// To be held while a statement is worked on: only then there is something to cancel.
    #[must_use]
    pub fn busy(&self) -> Busy<'_> {
        self.busy.store(true, Ordering::SeqCst);
        Busy(self)
    }

    /// Ends what the session works on with [`Code::Cancelled`], its cursors too. Without effect on a
    /// session that works on nothing: what it does next is not what somebody wanted cancelled.
    pub fn cancel(&self) {
        if self.busy.load(Ordering::SeqCst) {
            self.cancelled.send_modify(|count| *count += 1);
        }
    }

    /// A time limit below the engine's, for all that starts from now on; `None`: the engine's.
    pub fn set_statement_timeout(&self, timeout: Option<Duration>) {
        let millis = timeout.map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self.statement_timeout_ms.store(millis, Ordering::SeqCst);
    }

    /// The time limit of what starts now, given the engine's.
    #[must_use]
    pub fn statement_timeout(&self, engine: Duration) -> Duration {
        match self.statement_timeout_ms.load(Ordering::SeqCst) {
            0 => engine,
            millis => engine.min(Duration::from_millis(millis)),
        }
    }

    pub(crate) fn cancellation(&self) -> Cancellation {
        Cancellation(self.cancelled.subscribe())
    }
}

impl Cancellation {
    /// Resolves when the session is cancelled.
    pub(crate) async fn cancelled(&mut self) -> SqlError {
        if self.0.changed().await.is_err() {
            // The session is gone, and whoever waits here with it.
            std::future::pending::<()>().await;
        }
        SqlError::new(Code::Cancelled, "canceling statement due to user request")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_runs_is_cancelled() {
        let control = SessionControl::new();
        let mut early = control.cancellation();
        control.cancel();
        assert!(!early.0.has_changed().unwrap());
        {
            let _busy = control.busy();
            control.cancel();
        }
        assert_eq!(early.cancelled().await.code, Code::Cancelled);
        // What starts after it does not hear of it.
        assert!(!control.cancellation().0.has_changed().unwrap());
    }

    #[test]
    fn a_client_shortens_the_time_limit_only() {
        let control = SessionControl::new();
        let engine = Duration::from_secs(60);
        assert_eq!(control.statement_timeout(engine), engine);
        control.set_statement_timeout(Some(Duration::from_secs(5)));
        assert_eq!(control.statement_timeout(engine), Duration::from_secs(5));
        control.set_statement_timeout(Some(Duration::from_secs(500)));
        assert_eq!(control.statement_timeout(engine), engine);
    }
}
