//! Subscribers: over StreamingPull, and over pulls one by one. They ack most of what comes, give some back,
//! forget some, and hang up now and then.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Result;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::message::is_bad;
use super::oracle::Came;
use super::plan;
use super::shared::{RETRY_PAUSE, Shared};
use super::topology::{Sub, pull_request};
use crate::pubsub::v1::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, StreamingPullRequest, StreamingPullResponse,
};
use crate::pubsub::{Clients, is_lost};

/// What a stream may hold, so that flow control is at work.
const OUTSTANDING_MESSAGES_MAX: i64 = 300;
/// Messages of one pull.
const PULL_MESSAGES_MAX: i32 = 100;
/// The longer time that some messages are given before they are acked.
const EXTENDED_SECONDS: i32 = 60;

/// One subscriber of a subscription.
pub struct Subscriber {
    sub: Sub,
    random: StdRng,
    clients: Clients,
    shared: Arc<Shared>,
}

/// What becomes of messages that came.
#[derive(Debug, Default)]
pub struct Answer {
    /// These are dealt with.
    pub acked: Vec<Came>,
    /// These are given back.
    pub nacked: Vec<Came>,
    /// These get more time before they are acked.
    pub extended: Vec<String>,
}

impl Subscriber {
    /// A subscriber with its own connection.
    pub fn new(sub: Sub, task: u64, shared: &Arc<Shared>) -> Result<Self> {
        let random = plan::random(shared.oracle.seed(), task);
        Ok(Self { sub, random, clients: Clients::new(&shared.address)?, shared: Arc::clone(shared) })
    }

