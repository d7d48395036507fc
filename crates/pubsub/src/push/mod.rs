//! Push subscriptions: messages go to an HTTP endpoint by POST, and are acked by an answer of 2xx.

mod client;
mod request;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use crate::error::PubsubError;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::machine::{Holder, Room};
use crate::proto::v1;
use crate::subscription::{Settings, Subscription, Use};

pub(crate) use client::PushClient;
use client::Pushed;
pub(crate) use request::Endpoint;
use window::Window;

/// Payload bytes that one subscription pushes at once.
const IN_FLIGHT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a lease lasts longer than a request may take.
const LEASE_SLACK: Duration = Duration::from_secs(5);
/// How long to wait after the topic could not be read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Pushes a subscription's messages, as long as it says so, until it cannot be used any more.
pub(crate) async fn push(
    subscription: Arc<Subscription>,
    client: Arc<PushClient>,
    holder: Holder,
    in_flight_max: usize,
) {
    let mut state = subscription.watch_use();
    let mut settings = subscription.watch_settings();
    while *state.borrow_and_update() == Use::Open {
        let endpoint = settings.borrow_and_update().push.clone();
        if let Some(endpoint) = endpoint {
            let waker = subscription.open_holder(holder, 0, 0);
            let pusher = Pusher {
                subscription: Arc::clone(&subscription),
                client: Arc::clone(&client),
                endpoint: Arc::new(endpoint),
                holder,
                waker,
                window: Window::new(in_flight_max),
                requests: JoinSet::new(),
                out: HashMap::new(),
                behind: HashMap::new(),
                try_now: true,
            };
            pusher.run(&mut state, &mut settings).await;
            subscription.close_holder(holder);
            // A wake that was taken and not used.
            subscription.available.notify_one();
        } else {
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                changed = settings.changed() => if changed.is_err() { return },
            }
        }
    }
}

struct Pusher {
    subscription: Arc<Subscription>,
    client: Arc<PushClient>,
    endpoint: Arc<Endpoint>,
    holder: Holder,
    waker: Arc<Notify>,
    window: Window,
    requests: JoinSet<(v1::ReceivedMessage, Option<Pushed>)>,
    /// The ack ids of messages that are out.
    out: HashMap<task::Id, String>,
    /// Messages of ordering keys of which one is out: the next goes when it was taken.
    behind: HashMap<String, VecDeque<v1::ReceivedMessage>>,
    /// There may be messages.
    try_now: bool,
}

impl Pusher {
    /// Works until the settings change or the subscription ends. Requests that are out then are cut off, and
    /// their messages come again.
    async fn run(mut self, state: &mut watch::Receiver<Use>, settings: &mut watch::Receiver<Arc<Settings>>) {
        let subscription = Arc::clone(&self.subscription);
        let waker = Arc::clone(&self.waker);
        loop {
            let pause = self.window.pause_until(Instant::now());
            if pause.is_none()
                && self.try_now
                && let Err(error) = self.send_more().await
            {
                tracing::warn!(subscription = %subscription.name, %error, "messages wait to be pushed");
                self.window.wait(Instant::now(), RETRY_PAUSE);
            }
            let pause = self.window.pause_until(Instant::now());
            let wants = pause.is_none() && !self.try_now && self.room() > 0;
            tokio::select! {
                Some(done) = self.requests.join_next_with_id(), if !self.requests.is_empty() => match done {
                    Ok((id, (message, pushed))) => {
                        self.out.remove(&id);
                        self.answered(&message, pushed);
                    }
                    Err(error) => {
                        tracing::error!(subscription = %subscription.name, %error, "a push ended early");
                        return self.give_back();
                    }
                },
                () = tokio::time::sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {}
                () = subscription.available.notified(), if wants => self.try_now = true,
                () = waker.notified() => self.try_now = true,
                _ = settings.changed() => return self.give_back(),
                _ = state.changed() => return,
            }
        }
    }

    /// Messages that are out come again at once.
    fn give_back(&mut self) {
        self.requests.abort_all();
        for ack_id in std::mem::take(&mut self.out).into_values() {
            self.subscription.answer(&ack_id, false);
        }
        for message in std::mem::take(&mut self.behind).into_values().flatten() {
            self.subscription.answer(&message.ack_id, false);
        }
    }

    fn room(&self) -> usize {
        let waiting: usize = self.behind.values().map(VecDeque::len).sum();
        self.window.messages().saturating_sub(self.requests.len() + waiting)
    }

    async fn send_more(&mut self) -> Result<(), PubsubError> {
        while self.room() > 0 && self.window.pause_until(Instant::now()).is_none() {
            self.subscription.limit_holder(self.holder, self.window.messages() as u64, IN_FLIGHT_BYTES_MAX);
            let room = Room { messages: self.room(), bytes: RESPONSE_BYTES_MAX };
            let lease = self.subscription.settings().ack_deadline + LEASE_SLACK;
            let fetched = self.subscription.fetch(self.holder, room, lease).await?;
            if fetched.messages.is_empty() {
                break;
            }
            for message in fetched.messages {
                self.send(message);
            }
        }
        self.try_now = false;
        Ok(())
    }

    fn send(&mut self, message: v1::ReceivedMessage) {
        let key = ordering_key(&message);
        if self.subscription.settings().rules.ordered && !key.is_empty() {
            if let Some(behind) = self.behind.get_mut(key) {
                return behind.push_back(message);
            }
            self.behind.insert(key.to_owned(), VecDeque::new());
        }
        let (subscription, client) = (Arc::clone(&self.subscription), Arc::clone(&self.client));
        let (endpoint, ack_id) = (Arc::clone(&self.endpoint), message.ack_id.clone());
        let request = self.requests.spawn(async move {
            let timeout = subscription.settings().ack_deadline;
            // It may have waited for others of its key.
            if !subscription.extend(&message.ack_id, timeout + LEASE_SLACK) {
                return (message, None);
            }
            let pushed = match endpoint.request(&subscription.name.to_string(), &message) {
                Ok((request, dropped)) => {
                    subscription.count("millrace_pubsub_push_attributes_dropped_total", dropped);
                    client.push(request, timeout).await
                }
                Err(error) => Pushed::Failed(error.to_string()),
            };
            (message, Some(pushed))
        });
        self.out.insert(request.id(), ack_id);
    }

    /// Acks or nacks, and sends what waited for it.
    fn answered(&mut self, message: &v1::ReceivedMessage, pushed: Option<Pushed>) {
        self.try_now = true;
        let is_taken = pushed.as_ref().is_some_and(Pushed::is_taken);
        if let Some(pushed) = pushed {
            let labels = [("subscription", self.subscription.name.to_string()), ("code", pushed.word())];
            metrics::counter!("millrace_pubsub_push_requests_total", &labels).increment(1);
            if is_taken {
                self.window.taken();
                self.subscription.touch();
            } else {
                let has_backoff = self.subscription.settings().rules.backoff.is_some();
                self.window.failed(Instant::now(), has_backoff);
                tracing::debug!(subscription = %self.subscription.name, ?pushed, "a push was not taken");
            }
            self.subscription.answer(&message.ack_id, is_taken);
        }
        let key = ordering_key(message);
        let Some(mut behind) = self.behind.remove(key) else { return };
        if is_taken && let Some(next) = behind.pop_front() {
            // What the machine has taken back meanwhile is found out when it is its turn.
            self.send(next);
            self.behind.insert(key.to_owned(), behind);
        }
        // After a failure the later ones come again with it.
    }
}

fn ordering_key(message: &v1::ReceivedMessage) -> &str {
    message.message.as_ref().map_or("", |message| message.ordering_key.as_str())
}
