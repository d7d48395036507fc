//! UNNEST of an array in the rows of the tables before it. It arrives as a lateral join of a subquery
//! that unnests one row's array, which DataFusion cannot run; here it becomes an unnest of the array as
//! one more column of those tables.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{NullHandling, Result};
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Subquery};

use crate::error::{SqlError, from_datafusion};

/// Rewrites every lateral join of an UNNEST.
///
/// # Errors
/// A lateral join of another kind, which no query of ours should lead to.
pub(super) fn beside(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Join(join) => match lateral(&join.right) {
            Some(subquery) => Ok(Transformed::yes(unnested(join, subquery)?)),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    })
    .map(|rewritten| rewritten.data)
    .map_err(|error| from_datafusion(&error))
}

fn lateral(plan: &LogicalPlan) -> Option<&Subquery> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some(subquery),
        LogicalPlan::SubqueryAlias(alias) => lateral(&alias.input),
        _ => None,
    }
}

fn unnested(join: &Join, subquery: &Subquery) -> Result<LogicalPlan> {
    let keeps_rows = match (join.join_type, &join.filter) {
        (JoinType::Inner, _) => false,
        (JoinType::Left, None | Some(Expr::Literal(..))) => true,
        (kind, _) => {
            return Err(SqlError::unsupported(format!("{kind} JOIN of UNNEST(column) is not supported"))
                .hint("use CROSS JOIN UNNEST, or LEFT JOIN UNNEST without a condition")
                .into());
        }
    };
    let before = join.left.schema().columns();
    let plan = over(&subquery.subquery, &join.left, keeps_rows)?;
    // Under the names that the join would have given.
    let found = plan.schema().columns();
    let named = found.into_iter().skip(before.len()).zip(join.right.schema().iter()).map(
        |(column, (qualifier, field))| {
            Expr::Column(column).alias_qualified(qualifier.cloned(), field.name().as_str())
        },
    );
    let columns: Vec<_> = before.into_iter().map(Expr::Column).chain(named).collect();
    let builder = LogicalPlanBuilder::from(plan).project(columns)?;
    match &join.filter {
        Some(filter) if !keeps_rows => builder.filter(filter.clone())?.build(),
        _ => builder.build(),
    }
}

/// The subquery with the rows before it instead of the one row without columns that it begins with, and
/// with their columns before its own.
fn over(plan: &LogicalPlan, before: &Arc<LogicalPlan>, keeps_rows: bool) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => Ok(before.as_ref().clone()),
        LogicalPlan::Projection(projection) => {
            let input = over(&projection.input, before, keeps_rows)?;
            let columns = before.schema().columns().into_iter().map(Expr::Column);
            let own = projection.expr.iter().map(|expr| {
                let here = expr.clone().transform_up(|expr| match expr {
                    // Others are of a query further out.
                    Expr::OuterReferenceColumn(_, column) if before.schema().has_column(&column) => {
                        Ok(Transformed::yes(Expr::Column(column)))
                    }
                    other => Ok(Transformed::no(other)),
                });
                // Known by the name that it had.
                here.map(|here| here.data.alias_if_changed(expr.schema_name().to_string()))?
            });
            let own = own.collect::<Result<Vec<_>>>()?;
            LogicalPlanBuilder::from(input).project(columns.chain(own))?.build()
        }
        LogicalPlan::Unnest(unnest) => {
            let input = over(&unnest.input, before, keeps_rows)?;
            let mut options = unnest.options.clone();
            if keeps_rows {
                options.null_handling = NullHandling::PreserveAndExpandEmpty;
            }
            LogicalPlanBuilder::from(input)
                .unnest_columns_with_options(unnest.exec_columns.clone(), options)?
                .build()
        }
        _ => Err(SqlError::unsupported("this lateral join is not supported").into()),
    }
}
