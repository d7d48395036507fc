//! What commands that write open when no server runs: the lock, and the tables of all pipelines.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use millrace_disk::StdDisk;
use millrace_lake::{Lake, LakeConfig};
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::data_dir::{DataDir, WriterLock};
use crate::reader::{self, OpenPipeline};
use crate::settings;
use crate::threads::{self, Work};

/// The tables, open for writing. The lock is held until it is dropped.
pub struct Writer {
    /// The pipelines and their tables.
    pub pipelines: Vec<OpenPipeline>,
    lake: Arc<Lake>,
    // Behind the lake, which stands on both.
    _runtime: Runtime,
    _lock: WriterLock,
}

impl Writer {
    /// Takes the lock and opens the tables.
    ///
    /// # Errors
    /// When there is no data directory, another process has the lock, or a table cannot be opened.
    pub fn open(config: &Config) -> Result<Self> {
        let data = DataDir::new(&config.data_dir);
        data.must_exist()?;
        let lock = data.lock()?;
        let runtime = threads::runtime(Work::Query)?;
        let lake_config = LakeConfig {
            maintenance_interval: None,
            ..settings::lake(config, &data, Arc::new(StdDisk), runtime.handle().clone())
        };
        let lake = Lake::open(lake_config).context("cannot open the lake")?;
        let mut pipelines = Vec::new();
        for (plan, export) in reader::plans(config, &data)? {
            let rows = lake.table(&plan.dataset, Arc::clone(&plan.table))?;
            let dead_letters = lake.table(&plan.dead_letter_dataset, Arc::clone(&plan.dead_letters))?;
            pipelines.push(OpenPipeline { plan, rows, dead_letters, export });
        }
        Ok(Self { pipelines, lake, _runtime: runtime, _lock: lock })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lake.shutdown();
    }
}
