//! The one thread that changes a table: appends, replacements and removals of files pass through it
//! one after the other. All heavy work is done before a request is sent.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use deltalake_core::kernel::{Action, Add, Transaction};
use millrace_model::Micros;
use serde_json::json;

use crate::core::TableCore;
use crate::error::LakeError;
use crate::files;
use crate::log;
use crate::metric;
use crate::state::{DataFile, TableState};

/// What a table is asked to do. Every request is answered, unless the thread ends first.
pub(crate) enum Request {
    /// Take files and marks into the table in one commit.
    Append { adds: Vec<Add>, marks: Vec<(String, i64)>, reply: SyncSender<Result<(), LakeError>> },
    /// Put new files in the place of old ones that hold the same rows.
    Replace { old: Vec<Arc<DataFile>>, new: Vec<Add>, reply: SyncSender<Result<(), LakeError>> },
    /// Take rows out, by putting new files in the place of old ones, and files and marks in, in one commit.
    Amend {
        old: Vec<Arc<DataFile>>,
        adds: Vec<Add>,
        marks: Vec<(String, i64)>,
        reply: SyncSender<Result<(), LakeError>>,
    },
    /// Remove files from the disk that the table neither holds nor has removed lately.
    Unlink { paths: Vec<String>, cutoff_ms: i64, reply: SyncSender<Result<Vec<String>, LakeError>> },
    /// Read the table from disk anew, its newest entry made durable.
    Reload { reply: SyncSender<Result<Arc<TableState>, LakeError>> },
}

