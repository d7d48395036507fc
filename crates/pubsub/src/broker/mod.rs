//! All topics, subscriptions and snapshots, and what is done to them.

mod exports;
mod lists;
mod maintain;
mod open;
mod schemas;
mod snapshots;
mod subscriptions;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use millrace_log::CursorConfig;
use millrace_model::Micros;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::acklog::{AckLog, Uid};
use crate::budget::Budget;
use crate::config::PubsubConfig;
use crate::error::PubsubError;
use crate::intake::Intake;
use crate::machine::Holder;
use crate::names::{Kind, Name};
use crate::proto::v1;
use crate::publish;
use crate::push::{PushClient, push};
use crate::registry::{Registry, Resources};
use crate::subscription::{Clock, Parts, Subscription, Use, pump};
use crate::sync::lock;
use crate::topics::{Named, Topics};

pub use exports::{ExportRecord, export_records};
pub use open::OpenError;
pub use subscriptions::SubscriptionFigures;
pub(crate) use topics::blocking;

/// The Pub/Sub server's state. Calls that change resources block on the disk; publishing and delivering
/// do not.
pub struct Broker {
    pub(crate) config: PubsubConfig,
    pub(crate) topics: Arc<Topics>,
    /// Held while resources change, so that two requests about one resource come one after the other.
    registry: Mutex<Registry>,
    subscriptions: RwLock<HashMap<String, Arc<Subscription>>>,
    acks: Arc<AckLog>,
    clock: Clock,
    opened_at: Micros,
    /// When maintenance last looked, in microseconds since 1970 UTC.
    looked_at: AtomicI64,
    /// Since when subscribers could be there: the start, or the last jump of the clock.
    awake_since: AtomicI64,
    /// Tells ack ids of this life of the process from those of earlier ones.
    epoch: u32,
    holders: AtomicU64,
    /// Places for streams and pulls, which may wait long.
    pub(crate) streams: Arc<Semaphore>,
    /// Places for other requests.
    pub(crate) requests: Arc<Semaphore>,
    /// Bytes of request bodies.
    pub(crate) bodies: Arc<Budget>,
    push: Arc<PushClient>,
    runtime: Handle,
}

impl Broker {
    /// Publishes messages.
    pub(crate) async fn publish(
        &self,
        request: v1::PublishRequest,
    ) -> Result<v1::PublishResponse, PubsubError> {
        publish::publish(&self.topics, request).await
    }

    /// The subscription of that name.
    pub(crate) fn subscription(&self, text: &str) -> Result<Arc<Subscription>, PubsubError> {
        let found = {
            let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
            subscriptions.get(text).cloned()
        };
        match found {
            Some(subscription) => Ok(subscription),
            None => {
                Name::parse(Kind::Subscription, text)?;
                Err(PubsubError::not_found(text))
            }
        }
    }

    /// A holder of leases that there was not before.
    pub(crate) fn new_holder(&self) -> Holder {
        Holder(self.holders.fetch_add(1, Ordering::Relaxed))
    }

    /// Ends every stream, and all that subscriptions do by themselves. What is acked until then is durable
    /// when the broker is dropped.
    pub fn shutdown(&self) {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        for subscription in subscriptions.values() {
            subscription.set_use(Use::Closing);
            subscription.advance_cursor();
        }
    }

    fn all_subscriptions(&self) -> Vec<Arc<Subscription>> {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        subscriptions.values().cloned().collect()
    }

    /// Puts a subscription to work.
    fn start(&self, parts: Parts) -> Arc<Subscription> {
        let is_open = !parts.settings.resource.detached;
        let name = parts.name.to_string();
        let subscription = Arc::new(Subscription::new(parts, Arc::clone(&self.acks), self.clock, self.epoch));
        if is_open {
            self.runtime.spawn(pump(Arc::clone(&subscription), Arc::clone(&self.topics)));
            let (client, messages_max) = (Arc::clone(&self.push), self.config.push_messages_max);
            self.runtime.spawn(push(Arc::clone(&subscription), client, self.new_holder(), messages_max));
        }
        let mut subscriptions = self.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        subscriptions.insert(name, Arc::clone(&subscription));
        subscription
    }

    fn forget(&self, name: &Name) -> Option<Arc<Subscription>> {
        let mut subscriptions = self.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        subscriptions.remove(&name.to_string())
    }

    /// Tells the names of topics to those who look them up.
    fn publish_names(&self, resources: &Resources) {
        let log = self.topics.log();
        let named: BTreeMap<String, Named> = resources
            .topics
            .iter()
            .filter_map(|(name, record)| {
                let (name, topic) = (name.to_string(), log.topic(&record.log)?);
                let intake = self.intake(&name, &record.resource, resources).map(Arc::new);
                Some((name, Named { topic, intake }))
            })
            .collect();
        self.topics.set(named, nameless(resources));
    }

    fn intake(&self, name: &str, resource: &v1::Topic, resources: &Resources) -> Result<Intake, PubsubError> {
        let before = self.topics.find_named(name).ok().and_then(|named| named.intake.ok());
        let child = self.config.transform_child.as_ref();
        let intake = Intake::load(resource, resources, child, before.as_deref());
        intake.map_err(|error| {
            tracing::error!(topic = name, %error, "nothing can be published to a topic");
            PubsubError::precondition(format!("nothing can be published to {name}: {error}"))
        })
    }

    /// Removes topics of the log that no name and no subscription leads to any more.
    fn remove_unused(&self, resources: &Resources, logs: impl IntoIterator<Item = String>) {
        let used: BTreeSet<&str> = resources
            .topics
            .values()
            .map(|record| record.log.as_str())
            .chain(references(resources))
            .collect();
        for log in logs {
            if !used.contains(log.as_str())
                && self.topics.log().topic(&log).is_some()
                && let Err(error) = self.topics.log().delete_topic(&log)
            {
                tracing::warn!(topic = %log, %error, "a topic that nobody uses any more was not removed");
            }
        }
    }

    pub(crate) fn cursor_config(&self) -> CursorConfig {
        // Subscriptions expire by their own policy.
        let never = std::time::Duration::from_micros(i64::MAX.unsigned_abs());
        CursorConfig { backlog_bytes_max: self.config.backlog_bytes_max, expires_after: never }
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        lock(&self.registry)
    }
}

/// The topics of the log that subscriptions and snapshots lead to.
fn references(resources: &Resources) -> impl Iterator<Item = &str> {
    let subscriptions = resources.subscriptions.values().map(|record| record.log.as_str());
    subscriptions.chain(resources.snapshots.values().map(|record| record.log.as_str()))
}

/// Topics of the log whose name was deleted, while subscriptions still have messages there.
fn nameless(resources: &Resources) -> BTreeSet<String> {
    let deleted = resources
        .subscriptions
        .values()
        .filter(|record| record.resource.topic == crate::subscription::DELETED_TOPIC)
        .map(|record| record.log.clone());
    let of_snapshots = resources
        .snapshots
        .values()
        .filter(|record| record.resource.topic == crate::subscription::DELETED_TOPIC)
        .map(|record| record.log.clone());
    deleted.chain(of_snapshots).collect()
}

/// The name of a subscription's or snapshot's cursor in the log.
fn cursor_name(kind: Kind, uid: Uid) -> String {
    match kind {
        Kind::Snapshot => format!("snapshot-{uid:016x}"),
        _ => format!("subscription-{uid:016x}"),
    }
}

/// A number that was never used before, as far as chance goes.
pub(crate) fn random() -> Result<u64, PubsubError> {
    getrandom::u64().map_err(|error| PubsubError::unavailable(format!("no random numbers: {error}")))
}
