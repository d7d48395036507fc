//! Tables and views as DataFusion's catalogue sees them: one catalogue named like the project, a schema for
//! each dataset.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::on_deep_stack;
use crate::engine::Inner;
use crate::error::SqlError;

/// The one catalogue: the datasets, and what a server registers beside them.
#[derive(Debug)]
pub(super) struct Datasets {
    engine: Arc<Inner>,
    registered: RwLock<BTreeMap<String, Arc<dyn SchemaProvider>>>,
}

impl Datasets {
    pub(super) fn new(engine: Arc<Inner>) -> Self {
        Self { engine, registered: RwLock::default() }
    }
}

impl CatalogProvider for Datasets {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.engine.datasets();
        names.extend(self.registered.read().unwrap_or_else(PoisonError::into_inner).keys().cloned());
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if let Some(known) = self.registered.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(Arc::clone(known));
        }
        let known = self.engine.datasets().iter().any(|dataset| dataset == name);
        known.then(|| Arc::new(Dataset { engine: Arc::clone(&self.engine), name: name.to_owned() }) as _)
    }

    fn register_schema(
        &self,
        name: &str,
        schema: Arc<dyn SchemaProvider>,
    ) -> Result<Option<Arc<dyn SchemaProvider>>> {
        let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        Ok(registered.insert(name.to_owned(), schema))
    }

    fn deregister_schema(&self, name: &str, _: bool) -> Result<Option<Arc<dyn SchemaProvider>>> {
        let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        Ok(registered.remove(name))
    }
}

/// A dataset. What it holds is asked anew each time.
#[derive(Debug)]
struct Dataset {
    engine: Arc<Inner>,
    name: String,
}

#[async_trait]
impl SchemaProvider for Dataset {
    fn table_names(&self) -> Vec<String> {
        self.engine.relations(&self.name).into_iter().map(|(name, _)| name).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(table_type) = self.table_type(name).await? else { return Ok(None) };
        let (engine, dataset, table) = (Arc::clone(&self.engine), self.name.clone(), name.to_owned());
        let plan = on_deep_stack(move || engine.relation(&dataset, &table)).await??;
        Ok(plan.map(|plan| Arc::new(Relation::new(plan, table_type)) as _))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let mut relations = self.engine.relations(&self.name).into_iter();
        Ok(relations.find(|(known, _)| known == name).map(|(_, table_type)| table_type))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.engine.relations(&self.name).iter().any(|(known, _)| known == name)
    }
}

/// A table or view, as the plan of its rows: queries are planned over that plan, so filters and columns
/// reach the files below it.
#[derive(Debug)]
struct Relation {
    plan: LogicalPlan,
    schema: SchemaRef,
    table_type: TableType,
}

impl Relation {
    fn new(plan: LogicalPlan, table_type: TableType) -> Self {
        let schema = Arc::clone(plan.schema().inner());
        Self { plan, schema, table_type }
    }
}

#[async_trait]
impl TableProvider for Relation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.table_type
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        internal_err!("a table or view is read through its plan")
    }
}

impl Inner {
    /// The names of all datasets; the default one is there even when it has no table.
    pub(super) fn datasets(&self) -> Vec<String> {
        let mut names = self.catalog.datasets();
        if !names.contains(&self.config.default_dataset) {
            names.push(self.config.default_dataset.clone());
        }
        names.sort();
        names.dedup();
        names
    }

    /// The tables and views of a dataset; a table hides a view of its name.
    pub(super) fn relations(&self, dataset: &str) -> Vec<(String, TableType)> {
        let mut relations: BTreeMap<String, TableType> = BTreeMap::new();
        if dataset == self.config.default_dataset {
            let views = self.views.current();
            relations.extend(views.names().map(|name| (name.to_owned(), TableType::View)));
        }
        relations.extend(self.catalog.tables(dataset).into_iter().map(|name| (name, TableType::Base)));
        relations.into_iter().collect()
    }

    /// The plan of a table or view: lower-case names, no hidden columns, a snapshot of now.
    fn relation(&self, dataset: &str, name: &str) -> std::result::Result<Option<LogicalPlan>, SqlError> {
        let (views, state) = (self.views.current(), self.state());
        self.planner(&views, &state).reading(&self.results).relation(dataset, name)
    }
}
