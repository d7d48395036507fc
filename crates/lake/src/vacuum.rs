//! Removing files that the table does not refer to: those that compaction replaced, and what crashes
//! left behind. And log entries that a checkpoint made superfluous.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use millrace_disk::Entry;
use millrace_model::Micros;

use crate::committer::{Committer, Request};
use crate::core::TableCore;
use crate::error::LakeError;
use crate::files::TEMP_PREFIX;
use crate::log::{self, LOG_DIR};

/// Most files removed in one turn of the committer, so that commits do not wait long.
const UNLINKS_AT_ONCE: usize = 64;

/// Removes files unreferred to for longer than the configured retention; answers how many.
pub(crate) fn vacuum(core: &TableCore, committer: &Committer, now: Micros) -> Result<usize, LakeError> {
    let cutoff = now.minus(core.config.removed_file_retention);
    let state = core.state();
    let held: HashSet<&str> = state.files.iter().map(|file| file.path.as_str()).collect();
    let mut candidates = Vec::new();
    for entry in read_dir(core, &core.table_dir)? {
        if entry.is_dir {
            for file in read_dir(core, &core.table_dir.join(&entry.name))? {
                let path = format!("{}/{}", entry.name, file.name);
                let ours = file.name.starts_with(TEMP_PREFIX)
                    || (entry.name != LOG_DIR && file.name.ends_with(".parquet"));
                if ours && is_old(&file, cutoff) && !held.contains(path.as_str()) {
                    candidates.push(path);
                }
            }
        } else if entry.name.starts_with(TEMP_PREFIX) && is_old(&entry, cutoff) {
            candidates.push(entry.name);
        }
    }
    let mut removed = 0;
    for paths in candidates.chunks(UNLINKS_AT_ONCE) {
        let paths = paths.to_vec();
        removed += committer.ask(|reply| Request::Unlink { paths, cutoff_ms: cutoff.0 / 1000, reply })?.len();
    }
    Ok(removed)
}

/// Removes superfluous log entries; answers how many. Needs no turn of the committer: nobody reads or
/// writes them any more.
pub(crate) fn clean_log(core: &TableCore, now: Micros) -> Result<usize, LakeError> {
    let entries = log::list(core.disk(), &core.table_dir)?;
    let names = log::superfluous(&entries, now.minus(core.config.log_retention).0);
    let directory = core.table_dir.join(LOG_DIR);
    if !names.is_empty() {
        // The checkpoint that covers them may come from a process that died before it synced its name.
        core.disk().sync_dir(&directory).map_err(LakeError::io("sync", &directory))?;
    }
    for name in &names {
        let path = directory.join(name);
        match core.disk().remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LakeError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(names.len())
}

fn is_old(entry: &Entry, cutoff: Micros) -> bool {
    !entry.is_dir && Micros(entry.modified_micros).since(cutoff) == Duration::ZERO
}

fn read_dir(core: &TableCore, directory: &Path) -> Result<Vec<Entry>, LakeError> {
    match core.disk().read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(LakeError::io("list", directory)),
    }
}
