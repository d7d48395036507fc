//! Delta tables with exactly-once commits: rows, the position they bring the table to and all counters
//! go into one atomic log entry. Files are durable before the entry that names them.
//!
//! One committer thread per table does every change, one after the other; encoding, merging and
//! listing happen outside it. The state of a table is kept in memory and carried forward from commit
//! to commit, so that a commit costs the same at the first and at the millionth; the log is read by
//! the Delta kernel when a table is opened, and whenever the outcome of a commit is in doubt.
//!
//! **Invariant:** this crate knows tables, files and marks. It does not know what a topic or a UDF is,
//! and the meaning of a mark is the pipeline's.

mod amend;
mod committer;
mod compaction;
mod config;
mod core;
mod data_reader;
mod data_writer;
mod error;
mod files;
mod lake;
mod load;
mod log;
mod maintenance;
mod meta;
mod metric;
mod partition;
mod provider;
mod row_filter;
mod schema;
mod state;
mod stats;
mod store;
mod table;
mod typed;
mod upload;
mod vacuum;

pub use config::{CompactionConfig, LakeConfig};
pub use error::LakeError;
pub use lake::Lake;
pub use maintenance::Maintained;
pub use provider::{SnapshotParts, TableSnapshot};
pub use store::SyncedStore;
pub use table::{LakeTable, LakeTableStats};
