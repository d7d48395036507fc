//! GoogleSQL over local tables: a query as BigQuery takes it is parsed with the BigQuery dialect,
//! rewritten where GoogleSQL and DataFusion part ways, planned and run by DataFusion under limits.
//!
//! ```text
//! text -> parse (one read-only query) -> rewrite (names, *, casts, calls) -> plan (operators by type)
//!      -> check (types) -> optimise (one JSON parse per row) -> stream of batches -> format
//! ```
//!
//! **Invariant:** this crate reads tables through [`Catalog`] and nothing else: it does not know how
//! rows got there, where tables live, or who asks. No statement that writes gets past [`Engine`].

mod catalog;
mod config;
mod engine;
mod error;
pub mod format;
mod functions;
mod optimize;
mod parse;
mod plan;
mod result;
mod rewrite;
mod sessions;
mod suggest;
mod types;
mod views;

pub use catalog::Catalog;
pub use config::{EngineConfig, Pseudonyms};
pub use engine::Engine;
pub use error::{Code, SqlError};
pub use result::{Column, QueryResult};
pub use sessions::{
    Busy, JSON_FUNCTIONS, Session, SessionControl, Sessions, on_deep_stack, parse_postgres,
};
pub use types::JSON_TYPE_NAME;
pub use views::{ViewInfo, ViewOrigin};
