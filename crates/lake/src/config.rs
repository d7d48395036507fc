//! Settings of a lake.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_disk::Disk;

/// How a lake works. [`LakeConfig::new`] fills in the defaults.
#[derive(Clone)]
pub struct LakeConfig {
    /// The directory that holds `{dataset}/{table}/`.
    pub root: PathBuf,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// Where the libraries below run their asynchronous parts; a multi-threaded runtime.
    pub runtime: tokio::runtime::Handle,
    /// Whether this process only reads. It then never writes a byte and follows the writing process
    /// by [`crate::LakeTable::refresh`].
    pub read_only: bool,
    /// Most partition files that one commit writes. Rows of the least populated days beyond it go to
    /// the shared null partition.
    pub partition_files_max: usize,
    /// Zstandard level of data files.
    pub compression_level: i32,
    /// Whether the values of JSON paths that queries often ask for are kept in hidden columns beside the
    /// text. Costs some disk, saves most of the reading.
    pub typed_columns: bool,
    /// When small files are put together.
    pub compaction: CompactionConfig,
    /// How long a file stays after the table stopped referring to it. Must be longer than the longest
    /// query, and than the longest time between writing a file and committing it.
    pub removed_file_retention: Duration,
    /// How long log entries stay that a checkpoint has made superfluous.
    pub log_retention: Duration,
    /// Commits from one checkpoint to the next.
    pub checkpoint_interval_commits: u64,
    /// Pause between rounds of maintenance; `None` leaves maintenance to [`crate::LakeTable::maintain_now`].
    pub maintenance_interval: Option<Duration>,
    /// Most requests that wait for a table's committer.
    pub queue_requests_max: usize,
}

/// When small files of a partition are put together.
#[derive(Debug, Clone)]
pub struct CompactionConfig {
    /// The size that compaction works towards; files of half this size are left alone.
    pub target_bytes: u64,
    /// Fewest files of similar size worth putting together.
    pub files_min: usize,
    /// Most files put together at once.
    pub files_max: usize,
    /// Most rounds (one commit each) per table and maintenance, so that tables take turns.
    pub rounds_max: usize,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self { target_bytes: 128 * 1024 * 1024, files_min: 8, files_max: 64, rounds_max: 16 }
    }
}

impl LakeConfig {
    /// A writing lake with default settings.
    #[must_use]
    pub fn new(root: PathBuf, disk: Arc<dyn Disk>, runtime: tokio::runtime::Handle) -> Self {
        Self {
            root,
            disk,
            runtime,
            read_only: false,
            partition_files_max: 32,
            compression_level: 1,
            typed_columns: true,
            compaction: CompactionConfig::default(),
            removed_file_retention: Duration::from_secs(3600),
            log_retention: Duration::from_secs(3600),
            checkpoint_interval_commits: 100,
            maintenance_interval: Some(Duration::from_secs(10)),
            queue_requests_max: 16,
        }
    }
}

impl fmt::Debug for LakeConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LakeConfig")
            .field("root", &self.root)
            .field("read_only", &self.read_only)
            .field("compaction", &self.compaction)
            .field("removed_file_retention", &self.removed_file_retention)
            .finish_non_exhaustive()
    }
}
