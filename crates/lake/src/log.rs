//! Entries of a table's Delta log: their names, their text, and what makes the newest one durable.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use deltalake_core::kernel::Action;
use millrace_disk::{Disk, Entry};
use serde_json::{Value, json};

use crate::error::LakeError;
use crate::files;

/// The directory of the log below the table's.
pub(crate) const LOG_DIR: &str = "_delta_log";
/// The file that names the newest checkpoint.
const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// The log entry of a version.
pub(crate) fn entry_path(table_dir: &Path, version: u64) -> PathBuf {
    table_dir.join(LOG_DIR).join(format!("{version:020}.json"))
}

/// What a file of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// The entry of a version.
    Entry(u64),
    /// A checkpoint of a version, or a part of one.
    Checkpoint(u64),
    /// Something else.
    Other,
}

/// Tells a file of the log by its name.
pub(crate) fn classify(name: &str) -> LogFile {
    let (digits, rest) = name.split_at_checked(20).unwrap_or((name, ""));
    match digits.parse::<u64>() {
        Ok(version) if rest == ".json" => LogFile::Entry(version),
        Ok(version) if rest.starts_with(".checkpoint.") && rest.ends_with(".parquet") => {
            LogFile::Checkpoint(version)
        }
        _ => LogFile::Other,
    }
}

/// The files of a table's log; empty when there is no log.
pub(crate) fn list(disk: &dyn Disk, table_dir: &Path) -> Result<Vec<Entry>, LakeError> {
    let directory = table_dir.join(LOG_DIR);
    match disk.read_dir(&directory) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(LakeError::io("list", &directory)(error)),
    }
}

/// The newest version that has an entry.
pub(crate) fn newest_entry(entries: &[Entry]) -> Option<u64> {
    entries
        .iter()
        .filter_map(|entry| match classify(&entry.name) {
            LogFile::Entry(version) => Some(version),
            LogFile::Checkpoint(_) | LogFile::Other => None,
        })
        .max()
}

/// The `commitInfo` action of a commit.
pub(crate) fn commit_info(operation: &str, parameters: &Value, now_ms: i64) -> Value {
    json!({ "commitInfo": {
        "timestamp": now_ms,
        "operation": operation,
        "operationParameters": parameters,
        "engineInfo": concat!("millrace/", env!("CARGO_PKG_VERSION")),
        "isBlindAppend": operation == "WRITE",
    }})
}

/// The text of an entry: one JSON object a line.
pub(crate) fn encode(info: &Value, actions: &[Action]) -> Result<Bytes, serde_json::Error> {
    let mut text = serde_json::to_vec(info)?;
    for action in actions {
        text.push(b'\n');
        serde_json::to_writer(&mut text, action)?;
    }
    text.push(b'\n');
    Ok(Bytes::from(text))
}

/// Reads the actions of a version; `None` when it has no entry.
pub(crate) fn read(
    disk: &dyn Disk,
    table_dir: &Path,
    version: u64,
) -> Result<Option<Vec<Action>>, LakeError> {
    let path = entry_path(table_dir, version);
    let text = match files::read_all(disk, &path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LakeError::io("read", &path)(error)),
    };
    serde_json::Deserializer::from_slice(&text)
        .into_iter::<Action>()
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
        .map_err(|error| LakeError::io("read", &path)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// The version that the log names as its newest checkpoint; a hint, absent when unreadable.
pub(crate) fn checkpoint_hint(disk: &dyn Disk, table_dir: &Path) -> Option<u64> {
    let text = files::read_all(disk, &table_dir.join(LOG_DIR).join(LAST_CHECKPOINT)).ok()?;
    serde_json::from_slice::<Value>(&text).ok()?["version"].as_u64()
}

/// Makes the newest entry durable, whatever became of the sync of whoever wrote it: what a table is
/// read from must not vanish with the next power loss. The same text goes into a new file, since a
/// second sync of the old one may report success for data that was lost.
pub(crate) fn make_newest_durable(disk: &dyn Disk, table_dir: &Path) -> Result<(), LakeError> {
    let Some(version) = newest_entry(&list(disk, table_dir)?) else { return Ok(()) };
    let path = entry_path(table_dir, version);
    let text = files::read_all(disk, &path).map_err(LakeError::io("read", &path))?;
    match files::replace(disk, &path, &[text]) {
        // A full disk must not keep a table from being read. The entry's content was synced before it
        // got its name, so what may be missing is the name, and syncing that needs no room.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            let directory = files::parent(&path);
            disk.sync_dir(directory).map_err(LakeError::io("sync", directory))
        }
        other => other.map_err(LakeError::io("write", &path)),
    }
}

/// Which log files a checkpoint has made superfluous: all older than the newest checkpoint that is
/// itself older than `cutoff_micros`, so that every version younger than the cutoff can still be read.
pub(crate) fn superfluous(entries: &[Entry], cutoff_micros: i64) -> Vec<String> {
    let keep = entries
        .iter()
        .filter(|entry| entry.modified_micros < cutoff_micros)
        .filter_map(|entry| match classify(&entry.name) {
            LogFile::Checkpoint(version) => Some(version),
            LogFile::Entry(_) | LogFile::Other => None,
        })
        .max();
    let Some(keep) = keep else { return Vec::new() };
    entries
        .iter()
        .filter(|entry| match classify(&entry.name) {
            LogFile::Entry(version) | LogFile::Checkpoint(version) => version < keep,
            LogFile::Other => false,
        })
        .map(|entry| entry.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, modified_micros: i64) -> Entry {
        Entry { name: name.to_owned(), is_dir: false, len: 1, modified_micros }
    }

    #[test]
    fn log_files_are_told_by_name() {
        assert_eq!(classify("00000000000000000012.json"), LogFile::Entry(12));
        assert_eq!(classify("00000000000000000012.checkpoint.parquet"), LogFile::Checkpoint(12));
        for other in ["_last_checkpoint", "", "12.json", "00000000000000000012.json.tmp", "éééééééééé.json"]
        {
            assert_eq!(classify(other), LogFile::Other, "{other}");
        }
    }

    #[test]
    fn only_what_an_old_checkpoint_covers_is_superfluous() {
        let log: Vec<_> = (0..6_u64)
            .map(|version| entry(&format!("{version:020}.json"), version as i64))
            .chain([2, 4].map(|version| entry(&format!("{version:020}.checkpoint.parquet"), version)))
            .chain([entry("_last_checkpoint", 4)])
            .collect();
        let names = |cutoff| superfluous(&log, cutoff);
        assert!(names(2).is_empty());
        assert_eq!(names(3), ["00000000000000000000.json", "00000000000000000001.json"]);
        assert_eq!(names(100).len(), 5);
        assert!(!names(100).contains(&"00000000000000000004.json".to_owned()));
    }
}
