//! A running pipeline and its owner's handle to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use millrace_model::{Offset, Source, TransformFactory};
use millrace_table::TableSpec;

use crate::belt::Belt;
use crate::chunk::Version;
use crate::committer::Committer;
use crate::plan::{ChunkLimits, Identity, Opening, open};
use crate::reader::Reader;
use crate::run::{commit_loop, hold, read_loop, work_loop};
use crate::shared::{Request, Shared};
use crate::status::{PipelineState, PipelineStatus};
use crate::{PipelineConfig, PipelineError, Sink};

/// A pipeline: threads that fold a topic into a table, exactly once.
///
/// One reader, `workers` transforming threads and one committer. The transform of the next window
/// overlaps the commit of the one before. Dropping it stops it as [`stop`](Self::stop) does.
pub struct Pipeline {
    shared: Arc<Shared>,
    belt: Arc<Belt>,
    workers: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pipeline {
    /// Reads from the tables where to go on, and goes on.
    ///
    /// # Errors
    /// When the configuration makes no sense, a transform or thread cannot be made, a table cannot be
    /// read, or table and topic contradict each other: see [`PipelineError`].
    pub fn start(
        config: PipelineConfig,
        source: Arc<dyn Source>,
        transforms: Arc<dyn TransformFactory>,
        spec: Arc<TableSpec>,
        rows: Arc<dyn Sink>,
        dead_letters: Arc<dyn Sink>,
    ) -> Result<Self, PipelineError> {
        config.validate()?;
        let identity = Arc::new(Identity::new(
            &config.name,
            source.topic_name(),
            source.topic_id(),
            rows.table(),
            dead_letters.table(),
        ));
        let opening =
            read_opening(&config, &identity, source.as_ref(), rows.as_ref(), dead_letters.as_ref())?;
        let version = make_version(&config.name, 0, transforms, config.workers)?;
        let workers = config.workers;
        let shared = Arc::new(Shared::new(
            Arc::clone(&identity),
            Arc::clone(&source),
            workers,
            version,
            opening.ledger,
        ));
        hold(&shared, opening.ledger.next_offset);
        let reader = Reader::new(
            source,
            Arc::clone(&dead_letters),
            Arc::clone(&identity),
            chunk_limits(&config),
            opening.ledger.next_offset,
            opening.dead_position,
        );
        let committer = Committer::new(rows, dead_letters, identity, opening);
        let belt = Arc::new(Belt::new(config.in_flight_bytes_max, config.window.rows_max));
        let pipeline = Self { shared, belt, workers, threads: Mutex::default() };
        // A thread that cannot be made drops the pipeline, which ends those made before.
        pipeline.spawn_all(config, reader, committer, spec)?;
        Ok(pipeline)
    }

    fn spawn_all(
        &self,
        config: PipelineConfig,
        reader: Reader,
        committer: Committer,
        spec: Arc<TableSpec>,
    ) -> Result<(), PipelineError> {
        for (worker, spec) in std::iter::repeat_n(spec, self.workers).enumerate() {
            self.spawn(&format!("worker-{worker}"), move |shared, belt| work_loop(shared, belt, &spec))?;
        }
        let read_config = config.clone();
        self.spawn("committer", move |shared, belt| commit_loop(committer, shared, belt, &config))?;
        self.spawn("reader", move |shared, belt| read_loop(reader, shared, belt, &read_config))
    }

    fn spawn(
        &self,
        role: &str,
        body: impl FnOnce(&Shared, &Belt) + Send + 'static,
    ) -> Result<(), PipelineError> {
        let (shared, belt) = (Arc::clone(&self.shared), Arc::clone(&self.belt));
        let pipeline = &self.shared.identity.pipeline;
        let thread = Builder::new().name(format!("{pipeline}-{role}")).spawn(move || {
            let guard = EndOnPanic { shared: &shared, belt: &belt };
            body(&shared, &belt);
            std::mem::forget(guard);
        });
        match thread {
            Ok(thread) => self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread),
            Err(error) => {
                self.shared.fail(format!("no thread for its {role}: {error}"));
                self.belt.abort();
                return Err(PipelineError::Thread { pipeline: pipeline.clone(), reason: error.to_string() });
            }
        }
        Ok(())
    }

