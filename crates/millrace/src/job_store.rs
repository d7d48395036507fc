//! A pipeline's unfinished replay, as a file of the data directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use millrace_disk::{Disk as _, StdDisk, write_atomically};
use millrace_pipeline::replay::JobStore;

/// The file `replay/PIPELINE.json`; there is one while a replay is not done.
pub struct JobFile {
    path: PathBuf,
}

impl JobFile {
    /// The file of `pipeline` in `folder`, which is made when it is needed.
    pub fn new(folder: &Path, pipeline: &str) -> Self {
        // A pipeline's name holds no separator and begins with a letter.
        Self { path: folder.join(format!("{pipeline}.json")) }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> String {
        format!("cannot {what} {}: {error}", self.path.display())
    }
}

impl JobStore for JobFile {
    fn load(&self) -> Result<Option<String>, String> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    fn save(&self, text: &str) -> Result<(), String> {
        let root = self.folder().parent().unwrap_or(Path::new("."));
        StdDisk
            .create_dir_all(self.folder())
            .and_then(|()| StdDisk.sync_dir(root))
            .and_then(|()| write_atomically(&StdDisk, &self.path, text.as_bytes()))
            .map_err(|error| self.failed("write", &error))
    }

    fn clear(&self) -> Result<(), String> {
        match StdDisk.remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed("remove", &error)),
            _ => {}
        }
        // A name that comes back after a power loss is a job that the tables know to be done.
        StdDisk.sync_dir(self.folder()).map_err(|error| self.failed("remove", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_there_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let file = JobFile::new(&folder.path().join("replay"), "main");
        assert_eq!(file.load(), Ok(None));
        for text in ["first", "second"] {
            file.save(text).unwrap();
            assert_eq!(file.load(), Ok(Some(text.to_owned())));
        }
        file.clear().unwrap();
        file.clear().unwrap();
        assert_eq!(file.load(), Ok(None));
    }
}
