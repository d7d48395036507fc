//! The fold in single steps on one thread, from the same parts as the threads: what the state-machine
//! test drives. A crash is to drop it.

use std::sync::Arc;
use std::time::Duration;

use millrace_model::{Offset, Source, Transform};
use millrace_table::TableSpec;

use crate::chunk::{Transformed, Version};
use crate::committer::Committer;
use crate::fakes::{FakeSink, FakeSource, FakeTransforms, spec};
use crate::plan::{ChunkLimits, FillLimits, Identity, open};
use crate::reader::Reader;
use crate::transform::transform_chunk;
use crate::trouble::Trouble;
use crate::window::{Pending, Window};
use crate::{Ledger, PipelineError, Sink, WindowLimits};

/// Limits of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub chunk: usize,
    pub rows: usize,
    pub bytes: usize,
    /// How many chunks come before a window's age is up.
    pub chunks_by_age: usize,
}

pub(crate) struct Folder {
    reader: Reader,
    committer: Committer,
    version: Arc<Version>,
    transform: Box<dyn Transform>,
    spec: Arc<TableSpec>,
    limits: FillLimits,
    chunks_by_age: usize,
    carried: Vec<Transformed>,
    pending: Option<Pending>,
}

impl Folder {
    pub fn start(
        source: &Arc<FakeSource>,
        rows: &Arc<FakeSink>,
        dead: &Arc<FakeSink>,
        transforms: Arc<FakeTransforms>,
        limits: Limits,
    ) -> Result<Self, PipelineError> {
        let topic = source.topic_id();
        let identity = Arc::new(Identity::new("main", "events", topic, rows.table(), dead.table()));
        let (rows_marks, dead_marks) = (rows.marks().unwrap(), dead.marks().unwrap());
        let opening = open(&identity, &rows_marks, &dead_marks, source.bounds(), false)?;
        let version = Arc::new(Version::new(0, transforms, 1).unwrap());
        let chunk = ChunkLimits { messages_max: limits.chunk, bytes_max: limits.bytes };
        let window = WindowLimits { rows_max: limits.rows, bytes_max: limits.bytes, age_max: Duration::ZERO };
        let (source, dead) = (Arc::clone(source), Arc::clone(dead));
        let position = opening.ledger.next_offset;
        let reader =
            Reader::new(source, dead.clone(), Arc::clone(&identity), chunk, position, opening.dead_position);
        Ok(Self {
            reader,
            committer: Committer::new(rows.clone(), dead, identity, opening),
            transform: version.take().unwrap(),
            version,
            spec: spec(),
            limits: FillLimits { window, built_bytes_max: 1 << 30 },
            chunks_by_age: limits.chunks_by_age,
            carried: Vec::new(),
            pending: None,
        })
    }

    pub fn ledger(&self) -> Ledger {
        self.committer.ledger()
    }

    /// Gathers the next window if none is in hand, and tries once to commit it; false when there is
    /// nothing to do.
    pub fn step(&mut self) -> Result<bool, Trouble> {
        if self.pending.is_none() {
            let Some(window) = self.gather()? else { return Ok(false) };
            self.pending = Some(Pending::new(window, 0));
        }
        if let Some(pending) = &mut self.pending {
            self.committer.attempt(pending)?;
        }
        self.pending = None;
        Ok(true)
    }

    /// Where the window in hand ends.
    pub fn window_end(&self) -> Option<Offset> {
        self.pending.as_ref().map(|pending| pending.window.end)
    }

    fn gather(&mut self) -> Result<Option<Window>, Trouble> {
        let Some(first) = self.next_part()? else { return Ok(None) };
        let mut window = Window::open(first);
        while !window.is_closed(&self.limits) {
            if !window.replayed && window.parts.len() >= self.chunks_by_age {
                break;
            }
            // What was read before a read that fails is sound, and is not read again.
            let Ok(Some(next)) = self.next_part() else { break };
            if !window.admits(&next, &self.limits) {
                self.carried.push(next);
                break;
            }
            window.push(next);
        }
        Ok(Some(window))
    }

    fn next_part(&mut self) -> Result<Option<Transformed>, Trouble> {
        if let Some(carried) = self.carried.pop() {
            return Ok(Some(carried));
        }
        let Some(chunk) = self.reader.next(None, &self.version)? else { return Ok(None) };
        let carried = &mut self.carried;
        let emit = |part, _last| {
            carried.insert(0, part);
            true
        };
        transform_chunk(&mut self.transform, &self.spec, &chunk, emit).map_err(Trouble::Broken)?;
        Ok(self.carried.pop())
    }
}
