//! Rows: BigQuery table schemas, the JSON of a `TableRow` into Arrow columns by every spelling that
//! `tabledata.insertAll` takes, and the rows of dead-letter tables.
//!
//! A [`TableSchema`] is read from the JSON of `bq show --schema`; with a name, a partition field and
//! clustering it is a [`TableSpec`]. A [`RowBuilder`] is the [`RowSink`](millrace_model::RowSink) of a
//! window: it reads each row in one pass over its text, straight into the vectors that become Arrow
//! buffers, and cuts them back when a row is refused. A [`DeadLetterBuilder`] keeps what failed, and
//! [`dead_letters`] reads it back.
//!
//! What each type takes, with sources, is in `docs/rows.md`.
//!
//! **Invariant:** this crate does not know where tables live, who sends messages, or what a UDF is.

mod arrays;
mod column;
mod convert;
mod dead_letter;
mod dead_letter_reader;
mod fault;
mod hidden;
mod json;
mod record;
mod rows;
mod scalar;
mod schema;
mod schema_arrow;
mod schema_check;
mod schema_json;
mod spec;

pub use dead_letter::{DeadLetterBuilder, ERROR_TEXT_BYTES_MAX, dead_letter_spec, dead_letter_spec_named};
pub use dead_letter_reader::{DeadLetter, LetterFacts, LetterMessage, dead_letters};
pub use hidden::{EVENT_DAYS_AHEAD_MAX, EVENT_DAYS_BACK_MAX};
pub use rows::{BuildError, BuiltRows, Outcome, RowBuilder};
pub use schema::{
    COLUMNS_MAX, Field, FieldType, Mode, NAME_CHARACTERS_MAX, NESTING_LEVELS_MAX, Rounding, SchemaError,
    TableSchema,
};
pub use spec::{
    CLUSTERING_COLUMNS_MAX, METADATA_MAX_LENGTH, METADATA_PRECISION, METADATA_ROUNDING, METADATA_SCALE,
    METADATA_TYPE, ROW_BYTES_MAX, SpecError, TableSpec,
};
