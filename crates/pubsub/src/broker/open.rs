//! Starting: what was there before is there again.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use millrace_disk::Disk;
use millrace_log::{CursorStart, Log, Topic};
use millrace_model::{Micros, Source as _};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{Broker, cursor_name, random};
use crate::acklog::{AckLog, Image, Uid};
use crate::budget::Budget;
use crate::config::PubsubConfig;
use crate::error::PubsubError;
use crate::names::{Kind, Name};
use crate::progress::{Change, Progress};
use crate::push::PushClient;
use crate::registry::{Registry, RegistryError, Resources, SubscriptionRecord};
use crate::subscription::{Clock, Parts, Settings};
use crate::topics::Topics;

/// Why the Pub/Sub server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The list of resources cannot be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// How far subscriptions are cannot be read.
    #[error("{0}")]
    Acks(String),
    /// Something else, about one resource.
    #[error("{0}")]
    Resource(#[from] PubsubError),
}

impl Broker {
    /// Opens the server's state in `directory`, beside the log. Subscriptions work on `runtime`.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged; says which.
    pub fn open(
        config: PubsubConfig,
        disk: Arc<dyn Disk>,
        directory: &Path,
        log: Arc<Log>,
        runtime: Handle,
    ) -> Result<Arc<Self>, OpenError> {
        let registry = Registry::open(Arc::clone(&disk), directory)?;
        let (acks, image) = AckLog::open(disk, &directory.join("acks"))
            .map_err(|error| OpenError::Acks(error.to_string()))?;
        let topics = Arc::new(Topics::new(log, config.project.clone()));
        let resources = registry.resources().clone();
        let streams = Arc::new(Semaphore::new(config.streams_max));
        let requests = Arc::new(Semaphore::new(config.requests_in_flight_max));
        let bodies = Budget::new(config.in_flight_bytes_max);
        let push = PushClient::new(config.push_requests_max);
        let opened_at = Micros::now();
        let broker = Arc::new(Self {
            config,
            topics,
            registry: Mutex::new(registry),
            subscriptions: RwLock::new(HashMap::new()),
            acks: Arc::new(acks),
            clock: Clock::start(),
            opened_at,
            looked_at: opened_at.0.into(),
            awake_since: opened_at.0.into(),
            epoch: low_half(random()?),
            holders: std::sync::atomic::AtomicU64::new(0),
            streams,
            requests,
            bodies,
            push,
            runtime,
        });
        broker.publish_names(&resources);
        broker.remove_leftovers(&resources, &image);
        broker.refresh_all_retention(&resources);
        for (name, record) in &resources.subscriptions {
            if let Err(error) = broker.resume(name, record, &image) {
                // One that cannot work does not keep the others from it.
                tracing::error!(subscription = %name, %error, "a subscription does not work");
                metrics::counter!("millrace_pubsub_broken_subscriptions_total").increment(1);
            }
        }
        Ok(broker)
    }

    fn resume(&self, name: &Name, record: &SubscriptionRecord, image: &Image) -> Result<(), PubsubError> {
        let settings = Settings::new(record.resource.clone(), &self.config)?;
        let topic = self.topics.log().topic(&record.log);
        let topic = topic.ok_or_else(|| {
            PubsubError::precondition(format!("its topic, {} in the log, is gone: delete it", record.log))
        })?;
        let cursor_name = cursor_name(Kind::Subscription, record.uid);
        let bounds = topic.bounds();
        let progress = image.get(&record.uid).cloned().unwrap_or_else(|| {
            tracing::warn!(subscription = %name, "nothing is known of its acknowledgements: it begins at the oldest message");
            let progress = Progress::at(bounds.start.0);
            self.commit_unwaited(record.uid, Change::Reset(progress.clone()));
            progress
        });
        let cursor = match topic.cursor(&cursor_name) {
            // The server ended in the middle of detaching it.
            Some(_) if settings.resource.detached => {
                topic.delete_cursor(&cursor_name)?;
                None
            }
            Some(cursor) => Some(cursor),
            None if settings.resource.detached => None,
            None => {
                let start = millrace_model::Offset(progress.floor()).clamp(bounds.start, bounds.end);
                Some(topic.create_cursor(&cursor_name, CursorStart::At(start), self.cursor_config())?)
            }
        };
        // What an earlier version has written does not say.
        let last_used = record.last_used.unwrap_or(self.opened_at);
        let (name, uid) = (name.clone(), record.uid);
        let parts = Parts { name, uid, topic, settings, progress, cursor, last_used };
        let subscription = self.start(parts);
        let start = record.start.unwrap_or_else(|| subscription.progress_floor());
        let (topic, settings) = (&subscription.topic, subscription.settings());
        self.open_export(&subscription.name, topic, millrace_model::Offset(start), &settings);
        Ok(())
    }

    fn commit_unwaited(&self, uid: Uid, change: Change) {
        drop(self.acks.commit(uid, vec![change]));
    }

    /// Removes what a crash left in the middle of making or deleting something.
    fn remove_leftovers(&self, resources: &Resources, image: &Image) {
        let subscriptions: BTreeSet<Uid> =
            resources.subscriptions.values().map(|record| record.uid).collect();
        for uid in image.keys().filter(|uid| !subscriptions.contains(uid)) {
            self.commit_unwaited(*uid, Change::Removed);
        }
        let of_subscriptions = subscriptions.iter().map(|uid| cursor_name(Kind::Subscription, *uid));
        let of_snapshots = resources.snapshots.values().map(|record| cursor_name(Kind::Snapshot, record.uid));
        let known: BTreeSet<String> = of_subscriptions.chain(of_snapshots).collect();
        self.topics.log().topics().iter().for_each(|topic| remove_cursors(topic, &known));
    }
}

fn remove_cursors(topic: &Arc<Topic>, known: &BTreeSet<String>) {
    let ours = |name: &str| {
        let uid = name.strip_prefix("subscription-").or_else(|| name.strip_prefix("snapshot-"));
        uid.is_some_and(|uid| uid.len() == 16)
    };
    for cursor in topic.cursors() {
        if ours(cursor.name())
            && !known.contains(cursor.name())
            && let Err(error) = topic.delete_cursor(cursor.name())
        {
            tracing::warn!(topic = topic.name(), cursor = cursor.name(), %error, "a cursor that nobody uses was not removed");
        }
    }
}

fn low_half(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
