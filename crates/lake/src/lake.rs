//! All tables under one directory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use deltalake_core::kernel::Action;
use millrace_table::TableSpec;
use serde_json::json;

use crate::committer::now_ms;
use crate::config::LakeConfig;
use crate::core::{TableCore, lock};
use crate::error::LakeError;
use crate::files;
use crate::load::LogReader;
use crate::log;
use crate::maintenance::{Caretaker, TableList};
use crate::meta::TableMeta;
use crate::schema::{self, Agreement};
use crate::state::TableState;
use crate::store::SyncedStore;
use crate::table::LakeTable;
use crate::typed;

/// Delta tables under one directory, `{root}/{dataset}/{table}/`, each an ordinary one that any Delta
/// reader opens. One process may write a lake at a time; the lock that sees to it is the caller's.
pub struct Lake {
    config: Arc<LakeConfig>,
    store: SyncedStore,
    tables: Mutex<BTreeMap<String, Arc<LakeTable>>>,
    cared_for: TableList,
    caretaker: Mutex<Option<Caretaker>>,
}

impl Lake {
    /// Opens a lake; its tables are opened one by one with [`table`](Self::table). A writing lake starts
    /// its maintenance.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn open(config: LakeConfig) -> Result<Arc<Self>, LakeError> {
        let store = SyncedStore::new(Arc::clone(&config.disk), config.root.clone(), config.read_only);
        let cared_for = TableList::default();
        let interval = config.maintenance_interval.filter(|_| !config.read_only);
        let caretaker = interval
            .map(|interval| Caretaker::start(Arc::clone(&cared_for), interval))
            .transpose()
            .map_err(LakeError::io("start maintenance of", &config.root))?;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            store,
            tables: Mutex::default(),
            cared_for,
            caretaker: Mutex::new(caretaker),
        }))
    }

    /// Opens a table, or makes it. Asked again for the same table, answers the one that is open.
    ///
    /// # Errors
    /// When the stored table contradicts the declaration, is damaged or cannot be read, or when it is
    /// not there and the lake only reads.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "declarations are shared, and this is the seam's signature"
    )]
    pub fn table(&self, dataset: &str, spec: Arc<TableSpec>) -> Result<Arc<LakeTable>, LakeError> {
        self.table_of(dataset, &spec.name, spec.arrow_schema())
    }

    /// The same for a table given by name and columns: the hidden ones included, the partition column last.
    ///
    /// # Errors
    /// See [`table`](Self::table).
    pub fn table_of(
        &self,
        dataset: &str,
        name: &str,
        schema: SchemaRef,
    ) -> Result<Arc<LakeTable>, LakeError> {
        let location = format!("{}/{}", checked_name(dataset)?, checked_name(name)?);
        let mut tables = lock(&self.tables);
        if let Some(open) = tables.get(&location) {
            return Ok(Arc::clone(open));
        }
        let table = Arc::new(self.open_table(&location, schema)?);
        lock(&self.cared_for).push(Arc::downgrade(&table));
        tables.insert(location, Arc::clone(&table));
        Ok(table)
    }

    /// The columns of a table on disk as it was declared, without those that the lake itself adds; `None`
    /// when there is no such table.
    ///
    /// # Errors
    /// When the table is damaged or cannot be read.
    pub fn columns(&self, dataset: &str, name: &str) -> Result<Option<SchemaRef>, LakeError> {
        let location = format!("{}/{}", checked_name(dataset)?, checked_name(name)?);
        let table_dir = self.config.root.join(&location);
        let entries = log::list(self.config.disk.as_ref(), &table_dir)?;
        if entries.iter().all(|entry| log::classify(&entry.name) == log::LogFile::Other) {
            return Ok(None);
        }
        let reader = LogReader::new(self.store.clone(), &location, self.config.runtime.clone())?;
        let stored = reader.meta()?.stored_schema().and_then(|stored| schema::declared_columns(&stored));
        stored.map(Some).map_err(|reason| LakeError::Schema { table: location.replace('/', "."), reason })
    }

    /// The names of a dataset's tables on disk, open or not, in order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn table_names(&self, dataset: &str) -> Result<Vec<String>, LakeError> {
        let directory = self.config.root.join(checked_name(dataset)?);
        let entries = match self.config.disk.read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(LakeError::io("list", &directory))?,
        };
        Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
    }

    /// Ends maintenance and all committers, behind what they are doing. Tables stay readable.
    pub fn shutdown(&self) {
        drop(lock(&self.caretaker).take());
        for table in lock(&self.tables).values() {
            table.close();
        }
    }

    fn open_table(&self, location: &str, schema: SchemaRef) -> Result<LakeTable, LakeError> {
        let label = location.replace('/', ".");
        let table_dir = self.config.root.join(location);
        let config = &self.config;
        let declared = schema;
        let schema = typed::extended(&declared, &self.config);
        let stored = schema::stored_schema(&schema)
            .map_err(|reason| LakeError::Schema { table: label.clone(), reason })?;
        let fresh = log::list(config.disk.as_ref(), &table_dir)?
            .iter()
            .all(|entry| log::classify(&entry.name) == log::LogFile::Other);
        match (fresh, config.read_only) {
            (true, true) => return Err(LakeError::Missing(label)),
            (true, false) => {
                let meta = TableMeta::new(&schema, &stored, config, &new_uuid()?, now_ms());
                write_meta(config, &table_dir, 0, "CREATE TABLE", &meta)?;
            }
            (false, true) => {}
            (false, false) => log::make_newest_durable(config.disk.as_ref(), &table_dir)?,
        }
        let reader = LogReader::new(self.store.clone(), location, config.runtime.clone())?;
        let mut state = reader.load(&schema)?;
        if let Some(changed) = self.changed_meta(&label, &state, &schema)? {
            write_meta(config, &table_dir, state.version + 1, "CHANGE COLUMN", &changed)?;
            state = reader.load(&schema)?;
        }
        let core = TableCore::new(
            label,
            table_dir,
            location.to_owned(),
            Arc::clone(config),
            declared,
            reader,
            state,
        )?;
        LakeTable::new(core, self.store.clone(), !config.read_only)
    }

    /// The metadata that the table must get before it is used, if any.
    fn changed_meta(
        &self,
        label: &str,
        state: &TableState,
        schema: &SchemaRef,
    ) -> Result<Option<TableMeta>, LakeError> {
        let error = |reason| LakeError::Schema { table: label.to_owned(), reason };
        let declared = schema::stored_schema(schema).map_err(error)?;
        let stored = state.meta.stored_schema().map_err(error)?;
        let agreement = schema::agree(&stored, &declared).map_err(error)?;
        let same = agreement == Agreement::Same && state.meta.has_properties_of(&self.config);
        Ok((!same && !self.config.read_only).then(|| state.meta.with_schema(schema, &declared, &self.config)))
    }
}

