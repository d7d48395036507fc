//! Subscriptions: making, showing, changing, detaching, deleting.

use std::sync::Arc;

use millrace_log::CursorStart;
use millrace_model::{Micros, Offset};

use super::topics::{checked_paths, names_field};
use super::{Broker, cursor_name, random};
use crate::error::PubsubError;
use crate::names::{Kind, Name};
use crate::progress::{Change, Progress};
use crate::proto::{merge, v1};
use crate::registry::SubscriptionRecord;
use crate::subscription::{Parts, Settings, Use, refuse_tags};

/// Fields of a subscription that may change.
const CHANGEABLE: [&str; 13] = [
    "ack_deadline_seconds",
    "bigquery_config",
    "bigtable_config",
    "cloud_storage_config",
    "dead_letter_policy",
    "enable_exactly_once_delivery",
    "expiration_policy",
    "labels",
    "message_retention_duration",
    "message_transforms",
    "push_config",
    "retain_acked_messages",
    "retry_policy",
];

/// How a subscription is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionFigures {
    /// Its name.
    pub name: String,
    /// Messages that are not acked.
    pub backlog_messages: u64,
    /// Of these, those that a subscriber has now.
    pub leased_messages: u64,
    /// Age of the oldest one in seconds; 0 when there is none.
    pub oldest_age_seconds: u64,
}

impl Broker {
    pub(crate) fn create_subscription(
        &self,
        resource: v1::Subscription,
    ) -> Result<v1::Subscription, PubsubError> {
        let name = Name::parse(Kind::Subscription, &resource.name)?;
        refuse_tags(&resource.tags)?;
        let settings = Settings::new(resource, &self.config)?;
        let mut registry = self.registry();
        if registry.resources().subscriptions.contains_key(&name) {
            return Err(PubsubError::exists(&settings.resource.name));
        }
        if registry.resources().subscriptions.len() >= self.config.resources_max {
            return Err(PubsubError::exhausted(format!(
                "there are {} subscriptions, which is the most: delete some",
                self.config.resources_max
            )));
        }
        let topic = self.topics.find(&settings.resource.topic)?;
        self.check_dead_letter_topic(&settings)?;
        self.check_export(registry.resources(), &name, &topic, &settings)?;
        let uid = random()?;
        let cursor_name = cursor_name(Kind::Subscription, uid);
        let cursor = topic.create_cursor(&cursor_name, CursorStart::End, self.cursor_config())?;
        let progress = Progress::at(cursor.position()?.0);
        // Before the name is there: one that has a name has a place.
        let placed = self.acks.commit(uid, vec![Change::Reset(progress.clone())]).wait();
        let (log, resource) = (topic.name().to_owned(), settings.resource.clone());
        let start = settings.export.is_some().then(|| progress.floor());
        let topic_name = Name::parse(Kind::Topic, &resource.topic)?;
        let last_used = Micros::now();
        let record =
            SubscriptionRecord { uid, log, start, last_used: Some(last_used), resource: resource.clone() };
        let made = placed.map_err(PubsubError::from).and_then(|()| {
            registry.change(|resources| {
                resources.subscriptions.insert(name.clone(), record);
                Ok(())
            })
        });
        if let Err(error) = made {
            drop(self.acks.commit(uid, vec![Change::Removed]));
            // What stays is removed at the next start.
            let _ = topic.delete_cursor(&cursor_name);
            return Err(error);
        }
        self.refresh_retention(registry.resources(), &topic_name);
        let parts = Parts { name, uid, topic, settings, progress, cursor: Some(cursor), last_used };
        let subscription = self.start(parts);
        if let Some(start) = start {
            let (topic, settings) = (&subscription.topic, subscription.settings());
            self.open_export(&subscription.name, topic, Offset(start), &settings);
        }
        Ok(self.shown(registry.resources(), resource))
    }

    /// A dead-letter topic is there when it is named. When it is deleted later, dead letters wait for it.
    fn check_dead_letter_topic(&self, settings: &Settings) -> Result<(), PubsubError> {
        match &settings.dead_letter_topic {
            Some(name) => self.topics.find(name).map(|_| ()),
            None => Ok(()),
        }
    }

    pub(crate) fn get_subscription(&self, text: &str) -> Result<v1::Subscription, PubsubError> {
        let name = Name::parse(Kind::Subscription, text)?;
        let registry = self.registry();
        let record = registry.resources().subscriptions.get(&name);
        let resource = record.map(|record| record.resource.clone());
        let shown = resource.map(|resource| self.shown(registry.resources(), resource));
        shown.ok_or_else(|| PubsubError::not_found(text))
    }

