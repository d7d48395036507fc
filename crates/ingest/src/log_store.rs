//! The log's topics as the store of ingest.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_log::{AppendError, Log, Topic, TopicConfig};
use millrace_model::{NewMessage, Source, names};

use crate::config::IngestConfig;
use crate::ingest::{Ingest, IngestError};
use crate::store::{StoreError, Stored, TopicStore};

/// How long an entry that no sink took is kept.
const UNROUTED_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// When to come again at a topic that closed: it may be the end of this process.
const CLOSED_RETRY: Duration = Duration::from_secs(5);

impl Ingest {
    /// Ingest into the topics of a log. Those that are not there are made.
    ///
    /// # Errors
    /// When the settings make no sense or a topic cannot be made.
    pub fn new(config: IngestConfig, log: Arc<Log>) -> Result<Arc<Self>, IngestError> {
        Self::with_topics(config, move |name| {
            // A topic that is there keeps its settings: they may be the operator's.
            let topic = log.topic(name).map_or_else(|| log.create_topic(name, config_of(name)), Ok);
            let error = |error: millrace_log::LogError| IngestError::Topic {
                topic: name.to_owned(),
                reason: error.to_string(),
            };
            Ok(Arc::new(LogTopic(topic.map_err(error)?)) as Arc<dyn TopicStore>)
        })
    }
}

fn config_of(name: &str) -> TopicConfig {
    let default = TopicConfig::default();
    let retention_age =
        if name == names::TOPIC_UNROUTED { UNROUTED_RETENTION } else { default.retention_age };
    TopicConfig { retention_age, ..default }
}

struct LogTopic(Arc<Topic>);

impl TopicStore for LogTopic {
    fn append(&self, messages: Vec<NewMessage>) -> BoxFuture<'static, Result<Stored, StoreError>> {
        let append = self.0.append(messages);
        let answer = append.map(|answer| match answer {
            Ok(appended) => Ok(Stored { duplicates: appended.duplicates }),
            Err(error) => Err(store_error(&error)),
        });
        answer.boxed()
    }

    fn source(&self) -> &dyn Source {
        &*self.0
    }
}

fn store_error(error: &AppendError) -> StoreError {
    let reason = error.to_string();
    match error {
        AppendError::Backpressure { retry_after, .. } | AppendError::Unavailable { retry_after, .. } => {
            StoreError::Busy { reason, retry_after: *retry_after }
        }
        AppendError::Closed { .. } => StoreError::Busy { reason, retry_after: CLOSED_RETRY },
        AppendError::TooLarge { .. } => StoreError::Refused(reason),
    }
}
