//! The two OTLP transports over what they share: how a body is read, and how long all of
//! it may take. Who may ask at all (hosts, origins, tokens) is decided before, by whoever opens the
//! ports.

mod body;
mod grpc;
mod http;
mod reply;

use std::sync::Arc;

use axum::body::Body;

use crate::budget::Reservation;
use crate::ingest::{Accepted, Encoding, Ingest, Refusal, Signal};

/// Bodies up to this size are dealt with where they arrive; larger ones, and all that must be inflated,
/// go to a thread for long work, so that they do not hold up other connections.
const INLINE_BYTES_MAX: usize = 64 * 1024;

impl Ingest {
    /// The OTLP/gRPC services for logs, metrics and traces.
    #[must_use]
    pub fn grpc_routes(self: &Arc<Self>) -> tonic::service::Routes {
        grpc::routes(Arc::clone(self))
    }

    /// OTLP/HTTP: any path that ends in `/v1/logs`, `/v1/metrics` or `/v1/traces`.
    pub fn http_router(self: &Arc<Self>) -> axum::Router {
        http::router(Arc::clone(self))
    }
}

/// A request as both transports see it.
struct Incoming<'b> {
    signal: Signal,
    encoding: Encoding,
    gzip: bool,
    framing: body::Framing,
    body: &'b mut Body,
}

/// Takes a request: reads, inflates, maps, appends.
async fn accept(ingest: &Arc<Ingest>, request: Incoming<'_>) -> Result<Accepted, Refusal> {
    let Ok(_permit) = ingest.requests.try_acquire() else { return Err(ingest.busy()) };
    let mut reservation = ingest.budget.reserve();
    let bytes = body::read(ingest, request.body, &mut reservation).await?;
    let Incoming { signal, encoding, gzip, framing, .. } = request;
    let work = {
        let ingest = Arc::clone(ingest);
        move |mut reservation: Reservation| {
            let (body, gzip) = framing.unwrap(&bytes, gzip)?;
            let inflated;
            let body = if gzip {
                inflated = body::inflate(&ingest, body, &mut reservation)?;
                inflated.as_slice()
            } else {
                body::check_plain(&ingest, body)?
            };
            // The messages, and JSON's protobuf form before them, are about as large as the body; what
            // they really take is known afterwards.
            let expected = body.len() * if encoding == Encoding::Json { 3 } else { 2 };
            ingest.reserve(&mut reservation, expected)?;
            let mapped = ingest.prepare(signal, encoding, body)?;
            let real = mapped.buffer.capacity();
            ingest.reserve(&mut reservation, real.saturating_sub(expected))?;
            reservation.give_back(expected.saturating_sub(real));
            Ok::<_, Refusal>((mapped, reservation))
        }
    };
    let (mapped, reservation) = if reservation.bytes() <= INLINE_BYTES_MAX && !gzip {
        work(reservation)?
    } else {
        let task = tokio::task::spawn_blocking(move || work(reservation)).await;
        task.map_err(|error| Refusal::Internal(error.to_string()))??
    };
    let accepted = ingest.store(signal, mapped).await?;
    drop(reservation);
    Ok(accepted)
}
