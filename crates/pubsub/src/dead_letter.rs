//! A message as it goes to a dead-letter topic: as it was, with where it comes from
//! (<https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic>).

use millrace_model::limits::ATTRIBUTE_VALUE_BYTES_MAX;
use millrace_model::{AttributeBlock, MessageBatch, MessageView, NewMessage};

use crate::names::Name;
use crate::subscription::timestamp;

/// The dead letter of the message at `index` of a batch, which a subscription has delivered so often; with a
/// reason, where there is one to tell.
pub(crate) fn dead_letter(
    batch: &MessageBatch,
    index: usize,
    subscription: &Name,
    deliveries: u32,
    reason: Option<&str>,
) -> NewMessage {
    let MessageView { publish_time, attributes, ordering_key, .. } = batch.get(index);
    let mut extra = vec![
        ("CloudPubSubDeadLetterSourceDeliveryCount", deliveries.to_string()),
        ("CloudPubSubDeadLetterSourceSubscription", subscription.id.clone()),
        ("CloudPubSubDeadLetterSourceSubscriptionProject", subscription.project.clone()),
        ("CloudPubSubDeadLetterSourceTopicPublishTime", timestamp(publish_time).to_string()),
    ];
    let reason =
        reason.map(|reason| reason[..reason.floor_char_boundary(ATTRIBUTE_VALUE_BYTES_MAX)].to_owned());
    extra.extend(reason.map(|reason| ("CloudPubSubDeadLetterSourceDeliveryErrorMessage", reason)));
    let own = attributes.clone().filter(|(key, _)| extra.iter().all(|(other, _)| key != other));
    let all = own.chain(extra.iter().map(|(key, value)| (*key, value.as_str())));
    // A message that has as many attributes as may be goes as it was.
    let packed = AttributeBlock::pack(all).or_else(|_| AttributeBlock::pack(attributes));
    NewMessage {
        data: batch.data(index),
        attributes: packed.unwrap_or_default(),
        ordering_key: bytes::Bytes::copy_from_slice(ordering_key),
        dedup_key: None,
    }
}
