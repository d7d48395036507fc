//! The ack log: how far every subscription is, durably. One file for all of them, so that one sync
//! serves whatever was acked meanwhile.
//!
//! A file begins with the whole state and goes on with changes. When it has grown to several times the
//! size of the state it is replaced by a new one, so its size follows what is open, not what was acked.
//!
//! ```text
//! file    NNNNNNNNNNNNNNNNNNNN.acks   the number in 20 digits; the highest one counts
//! header  "MRACKS01"  number u64  crc32c u32 of both
//! frame   "ACKF"  payload bytes u32  crc32c u32  payload
//! ```
//!
//! Numbers are little-endian. A frame's checksum is over the file's number, the frame's position and the
//! payload, so that bytes of an older file are never taken for a frame. The payload is a list of entries,
//! see `entry`. A new file gets its name only when its first frame is synced.

mod entry;
mod file;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use millrace_disk::Disk;
use tokio::sync::oneshot;

use crate::progress::{Change, Progress};
pub(crate) use entry::{read_progress, write_progress};
use writer::{Pending, Queue, Writer};

/// Whose change it is: a subscription's permanent id.
pub(crate) type Uid = u64;

/// What all subscriptions are at.
pub(crate) type Image = BTreeMap<Uid, Progress>;

/// Why the ack log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AckLogError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A file is damaged where it should not be.
    #[error(
        "{} is damaged at byte {position}: {reason}; restore it from a copy, or remove the file to have every subscription begin again at the oldest message it holds",
        path.display()
    )]
    Corrupt { path: PathBuf, position: u64, reason: String },
}

impl AckLogError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// A commit did not become durable, or it is not known whether it did. It will be, with the next one
/// that succeeds, unless the process ends before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("acknowledgements cannot be written down now: {0}")]
pub(crate) struct NotDurable(pub(crate) String);

/// The ack log. Dropping it waits until what was committed is written.
pub(crate) struct AckLog {
    queue: Arc<Queue>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The answer to a commit: it comes after the sync. Dropping it takes nothing back.
pub(crate) struct Commit(oneshot::Receiver<Result<(), NotDurable>>);

impl AckLog {
    /// Opens the log in `directory`, which is made if need be; answers what every subscription is at.
    pub(crate) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<(Self, Image), AckLogError> {
        let (writer, image) = Writer::open(disk, directory)?;
        let queue = Arc::new(Queue::default());
        let thread = std::thread::Builder::new().name("acks".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || writer.run(&queue)
        });
        let thread = Some(thread.map_err(AckLogError::io("start the thread of", directory))?);
        Ok((Self { queue, thread }, image))
    }

    /// Commits changes of one subscription. Those of one subscription must be handed in in order.
    pub(crate) fn commit(&self, uid: Uid, changes: Vec<Change>) -> Commit {
        let (sender, receiver) = oneshot::channel();
        // Without changes, too: an ack that was made already is durable when this is answered.
        self.queue.push(Pending { uid, changes, sender });
        Commit(receiver)
    }
}

impl Drop for AckLog {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes acknowledgements ended with a panic");
        }
    }
}

impl Commit {
    /// Waits for the answer on this thread; not to be called from an async task.
    pub(crate) fn wait(self) -> Result<(), NotDurable> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(closed()))
    }
}

impl Future for Commit {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(closed())))
    }
}

fn closed() -> NotDurable {
    NotDurable("the server is shutting down".to_owned())
}
