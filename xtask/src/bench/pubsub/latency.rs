//! From publishing to delivery at a steady rate.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::consume::consume;
use super::load::{Payloads, deliver, number};
use crate::pubsub::Clients;
use crate::pubsub::v1::PublishRequest;

/// Requests of one message each, a second.
const RATE_PER_SECOND: u32 = 1_000;
/// Bytes of a message's data.
const BYTES: usize = 1_000;

/// How long each message took, ascending: from before its request was sent until it had come over a stream. Requests
/// go out on a timetable, whether or not earlier ones are answered: a slow server does not slow its publishers.
pub async fn measure(
    address: &str,
    topic: &str,
    subscription: &str,
    time: Duration,
) -> Result<Vec<Duration>> {
    let messages = time.as_secs() * u64::from(RATE_PER_SECOND);
    let (address, subscription) = (address.to_owned(), subscription.to_owned());
    let consumer = tokio::spawn({
        let address = address.clone();
        async move {
            let mut came = Vec::with_capacity(messages as usize);
            consume(&address, &subscription, messages, |message| {
                came.push((number(message).unwrap_or(0), Instant::now()));
            })
            .await?;
            anyhow::Ok(came)
        }
    });
    let sent = publish(&address, topic, messages).await?;
    let came = consumer.await.context("the subscriber panicked")??;
    let mut times: Vec<Duration> =
        came.iter().map(|(number, at)| at.saturating_duration_since(sent[*number as usize])).collect();
    times.sort();
    Ok(times)
}

async fn publish(address: &str, topic: &str, messages: u64) -> Result<Vec<Instant>> {
    let (payloads, clients) = (Payloads::new(BYTES), Clients::new(address)?);
    let mut timetable = tokio::time::interval(Duration::from_secs(1) / RATE_PER_SECOND);
    timetable.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut requests = JoinSet::new();
    let mut sent = Vec::with_capacity(messages as usize);
    for number in 0..messages {
        timetable.tick().await;
        let request = PublishRequest { topic: topic.to_owned(), messages: vec![payloads.message(number)] };
        let mut clients = clients.clone();
        sent.push(Instant::now());
        requests.spawn(async move { deliver(&mut clients, request).await });
    }
    while let Some(request) = requests.join_next().await {
        request.context("a request panicked")??;
    }
    Ok(sent)
}
