//! BigQuery subscriptions: handed to whoever writes them, and taken back.

use std::path::Path;
use std::sync::Arc;

use millrace_disk::Disk;
use millrace_log::Topic;
use millrace_model::Offset;

use super::Broker;
use crate::acklog::Commit;
use crate::error::PubsubError;
use crate::export::{Export, ExportFault, with_state};
use crate::names::{Kind, Name};
use crate::proto::v1;
use crate::registry::{Registry, RegistryError, Resources, SubscriptionRecord};
use crate::subscription::{Settings, Subscription, table_of};

/// A BigQuery subscription as it is written down, for who only reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRecord {
    /// Its whole name.
    pub subscription: String,
    /// Its topic's name in the log.
    pub topic: String,
    /// The first message that its table is to have.
    pub start: Offset,
    /// The table, `dataset.table`.
    pub table: String,
    /// As `bigquery_config` has it.
    pub use_table_schema: bool,
    /// As `bigquery_config` has it.
    pub write_metadata: bool,
    /// As `bigquery_config` has it.
    pub drop_unknown_fields: bool,
}

/// The BigQuery subscriptions of a server's state in `directory`, detached ones left out, whether or not it
/// runs.
///
/// # Errors
/// When the list of resources cannot be read.
pub fn export_records(disk: Arc<dyn Disk>, directory: &Path) -> Result<Vec<ExportRecord>, RegistryError> {
    let registry = Registry::open(disk, directory)?;
    let all = registry.resources().subscriptions.iter().filter(|(_, record)| !record.resource.detached);
    let export = |(name, record): (&Name, &SubscriptionRecord)| {
        let config = record.resource.bigquery_config.as_ref()?;
        Some(ExportRecord {
            subscription: name.to_string(),
            topic: record.log.clone(),
            start: Offset(record.start.unwrap_or_default()),
            table: table_of(&config.table).ok()?.1,
            use_table_schema: config.use_table_schema,
            write_metadata: config.write_metadata,
            drop_unknown_fields: config.drop_unknown_fields,
        })
    };
    Ok(all.filter_map(export).collect())
}

/// A message has one row in a table, also when the subscription that came first cannot write just now.
fn must_be_only(resources: &Resources, name: &Name, export: &Export) -> Result<(), ExportFault> {
    let writes = |record: &SubscriptionRecord| {
        let config = record.resource.bigquery_config.as_ref().filter(|_| !record.resource.detached);
        let table = config.and_then(|config| table_of(&config.table).ok());
        record.log == export.topic.name() && table.is_some_and(|(_, table)| table == export.table)
    };
    match resources.subscriptions.iter().find(|(other, record)| *other != name && writes(record)) {
        None => Ok(()),
        Some((other, _)) => Err(ExportFault::PermissionDenied(format!(
            "subscription {other} writes the messages of {} to table {} already",
            export.topic.name(),
            export.table
        ))),
    }
}

impl Broker {
    /// Fails when a subscription would be written and cannot be.
    pub(super) fn check_export(
        &self,
        resources: &Resources,
        name: &Name,
        topic: &Arc<Topic>,
        settings: &Settings,
    ) -> Result<(), PubsubError> {
        let export = Export::new(name, Arc::clone(topic), Offset::ZERO, settings, &self.topics);
        let (Some(exporter), Some(export)) = (self.config.exports.exporter(), export) else {
            return Ok(());
        };
        must_be_only(resources, name, &export)?;
        // Each dead letter would be one again, without end and as fast as the disk is.
        if export.dead_letters.as_ref().is_some_and(|letters| letters.name() == settings.resource.topic) {
            return Err(PubsubError::invalid(format!(
                "dead_letter_policy.dead_letter_topic {} is the subscription's own topic: choose another",
                settings.resource.topic
            )));
        }
        Ok(exporter.check(&export)?)
    }

    /// Tries again to have those written that could not be, for a table that was not there may be by now.
    pub(super) fn retry_exports(&self) {
        let Some(exporter) = self.config.exports.exporter() else { return };
        // No such subscription is changed meanwhile.
        let registry = self.registry();
        for (name, record) in &registry.resources().subscriptions {
            let text = name.to_string();
            if record.resource.bigquery_config.is_none()
                || record.resource.detached
                || exporter.position(&text).is_some()
            {
                continue;
            }
            let Ok(subscription) = self.subscription(&text) else { continue };
            let start = record.start.unwrap_or_else(|| subscription.progress_floor());
            let (topic, settings) = (Arc::clone(&subscription.topic), subscription.settings());
            let Some(export) = Export::new(name, topic, Offset(start), &settings, &self.topics) else {
                continue;
            };
            if exporter.check(&export).is_ok() {
                exporter.open(export);
                if exporter.state(&text).is_ok() {
                    tracing::info!(subscription = %name, "a BigQuery subscription is written again");
                }
            }
        }
    }

    /// What is written by now counts as acked, durably. Called when nothing is written any more.
    pub fn settle_exports(&self) {
        self.all_subscriptions().iter().for_each(|subscription| self.close_export(subscription));
    }

