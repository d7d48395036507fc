//! Streams that wait for messages.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::pubsub::Clients;
use crate::pubsub::v1::StreamingPullRequest;

/// Streams on one connection: the server takes 256.
const STREAMS_PER_CONNECTION: usize = 240;
/// Bounds a failure only.
const LIMIT: Duration = Duration::from_secs(120);

/// Connections for so many streams.
pub fn connections(streams: usize) -> usize {
    streams.div_ceil(STREAMS_PER_CONNECTION)
}

/// Open streams.
pub struct Streams {
    tasks: JoinSet<Result<()>>,
    news: mpsc::UnboundedReceiver<News>,
    ending: watch::Sender<bool>,
}

/// What streams have to tell.
enum News {
    /// One is open.
    Open,
    /// A message came from this subscription.
    Came(String),
}

impl Streams {
    /// Opens so many, evenly over the subscriptions, and waits until all are open.
    pub async fn open(address: &str, subscriptions: &[String], count: usize) -> Result<Self> {
        let (teller, news) = mpsc::unbounded_channel();
        let (ending, ended) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut turns = subscriptions.iter().cycle().take(count).peekable();
        while turns.peek().is_some() {
            let clients = Clients::new(address)?;
            for subscription in turns.by_ref().take(STREAMS_PER_CONNECTION) {
                let (clients, subscription) = (clients.clone(), subscription.clone());
                tasks.spawn(hold(clients, subscription, teller.clone(), ended.clone()));
            }
        }
        let mut streams = Self { tasks, news, ending };
        for open in 0..count {
            let news = streams.next().await.with_context(|| format!("{open} of {count} streams are open"))?;
            ensure!(matches!(news, News::Open), "a message came before any was published");
        }
        Ok(streams)
    }

    /// Waits until a message has come from each of these, once.
    pub async fn deliver(&mut self, subscriptions: &[String]) -> Result<()> {
        let mut missing: BTreeSet<&str> = subscriptions.iter().map(String::as_str).collect();
        while !missing.is_empty() {
            let news = self.next().await.with_context(|| format!("nothing came from {missing:?}"))?;
            let News::Came(subscription) = news else { bail!("a stream opened again") };
            ensure!(missing.remove(subscription.as_str()), "{subscription} delivered twice");
        }
        Ok(())
    }

    /// Ends all; each must end cleanly.
    pub async fn end(mut self) -> Result<()> {
        self.ending.send_replace(true);
        while let Some(ended) =
            timeout(LIMIT, self.tasks.join_next()).await.context("a stream does not end")?
        {
            ended.context("a stream panicked")?.context("a stream failed at its end")?;
        }
        Ok(())
    }

    /// The next news; a stream that ends by itself is an error.
    async fn next(&mut self) -> Result<News> {
        let next = async {
            tokio::select! {
                news = self.news.recv() => news.context("all streams ended"),
                Some(ended) = self.tasks.join_next() => match ended.context("a stream panicked")? {
                    Ok(()) => bail!("a stream ended"),
                    Err(error) => Err(error),
                },
            }
        };
        timeout(LIMIT, next).await.context("waited too long")?
    }
}

/// One stream: tells what comes, acks it, and ends when it is told to.
async fn hold(
    mut clients: Clients,
    subscription: String,
    teller: mpsc::UnboundedSender<News>,
    mut ended: watch::Receiver<bool>,
) -> Result<()> {
    let (requests, receiver) = mpsc::channel(4);
    let first = StreamingPullRequest {
        subscription: subscription.clone(),
        stream_ack_deadline_seconds: 600,
        ..StreamingPullRequest::default()
    };
    requests.send(first).await.context("the stream is closed")?;
    let responses = clients.subscriber.streaming_pull(ReceiverStream::new(receiver)).await;
    let mut responses = responses.context("a stream was not opened")?.into_inner();
    // Nobody listens any more when the chore has failed.
    let _ = teller.send(News::Open);
    loop {
        let response = tokio::select! {
            response = responses.message() => response?.context("the server ended a stream")?,
            _ = ended.wait_for(|ended| *ended) => break,
        };
        let ack_ids: Vec<_> = response.received_messages.into_iter().map(|one| one.ack_id).collect();
        for _ in &ack_ids {
            let _ = teller.send(News::Came(subscription.clone()));
        }
        let acks = StreamingPullRequest { ack_ids, ..StreamingPullRequest::default() };
        requests.send(acks).await.context("the stream is closed")?;
    }
    // The server ends the stream when it has taken all acks.
    drop(requests);
    while responses.message().await?.is_some() {}
    Ok(())
}
