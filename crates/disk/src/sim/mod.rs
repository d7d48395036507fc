//! A simulated disk that keeps only what it was made to keep: for tests against power loss, process
//! death, failing syncs and full disks. Everything that happens follows from a seed.
//!
//! The model is the one of ALICE (Pillai et al., OSDI 2014) with Linux's behaviour after a failed sync
//! (Rebello et al., ATC 2020):
//!
//! - A write is visible at once and durable after the file's next successful sync. When the power
//!   goes, each unsynced write survives wholly, torn, or not at all, in any order.
//! - A name (made, changed or removed) is durable after its directory's next successful sync; unsynced
//!   ones survive or not, each on its own. A file's sync does not make its name durable.
//! - After a failed sync the written data stays readable, but what of it reached the disk is a matter
//!   of chance, and a later successful sync does not repair that: only writing it again does. A
//!   changed length stays with the journal, which a later sync does write.

mod crash;
mod world;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile, Entry, OpenMode};
use world::{Death, World};

/// The simulated disk, or one process's view of it; see the module. Clones share the disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    /// `None` for the view that outlives every crash.
    life: Option<u64>,
}

struct SimFile {
    world: Arc<Mutex<World>>,
    inode: u64,
    life: u64,
    writable: bool,
}

impl SimDisk {
    /// An empty disk. The same seed and the same calls give the same disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed))), life: None }
    }

    /// A view for one process: unlike the view that [`new`](Self::new) gives, it dies at the next
    /// [`crash`](Self::crash) or [`kill`](Self::kill), so that threads that are still running for the
    /// dead process can do no harm.
    #[must_use]
    pub fn process(&self) -> Self {
        let life = lock(&self.world).life();
        Self { world: Arc::clone(&self.world), life: Some(life) }
    }

    /// The power goes: what was not synced survives in part and by chance, open files and processes die.
    pub fn crash(&self) {
        lock(&self.world).die(Death::Power);
    }

    /// The process dies: open files and processes' views die, everything written stays readable and is
    /// as unsynced as before.
    pub fn kill(&self) {
        lock(&self.world).die(Death::Process);
    }

    /// Lets `operations` more changes (writes, lengths, names, syncs) happen, then fails everything until
    /// the next [`crash`](Self::crash) or [`kill`](Self::kill): dying in the middle of something. The
    /// operation at which it stops may have happened, in part or wholly.
    pub fn halt_after(&self, operations: u64) {
        lock(&self.world).faults.operations_left = Some(operations);
    }

    /// Makes the next `count` syncs (of files and directories) fail.
    pub fn fail_next_syncs(&self, count: u32) {
        lock(&self.world).faults.syncs = count;
    }

    /// Makes the next `count` writes fail with an I/O error after writing some part.
    pub fn fail_writes(&self, count: u32) {
        lock(&self.world).faults.writes = count;
    }

    /// Lets files grow by `bytes` more in all (removing files gives room back); `None` is no limit.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        lock(&self.world).set_free_bytes(bytes);
    }

    /// Changes one bit of a file, durably and without a trace: a disk that lies.
    ///
    /// # Errors
    /// `NotFound` when there is no such byte.
    pub fn flip_bit(&self, path: &Path, position: u64) -> io::Result<()> {
        lock(&self.world).flip_bit(path, position)
    }

    /// How many changes and syncs have happened so far: what [`halt_after`](Self::halt_after) counts.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.world).operations
    }

    /// How many syncs of files and directories have succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        lock(&self.world).syncs
    }

    fn living(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = lock(&self.world);
        world.check_alive(self.life)?;
        Ok(world)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.living()?;
        let inode = world.open(path, mode)?;
        let life = world.life();
        drop(world);
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(SimFile { world: Arc::clone(&self.world), inode, life, writable }))
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self.living()?.entry(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.living()?.read_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.living()?.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.living()?.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.living()?.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.living()?.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.living()?.sync_dir(path)
    }
}

impl SimFile {
    fn living(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = lock(&self.world);
        world.check_alive(Some(self.life))?;
        Ok(world)
    }

    fn writing(&self) -> io::Result<MutexGuard<'_, World>> {
        if self.writable {
            self.living()
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file was opened to read only"))
        }
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.living()?.read(self.inode, buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.writing()?.write(self.inode, bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writing()?.set_len(self.inode, len)
    }

    fn len(&self) -> io::Result<u64> {
        self.living()?.len(self.inode)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.living()?.sync(self.inode)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
