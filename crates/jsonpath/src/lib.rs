//! Values out of JSON text by path, as GoogleSQL's JSON_VALUE takes them, and the list of paths whose
//! values the lake keeps beside the text.
//!
//! **Invariant:** this crate knows text and paths, not columns of data. The lake fills hidden columns with
//! it and SQL answers JSON_VALUE with it, so the two cannot differ.

mod path;
mod scan;
pub mod typed;

use std::borrow::Cow;

pub use path::{Step, parse};
pub use scan::{Paths, Scanner, unescape};

/// What JSON_VALUE makes of a found value: the text of a scalar; nothing for null, objects and arrays
/// (<https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_value>).
#[must_use]
pub fn scalar(span: &str) -> Option<Cow<'_, str>> {
    match span.as_bytes().first()? {
        b'"' => unescape(span.get(1..span.len() - 1)?),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(span)),
    }
}
