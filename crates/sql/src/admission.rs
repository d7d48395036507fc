//! How many queries run at once, and how many may wait for their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::error::{Code, SqlError};
use crate::result::Limits;

/// The places of running queries. Who finds none waits in line, up to a number.
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    at_once_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A place among the running queries; given back when dropped.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("millrace_queries_running").decrement(1.0);
    }
}

/// A place in the line.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("millrace_queries_waiting").decrement(1.0);
    }
}

impl Admission {
    pub(crate) fn new(at_once_max: usize, waiting_max: usize) -> Self {
        let at_once_max = at_once_max.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(at_once_max));
        Self { places, at_once_max, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Takes a place, first come, first served.
    ///
    /// # Errors
    /// When too many wait already, or the query's time is over before its turn comes.
    pub(crate) async fn enter(&self, limits: &Limits) -> Result<Place, SqlError> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place(permit));
        }
        let waiting = self.waiting()?;
        let began = Instant::now();
        let permit = timeout_at(limits.deadline, Arc::clone(&self.places).acquire_owned()).await;
        metrics::histogram!("millrace_query_wait_seconds").record(began.elapsed().as_secs_f64());
        drop(waiting);
        match permit {
            Ok(Ok(permit)) => Ok(place(permit)),
            Ok(Err(_)) => Err(SqlError::internal("no more queries are taken")),
            Err(_) => Err(self.refused(
                "wait",
                format!("the query waited {} ms for its turn and did not begin", limits.timeout.as_millis()),
            )),
        }
    }

    fn waiting(&self) -> Result<Waiting<'_>, SqlError> {
        let joined = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < self.waiting_max).then_some(waiting + 1)
        });
        match joined {
            Ok(_) => {
                metrics::gauge!("millrace_queries_waiting").increment(1.0);
                Ok(Waiting(&self.waiting))
            }
            Err(waiting) => {
                Err(self.refused("line", format!("too many queries: {waiting} wait for their turn already")))
            }
        }
    }

    fn refused(&self, reason: &'static str, message: String) -> SqlError {
        metrics::counter!("millrace_queries_refused_total", "reason" => reason).increment(1);
        SqlError::new(Code::TooManyQueries, message).hint(format!(
            "try again in a moment, or raise sql.queries_at_once_max ({}) or sql.queries_waiting_max ({})",
            self.at_once_max, self.waiting_max
        ))
    }
}

fn place(permit: OwnedSemaphorePermit) -> Place {
    metrics::gauge!("millrace_queries_running").increment(1.0);
    Place { _permit: permit }
}
