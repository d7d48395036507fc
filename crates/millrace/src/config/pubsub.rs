//! The section `[pubsub]`.

use serde::Deserialize;

/// Subscriptions of the Pub/Sub port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pubsub {
    /// Bytes that one subscription or snapshot may hold back in its topic; beyond it, it lets go, and
    /// messages that it has not delivered may be removed.
    pub backlog_bytes_max: u64,
    /// Messages of one subscription that are out, or wait to be delivered again.
    pub outstanding_messages_max: usize,
    /// Bytes of request bodies in hand at once; beyond it clients are asked to come back.
    pub in_flight_bytes_max: usize,
    /// Open streams and waiting pulls.
    pub streams_max: usize,
}

impl Default for Pubsub {
    fn default() -> Self {
        Self {
            backlog_bytes_max: 8 << 30,
            outstanding_messages_max: 100_000,
            in_flight_bytes_max: 256 << 20,
            streams_max: 20_000,
        }
    }
}
