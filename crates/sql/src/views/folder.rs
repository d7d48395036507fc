//! The folder of the user's views.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::definition::VIEW_BYTES_MAX;
use crate::error::SqlError;

/// A file that is to be a view.
#[derive(Debug, Clone)]
pub(super) struct ViewFile {
    pub(super) path: PathBuf,
    /// Its text, or why it cannot be read.
    pub(super) text: Result<String, String>,
}

/// What tells a changed folder from an unchanged one without reading its files: each one's path, inode,
/// length in bytes and time of its last change in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing(Vec<(PathBuf, u64, u64, i128)>);

impl Listing {
    /// The `.sql` files in a folder, by name. A folder that is not there holds none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn of(folder: &Path) -> Result<Self, SqlError> {
        let failed = |error: std::io::Error| {
            SqlError::internal(format!("cannot read the folder of views {}: {error}", folder.display()))
                .hint("check the path and its permissions")
        };
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(failed)?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "sql") {
                continue;
            }
            // A file that went away, or a link that leads nowhere, is told when it is read.
            let stamp = std::fs::metadata(&path).map_or((0, 0, 0), |metadata| {
                let nanos = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
                (metadata.ino(), metadata.len(), nanos)
            });
            files.push((path, stamp.0, stamp.1, stamp.2));
        }
        files.sort();
        Ok(Self(files))
    }

    /// Reads the files.
    pub(super) fn read(&self) -> Vec<ViewFile> {
        self.0.iter().map(|(path, ..)| ViewFile { path: path.clone(), text: read(path) }).collect()
    }
}

fn read(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("this is not a file".to_owned());
    }
    let size = metadata.len();
    if size > VIEW_BYTES_MAX as u64 {
        return Err(format!("the file has {size} bytes, the limit is {VIEW_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}
