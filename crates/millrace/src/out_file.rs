//! A file that a command writes: whole and durable, or as it was before.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use millrace_disk::{Disk as _, DiskFile, OpenMode, StdDisk, TEMPORARY_SUFFIX};

/// A file on its way: under a temporary name beside its own until [`Self::finish`].
pub struct OutFile {
    file: Arc<dyn DiskFile>,
    written: u64,
    temporary: PathBuf,
    path: PathBuf,
}

impl OutFile {
    /// Begins a file that is to be at `path`, in the place of one that is there.
    ///
    /// # Errors
    /// When something else than a file is there, or none can be made beside it.
    pub fn create(path: &Path) -> Result<Self> {
        // What a link leads to is replaced, not the link.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            bail!("{} is not a file: name one, or leave --output out", path.display());
        }
        let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
        // Other commands may be writing the same file: the last one to finish wins.
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}{TEMPORARY_SUFFIX}", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let _ = StdDisk.remove_file(&temporary);
        let file = StdDisk
            .open(&temporary, OpenMode::CreateNew)
            .with_context(|| format!("cannot make a file beside {}", path.display()))?;
        Ok(Self { file, written: 0, temporary, path })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// As the system reports; then nothing is at the name that was not there before.
    pub fn finish(self) -> Result<()> {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        self.file
            .sync_data()
            .and_then(|()| StdDisk.rename(&self.temporary, &self.path))
            .and_then(|()| StdDisk.sync_dir(folder))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        // Renamed by now, or not wanted.
        let _ = StdDisk.remove_file(&self.temporary);
    }
}
