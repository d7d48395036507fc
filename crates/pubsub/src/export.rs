//! BigQuery subscriptions: what this server asks of whoever has the tables.
//!
//! Here such a subscription has a name, a place in its topic and its settings. An [`Exporter`] writes its
//! messages to a table, and says how far it is and whether it can.

use std::fmt;
use std::sync::Arc;

use millrace_log::Topic;
use millrace_model::{MessageBatch, Offset};

use crate::dead_letter::dead_letter;
use crate::error::PubsubError;
use crate::filter::Filter;
use crate::names::Name;
use crate::proto::v1;
use crate::proto::v1::big_query_config::State;
use crate::publish::refusal;
use crate::subscription::ExportSettings;
use crate::topics::Topics;

/// Writes the messages of BigQuery subscriptions to tables. Calls may block, and come one after the other
/// for one subscription.
pub trait Exporter: Send + Sync {
    /// Whether such a subscription can be written.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, export: &Export) -> Result<(), ExportFault>;

    /// How far the messages of its topic are in its table, by this or an earlier subscription; `None` when
    /// there are none, or no such table is open.
    ///
    /// # Errors
    /// When the table does not tell.
    fn written(&self, export: &Export) -> Result<Option<Offset>, ExportFault>;

    /// Begins to write, or goes on; does nothing when it is being written. When it cannot be,
    /// [`state`](Self::state) says so from here on, until it is tried again.
    fn open(&self, export: Export);

    /// Stops, and forgets the subscription: when this returns nothing of it touches the table any more.
    /// What is written stays. Answers up to where that is, when it is known.
    fn close(&self, subscription: &str) -> Option<Offset>;

    /// How a subscription is doing.
    ///
    /// # Errors
    /// Why it is not written.
    fn state(&self, subscription: &str) -> Result<(), ExportFault>;

    /// Everything of its topic before this is written or otherwise done with, durably; `None` when that is
    /// not known.
    fn position(&self, subscription: &str) -> Option<Offset>;
}

/// A BigQuery subscription.
#[derive(Clone)]
pub struct Export {
    /// Its whole name.
    pub subscription: String,
    /// Its topic.
    pub topic: Arc<Topic>,
    /// The first message that is its.
    pub start: Offset,
    /// The project of the table.
    pub project: String,
    /// The table, `dataset.table`.
    pub table: String,
    /// As `bigquery_config` has it.
    pub use_table_schema: bool,
    /// As `bigquery_config` has it.
    pub write_metadata: bool,
    /// As `bigquery_config` has it.
    pub drop_unknown_fields: bool,
    /// Which messages are its; `None`: all.
    pub filter: Option<Filter>,
    /// Where messages go, too, that cannot be written.
    pub dead_letters: Option<DeadLetterTopic>,
}

impl Export {
    pub(crate) fn new(
        name: &Name,
        topic: Arc<Topic>,
        start: Offset,
        settings: &crate::subscription::Settings,
        topics: &Arc<Topics>,
    ) -> Option<Self> {
        let ExportSettings { project, table, use_table_schema, write_metadata, drop_unknown_fields } =
            settings.export.clone()?;
        let dead_letters = settings.dead_letter_topic.clone().map(|to| DeadLetterTopic {
            topics: Arc::clone(topics),
            name: to,
            subscription: name.clone(),
        });
        Some(Self {
            subscription: name.to_string(),
            topic,
            start,
            project,
            table,
            use_table_schema,
            write_metadata,
            drop_unknown_fields,
            filter: settings.filter.clone(),
            dead_letters,
        })
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subscription, table, start, .. } = self;
        write!(formatter, "Export({subscription} from {start} to {table})")
    }
}

/// The dead-letter topic of a BigQuery subscription.
#[derive(Clone)]
pub struct DeadLetterTopic {
    topics: Arc<Topics>,
    name: String,
    subscription: Name,
}

impl DeadLetterTopic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes messages of a batch there, each with where it comes from and why
    /// (<https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic>). Blocks until they are
    /// durable; not to be called from an async task.
    ///
    /// # Errors
    /// When the topic is gone or does not take them, none of them; that is counted.
    pub fn forward<'a>(
        &self,
        batch: &MessageBatch,
        failed: impl Iterator<Item = (usize, &'a str)>,
    ) -> Result<(), PubsubError> {
        let letters: Vec<_> = failed
            .map(|(message, reason)| dead_letter(batch, message, &self.subscription, 1, Some(reason)))
            .collect();
        let count = letters.len() as u64;
        let forwarded = self
            .topics
            .find(&self.name)
            .and_then(|to| to.append(letters).wait().map_err(|error| refusal(&self.name, &error)));
        let metric = match &forwarded {
            Ok(_) => "millrace_pubsub_dead_lettered_total",
            Err(_) => "millrace_pubsub_dead_letter_errors_total",
        };
        metrics::counter!(metric, "subscription" => self.subscription.to_string()).increment(count);
        forwarded.map(|_| ())
    }
}

/// Why a BigQuery subscription is not written, as `bigquery_config.state` tells it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportFault {
    /// There is no such table.
    #[error("{0}")]
    NotFound(String),
    /// The table has not the columns that would be written.
    #[error("{0}")]
    SchemaMismatch(String),
    /// Something else keeps the table from being written.
    #[error("{0}")]
    PermissionDenied(String),
}

impl ExportFault {
    pub(crate) fn state(&self) -> State {
        match self {
            Self::NotFound(_) => State::NotFound,
            Self::SchemaMismatch(_) => State::SchemaMismatch,
            Self::PermissionDenied(_) => State::PermissionDenied,
        }
    }
}

impl From<ExportFault> for PubsubError {
    fn from(fault: ExportFault) -> Self {
        match fault {
            ExportFault::NotFound(message) => Self::missing(message),
            ExportFault::SchemaMismatch(message) => Self::invalid(message),
            ExportFault::PermissionDenied(message) => Self::denied(message),
        }
    }
}

/// The exporter of a server; without one, BigQuery subscriptions are not served.
#[derive(Clone, Default)]
pub struct ExportHook(Option<Arc<dyn Exporter>>);

impl ExportHook {
    /// BigQuery subscriptions are written by this one.
    #[must_use]
    pub fn new(exporter: Arc<dyn Exporter>) -> Self {
        Self(Some(exporter))
    }

    pub(crate) fn exporter(&self) -> Option<&Arc<dyn Exporter>> {
        self.0.as_ref()
    }
}

impl fmt::Debug for ExportHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExportHook({})", if self.0.is_some() { "served" } else { "not served" })
    }
}

/// The same resource with its state as it is now.
pub(crate) fn with_state(mut resource: v1::Subscription, hook: &ExportHook) -> v1::Subscription {
    let is_off = resource.detached;
    let (Some(config), Some(exporter)) = (resource.bigquery_config.as_mut(), hook.exporter()) else {
        return resource;
    };
    if is_off {
        return resource;
    }
    match exporter.state(&resource.name) {
        Ok(()) => config.state = State::Active.into(),
        Err(fault) => {
            config.state = fault.state().into();
            resource.state = v1::subscription::State::ResourceError.into();
        }
    }
    resource
}
