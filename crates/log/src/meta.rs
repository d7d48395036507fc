//! A topic's two small files: `topic.json` (who it is, its settings, where it begins) and
//! `readers.json` (who holds it, and its cursors). Written whole or not at all.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use millrace_disk::{Disk, OpenMode, write_atomically};
use millrace_model::{Offset, TopicId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{CursorConfig, CursorState, LogError, TopicConfig};

/// The version of both files.
const FORMAT: u32 = 1;
/// A file of this kind larger than this is none of ours.
const JSON_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `topic.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicFile {
    format: u32,
    id: String,
    pub(crate) name: String,
    /// The oldest message that has not been removed.
    pub(crate) start: u64,
    /// Messages removed that some holder had not folded.
    pub(crate) expired_total: u64,
    pub(crate) config: TopicConfig,
}

impl TopicFile {
    pub(crate) fn new(id: TopicId, name: &str, config: TopicConfig) -> Self {
        let (id, name) = (id.to_string(), name.to_owned());
        Self { format: FORMAT, id, name, start: 0, expired_total: 0, config }
    }

    pub(crate) fn id(&self, path: &Path) -> Result<TopicId, LogError> {
        self.id.parse().map_err(|error| LogError::corrupt(path, 0, format!("{error}")))
    }
}

/// `readers.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Readers {
    format: u32,
    /// Up to where each holder has folded, as far as was written down; never more than it has.
    pub(crate) holds: BTreeMap<String, u64>,
    pub(crate) cursors: BTreeMap<String, CursorRecord>,
    pub(crate) cursors_detached_total: u64,
    pub(crate) cursors_expired_total: u64,
}

/// What is stored of a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CursorRecord {
    pub(crate) position: u64,
    pub(crate) state: CursorState,
    pub(crate) last_active_micros: i64,
    /// Messages that were removed by age before the cursor came to them.
    pub(crate) expired_messages: u64,
    pub(crate) config: CursorConfig,
}

impl Readers {
    /// The offsets before which messages must not be removed for room.
    pub(crate) fn held(&self) -> impl Iterator<Item = Offset> {
        let attached = self.cursors.values().filter(|cursor| cursor.state == CursorState::Attached);
        self.holds.values().copied().chain(attached.map(|cursor| cursor.position)).map(Offset)
    }
}

/// The path of a topic's `topic.json`.
pub(crate) fn topic_file(directory: &Path) -> PathBuf {
    directory.join("topic.json")
}

/// The path that `topic.json` gets when its topic is being deleted.
pub(crate) fn deleted_file(directory: &Path) -> PathBuf {
    directory.join("deleted.json")
}

/// The path of a topic's `readers.json`.
pub(crate) fn readers_file(directory: &Path) -> PathBuf {
    directory.join("readers.json")
}

/// Reads `topic.json`; `None` when there is none.
pub(crate) fn read_topic(disk: &dyn Disk, directory: &Path) -> Result<Option<TopicFile>, LogError> {
    let path = topic_file(directory);
    let read: Option<TopicFile> = read_json(disk, &path)?;
    check_format(&path, read.as_ref().map_or(FORMAT, |file| file.format)).map(|()| read)
}

/// Reads `readers.json`; no readers when there is none.
pub(crate) fn read_readers(disk: &dyn Disk, directory: &Path) -> Result<Readers, LogError> {
    let path = readers_file(directory);
    let read: Option<Readers> = read_json(disk, &path)?;
    let readers = read.unwrap_or(Readers { format: FORMAT, ..Readers::default() });
    check_format(&path, readers.format).map(|()| readers)
}

/// Writes `topic.json`.
pub(crate) fn write_topic(disk: &dyn Disk, directory: &Path, file: &TopicFile) -> Result<(), LogError> {
    write_json(disk, &topic_file(directory), file)
}

/// Writes `readers.json`.
pub(crate) fn write_readers(disk: &dyn Disk, directory: &Path, readers: &Readers) -> Result<(), LogError> {
    write_json(disk, &readers_file(directory), readers)
}

fn check_format(path: &Path, format: u32) -> Result<(), LogError> {
    if format == FORMAT {
        return Ok(());
    }
    Err(LogError::corrupt(path, 0, format!("it has format version {format}, this program knows {FORMAT}")))
}

fn read_json<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Option<T>, LogError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("open", path)(error)),
    };
    let len = file.len().map_err(LogError::io("read", path))?;
    if len > JSON_BYTES_MAX {
        return Err(LogError::corrupt(path, 0, format!("it has {len} bytes, too many to be what it should")));
    }
    let mut bytes = vec![0; len as usize];
    let count = file.read_at(&mut bytes, 0).map_err(LogError::io("read", path))?;
    serde_json::from_slice(&bytes[..count])
        .map(Some)
        .map_err(|error| LogError::corrupt(path, 0, format!("it is not what it should be: {error}")))
}

fn write_json(disk: &dyn Disk, path: &Path, value: &impl Serialize) -> Result<(), LogError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| LogError::io("write", path)(io::Error::other(error)))?;
    bytes.push(b'\n');
    write_atomically(disk, path, &bytes).map_err(LogError::io("write", path))
}
