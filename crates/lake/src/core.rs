//! What the parts of an open table share: where it is, its newest committed state, which files are
//! on their way into it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use millrace_disk::Disk;

use crate::config::LakeConfig;
use crate::data_reader::DataReader;
use crate::data_writer::DataWriter;
use crate::error::LakeError;
use crate::load::LogReader;
use crate::log;
use crate::state::TableState;
use crate::typed::{self, TypedColumns};

/// How often a reading process tries to read a log that is being cleaned up.
const LOADS_MAX: usize = 3;

/// See the module.
pub(crate) struct TableCore {
    /// `{dataset}.{table}`, for messages and metrics.
    pub(crate) label: String,
    /// The table's directory.
    pub(crate) table_dir: PathBuf,
    /// The table's directory below the lake's root, `{dataset}/{table}`.
    pub(crate) location: String,
    pub(crate) config: Arc<LakeConfig>,
    /// The columns of the rows that are committed, the partition column last.
    pub(crate) declared: SchemaRef,
    /// All columns, those filled here included, the partition column last.
    pub(crate) schema: SchemaRef,
    pub(crate) writer: DataWriter,
    pub(crate) reader: DataReader,
    pub(crate) log: LogReader,
    state: Mutex<Arc<TableState>>,
    pending: Mutex<BTreeSet<String>>,
}

impl TableCore {
    pub(crate) fn new(
        label: String,
        table_dir: PathBuf,
        location: String,
        config: Arc<LakeConfig>,
        declared: SchemaRef,
        log: LogReader,
        state: TableState,
    ) -> Result<Self, LakeError> {
        let disk = Arc::clone(&config.disk);
        let schema = typed::extended(&declared, &config);
        let writer =
            DataWriter::new(Arc::clone(&disk), table_dir.clone(), &schema, config.compression_level)?;
        let reader = DataReader { disk, table_dir: table_dir.clone(), table: label.clone() };
        Ok(Self {
            label,
            table_dir,
            location,
            config,
            declared,
            schema,
            writer,
            reader,
            log,
            state: Mutex::new(Arc::new(state)),
            pending: Mutex::default(),
        })
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.config.disk.as_ref()
    }

    /// The newest committed state. Cheap.
    pub(crate) fn state(&self) -> Arc<TableState> {
        Arc::clone(&lock(&self.state))
    }

    /// Shows a newer state to readers.
    pub(crate) fn publish(&self, state: TableState) -> Arc<TableState> {
        let state = Arc::new(state);
        *lock(&self.state) = Arc::clone(&state);
        state
    }

    /// A path for a new data file, which vacuum leaves alone until the guard is dropped.
    pub(crate) fn reserve(self: &Arc<Self>, day: Option<i32>) -> Result<Reserved, LakeError> {
        let path = DataWriter::new_path(day).map_err(LakeError::io("name a file in", &self.table_dir))?;
        lock(&self.pending).insert(path.clone());
        Ok(Reserved { core: Arc::clone(self), path })
    }

    /// Whether a data file is still on its way into the table.
    pub(crate) fn is_pending(&self, path: &str) -> bool {
        lock(&self.pending).contains(path)
    }

    /// What is known of the columns that are filled here; `None` when there are none.
    pub(crate) fn typed(&self) -> Option<&TypedColumns> {
        self.writer.typed()
    }

    /// Follows commits of the writing process: entry by entry, or by a new load when the log was cleaned
    /// up in between or the table's schema changed.
    pub(crate) fn refresh(&self) -> Result<(), LakeError> {
        let mut state = (*self.state()).clone();
        loop {
            match log::read(self.disk(), &self.table_dir, state.version + 1)? {
                Some(actions) => match state.after(&actions, &self.schema) {
                    Ok(Some(next)) => state = next,
                    Ok(None) => return self.reload().map(|_| ()),
                    Err(reason) => return Err(LakeError::Log { table: self.label.clone(), reason }),
                },
                None if log::checkpoint_hint(self.disk(), &self.table_dir) > Some(state.version) => {
                    return self.reload().map(|_| ());
                }
                None => break,
            }
        }
        self.publish(state);
        Ok(())
    }

    /// Reads the table from disk anew.
    pub(crate) fn reload(&self) -> Result<Arc<TableState>, LakeError> {
        let mut attempts = LOADS_MAX;
        loop {
            attempts -= 1;
            match self.log.load(&self.schema) {
                Ok(state) => {
                    self.check_schema(&state)?;
                    return Ok(self.publish(state));
                }
                // The writing process may have removed an entry between the listing and the reading.
                Err(LakeError::Log { .. }) if attempts > 0 && self.config.read_only => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn check_schema(&self, state: &TableState) -> Result<(), LakeError> {
        let error = |reason| LakeError::Schema { table: self.label.clone(), reason };
        let stored = state.meta.stored_schema().map_err(error)?;
        let declared = crate::schema::stored_schema(&self.schema).map_err(error)?;
        crate::schema::agree(&stored, &declared).map_err(error)?;
        Ok(())
    }
}

/// Keeps vacuum away from a data file that is being written or committed.
pub(crate) struct Reserved {
    core: Arc<TableCore>,
    /// The file's path below the table's directory.
    pub(crate) path: String,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        lock(&self.core.pending).remove(&self.path);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
