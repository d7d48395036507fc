//! StreamingPull.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::grpc::with_rule;
use super::methods::BoxFuture;
use crate::acklog::NotDurable;
use crate::broker::Broker;
use crate::error::PubsubError;
use crate::limits::{RESPONSE_BYTES_MAX, RESPONSE_MESSAGES_MAX, STREAM_REQUEST_BYTES_MAX};
use crate::machine::{Holder, Room};
use crate::proto::v1;
use crate::proto::v1::streaming_pull_response::{
    AcknowledgeConfirmation, ModifyAckDeadlineConfirmation, SubscriptionProperties,
};
use crate::subscription::{Answers, Settings, Subscription, Use, Verdict, check_deadline};

/// How long a client may take to say which subscription.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Acks that may be on their way to the disk before more are read: a client cannot run ahead of it.
const COMMITS_MAX: usize = 64;
/// Responses that may wait for the client. While it does not read, nothing is leased to it.
const RESPONSES_WAITING_MAX: usize = 1;
/// What one response may carry.
const RESPONSE: Room = Room { messages: RESPONSE_MESSAGES_MAX, bytes: RESPONSE_BYTES_MAX };

type Sender = mpsc::Sender<Result<v1::StreamingPullResponse, Status>>;
type Slot = mpsc::OwnedPermit<Result<v1::StreamingPullResponse, Status>>;
type Committed = (Answers, Result<(), NotDurable>);

