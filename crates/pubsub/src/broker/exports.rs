//! BigQuery subscriptions: handed to whoever writes them, and taken back.

use std::path::Path;
use std::sync::Arc;

use millrace_disk::Disk;
use millrace_log::Topic;
use millrace_model::Offset;

use super::Broker;
use crate::acklog::Commit;
use crate::error::PubsubError;
use crate::export::{Export, with_state};
use crate::names::Name;
use crate::proto::v1;
use crate::registry::{Registry, RegistryError, SubscriptionRecord};
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

impl Broker {
    /// Fails when a subscription would be written and cannot be.
    pub(super) fn check_export(
        &self,
        name: &Name,
        topic: &Arc<Topic>,
        settings: &Settings,
    ) -> Result<(), PubsubError> {
        let export = Export::new(name, Arc::clone(topic), Offset::ZERO, settings, &self.topics);
        match (self.config.exports.exporter(), export) {
            (Some(exporter), Some(export)) => Ok(exporter.check(&export)?),
            _ => Ok(()),
        }
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
            && let Some(position) = exporter.close(&subscription.name.to_string())
            && let Some(Err(error)) = subscription.done_before(position).map(Commit::wait)
        {
            // Its table knows better.
            tracing::warn!(subscription = %subscription.name, %error, "how far it is was not written down");
        }
    }

    /// What is written is done with.
    pub(super) fn follow_export(&self, subscription: &Subscription) {
        if let (Some(exporter), true) =
            (self.config.exports.exporter(), subscription.settings().export.is_some())
            && let Some(position) = exporter.position(&subscription.name.to_string())
        {
            // Nobody waits: what is lost in a crash, the table says again.
            drop(subscription.done_before(position));
        }
    }

    /// A resource as it is shown.
    pub(super) fn shown(&self, resource: v1::Subscription) -> v1::Subscription {
        with_state(resource, &self.config.exports)
    }

    /// Changes a BigQuery subscription. It stops before the change and goes on behind it where it was, with
    /// another table from there.
    pub(super) fn change_export(
        &self,
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
        self.check_export(name, topic, settings)?;
        self.close_export(&subscription);
        let is_table_same =
            before.export.as_ref().map(|own| &own.table) == settings.export.as_ref().map(|own| &own.table);
        let start = if is_table_same { start() } else { subscription.progress_floor() };
        let changed = change(Some(start));
        let settings = if changed.is_ok() { settings } else { before.as_ref() };
        let start = if changed.is_ok() { start } else { record.start.unwrap_or(start) };
        self.open_export(name, topic, Offset(start), settings);
        changed
    }
}
