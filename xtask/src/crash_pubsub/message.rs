//! Messages, each derived wholly from the run's seed and its id, so that what was sent need not be remembered
//! to be compared.

use bytes::Bytes;

use crate::crash::Record;
use crate::pubsub::v1::PubsubMessage;

/// Where an ordered message is: its key, and its number within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The ordering key.
    pub key: String,
    /// Dense from 0, in the order of publishing.
    pub number: u64,
}

/// What a message says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its id.
    pub id: u64,
    /// Where it is in its ordering key, if it has one.
    pub place: Option<Place>,
}

/// Whether the filtered subscription gets it.
pub fn is_odd(id: u64) -> bool {
    id % 2 == 1
}

/// Whether it becomes a dead letter.
pub fn is_bad(id: u64) -> bool {
    id % 37 == 5
}

/// The message of an id.
pub fn message(seed: u64, id: u64, place: Option<&Place>) -> PubsubMessage {
    let mut attributes = std::collections::BTreeMap::from([
        ("id".to_owned(), id.to_string()),
        ("kind".to_owned(), if is_odd(id) { "odd" } else { "even" }.to_owned()),
    ]);
    if let Some(place) = place {
        attributes.insert("number".to_owned(), place.number.to_string());
    }
    PubsubMessage {
        data: Bytes::from(Record::of(seed, id).payload),
        attributes,
        ordering_key: place.map(|place| place.key.clone()).unwrap_or_default(),
        ..PubsubMessage::default()
    }
}

/// Reads a message back; an error when it is not what was sent.
pub fn read(seed: u64, message: &PubsubMessage) -> Result<Told, String> {
    let number = |name: &str| message.attributes.get(name).and_then(|text| text.parse::<u64>().ok());
    let id = number("id").ok_or_else(|| format!("a message without an id: {:?}", message.attributes))?;
    let place = (!message.ordering_key.is_empty())
        .then(|| {
            let number = number("number").ok_or_else(|| format!("id {id} has lost its number"))?;
            Ok::<_, String>(Place { key: message.ordering_key.clone(), number })
        })
        .transpose()?;
    let sent = self::message(seed, id, place.as_ref());
    // A dead letter has more attributes than were sent.
    let attributes_kept =
        sent.attributes.iter().all(|(key, value)| message.attributes.get(key) == Some(value));
    if sent.data != message.data || !attributes_kept {
        let (sent, found) = (sent.data.len(), message.data.len());
        return Err(format!("id {id} has changed ({sent} bytes sent, {found} came)"));
    }
    Ok(Told { id, place })
}

/// The offset that ends a message id (`TOPIC-OFFSET`).
pub fn offset(message_id: &str) -> Option<u64> {
    message_id.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_and_a_changed_one_is_not() {
        let place = Place { key: "k".to_owned(), number: 3 };
        let sent = message(7, 11, Some(&place));
        assert_eq!(read(7, &sent), Ok(Told { id: 11, place: Some(place) }));
        assert!(read(8, &sent).is_err());
        let changed = PubsubMessage { data: Bytes::from_static(b"x"), ..sent };
        assert!(read(7, &changed).is_err());
    }

    #[test]
    fn message_ids_end_in_the_offset() {
        assert_eq!(offset("main-12"), Some(12));
        assert_eq!(offset("12"), None);
    }
}
