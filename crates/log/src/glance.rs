//! What appends look at before they go into the queue, without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::shared::Shared;

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
    /// Takes note of a new end.
    pub(crate) fn note_end(&self, shared: &Shared) {
        self.stored_end.store(shared.stored_end(), Ordering::Relaxed);
    }

    /// Takes note of everything, after holders, settings or segments changed.
    pub(crate) fn note_all(&self, shared: &Shared) {
        self.note_end(shared);
        let held = shared.held_from().map_or(NOT_HELD, |offset| shared.stored_at(offset));
        self.held_from.store(held, Ordering::Relaxed);
        self.bytes_max.store(shared.config.bytes_max, Ordering::Relaxed);
    }

    /// Bytes that some holder has not folded.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.stored_end.load(Ordering::Relaxed).saturating_sub(self.held_from.load(Ordering::Relaxed))
    }

    /// The topic's byte budget.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Whether the topic is out of work.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn note_stopped(&self, stopped: bool) {
        self.stopped.store(stopped, Ordering::Release);
    }
}
