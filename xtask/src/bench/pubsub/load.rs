//! Messages that a load is made of, and who publishes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tonic::Code;

use super::super::bodies::answer;
use crate::pubsub::Clients;
use crate::pubsub::v1::{PublishRequest, PubsubMessage};

/// Different payloads of a load, so that no compressor sees the same one soon again.
const PAYLOADS: u64 = 512;
/// A payload begins with its message's number, in so many digits.
const NUMBER_BYTES: usize = 16;
/// Attempts of one request that the server puts off before the benchmark gives up.
const ATTEMPTS_MAX: u32 = 600;
/// Between those attempts.
const PUT_OFF_PAUSE: Duration = Duration::from_millis(50);

/// What is published.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Messages in all.
    pub messages: u64,
    /// In one request.
    pub per_request: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Bytes of a message's data.
    pub bytes: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Attempts that the server put off.
    pub put_off: u64,
}

/// Payloads of one size.
#[derive(Clone)]
pub struct Payloads(Arc<Vec<Vec<u8>>>);

impl Payloads {
    /// Text of so many bytes each.
    pub fn new(bytes: usize) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        Self(Arc::new((0..PAYLOADS).map(|_| answer(&mut random, bytes).into_bytes()).collect()))
    }

    /// The message of a number, from 0.
    pub fn message(&self, number: u64) -> PubsubMessage {
        let mut data = self.0[(number % PAYLOADS) as usize].clone();
        let digits = format!("{number:0NUMBER_BYTES$}");
        let end = NUMBER_BYTES.min(data.len());
        data[..end].copy_from_slice(&digits.as_bytes()[NUMBER_BYTES - end..]);
        PubsubMessage { data: Bytes::from(data), ..PubsubMessage::default() }
    }
}

/// The number of a message.
pub fn number(message: &PubsubMessage) -> Result<u64> {
    let digits = message.data.get(..NUMBER_BYTES.min(message.data.len())).unwrap_or_default();
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.context("a message without its number came")
}

/// Publishes as fast as it goes, each request answered before the next of its worker.
pub async fn publish(address: &str, topic: &str, load: Load) -> Result<Published> {
    let payloads = Payloads::new(load.bytes);
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..load.in_flight {
        let (mut clients, payloads, next) = (Clients::new(address)?, payloads.clone(), Arc::clone(&next));
        let topic = topic.to_owned();
        workers.spawn(async move {
            let mut put_off = 0;
            loop {
                let first = next.fetch_add(load.per_request, Relaxed);
                if first >= load.messages {
                    return anyhow::Ok(put_off);
                }
                let numbers = first..(first + load.per_request).min(load.messages);
                let messages = numbers.map(|number| payloads.message(number)).collect();
                put_off += deliver(&mut clients, PublishRequest { topic: topic.clone(), messages }).await?;
            }
        });
    }
    let mut put_off = 0;
    while let Some(worker) = workers.join_next().await {
        put_off += worker.context("a publisher panicked")??;
    }
    Ok(Published { elapsed: start.elapsed(), put_off })
}

/// Sends one request until it is acknowledged; gives how often it was put off.
pub async fn deliver(clients: &mut Clients, request: PublishRequest) -> Result<u64> {
    for attempt in 0..ATTEMPTS_MAX {
        match clients.publisher.publish(request.clone()).await {
            Ok(_) => return Ok(u64::from(attempt)),
            Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                tokio::time::sleep(PUT_OFF_PAUSE).await;
            }
            Err(status) => bail!("the server refused a request: {status}"),
        }
    }
    bail!("the server put a request off {ATTEMPTS_MAX} times")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_and_number() {
        for bytes in [1_000, 16] {
            let message = Payloads::new(bytes).message(1_234_567);
            assert_eq!(message.data.len(), bytes);
            assert_eq!(number(&message).unwrap(), 1_234_567);
        }
    }
}
