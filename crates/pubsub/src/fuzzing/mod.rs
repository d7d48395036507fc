//! What holds of the parsers for any input whatever. Each function takes an input and panics where
//! something does not hold. The targets in `fuzz/` call them with what libFuzzer makes up, the tests here
//! with a few hundred inputs that are the same on every run.
#![allow(clippy::panic)]

#[cfg(test)]
#[path = "../../../../fuzz/mutate.rs"]
mod mutate;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use millrace_model::NewMessage;
use prost::Message;
use tonic::Code;

pub use crate::filter::fuzzing::filter;
pub use crate::schema::fuzzing::{avro, protobuf};

use crate::ack_id;
use crate::error::PubsubError;
use crate::limits::{ERROR_BYTES_MAX, PUBLISH_BYTES_MAX, PUBLISH_MESSAGES_MAX};
use crate::machine::Ticket;
use crate::proto::{from_json, to_json, v1};
use crate::publish;
use crate::serve::rest;

/// A Publish request, as gRPC and as REST send it: what is taken is what was sent, within the limits; what
/// is not is refused as the caller's fault.
pub fn publish(data: &[u8]) {
    if let Ok(request) = v1::PublishRequest::decode(Bytes::copy_from_slice(data)) {
        let again = v1::PublishRequest::decode(request.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&request));
        json_goes_both_ways(&request);
        published(request);
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let topic = "projects/p/topics/t";
    let json = match rest::message(&headers, data, "", (None, "topic"), topic.to_owned()) {
        Ok(json) => json,
        Err(status) => return assert_eq!(status.code(), Code::InvalidArgument),
    };
    match from_json::<v1::PublishRequest>(json) {
        Ok(request) => {
            assert_eq!(request.topic, topic);
            json_goes_both_ways(&request);
            published(request);
        }
        Err(error) => refused(&error),
    }
}

/// A time beyond those that JSON can say has no JSON; anything else has, and is read back from it.
fn json_goes_both_ways(request: &v1::PublishRequest) {
    let has_times = request.messages.iter().any(|message| message.publish_time.is_some());
    match to_json(request) {
        Ok(json) => match from_json::<v1::PublishRequest>(json.clone()) {
            Ok(again) => assert!(has_times || again == *request, "{json}"),
            Err(error) => assert!(has_times, "{json}: {error}"),
        },
        Err(error) => assert!(has_times, "{error}"),
    }
}

fn published(request: v1::PublishRequest) {
    let sent = request.messages.clone();
    let messages = match publish::messages(request.messages) {
        Ok(messages) => messages,
        Err(error) => return refused(&error),
    };
    assert_eq!(messages.len(), sent.len());
    assert!((1..=PUBLISH_MESSAGES_MAX).contains(&messages.len()));
    assert!(messages.iter().map(NewMessage::size_bytes).sum::<usize>() <= PUBLISH_BYTES_MAX);
    for (message, sent) in messages.iter().zip(&sent) {
        assert_eq!(message.data, sent.data);
        assert_eq!(message.ordering_key, messages[0].ordering_key);
        assert_eq!(message.ordering_key, sent.ordering_key.as_bytes());
        let attributes: BTreeMap<&str, &str> = message.attributes.iter().collect();
        assert!(
            attributes.iter().eq(sent
                .attributes
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect::<BTreeMap<_, _>>()
                .iter())
        );
        assert!(!message.data.is_empty() || !attributes.is_empty());
    }
}

/// A refusal is the caller's fault, and fits a header of HTTP.
pub(crate) fn refused(error: &PubsubError) {
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    let bytes = error.to_string().len();
    assert!((1..=ERROR_BYTES_MAX).contains(&bytes), "{bytes} bytes: {error}");
}

/// An ack id: a text that is one is the only text for what it says. One that is made of the input is read
/// as what it was made of, and is none with another letter in any place.
pub fn ack_id(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some((uid, ticket)) = ack_id::read(text)
    {
        assert_eq!(ack_id::write(uid, ticket), text);
    }
    let mut bytes = data.iter().copied().chain(std::iter::repeat(0));
    let uid = u64::from_le_bytes(take(&mut bytes));
    let offset = u64::from_le_bytes(take(&mut bytes));
    let [delivery, epoch, generation] = std::array::from_fn(|_| u32::from_le_bytes(take(&mut bytes)));
    let ticket = Ticket { offset, delivery, epoch, generation };
    let text = ack_id::write(uid, ticket);
    assert_eq!(ack_id::read(&text), Some((uid, ticket)));
    let [at, letter] = take(&mut bytes);
    let at = usize::from(at) % text.len();
    let mut changed = text.clone().into_bytes();
    changed[at] = letter;
    if let Ok(changed) = String::from_utf8(changed)
        && changed != text
    {
        assert_eq!(ack_id::read(&changed), None, "{changed}");
    }
}

fn take<const N: usize>(bytes: &mut impl Iterator<Item = u8>) -> [u8; N] {
    std::array::from_fn(|_| bytes.next().unwrap_or(0))
}
