//! The belt between reader, workers and committer: chunks go on in order, are transformed in any order,
//! and come off in order again. Bounded by bytes and messages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chunk::{Chunk, Transformed};
use crate::plan::Fill;

/// The belt of one pipeline.
pub(crate) struct Belt {
    state: Mutex<State>,
    /// Signals room for the reader.
    room: Condvar,
    /// Signals chunks for the workers.
    work: Condvar,
    /// Signals results for the committer.
    ready: Condvar,
    bytes_max: usize,
    messages_max: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Chunk)>,
    done: BTreeMap<u64, Parts>,
    /// Numbers of the next chunk to go on and to come off.
    next_on: u64,
    next_off: u64,
    /// What is on the belt, being transformed included.
    fill: Fill,
    /// Nothing more goes on.
    closed: bool,
    /// Everyone goes home.
    aborted: bool,
}

/// What a worker has made of a chunk so far, less what was taken.
#[derive(Default)]
struct Parts {
    ready: VecDeque<Transformed>,
    /// Nothing more comes of this chunk.
    complete: bool,
}

/// What came of an attempt to take a result.
pub(crate) enum Taken {
    /// The next chunk in order.
    Chunk(Box<Transformed>),
    /// The next chunk is there, but was not wanted.
    Refused,
    /// None came in time.
    TimedOut,
    /// None will come any more.
    End,
}

impl Belt {
    pub fn new(bytes_max: usize, messages_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            room: Condvar::new(),
            work: Condvar::new(),
            ready: Condvar::new(),
            bytes_max,
            messages_max,
        }
    }

    /// Waits for room; false when there is none after `timeout` or none will come.
    pub fn wait_room(&self, timeout: Duration) -> bool {
        let full = |state: &mut State| {
            !state.aborted
                && (state.fill.bytes() >= self.bytes_max || state.fill.messages >= self.messages_max)
        };
        let (state, result) =
            self.room.wait_timeout_while(self.lock(), timeout, full).unwrap_or_else(PoisonError::into_inner);
        !result.timed_out() && !state.aborted
    }

    /// Puts the next chunk on, whether or not there is room: so the bound is overstepped by one chunk
    /// at most. A closed belt takes nothing: the chunk is still in the topic.
    pub fn put(&self, chunk: Chunk) {
        let mut state = self.lock();
        if state.closed || state.aborted {
            return;
        }
        let number = state.next_on;
        state.next_on += 1;
        state.fill.messages += chunk.batch.len();
        state.fill.payload_bytes += chunk.batch.data_bytes();
        state.waiting.push_back((number, chunk));
        self.work.notify_one();
    }

    /// The next chunk to transform, `None` when none will come any more.
    pub fn take_work(&self) -> Option<(u64, Chunk)> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed && !state.aborted;
        let mut state = self.work.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.aborted { None } else { state.waiting.pop_front() }
    }

    /// Puts back what became of a chunk, or the next part of it; waits while there is too much on the
    /// belt, unless the committer waits for just this. False when nobody wants it any more.
    pub fn put_done(&self, number: u64, part: Transformed, last: bool) -> bool {
        let crowded = |state: &mut State| {
            let awaited = number == state.next_off
                && state.done.get(&number).is_none_or(|parts| parts.ready.is_empty());
            !state.aborted && !awaited && state.fill.built_bytes >= self.bytes_max
        };
        let mut state = self.room.wait_while(self.lock(), crowded).unwrap_or_else(PoisonError::into_inner);
        if state.aborted {
            return false;
        }
        state.fill.built_bytes += part.fill.built_bytes;
        let parts = state.done.entry(number).or_default();
        parts.ready.push_back(part);
        parts.complete = last;
        if number == state.next_off {
            self.ready.notify_one();
        }
        true
    }

    /// Takes the next result in order if `wanted`; waits until `deadline`, or as long as it takes.
    pub fn take_done(&self, deadline: Option<Instant>, wanted: impl Fn(&Transformed) -> bool) -> Taken {
        let mut state = self.lock();
        loop {
            if state.aborted {
                return Taken::End;
            }
            let number = state.next_off;
            if let Some(parts) = state.done.get_mut(&number) {
                if parts.ready.front().is_some_and(|next| !wanted(next)) {
                    return Taken::Refused;
                }
                if let Some(next) = parts.ready.pop_front() {
                    if parts.complete && parts.ready.is_empty() {
                        state.done.remove(&number);
                        state.next_off += 1;
                    }
                    state.fill.messages -= next.fill.messages;
                    state.fill.payload_bytes -= next.fill.payload_bytes;
                    state.fill.built_bytes -= next.fill.built_bytes;
                    // The reader, and workers with a part too many.
                    self.room.notify_all();
                    return Taken::Chunk(Box::new(next));
                }
            }
            if state.closed && number == state.next_on {
                return Taken::End;
            }
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Taken::TimedOut,
                Some(left) => self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Nothing more goes on; with `discard`, chunks that no worker has begun come off again.
    pub fn close(&self, discard: bool) {
        let mut state = self.lock();
        state.closed = true;
        if discard {
            // Workers take from the front, so what is left is the end of the sequence.
            state.next_on -= state.waiting.len() as u64;
            state.waiting.clear();
        }
        self.notify_all();
    }

    /// Everyone goes home; what is on the belt is forgotten.
    pub fn abort(&self) {
        let mut state = self.lock();
        state.aborted = true;
        state.waiting.clear();
        state.done.clear();
        self.notify_all();
    }

    fn notify_all(&self) {
        self.room.notify_all();
        self.work.notify_all();
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole: a panicked holder cannot have broken it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
