//! Keeps a stream open: opens another when it breaks, when it is silent for too long, or when it was never
//! there.

use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::model::Message;
use google_cloud_pubsub::subscriber::handler::Handler;
use google_cloud_pubsub::subscriber::{MessageStream, ShutdownBehavior};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::config::SourceConfig;
use crate::connect::{self, Clients};
use crate::error::SourceError;
use crate::figures::Figures;
use crate::intake::{Answer, Delivery, Place};
use crate::source::{Phase, ended};
use crate::subscription;

/// How long acks that are on their way may take at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the silence is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Reads a subscription.
pub(crate) struct Reader {
    config: Arc<SourceConfig>,
    subscription: String,
    figures: Arc<Figures>,
    phase: watch::Receiver<Phase>,
    /// Bytes of messages that are not answered yet.
    room: Arc<Semaphore>,
    /// Made when the subscription is known to be there.
    clients: Option<Clients>,
    /// Streams that have ended and still send what was answered.
    flushing: JoinSet<()>,
}

/// Why a stream is not read any more.
enum End {
    /// The source is to end.
    Stopped,
    /// The service ended it without an error.
    Closed,
    /// No message came for too long.
    Silent,
    /// It cannot be read.
    Failed(SourceError),
}

impl Reader {
    pub(crate) fn new(
        config: &Arc<SourceConfig>,
        subscription: &str,
        figures: &Arc<Figures>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            subscription: subscription.to_owned(),
            figures: Arc::clone(figures),
            phase,
            room: Arc::new(Semaphore::new(config.outstanding_bytes_max.min(Semaphore::MAX_PERMITS))),
            clients: None,
            flushing: JoinSet::new(),
        }
    }

    /// Reads until the source is to end.
    pub(crate) async fn run(&mut self, deliveries: mpsc::Sender<Delivery<Handler>>) {
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max);
        let mut is_first = true;
        loop {
            let (opened, received) = (Instant::now(), self.figures.received.total());
            let end = self.one_stream(&deliveries, &mut is_first).await;
            // A stream that worked is followed by another at once.
            if self.figures.received.total() > received || opened.elapsed() > self.config.backoff_max {
                backoff.reset();
            }
            let source = &self.config.name;
            match end {
                End::Stopped => return,
                End::Closed => tracing::debug!(%source, "the service ended the stream"),
                End::Silent => tracing::info!(%source, "no message came for long: the stream is opened anew"),
                End::Failed(error) => {
                    tracing::error!(%source, %error, "the subscription is not read; it is tried again");
                    self.figures.fails(error.to_string());
                    // The subscription is looked for again, with credentials that may be others.
                    self.clients = None;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.wait()) => {}
                () = ended(&mut self.phase) => return,
            }
        }
    }

    /// Waits until what was answered is sent, and deletes a temporary subscription when the source is drained.
    pub(crate) async fn finish(mut self) {
        let flushed = async { while self.flushing.join_next().await.is_some() {} };
        if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
            tracing::warn!(source = %self.config.name, "acks were not sent in time: some messages come again");
        }
        if *self.phase.borrow() != Phase::Draining {
            return;
        }
        let clients = match self.clients.take() {
            Some(clients) => Ok(clients),
            None => connect::clients(&self.config).await,
        };
        let deleted = match clients {
            Ok(clients) => {
                subscription::delete_temporary(&clients.admin, &self.config, &self.subscription).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            tracing::warn!(
                source = %self.config.name, subscription = %self.subscription, %error,
                "the temporary subscription was not deleted: the service does it when nobody reads it for 7 days"
            );
        }
    }

    async fn one_stream(&mut self, deliveries: &mpsc::Sender<Delivery<Handler>>, is_first: &mut bool) -> End {
        let mut phase = self.phase.clone();
        let ready = tokio::select! {
            biased;
            () = ended(&mut phase) => return End::Stopped,
            ready = self.ready() => ready,
        };
        let clients = match ready {
            Ok(clients) => clients,
            Err(error) => return End::Failed(error),
        };
        self.figures.reconnects.add(u64::from(!*is_first));
        *is_first = false;
        self.figures.opened();
        let mut stream = self.open(&clients);
        let end = tokio::select! {
            biased;
            () = ended(&mut phase) => End::Stopped,
            end = self.read(&mut stream, deliveries) => end,
            end = self.watch(&clients) => end,
        };
        // What of it is still in hand is answered through it.
        let token = stream.shutdown_token();
        drop(stream);
        self.flushing.spawn(async move { token.shutdown().await });
        while self.flushing.try_join_next().is_some() {}
        end
    }

    /// The clients, once the subscription is known to be there.
    async fn ready(&mut self) -> Result<Clients, SourceError> {
        if let Some(clients) = &self.clients {
            return Ok(clients.clone());
        }
        let clients = connect::clients(&self.config).await?;
        let is_new = subscription::ensure(&clients.admin, &self.config, &self.subscription).await?;
        if is_new && self.figures.received.total() > 0 {
            tracing::error!(
                source = %self.config.name, subscription = %self.subscription,
                "the temporary subscription was gone: what was published since is missed"
            );
        }
        self.clients = Some(clients.clone());
        Ok(clients)
    }

    fn open(&self, clients: &Clients) -> MessageStream {
        let limit = |max: usize| i64::try_from(max).unwrap_or(i64::MAX);
        clients
            .subscriber
            .subscribe(&self.subscription)
            .set_max_outstanding_messages(limit(self.config.outstanding_messages_max))
            .set_max_outstanding_bytes(limit(self.config.outstanding_bytes_max))
            .set_max_lease_extension(self.config.ack_deadline)
            .set_max_lease(self.config.lease_max)
            .set_shutdown_behavior(ShutdownBehavior::WaitForProcessing)
            .build()
    }

    async fn read(&self, stream: &mut MessageStream, deliveries: &mpsc::Sender<Delivery<Handler>>) -> End {
        while let Some(next) = stream.next().await {
            match next {
                Ok((message, receipt)) => {
                    // The service keeps to the limits; a server that does not finds nobody reading here.
                    let bytes = size_bytes(&message).clamp(1, self.config.outstanding_bytes_max);
                    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                    let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await else {
                        return End::Stopped;
                    };
                    let place = Place::new(&self.figures, room);
                    let delivery = Delivery { message, answer: Answer { receipt, place } };
                    if deliveries.send(delivery).await.is_err() {
                        return End::Failed(SourceError::Service("messages are taken no more".to_owned()));
                    }
                }
                Err(error) => {
                    return End::Failed(SourceError::explain(&self.config, &self.subscription, &error));
                }
            }
        }
        End::Closed
    }

    /// Ends when the stream has to be opened anew. The client shows neither the service's heartbeats nor which
    /// broken streams it opens again by itself, so a quiet service is asked whether it is there.
    async fn watch(&self, clients: &Clients) -> End {
        let mut asked = Instant::now();
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            if self.figures.quiet() >= self.config.reopen_after {
                return End::Silent;
            }
            let probe_after = self.config.probe_after;
            if self.figures.unanswered() < probe_after || asked.elapsed() < probe_after {
                continue;
            }
            asked = Instant::now();
            match subscription::ask(&clients.admin, &self.config, &self.subscription).await {
                Err(error @ SourceError::NotFound(_)) => return End::Failed(error),
                // The client tries to connect; until it does, this is why nothing comes.
                Err(error @ (SourceError::Unreachable(_) | SourceError::Credentials(_))) => {
                    self.figures.fails(error.to_string());
                }
                Ok(()) | Err(_) => self.figures.answered(),
            }
        }
    }
}

/// What a message weighs against the limit.
fn size_bytes(message: &Message) -> usize {
    let attributes = message.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    message.data.len() + attributes + message.ordering_key.len()
}
