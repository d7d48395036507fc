//! From a rewritten tree to a logical plan: finds tables and views, chooses functions by type, checks
//! what DataFusion would let pass.

mod check;
mod operators;
mod rows;
mod source;
mod unnest;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result as PlanResult, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::sql::planner::{NullOrdering, ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{Query, Statement};
use millrace_model::names::HIDDEN_COLUMNS;

use crate::catalog::Catalog;
use crate::error::{Code, SqlError, from_datafusion};
use crate::functions;
use crate::pseudonyms;
use crate::results::Results;
use crate::rewrite::{Columns, Fields, FoundTable, OutputColumn, Tables, rewrite};
use crate::suggest::nearest;
use crate::typed::METADATA_JSON_PATH;
use crate::views::{View, ViewOrigin, Views};
use operators::Operators;
use source::PlanSource;

/// How deep views may stand on views.
const VIEW_DEPTH_MAX: usize = 16;

/// A table or view as a query names it: its columns, and where its rows come from.
type Found = (Columns, Arc<dyn TableSource>);

/// What one query is planned with.
pub(crate) struct Planner<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) views: &'a Views,
    pub(crate) default_dataset: &'a str,
    pub(crate) options: &'a ConfigOptions,
    /// The moment that CURRENT_TIMESTAMP is.
    pub(crate) now_micros: i64,
    planners: Vec<Arc<dyn ExprPlanner>>,
    /// Tables and views found so far, by dataset and name.
    found: RefCell<HashMap<(String, String), Found>>,
    /// The views that are being planned, outermost first.
    open_views: RefCell<Vec<String>>,
    /// Stored results to read instead of computing materialised views; `None`: all are computed.
    results: Option<&'a Results>,
    /// The function that makes pseudonyms. Built-in views may call it, and nobody else.
    pseudonym: Option<&'a Arc<ScalarUDF>>,
    /// The views that were planned.
    used_views: RefCell<BTreeSet<String>>,
    /// The tables that were planned, `dataset.table`, with the versions that they had just before.
    used_tables: RefCell<BTreeMap<String, Option<u64>>>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        catalog: &'a dyn Catalog,
        views: &'a Views,
        default_dataset: &'a str,
        options: &'a ConfigOptions,
        now_micros: i64,
    ) -> Self {
        Self {
            catalog,
            views,
            default_dataset,
            options,
            now_micros,
            planners: vec![
                Arc::new(Operators),
                Arc::new(datafusion::functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion::functions::core::planner::CoreFunctionPlanner::default()),
                // COUNT(*) is theirs.
                Arc::new(datafusion::functions_aggregate::planner::AggregateFunctionPlanner),
                Arc::new(datafusion::functions_window::planner::WindowFunctionPlanner),
            ],
            found: RefCell::default(),
            open_views: RefCell::default(),
            results: None,
            pseudonym: None,
            used_views: RefCell::default(),
            used_tables: RefCell::default(),
        }
    }

    /// Reads stored results of materialised views where they are good enough.
    pub(crate) fn reading(mut self, results: &'a Results) -> Self {
        self.results = Some(results);
        self
    }

    /// Gives built-in views the function that makes pseudonyms.
    pub(crate) fn naming_people_by(mut self, pseudonym: Option<&'a Arc<ScalarUDF>>) -> Self {
        self.pseudonym = pseudonym;
        self
    }

    /// The views and the tables, with their versions, that all plans so far stand on.
    pub(crate) fn used(self) -> (BTreeSet<String>, BTreeMap<String, Option<u64>>) {
        (self.used_views.into_inner(), self.used_tables.into_inner())
    }

    /// Plans a query; returns its columns as results show them.
    ///
    /// # Errors
    /// Whatever is wrong with the query.
    pub(crate) fn plan(&self, mut query: Query) -> Result<(LogicalPlan, Columns), SqlError> {
        let columns = rewrite(&mut query, self)?;
        let options = ParserOptions {
            enable_ident_normalization: false,
            map_string_types_to_utf8view: false,
            // GoogleSQL sorts NULL as the smallest value.
            default_null_ordering: NullOrdering::NullsMin,
            ..ParserOptions::default()
        };
        let plan = SqlToRel::new_with_options(self, options)
            .sql_statement_to_plan(Statement::Query(Box::new(query)))
            .map_err(|error| self.explain(&error))?;
        let plan = rows::replace(check::check(unnest::beside(plan)?)?)?;
        if plan.schema().fields().len() != columns.len() {
            return Err(SqlError::internal("the plan has other columns than the query"));
        }
        Ok((plan, columns))
    }

    /// An error of planning, with columns in the spelling of their tables.
    fn explain(&self, error: &DataFusionError) -> SqlError {
        let explained = from_datafusion(error);
        let found = self.found.borrow();
        let shown = |name: &str| {
            let columns = found.values().flat_map(|(columns, _)| columns.iter());
            let mut spellings =
                columns.filter(|column| column.name.to_lowercase() == name).map(|column| &column.name);
            spellings.next().cloned()
        };
        if let Some(name) = ungrouped_column(&explained.message) {
            let name = shown(name).unwrap_or_else(|| name.to_owned());
            return SqlError::invalid(format!("{name} is neither grouped nor aggregated"))
                .hint(format!("add {name} to GROUP BY, or aggregate it: ANY_VALUE({name})"));
        }
        match explained.hint.as_deref().and_then(|hint| hint.strip_prefix("did you mean ")?.strip_suffix('?'))
        {
            Some(near) => match shown(near) {
                Some(spelled) => SqlError { hint: Some(format!("did you mean {spelled}?")), ..explained },
                None => explained,
            },
            None => explained,
        }
    }

    fn table_or_view(&self, dataset: &str, name: &str) -> Result<Option<Found>, SqlError> {
        match self.table(dataset, name)? {
            Some(found) => Ok(Some(found)),
            None if dataset == self.default_dataset => self.view(name),
            None => Ok(None),
        }
    }

    fn table(&self, dataset: &str, name: &str) -> Result<Option<Found>, SqlError> {
        // Before the table: what is asked for later may be newer, and must not be taken for older.
        let version = self.catalog.version(dataset, name);
        let Some(provider) = self.catalog.table(dataset, name) else { return Ok(None) };
        self.used_tables.borrow_mut().insert(format!("{dataset}.{name}"), version);
        let schema = provider.schema();
        let columns: Columns = schema
            .fields()
            .iter()
            .map(|field| OutputColumn {
                hidden: is_hidden(field),
                fields: fields_of(field),
                ..OutputColumn::shown(field.name().clone())
            })
            .collect();
        // The real names stay below this projection, for the provider's own filters and statistics.
        let lowered: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| {
                let column = Expr::Column(datafusion::common::Column::new(Some(name), field.name()));
                column.alias(field.name().to_lowercase())
            })
            .collect();
        let plan = LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(provider), None)
            .and_then(|builder| builder.project(lowered))
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| from_datafusion(&error))?;
        Ok(Some((columns, Arc::new(PlanSource::new(plan)))))
    }

    fn view(&self, name: &str) -> Result<Option<Found>, SqlError> {
        let Some(view) = self.views.get(name) else { return Ok(None) };
        if let Some(stored) = self.stored(name, view)? {
            return Ok(Some(stored));
        }
        let (plan, columns) = self.plan_view(name)?;
        Ok(Some((columns, Arc::new(PlanSource::new(plan)))))
    }

    /// Plans a view; inside, its columns are called by their lower-case names.
    ///
    /// # Errors
    /// When there is no such view, and whatever is wrong with it.
    pub(crate) fn plan_view(&self, name: &str) -> Result<(LogicalPlan, Columns), SqlError> {
        let missing = || SqlError::new(Code::NotFound, format!("view {name} does not exist"));
        let query = self.views.get(name).ok_or_else(missing)?.definition()?.query.clone();
        {
            let mut open = self.open_views.borrow_mut();
            if open.iter().any(|outer| outer == name) {
                return Err(SqlError::invalid(format!(
                    "view {name} stands on itself: {}",
                    open.join(" -> ")
                )));
            }
            if open.len() >= VIEW_DEPTH_MAX {
                return Err(SqlError::invalid(format!(
                    "views stand more than {VIEW_DEPTH_MAX} deep on one another"
                )));
            }
            open.push(name.to_owned());
        }
        self.used_views.borrow_mut().insert(name.to_owned());
        let planned = self.plan(query);
        self.open_views.borrow_mut().pop();
        let (plan, columns) = planned
            .map_err(|error| SqlError { message: format!("view {name}: {}", error.message), ..error })?;
        // Inside, columns are called by their lower-case names, whatever the plan called them.
        let named: Vec<_> = plan
            .schema()
            .columns()
            .into_iter()
            .zip(columns.iter())
            .map(|(column, shown)| Expr::Column(column).alias(shown.name.to_lowercase()))
            .collect();
        let plan = LogicalPlanBuilder::from(plan)
            .project(named)
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| from_datafusion(&error))?;
        Ok((plan, columns))
    }

    /// The stored result of a materialised view, when it is good enough to be read instead.
    fn stored(&self, name: &str, view: &View) -> Result<Option<Found>, SqlError> {
        let (Some(results), Some(kept)) = (self.results, view.materialized()) else { return Ok(None) };
        let usable = results.usable(name, kept, self.views, self.catalog, self.now_micros);
        let source = if usable.is_some() { "stored" } else { "computed" };
        metrics::counter!("millrace_view_reads_total", "view" => name.to_owned(), "source" => source)
            .increment(1);
        let Some(result) = usable else { return Ok(None) };
        let columns: Columns = result.columns().cloned().map(OutputColumn::shown).collect();
        let plan = LogicalPlanBuilder::scan(
            TableReference::bare(name),
            provider_as_source(result.provider()?),
            None,
        )
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| from_datafusion(&error))?;
        Ok(Some((columns, Arc::new(PlanSource::new(plan)))))
    }

    /// Whether the innermost view that is being planned is part of the program.
    fn in_built_in_view(&self) -> bool {
        let open = self.open_views.borrow();
        let innermost = open.last().and_then(|name| self.views.get(name));
        innermost.is_some_and(|view| view.origin == ViewOrigin::BuiltIn)
    }

    /// The rows of a table or view, under its columns' lower-case names and without the hidden ones;
    /// `None` when there is no such table or view.
    ///
    /// # Errors
    /// What is wrong with the view.
    pub(crate) fn relation(&self, dataset: &str, name: &str) -> Result<Option<LogicalPlan>, SqlError> {
        let found = self.table_or_view(dataset, name)?;
        let Some((columns, source)) = found else { return Ok(None) };
        let Some(plan) = source.get_logical_plan() else {
            return Err(SqlError::internal(format!("{dataset}.{name} has no plan")));
        };
        let shown = plan.schema().columns().into_iter().zip(columns.iter());
        let shown = shown.filter(|(_, shown)| !shown.hidden).map(|(column, _)| Expr::Column(column));
        let shown: Vec<_> = shown.collect();
        LogicalPlanBuilder::from(plan.into_owned())
            .project(shown)
            .and_then(LogicalPlanBuilder::build)
            .map(Some)
            .map_err(|error| from_datafusion(&error))
    }

    /// Says which name there is in place of one that there is not.
    pub(crate) fn not_found(&self, dataset: &str, name: &str) -> SqlError {
        let datasets = self.catalog.datasets();
        let is_default = dataset == self.default_dataset;
        if !is_default && !datasets.iter().any(|known| known == dataset) {
            let known = datasets.iter().map(String::as_str).chain([self.default_dataset]);
            return SqlError::new(Code::NotFound, format!("dataset {dataset} does not exist"))
                .maybe_hint(nearest(dataset, known).map(|near| format!("did you mean {near}?")));
        }
        let tables = self.catalog.tables(dataset);
        let views = self.views.names().filter(|_| is_default);
        let near = nearest(name, tables.iter().map(String::as_str).chain(views));
        let error = SqlError::new(Code::NotFound, format!("table {dataset}.{name} does not exist"));
        match near {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None if name.contains(['/', ':']) => {
                error.hint("files and addresses are not read; load them first")
            }
            None => error,
        }
    }
}

