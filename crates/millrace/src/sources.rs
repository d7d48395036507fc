//! Subscriptions of the real Pub/Sub, read into topics of the log for as long as somebody folds those.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use millrace_log::{Log, Topic};
use millrace_model::Offset;
use millrace_pubsub_source::{Source, SourceConfig, SourceState};
use millrace_server::SourceStatus;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::pipelines::{Pipelines, Slot};
use crate::settings;
use crate::threads::{self, Work};

/// All sources of a server.
pub struct Sources {
    all: Vec<Feed>,
    runtime: Handle,
}

/// A source and what it is started with.
struct Feed {
    config: SourceConfig,
    topic: Arc<Topic>,
    /// The newest one; it may have ended.
    source: Mutex<Arc<Source>>,
}

impl Feed {
    fn source(&self) -> MutexGuard<'_, Arc<Source>> {
        // It is replaced as a whole: a panicked holder cannot have broken it.
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<Source> {
        Arc::clone(&self.source())
    }
}

/// Asks the service about every source, so that a wrong name is told at once. That it does not answer is no
/// reason not to start.
///
/// # Errors
/// Names the source and what to do.
pub fn check(config: &Config) -> Result<()> {
    if config.source.is_empty() {
        return Ok(());
    }
    let runtime = threads::runtime(Work::Http)?;
    for own in &config.source {
        // The secret plays no part in asking.
        let wanted = settings::source(own, [0; 32]).with_context(|| format!("in source {}", own.name))?;
        match runtime.block_on(Source::check(&wanted)) {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                tracing::warn!(source = %own.name, %error, "the service was not reached; it is tried again");
            }
            Err(error) => bail!("source {}: {error}", own.name),
        }
    }
    Ok(())
}

impl Sources {
    /// Starts every source. The service is not waited for.
    ///
    /// # Errors
    /// When a setting makes no sense, or a topic cannot be opened.
    pub fn start(config: &Config, data: &DataDir, log: &Log, runtime: &Handle) -> Result<Self> {
        let mut all = Vec::new();
        for own in &config.source {
            let context = || format!("in source {}", own.name);
            let wanted = settings::source(own, data.dedup_secret()?).with_context(context)?;
            let topic =
                log.create_topic(&own.into, settings::topic(config, &own.into)).with_context(context)?;
            let source = Source::start(wanted.clone(), Arc::clone(&topic), runtime).with_context(context)?;
            tracing::info!(
                source = %own.name, subscription = %source.status().subscription, topic = %own.into,
                endpoint = wanted.endpoint.address(), "source runs"
            );
            all.push(Feed { config: wanted, topic, source: Mutex::new(Arc::new(source)) });
        }
        Ok(Self { all, runtime: runtime.clone() })
    }

    /// How each is doing, in the order of the configuration.
    pub fn statuses(&self) -> Vec<SourceStatus> {
        self.all.iter().map(|feed| status(&feed.current())).collect()
    }

    /// Publishes what is no counter.
    pub fn publish_gauges(&self) {
        self.all.iter().for_each(|feed| feed.current().publish_gauges());
    }

    /// Whether commits have to be told, because a disk is not to be trusted.
    pub fn want_commits(&self) -> bool {
        self.all.iter().any(|feed| !feed.config.durable)
    }

    /// Tells how far every pipeline has folded what it is fed.
    pub fn tell_commits(&self, pipelines: &Pipelines) {
        let slots = pipelines.all();
        for feed in self.all.iter().filter(|feed| !feed.config.durable) {
            let readers = slots.iter().filter(|slot| slot.topic == feed.topic.name());
            // One that cannot say how far it is has committed nothing that counts.
            let committed = readers.map(|slot| slot.managed.status().map_or(0, |status| status.next_offset));
            if let Some(least) = committed.min() {
                feed.current().committed(Offset(least));
            }
        }
    }

    /// Ends those whose topic nobody folds once `ending` have ended: what is not folded is best left with the
    /// service. With `for_good` their temporary subscriptions go. Blocks until they have ended.
    pub fn end_before(&self, pipelines: &Pipelines, ending: &[Arc<Slot>], for_good: bool) {
        let names: BTreeSet<&str> = ending.iter().map(|slot| slot.name.as_str()).collect();
        let goes_on = |slot: &Slot| !names.contains(slot.name.as_str()) && slot.status().state == "running";
        let folded: BTreeSet<String> =
            pipelines.all().iter().filter(|slot| goes_on(slot)).map(|slot| slot.topic.clone()).collect();
        for feed in &self.all {
            let is_affected = ending.iter().any(|slot| slot.topic == feed.topic.name());
            if is_affected && !folded.contains(feed.topic.name()) {
                let source = feed.current();
                self.runtime
                    .block_on(async { if for_good { source.drain().await } else { source.stop().await } });
            }
        }
    }

    /// Starts those again that fill the topics of `resumed`.
    ///
    /// # Errors
    /// When a setting makes no sense, which it did before.
    pub fn resume(&self, resumed: &[Arc<Slot>]) -> Result<()> {
        for feed in &self.all {
            let mut source = feed.source();
            let is_wanted = resumed.iter().any(|slot| slot.topic == feed.topic.name());
            if is_wanted && source.status().state == SourceState::Stopped {
                let again = Source::start(feed.config.clone(), Arc::clone(&feed.topic), &self.runtime);
                *source = Arc::new(again.with_context(|| format!("in source {}", feed.config.name))?);
            }
        }
        Ok(())
    }

    /// Ends all, with what they have received stored and acknowledged. Temporary subscriptions stay for the
    /// next start.
    pub async fn stop(&self) {
        for feed in &self.all {
            let source = feed.current();
            source.stop().await;
        }
    }
}

fn status(source: &Source) -> SourceStatus {
    let status = source.status();
    let counts = status.counts;
    SourceStatus {
        name: status.name,
        subscription: status.subscription,
        topic: status.topic,
        durable: status.durable,
        state: status.state.as_str().to_owned(),
        error: status.error,
        received: counts.received,
        appended: counts.appended,
        duplicates: counts.duplicates,
        acks: counts.acks,
        ack_failures: counts.ack_failures,
        nacks: counts.nacks,
        reconnects: counts.reconnects,
        outstanding: status.outstanding,
        stalled_seconds: status.stalled_seconds,
    }
}
