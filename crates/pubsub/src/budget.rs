//! A bound on the bytes of all request bodies in hand.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

/// The bytes that all requests together may take.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// What one request takes; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), bytes_max })
    }

    /// A request that takes nothing yet.
    pub(crate) fn reserve(self: &Arc<Self>) -> Arc<Reservation> {
        Arc::new(Reservation { budget: Arc::clone(self), bytes: AtomicUsize::new(0) })
    }
}

impl Reservation {
    fn take(&self, bytes: usize) -> bool {
        let room = |held: usize| held.checked_add(bytes).filter(|total| *total <= self.budget.bytes_max);
        let taken = self.budget.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if taken {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A body whose bytes are reserved as they come, and which must have come in time: a request has a place, and
/// who sends no more of it would keep that for ever.
pub(crate) struct Counted {
    body: Body,
    reservation: Arc<Reservation>,
    limit: Duration,
    ends: Pin<Box<Sleep>>,
}

impl Counted {
    pub(crate) fn new(body: Body, reservation: Arc<Reservation>, limit: Duration) -> Self {
        Self { body, reservation, limit, ends: Box::pin(tokio::time::sleep(limit)) }
    }

    /// The body, with bytes that are not reserved: for who throws them away.
    pub(crate) fn into_inner(self) -> Body {
        self.body
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            ready!(self.ends.as_mut().poll(context));
            metrics::counter!("millrace_pubsub_refused_total", "reason" => "body_time").increment(1);
            return Poll::Ready(Some(Err(Box::new(late(self.limit)))));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame?;
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if !self.reservation.take(bytes) {
            metrics::counter!("millrace_pubsub_refused_total", "reason" => "bytes").increment(1);
            return Poll::Ready(Some(Err(Box::new(exhausted()))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn late(limit: Duration) -> Status {
    let seconds = limit.as_secs_f64();
    Status::deadline_exceeded(format!("the request's body did not come within {seconds} seconds"))
}

fn exhausted() -> Status {
    Status::resource_exhausted("too many bytes of requests are in hand: try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(10);
        let (one, two) = (budget.reserve(), budget.reserve());
        assert!(one.take(6) && !two.take(5) && two.take(4) && !one.take(1));
        drop(one);
        assert!(two.take(6));
        drop(two);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 0);
    }
}
