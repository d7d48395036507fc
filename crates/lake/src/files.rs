//! Durable steps with whole files: written under a temporary name, synced, then named, then the
//! directory synced. What these functions have answered `Ok` to survives a power loss.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millrace_disk::{Disk, DiskFile, OpenMode};

/// How temporary names begin. Listings of the store leave them out; vacuum removes forgotten ones.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

/// Bytes gathered before they are handed to the file system.
const WRITE_BUFFER_BYTES: usize = 1024 * 1024;

/// 128 random bits in 32 hexadecimal digits.
pub(crate) fn random_name() -> io::Result<String> {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The directory a file is in; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file that must not be there yet; fails with `AlreadyExists`. After any other error it is
/// unknown whether the file is there, and whether it would survive a power loss.
pub(crate) fn create_new(disk: &dyn Disk, path: &Path, content: &[Bytes]) -> io::Result<()> {
    let temp = write_temp(disk, path, content)?;
    let linked = disk.hard_link(&temp, path);
    // A temporary name left behind is harmless: vacuum removes it.
    let _ = disk.remove_file(&temp);
    linked?;
    disk.sync_dir(parent(path))
}

/// Puts a file in the place of what was there, if anything was. Readers see the old or the new whole.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, content: &[Bytes]) -> io::Result<()> {
    let temp = write_temp(disk, path, content)?;
    if let Err(error) = disk.rename(&temp, path) {
        let _ = disk.remove_file(&temp);
        return Err(error);
    }
    disk.sync_dir(parent(path))
}

/// Reads a whole file.
pub(crate) fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Bytes> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    read_range(file.as_ref(), 0, len)
}

/// Reads `len` bytes from `start`; an error when the file is shorter.
pub(crate) fn read_range(file: &dyn DiskFile, start: u64, len: u64) -> io::Result<Bytes> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut buffer = vec![0_u8; len];
    let mut filled = 0;
    while filled < len {
        let count = file.read_at(&mut buffer[filled..], start + filled as u64)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += count;
    }
    Ok(Bytes::from(buffer))
}

/// Opens a new file for writing, its directory made if need be.
pub(crate) fn open_new(disk: &dyn Disk, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    match disk.open(path, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.create_dir_all(parent(path))?;
            disk.open(path, OpenMode::CreateNew)
        }
        other => other,
    }
}

/// A fresh temporary name beside `path`.
pub(crate) fn temp_beside(path: &Path) -> io::Result<PathBuf> {
    Ok(parent(path).join(format!("{TEMP_PREFIX}{}", random_name()?)))
}

fn write_temp(disk: &dyn Disk, path: &Path, content: &[Bytes]) -> io::Result<PathBuf> {
    let temp = temp_beside(path)?;
    let file = open_new(disk, &temp)?;
    let mut position = 0;
    let written = content.iter().try_for_each(|part| {
        file.write_all_at(part, position)?;
        position += part.len() as u64;
        Ok(())
    });
    if let Err(error) = written.and_then(|()| file.sync_data()) {
        let _ = disk.remove_file(&temp);
        return Err(error);
    }
    Ok(temp)
}

/// A file written from front to back through a buffer.
pub(crate) struct FileWriter {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    position: u64,
}

impl FileWriter {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, buffer: Vec::new(), position: 0 }
    }

    /// Writes what is buffered and makes the file's content durable; answers its length in bytes.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        io::Write::flush(&mut self)?;
        self.file.sync_data()?;
        Ok(self.position)
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > WRITE_BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= WRITE_BUFFER_BYTES {
            self.file.write_all_at(bytes, self.position)?;
            self.position += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_all_at(&self.buffer, self.position)?;
            self.position += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}
