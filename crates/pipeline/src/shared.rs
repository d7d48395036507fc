//! What the threads of a pipeline and its owner share: requests one way, progress the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_model::{Micros, Offset, Source};

use crate::chunk::Version;
use crate::ledger::Ledger;
use crate::meters::Meters;
use crate::plan::Identity;
use crate::status::{PipelineState, PipelineStatus};

/// The span that worker utilisation is measured over, and between two updates of the gauges.
const SAMPLE_SPAN: Duration = Duration::from_secs(1);

/// What the owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Run,
    /// Fold up to here, then end.
    Drain(Offset),
    Stop,
}

pub(crate) struct Shared {
    pub identity: Arc<Identity>,
    pub source: Arc<dyn Source>,
    pub meters: Meters,
    workers: usize,
    busy_nanos: AtomicU64,
    version: Mutex<Arc<Version>>,
    /// The number of the newest version that was made: workers tell versions apart by it.
    version_number: AtomicU64,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    request: Request,
    state: PipelineState,
    /// Why the pipeline will have failed once everything read before is committed.
    failing: Option<String>,
    ledger: Ledger,
    /// For each chunk that is read and not committed: its end, and when it was read.
    inside: VecDeque<(Offset, Instant)>,
    windows: u64,
    commit_last: Duration,
    retries: u64,
    retries_in_a_row: u32,
    last_error: Option<String>,
    sampled_at: Instant,
    sampled_busy_nanos: u64,
    utilisation: f64,
}