/// Opens a stream: the first request says of what, and how much the client wants to have at once.
pub(super) async fn open(
    broker: Arc<Broker>,
    mut requests: Streaming<v1::StreamingPullRequest>,
    place: Option<OwnedSemaphorePermit>,
) -> Result<Response<ReceiverStream<Result<v1::StreamingPullResponse, Status>>>, Status> {
    let first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, requests.message()).await;
    let first = first
        .map_err(|_| Status::deadline_exceeded("no request came that names a subscription"))?
        .map_err(|status| with_rule(status, STREAM_REQUEST_BYTES_MAX))?;
    let first = first.ok_or_else(|| Status::invalid_argument("the first request names a subscription"))?;
    let subscription = broker.subscription(&first.subscription)?;
    // Before it is looked at, so that no change is missed.
    let (state, settings) = (subscription.watch_use(), subscription.watch_settings());
    subscription.must_be_pulled()?;
    let lease = match first.stream_ack_deadline_seconds {
        0 => subscription.settings().ack_deadline,
        seconds => deadline(seconds)?,
    };
    let holder = broker.new_holder();
    // Nothing or less means no limit.
    let limit = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0).unwrap_or(u64::MAX);
    let (messages_max, bytes_max) =
        (limit(first.max_outstanding_messages), limit(first.max_outstanding_bytes));
    let waker = subscription.open_holder(holder, messages_max, bytes_max);
    let (sender, receiver) = mpsc::channel(RESPONSES_WAITING_MAX);
    let stream = Stream {
        state,
        settings,
        _guard: HolderGuard { subscription: Arc::clone(&subscription), holder },
        subscription,
        holder,
        waker,
        lease,
        ends_at: Instant::now() + broker.config.stream_lifetime,
        commits: FuturesOrdered::new(),
        confirm: None,
        confirm_modified: None,
        try_now: true,
        is_full: false,
    };
    tokio::spawn(async move {
        metrics::gauge!("millrace_pubsub_streams").increment(1.0);
        let ended = stream.run(first, requests, &sender).await;
        metrics::gauge!("millrace_pubsub_streams").decrement(1.0);
        if let Err(status) = ended {
            // Who does not read does not hear why, either.
            let _ = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, sender.send(Err(status))).await;
        }
        drop(place);
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// An open stream.
struct Stream {
    subscription: Arc<Subscription>,
    holder: Holder,
    /// Ends the holder when the stream ends, however it does.
    _guard: HolderGuard,
    /// Told when there may be something for this stream.
    waker: Arc<Notify>,
    lease: Duration,
    ends_at: Instant,
    state: watch::Receiver<Use>,
    settings: watch::Receiver<Arc<Settings>>,
    /// Acks on their way to the disk.
    commits: FuturesOrdered<BoxFuture<Committed>>,
    /// What an exactly-once client is to be told.
    confirm: Option<AcknowledgeConfirmation>,
    confirm_modified: Option<ModifyAckDeadlineConfirmation>,
    /// There may be messages.
    try_now: bool,
    /// There are messages, but the client has too much to get one: only its own answers change that.
    is_full: bool,
}

struct HolderGuard {
    subscription: Arc<Subscription>,
    holder: Holder,
}

impl Drop for HolderGuard {
    fn drop(&mut self) {
        self.subscription.close_holder(self.holder);
        // A wake that this stream took and did not use.
        self.subscription.available.notify_one();
    }
}

impl Stream {
    async fn run(
        mut self,
        first: v1::StreamingPullRequest,
        mut requests: Streaming<v1::StreamingPullRequest>,
        sender: &Sender,
    ) -> Result<(), Status> {
        self.answers_in(first)?;
        let subscription = Arc::clone(&self.subscription);
        let waker = Arc::clone(&self.waker);
        let mut slot: Option<Slot> = None;
        loop {
            slot = match slot {
                Some(slot) => self.respond(slot).await?,
                None => None,
            };
            let wants = slot.is_some() && !self.try_now && !self.is_full && self.has_room();
            tokio::select! {
                request = requests.message(), if self.commits.len() < COMMITS_MAX => match request {
                    Ok(Some(request)) => self.later_request(request)?,
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(with_rule(status, STREAM_REQUEST_BYTES_MAX)),
                },
                free = sender.clone().reserve_owned(), if slot.is_none() => match free {
                    Ok(free) => slot = Some(free),
                    Err(_) => return Ok(()),
                },
                () = subscription.available.notified(), if wants => self.try_now = true,
                () = waker.notified() => (self.try_now, self.is_full) = (true, false),
                Some(committed) = self.commits.next(), if !self.commits.is_empty() => self.committed(committed),
                () = sender.closed() => return Ok(()),
                _ = self.state.changed() => subscription.must_be_pulled()?,
                // It may push from now on.
                _ = self.settings.changed() => subscription.must_be_pulled()?,
                () = tokio::time::sleep_until(self.ends_at) => {
                    return Err(Status::unavailable("the stream was open long enough: open another one"));
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.subscription.has_room(self.holder, RESPONSE)
    }

    /// Uses a free slot, when there is something for it.
    async fn respond(&mut self, slot: Slot) -> Result<Option<Slot>, Status> {
        let mut response = v1::StreamingPullResponse {
            acknowledge_confirmation: self.confirm.take(),
            modify_ack_deadline_confirmation: self.confirm_modified.take(),
            ..v1::StreamingPullResponse::default()
        };
        let confirms = response.acknowledge_confirmation.is_some()
            || response.modify_ack_deadline_confirmation.is_some();
        if self.try_now && self.has_room() {
            self.subscription.must_be_pulled()?;
            let fetched = self.subscription.fetch(self.holder, RESPONSE, self.lease).await?;
            self.try_now = !fetched.messages.is_empty();
            self.is_full = fetched.is_full;
            if fetched.is_full {
                // Others may have room.
                self.subscription.available.notify_one();
            }
            response.received_messages = fetched.messages;
        } else {
            self.try_now = false;
        }
        if response.received_messages.is_empty() && !confirms {
            return Ok(Some(slot));
        }
        let rules = &self.subscription.settings().rules;
        response.subscription_properties = Some(SubscriptionProperties {
            exactly_once_delivery_enabled: rules.exactly_once,
            message_ordering_enabled: rules.ordered,
        });
        slot.send(Ok(response));
        Ok(None)
    }

    fn later_request(&mut self, request: v1::StreamingPullRequest) -> Result<(), Status> {
        if !request.subscription.is_empty() && request.subscription != self.subscription.name.to_string() {
            return Err(Status::invalid_argument(
                "only the first request of a stream names the subscription",
            ));
        }
        if request.max_outstanding_messages != 0 || request.max_outstanding_bytes != 0 {
            return Err(Status::invalid_argument(
                "max_outstanding_messages and max_outstanding_bytes are set in the first request of a stream only",
            ));
        }
        if request.stream_ack_deadline_seconds != 0 {
            self.lease = deadline(request.stream_ack_deadline_seconds)?;
        }
        self.answers_in(request)
    }

    /// Takes the acks and deadlines of a request.
    fn answers_in(&mut self, request: v1::StreamingPullRequest) -> Result<(), Status> {
        let exactly_once = self.subscription.settings().rules.exactly_once;
        if !request.ack_ids.is_empty() {
            let (answers, commit) = self.subscription.acknowledge(request.ack_ids)?;
            self.commits.push_back(Box::pin(async move { (answers, commit.await) }));
        }
        let (ids, seconds) = (request.modify_deadline_ack_ids, request.modify_deadline_seconds);
        if !ids.is_empty() || !seconds.is_empty() {
            let answers = self.subscription.modify_deadlines(ids, &seconds)?;
            if exactly_once {
                let confirm = self.confirm_modified.get_or_insert_default();
                confirm.ack_ids.extend(answers.with(Verdict::Good).cloned());
                confirm.invalid_ack_ids.extend(answers.with(Verdict::Stale).cloned());
            }
        }
        // There may be room now.
        (self.try_now, self.is_full) = (true, false);
        self.subscription.touch();
        Ok(())
    }

    fn committed(&mut self, (answers, durable): Committed) {
        if !self.subscription.settings().rules.exactly_once {
            return;
        }
        let confirm = self.confirm.get_or_insert_default();
        let good = answers.with(Verdict::Good).cloned();
        match durable {
            Ok(()) => confirm.ack_ids.extend(good),
            Err(_) => confirm.temporary_failed_ack_ids.extend(good),
        }
        confirm.invalid_ack_ids.extend(answers.with(Verdict::Stale).cloned());
    }
}

fn deadline(seconds: i32) -> Result<Duration, PubsubError> {
    check_deadline(seconds)?;
    Ok(Duration::from_secs(u64::from(seconds.unsigned_abs())))
}
