//! From OTLP requests in protobuf form to messages: one pass over the request's bytes, one output buffer
//! a request, no value tree and no copy of a string on the way.

mod attributes;
mod batch;
mod identity;
mod logs;
mod severity;
mod signals;
mod value;

pub(crate) use batch::{Mapped, Record};
pub(crate) use identity::{EntryTime, Identity};
pub(crate) use severity::severity_rank;

use crate::Signal;
use crate::filter::Route;
use crate::wire::WireError;

/// What a mapping needs to know besides the request.
pub(crate) struct MapContext<'c> {
    pub(crate) project: &'c str,
    pub(crate) routes: &'c [Route],
    pub(crate) identity: &'c Identity,
    /// Most bytes the messages of one request may take together.
    pub(crate) mapped_bytes_max: usize,
    /// When the request came, nanoseconds since 1970.
    pub(crate) received_nanos: u64,
}

/// Why a request cannot be mapped at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The bytes are not a request of that signal.
    #[error("the body is not an OTLP request: {0}")]
    Malformed(#[from] WireError),
    /// The messages would take more room than allowed: attributes of a resource are in each of them.
    #[error("the request's messages pass {0} bytes together, send smaller batches or raise mapped_bytes_max")]
    TooLarge(usize),
}

/// Maps a request of one signal.
pub(crate) fn map(signal: Signal, request: &[u8], context: &MapContext<'_>) -> Result<Mapped, MapError> {
    match signal {
        Signal::Logs => logs::map_logs(request, context),
        Signal::Metrics => signals::map_metrics(request, context),
        Signal::Traces => signals::map_traces(request, context),
    }
}

#[cfg(test)]
mod tests;
