//! What is known of a message beside its payload, for UDFs that look at it.

use millrace_model::{MessageId, MessageView, Micros, TopicId};

/// The parts of a message that a single message transform and a frozen clock need, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub id: MessageId,
    pub publish_time: Micros,
    /// Empty when there is none.
    pub ordering_key: String,
    pub attributes: Vec<(String, String)>,
}

impl Envelope {
    /// The envelope of a message of `topic`.
    pub fn of(topic: TopicId, message: &MessageView<'_>) -> Self {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            id: MessageId { topic, offset: message.offset },
            publish_time: message.publish_time,
            // The log takes ordering keys that are UTF-8 only.
            ordering_key: String::from_utf8_lossy(message.ordering_key).into_owned(),
            attributes: message.attributes.clone().map(owned).collect(),
        }
    }
}

/// One message on its way into an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub text: &'a str,
    /// Only where the UDF looks at it.
    pub envelope: Option<&'a Envelope>,
}
