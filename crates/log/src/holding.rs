//! Who holds a topic, and where its cursors are: in memory, and written down.

use millrace_model::Offset;

use crate::core::Core;
use crate::meta::{Readers, write_readers};
use crate::sync::lock;
use crate::{CursorState, LogError};

impl Core {
    /// Moves a hold. A new holder, and one that goes back, is written down at once, so that after a
    /// restart nothing goes that it still needs. How far a holder has got is written down only when
    /// messages are about to be removed: an earlier position does no harm.
    pub(crate) fn set_hold(&self, reader: &str, folded: Offset) {
        let must_save = {
            let mut shared = lock(&self.shared);
            let position = folded.max(shared.start).0;
            let before = shared.readers.holds.insert(reader.to_owned(), position);
            shared.readers_changed |= before != Some(position);
            before.is_none_or(|before| position < before)
        };
        self.refresh_budget();
        if must_save && let Err(error) = self.save_readers() {
            tracing::warn!(topic = self.name, reader, %error, "a holder's position was not written down");
        }
    }

    /// Writes down who holds the topic and where its cursors are, if that changed.
    pub(crate) fn save_readers(&self) -> Result<(), LogError> {
        let _files = lock(&self.files);
        self.save_readers_locked()
    }

    /// The same, for callers that hold `files`.
    pub(crate) fn save_readers_locked(&self) -> Result<(), LogError> {
        if self.read_only || self.is_deleted() {
            return Ok(());
        }
        let readers = {
            let mut shared = lock(&self.shared);
            if !shared.readers_changed || shared.active.is_none() {
                return Ok(());
            }
            shared.readers_changed = false;
            shared.readers.clone()
        };
        write_readers(&*self.disk, &self.directory, &readers)
            .inspect_err(|_| lock(&self.shared).readers_changed = true)
    }

    /// Changes readers durably: on the disk first, then in memory.
    pub(crate) fn change_readers(
        &self,
        change: impl FnOnce(&mut Readers, Offset, Offset) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        if self.read_only {
            return Err(LogError::ReadOnly(self.directory.clone()));
        }
        let files = lock(&self.files);
        let (before, mut readers) = {
            let shared = lock(&self.shared);
            // Also refuses while the topic is out of work and its files are not known.
            self.topic_file(&shared)?;
            let mut readers = shared.readers.clone();
            change(&mut readers, shared.start, shared.tail.end)?;
            (shared.readers.clone(), readers)
        };
        write_readers(&*self.disk, &self.directory, &readers)?;
        let mut shared = lock(&self.shared);
        merge(&before, &mut readers, &shared.readers);
        shared.readers = readers;
        drop(shared);
        drop(files);
        self.refresh_budget();
        Ok(())
    }

    pub(crate) fn no_cursor(&self, name: &str) -> LogError {
        LogError::NoCursor { topic: self.name.clone(), cursor: name.to_owned() }
    }
}

/// Keeps what changed in memory while the file was being written: holds that moved, cursors that were
/// touched or detached.
fn merge(before: &Readers, written: &mut Readers, now: &Readers) {
    for (name, folded) in &now.holds {
        if before.holds.get(name) != Some(folded) {
            written.holds.insert(name.clone(), *folded);
        }
    }
    for (name, cursor) in &now.cursors {
        if before.cursors.get(name) != Some(cursor)
            && let Some(record) = written.cursors.get_mut(name)
        {
            record.last_active_micros = record.last_active_micros.max(cursor.last_active_micros);
            if cursor.state != CursorState::Attached {
                record.state = cursor.state;
            }
        }
    }
    written.cursors_detached_total += now.cursors_detached_total - before.cursors_detached_total;
}
