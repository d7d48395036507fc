//! The fold over a topic: read, transform, window, commit, and keep the ledger.
//!
//! **Invariant:** this crate knows traits only. It does not know which source it reads, which sink it
//! writes or what language a UDF is in.

mod sink;

pub use sink::{Commit, Mark, Sink, SinkError};
