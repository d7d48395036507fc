//! Work for an engine thread: a chunk of messages and, growing beside it, their verdicts.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use millrace_model::{ErrorClass, MessageBatch};

use crate::verdict::Verdict;

/// Most messages in a chunk. A chunk costs one handing over between threads, about as much as one
/// message, and its verdicts lie in memory until it is done; the time of a hundred messages is far
/// below what anyone waits for.
const CHUNK_MESSAGES_MAX: usize = 128;

/// Most payload bytes in a chunk, unless its first message alone is larger. Chunks that stay in the
/// processor's cache from copying in to reading out were the fastest.
const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// A run of messages, copied: an engine that is given up keeps its chunk for as long as it is stuck,
/// which must not keep the batch. The copy costs a hundredth of what the script costs.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    text: String,
    /// For each message where its text lies, or how many of its bytes are UTF-8 when not all are.
    messages: Vec<Result<Range<usize>, usize>>,
}

impl Chunk {
    /// Takes messages from the start of `range`, at least one when there is one.
    pub fn fill(batch: &MessageBatch, range: Range<usize>) -> Self {
        let mut chunk = Self::default();
        for index in range {
            let data = batch.get(index).data;
            let is_full =
                chunk.len() == CHUNK_MESSAGES_MAX || chunk.text.len() + data.len() > CHUNK_BYTES_MAX;
            if is_full && !chunk.messages.is_empty() {
                break;
            }
            match std::str::from_utf8(data) {
                Ok(text) => chunk.push(text),
                Err(error) => chunk.messages.push(Err(error.valid_up_to())),
            }
        }
        chunk
    }

    /// A chunk of one message.
    pub fn of_one(text: String) -> Self {
        Self { messages: vec![Ok(0..text.len())], text }
    }

    fn push(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.messages.push(Ok(start..self.text.len()));
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The text of one message, or its verdict when it has none.
    pub fn text(&self, index: usize) -> Result<&str, Verdict> {
        match &self.messages[index] {
            Ok(range) => Ok(&self.text[range.clone()]),
            Err(valid) => Err(Verdict::failed(
                ErrorClass::InvalidUtf8,
                format!("the payload is not UTF-8: invalid from byte {valid} on"),
            )),
        }
    }
}

/// A chunk on its way through an engine.
#[derive(Debug)]
pub(crate) struct Job {
    pub chunk: Chunk,
    progress: Mutex<Progress>,
    pub done: Condvar,
}

/// How far a job is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The host whose engine may add verdicts. One that was given up finds another name here.
    pub owner: u64,
    /// One for each message so far, in order.
    pub verdicts: Vec<Verdict>,
}

impl Job {
    /// A job for the engine of `owner`.
    pub fn new(chunk: Chunk, owner: u64) -> Self {
        let verdicts = Vec::with_capacity(chunk.len());
        Self { chunk, progress: Mutex::new(Progress { owner, verdicts }), done: Condvar::new() }
    }

    /// Locks the progress. Nothing panics while it is locked, and verdicts are whole once pushed, so a
    /// poisoned lock would be as good.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every message has its verdict.
    pub fn is_complete(&self, progress: &Progress) -> bool {
        progress.verdicts.len() == self.chunk.len()
    }

    /// Adds `owner`'s next verdict and says whether it still was the owner.
    pub fn publish(&self, owner: u64, verdict: Verdict) -> bool {
        let mut progress = self.progress();
        if progress.owner != owner {
            return false;
        }
        progress.verdicts.push(verdict);
        if self.is_complete(&progress) {
            self.done.notify_all();
        }
        true
    }
}
