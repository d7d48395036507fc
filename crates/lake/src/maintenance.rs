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

    /// One round of everything that is due.
    pub(crate) fn run(&self, core: &Arc<TableCore>, committer: &Committer) -> Result<Maintained, LakeError> {
        let _round = lock(&self.round);
        let mut done = Maintained { compactions: compact_due(core, committer)?, ..Maintained::default() };
        let version = core.state().version;
        let due = self.checkpointed.load(Ordering::Relaxed) + core.config.checkpoint_interval_commits;
        if version >= due {
            core.log.checkpoint(version)?;
            self.checkpointed.store(version, Ordering::Relaxed);
            done.checkpointed = true;
        }
        let now = Micros::now();
        done.vacuumed_files = vacuum::vacuum(core, committer, now)?;
        done.log_files_removed = vacuum::clean_log(core, now)?;
        Ok(done)
    }
}

fn compact_due(core: &Arc<TableCore>, committer: &Committer) -> Result<usize, LakeError> {
    let mut done = 0;
    // A round may make files that are worth another: the plan is made anew until nothing is left.
    while done < core.config.compaction.rounds_max {
        let groups = compaction::plan(core, &core.state(), &core.config.compaction);
        if groups.is_empty() {
            break;
        }
        for group in groups.iter().take(core.config.compaction.rounds_max - done) {
            compaction::compact(core, committer, group)?;
            done += 1;
        }
    }
    Ok(done)
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
        let thread = std::thread::Builder::new().name("lake-maintenance".to_owned()).spawn(move || {
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
