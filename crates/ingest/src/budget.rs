//! What all requests in hand may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that requests share.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// One request's part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: AtomicUsize::new(0) })
    }

    pub(crate) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    /// How many bytes are taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes `bytes` more. Never waits: requests that hold a part while they wait for more could wait
    /// for each other.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let room = |taken: usize| taken.checked_add(bytes).filter(|&total| total <= self.budget.bytes_max);
        match self.budget.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Exhausted),
        }
    }

    /// How many bytes this request holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives `bytes` back.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(10);
        let mut one = budget.reserve();
        assert_eq!((one.take(6), one.take(5), one.take(4)), (Ok(()), Err(Exhausted), Ok(())));
        let mut two = budget.reserve();
        assert_eq!((two.take(1), two.take(usize::MAX)), (Err(Exhausted), Err(Exhausted)));
        one.give_back(3);
        assert_eq!((two.take(3), budget.bytes()), (Ok(()), 10));
        drop((one, two));
        assert_eq!(budget.bytes(), 0);
    }
}
