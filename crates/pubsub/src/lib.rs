//! A durable Pub/Sub server: `google.pubsub.v1` over gRPC and REST, on the topics of the log.
//!
//! From the inside out: `machine` decides what is delivered to whom; `acklog` keeps what it decided;
//! `subscription` runs it against a topic; `registry` lists what there is; `broker` ties them together;
//! `serve` speaks to clients.
//!
//! It is **not** a cluster: one process serves, and its data are on its disk.
//!
//! **Invariant:** this crate knows topics, subscriptions and their wire formats; nothing of pipelines or
//! tables. What is decided about a subscription is decided without a clock, a file or a payload.

mod ack_id;
mod acklog;
mod broker;
mod budget;
mod config;
mod dead_letter;
mod error;
mod export;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod intake;
pub mod limits;
mod machine;
mod names;
mod progress;
mod proto;
mod publish;
mod push;
mod ranges;
mod registry;
mod schema;
mod serve;
mod subscription;
mod sync;
mod topics;
mod transforms;

pub use broker::{Broker, ExportRecord, OpenError, SubscriptionFigures, export_records};
pub use config::{KeptTopics, PubsubConfig};
pub use error::PubsubError;
pub use export::{DeadLetterTopic, Export, ExportFault, ExportHook, Exporter};
pub use filter::{Filter, FilterError};
pub use millrace_udf::ChildCommand;
pub use registry::RegistryError;
