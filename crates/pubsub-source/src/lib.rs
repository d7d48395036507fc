//! The real Pub/Sub as a source: reads a subscription by StreamingPull and appends every message to a topic
//! of the durable log.
//!
//! ```text
//! service --StreamingPull--> reader --deliveries--> intake --append--> topic (log)
//!            <---------- ack, when the append is synced ----------
//! ```
//!
//! * `connect` makes Google's clients, for the service or for an emulator.
//! * `reader` keeps a stream open, and opens another when it breaks or falls silent.
//! * `intake` appends, acknowledges, holds what the log does not take now and nacks what it never takes.
//! * `message` says what of a message is kept, and by what it is recognised when it comes again.
//! * `figures` is what the outside is told: state, counters, the watchdog's gauge.
//!
//! A message is acknowledged only after it is synced in the log, or, where the disk is not to be trusted
//! ([`SourceConfig::durable`]), after its row is committed. What comes again is recognised by the topic's own
//! deduplication window, which outlives restarts.
//!
//! **Invariant:** this crate knows the service's client and topics; nothing of pipelines, tables or of the
//! Pub/Sub server that this project has itself.

mod backoff;
mod config;
mod connect;
mod error;
mod figures;
mod intake;
mod message;
mod reader;
mod receipt;
mod source;
mod status;
mod subscription;

pub use config::{Endpoint, Input, SourceConfig};
pub use error::SourceError;
pub use figures::describe_metrics;
pub use message::{ATTRIBUTE_MESSAGE_ID, ATTRIBUTE_PUBLISH_TIME};
pub use source::Source;
pub use status::{Counts, SourceState, SourceStatus};