    /// Has a subscription written from `start` on, if it is one that is.
    pub(super) fn open_export(&self, name: &Name, topic: &Arc<Topic>, start: Offset, settings: &Settings) {
        if settings.resource.detached {
            return;
        }
        let export = Export::new(name, Arc::clone(topic), start, settings, &self.topics);
        if let (Some(exporter), Some(export)) = (self.config.exports.exporter(), export) {
            exporter.open(export);
            if let Err(fault) = exporter.state(&name.to_string()) {
                tracing::error!(subscription = %name, %fault, "a BigQuery subscription is not written");
            }
        }
    }

    /// Has a subscription written no more; what is written counts as acked.
    pub(super) fn close_export(&self, subscription: &Subscription) {
        if let (Some(exporter), true) =
            (self.config.exports.exporter(), subscription.settings().export.is_some())
            && let Some(position) = exporter
                .close(&subscription.name.to_string())
                .or_else(|| self.written(subscription, &subscription.settings()).ok().flatten())
            && let Some(Err(error)) = subscription.done_before(position).map(Commit::wait)
        {
            // Its table knows better.
            tracing::warn!(subscription = %subscription.name, %error, "how far it is was not written down");
        }
    }

    /// How far the table of these settings has the messages of the subscription's topic, as it says itself.
    fn written(
        &self,
        subscription: &Subscription,
        settings: &Settings,
    ) -> Result<Option<Offset>, PubsubError> {
        let topic = Arc::clone(&subscription.topic);
        let export = Export::new(&subscription.name, topic, Offset::ZERO, settings, &self.topics);
        match (self.config.exports.exporter(), export) {
            (Some(exporter), Some(export)) => Ok(exporter.written(&export)?),
            _ => Ok(None),
        }
    }

    /// A table goes on where its own position is: what is open here before that would be in no table.
    fn must_not_be_behind(&self, subscription: &Subscription, to: &Settings) -> Result<(), PubsubError> {
        let position = self.written_up_to(subscription);
        // A table that it has just come to says so with its first commit only.
        let here = subscription.progress_floor().max(position.map_or(0, |position| position.0));
        match self.written(subscription, to)? {
            Some(there) if there.0 > here => Err(PubsubError::precondition(format!(
                "{}: an earlier subscription has written this topic's messages before offset {there} to that table, \
                 and this one is at {here}: wait until it has come there, or choose another table",
                subscription.name
            ))),
            _ => Ok(()),
        }
    }

    /// How far a BigQuery subscription is written by a pipeline that is there.
    pub(super) fn written_up_to(&self, subscription: &Subscription) -> Option<Offset> {
        subscription.settings().export.as_ref()?;
        self.config.exports.exporter()?.position(&subscription.name.to_string())
    }

    /// What is written is done with.
    pub(super) fn follow_export(&self, subscription: &Subscription) {
        if let Some(position) = self.written_up_to(subscription) {
            // It is in use, though nothing may be published for a long time.
            subscription.touch();
            // Nobody waits: what is lost in a crash, the table says again.
            drop(subscription.done_before(position));
        }
    }

    /// A resource as it is shown.
    pub(super) fn shown(&self, resources: &Resources, mut resource: v1::Subscription) -> v1::Subscription {
        let topic = Name::parse(Kind::Topic, &resource.topic).ok();
        let topic = topic.and_then(|topic| resources.topics.get(&topic));
        resource.topic_message_retention_duration = topic.and_then(|record| self.retention_of(record));
        with_state(resource, &self.config.exports)
    }

    /// Changes a BigQuery subscription. It stops before the change and goes on behind it where it was, with
    /// another table from there.
    pub(super) fn change_export(
        &self,
        resources: &Resources,
        record: &SubscriptionRecord,
        settings: &Settings,
        change: impl FnOnce(Option<u64>) -> Result<(), PubsubError>,
    ) -> Result<(), PubsubError> {
        let subscription = self.subscription(&record.resource.name)?;
        let before = subscription.settings();
        let is_same =
            before.export == settings.export && before.dead_letter_topic == settings.dead_letter_topic;
        let start = || record.start.unwrap_or_else(|| subscription.progress_floor());
        if is_same || record.resource.detached {
            return change(record.start);
        }
        let (name, topic) = (&subscription.name, &subscription.topic);
        self.check_export(resources, name, topic, settings)?;
        let is_table_same =
            before.export.as_ref().map(|own| &own.table) == settings.export.as_ref().map(|own| &own.table);
        if !is_table_same {
            self.must_not_be_behind(&subscription, settings)?;
        }
        self.close_export(&subscription);
        let start = if is_table_same { start() } else { subscription.progress_floor() };
        let changed = change(Some(start));
        let settings = if changed.is_ok() { settings } else { before.as_ref() };
        let start = if changed.is_ok() { start } else { record.start.unwrap_or(start) };
        self.open_export(name, topic, Offset(start), settings);
        changed
    }
}