/// A running committer. Dropping it ends the thread behind the requests already sent.
pub(crate) struct Committer {
    sender: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread of a table.
    pub(crate) fn start(core: Arc<TableCore>) -> Result<Self, LakeError> {
        let (sender, receiver) = sync_channel(core.config.queue_requests_max);
        let table_dir = core.table_dir.clone();
        let thread = std::thread::Builder::new()
            .name("lake-committer".to_owned())
            .spawn(move || Work { core, stale: false }.run(&receiver))
            .map_err(LakeError::io("start a thread for", &table_dir))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Sends a request, made around the channel for its answer, and waits for the answer.
    pub(crate) fn ask<T>(
        &self,
        request: impl FnOnce(SyncSender<Result<T, LakeError>>) -> Request,
    ) -> Result<T, LakeError> {
        let (reply, answer) = sync_channel(1);
        let sender = self.sender.as_ref().ok_or(LakeError::Closed)?;
        sender.send(request(reply)).map_err(|_| LakeError::Closed)?;
        answer.recv().map_err(|_| LakeError::Closed)?
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    core: Arc<TableCore>,
    /// Whether a commit's outcome is unknown, so that the table must be read before the next step.
    stale: bool,
}

impl Work {
    fn run(mut self, requests: &Receiver<Request>) {
        metric::state(&self.core.label, &self.core.state());
        // An answer that nobody waits for any more is no concern of the table.
        while let Ok(request) = requests.recv() {
            match request {
                Request::Append { adds, marks, reply } => drop(reply.send(self.append(adds, marks))),
                Request::Replace { old, new, reply } => drop(reply.send(self.replace(&old, new))),
                Request::Amend { old, adds, marks, reply } => {
                    drop(reply.send(self.amend(&old, adds, marks)));
                }
                Request::Unlink { paths, cutoff_ms, reply } => {
                    drop(reply.send(self.unlink(paths, cutoff_ms)));
                }
                Request::Reload { reply } => drop(reply.send(self.reload())),
            }
        }
    }

    fn append(&mut self, adds: Vec<Add>, marks: Vec<(String, i64)>) -> Result<(), LakeError> {
        let actions: Vec<Action> = txns(marks).chain(adds.into_iter().map(Action::Add)).collect();
        self.commit("WRITE", &json!({ "mode": "Append" }), &actions)
    }

    fn amend(
        &mut self,
        old: &[Arc<DataFile>],
        adds: Vec<Add>,
        marks: Vec<(String, i64)>,
    ) -> Result<(), LakeError> {
        self.check_held(old)?;
        let now_ms = now_ms();
        let removes = old.iter().map(|file| Action::Remove(file.to_remove(now_ms, true)));
        let actions: Vec<Action> =
            txns(marks).chain(removes).chain(adds.into_iter().map(Action::Add)).collect();
        self.commit("DELETE", &json!({ "predicate": "[]" }), &actions)
    }

    /// Refuses files that are not the table's any more.
    fn check_held(&mut self, files: &[Arc<DataFile>]) -> Result<(), LakeError> {
        let state = self.fresh()?;
        let held: HashSet<&str> = state.files.iter().map(|file| file.path.as_str()).collect();
        match files.iter().all(|file| held.contains(file.path.as_str())) {
            true => Ok(()),
            false => Err(LakeError::Conflict(self.core.label.clone())),
        }
    }

    fn replace(&mut self, old: &[Arc<DataFile>], new: Vec<Add>) -> Result<(), LakeError> {
        self.check_held(old)?;
        let now_ms = now_ms();
        let removes = old.iter().map(|file| Action::Remove(file.to_remove(now_ms, false)));
        let actions: Vec<Action> = removes.chain(new.into_iter().map(Action::Add)).collect();
        self.commit("OPTIMIZE", &json!({ "predicate": "[]" }), &actions)
    }

    /// Writes the entry of the next version. After any error the table is read anew before anything
    /// else is done, for nobody knows whether the entry is there.
    fn commit(
        &mut self,
        operation: &str,
        parameters: &serde_json::Value,
        actions: &[Action],
    ) -> Result<(), LakeError> {
        let state = self.fresh()?;
        let version = state.version + 1;
        let path = log::entry_path(&self.core.table_dir, version);
        let entry = log::encode(&log::commit_info(operation, parameters, now_ms()), actions)
            .map_err(|error| LakeError::io("write", &path)(io::Error::other(error)))?;
        self.stale = true;
        match files::create_new(self.core.disk(), &path, &[entry]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(LakeError::Taken { table: self.core.label.clone(), version });
            }
            Err(error) => return Err(LakeError::io("write", &path)(error)),
        }
        if let Ok(Some(next)) = state.after(actions, &self.core.schema) {
            metric::state(&self.core.label, &next);
            self.core.publish(next);
            self.stale = false;
        }
        Ok(())
    }

    fn unlink(&mut self, mut paths: Vec<String>, cutoff_ms: i64) -> Result<Vec<String>, LakeError> {
        let state = self.fresh()?;
        let held: HashSet<&str> = state.files.iter().map(|file| file.path.as_str()).collect();
        paths.retain(|path| {
            let removed_lately = state.tombstones.get(path).is_some_and(|removed| *removed > cutoff_ms);
            !held.contains(path.as_str()) && !removed_lately && !self.core.is_pending(path)
        });
        for path in &paths {
            let full = self.core.table_dir.join(path);
            match self.core.disk().remove_file(&full) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LakeError::io("remove", &full)(error));
                }
                _ => {}
            }
        }
        self.core.publish(state.without_tombstones(&paths));
        metric::vacuumed(&self.core.label, paths.len());
        Ok(paths)
    }

    fn fresh(&mut self) -> Result<Arc<TableState>, LakeError> {
        if self.stale { self.reload() } else { Ok(self.core.state()) }
    }

    fn reload(&mut self) -> Result<Arc<TableState>, LakeError> {
        log::make_newest_durable(self.core.disk(), &self.core.table_dir)?;
        let state = self.core.reload()?;
        self.stale = false;
        metric::state(&self.core.label, &state);
        Ok(state)
    }
}

fn txns(marks: Vec<(String, i64)>) -> impl Iterator<Item = Action> {
    let now_ms = now_ms();
    marks
        .into_iter()
        .map(move |(app_id, version)| Transaction::new_with_last_update(app_id, version, Some(now_ms)))
        .map(Action::Txn)
}

/// Milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> i64 {
    Micros::now().0 / 1000
}
