//! The words of Millrace: offsets, messages, outcomes, names and limits, and the batch traits (the
//! *seam*) through which the log, the UDF, the rows and the sinks meet.
//!
//! **Invariant:** this crate does no I/O, starts no thread, knows no wire format and no library of
//! columns. Everything else may depend on it; it depends on nothing of ours.

mod failure;
mod identity;
pub mod limits;
mod message;
pub mod names;
mod row;
mod source;
mod time;
mod transform;

pub use failure::{ErrorClass, Failure, Stage};
pub use identity::{DedupKey, IdentityError, MessageId, Offset, TopicId};
pub use message::{
    AttributeBlock, AttributeError, AttributeIter, MessageBatch, MessageLayout, MessageView, NewMessage,
};
pub use row::{Cell, CellError, ColumnId, RowSink};
pub use source::{Bounds, ReadLimit, Source, SourceError};
pub use time::Micros;
pub use transform::{Transform, TransformFactory, UdfHash};
