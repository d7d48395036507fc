//! Whether the messages of ordering keys come in order.

use std::collections::{BTreeMap, HashMap};

use super::message::Place;

/// What is known of one key.
#[derive(Debug, Default)]
struct Key {
    /// Its messages that came, by offset; whether an ack of each was sent.
    came: BTreeMap<u64, bool>,
    /// The number that has not come yet.
    next_number: u64,
    /// The latest offset on each stream.
    latest: HashMap<u64, u64>,
}

/// All keys of an ordered subscription.
#[derive(Debug, Default)]
pub struct Order {
    keys: HashMap<String, Key>,
    /// Messages that came again after a later one of their key had come.
    pub replays: u64,
}

impl Order {
    /// A message came on a stream. An error says what is wrong: its key was published in order, so it must not
    /// come before its predecessor has; and on one stream nothing may be left out but what was acked.
    pub fn came(&mut self, stream: u64, offset: u64, place: &Place) -> Result<(), String> {
        let key = self.keys.entry(place.key.clone()).or_default();
        let latest = key.latest.insert(stream, offset);
        self.replays += u64::from(key.came.range(offset + 1..).next().is_some());
        key.came.entry(offset).or_insert(false);
        if place.number > key.next_number {
            let (key_name, number, missing) = (&place.key, place.number, key.next_number);
            key.next_number = number + 1;
            return Err(format!("key {key_name}: number {number} came before {missing}"));
        }
        key.next_number = key.next_number.max(place.number + 1);
        let left_out = latest.filter(|latest| *latest < offset).and_then(|latest| {
            key.came.range(latest + 1..offset).find(|(_, is_acked)| !**is_acked).map(|(offset, _)| *offset)
        });
        match left_out {
            Some(left_out) => Err(format!(
                "key {}: offset {offset} came on a stream after {latest:?}, {left_out} between them was not acked",
                place.key
            )),
            None => Ok(()),
        }
    }

    /// An ack of a message is about to be sent.
    pub fn ack_sent(&mut self, offset: u64, place: &Place) {
        if let Some(key) = self.keys.get_mut(&place.key) {
            key.came.insert(offset, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u64) -> Place {
        Place { key: "k".to_owned(), number }
    }

    #[test]
    fn gaps_are_faults_and_replays_are_not() {
        let mut order = Order::default();
        for (offset, number) in [(10, 0), (20, 1), (10, 0), (20, 1), (30, 2)] {
            order.came(1, offset, &place(number)).unwrap();
        }
        assert_eq!(order.replays, 1);
        assert!(order.came(1, 50, &place(4)).is_err(), "3 has not come");
        order.came(2, 10, &place(0)).unwrap();
        assert!(order.came(2, 30, &place(2)).is_err(), "20 was left out");
    }

    #[test]
    fn what_was_acked_may_be_left_out() {
        let mut order = Order::default();
        for (offset, number) in [(10, 0), (20, 1)] {
            order.came(1, offset, &place(number)).unwrap();
        }
        order.ack_sent(20, &place(1));
        order.came(2, 10, &place(0)).unwrap();
        order.came(2, 30, &place(2)).unwrap();
    }

    #[test]
    fn a_batch_that_was_published_twice_is_in_order() {
        let mut order = Order::default();
        for (offset, number) in [(10, 0), (11, 1), (12, 0), (13, 1), (14, 2)] {
            order.came(1, offset, &place(number)).unwrap();
        }
    }
}
