//! What tables there are, as the engine asks for them.

use std::sync::Arc;

use datafusion::catalog::TableProvider;

/// The tables that a query may read. Asked anew for every query, so what it returns is a snapshot that
/// stays readable while the query runs. Views are the engine's own and do not appear here.
pub trait Catalog: Send + Sync {
    /// The names of all datasets.
    fn datasets(&self) -> Vec<String>;

    /// The names of a dataset's tables; empty when there is no such dataset.
    fn tables(&self, dataset: &str) -> Vec<String>;

    /// A table by its exact name. Field metadata `bigquery_type` tells JSON and other types that Arrow
    /// has no type for from plain strings.
    fn table(&self, dataset: &str, name: &str) -> Option<Arc<dyn TableProvider>>;

    /// A number that is another whenever the table's rows may be: what is kept of an answer is good as
    /// long as it stays. Never of a newer state than [`Self::table`] asked for after it. `None`: unknown.
    fn version(&self, dataset: &str, name: &str) -> Option<u64> {
        let _ = (dataset, name);
        None
    }
}
