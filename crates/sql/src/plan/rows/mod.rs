//! Subqueries in expressions that DataFusion has no plan for.
//!
//! One that reads no table but only arrays of the row around it, `(SELECT ... FROM UNNEST(t.array) ...)`,
//! becomes a function of that row ([`function`]), so no join is needed. `ARRAY(SELECT ...)` over tables becomes
//! an aggregate; EXISTS and IN outside conditions become a count and a list.

mod function;
mod run;

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, Spans};
use datafusion::logical_expr::expr::{AggregateFunction, Exists, InSubquery, ScalarFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, Subquery, lit,
};

use super::check::input_schema;
use super::operators::function as call;
use crate::error::{SqlError, from_datafusion};
use crate::functions::{self, ARRAY_OF};
use function::{Gives, RowsOf};

/// Replaces every such subquery.
///
/// # Errors
/// Subqueries over arrays with a clause that is not supported there.
pub(super) fn replace(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    plan.transform_up_with_subqueries(replace_in_node)
        .map(|replaced| replaced.data)
        .map_err(|error| from_datafusion(&error))
}

fn replace_in_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = input_schema(&plan);
    let names = NamePreserver::new(&plan);
    let condition = matches!(plan, LogicalPlan::Filter(_));
    let replaced = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let replaced = expr.transform_down(|expr| replace_expr(expr, &schema, condition))?;
        Ok(replaced.update_data(|expr| name.restore(expr)))
    })?;
    match replaced.transformed {
        true => Ok(Transformed::yes(replaced.data.recompute_schema()?)),
        false => Ok(replaced),
    }
}

/// `condition`: a semi join can answer EXISTS and IN.
fn replace_expr(expr: Expr, schema: &DFSchema, condition: bool) -> Result<Transformed<Expr>> {
    let rows = |subquery: &Subquery, gives| -> Result<Expr> { rows_of(subquery, schema, gives) };
    let replaced = match expr {
        Expr::ScalarFunction(array) if array.name() == ARRAY_OF => match array.args.as_slice() {
            [Expr::ScalarSubquery(subquery)] if of_arrays(subquery) => rows(subquery, Gives::Array)?,
            [Expr::ScalarSubquery(subquery)] if !subquery.outer_ref_columns.is_empty() => {
                return Err(SqlError::unsupported(
                    "ARRAY(SELECT ...) of a table's rows that depend on the row around it is not supported",
                )
                .hint("join the tables, and aggregate with ARRAY_AGG")
                .into());
            }
            [Expr::ScalarSubquery(subquery)] => {
                let listed = list(subquery.subquery.as_ref(), false)?;
                call("#or_empty", vec![scalar(listed, subquery)])?
            }
            _ => return Err(SqlError::internal("ARRAY of no subquery").into()),
        },
        Expr::ScalarSubquery(subquery) if of_arrays(&subquery) => rows(&subquery, Gives::Value)?,
        Expr::Exists(Exists { subquery, negated }) if of_arrays(&subquery) => {
            rows(&subquery, Gives::Exists { negated })?
        }
        Expr::Exists(Exists { subquery, negated }) if !condition => {
            let one =
                AggregateFunction::new_udf(aggregate("count")?, vec![lit(1_i64)], false, None, vec![], None);
            let counted = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
                .aggregate(Vec::<Expr>::new(), vec![Expr::AggregateFunction(one)])?
                .build()?;
            let count = scalar(counted, &subquery);
            if negated { count.eq(lit(0_i64)) } else { count.gt(lit(0_i64)) }
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) if of_arrays(&subquery) => {
            let wanted = expr.transform_down(|expr| replace_expr(expr, schema, condition))?.data;
            within(wanted, rows(&subquery, Gives::Array)?, negated)?
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated })
            if !condition && subquery.outer_ref_columns.is_empty() =>
        {
            let wanted = expr.transform_down(|expr| replace_expr(expr, schema, condition))?.data;
            let listed = list(subquery.subquery.as_ref(), true)?;
            within(wanted, scalar(listed, &subquery), negated)?
        }
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::new(replaced, true, TreeNodeRecursion::Jump))
}

