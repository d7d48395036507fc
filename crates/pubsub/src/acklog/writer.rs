//! The thread that writes: takes what waits, writes it as one frame, syncs, answers all.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use millrace_disk::Disk;
use tokio::sync::oneshot;

use super::file::{AckFile, apply, newest, remove_old};
use super::{AckLogError, Image, NotDurable, Uid, entry};
use crate::progress::Change;
use crate::sync::{lock, wait};

/// A file is replaced when it is larger than this and [`GROWTH_MAX`] times the state in it.
const FILE_BYTES_MIN: u64 = 4 << 20;
const GROWTH_MAX: u64 = 4;

/// Changes that wait to be written.
pub(super) struct Pending {
    pub(super) uid: Uid,
    pub(super) changes: Vec<Change>,
    pub(super) sender: oneshot::Sender<Result<(), NotDurable>>,
}

/// What waits. Its length is bounded by what subscribers may have outstanding, and by streams waiting
/// for their earlier acks.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    pending: Vec<Pending>,
    closed: bool,
}

impl Queue {
    /// Adds changes; when the log is closed they are dropped, which answers them.
    pub(super) fn push(&self, pending: Pending) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.pending.push(pending);
            self.changed.notify_one();
        }
    }

    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// All that waits; nothing once the queue is closed and empty.
    fn take(&self) -> Vec<Pending> {
        let mut state = lock(&self.state);
        while state.pending.is_empty() && !state.closed {
            state = wait(&self.changed, state);
        }
        std::mem::take(&mut state.pending)
    }
}

/// Writes the ack log.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// What everything comes to that was handed in, durable or not.
    image: Image,
    /// `None` after a failure: then the next commit makes a new file, with everything in it.
    file: Option<AckFile>,
    /// The number of the newest file that may be there.
    number: u64,
    /// How large the newest file was at first.
    begun_bytes: u64,
}

impl Writer {
    pub(super) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<(Self, Image), AckLogError> {
        disk.create_dir_all(directory).map_err(AckLogError::io("make", directory))?;
        let newest = newest(&*disk, directory)?;
        let image = match newest {
            Some(number) => AckFile::read(&*disk, directory, number)?,
            None => Image::new(),
        };
        let directory = directory.to_path_buf();
        let number = newest.unwrap_or(0);
        let mut writer = Self { disk, directory, image: image.clone(), file: None, number, begun_bytes: 0 };
        // A new file at each start: a torn tail is never written over.
        writer.replace()?;
        Ok((writer, image))
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue) {
        loop {
            let batch = queue.take();
            if batch.is_empty() {
                return;
            }
            let answer = self.write(&batch).map_err(|error| NotDurable(error.to_string()));
            if let Err(error) = &answer {
                tracing::error!(%error, "the ack log was not written");
                metrics::counter!("millrace_pubsub_ack_log_errors_total").increment(1);
            }
            for pending in batch {
                // Who does not wait for the answer has dropped the receiver.
                let _ = pending.sender.send(answer.clone());
            }
        }
    }

    fn write(&mut self, batch: &[Pending]) -> Result<(), AckLogError> {
        let mut payload = Vec::new();
        for pending in batch {
            for change in &pending.changes {
                apply(&mut self.image, pending.uid, change);
                entry::write(&mut payload, pending.uid, change);
            }
        }
        let Some(file) = &mut self.file else { return self.replace() };
        if payload.is_empty() {
            return Ok(());
        }
        if let Err(error) = file.append(&payload) {
            // Never a second sync on this file: what it says then is worth nothing.
            tracing::warn!(%error, "the ack log goes on in a new file");
            self.file = None;
            return self.replace();
        }
        metrics::counter!("millrace_pubsub_ack_log_syncs_total").increment(1);
        if file.bytes() > FILE_BYTES_MIN.max(self.begun_bytes.saturating_mul(GROWTH_MAX)) {
            // The changes are durable in the old file whether or not there is a new one.
            if let Err(error) = self.replace() {
                tracing::warn!(%error, "the ack log could not be compacted");
            }
        }
        Ok(())
    }

    /// Goes on in a new file that begins with everything. A failure in the middle may leave the new file
    /// there, so the old one is not written to any more either: the next try takes a further number.
    fn replace(&mut self) -> Result<(), AckLogError> {
        let mut payload = Vec::new();
        for (uid, progress) in &self.image {
            entry::write(&mut payload, *uid, &Change::Reset(progress.clone()));
        }
        let old = self.number;
        self.file = None;
        self.number += 1;
        let file = AckFile::create(&*self.disk, &self.directory, self.number, &payload)?;
        self.begun_bytes = file.bytes();
        self.file = Some(file);
        for number in old.saturating_sub(8)..=old {
            remove_old(&*self.disk, &self.directory, number);
        }
        Ok(())
    }
}
