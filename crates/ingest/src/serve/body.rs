//! Bodies: read and inflated piece by piece, so that a limit stops them where it is passed.

use std::io::Read;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;

use crate::budget::Reservation;
use crate::ingest::{Ingest, Refusal};

/// How a message lies in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// The body is the message.
    Plain,
    /// One gRPC frame: a flag byte, a length of four bytes (big end first), the message.
    Grpc,
}

/// Bytes of a gRPC frame before the message.
const FRAME_HEADER_BYTES: usize = 5;

/// Reads a body. Its size is reserved; the deadline is for the whole, and a shorter one for each part.
pub(super) async fn read(
    ingest: &Ingest,
    body: &mut Body,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let reading = read_parts(ingest, body, reservation);
    tokio::time::timeout(ingest.config.body_total_timeout, reading).await.map_err(|_| Refusal::Timeout)?
}

async fn read_parts(
    ingest: &Ingest,
    body: &mut Body,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let bytes_max = ingest.config.body_bytes_max + FRAME_HEADER_BYTES;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let next = tokio::time::timeout(ingest.config.body_read_timeout, body.frame());
        let Some(frame) = next.await.map_err(|_| Refusal::Timeout)? else { break };
        let frame = frame.map_err(|error| Refusal::Malformed(format!("the body broke off: {error}")))?;
        let Ok(part) = frame.into_data() else { continue };
        if first.len() + all.len() + part.len() > bytes_max {
            let message =
                format!("the body passes {} bytes, send smaller batches", ingest.config.body_bytes_max);
            return Err(Refusal::TooLarge(message));
        }
        ingest.reserve(reservation, part.len())?;
        // A body that comes in one part is not copied.
        if first.is_empty() && all.is_empty() {
            first = part;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&part);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Takes what a client still sends, within bounds, without keeping it: an HTTP/1 client that is cut off
/// while it sends often does not see the answer, and the answer may be to come again later.
pub(super) async fn drain(ingest: &Ingest, body: &mut Body) {
    let reading = drain_parts(ingest, body);
    // Whether it ended or ran out of time, the answer goes out now.
    let _ = tokio::time::timeout(ingest.config.body_read_timeout, reading).await;
}

async fn drain_parts(ingest: &Ingest, body: &mut Body) {
    let mut rest = ingest.config.body_bytes_max;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > rest {
            return;
        }
        rest -= length;
    }
}

/// Inflates a gzip body (of one or several members, as RFC 1952 has it), at most to the limit. What it
/// takes is reserved as it grows.
pub(super) fn inflate(
    ingest: &Ingest,
    body: &[u8],
    reservation: &mut Reservation,
) -> Result<Vec<u8>, Refusal> {
    let bytes_max = ingest.config.decompressed_bytes_max;
    let mut decoder = MultiGzDecoder::new(body);
    let mut out = Vec::new();
    loop {
        let start = out.len();
        // Grows by what is there, so that small bodies take little and large ones few steps.
        let step = start.max(body.len() * 4).clamp(4096, 4 << 20).min(bytes_max + 1 - start);
        ingest.reserve(reservation, step)?;
        let part = (&mut decoder).take(step as u64).read_to_end(&mut out);
        let read = part.map_err(|error| Refusal::Malformed(format!("the body is not gzip: {error}")))?;
        reservation.give_back(step - read);
        if out.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if read == 0 {
            return Ok(out);
        }
    }
}

/// A body that was not compressed is under the limit on decompressed size as well.
pub(super) fn check_plain<'b>(ingest: &Ingest, body: &'b [u8]) -> Result<&'b [u8], Refusal> {
    let bytes_max = ingest.config.decompressed_bytes_max;
    if body.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok(body) }
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::TooLarge(format!("the body passes {bytes_max} bytes decompressed, send smaller batches"))
}

impl Framing {
    /// The message in a body, and whether it is compressed; `gzip` is what the headers say.
    pub(super) fn unwrap(self, body: &[u8], gzip: bool) -> Result<(&[u8], bool), Refusal> {
        if self == Self::Plain {
            return Ok((body, gzip));
        }
        let malformed = |what: &str| Refusal::Malformed(format!("the gRPC body {what}"));
        let (header, message) =
            body.split_first_chunk::<FRAME_HEADER_BYTES>().ok_or_else(|| malformed("has no message"))?;
        let [flag, length @ ..] = *header;
        if u32::from_be_bytes(length) as usize != message.len() {
            return Err(malformed("is not exactly one message of the length that it says"));
        }
        match flag {
            0 => Ok((message, false)),
            1 if gzip => Ok((message, true)),
            1 => Err(malformed("is compressed, but there is no grpc-encoding")),
            _ => Err(malformed("begins with an unknown flag")),
        }
    }
}
