//! An engine thread as seen from outside: start it, give it jobs, wait for them, give it up.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::child::{ChildHandle, ChildRunner};
use crate::config::UdfError;
use crate::job::Job;
use crate::pulse::Pulse;
use crate::runner::{LocalRunner, Runner, Spec};
use crate::stats::{Counters, add};
use crate::watch::{Clock, Order, ProcessorClock, Watch, load_limit, tick};

/// Jobs that may wait for an engine thread besides the one it has in hand.
pub(crate) const QUEUED_JOBS_MAX: usize = 2;

/// Stack of an engine thread beyond what QuickJS may use: its checks are not in every C function.
const STACK_MARGIN_BYTES: usize = 1024 * 1024;

const RUNNING: u8 = 0;
const ENDED: u8 = 1;
const ABANDONED: u8 = 2;

/// Where an engine thread's engine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the thread.
    Thread,
    /// In a child process that the thread speaks to.
    Child,
}

/// How a wait for a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Every message has its verdict.
    Done,
    /// The engine is stuck; the job's next message is the one it is stuck in.
    Stuck,
    /// The engine thread has ended, which is a defect here or in the engine.
    Lost,
}

/// What the thread and its host share.
#[derive(Debug)]
struct Shared {
    pulse: Arc<Pulse>,
    clock: OnceLock<Clock>,
    /// The thread's system-wide number, where there is such a thing.
    #[cfg(target_os = "linux")]
    thread_id: OnceLock<rustix::process::Pid>,
    life: AtomicU8,
    child: Arc<Mutex<Option<ChildHandle>>>,
}

/// An engine thread.
#[derive(Debug)]
pub(crate) struct Host {
    id: u64,
    place: Place,
    spec: Arc<Spec>,
    shared: Arc<Shared>,
    jobs: SyncSender<Arc<Job>>,
    ready: Receiver<Result<usize, UdfError>>,
    thread: JoinHandle<()>,
    watch: Watch,
}

