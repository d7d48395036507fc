//! From deliveries to the log: append, then acknowledge; hold what the log does not take now, give back what
//! it never takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use google_cloud_pubsub::model::Message;
use millrace_log::{AppendError, Appended, Topic};
use millrace_model::{NewMessage, Offset};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;

use crate::figures::Figures;
use crate::message::{Identity, new_message};
use crate::receipt::Receipt;
use crate::source::{Phase, ended};

/// Most messages of one append.
const APPEND_MESSAGES_MAX: usize = 1000;
/// Most bytes of one append, a larger single message excepted.
const APPEND_BYTES_MAX: usize = 4 << 20;
/// How long confirmations are waited for at the end.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);

/// A received message.
pub(crate) struct Delivery<R> {
    pub(crate) message: Message,
    pub(crate) answer: Answer<R>,
}

/// The right to answer a message, and its place among those that are not answered.
pub(crate) struct Answer<R> {
    pub(crate) receipt: R,
    pub(crate) place: Place,
}

/// A message's place among those that are not answered; given back when dropped.
pub(crate) struct Place {
    figures: Arc<Figures>,
    _room: OwnedSemaphorePermit,
}

impl Place {
    pub(crate) fn new(figures: &Arc<Figures>, room: OwnedSemaphorePermit) -> Self {
        figures.received();
        Self { figures: Arc::clone(figures), _room: room }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.figures.settled();
    }
}

impl<R: Receipt> Answer<R> {
    /// Gives the message back.
    fn nack(self, reason: &'static str) {
        self.place.figures.nacked(reason);
        self.receipt.nack();
    }
}

/// The loop that empties the reader's queue.
pub(crate) struct Intake<R> {
    topic: Arc<Topic>,
    identity: Identity,
    figures: Arc<Figures>,
    /// Tells that the source is to end: what is held is given back then.
    phase: watch::Receiver<Phase>,
    nack_delay: Duration,
    /// Everything before it is in tables; `None` when syncing is enough.
    committed: Option<watch::Receiver<Offset>>,
    /// What is stored and waits for that, by offset; copies of one message have the same.
    uncommitted: BTreeMap<Offset, Vec<Answer<R>>>,
    /// Confirmations that are awaited, and messages that are kept back before they are given back.
    waiting: JoinSet<()>,
}

/// A message that the log may take.
struct Fit<R> {
    message: NewMessage,
    answer: Answer<R>,
}

impl<R: Receipt> Intake<R> {
    pub(crate) fn new(
        topic: Arc<Topic>,
        identity: Identity,
        figures: Arc<Figures>,
        phase: watch::Receiver<Phase>,
        nack_delay: Duration,
        committed: Option<watch::Receiver<Offset>>,
    ) -> Self {
        let (uncommitted, waiting) = (BTreeMap::new(), JoinSet::new());
        Self { topic, identity, figures, phase, nack_delay, committed, uncommitted, waiting }
    }

