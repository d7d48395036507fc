//! Publishing: messages are checked, appended as they came, and answered when they are durable.

use bytes::Bytes;
use millrace_log::AppendError;
use millrace_model::limits::ORDERING_KEY_BYTES_MAX;
use millrace_model::{AttributeBlock, MessageId, NewMessage, Offset, TopicId};

use crate::error::PubsubError;
use crate::limits::{PUBLISH_BYTES_MAX, PUBLISH_MESSAGES_MAX};
use crate::proto::v1;
use crate::topics::{Named, Topics};

/// Publishes the messages of a request.
pub(crate) async fn publish(
    topics: &Topics,
    request: v1::PublishRequest,
) -> Result<v1::PublishResponse, PubsubError> {
    let Named { topic, intake } = topics.find_named(&request.topic)?;
    let messages = messages(request.messages)?;
    let intake = intake?;
    if intake.takes_all() {
        let appended = topic.append(messages).await.map_err(|error| refusal(&request.topic, &error))?;
        let id = topic.id();
        let ids = appended.offsets.into_iter().map(|offset| MessageId { topic: id, offset }.to_string());
        return Ok(v1::PublishResponse { message_ids: ids.collect() });
    }
    let passed = intake.pass(&request.topic, messages).await?;
    let are_kept: Vec<bool> = passed.iter().map(Option::is_some).collect();
    let messages: Vec<NewMessage> = passed.into_iter().flatten().collect();
    let offsets = match messages.is_empty() {
        true => Vec::new(),
        false => topic.append(messages).await.map_err(|error| refusal(&request.topic, &error))?.offsets,
    };
    message_ids(topic.id(), &are_kept, offsets)
}

/// The ids of a request's messages, in their places. One that was left out has an id, too, as the service
/// gives it one, though no subscriber will ever see it.
fn message_ids(
    topic: TopicId,
    are_kept: &[bool],
    offsets: Vec<Offset>,
) -> Result<v1::PublishResponse, PubsubError> {
    let mut offsets = offsets.into_iter();
    let mut message_ids = Vec::with_capacity(are_kept.len());
    for is_kept in are_kept {
        let offset = if *is_kept { offsets.next() } else { None };
        message_ids.push(match offset {
            Some(offset) => MessageId { topic, offset }.to_string(),
            None => format!("{topic}-left-out-{:016x}", crate::broker::random()?),
        });
    }
    Ok(v1::PublishResponse { message_ids })
}

/// Why an append was not taken, to a publisher. All but the last it may try again.
pub(crate) fn refusal(topic: &str, error: &AppendError) -> PubsubError {
    match error {
        AppendError::Backpressure { .. } => PubsubError::exhausted(format!(
            "{topic}: {error}: a pipeline is behind; publish again later, or raise the topic's bytes_max"
        )),
        AppendError::Unavailable { .. } | AppendError::Closed { .. } => {
            PubsubError::unavailable(format!("{topic}: {error}"))
        }
        AppendError::TooLarge { .. } => PubsubError::invalid(format!("{topic}: {error}")),
    }
}

/// Checks the messages of a request.
///
/// # Errors
/// The rule that one breaks.
pub(crate) fn messages(published: Vec<v1::PubsubMessage>) -> Result<Vec<NewMessage>, PubsubError> {
    if published.is_empty() {
        return Err(PubsubError::invalid("a publish request has at least 1 message, this one has 0"));
    }
    if published.len() > PUBLISH_MESSAGES_MAX {
        let count = published.len();
        let rule =
            format!("a publish request has at most {PUBLISH_MESSAGES_MAX} messages, this one has {count}");
        return Err(PubsubError::invalid(rule));
    }
    let key = published.first().map(|message| message.ordering_key.clone()).unwrap_or_default();
    let (mut messages, mut bytes) = (Vec::with_capacity(published.len()), 0);
    for (index, message) in published.into_iter().enumerate() {
        if message.ordering_key != key {
            return Err(PubsubError::invalid(format!(
                "all messages of a publish request have the same ordering_key, message {index} has another"
            )));
        }
        let message = new_message(index, message)?;
        bytes += message.size_bytes();
        messages.push(message);
    }
    if bytes > PUBLISH_BYTES_MAX {
        return Err(PubsubError::invalid(format!(
            "a publish request has at most {PUBLISH_BYTES_MAX} bytes of messages, this one has {bytes}"
        )));
    }
    Ok(messages)
}

fn new_message(index: usize, message: v1::PubsubMessage) -> Result<NewMessage, PubsubError> {
    let v1::PubsubMessage { data, attributes, ordering_key, .. } = message;
    if data.is_empty() && attributes.is_empty() {
        return Err(PubsubError::invalid(format!(
            "message {index} is empty: a message has data or at least one attribute"
        )));
    }
    if ordering_key.len() > ORDERING_KEY_BYTES_MAX {
        let length = ordering_key.len();
        return Err(PubsubError::invalid(format!(
            "an ordering_key has at most {ORDERING_KEY_BYTES_MAX} bytes, that of message {index} has {length}"
        )));
    }
    if let Some(key) = attributes.keys().find(|key| key.starts_with("goog")) {
        return Err(PubsubError::invalid(format!(
            "an attribute's key does not begin with goog, message {index} has {key:?}"
        )));
    }
    let attributes =
        AttributeBlock::pack(attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .map_err(|error| PubsubError::invalid(format!("message {index}: {error}")))?;
    // A message's data lie in the request's buffer, and are copied once, into the log's frame.
    Ok(NewMessage { data, attributes, ordering_key: Bytes::from(ordering_key), dedup_key: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn message(data: &'static str, key: &str, attributes: &[(&str, &str)]) -> v1::PubsubMessage {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        v1::PubsubMessage {
            data: Bytes::from_static(data.as_bytes()),
            ordering_key: key.to_owned(),
            attributes: attributes.collect::<BTreeMap<_, _>>(),
            ..v1::PubsubMessage::default()
        }
    }

    #[test]
    fn requests_that_break_a_rule_are_told_which() {
        let long = "x".repeat(1025);
        let large = v1::PubsubMessage { data: Bytes::from(vec![0; 6_000_000]), ..message("", "", &[]) };
        for (published, rule) in [
            (vec![], "at least 1 message"),
            (vec![message("a", "", &[]); 1001], "at most 1000 messages"),
            (vec![message("a", "", &[]), message("", "", &[])], "message 1 is empty"),
            (vec![message("a", "k", &[]), message("a", "l", &[])], "the same ordering_key"),
            (vec![message("a", &long, &[])], "at most 1024 bytes"),
            (vec![message("a", "", &[("googclient", "x")])], "does not begin with goog"),
            (vec![message("a", "", &[("k", &long)])], "message 0: "),
            (vec![large.clone(), large], "at most 10000000 bytes"),
        ] {
            let error = messages(published).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.to_string().contains(rule), "{error}");
        }
        let taken = messages(vec![message("", "k", &[("a", "b")]), message("x", "k", &[])]).unwrap();
        assert_eq!((taken.len(), taken[1].ordering_key.as_ref()), (2, &b"k"[..]));
    }
}
