//! The data directory: its layout, its lock, and the secret and address kept in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millrace_disk::{StdDisk, write_atomically};
use serde::{Deserialize, Serialize};

/// How often the lock is tried again, and what lies between.
const LOCK_ATTEMPTS_MAX: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Where things are under the data directory.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

/// Whose queries spill: what a server that died has left is removed by the next one, while commands may
/// be running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spill {
    /// The process that holds the lock.
    Server,
    /// Any number of others.
    Commands,
}

/// The right to write; given up when dropped, also by the death of the process.
#[derive(Debug)]
pub struct WriterLock {
    _file: File,
}

/// Where a running server can be reached, as it wrote it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAddress {
    /// Its process id.
    pub pid: u32,
    /// The HTTP API, for instance `http://127.0.0.1:8080`.
    pub http: String,
    /// The Pub/Sub port, when there is one.
    #[serde(default)]
    pub pubsub: Option<String>,
}

impl DataDir {
    /// The data directory at `root`, which need not exist yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The topics.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The tables.
    pub fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    /// Topics' and subscriptions' names, and how far subscriptions are.
    pub fn pubsub(&self) -> PathBuf {
        self.root.join("pubsub")
    }

    /// The user's views, unless the configuration names another folder.
    pub fn views(&self) -> PathBuf {
        self.root.join("views")
    }

    /// The stored results of materialised views.
    pub fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// Replays of dead letters that are not done.
    pub fn replays(&self) -> PathBuf {
        self.root.join("replay")
    }

    /// What queries of the server, or of commands, put on disk while they run.
    pub fn spill(&self, whose: Spill) -> PathBuf {
        self.root.join("spill").join(match whose {
            Spill::Server => "server",
            Spill::Commands => "commands",
        })
    }

    /// Small files of our own: the secret, the server's address, what was loaded.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Every version of a pipeline's UDF that ever ran, and when and why it did.
    pub fn udf_versions(&self, pipeline: &str) -> PathBuf {
        self.state().join("udf").join(pipeline)
    }

    /// Stretches of topics that are, or were, run again.
    pub fn reruns(&self) -> PathBuf {
        self.state().join("reruns")
    }

    /// Fails when there is no data directory: commands that only read make none.
    pub fn must_exist(&self) -> Result<()> {
        if !self.root.is_dir() {
            bail!(
                "no data directory at {}: start `millrace run`, or name it with --data-dir",
                self.root.display()
            );
        }
        Ok(())
    }

    /// Makes the directory, for its owner only, and takes the right to write in it.
    ///
    /// # Errors
    /// When another process has it; names that process.
    pub fn lock(&self) -> Result<WriterLock> {
        let make = || -> std::io::Result<File> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
            std::fs::set_permissions(&self.root, std::fs::Permissions::from_mode(0o700))?;
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.state())?;
            let path = self.root.join("lock");
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        let mut file =
            make().with_context(|| format!("cannot make the data directory {}", self.root.display()))?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                bail!(
                    "{} is in use by process {}: stop it first, or name another --data-dir",
                    self.root.display(),
                    if holder.trim().is_empty() { "(unknown)" } else { holder.trim() }
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", self.root.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("cannot write the lock in {}", self.root.display()))?;
        Ok(WriterLock { _file: file })
    }

    /// The secret key of insert ids, made at first use. Losing it only means that repeated requests
    /// from before are not recognised any more.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn dedup_secret(&self) -> Result<[u8; 32]> {
        let path = self.state().join("dedup-secret");
        match std::fs::read(&path) {
            Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).ok().with_context(|| {
                format!("{} is not 32 bytes: remove it to have a new one made", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).context("no randomness from the system")?;
                write_atomically(&StdDisk, &path, &secret)
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(secret)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes down where this server can be reached.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, address: &ServerAddress) -> Result<()> {
        let path = self.state().join("server.json");
        let text = serde_json::to_vec(address)?;
        write_atomically(&StdDisk, &path, &text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Where the running server can be reached; `None` when none holds the lock.
    ///
    /// # Errors
    /// When the address file is damaged.
    pub fn running_server(&self) -> Result<Option<ServerAddress>> {
        let Ok(file) = File::open(self.root.join("lock")) else { return Ok(None) };
        // A shared lock, given back at once: it can be had only when nobody holds the writer's.
        if file.try_lock_shared().is_ok() {
            return Ok(None);
        }
        let path = self.state().join("server.json");
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("{} is damaged: restart the server", path.display())),
            Err(_) => Ok(None),
        }
    }
}

/// Tries for a moment: who asks whether a server runs holds the lock while asking.
#[expect(clippy::disallowed_methods, reason = "a file lock has no wait with a timeout")]
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_ATTEMPTS_MAX {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    file.try_lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_and_the_directory_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(&folder.path().join("data"));
        assert!(data.must_exist().is_err());
        let lock = data.lock().unwrap();
        let mode = std::fs::metadata(folder.path().join("data")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let error = data.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        let address = ServerAddress { pid: 1, http: "http://127.0.0.1:1".to_owned(), pubsub: None };
        data.announce(&address).unwrap();
        assert_eq!(data.running_server().unwrap(), Some(address));
        drop(lock);
        assert_eq!(data.running_server().unwrap(), None);
        data.lock().unwrap();
    }

    #[test]
    fn the_secret_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path());
        let _lock = data.lock().unwrap();
        let secret = data.dedup_secret().unwrap();
        assert_ne!(secret, [0; 32]);
        assert_eq!(data.dedup_secret().unwrap(), secret);
    }
}
