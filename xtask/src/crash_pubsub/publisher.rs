//! Publishers: tasks that publish, lose replies and retry. They live through all rounds; the server under them
//! does not.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;
use rand::rngs::StdRng;
use tonic::{Code, Status};

use super::message::{self, Place};
use super::plan;
use super::shared::{RETRY_PAUSE, Shared};
use super::topology::MAIN;
use crate::pubsub::v1::{PublishRequest, PublishResponse};
use crate::pubsub::{Clients, is_lost};

/// Ordering keys of one publisher: nobody else publishes to them.
const KEYS: usize = 3;
/// No answer within this time counts as a lost reply.
const REPLY_LIMIT: Duration = Duration::from_secs(30);
/// Attempts in the fault-free end before a publisher gives up (about a minute).
const ATTEMPTS_WHEN_FINISHING_MAX: u64 = 3_000;

/// Publishes until the run is finishing.
pub async fn run(number: u64, shared: Arc<Shared>) -> Result<()> {
    let mut publisher = Publisher {
        number,
        random: plan::random(shared.oracle.seed(), number),
        clients: Clients::new(&shared.address)?,
        next_numbers: [0; KEYS],
        shared: Arc::clone(&shared),
    };
    loop {
        let last = shared.finishing.load(Relaxed);
        publisher.publish_one().await;
        if last {
            return Ok(());
        }
        let think = publisher.random.random_range(0..40);
        tokio::time::sleep(Duration::from_millis(think)).await;
    }
}

struct Publisher {
    number: u64,
    random: StdRng,
    clients: Clients,
    /// The next number of each key.
    next_numbers: [u64; KEYS],
    shared: Arc<Shared>,
}

impl Publisher {
    /// Makes a request and sends it until it is acknowledged or, sometimes, given up. Requests with an ordering
    /// key are never given up, so that their numbers have no gaps.
    async fn publish_one(&mut self) {
        let shared = Arc::clone(&self.shared);
        let count = if self.random.random_bool(0.05) { 100 } else { self.random.random_range(1..10) };
        let ids = shared.oracle.issue(count);
        let has_key = self.random.random_bool(0.5);
        let request = self.request(ids.clone(), has_key);
        let hangs_up_first = self.random.random_bool(0.05);
        let gives_up = !has_key && self.random.random_bool(0.3);
        for attempt in 0_u64.. {
            match self.attempt(request.clone(), attempt == 0 && hangs_up_first).await {
                Ok(answer) => {
                    shared.oracle.promise(ids, &answer.message_ids);
                    shared.counts.published_requests.fetch_add(1, Relaxed);
                    return;
                }
                Err(status) if is_lost(&status) => {
                    shared.counts.lost_replies.fetch_add(1, Relaxed);
                    if gives_up && attempt > 2 {
                        return;
                    }
                }
                Err(status) if status.code() == Code::ResourceExhausted => {
                    shared.counts.put_off.fetch_add(1, Relaxed);
                }
                Err(status) => return shared.oracle.fault(format!("publishing was refused: {status}")),
            }
            if shared.finishing.load(Relaxed) && attempt > ATTEMPTS_WHEN_FINISHING_MAX {
                let text = format!("ids {ids:?} were never acknowledged, though faults were over");
                return shared.oracle.fault(text);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn request(&mut self, ids: Range<u64>, has_key: bool) -> PublishRequest {
        let seed = self.shared.oracle.seed();
        let key = self.random.random_range(0..KEYS);
        let messages = ids.map(|id| {
            let place = has_key.then(|| {
                let number = self.next_numbers[key];
                self.next_numbers[key] += 1;
                Place { key: format!("key-{}-{key}", self.number), number }
            });
            message::message(seed, id, place.as_ref())
        });
        PublishRequest { topic: MAIN.to_owned(), messages: messages.collect() }
    }

    async fn attempt(&mut self, request: PublishRequest, hang_up: bool) -> Result<PublishResponse, Status> {
        let patience = match hang_up {
            true => Duration::from_micros(self.random.random_range(100..4_000)),
            false => REPLY_LIMIT,
        };
        self.shared.in_flight.fetch_add(1, Relaxed);
        let answer = tokio::time::timeout(patience, self.clients.publisher.publish(request)).await;
        self.shared.in_flight.fetch_sub(1, Relaxed);
        answer.map_err(|_| Status::deadline_exceeded("no answer"))?.map(tonic::Response::into_inner)
    }
}
