//! The messages of `google.pubsub.v1`, and their JSON form.
//!
//! `proto/pubsub.desc` is the descriptor set of pubsub.proto and schema.proto with all that they import
//! (`protoc --include_imports --descriptor_set_out`). JSON names, enums, timestamps, durations and masks are
//! read and written by it, as proto3's JSON mapping says.

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, ReflectMessage};
use serde_json::Value;
use serde_path_to_error::Track;

pub(crate) use googleapis_tonic_google_pubsub_v1::google::pubsub::v1;

use crate::error::PubsubError;

static DESCRIPTORS: &[u8] = include_bytes!("../proto/pubsub.desc");

/// A message with its full name, which the generated code does not have.
pub(crate) trait Named: Message + Default + 'static {
    /// For instance `google.pubsub.v1.Topic`.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident)*) => {
        $(impl Named for v1::$message {
            const NAME: &'static str = concat!("google.pubsub.v1.", stringify!($message));
        })*
    };
}

named! {
    Topic UpdateTopicRequest PublishRequest PublishResponse GetTopicRequest ListTopicsRequest ListTopicsResponse
    ListTopicSubscriptionsRequest ListTopicSubscriptionsResponse ListTopicSnapshotsRequest
    ListTopicSnapshotsResponse DeleteTopicRequest DetachSubscriptionRequest DetachSubscriptionResponse
    Subscription GetSubscriptionRequest UpdateSubscriptionRequest ListSubscriptionsRequest
    ListSubscriptionsResponse DeleteSubscriptionRequest ModifyPushConfigRequest PullRequest PullResponse
    ModifyAckDeadlineRequest AcknowledgeRequest CreateSnapshotRequest UpdateSnapshotRequest Snapshot
    GetSnapshotRequest ListSnapshotsRequest ListSnapshotsResponse DeleteSnapshotRequest SeekRequest SeekResponse
    Schema CreateSchemaRequest GetSchemaRequest ListSchemasRequest ListSchemasResponse ListSchemaRevisionsRequest
    ListSchemaRevisionsResponse CommitSchemaRequest RollbackSchemaRequest DeleteSchemaRevisionRequest
    DeleteSchemaRequest ValidateSchemaRequest ValidateSchemaResponse ValidateMessageRequest ValidateMessageResponse
}

impl Named for () {
    const NAME: &'static str = "google.protobuf.Empty";
}

/// The descriptor of a message.
fn descriptor(name: &str) -> Result<MessageDescriptor, PubsubError> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).ok());
    let found = pool.as_ref().and_then(|pool| pool.get_message_by_name(name));
    found.ok_or_else(|| PubsubError::internal(format!("there is no descriptor of {name}")))
}

fn dynamic<M: Named>(message: &M) -> Result<DynamicMessage, PubsubError> {
    let descriptor = descriptor(M::NAME)?;
    let decoded = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    decoded.map_err(|error| PubsubError::internal(format!("{} cannot be reflected: {error}", M::NAME)))
}

fn from_dynamic<M: Named>(message: &DynamicMessage) -> Result<M, PubsubError> {
    let decoded = M::decode(message.encode_to_vec().as_slice());
    decoded.map_err(|error| PubsubError::internal(format!("{} cannot be taken back: {error}", M::NAME)))
}

/// A message as JSON.
pub(crate) fn to_json<M: Named>(message: &M) -> Result<Value, PubsubError> {
    let json = serde_json::to_value(dynamic(message)?);
    json.map_err(|error| PubsubError::internal(format!("{} cannot be written as JSON: {error}", M::NAME)))
}

/// A message from JSON. What is wrong is told with its place.
pub(crate) fn from_json<M: Named>(json: Value) -> Result<M, PubsubError> {
    let descriptor = descriptor(M::NAME)?;
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut track = Track::new();
    let json = serde_path_to_error::Deserializer::new(json, &mut track);
    let message = DynamicMessage::deserialize_with_options(descriptor, json, &options);
    let message = message.map_err(|error| {
        let at = match track.path().to_string().as_str() {
            "." => String::new(),
            path => format!("{path}: "),
        };
        PubsubError::invalid(format!("Invalid JSON payload received. {at}{error}"))
    })?;
    from_dynamic(&message)
}

