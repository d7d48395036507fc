//! Reading a table from disk: one replay of its log, checkpoint included, by the Delta kernel.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use delta_kernel::actions::get_commit_schema;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::{Engine, Snapshot, SnapshotRef};
use delta_kernel_engine::DefaultEngineBuilder;
use delta_kernel_engine::executor::tokio::TokioMultiThreadExecutor;
use deltalake_core::kernel::Add;
use object_store::path::Path;
use url::Url;

use crate::error::LakeError;
use crate::meta::TableMeta;
use crate::state::{DataFile, TableState};
use crate::store::SyncedStore;

/// Log files that are read at once. The engine keeps a megabyte of buffers for each, and by default it
/// opens a thousand.
const FILES_AT_ONCE: NonZero<usize> = NonZero::new(4).unwrap();

/// Where a table is, for the library that reads its log.
pub(crate) struct LogReader {
    /// `{dataset}/{table}`, for messages.
    table: String,
    url: Url,
    store: SyncedStore,
    runtime: tokio::runtime::Handle,
}

impl LogReader {
    /// `location` is the table's directory below the store's root.
    pub(crate) fn new(
        store: SyncedStore,
        location: &str,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, LakeError> {
        // The scheme only has to be none that the library knows: paths go to our store as they are.
        let url = Url::parse(&format!("millrace:///{location}/"))
            .map_err(|error| LakeError::Log { table: location.to_owned(), reason: error.to_string() })?;
        Ok(Self { table: location.to_owned(), url, store, runtime })
    }

    /// Loads the newest version. `declared` is the Arrow schema to read statistics by.
    pub(crate) fn load(&self, declared: &SchemaRef) -> Result<TableState, LakeError> {
        let engine = self.engine();
        let snapshot = Snapshot::builder_for(self.url.clone())
            .build(engine.as_ref())
            .map_err(|error| self.error(&error))?;
        let meta = Arc::new(table_meta(&snapshot).map_err(|error| self.error(&error))?);
        if let Some(reason) = meta.hindrance() {
            return Err(LakeError::Unsupported { table: self.table.clone(), reason });
        }
        let mut replay = Replay::new(declared);
        let schema =
            get_commit_schema().project(&["add", "remove", "txn"]).map_err(|error| self.error(&error))?;
        let batches = snapshot
            .log_segment()
            .read_actions(engine.as_ref(), schema)
            .map_err(|error| self.error(&error))?;
        for batch in batches {
            let data = batch
                .and_then(|batch| ArrowEngineData::try_from_engine_data(batch.actions))
                .map_err(|error| self.error(&error))?;
            replay.take(&RecordBatch::from(data)).map_err(|reason| self.error(&reason))?;
        }
        Ok(replay.finish(snapshot.version(), snapshot.log_segment().checkpoint_version, meta))
    }

    /// What the newest version says of the table, its files not looked at.
    pub(crate) fn meta(&self) -> Result<TableMeta, LakeError> {
        let engine = self.engine();
        let snapshot = Snapshot::builder_for(self.url.clone())
            .build(engine.as_ref())
            .map_err(|error| self.error(&error))?;
        table_meta(&snapshot).map_err(|error| self.error(&error))
    }

    /// Writes a checkpoint of `version`, unless there is one.
    pub(crate) fn checkpoint(&self, version: u64) -> Result<(), LakeError> {
        let engine = self.engine();
        let snapshot = Snapshot::builder_for(self.url.clone())
            .at_version(version)
            .build(engine.as_ref())
            .map_err(|error| self.error(&error))?;
        snapshot.checkpoint(engine.as_ref(), None).map_err(|error| self.error(&error))?;
        Ok(())
    }

    fn engine(&self) -> Arc<dyn Engine> {
        let executor = Arc::new(TokioMultiThreadExecutor::new(self.runtime.clone()));
        let engine = DefaultEngineBuilder::new(Arc::new(self.store.clone()))
            .with_task_executor(executor)
            .with_buffer_size(FILES_AT_ONCE)
            .build();
        Arc::new(engine)
    }

    fn error(&self, error: &impl ToString) -> LakeError {
        LakeError::Log { table: self.table.clone(), reason: error.to_string() }
    }
}

fn table_meta(snapshot: &SnapshotRef) -> Result<TableMeta, serde_json::Error> {
    let configuration = snapshot.table_configuration();
    Ok(TableMeta {
        protocol: serde_json::to_value(configuration.protocol())?,
        metadata: serde_json::to_value(configuration.metadata())?,
    })
}

/// Folds batches of actions, newest first: the first word on a path or mark counts.
struct Replay<'a> {
    schema: &'a SchemaRef,
    seen: HashSet<String>,
    files: Vec<Arc<DataFile>>,
    tombstones: HashMap<String, i64>,
    marks: BTreeMap<String, i64>,
}

