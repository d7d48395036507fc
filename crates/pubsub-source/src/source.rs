//! A source from the outside: started, watched, stopped.

use std::sync::{Arc, Mutex, PoisonError};

use google_cloud_pubsub::subscriber::handler::Handler;
use millrace_log::Topic;
use millrace_model::Offset;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::SourceConfig;
use crate::error::SourceError;
use crate::figures::{self, Figures};
use crate::intake::Intake;
use crate::message::Identity;
use crate::reader::Reader;
use crate::status::{SourceState, SourceStatus};
use crate::{connect, subscription};

/// Where a source is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// It ends; a temporary subscription stays for the next start.
    Stopping,
    /// It ends for good; a temporary subscription goes.
    Draining,
}

/// Resolves when the source is to end.
pub(crate) async fn ended(phase: &mut watch::Receiver<Phase>) {
    // Nobody left to say so means the same.
    let _ = phase.wait_for(|phase| *phase != Phase::Running).await;
}

/// A subscription of the real Pub/Sub that is read into a topic. Dropped without [`stop`](Self::stop), it ends
/// at once, and what was not acknowledged comes again.
pub struct Source {
    config: Arc<SourceConfig>,
    subscription: String,
    topic: Arc<Topic>,
    figures: Arc<Figures>,
    phase: watch::Sender<Phase>,
    committed: watch::Sender<Offset>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Source {
    /// Begins to read into `topic`. Whether the service is there is not waited for: the status says.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn start(config: SourceConfig, topic: Arc<Topic>, runtime: &Handle) -> Result<Self, SourceError> {
        config.check()?;
        let subscription = subscription::name(&config, topic.id());
        if !config.durable {
            tracing::warn!(
                source = %config.name,
                "durable = false: messages are acknowledged when their rows are committed; what is lost with the \
                 disk comes again, and may then be stored twice (at least once)"
            );
        }
        let config = Arc::new(config);
        let figures = Arc::new(Figures::new(&config.name));
        let (phase, phases) = watch::channel(Phase::Running);
        let (committed, commits) = watch::channel(Offset::ZERO);
        let mut reader = Reader::new(&config, &subscription, &figures, phases.clone());
        let intake = Intake::<Handler>::new(
            Arc::clone(&topic),
            Identity::new(&config.dedup_secret, &subscription),
            Arc::clone(&figures),
            phases,
            config.nack_delay,
            (!config.durable).then_some(commits),
        );
        let (deliveries, queue) = mpsc::channel(config.outstanding_messages_max);
        let done = Arc::clone(&figures);
        // One task, so that a source that is dropped ends with all its parts.
        let task = runtime.spawn(async move {
            tokio::join!(
                async {
                    reader.run(deliveries).await;
                    reader.finish().await;
                },
                intake.run(queue),
            );
            done.stopped();
        });
        let task = Mutex::new(Some(task));
        Ok(Self { config, subscription, topic, figures, phase, committed, task })
    }

    /// Asks the service, once, whether what `config` names is there: for who wants to know before going on.
    ///
    /// # Errors
    /// What is wrong and what to do; [`SourceError::is_transient`] says whether waiting may help.
    pub async fn check(config: &SourceConfig) -> Result<(), SourceError> {
        config.check()?;
        let clients = connect::clients(config).await?;
        subscription::check(&clients, config).await
    }

    /// Everything before `next` is in tables: without a durable disk, that is what acknowledges messages.
    pub fn committed(&self, next: Offset) {
        self.committed.send_if_modified(|committed| {
            let is_further = next > *committed;
            *committed = next.max(*committed);
            is_further
        });
    }

    /// The name of the topic that it fills.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.topic.name()
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        let mut status = self.figures.status(&self.subscription, self.topic.name(), self.config.durable);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(JoinHandle::is_finished) {
            // Only a bug ends it before it is told to; that must be seen.
            status.state = SourceState::Failing;
            status.error = Some("the source ended early: see the log, and start the server again".to_owned());
        }
        status
    }

    /// Publishes the gauges; the counters publish themselves.
    pub fn publish_gauges(&self) {
        figures::publish(&self.status());
    }

    /// Reads no more, stores and acknowledges what was received, and ends. A temporary subscription stays, so
    /// that the next start goes on where this one ended.
    pub async fn stop(&self) {
        self.end(Phase::Stopping).await;
    }

    /// Ends for good: as [`stop`](Self::stop), and a temporary subscription is deleted.
    pub async fn drain(&self) {
        self.end(Phase::Draining).await;
    }

    async fn end(&self, phase: Phase) {
        self.phase.send_replace(phase);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(source = %self.config.name, %error, "the source ended early");
        }
        self.figures.stopped();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}
