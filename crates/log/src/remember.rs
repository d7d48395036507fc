//! The deduplication window at a start: filled from index files, not from messages.

use millrace_disk::OpenMode;
use millrace_model::Offset;

use crate::LogError;
use crate::dedup::{DedupWindow, KeyEntry};
use crate::recover::Context;
use crate::segment::{SegmentHeader, index_base_of, index_path};
use crate::shared::Garbage;

impl Context<'_> {
    /// The index files that segments left behind when they went, oldest first; those that are not good can
    /// go at once.
    pub(crate) fn orphans(&self, start: Offset) -> Result<Garbage, LogError> {
        let directory = self.place.directory;
        let entries = self.disk().read_dir(directory).map_err(LogError::io("list", directory))?;
        let mut orphans = Garbage::new();
        for base in entries.iter().filter_map(|entry| index_base_of(&entry.name)).filter(|base| *base < start)
        {
            let end = self.sidecar(base)?.map_or(Offset::ZERO, |sidecar| sidecar.header.facts.end);
            orphans.push((index_path(directory, base), end));
        }
        Ok(orphans)
    }

    /// Fills the deduplication window: from the newest segment back to where it is full or keys are too
    /// old, so that neither time nor memory grow with the log.
    pub(crate) fn remember(
        &self,
        dedup: &mut DedupWindow,
        orphans: &Garbage,
        sealed: &[Offset],
        newest: Vec<KeyEntry>,
    ) -> Result<(), LogError> {
        let gone = orphans.iter().filter_map(|(path, _)| index_base_of(path.file_name()?.to_str()?));
        let older: Vec<(Offset, bool)> =
            gone.map(|base| (base, false)).chain(sealed.iter().map(|base| (*base, true))).collect();
        let mut count = newest.len();
        let mut found = vec![newest];
        for (base, has_segment) in older.into_iter().rev() {
            if count >= dedup.entries_max() {
                break;
            }
            match self.keys_of(base, has_segment)? {
                Some(keys) => {
                    count += keys.len();
                    found.push(keys);
                }
                None => break,
            }
        }
        dedup.reserve(count);
        for entry in found.into_iter().rev().flatten() {
            dedup.insert(entry);
            dedup.trim(entry.time);
        }
        Ok(())
    }

    /// The keys of a segment's messages that may still be wanted; `None` when all are too old.
    fn keys_of(&self, base: Offset, has_segment: bool) -> Result<Option<Vec<KeyEntry>>, LogError> {
        let read_error = |error| LogError::io("read", &index_path(self.place.directory, base))(error);
        if let Ok(sidecar) = self.sidecar(base)? {
            if sidecar.header.facts.last_time < self.options.keys_since {
                return Ok(None);
            }
            if let Ok(keys) = sidecar.keys().map_err(read_error)? {
                return Ok(Some(keys));
            }
        }
        if !has_segment {
            return Ok(Some(Vec::new()));
        }
        let path = self.path(base);
        let file = self.disk().open(&path, OpenMode::Read).map_err(LogError::io("open", &path))?;
        let header = SegmentHeader::read(&*file)
            .map_err(LogError::io("read", &path))?
            .map_err(|reason| LogError::corrupt(&path, 0, reason))?;
        let len = file.len().map_err(LogError::io("read", &path))?;
        self.look_in_segment(&path, &*file, &header, len).map(|(_, keys)| Some(keys))
    }
}
