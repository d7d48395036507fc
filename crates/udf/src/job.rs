//! Work for an engine thread: a chunk of messages and, growing beside it, their verdicts.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use millrace_model::{ErrorClass, MessageBatch};

use crate::envelope::{Envelope, Input};
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
    /// One for each message, where the UDF looks at them.
    envelopes: Vec<Envelope>,
    /// Messages whose payload was not UTF-8 and was repaired.
    repaired: u64,
}

/// What a UDF wants of its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Intake {
    /// Attributes, ids and times, not the payload alone.
    pub envelopes: bool,
    /// A payload that is not UTF-8 gets U+FFFD where it is not, as Java's decoder does it, and is no
    /// dead letter.
    pub repairs: bool,
}

impl Chunk {
    /// Takes messages from the start of `range`, at least one when there is one.
    pub fn fill(batch: &MessageBatch, range: Range<usize>, intake: Intake) -> Self {
        let mut chunk = Self::default();
        for index in range {
            let message = batch.get(index);
            let data = message.data;
            let is_full =
                chunk.len() == CHUNK_MESSAGES_MAX || chunk.text.len() + data.len() > CHUNK_BYTES_MAX;
            if is_full && !chunk.messages.is_empty() {
                break;
            }
            if intake.envelopes {
                chunk.envelopes.push(Envelope::of(batch.topic(), &message));
            }
            match std::str::from_utf8(data) {
                Ok(text) => chunk.push(text),
                Err(_) if intake.repairs => {
                    chunk.push(&String::from_utf8_lossy(data));
                    chunk.repaired += 1;
                }
                Err(error) => chunk.messages.push(Err(error.valid_up_to())),
            }
        }
        chunk
    }

    /// A chunk of one message.
    pub fn of_one(text: String, envelope: Option<Envelope>) -> Self {
        let envelopes = envelope.into_iter().collect();
        Self { messages: vec![Ok(0..text.len())], text, envelopes, repaired: 0 }
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

    /// How many payloads were repaired.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// One message, or its verdict when it has no text.
    pub fn input(&self, index: usize) -> Result<Input<'_>, Verdict> {
        match &self.messages[index] {
            Ok(range) => Ok(Input { text: &self.text[range.clone()], envelope: self.envelopes.get(index) }),
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
