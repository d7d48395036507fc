//! Which delivery of a message was acked.

use std::collections::{HashMap, VecDeque};

/// How many acks a subscription remembers.
const ACKS_MAX: usize = 10_000;

/// The latest acks of an exactly-once subscription. With them, an ack that is sent again (the answer to the first may
/// be lost) is told from one of a delivery that did not count any more.
#[derive(Debug, Default)]
pub(super) struct Acked {
    deliveries: HashMap<u64, u32>,
    /// The oldest comes first.
    order: VecDeque<u64>,
}

impl Acked {
    /// A message was acked, by this delivery of it.
    pub(super) fn add(&mut self, offset: u64, delivery: u32) {
        if self.order.len() == ACKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.deliveries.remove(&oldest);
        }
        if self.deliveries.insert(offset, delivery).is_none() {
            self.order.push_back(offset);
        }
    }

    /// The delivery that was acked, while it is remembered.
    pub(super) fn delivery_of(&self, offset: u64) -> Option<u32> {
        self.deliveries.get(&offset).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut acked = Acked::default();
        let count = ACKS_MAX as u64 + 2;
        (0..count).for_each(|offset| acked.add(offset, 1));
        assert_eq!(
            (acked.delivery_of(1), acked.delivery_of(2), acked.delivery_of(count - 1)),
            (None, Some(1), Some(1))
        );
        assert_eq!((acked.order.len(), acked.deliveries.len()), (ACKS_MAX, ACKS_MAX));
    }
}
