//! JSON text: read as a stream of values, written straight into a buffer, and OTLP's JSON turned into
//! OTLP's protocol buffers, so that everything behind has one form to deal with.

mod otlp;
mod reader;
pub(crate) mod writer;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use otlp::JsonError;
pub(crate) use otlp::otlp_to_wire;
pub use reader::SyntaxError;
pub(crate) use reader::{Kind, Reader};
