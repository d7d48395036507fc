//! What the only subscriber of a subscription knows of it, and so what may come again after a restart, and
//! must after a seek.

use std::collections::HashSet;

/// What is done with: for certain, or perhaps.
#[derive(Debug, Clone, Default)]
struct Done {
    /// The ack was answered.
    acked: HashSet<u64>,
    /// The ack's answer was lost.
    perhaps: HashSet<u64>,
}

/// The ledger of one subscription with one subscriber. Messages are named by their offsets.
#[derive(Debug, Default)]
pub struct Ledger {
    done: Done,
    known: HashSet<u64>,
    owed: HashSet<u64>,
    snapshot: Option<Done>,
}

impl Ledger {
    /// A message came. `false` when it must not have: its ack was answered, and nothing was sought since.
    #[must_use]
    pub fn came(&mut self, offset: u64) -> bool {
        self.known.insert(offset);
        self.owed.remove(&offset);
        // It came again, so the ack whose answer was lost was not taken.
        self.done.perhaps.remove(&offset);
        !self.done.acked.contains(&offset)
    }

    /// An ack was answered.
    pub fn acked(&mut self, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            self.done.perhaps.remove(&offset);
            self.done.acked.insert(offset);
        }
    }

    /// The answer of an ack was lost.
    pub fn perhaps_acked(&mut self, offsets: impl IntoIterator<Item = u64>) {
        self.done.perhaps.extend(offsets);
    }

    /// There is a snapshot of how things are.
    pub fn snapshot_taken(&mut self) {
        self.snapshot = Some(self.done.clone());
    }

    /// The subscription went back to the snapshot. Gives how many messages must come again that had been acked.
    pub fn sought_snapshot(&mut self) -> usize {
        self.sought(self.snapshot.clone().unwrap_or_default())
    }

    /// The subscription went back to before its first message.
    pub fn sought_beginning(&mut self) -> usize {
        self.sought(Done::default())
    }

    fn sought(&mut self, to: Done) -> usize {
        let again = self.done.acked.iter().filter(|offset| !to.acked.contains(offset)).count();
        self.done = to;
        let is_open =
            |offset: &&u64| !self.done.acked.contains(offset) && !self.done.perhaps.contains(offset);
        self.owed = self.known.iter().filter(is_open).copied().collect();
        again
    }

    /// What must come again since the last seek, and has not yet.
    pub fn owed(&self) -> &HashSet<u64> {
        &self.owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_was_open_at_the_snapshot_comes_again() {
        let mut ledger = Ledger::default();
        assert!((0..4).all(|offset| ledger.came(offset)));
        ledger.acked([0]);
        ledger.perhaps_acked([1]);
        ledger.snapshot_taken();
        ledger.acked([2]);
        assert!(ledger.came(4));
        assert!(!ledger.came(2), "it was acked");
        assert_eq!(ledger.sought_snapshot(), 1);
        let mut owed: Vec<u64> = ledger.owed().iter().copied().collect();
        owed.sort_unstable();
        assert_eq!(owed, [2, 3, 4]);
        assert!(ledger.came(2) && ledger.came(1), "1 may have been acked, or not");
        assert!(!ledger.came(0), "it was acked at the snapshot");
        ledger.acked([2]);
        assert!(!ledger.came(2));
        assert_eq!(ledger.sought_beginning(), 2);
        assert_eq!(ledger.owed().len(), 5);
    }

    #[test]
    fn an_ack_whose_answer_was_lost_is_settled_when_the_message_comes_again() {
        let mut ledger = Ledger::default();
        assert!(ledger.came(0));
        ledger.perhaps_acked([0]);
        assert!(ledger.came(0));
        ledger.snapshot_taken();
        ledger.sought_snapshot();
        assert_eq!(ledger.owed().len(), 1);
    }
}