impl Host {
    /// Starts an engine thread, which loads the scripts first thing.
    ///
    /// # Errors
    /// The system's word when there is no thread to be had.
    pub fn start(spec: &Arc<Spec>, place: Place) -> Result<Self, UdfError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            pulse: Arc::default(),
            clock: OnceLock::new(),
            #[cfg(target_os = "linux")]
            thread_id: OnceLock::new(),
            life: AtomicU8::new(RUNNING),
            child: Arc::default(),
        });
        let (jobs, jobs_of_thread) = mpsc::sync_channel(QUEUED_JOBS_MAX);
        let (ready_of_thread, ready) = mpsc::sync_channel(1);
        let seat = Seat { id, place, spec: Arc::clone(spec), shared: Arc::clone(&shared) };
        let thread = thread::Builder::new()
            .name("udf-engine".to_owned())
            .stack_size(spec.config.stack_bytes_max + STACK_MARGIN_BYTES)
            .spawn(move || seat.work(&ready_of_thread, &jobs_of_thread))
            .map_err(|error| UdfError::Engine(format!("no thread for it: {error}")))?;
        let watch = Watch::new(spec.config.time_limit);
        Ok(Self { id, place, spec: Arc::clone(spec), shared, jobs, ready, thread, watch })
    }

    /// The name under which the engine publishes verdicts.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where the engine lives.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Waits until the scripts are loaded; answers how many parameters the function declares.
    ///
    /// # Errors
    /// What is wrong with the scripts, [`UdfError::LoadTimeout`] when they come to no end.
    pub fn wait_ready(&mut self) -> Result<usize, UdfError> {
        let tick = tick(self.spec.config.time_limit);
        loop {
            let before = Instant::now();
            match self.ready.recv_timeout(tick) {
                Ok(loaded) => return loaded,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(UdfError::Engine("its thread ended while it was loaded".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.look(before.elapsed()) == Order::GiveUp {
                self.abandon();
                return Err(UdfError::LoadTimeout(load_limit(self.spec.config.time_limit)));
            }
        }
    }

    /// Queues a job, of which there may be [`QUEUED_JOBS_MAX`] besides the one in hand.
    pub fn submit(&self, job: &Arc<Job>) {
        // A thread that has ended takes no job: the wait for it finds that out.
        drop(self.jobs.send(Arc::clone(job)));
    }

    /// Waits until the oldest job is done or the engine proves stuck.
    pub fn wait(&mut self, job: &Job) -> Waited {
        let tick = tick(self.spec.config.time_limit);
        let mut progress = job.progress();
        while !job.is_complete(&progress) {
            let before = Instant::now();
            // Nothing panics while the lock is held, so a poisoned one is as good.
            progress =
                job.done.wait_timeout(progress, tick).unwrap_or_else(std::sync::PoisonError::into_inner).0;
            if job.is_complete(&progress) {
                break;
            }
            // Under the lock: the engine cannot go on to its next message between the look and what
            // follows from it, because publishing a verdict needs the lock.
            if self.look(before.elapsed()) == Order::GiveUp {
                progress.owner = 0;
                return Waited::Stuck;
            }
            if self.thread.is_finished() {
                progress.owner = 0;
                return Waited::Lost;
            }
        }
        Waited::Done
    }

    fn look(&mut self, waited: Duration) -> Order {
        let activity = self.shared.pulse.activity();
        let order = self.watch.look(activity, waited, &self.shared.clock);
        if order == Order::Stop {
            self.shared.pulse.stop(activity);
        }
        order
    }

    /// Gives the engine up: it stops at the next poll of its interrupt handler, should one come. Until
    /// then it is counted, and runs behind everything else on the machine.
    pub fn abandon(&self) {
        self.shared.pulse.abandon();
        if self.place == Place::Child {
            // Its thread is not stuck: it waits for the child, and ends when that is gone.
            if let Some(child) =
                self.shared.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner).as_mut()
            {
                child.kill();
            }
            return;
        }
        let counters = &self.spec.counters;
        add(&counters.engines_abandoned, 1);
        counters.engines_abandoned_live.fetch_add(1, Ordering::SeqCst);
        let life = &self.shared.life;
        if life.compare_exchange(RUNNING, ABANDONED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            counters.engines_abandoned_live.fetch_sub(1, Ordering::SeqCst);
        }
        #[cfg(target_os = "linux")]
        if let Some(thread) = self.shared.thread_id.get() {
            // A courtesy to the engines that work: failing to do it changes no result.
            let _ = rustix::process::setpriority_process(Some(*thread), 19);
        }
        tracing::warn!("gave up a JavaScript engine that is stuck in a native function");
    }
}

impl Drop for Host {
    /// The thread ends by itself, at once when it is idle. It is not waited for: it may be stuck.
    fn drop(&mut self) {
        self.shared.pulse.abandon();
    }
}

/// The thread's side of a host.
struct Seat {
    id: u64,
    place: Place,
    spec: Arc<Spec>,
    shared: Arc<Shared>,
}

impl Seat {
    fn work(&self, ready: &SyncSender<Result<usize, UdfError>>, jobs: &Receiver<Arc<Job>>) {
        let _end = End { shared: &self.shared, counters: &self.spec.counters };
        #[cfg(target_os = "linux")]
        let _ = self.shared.thread_id.set(rustix::thread::gettid());
        let (spec, pulse) = (Arc::clone(&self.spec), Arc::clone(&self.shared.pulse));
        if self.place == Place::Child {
            drop(self.shared.clock.set(Clock::Child));
            let mut runner = ChildRunner::new(spec, pulse, Arc::clone(&self.shared.child));
            return self.serve(&mut runner, jobs);
        }
        let clock = ProcessorClock::of_this_thread().map_or(Clock::Waited, Clock::Processor);
        drop(self.shared.clock.set(clock));
        let mut runner = LocalRunner::new(spec, pulse);
        // Nobody may be waiting for this; an engine that did not load is tried again for each message.
        drop(ready.send(runner.load()));
        self.serve(&mut runner, jobs);
    }

    fn serve(&self, runner: &mut dyn Runner, jobs: &Receiver<Arc<Job>>) {
        while let Ok(job) = jobs.recv() {
            let done = job.progress().verdicts.len();
            for index in done..job.chunk.len() {
                let verdict =
                    job.chunk.input(index).map_or_else(|verdict| verdict, |input| runner.run(input));
                if !job.publish(self.id, verdict) {
                    return;
                }
            }
        }
    }
}

/// Marks the thread's end, also when it unwinds.
struct End<'a> {
    shared: &'a Shared,
    counters: &'a Counters,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if self.shared.life.swap(ENDED, Ordering::SeqCst) == ABANDONED {
            self.counters.engines_abandoned_live.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