    /// How it is doing now.
    #[must_use]
    pub fn status(&self) -> PipelineStatus {
        self.shared.status()
    }

    /// Whether it runs.
    #[must_use]
    pub fn state(&self) -> PipelineState {
        self.shared.state()
    }

    /// Waits until every message before `offset` is committed; false when `timeout` has passed or the
    /// pipeline ended before.
    #[must_use]
    pub fn wait_for(&self, offset: Offset, timeout: Duration) -> bool {
        self.shared.wait_for(offset, timeout)
    }

    /// The transforms that new messages are shown to.
    #[must_use]
    pub fn transforms(&self) -> Arc<dyn TransformFactory> {
        self.shared.version().factory()
    }

    /// From the next window on, messages are shown to the new version. A window never mixes versions.
    ///
    /// # Errors
    /// When the new transforms cannot be made: the old ones stay.
    pub fn swap_transforms(&self, transforms: Arc<dyn TransformFactory>) -> Result<(), PipelineError> {
        let pipeline = &self.shared.identity.pipeline;
        self.shared.swap_version(|number| make_version(pipeline, number, transforms, self.workers))
    }

    /// Asks to fold everything there is now and then to end; does not wait.
    pub fn request_drain(&self) {
        self.shared.ask(Request::Drain(self.shared.source.bounds().end));
    }

    /// Asks to end after what workers have in hand; does not wait. What is not committed is folded by
    /// the next start.
    pub fn request_stop(&self) {
        self.shared.ask(Request::Stop);
        self.belt.close(true);
    }

    /// Folds everything there is now, then ends; waits for that. A sink that keeps failing keeps it
    /// waiting until another thread asks for a stop.
    pub fn drain(&self) -> PipelineState {
        self.request_drain();
        self.shared.wait_end()
    }

    /// Commits what workers have in hand, then ends; waits for that. A commit that fails is not tried
    /// again.
    pub fn stop(&self) -> PipelineState {
        self.request_stop();
        self.shared.wait_end()
    }

    /// As [`stop`](Self::stop), and waits until every thread is gone: from then on nothing of it touches
    /// its tables, so that another may be started on them.
    pub fn end(&self) -> PipelineState {
        self.request_stop();
        // Under the lock: who asks meanwhile waits for the same end.
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A thread that panicked has said so through its guard.
            let _ = thread.join();
        }
        drop(threads);
        self.state()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends the pipeline when one of its threads panics, so that nobody waits for it.
struct EndOnPanic<'a> {
    shared: &'a Shared,
    belt: &'a Belt,
}

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        self.shared.fail("one of its threads panicked; this is a bug, please report it".to_owned());
        self.belt.abort();
    }
}

fn make_version(
    pipeline: &str,
    number: u64,
    transforms: Arc<dyn TransformFactory>,
    workers: usize,
) -> Result<Version, PipelineError> {
    Version::new(number, transforms, workers)
        .map_err(|reason| PipelineError::Transform { pipeline: pipeline.to_owned(), reason })
}

/// A window ends between two chunks, so chunks are small against it: it closes at most an eighth short
/// of its limits.
fn chunk_limits(config: &PipelineConfig) -> ChunkLimits {
    ChunkLimits {
        messages_max: config.chunk_messages_max.min(config.window.rows_max.div_ceil(8)),
        bytes_max: config.chunk_bytes_max.min(config.window.bytes_max.div_ceil(8)),
    }
}

fn read_opening(
    config: &PipelineConfig,
    identity: &Identity,
    source: &dyn Source,
    rows: &dyn Sink,
    dead_letters: &dyn Sink,
) -> Result<Opening, PipelineError> {
    let unreadable = |error| PipelineError::Sink { pipeline: config.name.clone(), error };
    let rows_marks = rows.marks().map_err(unreadable)?;
    let dead_marks = dead_letters.marks().map_err(unreadable)?;
    open(identity, &rows_marks, &dead_marks, source.bounds(), config.adopt_new_topic)
}