impl<'a> Replay<'a> {
    fn new(schema: &'a SchemaRef) -> Self {
        Self {
            schema,
            seen: HashSet::new(),
            files: Vec::new(),
            tombstones: HashMap::new(),
            marks: BTreeMap::new(),
        }
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), String> {
        if let Some(txn) = column(batch, "txn") {
            let (ids, versions) = (text(txn, "appId")?, whole(txn, "version")?);
            for row in present(txn, &ids) {
                let id = ids.as_string::<i32>().value(row);
                self.marks
                    .entry(id.to_owned())
                    .or_insert_with(|| versions.as_primitive::<Int64Type>().value(row));
            }
        }
        if let Some(remove) = column(batch, "remove") {
            let (paths, times) = (text(remove, "path")?, whole(remove, "deletionTimestamp")?);
            for row in present(remove, &paths) {
                let path = decode_path(paths.as_string::<i32>().value(row))?;
                if self.seen.insert(path.clone()) {
                    let times = times.as_primitive::<Int64Type>();
                    self.tombstones.insert(path, if times.is_null(row) { 0 } else { times.value(row) });
                }
            }
        }
        match column(batch, "add") {
            Some(add) => self.take_adds(add),
            None => Ok(()),
        }
    }

    fn take_adds(&mut self, add: &StructArray) -> Result<(), String> {
        let (paths, stats) = (text(add, "path")?, text(add, "stats")?);
        let (sizes, times) = (whole(add, "size")?, whole(add, "modificationTime")?);
        let partitions = field(add, "partitionValues")?;
        let vectors = field(add, "deletionVector")?;
        for row in present(add, &paths) {
            let path = decode_path(paths.as_string::<i32>().value(row))?;
            if !self.seen.insert(path.clone()) {
                continue;
            }
            if vectors.is_valid(row) {
                return Err(format!("file {path} has a deletion vector"));
            }
            let stats = stats.as_string::<i32>();
            let action = Add {
                path,
                partition_values: string_map(&partitions, row)?,
                size: sizes.as_primitive::<Int64Type>().value(row),
                modification_time: times.as_primitive::<Int64Type>().value(row),
                stats: stats.is_valid(row).then(|| stats.value(row).to_owned()),
                ..Add::default()
            };
            self.files.push(Arc::new(DataFile::from_add(&action, self.schema)?));
        }
        Ok(())
    }

    fn finish(mut self, version: u64, checkpoint: Option<u64>, meta: Arc<TableMeta>) -> TableState {
        self.files.sort_by(|left, right| (left.added_ms, &left.path).cmp(&(right.added_ms, &right.path)));
        TableState {
            version,
            checkpoint,
            meta,
            files: Arc::new(self.files),
            marks: Arc::new(self.marks),
            tombstones: Arc::new(self.tombstones),
        }
    }
}

/// Paths in the log are URIs; ours need no escapes, other writers' may have them.
fn decode_path(text: &str) -> Result<String, String> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    Path::from_url_path(text).map(String::from).map_err(|error| error.to_string())
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Option<&'b StructArray> {
    batch.column_by_name(name).and_then(|column| column.as_struct_opt())
}

/// The rows that have the action at all.
fn present<'b>(action: &'b StructArray, required: &'b ArrayRef) -> impl Iterator<Item = usize> + 'b {
    (0..action.len()).filter(|row| action.is_valid(*row) && required.is_valid(*row))
}

fn field(action: &StructArray, name: &str) -> Result<ArrayRef, String> {
    action.column_by_name(name).cloned().ok_or_else(|| format!("an action has no {name}"))
}

fn text(action: &StructArray, name: &str) -> Result<ArrayRef, String> {
    let found = field(action, name)?;
    found.as_string_opt::<i32>().is_some().then_some(()).ok_or_else(|| format!("{name} is not text"))?;
    Ok(found)
}

fn whole(action: &StructArray, name: &str) -> Result<ArrayRef, String> {
    let found = field(action, name)?;
    found
        .as_primitive_opt::<Int64Type>()
        .is_some()
        .then_some(())
        .ok_or_else(|| format!("{name} is not a whole number"))?;
    Ok(found)
}

fn string_map(column: &ArrayRef, row: usize) -> Result<HashMap<String, Option<String>>, String> {
    let map = column.as_map_opt().ok_or("partitionValues is not a map")?;
    let entries = map.value(row);
    let (keys, values) = match entries.columns() {
        [keys, values] => (keys.as_string_opt::<i32>(), values.as_string_opt::<i32>()),
        _ => (None, None),
    };
    let (keys, values) = keys.zip(values).ok_or("partitionValues does not map text to text")?;
    Ok((0..entries.len())
        .map(|index| {
            let value = values.is_valid(index).then(|| values.value(index).to_owned());
            (keys.value(index).to_owned(), value)
        })
        .collect())
}