/// The fields of the structs that a column has arrays of.
fn fields_of(field: &Field) -> Option<Fields> {
    match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            DataType::Struct(fields) => Some(fields.iter().map(|field| field.name().clone()).collect()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether `SELECT *` leaves a column of a table out.
fn is_hidden(field: &Field) -> bool {
    HIDDEN_COLUMNS.contains(&field.name().as_str()) || field.metadata().contains_key(METADATA_JSON_PATH)
}

/// The column that DataFusion complains of because it is neither grouped nor aggregated.
fn ungrouped_column(message: &str) -> Option<&str> {
    if !message.contains("must appear in the GROUP BY clause")
        && !message.contains("must be part of an aggregate")
    {
        return None;
    }
    let (_, rest) = message.split_once("column \"")?;
    let (path, _) = rest.split_once('"')?;
    path.rsplit('.').next()
}

impl Tables for Planner<'_> {
    fn find(&self, path: &[String]) -> Result<FoundTable, SqlError> {
        // Everything here is of one project, so a project's name says nothing.
        let (dataset, name) = match path {
            [name] => (self.default_dataset, name),
            [dataset, name] | [_, dataset, name] => (dataset.as_str(), name),
            _ => {
                return Err(SqlError::new(Code::NotFound, format!("{} is not a table name", path.join(".")))
                    .hint("a table is named project.dataset.table, dataset.table or table"));
            }
        };
        let key = (dataset.to_owned(), name.clone());
        let known = self.found.borrow().get(&key).map(|(columns, _)| Rc::clone(columns));
        let columns = match known {
            Some(columns) => columns,
            None => {
                let found = self.table_or_view(dataset, name)?;
                let (columns, source) = found.ok_or_else(|| self.not_found(dataset, name))?;
                self.found.borrow_mut().insert(key, (Rc::clone(&columns), source));
                columns
            }
        };
        Ok(FoundTable { dataset: dataset.to_owned(), name: name.clone(), columns })
    }

    fn now_micros(&self) -> i64 {
        self.now_micros
    }
}

impl ContextProvider for Planner<'_> {
    fn get_table_source(&self, name: TableReference) -> PlanResult<Arc<dyn TableSource>> {
        let key = (name.schema().unwrap_or_default().to_owned(), name.table().to_owned());
        match self.found.borrow().get(&key) {
            Some((_, source)) => Ok(Arc::clone(source)),
            None => Err(SqlError::new(Code::NotFound, format!("table {name} does not exist")).into()),
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> PlanResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        match name {
            pseudonyms::NAME => self.pseudonym.filter(|_| self.in_built_in_view()).cloned(),
            _ => functions::scalar(name),
        }
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        functions::aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        functions::window(name)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.options
    }

    fn udf_names(&self) -> Vec<String> {
        functions::names().map(str::to_owned).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
