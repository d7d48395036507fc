//! A durable Pub/Sub server.

mod ack_id;
mod acklog;
mod filter;
mod machine;
mod progress;
mod ranges;
mod sync;
