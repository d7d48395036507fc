//! Waiting: always for a condition, always with an end.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Lets time pass. Only for pacing (a retry's backoff, a poll's interval), never as proof that
/// something has happened.
pub fn pause(time: Duration) {
    // Nothing is ever sent, and the sender lives until the call returns, so this ends by timeout only.
    let (_sender, receiver) = mpsc::channel::<()>();
    let _ = receiver.recv_timeout(time);
}

/// Polls until `probe` gives a value; `None` when `limit` has passed first.
pub fn until<T>(limit: Duration, interval: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        pause(interval);
    }
}
