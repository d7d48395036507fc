//! Results as text: a table for a terminal, JSON as the HTTP API answers it, CSV, and one JSON object a
//! line; and as Parquet. All of them write rows as they come and hold no more than a few batches, or one
//! row group.

mod csv;
mod json;
mod parquet;
mod table;

use std::io;

use crate::error::SqlError;

pub use crate::functions::cell_text;
pub use csv::write_csv;
pub use json::{write_json, write_ndjson};
pub use parquet::write_parquet;
pub use table::write_table;

/// Why a result was not written.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The query failed while its rows were made.
    #[error(transparent)]
    Query(#[from] SqlError),
    /// The output cannot be written to.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
}
