//! What a message is answered with.

use std::future::Future;
use std::pin::Pin;

use google_cloud_pubsub::subscriber::handler::Handler;

/// A confirmation that is on its way; an error says why the ack may not hold.
pub(crate) type Confirmation = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The right to answer a message, once. Dropped without an answer, it nacks.
pub(crate) trait Receipt: Send + 'static {
    /// Acknowledges; `Some` when the service confirms it (exactly-once delivery).
    fn ack(self) -> Option<Confirmation>;

    /// Gives the message back.
    fn nack(self);
}

impl Receipt for Handler {
    fn ack(self) -> Option<Confirmation> {
        match self {
            Self::ExactlyOnce(handler) => {
                let confirmed = handler.confirmed_ack();
                Some(Box::pin(async move { confirmed.await.map_err(|error| error.to_string()) }))
            }
            other => {
                other.ack();
                None
            }
        }
    }

    fn nack(self) {
        Self::nack(self);
    }
}
