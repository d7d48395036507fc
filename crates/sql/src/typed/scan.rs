//! A scan of a [`SplitTable`] with more columns, each computed part by part from what the part has.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, lit, when,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use millrace_jsonpath::typed::COLUMN_ALTERNATES;

use super::{KnownPaths, SplitTable, scalar_call};
use crate::functions;
use crate::optimize::share_json_parses;

/// A column that the table does not have: an expression over its columns of JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Virtual {
    pub(super) name: String,
    /// Over the table's columns, unqualified.
    pub(super) expr: Expr,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct TypedScan {
    table: SplitTable,
    known: Arc<KnownPaths>,
    virtuals: Vec<Virtual>,
    schema: SchemaRef,
}

/// What the rows of a part have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Typed,
    Alternates,
    Untyped,
}

impl TypedScan {
    pub(super) fn new(table: SplitTable) -> Self {
        let schema = table.all.schema();
        let known = Arc::new(KnownPaths::of(&schema));
        Self { table, known, virtuals: Vec::new(), schema }
    }

    pub(super) fn known(&self) -> &KnownPaths {
        &self.known
    }

    /// The scan with one more column; `None` when another column has that name already.
    pub(super) fn with(&self, added: &Virtual) -> Option<Self> {
        let same_name = self.virtuals.iter().find(|known| known.name == added.name);
        match same_name {
            Some(known) => (known == added).then(|| self.clone()),
            None => {
                let mut next = self.clone();
                next.virtuals.push(added.clone());
                let mut fields: Vec<_> = self.schema.fields().iter().cloned().collect();
                fields.push(Arc::new(Field::new(&added.name, DataType::Utf8, true)));
                next.schema = Arc::new(Schema::new(fields));
                Some(next)
            }
        }
    }

    /// An expression over this scan's columns as one over the columns of a part.
    fn in_part(&self, expr: &Expr, part: Part) -> Result<Expr> {
        let base = expr.clone().transform_up(|expr| match &expr {
            Expr::Column(column) => match self.virtuals.iter().find(|known| known.name == column.name) {
                Some(found) => Ok(Transformed::yes(found.expr.clone())),
                None => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(&column.name)))),
            },
            _ => Ok(Transformed::no(expr)),
        })?;
        let answered = base.data.transform_up(|expr| self.answer(expr, part))?;
        Ok(answered.data)
    }

    /// A call that takes a scalar out of JSON text, answered by the columns that the rows have.
    fn answer(&self, expr: Expr, part: Part) -> Result<Transformed<Expr>> {
        if let Some((column, steps)) = scalar_call(&expr) {
            if part == Part::Untyped {
                return Ok(Transformed::no(expr));
            }
            let path = (column.name.clone(), steps);
            if let Some(own) = self.known.own.get(&path) {
                return Ok(Transformed::yes(Expr::Column(Column::new_unqualified(own))));
            }
            return match (self.known.rare.get(&path), part) {
                (Some(_), Part::Typed) => Ok(Transformed::yes(lit(ScalarValue::Utf8(None)))),
                (Some(key), _) => Ok(Transformed::yes(rare(key)?)),
                (None, _) => Ok(Transformed::no(expr)),
            };
        }
        match expr {
            Expr::ScalarFunction(ScalarFunction { func, mut args }) if func.name() == "coalesce" => {
                args.retain(|arg| !matches!(arg, Expr::Literal(value, _) if value.is_null()));
                Ok(Transformed::yes(first_that_is(args)?))
            }
            other => Ok(Transformed::no(other)),
        }
    }

    async fn scan_part(
        &self,
        state: &dyn Session,
        (part, provider): (Part, &Arc<dyn TableProvider>),
        outputs: &[&Field],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let exprs = outputs
            .iter()
            .map(|field| {
                let column = Expr::Column(Column::new_unqualified(field.name()));
                Ok(self.in_part(&column, part)?.alias(field.name()))
            })
            .collect::<Result<Vec<_>>>()?;
        let filters = filters.iter().map(|filter| self.in_part(filter, part)).collect::<Result<Vec<_>>>()?;
        let wanted: BTreeSet<&str> =
            exprs.iter().flat_map(Expr::column_refs).map(|column| column.name.as_str()).collect();
        let schema = provider.schema();
        let projection: Vec<usize> =
            wanted.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?;
        let rows = provider.scan(state, Some(&projection), &filters, limit).await?;
        projected(state, rows, exprs)
    }
}

/// COALESCE as the CASE that runs: the function itself only stands for it in plans.
fn first_that_is(mut values: Vec<Expr>) -> Result<Expr> {
    let Some(last) = values.pop() else { return Ok(lit(ScalarValue::Utf8(None))) };
    let mut values = values.into_iter();
    let Some(first) = values.next() else { return Ok(last) };
    let mut case = when(first.clone().is_not_null(), first);
    for value in values {
        case.when(value.clone().is_not_null(), value);
    }
    case.otherwise(last)
}

/// The value that a row has for a rare spelling.
fn rare(key: &str) -> Result<Expr> {
    let alternates = Expr::Column(Column::new_unqualified(COLUMN_ALTERNATES));
    match functions::scalar("json_value") {
        Some(function) => Ok(function.call(vec![alternates, lit(format!("$.\"{key}\""))])),
        None => Err(crate::error::SqlError::internal("function json_value is missing").into()),
    }
}

/// A plan that makes `exprs` of the rows of `input`, each JSON text being read once.
fn projected(
    state: &dyn Session,
    input: Arc<dyn ExecutionPlan>,
    exprs: Vec<Expr>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns = datafusion::datasource::empty::EmptyTable::new(input.schema());
    let logical = LogicalPlanBuilder::scan("part", provider_as_source(Arc::new(columns)), None)?
        .project(exprs)?
        .build()?;
    let mut steps = Vec::new();
    let mut next = &share_json_parses(logical)?;
    while let LogicalPlan::Projection(projection) = next {
        steps.push(projection);
        next = &projection.input;
    }
    let mut plan = input;
    for step in steps.into_iter().rev() {
        let schema = DFSchema::try_from(plan.schema())?;
        let exprs = step.expr.iter().zip(step.schema.fields()).map(|(expr, field)| {
            let unqualified = expr.clone().transform_up(|expr| match expr {
                Expr::Column(column) => {
                    Ok(Transformed::yes(Expr::Column(Column::new_unqualified(column.name))))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok((state.create_physical_expr(unqualified.data.unalias(), &schema)?, field.name().clone()))
        });
        plan = Arc::new(ProjectionExec::try_new(exprs.collect::<Result<Vec<_>>>()?, plan)?);
    }
    Ok(plan)
}

#[async_trait]
impl TableProvider for TypedScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.table.all.statistics()?.num_rows;
        Some(Statistics::new_unknown(&self.schema).with_num_rows(rows))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let outputs: Vec<&Field> = schema.fields().iter().map(AsRef::as_ref).collect();
        let parts = [
            (Part::Typed, &self.table.typed),
            (Part::Alternates, &self.table.alternates),
            (Part::Untyped, &self.table.untyped),
        ];
        let mut plans = Vec::new();
        for (part, provider) in parts {
            if let Some(provider) = provider {
                plans.push(self.scan_part(state, (part, provider), &outputs, filters, limit).await?);
            }
        }
        match plans.is_empty() {
            true => Ok(Arc::new(EmptyExec::new(schema))),
            false => UnionExec::try_new(plans),
        }
    }
}
