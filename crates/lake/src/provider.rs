//! A snapshot of a table as DataFusion reads it: files that cannot hold what a query wants are left
//! out by their partition and statistics before anything is opened.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, ScalarValue, Statistics, ToDFSchema as _};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::core::TableCore;
use crate::data_writer::file_schema;
use crate::row_filter::row_filter;
use crate::state::{DataFile, TableState};
use crate::store::SyncedStore;
use crate::typed::TypedColumns;

/// One version of a table for queries.
#[derive(Debug)]
pub struct TableSnapshot {
    /// The version.
    pub version: u64,
    /// All rows.
    pub all: Arc<dyn TableProvider>,
    /// The rows again, in parts; `None` for a table without hidden columns of JSON values.
    pub parts: Option<SnapshotParts>,
}

/// The rows of a table by their hidden columns of JSON values (`millrace_jsonpath::typed`). Each row is in
/// one part; a part without rows is `None`.
#[derive(Debug)]
pub struct SnapshotParts {
    /// All values are in the columns, and no row has a rare spelling.
    pub typed: Option<Arc<dyn TableProvider>>,
    /// All values are in the columns; those of rare spellings in `_alternates`.
    pub alternates: Option<Arc<dyn TableProvider>>,
    /// The columns are not filled, or by another list of paths.
    pub untyped: Option<Arc<dyn TableProvider>>,
}

impl TableSnapshot {
    pub(crate) fn new(core: &TableCore, state: &Arc<TableState>, store: &SyncedStore) -> Self {
        let provider = |files: Arc<Vec<Arc<DataFile>>>| -> Arc<dyn TableProvider> {
            Arc::new(LakeProvider {
                label: core.label.clone(),
                version: state.version,
                location: core.location.clone(),
                schema: Arc::clone(&core.schema),
                files,
                store: store.clone(),
            })
        };
        let parts = core.typed().map(|typed| {
            let part = |wanted: fn(&TypedColumns, &DataFile) -> bool| {
                let files: Vec<_> = state.files.iter().filter(|file| wanted(typed, file)).cloned().collect();
                (!files.is_empty()).then(|| provider(Arc::new(files)))
            };
            SnapshotParts {
                typed: part(|typed, file| typed.has(file) && typed.has_no_alternates(file)),
                alternates: part(|typed, file| typed.has(file) && !typed.has_no_alternates(file)),
                untyped: part(|typed, file| !typed.has(file)),
            }
        });
        Self { version: state.version, all: provider(Arc::clone(&state.files)), parts }
    }
}

/// Some files of one version of a table.
struct LakeProvider {
    label: String,
    version: u64,
    location: String,
    schema: SchemaRef,
    files: Arc<Vec<Arc<DataFile>>>,
    store: SyncedStore,
}

impl LakeProvider {
    /// The files that may hold rows for `filters`.
    fn files(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<Arc<DataFile>>> {
        let all = &self.files;
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(all.to_vec()) };
        let schema = Arc::clone(&self.schema).to_dfschema()?;
        let predicate = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .with_max_in_list_size(state.config_options().execution.parquet.max_in_list_size)
            .try_build(state.create_physical_expr(filter, &schema)?)?;
        let statistics = all.iter().map(|file| Arc::clone(&file.statistics)).collect();
        let keep = predicate.prune(&PrunableStatistics::new(statistics, Arc::clone(&self.schema)))?;
        Ok(all.iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| Arc::clone(file)).collect())
    }

    fn partitioned_file(&self, file: &DataFile) -> PartitionedFile {
        let mut partitioned = PartitionedFile::new_from_meta(ObjectMeta {
            location: Path::from(format!("{}/{}", self.location, file.path)),
            last_modified: DateTime::from_timestamp_millis(file.added_ms).unwrap_or_default(),
            size: file.size,
            e_tag: None,
            version: None,
        });
        partitioned.partition_values = vec![ScalarValue::Date32(file.day)];
        // Not by `with_statistics`, which takes a null partition value for a value that is not null.
        partitioned.statistics = Some(Arc::clone(&file.statistics));
        partitioned
    }
}

/// Shares out files so that each group has about as many bytes to read.
fn groups(mut files: Vec<PartitionedFile>, groups_max: usize) -> Vec<FileGroup> {
    files.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    let count = groups_max.min(files.len()).max(1);
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count];
    for file in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.object_meta.size;
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}

#[async_trait]
impl TableProvider for LakeProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Whole files, row groups and pages are passed by, and single rows for cheap conditions.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let files = self.files.iter().map(|file| file.statistics.as_ref());
        Statistics::try_merge_iter(files, &self.schema).ok()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.files(state, filters)?;
        let statistics = if files.is_empty() {
            Statistics::new_unknown(&self.schema).with_num_rows(Precision::Exact(0))
        } else {
            Statistics::try_merge_iter(files.iter().map(|file| file.statistics.as_ref()), &self.schema)?
        };
        let url = ObjectStoreUrl::parse(self.store.url())?;
        let store: Arc<dyn object_store::ObjectStore> = Arc::new(self.store.clone());
        let runtime = state.runtime_env();
        runtime.register_object_store(url.as_ref(), Arc::clone(&store));
        let cache = runtime.cache_manager.get_file_metadata_cache();

        let partition_columns: Vec<_> = self.schema.fields().last().cloned().into_iter().collect();
        let columns = TableSchema::builder(file_schema(&self.schema))
            .with_table_partition_cols(partition_columns)
            .build();
        let mut source = ParquetSource::new(columns)
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)));
        if let Some(filter) = row_filter(filters) {
            let schema = Arc::clone(&self.schema).to_dfschema()?;
            let predicate = state.create_physical_expr(filter, &schema)?;
            source = source.with_predicate(predicate).with_pushdown_filters(true);
        }
        let partitioned = files.iter().map(|file| self.partitioned_file(file)).collect();
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups(partitioned, state.config().target_partitions()))
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl fmt::Debug for LakeProvider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LakeProvider")
            .field("table", &self.label)
            .field("version", &self.version)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}