fn within(wanted: Expr, array: Expr, negated: bool) -> Result<Expr> {
    let found = call("#in_array", vec![wanted, array])?;
    Ok(if negated { Expr::Not(Box::new(found)) } else { found })
}

fn scalar(plan: LogicalPlan, of: &Subquery) -> Expr {
    Expr::ScalarSubquery(Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns: of.outer_ref_columns.clone(),
        spans: Spans::new(),
    })
}

fn aggregate(name: &str) -> Result<Arc<AggregateUDF>> {
    functions::aggregate(name)
        .ok_or_else(|| SqlError::internal(format!("aggregate {name} is missing")).into())
}

/// Whether a subquery stands on the row around it alone.
fn of_arrays(subquery: &Subquery) -> bool {
    let mut correlated = false;
    let reads = subquery.subquery.apply(|node| {
        let reads = match node {
            LogicalPlan::TableScan(_) | LogicalPlan::Values(_) | LogicalPlan::RecursiveQuery(_) => true,
            LogicalPlan::EmptyRelation(empty) => !empty.produce_one_row,
            _ => false,
        };
        node.apply_expressions(|expr| {
            correlated |= expr.exists(|expr| Ok(matches!(expr, Expr::OuterReferenceColumn(..))))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if reads { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    correlated && matches!(reads, Ok(TreeNodeRecursion::Continue))
}

/// One row with the array of the values of a plan's one column, in its order.
fn list(plan: &LogicalPlan, distinct: bool) -> Result<LogicalPlan> {
    let only = |plan: &LogicalPlan| -> Result<Expr> {
        match plan.schema().columns().as_slice() {
            [column] => Ok(Expr::Column(column.clone())),
            _ => Err(SqlError::invalid("a subquery here has one column").into()),
        }
    };
    let (input, value, order) = match plan {
        LogicalPlan::Projection(projection) => {
            match (order_of(&projection.input), projection.expr.as_slice()) {
                (order, [value]) if !order.is_empty() => {
                    (projection.input.as_ref().clone(), value.clone(), order)
                }
                _ => (plan.clone(), only(plan)?, Vec::new()),
            }
        }
        _ => (plan.clone(), only(plan)?, order_of(plan)),
    };
    let order = if distinct { Vec::new() } else { order };
    let listed = AggregateFunction::new_udf(
        aggregate("array_agg")?,
        vec![value.unalias()],
        distinct,
        None,
        order,
        None,
    );
    let array = LogicalPlanBuilder::from(input)
        .aggregate(Vec::<Expr>::new(), vec![Expr::AggregateFunction(listed)])?
        .build()?;
    if !crate::types::is_json(&only(plan)?.to_field(plan.schema().as_ref())?.1) {
        return Ok(array);
    }
    let strings = only(&array)?;
    LogicalPlanBuilder::from(array).project(vec![call("#json_items", vec![strings])?])?.build()
}

/// The order that a plan's rows come in.
fn order_of(plan: &LogicalPlan) -> Vec<Sort> {
    match plan {
        LogicalPlan::Sort(sort) => sort.expr.clone(),
        LogicalPlan::Limit(limit) => order_of(&limit.input),
        _ => Vec::new(),
    }
}

/// The subquery as a function of the columns that it takes from the row around it.
fn rows_of(subquery: &Subquery, schema: &DFSchema, gives: Gives) -> Result<Expr> {
    let function = RowsOf::new(subquery.subquery.as_ref().clone(), gives)?;
    let arguments = function
        .outer()
        .iter()
        .map(|(field, column)| match schema.has_column(column) {
            true => Expr::Column(Column::clone(column)),
            // Of a row further out.
            false => Expr::OuterReferenceColumn(Arc::clone(field), column.clone()),
        })
        .collect();
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(function)), arguments)))
}
