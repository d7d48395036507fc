//! A durable Pub/Sub server.

mod acklog;
mod machine;
mod progress;
mod ranges;
mod sync;
