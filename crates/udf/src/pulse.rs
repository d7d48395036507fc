//! What an engine thread and whoever watches it tell each other while JavaScript runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Signals between one engine and its watch, all plain stores and loads: the engine pays two stores
/// per message and reads no clock; the watch does the timing (see `watch.rs`).
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// What the engine is doing: 0 for nothing, else a number that no earlier activity had; odd while
    /// scripts are being loaded, even while a message runs.
    activity: AtomicU64,
    /// The activity that the interrupt handler must stop.
    stop: AtomicU64,
    /// Set when nobody waits for this engine any more: it stops whatever it does.
    abandoned: AtomicBool,
}

/// One activity of an engine, as its watch sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Activity(u64);

impl Activity {
    /// Nothing is running.
    pub const IDLE: Self = Self(0);

    /// Whether scripts are being loaded.
    pub fn is_loading(self) -> bool {
        self.0 % 2 == 1
    }
}

impl Pulse {
    /// The engine starts on the next thing. `counter` is the engine thread's own, so that a number is
    /// never used twice.
    pub fn begin(&self, counter: &mut u64, loading: bool) {
        *counter += 1;
        self.activity.store(*counter * 2 + u64::from(loading), Ordering::Relaxed);
    }

    /// The engine is done with it, or waits for something that is not its fault.
    pub fn idle(&self) {
        self.activity.store(0, Ordering::Relaxed);
    }

    /// What the engine is doing.
    pub fn activity(&self) -> Activity {
        Activity(self.activity.load(Ordering::Relaxed))
    }

    /// Asks the interrupt handler to stop `activity`, and nothing after it.
    pub fn stop(&self, activity: Activity) {
        self.stop.store(activity.0, Ordering::Relaxed);
    }

    /// Nobody waits for the engine any more.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the engine any more.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Whether what runs now is to stop.
    pub fn is_stopped(&self) -> bool {
        let activity = self.activity.load(Ordering::Relaxed);
        (activity != 0 && self.stop.load(Ordering::Relaxed) == activity) || self.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_reaches_one_activity_only() {
        let (pulse, mut counter) = (Pulse::default(), 0);
        assert!(!pulse.is_stopped());
        pulse.begin(&mut counter, false);
        let first = pulse.activity();
        pulse.stop(first);
        assert!(pulse.is_stopped() && !first.is_loading());
        pulse.begin(&mut counter, true);
        assert!(!pulse.is_stopped() && pulse.activity().is_loading());
        pulse.abandon();
        assert!(pulse.is_stopped());
    }
}
