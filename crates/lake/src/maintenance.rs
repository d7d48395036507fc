//! What keeps a table quick to read and small: compaction, checkpoints, vacuum, log clean-up. Runs
//! beside the commits and never holds them up for longer than one small commit of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use millrace_model::Micros;

use crate::committer::Committer;
use crate::compaction;
use crate::core::{TableCore, lock};
use crate::error::LakeError;
use crate::metric;
use crate::table::LakeTable;
use crate::vacuum;

/// What one round of maintenance did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Maintained {
    /// Commits that put small files together.
    pub compactions: usize,
    /// Whether a checkpoint was written.
    pub checkpointed: bool,
    /// Files removed from the disk.
    pub vacuumed_files: usize,
    /// Log entries removed from the disk.
    pub log_files_removed: usize,
}

/// The maintenance of one table.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// The version of the newest checkpoint.
    checkpointed: AtomicU64,
    /// One round at a time.
    round: Mutex<()>,
}

impl Upkeep {
    pub(crate) fn new(checkpoint: Option<u64>) -> Self {
        Self { checkpointed: AtomicU64::new(checkpoint.unwrap_or(0)), round: Mutex::new(()) }
    }

    /// One round of everything that is due. A step that fails does not keep the others from being done;
    /// the first error is the answer.
    pub(crate) fn run(&self, core: &Arc<TableCore>, committer: &Committer) -> Result<Maintained, LakeError> {
        let _round = lock(&self.round);
        let mut first_error = None;
        let mut done = Maintained::default();
        let mut step = |outcome: Result<(), LakeError>| {
            if let Err(error) = outcome {
                first_error.get_or_insert(error);
            }
        };
        step(compact_due(core, committer, &mut done.compactions));
        step(self.checkpoint_due(core).map(|written| done.checkpointed = written));
        let now = Micros::now();
        step(vacuum::vacuum(core, committer, now).map(|removed| done.vacuumed_files = removed));
        step(vacuum::clean_log(core, now).map(|removed| done.log_files_removed = removed));
        first_error.map_or(Ok(done), Err)
    }

    fn checkpoint_due(&self, core: &TableCore) -> Result<bool, LakeError> {
        let version = core.state().version;
        let due =
            version >= self.checkpointed.load(Ordering::Relaxed) + core.config.checkpoint_interval_commits;
        if due {
            core.log.checkpoint(version)?;
            self.checkpointed.store(version, Ordering::Relaxed);
        }
        Ok(due)
    }
}

fn compact_due(core: &Arc<TableCore>, committer: &Committer, done: &mut usize) -> Result<(), LakeError> {
    let rounds_max = core.config.compaction.rounds_max;
    // A round may make files that are worth another: the plan is made anew until nothing is left.
    while *done < rounds_max {
        let groups = compaction::plan(core, &core.state(), &core.config.compaction);
        if groups.is_empty() {
            break;
        }
        let mut outcome = Ok(());
        for group in groups.iter().take(rounds_max - *done) {
            match compaction::compact(core, committer, group) {
                Ok(()) => *done += 1,
                // One damaged file must not keep the others from being put together.
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome?;
    }
    Ok(())
}

/// The thread that goes round all tables of a lake.
pub(crate) struct Caretaker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// The tables to take care of; those that are gone drop out.
pub(crate) type TableList = Arc<Mutex<Vec<Weak<LakeTable>>>>;

impl Caretaker {
    /// Starts a round every `interval`.
    pub(crate) fn start(tables: TableList, interval: Duration) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("lake-upkeep".to_owned()).spawn(move || {
            while !wait(&stopped, interval) {
                let due: Vec<_> = lock(&tables).iter().filter_map(Weak::upgrade).collect();
                for table in due {
                    if *lock(&stopped.0) {
                        break;
                    }
                    table.maintain();
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Waits for the interval; answers whether to stop.
fn wait(stop: &(Mutex<bool>, Condvar), interval: Duration) -> bool {
    let (flag, changed) = stop;
    let guard = lock(flag);
    match changed.wait_timeout_while(guard, interval, |stopped| !*stopped) {
        Ok((stopped, _)) => *stopped,
        Err(_) => true,
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // The last table may be dropped on the thread itself, which cannot wait for its own end.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// Counts a failed round; the next one tries again.
pub(crate) fn failed(table: &str, error: &LakeError) {
    metric::maintenance_failed(table);
    tracing::warn!(table, %error, "maintenance of a table failed and will be tried again");
}
