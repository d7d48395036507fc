//! A few frames kept in memory for readers: those just written, which are read next, and those that a
//! reader took only a part of.

use std::collections::VecDeque;

use millrace_model::Offset;

use crate::frame::Frame;

/// How many frames that were read in part are kept: one for each reader that lags.
const PARTLY_READ_FRAMES_MAX: usize = 4;

/// Frames in memory, bounded by bytes. The two kinds have a budget each: with one for both, writers at
/// full speed would push out the frame of a reader that lags, which would then read it anew for each
/// chunk that it takes of it.
#[derive(Debug)]
pub(crate) struct FrameCache {
    /// Consecutive frames up to the newest.
    recent: Frames,
    partly_read: Frames,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Frames {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Frames {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }

    fn pop(&mut self) {
        self.bytes -= self.frames.pop_front().map_or(0, |frame| frame.bytes.len());
    }
}

impl FrameCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { recent: Frames::default(), partly_read: Frames::default(), bytes_max }
    }

    /// Keeps a frame that was just written.
    pub(crate) fn put_recent(&mut self, frame: &Frame) {
        if frame.header.count == 0 {
            return;
        }
        if frame.bytes.len() > self.bytes_max {
            // Too large to keep, and what came before it is no longer next to the newest.
            self.recent = Frames::default();
            return;
        }
        self.recent.push(frame.clone());
        while self.recent.bytes > self.bytes_max {
            self.recent.pop();
        }
    }

    /// Keeps a frame that a reader will come back to, unless it is kept already: the last one whatever
    /// its size. Its memory is what the reader's messages lie in anyway.
    pub(crate) fn put_partly_read(&mut self, frame: &Frame) {
        if self.get(frame.header.base).is_some() {
            return;
        }
        self.partly_read.push(frame.clone());
        while self.partly_read.frames.len() > 1
            && (self.partly_read.bytes > self.bytes_max
                || self.partly_read.frames.len() > PARTLY_READ_FRAMES_MAX)
        {
            self.partly_read.pop();
        }
    }

    /// The frame that holds the message at `offset`.
    pub(crate) fn get(&self, offset: Offset) -> Option<Frame> {
        let holds = |frame: &&Frame| frame.header.base <= offset && offset < frame.header.end();
        let recent = &self.recent.frames;
        let after = recent.partition_point(|frame| frame.header.base <= offset);
        let recent = after.checked_sub(1).and_then(|index| recent.get(index)).filter(holds);
        recent.or_else(|| self.partly_read.frames.iter().find(holds)).cloned()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.recent = Frames::default();
        self.partly_read = Frames::default();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.recent.bytes + self.partly_read.bytes
    }
}
