//! Whole files or none: the two ways a file comes into being without ever being seen half made.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Disk, OpenMode};

/// What temporary names end in. A file with such a name is nobody's: whoever owns a directory may
/// remove what a crash left there.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Puts `bytes` at `path`, durable when this returns; a crash leaves the old file or the new one. The
/// new file is made next to it under the same name with [`TEMPORARY_SUFFIX`], so one caller at a time
/// may write a given path.
///
/// # Errors
/// As the system reports. The old file is then still there, unless only the last step failed (the
/// directory's sync): then it is not known which of the two a crash would leave.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path);
    let made = make(disk, &temporary, bytes).and_then(|()| disk.rename(&temporary, path));
    if let Err(error) = made {
        // The first error is the one to report; a leftover is removed by the next write.
        let _ = disk.remove_file(&temporary);
        return Err(error);
    }
    disk.sync_dir(directory_of(path))
}

/// Gives a finished file its final name, durable when this returns, and never replaces another: of
/// several who try the same name, one succeeds. `temporary` must have been synced by whoever wrote it,
/// and its name is removed; where that fails, or a crash comes between, both names stay.
///
/// # Errors
/// `AlreadyExists` when the final name is taken (the temporary file then stays); else as the system
/// reports, and then the final name may or may not survive a crash.
pub fn publish(disk: &dyn Disk, temporary: &Path, destination: &Path) -> io::Result<()> {
    disk.hard_link(temporary, destination)?;
    disk.sync_dir(directory_of(destination))?;
    // The file is in place and durable: a leftover name must not make that look like a failure.
    let _ = disk.remove_file(temporary);
    Ok(())
}

fn make(disk: &dyn Disk, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = match disk.open(temporary, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left by a crash; a new file is made rather than its old pages used again.
            disk.remove_file(temporary)?;
            disk.open(temporary, OpenMode::CreateNew)?
        }
        other => other?,
    };
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(TEMPORARY_SUFFIX);
    path.with_file_name(name)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
