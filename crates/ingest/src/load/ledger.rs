//! How far each file was loaded: one small file a loaded file, always whole.

use std::io;
use std::path::PathBuf;

use millrace_disk::{Disk, OpenMode, write_atomically};
use millrace_model::{Offset, TopicId};
use serde_json::{Value, json};

use super::{LoadError, Loader};

/// Largest ledger file in bytes; more is damage.
const LEDGER_BYTES_MAX: usize = 1 << 20;

/// How far one file was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Everything before this ordinal is durable.
    pub(super) next_ordinal: u64,
    /// The whole file is.
    pub(super) complete: bool,
    /// Where each topic ended when `next_ordinal` was written: a batch from there on lies behind.
    pub(super) marks: Vec<(TopicId, Offset)>,
}

/// A ledger's place on disk.
pub(super) struct LedgerFile<'l> {
    disk: &'l dyn Disk,
    path: PathBuf,
}

impl<'l> LedgerFile<'l> {
    /// The ledger of a file, one for each topic that it is loaded into by name.
    pub(super) fn new(loader: &'l Loader, file: &str, topic: Option<&str>) -> Self {
        let name = topic.map_or_else(|| format!("{file}.json"), |topic| format!("{file}-{topic}.json"));
        Self { disk: &*loader.disk, path: loader.directory.join(name) }
    }

    fn error(&self, source: io::Error) -> LoadError {
        LoadError::Ledger { path: self.path.display().to_string(), source }
    }

    /// Reads the ledger; that of a file never loaded is empty.
    pub(super) fn read(&self) -> Result<Ledger, LoadError> {
        let read = || {
            let Some(entry) = self.disk.entry(&self.path)? else { return Ok(Ledger::default()) };
            let length = usize::try_from(entry.len).unwrap_or(usize::MAX).min(LEDGER_BYTES_MAX);
            let mut bytes = vec![0; length];
            let read = self.disk.open(&self.path, OpenMode::Read)?.read_at(&mut bytes, 0)?;
            let damaged = "is damaged; remove it to load the file from its start (what the topics' windows \
                 still know is not stored twice)";
            parse(&bytes[..read]).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, damaged))
        };
        read().map_err(|error| self.error(error))
    }

    /// Writes the ledger; durable when this returns.
    pub(super) fn write(&self, ledger: &Ledger) -> Result<(), LoadError> {
        let marks: Vec<Value> = ledger
            .marks
            .iter()
            .map(|(topic, end)| json!({"topic": topic.to_string(), "end": end.0}))
            .collect();
        let text = json!({
            "version": 1,
            "next_ordinal": ledger.next_ordinal,
            "complete": ledger.complete,
            "marks": marks,
        });
        let written = write_atomically(self.disk, &self.path, text.to_string().as_bytes());
        written.map_err(|error| self.error(error))
    }
}

fn parse(bytes: &[u8]) -> Option<Ledger> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if value["version"] != 1 {
        return None;
    }
    let mark = |mark: &Value| Some((mark["topic"].as_str()?.parse().ok()?, Offset(mark["end"].as_u64()?)));
    Some(Ledger {
        next_ordinal: value["next_ordinal"].as_u64()?,
        complete: value["complete"].as_bool()?,
        marks: value["marks"].as_array()?.iter().map(mark).collect::<Option<_>>()?,
    })
}
