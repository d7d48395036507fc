//! The lake's tables as the SQL engine asks for them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use datafusion::catalog::TableProvider;
use millrace_lake::{LakeTable, SnapshotParts};
use millrace_sql::{Catalog, SplitTable};

/// Open tables by `dataset.table`. More may come while others are read.
pub struct Tables {
    tables: RwLock<BTreeMap<String, Arc<LakeTable>>>,
}

impl Tables {
    /// No tables yet.
    pub fn new() -> Self {
        Self { tables: RwLock::default() }
    }

    /// Adds an open table.
    pub fn add(&self, dataset: &str, name: &str, table: Arc<LakeTable>) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.insert(format!("{dataset}.{name}"), table);
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<(String, Arc<LakeTable>)> {
        self.read().iter().map(|(name, table)| (name.clone(), Arc::clone(table))).collect()
    }

    /// The table of that name, `dataset.table`.
    pub fn get(&self, name: &str) -> Option<Arc<LakeTable>> {
        self.read().get(name).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<LakeTable>>> {
        // A table is added in one step: a panicked holder cannot have broken anything.
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalog for Tables {
    fn datasets(&self) -> Vec<String> {
        let mut datasets: Vec<_> =
            self.read().keys().filter_map(|name| Some(name.split_once('.')?.0.to_owned())).collect();
        datasets.dedup();
        datasets
    }

    fn tables(&self, dataset: &str) -> Vec<String> {
        self.read()
            .keys()
            .filter_map(|name| name.split_once('.'))
            .filter(|(of, _)| *of == dataset)
            .map(|(_, table)| table.to_owned())
            .collect()
    }

    fn table(&self, dataset: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        let snapshot = self.get(&format!("{dataset}.{name}"))?.snapshot();
        let Some(parts) = snapshot.parts else { return Some(snapshot.all) };
        let SnapshotParts { typed, alternates, untyped } = parts;
        Some(Arc::new(SplitTable { all: snapshot.all, typed, alternates, untyped }))
    }

    /// A commit without new rows (compaction, say) makes another version too: an answer that was kept is
    /// then made anew for nothing, and never kept wrongly.
    fn version(&self, dataset: &str, name: &str) -> Option<u64> {
        self.get(&format!("{dataset}.{name}")).map(|table| table.stats().version)
    }
}
