//! Publishes messages and receives them again over the port, and says how fast:
//! `cargo run --release -p millrace-pubsub --example load -- URL MESSAGES [BATCH] [PUBLISHERS] [STREAMS]`.
//! Every message is checked off; the run fails when one is missing.

use std::collections::HashSet;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use v1::publisher_client::PublisherClient;
use v1::subscriber_client::SubscriberClient;

const MESSAGE_BYTES: usize = 1000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, default: usize| arguments.get(index).map_or(Ok(default), |text| text.parse::<usize>());
    let url = arguments.first().ok_or("give the URL of the port")?.clone();
    let (messages, batch) = (number(1, 100_000)?, number(2, 100)?);
    let (publishers, streams) = (number(3, 8)?, number(4, 2)?);
    let run = std::process::id();
    let topic = format!("projects/load/topics/load-{run}");
    let subscription = format!("projects/load/subscriptions/load-{run}");
    let mut publisher = PublisherClient::new(Channel::from_shared(url.clone())?.connect().await?);
    publisher.create_topic(v1::Topic { name: topic.clone(), ..v1::Topic::default() }).await?;
    let mut subscriber = SubscriberClient::new(Channel::from_shared(url.clone())?.connect().await?);
    let resource =
        v1::Subscription { name: subscription.clone(), topic: topic.clone(), ..v1::Subscription::default() };
    subscriber.create_subscription(resource).await?;

    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..publishers {
        let channel = Channel::from_shared(url.clone())?.connect().await?;
        tasks.push(tokio::spawn(publish(channel, topic.clone(), messages / publishers, batch)));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let count = messages / publishers * publishers;
    report("published", count, started.elapsed());
    latencies.sort();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or_default();
    println!("  a request of {batch}: median {:?}, 99 % within {:?}", at(50), at(99));

    let started = Instant::now();
    let seen = Arc::new(Mutex::new(HashSet::with_capacity(count)));
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let channel = Channel::from_shared(url.clone())?.connect().await?;
        tasks.push(tokio::spawn(receive(channel, subscription.clone(), Arc::clone(&seen), count)));
    }
    for task in tasks {
        task.await??;
    }
    report("delivered and acked", count, started.elapsed());
    let pull = v1::PullRequest { subscription, max_messages: 10, ..v1::PullRequest::default() };
    let left = subscriber.pull(pull).await?.into_inner().received_messages.len();
    if left > 0 {
        return Err(format!("{left} messages came again after all were acked").into());
    }
    Ok(())
}

fn report(what: &str, count: usize, elapsed: Duration) {
    let rate = count as f64 / elapsed.as_secs_f64();
    println!("{what}: {count} messages of {MESSAGE_BYTES} bytes in {elapsed:.2?}, {rate:.0}/s");
}

async fn publish(channel: Channel, topic: String, count: usize, batch: usize) -> Outcome<Vec<Duration>> {
    let mut publisher = PublisherClient::new(channel);
    let message =
        v1::PubsubMessage { data: Bytes::from(vec![b'x'; MESSAGE_BYTES]), ..v1::PubsubMessage::default() };
    let mut latencies = Vec::new();
    let mut left = count;
    while left > 0 {
        let size = left.min(batch);
        let request = v1::PublishRequest { topic: topic.clone(), messages: vec![message.clone(); size] };
        let started = Instant::now();
        publisher.publish(request).await?;
        latencies.push(started.elapsed());
        left -= size;
    }
    Ok(latencies)
}

async fn receive(
    channel: Channel,
    subscription: String,
    seen: Arc<Mutex<HashSet<String>>>,
    count: usize,
) -> Outcome<()> {
    let mut subscriber = SubscriberClient::new(channel).max_decoding_message_size(usize::MAX);
    let (requests, receiver) = tokio::sync::mpsc::channel(16);
    let first = v1::StreamingPullRequest {
        subscription,
        stream_ack_deadline_seconds: 60,
        max_outstanding_messages: 10_000,
        ..v1::StreamingPullRequest::default()
    };
    requests.send(first).await?;
    let mut responses = subscriber.streaming_pull(ReceiverStream::new(receiver)).await?.into_inner();
    let is_done = || seen.lock().map_or(true, |seen| seen.len() >= count);
    while !is_done() {
        let Ok(response) = tokio::time::timeout(Duration::from_secs(1), responses.message()).await else {
            continue;
        };
        let received = response?.ok_or("the stream ended")?.received_messages;
        let ids = received.iter().map(|one| one.message.clone().unwrap_or_default().message_id);
        if let Ok(mut seen) = seen.lock() {
            seen.extend(ids);
        }
        let ack_ids = received.into_iter().map(|one| one.ack_id).collect();
        requests.send(v1::StreamingPullRequest { ack_ids, ..v1::StreamingPullRequest::default() }).await?;
    }
    // The last acks go out before the stream is closed.
    drop(requests);
    let _ = tokio::time::timeout(Duration::from_secs(5), async {
        while let Ok(Some(_)) = responses.message().await {}
    })
    .await;
    Ok(())
}
