//! Puts windows into the tables, exactly once: the order of the two commits, and what to make of a
//! commit that failed.
//!
//! Dead letters go first, with the window's end as the dead-letter table's position; then the rows with
//! the whole ledger. A commit that failed may have happened all the same, so before another try the
//! table is asked: the rows table for its marks, the dead-letter table for the very offsets, since its
//! position may have been there before.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_model::{Failure, Micros, Offset};
use millrace_table::DeadLetterBuilder;

use crate::ledger::{Ledger, NEXT_OFFSET, mark};
use crate::plan::{Identity, Opening, dead_position};
use crate::trouble::Trouble;
use crate::versions::Versions;
use crate::window::{Pending, Undelivered};
use crate::{Commit, Sink, SinkError};

/// Most bytes, payload and error, of one commit of dead letters (plus one message): a window that fails whole goes
/// in several, since each dead letter holds its payload twice, as text and as bytes.
const DEAD_LETTER_COMMIT_BYTES_MAX: usize = 16 << 20;

/// Most messages of one commit of dead letters. Few in tests, so that a window takes several.
const DEAD_LETTER_COMMIT_ROWS_MAX: usize = if cfg!(test) { 3 } else { 16_384 };

/// The writing end of a pipeline.
pub(crate) struct Committer {
    rows: Arc<dyn Sink>,
    dead_letters: Arc<dyn Sink>,
    identity: Arc<Identity>,
    ledger: Ledger,
    versions: Versions,
    dead_position: Offset,
}

impl Committer {
    pub fn new(
        rows: Arc<dyn Sink>,
        dead_letters: Arc<dyn Sink>,
        identity: Arc<Identity>,
        opening: Opening,
    ) -> Self {
        let Opening { ledger, versions, dead_position } = opening;
        Self { rows, dead_letters, identity, ledger, versions, dead_position }
    }

    /// What is committed.
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Brings a window as far as it goes. `Ok` means that it is durably in both tables; after an error
    /// the same window is given again.
    pub fn attempt(&mut self, pending: &mut Pending) -> Result<(), Trouble> {
        loop {
            self.deliver_dead_letters(pending)?;
            if self.commit_rows(pending)? {
                return Ok(());
            }
        }
    }

    fn deliver_dead_letters(&mut self, pending: &mut Pending) -> Result<(), Trouble> {
        if pending.dead_uncertain {
            self.ask_dead_letters(pending)?;
            pending.dead_uncertain = false;
        }
        while !pending.undelivered.is_empty() {
            let count = next_portion(pending);
            let position = self.dead_position.max(pending.window.end);
            let commit = self.dead_letter_commit(pending, count, position)?;
            pending.dead_uncertain = true;
            self.dead_letters.commit(&commit)?;
            pending.dead_uncertain = false;
            pending.undelivered.drain(..count);
            self.dead_position = position;
        }
        Ok(())
    }

    /// After a failed commit of dead letters: forgets those that are there.
    fn ask_dead_letters(&mut self, pending: &mut Pending) -> Result<(), Trouble> {
        let (start, end) = (pending.window.start, pending.window.end);
        let marks = self.dead_letters.marks()?;
        self.dead_position = dead_position(&self.identity, &marks)
            .map_err(|error| Trouble::Broken(format!("table {}: {error}", self.identity.dead_table)))?;
        let there: BTreeSet<Offset> =
            self.dead_letters.offsets(self.identity.topic, start, end)?.into_iter().collect();
        let mut undelivered = std::mem::take(&mut pending.undelivered);
        undelivered.retain(|failed| !there.contains(&pending.offset_of(failed.part, failed.message)));
        pending.undelivered = undelivered;
        Ok(())
    }

    fn dead_letter_commit(
        &self,
        pending: &Pending,
        count: usize,
        position: Offset,
    ) -> Result<Commit, Trouble> {
        let mut builder = DeadLetterBuilder::new();
        let now = Micros::now();
        for Undelivered { part, message, failure } in &pending.undelivered[..count] {
            let part = &pending.window.parts[*part];
            let view = part.batch.get(*message);
            let hash = part.version.udf_hash;
            builder.push(&self.identity.topic_name, self.identity.topic, &view, failure, hash, 1, now);
        }
        let rows = builder.finish().map_err(|error| {
            Trouble::Broken(format!("table {}: cannot build dead letters: {error}", self.identity.dead_table))
        })?;
        let marks = vec![mark(self.identity.dead_key.app_id(NEXT_OFFSET), position.0)];
        Ok(Commit { rows: vec![rows], marks })
    }

    /// Commits the rows; false when the sink refused some, which are dead letters now.
    fn commit_rows(&mut self, pending: &mut Pending) -> Result<bool, Trouble> {
        let before = self.ledger;
        let (end, tally) = (pending.window.end, pending.window.tally());
        let after = before.after(end, &tally, pending.duplicate);
        if pending.rows_uncertain && self.ask_rows(&after)? {
            return Ok(true);
        }
        let mut marks = after.to_marks(&self.identity.rows_key);
        let (versions, set) =
            self.versions.after(&self.identity.rows_key, pending.window.udf_hash(), &tally, end);
        marks.extend(set);
        let commit = Commit { rows: pending.rows(), marks };
        pending.rows_uncertain = true;
        match self.rows.commit(&commit) {
            Ok(()) => {
                (self.ledger, self.versions) = (after, versions);
                Ok(true)
            }
            Err(SinkError::Rejected(refused)) => {
                if self.ask_rows(&after)? {
                    return Ok(true);
                }
                pending.reject(&self.identity.rows_table, refused)?;
                Ok(false)
            }
            // A table that broke may have taken the commit first; `Retry` asks before the next try.
            Err(error @ SinkError::Broken { .. }) => match self.ask_rows(&after) {
                Ok(true) => Ok(true),
                _ => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// After a failed commit: whether the rows table stands at `after` (it happened) or still where it
    /// was (it did not). `erased` and `replayed` may have moved meanwhile.
    fn ask_rows(&mut self, after: &Ledger) -> Result<bool, Trouble> {
        let marks = self.rows.marks()?;
        let broken = |text: String| Trouble::Broken(format!("table {}: {text}", self.identity.rows_table));
        let found = Ledger::from_marks(&self.identity.rows_key, &marks)
            .map_err(|error| broken(error.to_string()))?
            .unwrap_or_default();
        if found.same_fold(after) {
            let versions = Versions::from_marks(&self.identity.rows_key, &marks);
            self.versions = versions.map_err(|error| broken(error.to_string()))?;
            self.ledger = found;
            return Ok(true);
        }
        if found.same_fold(&self.ledger) {
            return Ok(false);
        }
        Err(broken(format!(
            "its ledger moved from offset {} to {} without this pipeline; is another process writing it? \
             Stop that one and start again",
            self.ledger.next_offset, found.next_offset
        )))
    }
}

/// How many dead letters go into one commit: at least one.
fn next_portion(pending: &Pending) -> usize {
    let mut bytes = 0;
    let portion = pending.undelivered.iter().take(DEAD_LETTER_COMMIT_ROWS_MAX).take_while(|failed| {
        let fits = bytes < DEAD_LETTER_COMMIT_BYTES_MAX;
        let Failure { message, stack, .. } = &failed.failure;
        let payload = pending.window.parts[failed.part].batch.get(failed.message).data.len();
        bytes += payload + message.len() + stack.as_ref().map_or(0, String::len);
        fits
    });
    portion.count()
}
