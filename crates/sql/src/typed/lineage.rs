//! Follows a column down a plan to the table it comes from, and carries a computed column up the same way.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, TableScan};

use super::SplitTable;
use super::scan::{TypedScan, Virtual};

/// The table that a column of `plan` comes from unchanged, and its name there.
pub(super) fn origin(plan: &LogicalPlan, column: &Column) -> Option<(TypedScan, String)> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, &below_alias(alias, column)?),
        LogicalPlan::Projection(projection) => {
            origin(&projection.input, below_projection(projection, column)?)
        }
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            origin(plan.inputs().first()?, column)
        }
        // Lets the columns of its input pass beside its own.
        LogicalPlan::Window(window) if window.input.schema().is_column_from_schema(column) => {
            origin(&window.input, column)
        }
        LogicalPlan::TableScan(scan) => Some((typed_scan(scan)?, column.name.clone())),
        _ => None,
    }
}

/// A scan that nothing has been pushed into yet.
fn typed_scan(scan: &TableScan) -> Option<TypedScan> {
    if scan.projection.is_some() || !scan.filters.is_empty() || scan.fetch.is_some() {
        return None;
    }
    let provider = source_as_provider(&scan.source).ok()?;
    if let Some(typed) = provider.downcast_ref::<TypedScan>() {
        return Some(typed.clone());
    }
    provider.downcast_ref::<SplitTable>().map(|table| TypedScan::new(table.clone()))
}

fn below_alias(alias: &SubqueryAlias, column: &Column) -> Option<Column> {
    let index = alias.schema.maybe_index_of_column(column)?;
    Some(alias.input.schema().columns().swap_remove(index))
}

fn below_projection<'p>(projection: &'p Projection, column: &Column) -> Option<&'p Column> {
    let index = projection.schema.maybe_index_of_column(column)?;
    match projection.expr.get(index)? {
        Expr::Column(below) => Some(below),
        Expr::Alias(alias) => alias.expr.try_as_col(),
        _ => None,
    }
}

/// The plan with one more column, and that column. `None` when it cannot be carried up.
pub(super) fn carry(plan: &LogicalPlan, added: &Virtual) -> Result<Option<(LogicalPlan, Column)>> {
    let known = plan.schema().iter().find(|(_, field)| *field.name() == added.name);
    if let Some((qualifier, field)) = known {
        return Ok(Some((plan.clone(), Column::new(qualifier.cloned(), field.name()))));
    }
    match plan {
        LogicalPlan::SubqueryAlias(alias) => {
            let Some((input, _)) = carry(&alias.input, added)? else { return Ok(None) };
            let column = Column::new(Some(alias.alias.clone()), &added.name);
            let plan = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
            Ok(Some((LogicalPlan::SubqueryAlias(plan), column)))
        }
        LogicalPlan::Projection(projection) => {
            let Some((input, below)) = carry(&projection.input, added)? else { return Ok(None) };
            let mut exprs = projection.expr.clone();
            exprs.push(Expr::Column(below).alias(&added.name));
            let plan = Projection::try_new(exprs, Arc::new(input))?;
            Ok(Some((LogicalPlan::Projection(plan), Column::new_unqualified(&added.name))))
        }
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Window(_) => {
            let [input] = plan.inputs()[..] else { return Ok(None) };
            let Some((input, column)) = carry(input, added)? else { return Ok(None) };
            Ok(Some((plan.with_new_exprs(plan.expressions(), vec![input])?, column)))
        }
        LogicalPlan::TableScan(scan) => {
            let Some(typed) = typed_scan(scan).and_then(|typed| typed.with(added)) else { return Ok(None) };
            let source = provider_as_source(Arc::new(typed));
            let plan = LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?.build()?;
            Ok(Some((plan, Column::new(Some(scan.table_name.clone()), &added.name))))
        }
        _ => Ok(None),
    }
}

/// An expression over a plan's columns as one over the columns of the table they come from.
pub(super) fn at_origin(plan: &LogicalPlan, expr: &Expr) -> Result<Option<Expr>> {
    let mut complete = true;
    let moved = expr.clone().transform_up(|expr| match &expr {
        Expr::Column(column) => match origin(plan, column) {
            Some((_, name)) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name)))),
            None => {
                complete = false;
                Ok(Transformed::no(expr))
            }
        },
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(complete.then_some(moved.data))
}