    /// Follows streams, one after the other, until subscribers end.
    pub async fn stream(mut self) {
        while !self.shared.is_ending() {
            let ended = self.follow().await;
            self.note("a stream", ended);
            self.shared.counts.streams_ended.fetch_add(1, Relaxed);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Pulls until subscribers end.
    pub async fn pull(mut self) {
        while !self.shared.is_ending() {
            let pulled = self.pull_once().await;
            if pulled.is_err() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            self.note("a pull", pulled);
        }
    }

    fn note(&self, what: &str, ended: Result<(), Status>) {
        if let Err(status) = ended
            && !is_lost(&status)
        {
            self.shared.oracle.fault(format!("{}: {what} was refused: {status}", self.sub.name()));
        }
    }

    async fn follow(&mut self) -> Result<(), Status> {
        let way = self.shared.way();
        let (requests, receiver) = mpsc::channel(16);
        let first = StreamingPullRequest {
            subscription: self.sub.path(),
            stream_ack_deadline_seconds: if self.sub == Sub::Exact { 600 } else { 10 },
            max_outstanding_messages: OUTSTANDING_MESSAGES_MAX,
            ..StreamingPullRequest::default()
        };
        // The receiver is in hand: there is room for the first.
        let _ = requests.try_send(first);
        let opened = self.clients.subscriber.streaming_pull(ReceiverStream::new(receiver)).await?;
        let mut responses = opened.into_inner();
        let mut acks_sent = HashMap::<String, u64>::new();
        // What a stream held stays leased for its deadline, which the exactly-once one could not wait for.
        let hangs_up = self.sub != Sub::Exact && self.random.random_bool(0.1);
        let responses_max = if hangs_up { self.random.random_range(5..60) } else { usize::MAX };
        for _ in 0..responses_max {
            let Some(response) = responses.message().await? else { return Ok(()) };
            self.note_confirmations(way.life, &response, &mut acks_sent);
            let came = self.shared.oracle.came(self.sub, way, response.received_messages);
            if came.is_empty() {
                continue;
            }
            let answer = self.decide(came);
            self.shared.oracle.ack_sent(self.sub, &answer.acked);
            if self.sub == Sub::Exact {
                acks_sent.extend(answer.acked.iter().map(|came| (came.ack_id.clone(), came.offset)));
            }
            // A stream that has broken says so with its next response.
            let _ = requests.send(stream_request(answer)).await;
        }
        Ok(())
    }

    fn note_confirmations(
        &self,
        life: u64,
        response: &StreamingPullResponse,
        acks_sent: &mut HashMap<String, u64>,
    ) {
        let Some(confirmation) = &response.acknowledge_confirmation else { return };
        let confirmed = confirmation.ack_ids.iter().filter_map(|ack_id| acks_sent.remove(ack_id));
        self.shared.oracle.confirmed(life, confirmed);
    }

    async fn pull_once(&mut self) -> Result<(), Status> {
        let way = self.shared.way();
        let request = pull_request(self.sub, PULL_MESSAGES_MAX, false);
        let response = self.clients.subscriber.pull(request).await?.into_inner();
        let came = self.shared.oracle.came(self.sub, way, response.received_messages);
        let answer = self.decide(came);
        give(&mut self.clients, self.sub, &self.shared, answer).await
    }

    /// Most are acked. Behind a message that is given back, those of its ordering key are left alone: they come
    /// again after it.
    fn decide(&mut self, came: Vec<Came>) -> Answer {
        let mut answer = Answer::default();
        let mut keys_back = HashSet::new();
        let mut forgotten = 0;
        for came in came {
            let key = came.told.place.as_ref().map(|place| place.key.clone());
            let is_behind =
                self.sub == Sub::Ordered && key.as_ref().is_some_and(|key| keys_back.contains(key));
            let die = self.random.random_range(0..100_u8);
            match die {
                _ if is_behind => {}
                _ if self.sub == Sub::Poison && is_bad(came.told.id) => answer.nacked.push(came),
                // A good one is never given back there, so that it is no dead letter.
                0..5 if self.sub != Sub::Poison => {
                    keys_back.extend(key);
                    answer.nacked.push(came);
                }
                5..7 => {
                    keys_back.extend(key);
                    forgotten += 1;
                }
                7..10 => {
                    answer.extended.push(came.ack_id.clone());
                    answer.acked.push(came);
                }
                _ => answer.acked.push(came),
            }
        }
        self.shared.counts.nacks.fetch_add(answer.nacked.len() as u64, Relaxed);
        self.shared.counts.forgotten.fetch_add(forgotten, Relaxed);
        answer
    }
}

fn stream_request(answer: Answer) -> StreamingPullRequest {
    let nacked: Vec<String> = answer.nacked.into_iter().map(|came| came.ack_id).collect();
    let mut seconds = vec![0; nacked.len()];
    seconds.resize(nacked.len() + answer.extended.len(), EXTENDED_SECONDS);
    StreamingPullRequest {
        ack_ids: answer.acked.into_iter().map(|came| came.ack_id).collect(),
        modify_deadline_ack_ids: nacked.into_iter().chain(answer.extended).collect(),
        modify_deadline_seconds: seconds,
        ..StreamingPullRequest::default()
    }
}

/// Sends an answer by calls. Where messages are delivered exactly once, a call that succeeds confirms its acks,
/// and one with acks of before a restart fails.
pub async fn give(clients: &mut Clients, sub: Sub, shared: &Shared, answer: Answer) -> Result<(), Status> {
    let life = shared.way().life;
    let calls = [(answer.extended, EXTENDED_SECONDS), (ids(&answer.nacked), 0)];
    for (ack_ids, seconds) in calls.into_iter().filter(|(ack_ids, _)| !ack_ids.is_empty()) {
        let request =
            ModifyAckDeadlineRequest { subscription: sub.path(), ack_ids, ack_deadline_seconds: seconds };
        unless_stale(sub, clients.subscriber.modify_ack_deadline(request).await.map(|_| ()))?;
    }
    if answer.acked.is_empty() {
        return Ok(());
    }
    shared.oracle.ack_sent(sub, &answer.acked);
    let request = AcknowledgeRequest { subscription: sub.path(), ack_ids: ids(&answer.acked) };
    let acknowledged = clients.subscriber.acknowledge(request).await.map(|_| ());
    if acknowledged.is_ok() && sub == Sub::Exact {
        shared.oracle.confirmed(life, answer.acked.iter().map(|came| came.offset));
    }
    unless_stale(sub, acknowledged)
}

fn ids(came: &[Came]) -> Vec<String> {
    came.iter().map(|came| came.ack_id.clone()).collect()
}

/// Only exactly-once subscriptions say that ids are stale, and after a restart they must.
fn unless_stale(sub: Sub, answered: Result<(), Status>) -> Result<(), Status> {
    match answered {
        Err(status) if sub == Sub::Exact && status.code() == tonic::Code::InvalidArgument => Ok(()),
        other => other,
    }
}