    /// Takes deliveries until the reader is gone.
    pub(crate) async fn run(mut self, mut deliveries: mpsc::Receiver<Delivery<R>>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = deliveries.recv_many(&mut batch, APPEND_MESSAGES_MAX) => {
                    if count == 0 {
                        break;
                    }
                    let mut fit = self.fit(&mut batch);
                    while !fit.is_empty() {
                        let part = first_append(&mut fit);
                        self.store(part).await;
                    }
                }
                next = next_commit(&mut self.committed) => self.acknowledge_before(next),
            }
            while self.waiting.try_join_next().is_some() {}
        }
        self.end().await;
    }

    /// The messages as the log takes them, without those that it never does.
    fn fit(&mut self, batch: &mut Vec<Delivery<R>>) -> Vec<Fit<R>> {
        let mut fit = Vec::with_capacity(batch.len());
        for Delivery { message, answer } in batch.drain(..) {
            match new_message(&self.identity, message) {
                Ok((message, left_out)) => {
                    self.figures.metadata_left_out.add(u64::from(left_out));
                    fit.push(Fit { message, answer });
                }
                Err(error) => {
                    tracing::error!(topic = self.topic.name(), %error, "a message is given back");
                    self.refuse(answer, "attributes");
                }
            }
        }
        fit
    }

    /// Appends messages, trying for as long as it takes, and answers them.
    async fn store(&mut self, mut part: Vec<Fit<R>>) {
        while !part.is_empty() {
            let messages = part.iter().map(|fit| fit.message.clone()).collect();
            match self.topic.append(messages).await {
                Ok(appended) => return self.stored(part, &appended),
                // Nothing of the append was stored; the others go on without it.
                Err(AppendError::TooLarge { index, bytes, bytes_max, .. }) if index < part.len() => {
                    let topic = self.topic.name();
                    tracing::error!(
                        topic,
                        bytes,
                        bytes_max,
                        "a message is larger than the topic takes: given back"
                    );
                    let refused = part.remove(index);
                    self.refuse(refused.answer, "too_large");
                }
                Err(error) => {
                    if !self.hold(&error).await {
                        return part.into_iter().for_each(|fit| fit.answer.nack("stopped"));
                    }
                }
            }
        }
    }

    fn stored(&mut self, part: Vec<Fit<R>>, appended: &Appended) {
        let stored = (part.len() as u64).saturating_sub(appended.duplicates);
        self.figures.appended(stored, appended.duplicates);
        let committed = self.committed.as_ref().map(|committed| *committed.borrow());
        for (fit, offset) in part.into_iter().zip(&appended.offsets) {
            match committed {
                Some(committed) if *offset >= committed => {
                    self.uncommitted.entry(*offset).or_default().push(fit.answer);
                }
                _ => self.acknowledge(fit.answer),
            }
        }
    }

    /// Waits before the log is asked again; answers whether to ask it.
    async fn hold(&mut self, error: &AppendError) -> bool {
        self.figures.holds(error.to_string());
        let (AppendError::Backpressure { retry_after, .. } | AppendError::Unavailable { retry_after, .. }) =
            error
        else {
            // A closed topic never opens again: the process ends, or the topic was deleted.
            tracing::warn!(topic = self.topic.name(), %error, "what was received is given back");
            return false;
        };
        // The client goes on extending the leases of what waits here.
        tokio::select! {
            () = tokio::time::sleep(*retry_after) => true,
            () = ended(&mut self.phase) => false,
        }
    }

    fn acknowledge_before(&mut self, next: Offset) {
        let later = self.uncommitted.split_off(&next);
        let ready = std::mem::replace(&mut self.uncommitted, later);
        ready.into_values().flatten().for_each(|answer| self.acknowledge(answer));
    }

    fn acknowledge(&mut self, Answer { receipt, place }: Answer<R>) {
        let Some(confirmation) = receipt.ack() else {
            return self.figures.acks.add(1);
        };
        let figures = Arc::clone(&self.figures);
        self.waiting.spawn(async move {
            match confirmation.await {
                Ok(()) => figures.acks.add(1),
                Err(error) => {
                    tracing::debug!(error, "an ack was not confirmed: the message comes again");
                    figures.ack_failures.add(1);
                }
            }
            drop(place);
        });
    }

    /// Gives a message back that the log never takes, after a while.
    fn refuse(&mut self, answer: Answer<R>, reason: &'static str) {
        let (delay, mut phase) = (self.nack_delay, self.phase.clone());
        self.waiting.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = ended(&mut phase) => {}
            }
            answer.nack(reason);
        });
    }

    /// What is stored and not committed is given back: it comes again, and is recognised.
    async fn end(mut self) {
        if let Some(committed) = &self.committed {
            let next = *committed.borrow();
            self.acknowledge_before(next);
        }
        let uncommitted = std::mem::take(&mut self.uncommitted);
        uncommitted.into_values().flatten().for_each(|answer| answer.nack("stopped"));
        let waiting = async { while self.waiting.join_next().await.is_some() {} };
        if tokio::time::timeout(CONFIRMATION_TIMEOUT, waiting).await.is_err() {
            tracing::warn!(
                topic = self.topic.name(),
                "acks were not confirmed in time: some messages come again"
            );
        }
    }
}

/// The next place up to which everything is in tables; never, when nobody says so.
async fn next_commit(committed: &mut Option<watch::Receiver<Offset>>) -> Offset {
    let Some(committed) = committed else { return std::future::pending().await };
    if committed.changed().await.is_err() {
        return std::future::pending().await;
    }
    *committed.borrow_and_update()
}

/// Takes off the front what goes into one append.
fn first_append<R>(fit: &mut Vec<Fit<R>>) -> Vec<Fit<R>> {
    let mut bytes = 0;
    let fits = |fit: &&Fit<R>| {
        bytes += fit.message.size_bytes();
        bytes <= APPEND_BYTES_MAX
    };
    let count = fit.iter().take_while(fits).count();
    fit.drain(..count.max(1)).collect()
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
