//! Protocol buffers on the wire: read field by field without copying, written without knowing lengths
//! ahead, and described by tables where a whole schema is needed.

mod reader;
pub(crate) mod schema;
mod writer;

pub use reader::WireError;
pub(crate) use reader::{Field, Fields, Value, take_array, take_varint};
pub(crate) use writer::Writer;
