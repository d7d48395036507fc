//! Cursors: named positions that are kept with their topic, hold messages back from removal up to a
//! budget, and let go when nobody uses them. Subscriptions stand on them.

use std::sync::Arc;

use millrace_model::{Offset, names};

use crate::meta::CursorRecord;
use crate::sync::lock;
use crate::topic::Topic;
use crate::{CursorConfig, CursorStart, CursorState, LogError};

/// A handle on a cursor. Handles are not cursors: any number may stand for the same one.
#[derive(Clone)]
pub struct Cursor {
    topic: Arc<Topic>,
    name: String,
}

impl Cursor {
    /// The cursor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The topic that it is a cursor of.
    #[must_use]
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    /// The next message that it has not dealt with.
    ///
    /// # Errors
    /// [`LogError::NoCursor`] when it was deleted.
    pub fn position(&self) -> Result<Offset, LogError> {
        self.look(|record| Offset(record.position))
    }

    /// Whether it holds messages back.
    ///
    /// # Errors
    /// [`LogError::NoCursor`] when it was deleted.
    pub fn state(&self) -> Result<CursorState, LogError> {
        self.look(|record| record.state)
    }

    /// Its settings.
    ///
    /// # Errors
    /// [`LogError::NoCursor`] when it was deleted.
    pub fn config(&self) -> Result<CursorConfig, LogError> {
        self.look(|record| record.config.clone())
    }

    /// Messages that were removed by age before it came to them.
    ///
    /// # Errors
    /// [`LogError::NoCursor`] when it was deleted.
    pub fn expired_messages(&self) -> Result<u64, LogError> {
        self.look(|record| record.expired_messages)
    }

    /// Notes durably that everything before `position` was dealt with. A position behind the present
    /// one changes nothing, so that calls may come in any order.
    ///
    /// # Errors
    /// When the cursor is gone, detached or expired, `position` is beyond the topic's end, or it cannot
    /// be written down (then nothing moved).
    pub fn advance(&self, position: Offset) -> Result<(), LogError> {
        self.change(position, |record, now| {
            record.position = record.position.max(position.0);
            record.last_active_micros = now;
            record.state == CursorState::Attached
        })
    }

    /// Sends the cursor to `position`, forwards or back, durably, and attaches it again.
    ///
    /// # Errors
    /// When the cursor is gone, `position` lies outside the topic, or it cannot be written down.
    pub fn seek(&self, position: Offset) -> Result<(), LogError> {
        self.change(position, |record, now| {
            record.position = position.0;
            record.last_active_micros = now;
            record.state = CursorState::Attached;
            true
        })
    }

    /// Notes that the cursor is in use, so that it does not expire although nothing is to be done. Kept
    /// in memory until the next maintenance.
    pub fn touch(&self) {
        let now = self.topic.core.config.clock.now().0;
        let mut shared = lock(&self.topic.core.shared);
        if let Some(record) = shared.readers.cursors.get_mut(&self.name) {
            record.last_active_micros = now;
            shared.readers_changed = true;
        }
    }

    fn look<T>(&self, look: impl FnOnce(&CursorRecord) -> T) -> Result<T, LogError> {
        let shared = lock(&self.topic.core.shared);
        shared.readers.cursors.get(&self.name).map(look).ok_or_else(|| self.topic.core.no_cursor(&self.name))
    }

    fn change(
        &self,
        position: Offset,
        change: impl FnOnce(&mut CursorRecord, i64) -> bool,
    ) -> Result<(), LogError> {
        let now = self.topic.core.config.clock.now().0;
        self.topic.core.change_readers(|readers, start, end| {
            let record =
                readers.cursors.get_mut(&self.name).ok_or_else(|| self.topic.core.no_cursor(&self.name))?;
            let before = record.state;
            if !change(record, now) {
                let (topic, cursor) = (self.topic.core.name.clone(), self.name.clone());
                return Err(LogError::CursorLost { topic, cursor, state: before.as_str() });
            }
            if Offset(record.position) < start || position > end {
                let topic = self.topic.core.name.clone();
                return Err(LogError::OutOfBounds { topic, wanted: position, start, end });
            }
            Ok(())
        })
    }
}

impl Topic {
    /// Makes a cursor, durably.
    ///
    /// # Errors
    /// When the name breaks the rule of [`names::resource_name_violation`] or is taken, the start lies
    /// outside the topic, or the cursor cannot be written down.
    pub fn create_cursor(
        self: &Arc<Self>,
        name: &str,
        start: CursorStart,
        config: CursorConfig,
    ) -> Result<Cursor, LogError> {
        if let Some(rule) = names::resource_name_violation(name) {
            return Err(LogError::Name { name: name.to_owned(), rule });
        }
        let now = self.core.config.clock.now().0;
        self.core.change_readers(|readers, oldest, end| {
            if readers.cursors.contains_key(name) {
                return Err(LogError::CursorExists {
                    topic: self.core.name.clone(),
                    cursor: name.to_owned(),
                });
            }
            let position = match start {
                CursorStart::Oldest => oldest,
                CursorStart::End => end,
                CursorStart::At(position) if (oldest..=end).contains(&position) => position,
                CursorStart::At(wanted) => {
                    return Err(LogError::OutOfBounds {
                        topic: self.core.name.clone(),
                        wanted,
                        start: oldest,
                        end,
                    });
                }
            };
            let record = CursorRecord {
                position: position.0,
                state: CursorState::Attached,
                last_active_micros: now,
                expired_messages: 0,
                config,
            };
            readers.cursors.insert(name.to_owned(), record);
            Ok(())
        })?;
        Ok(Cursor { topic: Arc::clone(self), name: name.to_owned() })
    }

    /// The cursor of that name.
    #[must_use]
    pub fn cursor(self: &Arc<Self>, name: &str) -> Option<Cursor> {
        let known = lock(&self.core.shared).readers.cursors.contains_key(name);
        known.then(|| Cursor { topic: Arc::clone(self), name: name.to_owned() })
    }

    /// All cursors, in order of name.
    #[must_use]
    pub fn cursors(self: &Arc<Self>) -> Vec<Cursor> {
        let names: Vec<String> = lock(&self.core.shared).readers.cursors.keys().cloned().collect();
        names.into_iter().map(|name| Cursor { topic: Arc::clone(self), name }).collect()
    }

    /// Removes a cursor, durably.
    ///
    /// # Errors
    /// When there is none of that name, or its end cannot be written down.
    pub fn delete_cursor(&self, name: &str) -> Result<(), LogError> {
        self.core.change_readers(|readers, _, _| {
            readers.cursors.remove(name).map(|_| ()).ok_or_else(|| self.core.no_cursor(name))
        })
    }

    /// Who holds the topic through [`millrace_model::Source::hold`], and up to where each has folded.
    #[must_use]
    pub fn holds(&self) -> Vec<(String, Offset)> {
        let shared = lock(&self.core.shared);
        shared.readers.holds.iter().map(|(name, folded)| (name.clone(), Offset(*folded))).collect()
    }

    /// Forgets a holder, for instance a pipeline that is no longer configured. Without this it would
    /// hold messages back for ever, across restarts.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn release_hold(&self, reader: &str) -> Result<(), LogError> {
        self.core.change_readers(|readers, _, _| {
            readers.holds.remove(reader);
            Ok(())
        })
    }
}
