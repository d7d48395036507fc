//! Topics: making, showing, changing, deleting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use millrace_log::TopicConfig;

use super::{Broker, random};
use crate::error::PubsubError;
use crate::intake::Intake;
use crate::names::{Kind, Name};
use crate::proto::{merge, v1};
use crate::registry::{Resources, SubscriptionRecord, TopicRecord};
use crate::schema::DELETED_SCHEMA;
use crate::subscription::{DELETED_TOPIC, check_labels, check_retention, refuse_tags};

/// What the log's names of topics begin with that cannot have their own.
const NAMELESS_PREFIX: &str = "pubsub-topic-";

/// Fields of a topic that may change.
const CHANGEABLE: [&str; 7] = [
    "labels",
    "message_retention_duration",
    "message_storage_policy",
    "kms_key_name",
    "schema_settings",
    "ingestion_data_source_settings",
    "message_transforms",
];

impl Broker {
    pub(crate) fn create_topic(&self, mut resource: v1::Topic) -> Result<v1::Topic, PubsubError> {
        let name = Name::parse(Kind::Topic, &resource.name)?;
        refuse_tags(&resource.tags)?;
        resource.satisfies_pzs = false;
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
            return Ok(self.shown_topic(record));
        }
        self.topics.own(&name).map(|_| own_topic(&name)).ok_or_else(|| PubsubError::not_found(text))
    }

    pub(crate) fn update_topic(&self, request: v1::UpdateTopicRequest) -> Result<v1::Topic, PubsubError> {
        let given = request.topic.ok_or_else(|| PubsubError::invalid("topic is not set"))?;
        let name = Name::parse(Kind::Topic, &given.name)?;
        let paths = checked_paths(request.update_mask, &CHANGEABLE, "a topic")?;
        let mut registry = self.registry();
        let record = self.record_of(registry.resources(), &name, &given.name)?;
        let resource = merge(&self.shown_topic(&record), &given, &paths)?;
        self.check(&resource, registry.resources())?;
        if resource.message_retention_duration.is_some() && self.config.kept_topics.contains(&record.log) {
            return Err(PubsubError::precondition(format!(
                "{name} is filled or read by this server itself, and kept as long as the configuration says: set log.retention_hours, or retention_hours of its [[topic]]"
            )));
        }
        registry.change(|resources| {
            resources
                .topics
                .insert(name.clone(), TopicRecord { log: record.log, resource: resource.clone() });
            Ok(())
        })?;
        self.publish_names(registry.resources());
        self.refresh_retention(registry.resources(), &name);
        Ok(resource)
    }

    /// A topic as it is shown: without what plays no part, though a list says it that was written by an
    /// earlier version, or before the configuration named the topic.
    pub(super) fn shown_topic(&self, record: &TopicRecord) -> v1::Topic {
        v1::Topic {
            message_retention_duration: self.retention_of(record),
            message_storage_policy: None,
            tags: BTreeMap::new(),
            ..record.resource.clone()
        }
    }

    /// How long a topic keeps messages by its own word.
    pub(super) fn retention_of(&self, record: &TopicRecord) -> Option<prost_types::Duration> {
        let is_kept = self.config.kept_topics.contains(&record.log);
        record.resource.message_retention_duration.filter(|_| !is_kept)
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

    /// A topic of the log keeps messages as long as the longest of the configuration, the topic and its
    /// subscriptions says.
    pub(super) fn refresh_retention(&self, resources: &Resources, name: &Name) {
        let Some(record) = resources.topics.get(name) else { return };
        let of_topic = resources.subscriptions.values().filter(|one| one.log == record.log);
        let longest = of_topic.filter_map(wanted_retention).max();
        self.set_retention(record, longest.unwrap_or_default());
    }

    /// The same for all topics: the configuration may be another one than before.
    pub(super) fn refresh_all_retention(&self, resources: &Resources) {
        let mut longest: HashMap<&str, Duration> = HashMap::new();
        for subscription in resources.subscriptions.values() {
            let wanted = wanted_retention(subscription).unwrap_or_default();
            let longest = longest.entry(&subscription.log).or_default();
            *longest = wanted.max(*longest);
        }
        for record in resources.topics.values() {
            self.set_retention(record, longest.get(record.log.as_str()).copied().unwrap_or_default());
        }
    }

    /// Topics that the configuration names keep its settings.
    fn set_retention(&self, record: &TopicRecord, of_subscriptions: Duration) {
        let log = self.topics.log();
        if self.config.kept_topics.contains(&record.log) || log.topic(&record.log).is_none() {
            return;
        }
        let config = self.topic_config(&record.resource, of_subscriptions);
        if let Err(error) = log.create_topic(&record.log, config) {
            tracing::warn!(topic = record.resource.name, %error, "how long a topic keeps messages was not changed; it will be at the next start");
        }
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

/// How long a topic keeps messages for a subscription.
fn wanted_retention(record: &SubscriptionRecord) -> Option<Duration> {
    let wanted = record.resource.message_retention_duration.filter(|_| !record.resource.detached);
    wanted.and_then(|duration| Duration::try_from(duration).ok())
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

/// Whether an update changes a field, or a part of it.
pub(super) fn names_field(paths: &[String], field: &str) -> bool {
    paths.iter().any(|path| path.split('.').next() == Some(field))
}

fn check(resource: &v1::Topic) -> Result<(), PubsubError> {
    check_labels(&resource.labels)?;
    resource.message_retention_duration.as_ref().map(check_retention).transpose()?;
    let what = if resource.ingestion_data_source_settings.is_some() {
        "ingestion_data_source_settings are not served: publish to the topic"
    } else if !resource.kms_key_name.is_empty() {
        "kms_key_name is not served: put the data directory on an encrypted disk"
    } else if resource.message_storage_policy.is_some() {
        "message_storage_policy is not served: messages are stored where the data directory is"
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
