//! Telemetry in: OTLP over gRPC and HTTP, and files, become messages in durable topics. Log records are
//! turned into Cloud Logging `LogEntry` JSON on the way.
//!
//! One answer a request, and only when everything in it is durable. A request passes these steps:
//!
//! 1. `serve` reads and inflates the body under caps and time limits ([`IngestConfig`]);
//! 2. `json` turns OTLP JSON into protobuf, so that everything behind deals with one form;
//! 3. `map` writes one message a record into one buffer, straight from the request's bytes;
//! 4. `filter` decides on the way which topics take an entry;
//! 5. [`Ingest`] appends to those topics ([`TopicStore`]) and waits for durability.
//!
//! `load` does the same from files, exactly once a file.
//!
//! **Invariant:** this crate knows wire formats and topics; nothing of pipelines, UDFs or tables.

#[doc(hidden)]
pub mod bench;
mod budget;
mod config;
mod counters;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod ingest;
mod json;
pub mod limits;
mod load;
mod log_store;
mod map;
mod serve;
mod store;
mod wire;

pub use config::{ConfigError, IngestConfig};
pub use counters::IngestCounters;
pub use filter::{Filter, FilterError, Route};
pub use ingest::{Ingest, IngestError, Signal};
pub use load::{ATTRIBUTE_FILE, ATTRIBUTE_ORDINAL, LoadError, LoadProgress, LoadReport, Loader};
pub use store::{StoreError, Stored, TopicStore};
