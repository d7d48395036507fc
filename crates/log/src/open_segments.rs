//! The few sealed segments that are kept open for readers.

use std::collections::VecDeque;
use std::sync::Arc;

use millrace_disk::DiskFile;
use millrace_model::Offset;

use crate::index::SparseIndex;

/// How many sealed segments one topic keeps open.
const OPEN_SEGMENTS_MAX: usize = 8;

/// A sealed segment in use: its file and its index.
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) index: SparseIndex,
}

/// The sealed segments that were used last, newest first.
#[derive(Default)]
pub(crate) struct OpenSegments(VecDeque<(Offset, Arc<OpenSegment>)>);

impl OpenSegments {
    pub(crate) fn get(&mut self, base: Offset) -> Option<Arc<OpenSegment>> {
        let index = self.0.iter().position(|(known, _)| *known == base)?;
        let found = self.0.remove(index)?;
        let segment = Arc::clone(&found.1);
        self.0.push_front(found);
        Some(segment)
    }

    pub(crate) fn put(&mut self, base: Offset, segment: Arc<OpenSegment>) {
        self.0.push_front((base, segment));
        self.0.truncate(OPEN_SEGMENTS_MAX);
    }

    /// Closes the segments before `start`, which are gone.
    pub(crate) fn forget_before(&mut self, start: Offset) {
        self.0.retain(|(base, _)| *base >= start);
    }
}
