//! What messages go through before they are published: the topic's transforms, then its schema.

use std::sync::Arc;

use bytes::Bytes;
use millrace_model::{AttributeBlock, Micros, NewMessage, Offset, TopicId};
use millrace_udf::ChildCommand;

use crate::error::PubsubError;
use crate::limits::PUBLISH_BYTES_MAX;
use crate::proto::v1;
use crate::registry::Resources;
use crate::schema::Gate;
use crate::transforms::{Item, Outcome, Transforms};

/// What a topic does to messages before it takes them.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    /// As the resource lists them.
    listed: Vec<v1::MessageTransform>,
    transforms: Option<Arc<Transforms>>,
    gate: Option<Gate>,
}

impl Intake {
    /// Loads what a topic says. What `before` has of the same is kept.
    ///
    /// # Errors
    /// As [`Transforms::load`] and [`Gate::load`].
    pub(crate) fn load(
        resource: &v1::Topic,
        resources: &Resources,
        child: Option<&ChildCommand>,
        before: Option<&Self>,
    ) -> Result<Self, PubsubError> {
        let listed = resource.message_transforms.clone();
        let transforms = match before.filter(|before| before.listed == listed) {
            Some(before) => before.transforms.clone(),
            None => Transforms::load(&listed, child)?,
        };
        let old = before.and_then(|before| before.gate.as_ref());
        let settings = resource.schema_settings.as_ref();
        let gate = settings.map(|settings| Gate::load(settings, resources, old)).transpose()?;
        Ok(Self { listed, transforms, gate })
    }

    /// Whether messages are published as they come.
    pub(crate) fn takes_all(&self) -> bool {
        self.transforms.is_none() && self.gate.is_none()
    }

    /// The messages as they are published, each in its place; `None` for one that is left out. All or none:
    /// one that fails fails the request.
    ///
    /// # Errors
    /// When a transform fails, the messages become too large or take too long, or do not fit the schema.
    pub(crate) async fn pass(
        self: Arc<Self>,
        topic: &str,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Option<NewMessage>>, PubsubError> {
        let place = match &self.transforms {
            Some(transforms) => Arc::clone(&transforms.places).acquire_owned().await.ok(),
            None => None,
        };
        let topic = topic.to_owned();
        let passing = tokio::task::spawn_blocking(move || {
            let transformed = self.transformed(&topic, messages)?;
            drop(place);
            let Some(gate) = &self.gate else { return Ok(transformed) };
            let checked = transformed.into_iter().enumerate().map(|(index, message)| {
                let checked = message.map(|message| gate.pass(message)).transpose();
                checked.map_err(|reason| {
                    count("millrace_pubsub_schema_refusals_total", &topic, 1);
                    PubsubError::invalid(format!("{topic}: message {index}: {reason}"))
                })
            });
            checked.collect()
        });
        passing.await.map_err(|error| PubsubError::internal(error.to_string()))?
    }

    fn transformed(
        &self,
        topic: &str,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<Option<NewMessage>>, PubsubError> {
        let Some(transforms) = &self.transforms else { return Ok(messages.into_iter().map(Some).collect()) };
        let now = Micros::now();
        let items = (0..).zip(messages).map(|(index, message)| item(Offset(index), now, message));
        let outcomes = transforms.run(TopicId::NONE, items.collect(), PUBLISH_BYTES_MAX + 1)?;
        let mut passed = Vec::with_capacity(outcomes.len());
        for (index, outcome) in outcomes.into_iter().enumerate() {
            passed.push(match outcome {
                Outcome::Message(item) => Some(message(item)?),
                Outcome::LeftOut => None,
                Outcome::Failed(reason) => {
                    count("millrace_pubsub_transform_errors_total", topic, 1);
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
            count("millrace_pubsub_transform_left_out_total", topic, left_out as u64);
        }
        Ok(passed)
    }
}

fn count(metric: &'static str, topic: &str, count: u64) {
    metrics::counter!(metric, "resource" => topic.to_owned()).increment(count);
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
