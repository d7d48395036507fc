//! GoogleSQL over local tables: a query as BigQuery takes it is parsed with the BigQuery dialect,
//! rewritten where GoogleSQL and DataFusion part ways, planned and run by DataFusion under limits.
//!
//! ```text
//! text -> parse (one read-only query) -> rewrite (names, *, casts, calls) -> plan (operators by type)
//!      -> check (types) -> optimise (one JSON parse per row) -> stream of batches -> format
//! ```
//!
//! **Invariant:** this crate reads tables through [`Catalog`] and nothing else: it does not know how
//! rows got there, where tables live, or who asks. No statement that writes gets past [`Engine`]; the
//! only files of its own are the user's views and the stored results of materialised ones.

mod admission;
mod bounded;
mod catalog;
mod config;
mod cost;
mod dialect;
mod engine;
mod error;
pub mod format;
mod functions;
mod manage;
mod memory;
mod optimize;
mod parse;
mod plan;
mod prices;
mod pseudonyms;
mod result;
mod results;
mod rewrite;
mod running;
mod session;
mod sessions;
mod suggest;
mod typed;
mod types;
mod views;

pub use catalog::Catalog;
pub use config::{EngineConfig, Pseudonyms, ResultsConfig};
pub use engine::Engine;
pub use error::{Code, SqlError};
pub use manage::{ViewCheck, ViewInfo};
pub use pseudonyms::{PseudonymKey, ShortKey};
pub use result::{Column, QueryResult};
pub use results::{Freshness, Refreshed, ResultInfo};
pub use sessions::{Busy, JSON_FUNCTIONS, Session, SessionControl, Sessions, on_deep_stack, parse_postgres};
pub use typed::SplitTable;
pub use types::JSON_TYPE_NAME;
pub use views::{Materialized, ViewOrigin};

/// Stack for parsing and planning: their recursion follows the query's nesting, which is bounded, on
/// frames of some kilobytes. The pages are taken only when used.
const PLANNING_STACK_BYTES: usize = 64 * 1024 * 1024;
