//! What a table is at one version: its files and marks. Immutable; a commit makes the next one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use deltalake_core::kernel::{Action, Add, Remove};
use millrace_model::names::COLUMN_EVENT_DAY;

use crate::meta::TableMeta;
use crate::stats;

/// A data file that the table holds.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// Its path below the table's directory.
    pub(crate) path: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// The day its rows are filed under; `None` for the shared partition.
    pub(crate) day: Option<i32>,
    /// When it was added, milliseconds since 1970 UTC.
    pub(crate) added_ms: i64,
    /// What its `add` action says about its rows, for each of the table's columns.
    pub(crate) statistics: Arc<Statistics>,
}

impl DataFile {
    /// From an `add` action, for a table of Arrow schema `schema`; `Err` says what it has that this
    /// crate cannot read.
    pub(crate) fn from_add(add: &Add, schema: &SchemaRef) -> Result<Self, String> {
        if add.deletion_vector.is_some() {
            return Err(format!("file {} has a deletion vector", add.path));
        }
        let day = match add.partition_values.get(COLUMN_EVENT_DAY) {
            None | Some(None) => None,
            Some(Some(text)) if text.is_empty() => None,
            Some(Some(text)) => Some(
                stats::parse_day(text).ok_or_else(|| format!("file {} has the day {text:?}", add.path))?,
            ),
        };
        let size = u64::try_from(add.size).map_err(|_| format!("file {} has a negative size", add.path))?;
        let statistics = stats::statistics(schema, add.stats.as_deref(), size, day);
        Ok(Self {
            path: add.path.clone(),
            size,
            day,
            added_ms: add.modification_time,
            statistics: Arc::new(statistics),
        })
    }

    /// How many rows it says it has.
    pub(crate) fn rows(&self) -> Option<u64> {
        self.statistics.num_rows.get_value().map(|rows| *rows as u64)
    }

    /// The action that takes it out of the table. `data_change` is false when other files keep all its rows.
    pub(crate) fn to_remove(&self, now_ms: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(now_ms),
            extended_file_metadata: Some(true),
            partition_values: Some(partition_values(self.day)),
            size: i64::try_from(self.size).ok(),
            ..Remove::default()
        }
    }
}

/// The `partitionValues` of a file of that day.
pub(crate) fn partition_values(day: Option<i32>) -> HashMap<String, Option<String>> {
    HashMap::from([(COLUMN_EVENT_DAY.to_owned(), day.and_then(stats::day_text))])
}

/// A table at one version.
#[derive(Debug, Clone)]
pub(crate) struct TableState {
    /// The version.
    pub(crate) version: u64,
    /// The newest checkpoint's version when the table was loaded, if there was one.
    pub(crate) checkpoint: Option<u64>,
    /// Protocol and metadata.
    pub(crate) meta: Arc<TableMeta>,
    /// The files, oldest first.
    pub(crate) files: Arc<Vec<Arc<DataFile>>>,
    /// The marks (`txn` actions) by application id.
    pub(crate) marks: Arc<BTreeMap<String, i64>>,
    /// Files taken out of the table: path to the time of removal, milliseconds since 1970 UTC.
    pub(crate) tombstones: Arc<HashMap<String, i64>>,
}

impl TableState {
    /// The state after a commit of `actions` as the next version; `None` when they change the table's
    /// schema or protocol, which needs a new load.
    pub(crate) fn after(&self, actions: &[Action], schema: &SchemaRef) -> Result<Option<Self>, String> {
        let mut next = self.clone();
        next.version += 1;
        let mut removed = HashSet::new();
        let mut added = Vec::new();
        for action in actions {
            match action {
                Action::Add(add) => added.push(Arc::new(DataFile::from_add(add, schema)?)),
                Action::Remove(remove) => {
                    removed.insert(remove.path.as_str());
                    let tombstones = Arc::make_mut(&mut next.tombstones);
                    tombstones.insert(remove.path.clone(), remove.deletion_timestamp.unwrap_or_default());
                }
                Action::Txn(txn) => {
                    Arc::make_mut(&mut next.marks).insert(txn.app_id.clone(), txn.version);
                }
                Action::Metadata(_) | Action::Protocol(_) => return Ok(None),
                Action::CommitInfo(_) | Action::Cdc(_) | Action::DomainMetadata(_) => {}
            }
        }
        if !removed.is_empty() || !added.is_empty() {
            let files = Arc::make_mut(&mut next.files);
            if !removed.is_empty() {
                files.retain(|file| !removed.contains(file.path.as_str()));
            }
            files.extend(added);
        }
        Ok(Some(next))
    }

    /// The state without tombstones of files that are gone.
    pub(crate) fn without_tombstones(&self, gone: &[String]) -> Self {
        let mut next = self.clone();
        let tombstones = Arc::make_mut(&mut next.tombstones);
        for path in gone {
            tombstones.remove(path);
        }
        next
    }

    /// The rows of all files together, as far as they say.
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().filter_map(|file| file.rows()).sum()
    }

    /// The bytes of all files together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}
