//! The real file system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::{Disk, DiskFile, Entry, OpenMode};

/// The real file system. New directories have mode 0700 and new files 0600: what is in them is the
/// user's prompts and answers, and nobody else's on a shared machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct StdDisk;

struct StdFile(File);

impl DiskFile for StdFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for StdDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(StdFile(options.open(path)?)))
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(entry_of(name, &metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for item in fs::read_dir(path)? {
            let item = item?;
            // A name removed between listing and looking is simply not there.
            match fs::metadata(item.path()) {
                Ok(metadata) => {
                    entries.push(entry_of(item.file_name().to_string_lossy().into_owned(), &metadata));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> =
            path.ancestors().take_while(|above| !above.is_dir()).map(Path::to_path_buf).collect();
        for directory in missing.iter().rev().filter(|directory| !directory.as_os_str().is_empty()) {
            match DirBuilder::new().mode(0o700).create(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
                Err(error) => return Err(error),
            }
            if let Some(parent) = directory.parent() {
                self.sync_dir(parent)?;
            }
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that the others are told to use")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }
}

fn entry_of(name: String, metadata: &fs::Metadata) -> Entry {
    let modified_micros = metadata
        .modified()
        .ok()
        .and_then(|moment| moment.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or(0);
    Entry { name, is_dir: metadata.is_dir(), len: metadata.len(), modified_micros }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Scenario: directories and files are made on the real disk.
    /// Guarantees: nobody but the owner can read them, reads stop at the end, and listing is in order.
    #[test]
    fn files_are_private_and_positions_are_honoured() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        StdDisk.create_dir_all(&directory).unwrap();
        StdDisk.create_dir_all(&directory).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home.path().join("a")), mode(&directory)), (0o700, 0o700));

        let path = directory.join("z");
        let file = StdDisk.open(&path, OpenMode::CreateNew).unwrap();
        assert_eq!(mode(&path), 0o600);
        file.write_all_at(b"world", 5).unwrap();
        file.write_all_at(b"hello", 0).unwrap();
        file.sync_data().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(file.read_at(&mut buffer, 3).unwrap(), 7);
        assert_eq!(&buffer[..7], b"loworld");
        let taken = StdDisk.open(&path, OpenMode::CreateNew).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);

        StdDisk.hard_link(&path, &directory.join("a")).unwrap();
        StdDisk.sync_dir(&directory).unwrap();
        let names: Vec<_> =
            StdDisk.read_dir(&directory).unwrap().into_iter().map(|e| (e.name, e.len)).collect();
        assert_eq!(names, [("a".to_owned(), 10), ("z".to_owned(), 10)]);
        assert_eq!(StdDisk.entry(&directory.join("none")).unwrap(), None);
        assert!(StdDisk.entry(&directory).unwrap().unwrap().is_dir);
    }
}