impl Drop for Lake {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn write_meta(
    config: &LakeConfig,
    table_dir: &std::path::Path,
    version: u64,
    operation: &str,
    meta: &TableMeta,
) -> Result<(), LakeError> {
    let path = log::entry_path(table_dir, version);
    let info = log::commit_info(operation, &json!({}), now_ms());
    let mut text = log::encode(&info, &[] as &[Action])
        .map_err(|error| LakeError::io("write", &path)(std::io::Error::other(error)))?
        .to_vec();
    for (key, action) in [("protocol", &meta.protocol), ("metaData", &meta.metadata)] {
        text.extend_from_slice(json!({ key: action }).to_string().as_bytes());
        text.push(b'\n');
    }
    files::create_new(config.disk.as_ref(), &path, &[text.into()]).map_err(LakeError::io("write", &path))
}

fn checked_name(name: &str) -> Result<&str, LakeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > 255 || !name.bytes().all(plain) {
        return Err(LakeError::Name(name.to_owned()));
    }
    Ok(name)
}

/// A version 4 UUID, as Delta wants for a table's id.
fn new_uuid() -> Result<String, LakeError> {
    let digits = files::random_name().map_err(LakeError::io("name a table in", std::path::Path::new("/")))?;
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default().to_owned();
    Ok(format!("{}-{}-4{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32)))
}
