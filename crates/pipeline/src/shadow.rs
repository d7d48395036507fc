//! A new version beside the old one on live messages, without touching the pipeline: it reads the topic
//! by itself, on a thread of its own, writes nothing, and passes over what it cannot keep up with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use millrace_model::{MessageBatch, Offset, ReadLimit, Source, SourceError, TransformFactory};
use millrace_table::TableSpec;
use serde::{Deserialize, Serialize};

use crate::meters::count_shadow;
use crate::trial::workbench::Workbench;
use crate::trial::{Comparison, compare_batch};

/// Most messages and payload bytes of one read.
const READ_MESSAGES_MAX: usize = 256;
const READ_BYTES_MAX: usize = 1 << 20;

/// How long an idle shadow waits before it looks up, which bounds how late it notices a stop.
const IDLE_WAIT: Duration = Duration::from_millis(200);

/// Tells which version the pipeline runs now.
pub type RunningVersion = Arc<dyn Fn() -> Arc<dyn TransformFactory> + Send + Sync>;

/// How a shadow runs.
#[derive(Clone)]
pub struct ShadowConfig {
    /// How many messages it may be behind the topic's end; beyond that it jumps to the newest half of
    /// them and counts those between as skipped.
    pub lag_messages_max: u64,
    /// Called first on its thread, and before any engine is made there: lowers its priority.
    pub on_start: Arc<dyn Fn() + Send + Sync>,
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self { lag_messages_max: 4096, on_start: Arc::new(|| {}) }
    }
}

/// What a shadow has found so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// The two versions side by side.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// Messages that it passed over to keep up, expired ones included.
    pub skipped: u64,
    /// Behind the last message that it looked at.
    pub position: u64,
    /// For how long it has been running, in seconds.
    pub seconds: f64,
    /// Why it runs no more, when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// A version that runs in the shadow of a pipeline. Dropping it ends it.
pub struct Shadow {
    transforms: Arc<dyn TransformFactory>,
    state: Arc<State>,
    began: Instant,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    report: Mutex<ShadowReport>,
    stop: AtomicBool,
}

impl Shadow {
    /// Shows every message from now on to the version that `running` names and to `transforms`, as far
    /// as it keeps up.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        source: Arc<dyn Source>,
        spec: Arc<TableSpec>,
        running: RunningVersion,
        transforms: Arc<dyn TransformFactory>,
        config: ShadowConfig,
    ) -> Result<Self, String> {
        let state = Arc::new(State::default());
        let position = source.bounds().end;
        state.with(|report| report.position = position.0);
        let follower = Follower {
            name: name.to_owned(),
            source,
            spec,
            running,
            transforms: Arc::clone(&transforms),
            lag_messages_max: config.lag_messages_max.max(1),
            state: Arc::clone(&state),
        };
        let on_start = config.on_start;
        let thread = Builder::new().name(format!("{name}-shadow")).spawn(move || {
            on_start();
            let guard = NoteEnd(&follower.state);
            let ended = follower.run(position).err().unwrap_or_else(|| "stopped".to_owned());
            guard.0.with(|report| report.ended = Some(ended));
        });
        let thread = thread.map_err(|error| format!("no thread for the shadow: {error}"))?;
        Ok(Self { transforms, state, began: Instant::now(), thread: Some(thread) })
    }

    /// The version in the shadow.
    #[must_use]
    pub fn transforms(&self) -> &Arc<dyn TransformFactory> {
        &self.transforms
    }

    /// What it has found so far.
    #[must_use]
    pub fn report(&self) -> ShadowReport {
        let mut report = self.state.with(|report| report.clone());
        report.seconds = self.began.elapsed().as_secs_f64();
        report
    }

    /// Asks it to end after the message that it has in hand; does not wait.
    pub fn request_stop(&self) {
        self.state.stop.store(true, Ordering::SeqCst);
    }

    /// Ends it and tells what it has found.
    #[must_use]
    pub fn stop(mut self) -> ShadowReport {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        self.request_stop();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so in the report.
            let _ = thread.join();
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn with<T>(&self, change: impl FnOnce(&mut ShadowReport) -> T) -> T {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Says so when the thread ends by a panic.
struct NoteEnd<'a>(&'a State);

impl Drop for NoteEnd<'_> {
    fn drop(&mut self) {
        self.0.with(|report| {
            report
                .ended
                .get_or_insert_with(|| "its thread panicked; this is a bug, please report it".to_owned());
        });
    }
}

struct Follower {
    name: String,
    source: Arc<dyn Source>,
    spec: Arc<TableSpec>,
    running: RunningVersion,
    transforms: Arc<dyn TransformFactory>,
    lag_messages_max: u64,
    state: Arc<State>,
}

impl Follower {
    fn run(&self, mut position: Offset) -> Result<(), String> {
        let mut shadow = Workbench::new(Arc::clone(&self.transforms), Arc::clone(&self.spec))?;
        let mut current = self.running_workbench()?;
        while !self.state.is_stopped() {
            position = self.keep_up(position);
            let limit = ReadLimit { messages_max: READ_MESSAGES_MAX, bytes_max: READ_BYTES_MAX, end: None };
            let batch = match self.source.read(position, limit) {
                Ok(batch) => batch,
                Err(SourceError::Expired { start, .. }) if start > position => {
                    position = self.skip(position, start);
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            let Some(next) = batch.next_offset() else {
                self.source.wait(position, IDLE_WAIT);
                continue;
            };
            if (self.running)().udf_hash() != current.udf_hash() {
                current = self.running_workbench()?;
            }
            self.compare(&mut current, &mut shadow, &Arc::new(batch))?;
            position = next;
            self.state.with(|report| report.position = position.0);
        }
        Ok(())
    }

    fn running_workbench(&self) -> Result<Workbench, String> {
        Workbench::new((self.running)(), Arc::clone(&self.spec))
    }

    fn compare(
        &self,
        current: &mut Workbench,
        shadow: &mut Workbench,
        batch: &Arc<MessageBatch>,
    ) -> Result<(), String> {
        let mut found = Comparison::default();
        compare_batch(current, shadow, batch, &mut found, |_| true, &|| self.state.is_stopped())?;
        let left_out = batch.len() as u64 - found.messages;
        count_shadow(&self.name, found.messages, found.messages - found.same, left_out);
        self.state.with(|report| {
            report.comparison.merge(found);
            report.skipped += left_out;
        });
        Ok(())
    }

    /// Where to go on: further ahead when it is too far behind.
    fn keep_up(&self, position: Offset) -> Offset {
        let end = self.source.bounds().end;
        if end.since(position) <= self.lag_messages_max {
            return position;
        }
        self.skip(position, Offset(end.0 - self.lag_messages_max / 2))
    }

    fn skip(&self, from: Offset, to: Offset) -> Offset {
        count_shadow(&self.name, 0, 0, to.since(from));
        self.state.with(|report| report.skipped += to.since(from));
        to
    }
}
