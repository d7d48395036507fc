//! What messages go through before they are published: the topic's transforms.

use std::sync::Arc;

use bytes::Bytes;
use millrace_model::{AttributeBlock, Micros, NewMessage, Offset, TopicId};
use millrace_udf::ChildCommand;

use crate::error::PubsubError;
use crate::limits::PUBLISH_BYTES_MAX;
use crate::proto::v1;
use crate::transforms::{Item, Outcome, Transforms};

/// What a topic does to messages before it takes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intake {
    /// As the resource lists them.
    listed: Vec<v1::MessageTransform>,
    transforms: Option<Arc<Transforms>>,
}

impl Intake {
    /// Loads what a topic says; `before` is what it had, and is kept when nothing has changed.
    ///
    /// # Errors
    /// As [`Transforms::load`].
    pub(crate) fn load(
        resource: &v1::Topic,
        child: Option<&ChildCommand>,
        before: Option<&Self>,
    ) -> Result<Self, PubsubError> {
        if let Some(before) = before.filter(|before| before.listed == resource.message_transforms) {
            return Ok(before.clone());
        }
        let transforms = Transforms::load(&resource.message_transforms, child)?;
        Ok(Self { listed: resource.message_transforms.clone(), transforms })
    }

    /// The messages as they are published, each in its place; `None` for one that is left out. All or none:
    /// one that fails fails the request.
    ///
    /// # Errors
    /// When a transform fails, or the messages become too large or take too long.
    pub(crate) async fn pass(
        &self,
        topic: &str,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Option<NewMessage>>, PubsubError> {
        let Some(transforms) = &self.transforms else { return Ok(messages.into_iter().map(Some).collect()) };
        let place = Arc::clone(&transforms.places).acquire_owned().await;
        let place = place.map_err(|error| PubsubError::internal(error.to_string()))?;
        let transforms = Arc::clone(transforms);
        let running = tokio::task::spawn_blocking(move || {
            let now = Micros::now();
            let items = (0..).zip(messages).map(|(index, message)| item(Offset(index), now, message));
            let outcomes = transforms.run(TopicId::NONE, items.collect(), PUBLISH_BYTES_MAX + 1);
            drop(place);
            outcomes
        });
        let outcomes = running.await.map_err(|error| PubsubError::internal(error.to_string()))??;
        let count = |metric: &'static str, count: u64| {
            metrics::counter!(metric, "resource" => topic.to_owned()).increment(count);
        };
        let mut passed = Vec::with_capacity(outcomes.len());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            passed.push(match outcome {
                Outcome::Message(item) => Some(message(item)?),
                Outcome::LeftOut => None,
                Outcome::Failed(reason) => {
                    count("millrace_pubsub_transform_errors_total", 1);
                    return Err(PubsubError::invalid(format!("{topic}: message {index}: {reason}")));
                }
                Outcome::NotReached => {
                    return Err(PubsubError::invalid(format!(
                        "{topic}: its transforms take too long or make more than {PUBLISH_BYTES_MAX} bytes of these messages: publish fewer in one request"
                    )));
                }
            });
        }
        let left_out = passed.iter().filter(|message| message.is_none()).count();
        if left_out > 0 {
            count("millrace_pubsub_transform_left_out_total", left_out as u64);
        }
        Ok(passed)
    }
}

fn item(offset: Offset, publish_time: Micros, message: NewMessage) -> Item {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Item {
        offset,
        publish_time,
        attributes: message.attributes.iter().map(owned).collect(),
        ordering_key: String::from_utf8_lossy(&message.ordering_key).into_owned(),
        data: message.data,
    }
}

fn message(item: Item) -> Result<NewMessage, PubsubError> {
    let pairs = item.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let attributes = AttributeBlock::pack(pairs).map_err(|error| PubsubError::invalid(error.to_string()))?;
    Ok(NewMessage {
        data: item.data,
        attributes,
        ordering_key: Bytes::from(item.ordering_key),
        dedup_key: None,
    })
}
