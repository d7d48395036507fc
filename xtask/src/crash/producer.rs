//! Producers: threads that send, lose replies, retry, and tell the oracle what was acknowledged. They
//! live through all rounds; the server under them does not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::oracle::Oracle;
use super::request::{EncodedRequest, Epoch};
use super::transport::{Reply, Transport};
use crate::server::Launch;
use crate::wait;

/// Between attempts while the server is away.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// In the fault-free end a request must be acknowledged within so many attempts (about a minute).
const ATTEMPTS_WHEN_FINISHING_MAX: u64 = 3_000;

/// What the producers and the rounds share.
pub struct Shared {
    /// The oracle.
    pub oracle: Oracle,
    /// The time of record 0.
    pub epoch: Epoch,
    /// Set when faults are over: producers finish what they hold, send one more request and end.
    pub finishing: AtomicBool,
    /// Set when the run has failed: producers end at once.
    pub aborted: AtomicBool,
    /// Requests sent and not answered at this moment.
    pub in_flight: AtomicU64,
    /// Counts for the summary.
    pub counts: Counts,
    /// Refusals, which are faults.
    pub refusals: Mutex<Vec<String>>,
}

/// What producers count.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests acknowledged.
    pub acked_requests: AtomicU64,
    /// Attempts without a reply.
    pub lost_replies: AtomicU64,
    /// Attempts that the server put off.
    pub put_off: AtomicU64,
    /// Attempts to send the same bytes again, acknowledged before or not.
    pub retries: AtomicU64,
    /// Requests given up without ever being acknowledged.
    pub abandoned: AtomicU64,
}

/// Sends until the run is finishing.
pub fn run(number: usize, seed: u64, launch: &Launch, shared: &Shared) -> Result<()> {
    let mut producer = Producer {
        random: StdRng::seed_from_u64(seed ^ (number as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95)),
        transport: Transport::of_producer(number, launch)?,
        shared,
    };
    loop {
        let last = shared.finishing.load(Relaxed);
        producer.deliver_one()?;
        if last || shared.aborted.load(Relaxed) {
            return Ok(());
        }
        let think = producer.random.random_range(0..30);
        wait::pause(Duration::from_millis(think));
    }
}

struct Producer<'a> {
    random: StdRng,
    transport: Transport,
    shared: &'a Shared,
}

impl Producer<'_> {
    /// Makes a request and sends it until it is acknowledged or, sometimes, given up.
    fn deliver_one(&mut self) -> Result<()> {
        let shared = self.shared;
        let count = if self.random.random_bool(0.1) { self.random.random_range(20..120) } else { 4 };
        let ids = shared.oracle.issue(count);
        let request =
            EncodedRequest::new(&shared.oracle, ids.clone(), shared.epoch, self.transport.encoding())?;
        let hangs_up_first = self.random.random_bool(0.08);
        let gives_up = self.random.random_bool(0.3);
        for attempt in 0_u64.. {
            if shared.aborted.load(Relaxed) {
                return Ok(());
            }
            let reply = self.attempt(&request, attempt == 0 && hangs_up_first);
            shared.counts.retries.fetch_add(u64::from(attempt > 0), Relaxed);
            match reply {
                Reply::Acked => {
                    shared.oracle.acknowledge(ids);
                    shared.counts.acked_requests.fetch_add(1, Relaxed);
                    self.perhaps_send_again(&request);
                    return Ok(());
                }
                Reply::Lost => {
                    shared.counts.lost_replies.fetch_add(1, Relaxed);
                    if gives_up && attempt > 2 && !shared.finishing.load(Relaxed) {
                        shared.counts.abandoned.fetch_add(1, Relaxed);
                        return Ok(());
                    }
                }
                Reply::Busy => {
                    shared.counts.put_off.fetch_add(1, Relaxed);
                }
                Reply::Refused(reason) => {
                    self.note_refusal(reason);
                    return Ok(());
                }
            }
            if shared.finishing.load(Relaxed) && attempt > ATTEMPTS_WHEN_FINISHING_MAX {
                self.note_refusal("never acknowledged, though faults were over".to_owned());
                return Ok(());
            }
            wait::pause(RETRY_PAUSE);
        }
        Ok(())
    }

    fn attempt(&mut self, request: &EncodedRequest, hang_up: bool) -> Reply {
        self.shared.in_flight.fetch_add(1, Relaxed);
        let reply = if hang_up {
            let patience = Duration::from_micros(self.random.random_range(100..4_000));
            self.transport.send_and_hang_up(request, patience)
        } else {
            self.transport.send(request)
        };
        self.shared.in_flight.fetch_sub(1, Relaxed);
        reply
    }

    /// A client that believes a reply was lost sends what is stored already. Its outcome is no matter:
    /// the first reply stands.
    fn perhaps_send_again(&mut self, request: &EncodedRequest) {
        if self.random.random_bool(0.06) {
            self.shared.counts.retries.fetch_add(1, Relaxed);
            if let Reply::Refused(reason) = self.attempt(request, false) {
                self.note_refusal(reason);
            }
        }
    }

    fn note_refusal(&self, reason: String) {
        self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
    }
}
