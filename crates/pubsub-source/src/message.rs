//! What of a received message is kept, and by what it is recognised when it comes again.

use bytes::Bytes;
use google_cloud_pubsub::model::Message;
use millrace_model::limits::ATTRIBUTES_PER_MESSAGE_MAX;
use millrace_model::{AttributeBlock, AttributeError, DedupKey, NewMessage};

/// The attribute that keeps a message's id at the service.
pub const ATTRIBUTE_MESSAGE_ID: &str = "pubsub.message_id";
/// The attribute that keeps when it was published there, as RFC 3339.
pub const ATTRIBUTE_PUBLISH_TIME: &str = "pubsub.publish_time";

/// Makes the messages of one subscription recognisable.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Over the subscription's name, so that only the id is left to hash.
    key: [u8; 32],
}

impl Identity {
    /// The secret is the one that ingest's keys are made with; the purpose keeps them apart.
    pub(crate) fn new(secret: &[u8; 32], subscription: &str) -> Self {
        let purpose = *blake3::keyed_hash(secret, b"pubsub").as_bytes();
        Self { key: *blake3::keyed_hash(&purpose, subscription.as_bytes()).as_bytes() }
    }

    /// The deduplication key of a message. Ids are unique within a topic, and stay the same when a message is
    /// delivered again.
    pub(crate) fn key(&self, message_id: &str) -> DedupKey {
        let mut digest = [0; 16];
        blake3::Hasher::new_keyed(&self.key).update(message_id.as_bytes()).finalize_xof().fill(&mut digest);
        DedupKey(digest)
    }
}

/// A message as the log takes it, and whether there was no room for its id and time among its attributes.
pub(crate) fn new_message(
    identity: &Identity,
    message: Message,
) -> Result<(NewMessage, bool), AttributeError> {
    let published: String = message.publish_time.map(Into::into).unwrap_or_default();
    let own = [(ATTRIBUTE_MESSAGE_ID, message.message_id.as_str()), (ATTRIBUTE_PUBLISH_TIME, &published)];
    // The sender's own attribute of such a name stays: nothing that was sent is changed.
    let own =
        own.into_iter().filter(|(name, value)| !value.is_empty() && !message.attributes.contains_key(*name));
    let own: Vec<(&str, &str)> = own.collect();
    let has_room = message.attributes.len() + own.len() <= ATTRIBUTES_PER_MESSAGE_MAX;
    let mut sent: Vec<(&str, &str)> =
        message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // The client gives them in any order; equal messages should be equal bytes.
    sent.sort_unstable();
    let attributes = AttributeBlock::pack(sent.into_iter().chain(own.into_iter().filter(|_| has_room)))?;
    let dedup_key = identity.key(&message.message_id);
    let new = NewMessage {
        data: message.data,
        attributes,
        ordering_key: Bytes::from(message.ordering_key),
        // An emulator that gives no ids must not have all its messages taken for one.
        dedup_key: (!message.message_id.is_empty()).then_some(dedup_key),
    };
    Ok((new, !has_room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new(&[7; 32], "projects/p/subscriptions/sub")
    }

    fn message() -> Message {
        Message::new()
            .set_data("payload")
            .set_message_id("42")
            .set_ordering_key("key")
            .set_attributes([("b", "2"), ("a", "1")])
            .set_publish_time(google_cloud_wkt::Timestamp::clamp(1_700_000_000, 500_000_000))
    }

    #[test]
    fn everything_of_a_message_is_kept() {
        let (new, left_out) = new_message(&identity(), message()).unwrap();
        assert_eq!((&new.data[..], &new.ordering_key[..]), (&b"payload"[..], &b"key"[..]));
        let attributes: Vec<_> = new.attributes.iter().collect();
        assert_eq!(
            attributes,
            [
                ("a", "1"),
                ("b", "2"),
                ("pubsub.message_id", "42"),
                ("pubsub.publish_time", "2023-11-14T22:13:20.5Z")
            ]
        );
        assert!(!left_out);
    }

    #[test]
    fn what_was_sent_is_never_changed() {
        let sent = message().set_attributes([("pubsub.message_id", "mine")]);
        let (new, _) = new_message(&identity(), sent).unwrap();
        assert_eq!(new.attributes.iter().next(), Some(("pubsub.message_id", "mine")));
        assert_eq!(new.dedup_key, Some(identity().key("42")));

        let many = (0..99).map(|number| (format!("a{number}"), "v"));
        let (new, left_out) = new_message(&identity(), message().set_attributes(many)).unwrap();
        assert_eq!((new.attributes.iter().count(), left_out), (99, true));
        let too_many = (0..101).map(|number| (format!("a{number}"), "v"));
        assert_eq!(
            new_message(&identity(), message().set_attributes(too_many)).unwrap_err(),
            AttributeError::TooMany
        );
    }

    #[test]
    fn keys_tell_subscriptions_and_messages_apart() {
        let key = identity().key("42");
        assert_eq!(key, identity().key("42"));
        assert_ne!(key, identity().key("43"));
        assert_ne!(key, Identity::new(&[7; 32], "projects/p/subscriptions/other").key("42"));
        assert_ne!(key, Identity::new(&[8; 32], "projects/p/subscriptions/sub").key("42"));
        let (new, _) = new_message(&identity(), message().set_message_id("")).unwrap();
        assert_eq!(new.dedup_key, None);
    }
}
