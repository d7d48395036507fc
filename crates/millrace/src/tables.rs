//! The lake's tables as the SQL engine asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use millrace_lake::{LakeTable, SnapshotParts};
use millrace_sql::{Catalog, SplitTable};

/// Open tables by `dataset.table`.
pub struct Tables {
    tables: BTreeMap<String, Arc<LakeTable>>,
}

impl Tables {
    /// No tables yet.
    pub fn new() -> Self {
        Self { tables: BTreeMap::new() }
    }

    /// Adds an open table.
    pub fn add(&mut self, dataset: &str, name: &str, table: Arc<LakeTable>) {
        self.tables.insert(format!("{dataset}.{name}"), table);
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &LakeTable)> {
        self.tables.iter().map(|(name, table)| (name.as_str(), table.as_ref()))
    }
}

impl Catalog for Tables {
    fn datasets(&self) -> Vec<String> {
        let mut datasets: Vec<_> =
            self.tables.keys().filter_map(|name| Some(name.split_once('.')?.0.to_owned())).collect();
        datasets.dedup();
        datasets
    }

    fn tables(&self, dataset: &str) -> Vec<String> {
        self.tables
            .keys()
            .filter_map(|name| name.split_once('.'))
            .filter(|(of, _)| *of == dataset)
            .map(|(_, table)| table.to_owned())
            .collect()
    }

    fn table(&self, dataset: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        let snapshot = self.tables.get(&format!("{dataset}.{name}"))?.snapshot();
        let Some(parts) = snapshot.parts else { return Some(snapshot.all) };
        let SnapshotParts { typed, alternates, untyped } = parts;
        Some(Arc::new(SplitTable { all: snapshot.all, typed, alternates, untyped }))
    }

    /// A commit without new rows (compaction, say) makes another version too: an answer that was kept is
    /// then made anew for nothing, and never kept wrongly.
    fn version(&self, dataset: &str, name: &str) -> Option<u64> {
        self.tables.get(&format!("{dataset}.{name}")).map(|table| table.stats().version)
    }
}