impl Shared {
    pub fn new(
        identity: Arc<Identity>,
        source: Arc<dyn Source>,
        workers: usize,
        version: Version,
        ledger: Ledger,
    ) -> Self {
        Self {
            meters: Meters::new(&identity.pipeline),
            identity,
            source,
            workers,
            busy_nanos: AtomicU64::new(0),
            version_number: AtomicU64::new(version.number),
            version: Mutex::new(Arc::new(version)),
            inner: Mutex::new(Inner {
                request: Request::Run,
                state: PipelineState::Running,
                failing: None,
                ledger,
                inside: VecDeque::new(),
                windows: 0,
                commit_last: Duration::ZERO,
                retries: 0,
                retries_in_a_row: 0,
                last_error: None,
                sampled_at: Instant::now(),
                sampled_busy_nanos: 0,
                utilisation: 0.0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Fields are set one by one and each is right by itself: a panicked holder breaks nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn request(&self) -> Request {
        self.lock().request
    }

    /// Asks for something; a stop is not taken back, and a drain keeps its first end.
    pub fn ask(&self, request: Request) {
        let mut inner = self.lock();
        if request == Request::Stop || inner.request == Request::Run {
            inner.request = request;
            if inner.state == PipelineState::Running && request != Request::Run {
                inner.state = PipelineState::Draining;
            }
        }
        self.changed.notify_all();
    }

    pub fn version(&self) -> Arc<Version> {
        Arc::clone(&self.version.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the version by what `make` makes of its number. Outside the lock, which the reader and
    /// every status take: an engine for each worker takes its time.
    pub fn swap_version<E>(&self, make: impl FnOnce(u64) -> Result<Version, E>) -> Result<(), E> {
        let new = Arc::new(make(self.version_number.fetch_add(1, Ordering::SeqCst) + 1)?);
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *version, new);
        drop(version);
        // The last of its engines may go with it.
        drop(before);
        Ok(())
    }

    pub fn state(&self) -> PipelineState {
        self.lock().state.clone()
    }

    /// The pipeline ends now.
    pub fn fail(&self, reason: String) {
        tracing::error!(pipeline = %self.identity.pipeline, %reason, "pipeline failed");
        let mut inner = self.lock();
        inner.last_error = Some(reason.clone());
        inner.state = PipelineState::Failed(reason);
        self.changed.notify_all();
    }

    /// The pipeline ends with this failure when what was read before is committed.
    pub fn fail_later(&self, reason: String) {
        self.lock().failing = Some(reason);
    }

    /// The committer is done: sets the state, and the gauges a last time.
    pub fn end(&self) {
        self.set_end();
        self.meters.observe(&self.status());
    }

    fn set_end(&self) {
        let mut inner = self.lock();
        if inner.state.is_over() {
            return;
        }
        if let Some(reason) = inner.failing.take() {
            drop(inner);
            return self.fail(reason);
        }
        inner.state = PipelineState::Stopped;
        self.changed.notify_all();
    }

    pub fn chunk_read(&self, end: Offset, at: Instant) {
        self.lock().inside.push_back((end, at));
    }

    pub fn worked(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.busy_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.meters.transformed(took);
    }

    pub fn committed(&self, ledger: Ledger, took: Duration) {
        let mut inner = self.lock();
        inner.ledger = ledger;
        inner.windows += 1;
        inner.commit_last = took;
        inner.retries_in_a_row = 0;
        while inner.inside.front().is_some_and(|(end, _)| *end <= ledger.next_offset) {
            inner.inside.pop_front();
        }
        self.changed.notify_all();
    }

    /// Notes a failure that will be tried again.
    pub fn retry(&self, what: &'static str, reason: &str) {
        tracing::warn!(pipeline = %self.identity.pipeline, what, %reason, "trying again");
        let mut inner = self.lock();
        inner.retries += 1;
        inner.retries_in_a_row += 1;
        inner.last_error = Some(reason.to_owned());
    }

    /// A read worked again.
    pub fn recovered(&self) {
        self.lock().retries_in_a_row = 0;
    }

    /// Waits; false at once when a stop is asked for.
    pub fn pause(&self, span: Duration) -> bool {
        let running = |inner: &mut Inner| inner.request != Request::Stop && !inner.state.is_over();
        let (inner, _) = self
            .changed
            .wait_timeout_while(self.lock(), span, running)
            .unwrap_or_else(PoisonError::into_inner);
        inner.request != Request::Stop && !inner.state.is_over()
    }

    /// Waits until everything before `offset` is committed, or nothing more will be.
    pub fn wait_for(&self, offset: Offset, timeout: Duration) -> bool {
        let short = |inner: &mut Inner| inner.ledger.next_offset < offset && !inner.state.is_over();
        let (inner, _) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, short)
            .unwrap_or_else(PoisonError::into_inner);
        inner.ledger.next_offset >= offset
    }

    /// Waits for the end.
    pub fn wait_end(&self) -> PipelineState {
        let going = |inner: &mut Inner| !inner.state.is_over();
        let inner = self.changed.wait_while(self.lock(), going).unwrap_or_else(PoisonError::into_inner);
        inner.state.clone()
    }

    /// Sets the gauges when it is time to.
    pub fn tick(&self) {
        let mut inner = self.lock();
        let elapsed = inner.sampled_at.elapsed();
        if elapsed < SAMPLE_SPAN {
            return;
        }
        let busy = self.busy_nanos.load(Ordering::Relaxed);
        let worked = Duration::from_nanos(busy - inner.sampled_busy_nanos);
        #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
        let capacity = elapsed.as_secs_f64() * self.workers as f64;
        // A chunk counts when it is done, so a long one may count for more than the span.
        inner.utilisation = (worked.as_secs_f64() / capacity).min(1.0);
        (inner.sampled_at, inner.sampled_busy_nanos) = (Instant::now(), busy);
        drop(inner);
        self.meters.observe(&self.status());
    }

    pub fn status(&self) -> PipelineStatus {
        let inner = self.lock();
        let ledger = inner.ledger;
        let lag = inner.inside.front().map_or(Duration::ZERO, |(_, at)| at.elapsed());
        let mut status = PipelineStatus {
            pipeline: self.identity.pipeline.clone(),
            topic: self.identity.topic_name.clone(),
            topic_id: self.identity.topic.to_string(),
            table: self.identity.rows_table.clone(),
            dead_letter_table: self.identity.dead_table.clone(),
            state: inner.state.clone(),
            udf_hash: None,
            next_offset: ledger.next_offset.0,
            end_offset: 0,
            read: ledger.read,
            written: ledger.written,
            filtered: ledger.filtered,
            dead_lettered: ledger.dead_lettered,
            duplicate: ledger.duplicate,
            erased: ledger.erased,
            expired: ledger.expired,
            pending_messages: 0,
            backlog_bytes: 0,
            backlog_age_seconds: 0.0,
            freshness_seconds: 0.0,
            system_lag_seconds: lag.as_secs_f64(),
            worker_utilisation: inner.utilisation,
            workers: self.workers,
            windows: inner.windows,
            commit_seconds_last: inner.commit_last.as_secs_f64(),
            retries: inner.retries,
            retries_in_a_row: inner.retries_in_a_row,
            last_error: inner.last_error.clone(),
        };
        // The topic has a lock of its own: never hold both.
        drop(inner);
        let bounds = self.source.bounds();
        let (bytes, oldest) = self.source.backlog(ledger.next_offset.max(bounds.start));
        let age = oldest.map_or(Duration::ZERO, |oldest| Micros::now().since(oldest)).as_secs_f64();
        status.udf_hash = self.version().udf_hash.map(|hash| hash.to_string());
        status.end_offset = bounds.end.0;
        status.pending_messages = bounds.end.since(ledger.next_offset.max(bounds.start));
        status.backlog_bytes = bytes;
        (status.backlog_age_seconds, status.freshness_seconds) = (age, age);
        status
    }
}
