//! The durable log: topics of messages in segment files, appended to with group commit and read at
//! any offset. It is the only buffer of the pipeline, and what it has acknowledged survives power loss.
//!
//! It is **not** a message broker for many machines: one process writes, nothing is replicated, and a
//! topic has one order and no partitions.
//!
//! **Invariant:** this crate knows topics, offsets and bytes, never what a message means; who reads a
//! topic is a name and an offset to it.
//!
//! ```
//! use std::sync::Arc;
//! use millrace_log::{Log, LogConfig, TopicConfig};
//! use millrace_model::{NewMessage, Offset, ReadLimit, Source};
//!
//! let disk = Arc::new(millrace_disk::sim::SimDisk::new(1));
//! let log = Log::open(disk, "log".as_ref(), LogConfig::default())?;
//! let topic = log.create_topic("events", TopicConfig::default())?;
//! let appended = topic.append(vec![NewMessage::from_data("hello")]).wait()?;
//! assert_eq!(appended.offsets, [Offset(0)]);
//! let limit = ReadLimit { messages_max: 10, bytes_max: 1 << 20, end: None };
//! assert_eq!(topic.read(Offset(0), limit)?.get(0).data, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The file format is in `FORMAT.md` beside this crate's `Cargo.toml`.

mod admission;
mod append;
mod bytes_le;
mod cache;
mod config;
mod core;
mod cursor;
mod dedup;
mod error;
mod frame;
mod glance;
mod holding;
mod index;
mod log;
mod mending;
mod meta;
mod open_segments;
mod queue;
mod read;
mod record;
mod recover;
mod remember;
mod retention;
mod run;
mod scan;
mod segment;
mod shared;
mod sidecar;
mod source;
mod stats;
mod sync;
mod topic;
mod verify;
mod writer;

pub use append::{Append, Appended};
pub use config::{Clock, CursorConfig, CursorStart, CursorState, LogConfig, TopicConfig};
pub use cursor::Cursor;
pub use error::{AppendError, LogError};
pub use log::Log;
pub use stats::{Activity, Maintained, TopicStats};
pub use topic::Topic;
pub use verify::{BadSpot, SegmentReport, TopicReport, VerifyReport, verify};
