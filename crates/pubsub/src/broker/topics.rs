//! Topics: making, showing, changing, deleting.

use std::sync::Arc;
use std::time::Duration;

use millrace_log::TopicConfig;

use super::{Broker, random};
use crate::error::PubsubError;
use crate::intake::Intake;
use crate::names::{Kind, Name};
use crate::proto::{merge, v1};
use crate::registry::{Resources, TopicRecord};
use crate::schema::DELETED_SCHEMA;
use crate::subscription::{DELETED_TOPIC, check_labels, check_retention};

/// What the log's names of topics begin with that cannot have their own.
const NAMELESS_PREFIX: &str = "pubsub-topic-";

/// Fields of a topic that may change.
const CHANGEABLE: [&str; 8] = [
    "labels",
    "message_retention_duration",
    "message_storage_policy",
    "kms_key_name",
    "schema_settings",
    "ingestion_data_source_settings",
    "message_transforms",
    "tags",
];

impl Broker {
    pub(crate) fn create_topic(&self, mut resource: v1::Topic) -> Result<v1::Topic, PubsubError> {
        let name = Name::parse(Kind::Topic, &resource.name)?;
        let mut registry = self.registry();
        self.check(&resource, registry.resources())?;
        if registry.resources().topics.contains_key(&name) || self.topics.own(&name).is_some() {
            return Err(PubsubError::exists(&resource.name));
        }
        if registry.resources().topics.len() >= self.config.resources_max {
            return Err(PubsubError::exhausted(format!(
                "there are {} topics, which is the most: delete some",
                self.config.resources_max
            )));
        }
        resource.state = v1::topic::State::Active.into();
        let log = self.log_name(&name)?;
        // In the log first: a topic that has no name yet does no harm.
        self.topics.log().create_topic(&log, self.topic_config(&resource, Duration::ZERO))?;
        let record = TopicRecord { log: log.clone(), resource: resource.clone() };
        let changed = registry.change(|resources| {
            resources.topics.insert(name, record);
            Ok(())
        });
        if changed.is_err() {
            self.remove_unused(registry.resources(), [log]);
        }
        changed?;
        self.publish_names(registry.resources());
        Ok(resource)
    }

    pub(crate) fn get_topic(&self, text: &str) -> Result<v1::Topic, PubsubError> {
        let name = Name::parse(Kind::Topic, text)?;
        if let Some(record) = self.registry().resources().topics.get(&name) {
            return Ok(record.resource.clone());
        }
        self.topics.own(&name).map(|_| own_topic(&name)).ok_or_else(|| PubsubError::not_found(text))
    }

    pub(crate) fn update_topic(&self, request: v1::UpdateTopicRequest) -> Result<v1::Topic, PubsubError> {
        let given = request.topic.ok_or_else(|| PubsubError::invalid("topic is not set"))?;
        let name = Name::parse(Kind::Topic, &given.name)?;
        let paths = checked_paths(request.update_mask, &CHANGEABLE, "a topic")?;
        let mut registry = self.registry();
        let record = self.record_of(registry.resources(), &name, &given.name)?;
        let resource = merge(&record.resource, &given, &paths)?;
        self.check(&resource, registry.resources())?;
        registry.change(|resources| {
            resources
                .topics
                .insert(name.clone(), TopicRecord { log: record.log, resource: resource.clone() });
            Ok(())
        })?;
        self.publish_names(registry.resources());
        self.refresh_retention(registry.resources(), &name)?;
        Ok(resource)
    }

    /// Deletes a topic. Its subscriptions stay, with the messages that they have.
    pub(crate) fn delete_topic(&self, text: &str) -> Result<(), PubsubError> {
        let name = Name::parse(Kind::Topic, text)?;
        let mut registry = self.registry();
        let record = self.record_of(registry.resources(), &name, text)?;
        let topic = self.topics.find(text)?;
        let is_own = name.project == self.topics.project() && record.log == name.id;
        if is_own && (self.config.kept_topics.contains(&name.id) || !topic.holds().is_empty()) {
            return Err(PubsubError::precondition(format!(
                "{text} is filled or read by this server itself: take it out of the configuration first"
            )));
        }
        registry.change(|resources| {
            resources.topics.remove(&name);
            for record in resources.subscriptions.values_mut().filter(|one| one.log == record.log) {
                DELETED_TOPIC.clone_into(&mut record.resource.topic);
            }
            for record in resources.snapshots.values_mut().filter(|one| one.log == record.log) {
                DELETED_TOPIC.clone_into(&mut record.resource.topic);
            }
            Ok(())
        })?;
        self.publish_names(registry.resources());
        self.resettle_subscriptions(registry.resources(), &record.log);
        self.remove_unused(registry.resources(), [record.log]);
        Ok(())
    }

