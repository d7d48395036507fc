//! What the simulated disk shows now and what it would show after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::crash;
use crate::{Entry, OpenMode};

/// A change to a file's content that a sync would make durable.
pub(super) enum FileChange {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A file, whatever its names.
#[derive(Default)]
pub(super) struct Inode {
    pub(super) current: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) pending: Vec<FileChange>,
    modified_micros: i64,
}

/// A change of names that a directory's sync would make durable.
pub(super) enum NameChange {
    Link { path: PathBuf, inode: u64 },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, inode: u64 },
}

/// The faults that a test ordered.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) syncs: u32,
    pub(super) writes: u32,
    pub(super) operations_left: Option<u64>,
    bytes_in_all_max: Option<u64>,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Power,
    Process,
}

/// Whether an operation is the one at which a process stops.
enum Step {
    Happens,
    Stops,
}

/// The whole disk.
pub(super) struct World {
    pub(super) rng: StdRng,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    pub(super) pending_names: Vec<NameChange>,
    directories: BTreeSet<PathBuf>,
    pub(super) faults: Faults,
    pub(super) operations: u64,
    pub(super) syncs: u64,
    inodes_made: u64,
    lives: u64,
    clock_micros: i64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            directories: BTreeSet::new(),
            faults: Faults::default(),
            operations: 0,
            syncs: 0,
            inodes_made: 0,
            lives: 0,
            clock_micros: 0,
        }
    }

    pub(super) fn life(&self) -> u64 {
        self.lives
    }

    pub(super) fn check_alive(&self, life: Option<u64>) -> io::Result<()> {
        let dead = life.is_some_and(|life| life != self.lives);
        if dead || self.faults.operations_left == Some(0) { Err(dead_process()) } else { Ok(()) }
    }

    pub(super) fn die(&mut self, death: Death) {
        self.lives += 1;
        self.faults.operations_left = None;
        if death == Death::Power {
            crash::lose_power(self);
        }
    }

    pub(super) fn set_free_bytes(&mut self, bytes: Option<u64>) {
        self.faults.bytes_in_all_max = bytes.map(|bytes| self.bytes_in_all() + bytes);
    }

    pub(super) fn flip_bit(&mut self, path: &Path, position: u64) -> io::Result<()> {
        let inode = *self.names.get(path).ok_or_else(|| not_found(path))?;
        let position = index(position)?;
        let inode = self.inodes.get_mut(&inode).ok_or_else(|| not_found(path))?;
        *inode.current.get_mut(position).ok_or_else(|| not_found(path))? ^= 1;
        if let Some(byte) = inode.durable.get_mut(position) {
            *byte ^= 1;
        }
        Ok(())
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        if mode != OpenMode::CreateNew {
            return self.names.get(path).copied().ok_or_else(|| not_found(path));
        }
        self.check_free(path)?;
        let step = self.step()?;
        let inode = self.inodes_made;
        self.inodes_made += 1;
        if self.happens(&step) {
            self.inodes.insert(inode, Inode { modified_micros: self.clock_micros, ..Inode::default() });
            self.change_names(NameChange::Link { path: path.to_path_buf(), inode });
        }
        finished(&step).map(|()| inode)
    }

    pub(super) fn entry(&self, path: &Path) -> Option<Entry> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(inode) = self.names.get(path).and_then(|inode| self.inodes.get(inode)) {
            let (len, modified_micros) = (inode.current.len() as u64, inode.modified_micros);
            return Some(Entry { name, is_dir: false, len, modified_micros });
        }
        self.directories.contains(path).then_some(Entry { name, is_dir: true, len: 0, modified_micros: 0 })
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        if !self.is_directory(path) {
            return Err(not_found(path));
        }
        let below = |candidate: &&PathBuf| candidate.parent() == Some(path);
        let files = self.names.keys().filter(below);
        let mut entries: Vec<_> =
            files.chain(self.directories.iter().filter(below)).filter_map(|path| self.entry(path)).collect();
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        for above in path.ancestors() {
            if self.names.contains_key(above) {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file has that name"));
            }
            self.directories.insert(above.to_path_buf());
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = *self.names.get(from).ok_or_else(|| not_found(from))?;
        self.check_directory_of(to)?;
        self.change(NameChange::Rename { from: from.to_path_buf(), to: to.to_path_buf(), inode })
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = *self.names.get(from).ok_or_else(|| not_found(from))?;
        self.check_free(to)?;
        self.change(NameChange::Link { path: to.to_path_buf(), inode })
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        if !self.names.contains_key(path) {
            return Err(not_found(path));
        }
        self.change(NameChange::Unlink { path: path.to_path_buf() })
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        if !self.is_directory(path) {
            return Err(not_found(path));
        }
        let step = self.step()?;
        if take_one(&mut self.faults.syncs) {
            return Err(failed_sync());
        }
        if self.happens(&step) {
            let (synced, rest) = std::mem::take(&mut self.pending_names)
                .into_iter()
                .partition::<Vec<_>, _>(|change| change.touches(path));
            self.pending_names = rest;
            synced.iter().for_each(|change| change.apply(&mut self.durable_names));
            self.syncs += 1;
        }
        finished(&step)
    }

    pub(super) fn read(&self, inode: u64, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let content = &self.inode(inode)?.current;
        let start = index(position)?.min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    pub(super) fn len(&self, inode: u64) -> io::Result<u64> {
        Ok(self.inode(inode)?.current.len() as u64)
    }

    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], position: u64) -> io::Result<()> {
        let position = index(position)?;
        let step = self.step()?;
        let broken = take_one(&mut self.faults.writes);
        let room = self.room_for(inode, position, bytes.len())?;
        let count = match (&step, broken) {
            (Step::Happens, false) => bytes.len(),
            _ => self.rng.random_range(0..=bytes.len()),
        };
        let count = count.min(room);
        if count > 0 {
            self.apply(inode, FileChange::Write { position, bytes: bytes[..count].to_vec() })?;
        }
        finished(&step)?;
        if broken {
            return Err(io::Error::other("simulated write error"));
        }
        if count < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn set_len(&mut self, inode: u64, len: u64) -> io::Result<()> {
        let len = index(len)?;
        let step = self.step()?;
        if self.happens(&step) {
            self.apply(inode, FileChange::SetLen(len))?;
        }
        finished(&step)
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        let step = self.step()?;
        let failing = take_one(&mut self.faults.syncs);
        let happens = self.happens(&step);
        let inode = self.inodes.get_mut(&inode).ok_or_else(|| not_found(Path::new("inode")))?;
        if failing {
            crash::fail_sync(&mut self.rng, inode);
            return Err(failed_sync());
        }
        if happens {
            for change in inode.pending.drain(..) {
                change.apply(&mut inode.durable);
            }
            self.syncs += 1;
        }
        finished(&step)
    }

    /// Counts one change; decides whether it is the one at which the process stops.
    fn step(&mut self) -> io::Result<Step> {
        self.operations += 1;
        self.clock_micros += 1;
        match &mut self.faults.operations_left {
            None => Ok(Step::Happens),
            Some(0) => Err(dead_process()),
            Some(left) => {
                *left -= 1;
                Ok(if *left == 0 { Step::Stops } else { Step::Happens })
            }
        }
    }

    fn happens(&mut self, step: &Step) -> bool {
        match step {
            Step::Happens => true,
            Step::Stops => self.rng.random(),
        }
    }

    fn change(&mut self, change: NameChange) -> io::Result<()> {
        let step = self.step()?;
        if self.happens(&step) {
            self.change_names(change);
        }
        finished(&step)
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }

    fn apply(&mut self, inode: u64, change: FileChange) -> io::Result<()> {
        let clock_micros = self.clock_micros;
        let inode = self.inodes.get_mut(&inode).ok_or_else(|| not_found(Path::new("inode")))?;
        change.apply(&mut inode.current);
        inode.modified_micros = clock_micros;
        inode.pending.push(change);
        Ok(())
    }

    /// How many of `count` bytes at `position` the disk has room for.
    fn room_for(&self, inode: u64, position: usize, count: usize) -> io::Result<usize> {
        let Some(max) = self.faults.bytes_in_all_max else { return Ok(count) };
        let len = self.inode(inode)?.current.len();
        let free = usize::try_from(max.saturating_sub(self.bytes_in_all())).unwrap_or(usize::MAX);
        Ok(count.min(len.saturating_add(free).saturating_sub(position)))
    }

    fn bytes_in_all(&self) -> u64 {
        let linked: BTreeSet<_> = self.names.values().collect();
        linked.iter().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.current.len() as u64).sum()
    }

    fn inode(&self, inode: u64) -> io::Result<&Inode> {
        self.inodes.get(&inode).ok_or_else(|| not_found(Path::new("inode")))
    }

    fn check_free(&self, path: &Path) -> io::Result<()> {
        self.check_directory_of(path)?;
        if self.names.contains_key(path) || self.directories.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    fn check_directory_of(&self, path: &Path) -> io::Result<()> {
        if path.parent().is_some_and(|parent| self.is_directory(parent)) {
            Ok(())
        } else {
            Err(not_found(path))
        }
    }

    fn is_directory(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.directories.contains(path)
    }
}

impl FileChange {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { position, bytes } => {
                let end = position + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*position..end].copy_from_slice(bytes);
            }
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Link { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }

    fn touches(&self, directory: &Path) -> bool {
        let inside = |path: &PathBuf| path.parent() == Some(directory);
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => inside(path),
            Self::Rename { from, to, .. } => inside(from) || inside(to),
        }
    }
}

fn take_one(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

fn finished(step: &Step) -> io::Result<()> {
    match step {
        Step::Happens => Ok(()),
        Step::Stops => Err(dead_process()),
    }
}

fn index(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn dead_process() -> io::Error {
    io::Error::other("the simulated process has died")
}

fn failed_sync() -> io::Error {
    io::Error::other("simulated sync error")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}
