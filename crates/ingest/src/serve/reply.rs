//! The messages that both transports answer with, in both encodings. They are few and small, so they
//! are written by hand.

use std::time::Duration;

use crate::ingest::{Accepted, Encoding, Refusal, Signal};
use crate::json::writer;
use crate::wire::Writer;

/// `google.rpc.Code` of a refusal
/// (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>). What is too large is
/// an invalid argument: the codes that sound closer are ones that OTLP clients may try again.
pub(super) fn code(refusal: &Refusal) -> tonic::Code {
    match refusal {
        Refusal::Malformed(_) | Refusal::TooLarge(_) => tonic::Code::InvalidArgument,
        Refusal::Busy { .. } => tonic::Code::Unavailable,
        Refusal::Unsupported(_) => tonic::Code::Unimplemented,
        Refusal::Timeout => tonic::Code::DeadlineExceeded,
        Refusal::Internal(_) => tonic::Code::Internal,
    }
}

/// `Export{Logs,Metrics,Trace}ServiceResponse`: empty, or with `partial_success`.
pub(super) fn accepted(accepted: &Accepted, signal: Signal, encoding: Encoding) -> Vec<u8> {
    if accepted.rejected == 0 {
        return if encoding == Encoding::Json { b"{}".to_vec() } else { Vec::new() };
    }
    if encoding == Encoding::Json {
        let name = match signal {
            Signal::Logs => "rejectedLogRecords",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Traces => "rejectedSpans",
        };
        let mut out =
            format!("{{\"partialSuccess\":{{\"{name}\":\"{}\",\"errorMessage\":", accepted.rejected);
        let mut text = Vec::new();
        writer::text(&mut text, &accepted.message);
        out.push_str(&String::from_utf8_lossy(&text));
        out.push_str("}}");
        return out.into_bytes();
    }
    let mut partial = Writer::default();
    partial.varint(1, accepted.rejected);
    partial.bytes(2, accepted.message.as_bytes());
    nested(1, &partial.into_bytes())
}

/// A message whose only field is another. (The writer's own nesting pads lengths, which every reader
/// takes, but clients need not be tried.)
fn nested(number: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(number, message);
    out.into_bytes()
}

/// `google.rpc.Status`, as OTLP asks for in bodies of failed HTTP requests and in details of gRPC ones.
pub(super) fn status(
    code: tonic::Code,
    message: &str,
    retry_after: Option<Duration>,
    encoding: Encoding,
) -> Vec<u8> {
    let number = u64::from(i32::from(code).unsigned_abs());
    if encoding == Encoding::Json {
        let mut out = format!("{{\"code\":{number},\"message\":").into_bytes();
        writer::text(&mut out, message);
        out.push(b'}');
        return out;
    }
    let mut out = Writer::default();
    out.varint(1, number);
    out.bytes(2, message.as_bytes());
    if let Some(retry_after) = retry_after {
        // details: Any { type_url, value: RetryInfo { retry_delay: Duration { seconds, nanos } } }
        let mut delay = Writer::default();
        delay.varint(1, retry_after.as_secs());
        delay.varint(2, u64::from(retry_after.subsec_nanos()));
        let mut any = Writer::default();
        any.bytes(1, b"type.googleapis.com/google.rpc.RetryInfo");
        any.bytes(2, &nested(1, &delay.into_bytes()));
        out.bytes(3, &any.into_bytes());
    }
    out.into_bytes()
}
