//! A few frames kept in memory for readers: those just written, which are read next, and those that a
//! reader took only a part of.

use std::collections::VecDeque;

use bytes::Bytes;
use millrace_model::Offset;

use crate::frame::Frame;

/// How many frames that were read in part are kept.
const PARTLY_READ_FRAMES_MAX: usize = 4;

/// Frames in memory, bounded by bytes.
#[derive(Debug)]
pub(crate) struct FrameCache {
    /// Consecutive frames up to the newest.
    recent: VecDeque<Frame>,
    partly_read: VecDeque<Frame>,
    bytes: usize,
    bytes_max: usize,
}

impl FrameCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { recent: VecDeque::new(), partly_read: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Keeps a frame that was just written.
    pub(crate) fn put_recent(&mut self, frame: &Frame) {
        if frame.header.count > 0 && frame.bytes.len() <= self.bytes_max {
            self.bytes += frame.bytes.len();
            self.recent.push_back(frame.clone());
        } else if frame.header.count > 0 {
            // Too large to keep, and what came before it is no longer next to the newest.
            self.clear();
        }
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.partly_read.pop_front().or_else(|| self.recent.pop_front()) else {
                break;
            };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Keeps a frame that a reader will come back to, unless it is kept already or there is no room
    /// beside the recent ones.
    pub(crate) fn put_partly_read(&mut self, frame: &Frame) {
        if self.get(frame.header.base).is_some() {
            return;
        }
        let recent_bytes: usize = self.recent.iter().map(|frame| frame.bytes.len()).sum();
        if recent_bytes + frame.bytes.len() > self.bytes_max {
            return;
        }
        self.bytes += frame.bytes.len();
        // A copy of its own, so that it does not keep the whole chunk that it was read with.
        let bytes = Bytes::copy_from_slice(&frame.bytes);
        self.partly_read.push_back(Frame { bytes, ..*frame });
        while self.bytes > self.bytes_max || self.partly_read.len() > PARTLY_READ_FRAMES_MAX {
            let Some(oldest) = self.partly_read.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// The frame that holds the message at `offset`.
    pub(crate) fn get(&self, offset: Offset) -> Option<Frame> {
        let holds = |frame: &&Frame| frame.header.base <= offset && offset < frame.header.end();
        let after = self.recent.partition_point(|frame| frame.header.base <= offset);
        let recent = after.checked_sub(1).and_then(|index| self.recent.get(index)).filter(holds);
        recent.or_else(|| self.partly_read.iter().find(holds)).cloned()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.recent = VecDeque::new();
        self.partly_read = VecDeque::new();
        self.bytes = 0;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
