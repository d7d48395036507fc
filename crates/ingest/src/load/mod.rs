//! Files into topics, each record exactly once a file, however often and however late a file is loaded
//! again.
//!
//! A file is lines of JSON (`LogEntry` objects or OTLP JSON request bodies, mixed as they come), or JSON
//! values one after the other (pretty-printed or not), or arrays of them; gzip or not, by its first
//! bytes. Every record has an ordinal in its file. A file is known by a keyed hash of its unpacked
//! content, so its name, its time and its compression do not matter.
//!
//! What is not a JSON object is an input too: it is appended as it is, the pipeline makes it a dead
//! letter, and the report names the line. Only what no topic can hold is refused, counted and named.
//!
//! **Exactly once.** Before each batch the ledger keeps, durably, the ordinal that the batch begins with
//! and where each topic ended; the batch's messages carry the file's id and their ordinals as
//! attributes. Every topic takes the ordinals in order, so after a crash the highest ordinal that a
//! topic holds behind its mark says what it need not take again.

mod batch;
mod entry;
mod http;
mod ledger;
mod run;
mod splitter;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_disk::Disk;

use crate::Ingest;
use crate::ingest::Refusal;

/// Attribute of a loaded message: the id of the file that it came from, 32 hexadecimal digits.
pub const ATTRIBUTE_FILE: &str = "load.file";
/// Attribute of a loaded message: its ordinal in that file, from 0.
pub const ATTRIBUTE_ORDINAL: &str = "load.ordinal";

/// Most problems that a report lists; all are counted.
const PROBLEMS_MAX: usize = 100;

/// Loads files through an [`Ingest`]. One file at a time; further ones wait.
pub struct Loader {
    ingest: Arc<Ingest>,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Held while a file is loaded.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// How far a load is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadProgress {
    /// Unpacked bytes dealt with.
    pub bytes: u64,
    /// Unpacked bytes in all.
    pub bytes_total: u64,
    /// Records dealt with.
    pub records: u64,
}

/// What a load did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The file's id.
    pub file: String,
    /// Records in the file.
    pub records: u64,
    /// Messages stored, once for each topic.
    pub added: u64,
    /// Messages not stored because the same (logName, timestamp, insertId) was in the topic's window.
    pub duplicates: u64,
    /// Records that an earlier load of this file had stored.
    pub already_loaded: u64,
    /// Records that no topic can hold.
    pub rejected: u64,
    /// Lines or values that are no JSON object; stored as they are.
    pub opaque: u64,
    /// Line (from 1) and reason of the first of those that were refused or are opaque.
    pub problems: Vec<(u64, String)>,
}

/// Why a load ended early. What was stored stays; loading the file again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's word, or that of the gzip format.
        source: io::Error,
    },
    /// What comes through a pipe or a request cannot be put down while it is read.
    #[error("cannot keep a copy of {path} while it is loaded: {source}; make room and load it again")]
    Spool {
        /// What was to be loaded.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// The ledger cannot be read or written.
    #[error("cannot keep the load's ledger {path}: {source}")]
    Ledger {
        /// The ledger's file.
        path: String,
        /// The system's word.
        source: io::Error,
    },
    /// There is no such topic to load into.
    #[error("there is no topic {topic} to load into, there are {known}")]
    Topic {
        /// What was asked for.
        topic: String,
        /// The topics of the sinks.
        known: String,
    },
    /// A topic would not take the records.
    #[error("loading stopped after {records} records: {reason}; load the file again to go on")]
    Refused {
        /// Records stored by then.
        records: u64,
        /// The topic's word.
        reason: String,
    },
    /// A topic cannot be read to find out what an interrupted load had stored.
    #[error("cannot find out what was loaded before: {0}")]
    Scan(String),
    /// A thread ended unexpectedly.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { records: 0, reason: refusal.to_string() }
    }
}

/// A file's content on this disk, read as often as need be.
struct Content {
    path: PathBuf,
    /// For messages: the name that the user gave.
    name: String,
    /// Removed afterwards.
    spooled: bool,
}

impl Content {
    /// The unpacked bytes from the start.
    fn open(&self) -> io::Result<Box<dyn Read>> {
        let mut file = std::fs::File::open(&self.path)?;
        let mut magic = [0; 2];
        let read = read_full(&mut file, &mut magic)?;
        let start = io::Cursor::new(magic).take(read as u64);
        let whole = start.chain(file);
        Ok(if magic == [0x1f, 0x8b] && read == 2 {
            Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 16, whole)))
        } else {
            Box::new(whole)
        })
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if self.spooled {
            // A leftover is removed when the next loader begins.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

impl Loader {
    /// A loader that keeps its ledger, and standard input while it is being loaded, in `directory`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(ingest: Arc<Ingest>, disk: Arc<dyn Disk>, directory: PathBuf) -> Result<Arc<Self>, LoadError> {
        let prepared = disk.create_dir_all(&directory).and_then(|()| remove_spools(&*disk, &directory));
        prepared.map_err(|source| LoadError::Ledger { path: directory.display().to_string(), source })?;
        Ok(Arc::new(Self { ingest, disk, directory, turn: Arc::default() }))
    }

    /// Loads a file, `-` being standard input. `topic` takes every log record when it is given, whatever
    /// the sinks' filters say. `progress` is called between batches, from another thread.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(
        self: &Arc<Self>,
        path: &Path,
        topic: Option<&str>,
        progress: impl Fn(LoadProgress) + Send + 'static,
    ) -> Result<LoadReport, LoadError> {
        let (loader, path) = (Arc::clone(self), path.to_owned());
        let topic = self.place_of(topic)?;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let content = if path == Path::new("-") {
                loader.spool("standard input", &mut io::stdin().lock())?
            } else {
                let name = path.display().to_string();
                Content { path, name, spooled: false }
            };
            run::run(&loader, &content, topic, &progress)
        });
        task.await.map_err(|error| LoadError::Internal(error.to_string()))?
    }

    /// The place of a topic in the ingest's list.
    fn place_of(&self, topic: Option<&str>) -> Result<Option<usize>, LoadError> {
        let Some(topic) = topic else { return Ok(None) };
        let logs = self.ingest.log_topics();
        let place = logs.iter().position(|(name, _)| name == topic);
        place.map(Some).ok_or_else(|| LoadError::Topic {
            topic: topic.to_owned(),
            known: logs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Copies what can be read once only into a file. It need not survive a crash, so it is not synced.
    fn spool(&self, name: &str, input: &mut dyn Read) -> Result<Content, LoadError> {
        let (content, mut file) = self.spool_file(name)?;
        io::copy(input, &mut file).map_err(|source| LoadError::Read { path: name.to_owned(), source })?;
        Ok(content)
    }

    fn spool_file(&self, name: &str) -> Result<(Content, std::fs::File), LoadError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{SPOOL_PREFIX}{}-{number}", std::process::id()));
        let file = std::fs::File::create(&path);
        let file = file.map_err(|source| LoadError::Spool { path: name.to_owned(), source })?;
        Ok((Content { path, name: name.to_owned(), spooled: true }, file))
    }
}

const SPOOL_PREFIX: &str = "spool-";

/// Removes what a crash left. (The data directory has one writer, so nobody else is using these.)
fn remove_spools(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    for entry in disk.read_dir(directory)? {
        if entry.name.starts_with(SPOOL_PREFIX) {
            disk.remove_file(&directory.join(entry.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
