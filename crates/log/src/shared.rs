//! What a topic shows its readers: only what is durable. Changed by the writer after each sync and by
//! retention, read under a short lock.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_disk::DiskFile;
use millrace_model::{Micros, Offset};

use crate::frame::Frame;
use crate::index::SparseIndex;
use crate::meta::Readers;
use crate::segment::{Sealed, SegmentHeader, Tail};
use crate::{CursorState, Maintained, TopicConfig};

/// The segment that is being written.
pub(crate) struct Active {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    pub(crate) index: SparseIndex,
    pub(crate) first_time: Option<Micros>,
    /// Bytes of the segments before it; see [`Sealed::stored_before`].
    pub(crate) stored_before: u64,
}

/// Why a topic is out of work.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// Damage, which trying again does not repair.
    pub(crate) is_damage: bool,
    pub(crate) retry_at: Instant,
}

/// Files to be removed once no key of a message before an offset is remembered.
pub(crate) type Garbage = Vec<(PathBuf, Offset)>;

/// A topic's durable state.
pub(crate) struct Shared {
    pub(crate) config: TopicConfig,
    pub(crate) start: Offset,
    pub(crate) expired_total: u64,
    /// Oldest first.
    pub(crate) sealed: VecDeque<Arc<Sealed>>,
    /// `None` while the topic could not be opened.
    pub(crate) active: Option<Active>,
    /// The durable end.
    pub(crate) tail: Tail,
    pub(crate) readers: Readers,
    /// Whether `readers` holds more than was written down.
    pub(crate) readers_changed: bool,
    pub(crate) failure: Option<Failure>,
    /// How long the topic waits after its next failure.
    pub(crate) backoff: Duration,
    /// Files whose messages are gone. They go too, as soon as no key of a message before that offset is
    /// remembered.
    pub(crate) garbage: Garbage,
    /// What retention did since maintenance last told.
    pub(crate) untold: Maintained,
}

impl Shared {
    /// A topic of which nothing is known yet.
    pub(crate) fn nothing() -> Self {
        let tail = Tail {
            position: 0,
            end: Offset::ZERO,
            last_time: Micros(i64::MIN),
            duplicates_total: 0,
            payload_total: 0,
        };
        Self {
            config: TopicConfig::default(),
            start: Offset::ZERO,
            expired_total: 0,
            sealed: VecDeque::new(),
            active: None,
            tail,
            readers: Readers::default(),
            readers_changed: false,
            failure: None,
            backoff: Duration::ZERO,
            garbage: Vec::new(),
            untold: Maintained::default(),
        }
    }

    /// Makes a frame that was just synced visible.
    pub(crate) fn publish(&mut self, frame: &Frame, tail: Tail, index_interval_bytes: u64) {
        if let Some(active) = &mut self.active {
            active.index.note(frame, self.tail.payload_total, index_interval_bytes);
            if frame.header.count > 0 {
                active.first_time.get_or_insert(frame.header.first_time);
            }
        }
        self.tail = tail;
        self.backoff = Duration::ZERO;
    }

    /// Bytes stored up to the end; see [`Sealed::stored_before`].
    pub(crate) fn stored_end(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.stored_before + self.tail.position)
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.stored_end()
            - self.sealed.front().map_or_else(
                || self.active.as_ref().map_or(0, |active| active.stored_before),
                |oldest| oldest.stored_before,
            )
    }

    /// Bytes stored before `offset`: exact to an index interval in the newest segment, to a segment
    /// before it. Never too much.
    pub(crate) fn stored_at(&self, offset: Offset) -> u64 {
        if offset >= self.tail.end {
            return self.stored_end();
        }
        if let Some(active) = self.active.as_ref().filter(|active| offset >= active.header.base) {
            let position = active.index.by_offset(offset).map_or(0, |entry| entry.position);
            return active.stored_before + position;
        }
        self.sealed_at(offset).map_or(0, |segment| segment.stored_before)
    }

    /// The sealed segment that holds `offset`.
    pub(crate) fn sealed_at(&self, offset: Offset) -> Option<&Arc<Sealed>> {
        let index = self.sealed.partition_point(|segment| segment.facts.end <= offset);
        self.sealed.get(index).filter(|segment| segment.facts.base <= offset)
    }

    /// The first offset that some holder has not folded; `None` when nobody holds the topic.
    pub(crate) fn held_from(&self) -> Option<Offset> {
        self.readers.held().min().map(|offset| offset.max(self.start))
    }

    /// Detaches the cursors that hold back more than they may, `incoming` bytes included; answers whether
    /// there were any.
    pub(crate) fn detach_cursors(&mut self, incoming: u64) -> bool {
        let (end, bytes_max) = (self.stored_end(), self.config.bytes_max);
        let over: Vec<String> = self
            .readers
            .cursors
            .iter()
            .filter(|(_, cursor)| cursor.state == CursorState::Attached)
            .filter(|(_, cursor)| {
                let backlog = end - self.stored_at(Offset(cursor.position));
                backlog > 0 && backlog + incoming > cursor.config.backlog_bytes_max.min(bytes_max)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in &over {
            if let Some(cursor) = self.readers.cursors.get_mut(name) {
                cursor.state = CursorState::Detached;
            }
            self.readers.cursors_detached_total += 1;
            self.readers_changed = true;
        }
        self.untold.cursors_detached += over.len() as u64;
        !over.is_empty()
    }
}