    fn check(&self, resource: &v1::Topic, resources: &Resources) -> Result<(), PubsubError> {
        check(resource)?;
        let mut loaded = resource.clone();
        // Its other fields may change all the same.
        loaded.schema_settings.take_if(|settings| settings.schema == DELETED_SCHEMA);
        Intake::load(&loaded, resources, self.config.transform_child.as_ref(), None).map(|_| ())
    }

    /// What the registry has of a topic, or would have.
    fn record_of(&self, resources: &Resources, name: &Name, text: &str) -> Result<TopicRecord, PubsubError> {
        if let Some(record) = resources.topics.get(name) {
            return Ok(record.clone());
        }
        let own = self.topics.own(name).ok_or_else(|| PubsubError::not_found(text))?;
        Ok(TopicRecord { log: own.name().to_owned(), resource: own_topic(name) })
    }

    /// A topic of the log keeps messages as long as the longest of the topic and its subscriptions says.
    /// Topics that the configuration names keep its settings.
    pub(super) fn refresh_retention(&self, resources: &Resources, name: &Name) -> Result<(), PubsubError> {
        let Some(record) = resources.topics.get(name) else { return Ok(()) };
        if self.config.kept_topics.contains(&record.log) {
            return Ok(());
        }
        let of_subscriptions = resources.subscriptions.values().filter(|one| one.log == record.log);
        let longest = of_subscriptions
            .filter_map(|one| one.resource.message_retention_duration)
            .filter_map(|duration| Duration::try_from(duration).ok())
            .max();
        let config = self.topic_config(&record.resource, longest.unwrap_or_default());
        self.topics.log().create_topic(&record.log, config)?;
        Ok(())
    }

    fn topic_config(&self, resource: &v1::Topic, of_subscriptions: Duration) -> TopicConfig {
        let own = resource.message_retention_duration.and_then(|duration| Duration::try_from(duration).ok());
        let longest = self.config.topic.retention_age.max(of_subscriptions).max(own.unwrap_or_default());
        TopicConfig { retention_age: longest, ..self.config.topic.clone() }
    }

    /// The name that a new topic gets in the log: its own in the project that is the log's, else one with
    /// the project's in front, else, when such a name is taken or too long, a made-up one.
    fn log_name(&self, name: &Name) -> Result<String, PubsubError> {
        let wanted = match name.project == self.topics.project() {
            true => name.id.clone(),
            false => format!("{}~{}", name.project, name.id),
        };
        let good = millrace_model::names::resource_name_violation(&wanted).is_none();
        if good && !wanted.starts_with(NAMELESS_PREFIX) && self.topics.log().topic(&wanted).is_none() {
            return Ok(wanted);
        }
        Ok(format!("{NAMELESS_PREFIX}{:016x}", random()?))
    }

    /// Tells subscriptions of a topic what the registry says of them now.
    fn resettle_subscriptions(&self, resources: &Resources, log: &str) {
        for (name, record) in resources.subscriptions.iter().filter(|(_, record)| record.log == log) {
            let settings = crate::subscription::Settings::new(record.resource.clone(), &self.config);
            if let (Ok(subscription), Ok(settings)) = (self.subscription(&name.to_string()), settings) {
                subscription.set_settings(settings);
            }
        }
    }
}

/// A topic of the log that was not made here.
pub(super) fn own_topic(name: &Name) -> v1::Topic {
    let state = v1::topic::State::Active.into();
    v1::Topic { name: name.to_string(), state, ..v1::Topic::default() }
}

/// Which fields an update changes, when it may change them.
pub(super) fn checked_paths(
    mask: Option<prost_types::FieldMask>,
    changeable: &[&str],
    what: &str,
) -> Result<Vec<String>, PubsubError> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(PubsubError::invalid("update_mask is empty: it names the fields to change"));
    }
    let top = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
    if let Some(fixed) = paths.iter().find(|path| !changeable.contains(&top(path).as_str())) {
        return Err(PubsubError::invalid(format!(
            "Invalid update_mask provided in the request: {fixed:?} of {what} cannot be changed; {} can",
            changeable.join(", ")
        )));
    }
    Ok(paths)
}

fn check(resource: &v1::Topic) -> Result<(), PubsubError> {
    check_labels(&resource.labels)?;
    resource.message_retention_duration.as_ref().map(check_retention).transpose()?;
    let what = if resource.ingestion_data_source_settings.is_some() {
        "ingestion_data_source_settings are not served: publish to the topic"
    } else if !resource.kms_key_name.is_empty() {
        "kms_key_name is not served: put the data directory on an encrypted disk"
    } else {
        return Ok(());
    };
    Err(PubsubError::unimplemented(what))
}

/// Blocking work of a request, off the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    broker: &Arc<Broker>,
    work: impl FnOnce(&Arc<Broker>) -> Result<T, PubsubError> + Send + 'static,
) -> Result<T, PubsubError> {
    let broker = Arc::clone(broker);
    let task = tokio::task::spawn_blocking(move || work(&broker));
    task.await.map_err(|error| PubsubError::internal(error.to_string()))?
}
