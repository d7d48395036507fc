//! Google's own generated clients of Pub/Sub, for a server that asks for no credentials.

use std::time::Duration;

use anyhow::{Context, Result};
pub use googleapis_tonic_google_pubsub_v1::google::pubsub::v1;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use v1::publisher_client::PublisherClient;
use v1::subscriber_client::SubscriberClient;

/// A connection, which is made when it is first used and again when it was lost.
#[derive(Clone)]
pub struct Clients {
    /// Topics.
    pub publisher: PublisherClient<Channel>,
    /// Subscriptions and snapshots.
    pub subscriber: SubscriberClient<Channel>,
}

impl Clients {
    /// Clients of a `host:port`. Must be made inside a tokio runtime.
    pub fn new(address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .context("bad address")?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .initial_stream_window_size(Some(4 * 1024 * 1024))
            .initial_connection_window_size(Some(16 * 1024 * 1024));
        let channel = endpoint.connect_lazy();
        Ok(Self {
            publisher: PublisherClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            subscriber: SubscriberClient::new(channel).max_decoding_message_size(usize::MAX),
        })
    }
}

/// Whether a call may or may not have been done: its connection broke, or nobody was there.
pub fn is_lost(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded
    )
}
