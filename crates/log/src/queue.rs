//! Appends on their way to the writer: bounded in bytes, taken in batches.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use millrace_model::{Micros, NewMessage};
use tokio::sync::oneshot;

use crate::append::Answer;
use crate::sync::{lock, wait, wait_for};

/// An append that waits for the writer.
#[derive(Debug)]
pub(crate) struct PendingAppend {
    pub(crate) messages: Vec<NewMessage>,
    pub(crate) arrived: Micros,
    pub(crate) bytes: usize,
    pub(crate) sender: oneshot::Sender<Answer>,
}

/// Why an append did not get into the queue.
pub(crate) enum Refused {
    Full { bytes: usize },
    Closed,
}

/// What the writer gets.
pub(crate) enum Taken {
    Batch(Vec<PendingAppend>),
    /// Nothing came for as long as the writer was ready to wait.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

/// How long a batch may wait for company, and for how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linger {
    pub(crate) at_most: Duration,
    pub(crate) appends: usize,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<PendingAppend>,
    pending_bytes: usize,
    /// Bytes taken by the writer and not yet answered.
    writing_bytes: usize,
    has_writer: bool,
    closed: bool,
}

/// The queue of one topic.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// Puts an append in; answers whether a writer has to be started for it.
    pub(crate) fn push(&self, append: PendingAppend, bytes_max: usize) -> Result<bool, Refused> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Refused::Closed);
        }
        let bytes = state.pending_bytes + state.writing_bytes;
        if bytes > 0 && bytes + append.bytes > bytes_max {
            return Err(Refused::Full { bytes });
        }
        state.pending_bytes += append.bytes;
        state.pending.push_back(append);
        let start = !std::mem::replace(&mut state.has_writer, true);
        drop(state);
        if !start {
            self.changed.notify_all();
        }
        Ok(start)
    }

    /// Takes the next batch: whole appends up to `bytes_max`, at least one.
    pub(crate) fn take(&self, bytes_max: usize, patience: Duration, linger: Option<Linger>) -> Taken {
        let mut state = lock(&self.state);
        let deadline = Instant::now() + patience;
        while state.pending.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::Nothing;
            }
            state = wait_for(&self.changed, state, left);
        }
        if let Some(linger) = linger {
            let deadline = Instant::now() + linger.at_most;
            while !state.closed && state.pending.len() < linger.appends && state.pending_bytes < bytes_max {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = wait_for(&self.changed, state, left);
            }
        }
        let mut batch = Vec::with_capacity(state.pending.len());
        let mut bytes = 0;
        while let Some(next) = state.pending.front() {
            if !batch.is_empty() && bytes + next.bytes > bytes_max {
                break;
            }
            bytes += next.bytes;
            batch.extend(state.pending.pop_front());
        }
        state.pending_bytes -= bytes;
        state.writing_bytes = bytes;
        Taken::Batch(batch)
    }

    /// Some bytes of the batch that was taken last are durable.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.writing_bytes = state.writing_bytes.saturating_sub(bytes);
    }

    /// The batch that was taken last is done with.
    pub(crate) fn answered(&self) {
        lock(&self.state).writing_bytes = 0;
    }

    /// Ends the writer's life if there is nothing for it to do; after `true` the next push starts another.
    pub(crate) fn leave(&self) -> bool {
        let mut state = lock(&self.state);
        let idle = state.pending.is_empty();
        state.has_writer &= !idle;
        drop(state);
        self.changed.notify_all();
        idle
    }

    /// Ends the writer's life in any case and gives back what it leaves behind.
    pub(crate) fn abandon(&self) -> Vec<PendingAppend> {
        let mut state = lock(&self.state);
        state.has_writer = false;
        state.pending_bytes = 0;
        state.writing_bytes = 0;
        let left = state.pending.drain(..).collect();
        drop(state);
        self.changed.notify_all();
        left
    }

    /// Takes no more appends, lets the writer finish those it has, and waits for it.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.changed.notify_all();
        while state.has_writer {
            state = wait(&self.changed, state);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Bytes accepted and not yet durable.
    pub(crate) fn bytes(&self) -> usize {
        let state = lock(&self.state);
        state.pending_bytes + state.writing_bytes
    }
}
