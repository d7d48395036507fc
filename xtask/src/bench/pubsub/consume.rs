//! Who streams messages and acks them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::load;
use crate::pubsub::Clients;
use crate::pubsub::v1::{AcknowledgeRequest, PubsubMessage, StreamingPullRequest};

/// What a client holds without having acked it: enough to keep the stream busy.
const OUTSTANDING_MESSAGES_MAX: i64 = 10_000;
/// A message that does not come within this time is lost.
const MESSAGE_LIMIT: Duration = Duration::from_secs(60);

/// What a stream has brought.
#[derive(Debug, Clone, Copy)]
pub struct Consumed {
    /// When it was opened.
    pub started: Instant,
    /// When all had come and their acks were durable.
    pub ended: Instant,
    /// Messages that came more than once.
    pub again: u64,
}

impl Consumed {
    /// How long it took.
    pub fn elapsed(&self) -> Duration {
        self.ended - self.started
    }
}

/// Streams until all messages, numbered from 0, have come, acks each response at once, and ends when the acks are
/// durable. `note` sees each message.
pub async fn consume(
    address: &str,
    subscription: &str,
    messages: u64,
    mut note: impl FnMut(&PubsubMessage),
) -> Result<Consumed> {
    let mut clients = Clients::new(address)?;
    let (requests, receiver) = mpsc::channel(64);
    let first = StreamingPullRequest {
        subscription: subscription.to_owned(),
        stream_ack_deadline_seconds: 600,
        max_outstanding_messages: OUTSTANDING_MESSAGES_MAX,
        ..StreamingPullRequest::default()
    };
    requests.send(first).await.context("the stream is closed")?;
    let started = Instant::now();
    let mut responses = clients.subscriber.streaming_pull(ReceiverStream::new(receiver)).await?.into_inner();
    let mut came = vec![false; usize::try_from(messages)?];
    let (mut count, mut again, mut last) = (0, 0, None);
    while count < messages {
        let response = tokio::time::timeout(MESSAGE_LIMIT, responses.message()).await;
        let response = response.with_context(|| format!("{count} of {messages} messages came"))??;
        let received = response.context("the stream ended")?.received_messages;
        let mut ack_ids = Vec::with_capacity(received.len());
        for received in received {
            let message = received.message.unwrap_or_default();
            note(&message);
            let number = usize::try_from(load::number(&message)?)?;
            match came.get_mut(number) {
                Some(came) if !*came => (*came, count) = (true, count + 1),
                Some(_) => again += 1,
                None => bail!("message {number} came, which was not published"),
            }
            ack_ids.push(received.ack_id);
        }
        last = ack_ids.last().cloned().or(last);
        let acks = StreamingPullRequest { ack_ids, ..StreamingPullRequest::default() };
        requests.send(acks).await.context("the stream is closed")?;
    }
    // The server ends the stream when it has taken all acks.
    drop(requests);
    while tokio::time::timeout(MESSAGE_LIMIT, responses.message())
        .await
        .context("the stream stays open")??
        .is_some()
    {}
    // Acks are answered in the order of their syncs: with this one all are durable.
    let ack =
        AcknowledgeRequest { subscription: subscription.to_owned(), ack_ids: last.into_iter().collect() };
    clients.subscriber.acknowledge(ack).await.context("the last ack failed")?;
    Ok(Consumed { started, ended: Instant::now(), again })
}