/// Takes the fields that `paths` name from `from`; what is not set there is cleared.
pub(crate) fn merge<M: Named>(into: &M, from: &M, paths: &[String]) -> Result<M, PubsubError> {
    let (mut merged, from) = (dynamic(into)?, dynamic(from)?);
    for path in paths {
        copy(&mut merged, &from, path)
            .ok_or_else(|| PubsubError::invalid(format!("update_mask names {path:?}, which is no field")))?;
    }
    from_dynamic(&merged)
}

fn copy(into: &mut DynamicMessage, from: &DynamicMessage, path: &str) -> Option<()> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = into.descriptor().get_field_by_name(first)?;
    match rest {
        None if from.has_field(&field) => into.set_field(&field, from.get_field(&field).into_owned()),
        None => into.clear_field(&field),
        Some(rest) => {
            let from = from.get_field(&field);
            // Also makes the parent where there was none.
            copy(into.get_field_mut(&field).as_message_mut()?, from.as_message()?, rest)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_goes_both_ways() {
        let text = json!({
            "name": "projects/p/subscriptions/sub", "topic": "projects/p/topics/top",
            "ackDeadlineSeconds": 20, "labels": {"a": "b"}, "messageRetentionDuration": "604800s",
            "expirationPolicy": {}, "enableMessageOrdering": true,
            "deadLetterPolicy": {"deadLetterTopic": "projects/p/topics/dead", "maxDeliveryAttempts": 7},
            "retryPolicy": {"minimumBackoff": "1.500s", "maximumBackoff": "600s"}, "state": "ACTIVE",
        });
        let subscription: v1::Subscription = from_json(text.clone()).unwrap();
        assert_eq!(subscription.retry_policy.unwrap().minimum_backoff.unwrap().nanos, 500_000_000);
        assert_eq!(to_json(&subscription).unwrap(), text);
        let publish: v1::PublishRequest =
            from_json(json!({"messages": [{"data": "aGVsbG8=", "orderingKey": "k"}]})).unwrap();
        assert_eq!(publish.messages[0].data.as_ref(), b"hello");
        for (bad, place) in [
            (json!({"ackDeadline": 1}), "ackDeadline"),
            (json!({"labels": 3}), "labels: "),
            (json!({"ackDeadlineSeconds": "x"}), "ackDeadlineSeconds: "),
            (json!({"retryPolicy": {"minimumBackoff": "x"}}), "retryPolicy.minimumBackoff: "),
            (json!([]), "received. invalid type"),
        ] {
            let error = from_json::<v1::Subscription>(bad.clone()).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument, "{bad}");
            assert!(error.to_string().contains(place), "{error}");
        }
    }

    #[test]
    fn masks_take_what_they_name() {
        let before: v1::Subscription = from_json(json!({
            "ackDeadlineSeconds": 20, "labels": {"a": "b"},
            "deadLetterPolicy": {"deadLetterTopic": "projects/p/topics/dead", "maxDeliveryAttempts": 7},
        }))
        .unwrap();
        let change: v1::Subscription =
            from_json(json!({"ackDeadlineSeconds": 30, "deadLetterPolicy": {"maxDeliveryAttempts": 9}}))
                .unwrap();
        let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
        let after =
            merge(&before, &change, &paths(&["labels", "dead_letter_policy.max_delivery_attempts"])).unwrap();
        assert_eq!(after.ack_deadline_seconds, 20);
        assert!(after.labels.is_empty());
        let policy = after.dead_letter_policy.unwrap();
        assert_eq!(
            (policy.dead_letter_topic.as_str(), policy.max_delivery_attempts),
            ("projects/p/topics/dead", 9)
        );
        assert!(merge(&before, &change, &paths(&["nothing"])).is_err());
        assert!(merge(&before, &change, &paths(&["ack_deadline_seconds.x"])).is_err());
    }
}
