//! Files as Millrace uses them: a small trait, the real file system, and a simulated disk that loses,
//! tears and reorders what was not synced.
//!
//! **Invariant:** this crate knows files and syncs, never what is in them. The log and the lake do all
//! their writing through it, so that both can be tested against power loss.

mod atomic;
pub mod sim;
mod std_disk;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use atomic::{TEMPORARY_SUFFIX, publish, write_atomically};
pub use std_disk::StdDisk;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To read only.
    Read,
    /// To read and write a file that is there.
    ReadWrite,
    /// To read and write a new file; fails with `AlreadyExists`.
    CreateNew,
}

/// What a directory holds under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file name, without directories.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// The file's length in bytes.
    pub len: u64,
    /// When it was last written, microseconds since 1970 UTC.
    pub modified_micros: i64,
}

/// An open file. Reads and writes name their position, so one handle serves many threads.
#[expect(clippy::len_without_is_empty, reason = "a file's length is asked of the system and can fail")]
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the system reports.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`, growing the file if need be. Volatile until synced. After
    /// an error any part of it may have been written.
    ///
    /// # Errors
    /// As the system reports, `StorageFull` among them.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts or extends the file. Volatile until synced.
    ///
    /// # Errors
    /// As the system reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// As the system reports.
    fn len(&self) -> io::Result<u64>;

    /// Makes the file's content and length durable (`fdatasync`). Not its name: that is
    /// [`Disk::sync_dir`]. After an error nothing is known about what is durable, and the handle must
    /// not be used again: a second sync may report success for data that was lost
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    ///
    /// # Errors
    /// As the system reports.
    fn sync_data(&self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// As the system reports.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// What is at a path; `None` when nothing is.
    ///
    /// # Errors
    /// As the system reports, except `NotFound`.
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// What a directory holds, in order of name.
    ///
    /// # Errors
    /// As the system reports.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Makes a directory and those above it, durable when this returns; mode 0700 for new ones.
    ///
    /// # Errors
    /// As the system reports.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing what was there. Volatile until `sync_dir`.
    ///
    /// # Errors
    /// As the system reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name; fails with `AlreadyExists` when it is taken. Volatile until `sync_dir`.
    ///
    /// # Errors
    /// As the system reports.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Volatile until `sync_dir`.
    ///
    /// # Errors
    /// As the system reports.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes new, changed and removed names in a directory durable.
    ///
    /// # Errors
    /// As the system reports.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}
