//! Topics and subscriptions of the benchmark.

use anyhow::{Context, Result};

use super::load;
use crate::pubsub::Clients;
use crate::pubsub::v1::{PullRequest, Subscription, Topic};

/// The project of all of them.
pub const PROJECT: &str = "projects/bench";

/// Makes them.
pub struct Resources {
    clients: Clients,
}

impl Resources {
    /// On a server.
    pub fn new(address: &str) -> Result<Self> {
        Ok(Self { clients: Clients::new(address)? })
    }

    /// Makes a topic and gives its full name.
    pub async fn topic(&mut self, id: &str) -> Result<String> {
        let name = format!("{PROJECT}/topics/{id}");
        let topic = Topic { name: name.clone(), ..Topic::default() };
        self.clients.publisher.create_topic(topic).await.with_context(|| format!("cannot create {name}"))?;
        Ok(name)
    }

    /// Makes a subscription and gives its full name.
    pub async fn subscription(&mut self, id: &str, topic: &str) -> Result<String> {
        let name = format!("{PROJECT}/subscriptions/{id}");
        let subscription = Subscription {
            name: name.clone(),
            topic: topic.to_owned(),
            ack_deadline_seconds: 60,
            ..Subscription::default()
        };
        let made = self.clients.subscriber.create_subscription(subscription).await;
        made.with_context(|| format!("cannot create {name}"))?;
        Ok(name)
    }

    /// The number of the message that a subscription delivers first.
    pub async fn first_message(&mut self, subscription: &str) -> Result<u64> {
        let request =
            PullRequest { subscription: subscription.to_owned(), max_messages: 1, ..PullRequest::default() };
        let received = self.clients.subscriber.pull(request).await?.into_inner().received_messages;
        let first = received.into_iter().next().and_then(|received| received.message);
        load::number(&first.context("nothing came")?)
    }
}