    pub(crate) fn update_subscription(
        &self,
        request: v1::UpdateSubscriptionRequest,
    ) -> Result<v1::Subscription, PubsubError> {
        let given = request.subscription.ok_or_else(|| PubsubError::invalid("subscription is not set"))?;
        let paths = checked_paths(request.update_mask, &CHANGEABLE, "a subscription")?;
        let name = Name::parse(Kind::Subscription, &given.name)?;
        let mut registry = self.registry();
        let found = registry.resources().subscriptions.get(&name).cloned();
        let record = found.ok_or_else(|| PubsubError::not_found(&given.name))?;
        let merged = merge(&record.resource, &given, &paths)?;
        let settings = Settings::new(merged, &self.config)?;
        // Its other fields may change also when its dead-letter topic was deleted.
        if names_field(&paths, "dead_letter_policy") {
            self.check_dead_letter_topic(&settings)?;
        }
        let resource = settings.resource.clone();
        if resource.bigquery_config.is_some() != record.resource.bigquery_config.is_some() {
            return Err(PubsubError::precondition(format!(
                "{}: a subscription cannot become a BigQuery subscription, or another kind: delete it, and create it anew",
                resource.name
            )));
        }
        let resources = settings.export.is_some().then(|| registry.resources().clone());
        let change = |start| {
            registry.change(|resources| {
                let record = SubscriptionRecord { start, resource: resource.clone(), ..record.clone() };
                resources.subscriptions.insert(name, record);
                Ok(())
            })
        };
        match resources {
            None => change(record.start)?,
            Some(resources) => self.change_export(&resources, &record, &settings, change)?,
        }
        if let Ok(topic) = Name::parse(Kind::Topic, &resource.topic) {
            self.refresh_retention(registry.resources(), &topic);
        }
        let subscription = self.subscription(&resource.name)?;
        subscription.touch();
        subscription.set_settings(settings);
        Ok(self.shown(registry.resources(), resource))
    }

    pub(crate) fn delete_subscription(&self, text: &str) -> Result<(), PubsubError> {
        let name = Name::parse(Kind::Subscription, text)?;
        let mut registry = self.registry();
        let record = registry.change(|resources| {
            resources.subscriptions.remove(&name).ok_or_else(|| PubsubError::not_found(text))
        })?;
        if let Some(subscription) = self.forget(&name) {
            self.close_export(&subscription);
            subscription.set_use(Use::Deleted);
            subscription.drop_cursor();
        }
        drop(self.acks.commit(record.uid, vec![Change::Removed]));
        self.publish_names(registry.resources());
        if let Ok(topic) = Name::parse(Kind::Topic, &record.resource.topic) {
            self.refresh_retention(registry.resources(), &topic);
        }
        let is_nameless = record.resource.topic == crate::subscription::DELETED_TOPIC;
        self.remove_unused(registry.resources(), is_nameless.then_some(record.log));
        Ok(())
    }

    /// Cuts a subscription off its topic: its messages are gone, and it gets no more.
    pub(crate) fn detach_subscription(&self, text: &str) -> Result<(), PubsubError> {
        let name = Name::parse(Kind::Subscription, text)?;
        let mut registry = self.registry();
        let topic = registry.change(|resources| {
            let record = resources.subscriptions.get_mut(&name);
            let record = record.ok_or_else(|| PubsubError::not_found(text))?;
            record.resource.detached = true;
            Ok(record.resource.topic.clone())
        })?;
        if let Ok(topic) = Name::parse(Kind::Topic, &topic) {
            self.refresh_retention(registry.resources(), &topic);
        }
        let subscription = self.subscription(text)?;
        self.close_export(&subscription);
        subscription.set_use(Use::Detached);
        subscription.drop_cursor();
        Ok(())
    }

    /// How all subscriptions are doing, in order of name.
    #[must_use]
    pub fn figures(&self) -> Vec<SubscriptionFigures> {
        let now = Micros::now();
        let mut all: Vec<SubscriptionFigures> = self
            .all_subscriptions()
            .iter()
            .map(|subscription| {
                let figures = subscription.figures(now);
                SubscriptionFigures {
                    name: subscription.name.to_string(),
                    backlog_messages: figures.backlog_messages,
                    leased_messages: figures.leased_messages,
                    oldest_age_seconds: figures.oldest_age_seconds,
                }
            })
            .collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    /// Does what [`update_subscription`](Self::update_subscription) does to the push settings alone.
    pub(crate) fn modify_push_config(
        self: &Arc<Self>,
        request: v1::ModifyPushConfigRequest,
    ) -> Result<(), PubsubError> {
        let subscription = v1::Subscription {
            name: request.subscription,
            push_config: request.push_config,
            ..v1::Subscription::default()
        };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["push_config".to_owned()] });
        let update = v1::UpdateSubscriptionRequest { subscription: Some(subscription), update_mask };
        self.update_subscription(update).map(|_| ())
    }
}
