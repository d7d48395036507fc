//! What DataFusion converts by itself and GoogleSQL refuses: values of different kinds in IN, CASE,
//! COALESCE and UNION.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Case, Expr, LogicalPlan, Operator};

use super::operators::{comparable, kind_of};
use crate::error::{SqlError, from_datafusion};
use crate::functions::scalar::no_signature;
use crate::types::Kind;

/// Checks a plan that has not been optimised yet, and converts the literals of IN lists.
///
/// # Errors
/// The first thing that GoogleSQL would refuse.
pub(super) fn check(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    plan.transform_up_with_subqueries(check_node)
        .map(|checked| checked.data)
        .map_err(|error| from_datafusion(&error))
}

fn check_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Union(union) = &plan {
        check_union(&union.inputs)?;
    }
    let mut schema = DFSchema::empty();
    for input in plan.inputs() {
        schema.merge(input.schema());
    }
    plan.map_expressions(|expr| expr.transform_up(|expr| check_expr(expr, &schema)))
}

fn check_union(inputs: &[std::sync::Arc<LogicalPlan>]) -> Result<()> {
    let Some((first, others)) = inputs.split_first() else { return Ok(()) };
    for other in others {
        for (index, (left, right)) in first.schema().fields().iter().zip(other.schema().fields()).enumerate()
        {
            let kinds = [Kind::of(left), Kind::of(right)];
            if !alike(&kinds) {
                let [left, right] = kinds.map(Kind::name);
                return Err(SqlError::invalid(format!(
                    "column {} of UNION is {left} in one query and {right} in another",
                    index + 1
                ))
                .hint("cast one of them")
                .into());
            }
        }
    }
    Ok(())
}

fn check_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::InList(InList { expr, list, negated }) => in_list(*expr, list, negated, schema),
        Expr::Case(case) => {
            check_case(&case, schema)?;
            Ok(Transformed::no(Expr::Case(case)))
        }
        Expr::ScalarFunction(call) if matches!(call.name(), "coalesce" | "nullif") => {
            let kinds = kinds(call.args.iter(), schema)?;
            match alike(&kinds) {
                true => Ok(Transformed::no(Expr::ScalarFunction(call))),
                false => Err(no_signature(&call.name().to_uppercase(), &kinds, None)
                    .hint("cast the arguments to one type")
                    .into()),
            }
        }
        Expr::Like(like) => {
            let kinds = [kind_of(&like.expr, schema)?, kind_of(&like.pattern, schema)?];
            match kinds.iter().all(|kind| matches!(kind, Kind::String | Kind::Bytes | Kind::Null)) {
                true => Ok(Transformed::no(Expr::Like(like))),
                false => Err(no_signature("operator LIKE", &kinds, None).into()),
            }
        }
        Expr::BinaryExpr(binary)
            if binary.op == Operator::IsDistinctFrom || binary.op == Operator::IsNotDistinctFrom =>
        {
            let kinds = [kind_of(&binary.left, schema)?, kind_of(&binary.right, schema)?];
            match alike(&kinds) {
                true => Ok(Transformed::no(Expr::BinaryExpr(binary))),
                false => Err(no_signature("operator IS DISTINCT FROM", &kinds, None).into()),
            }
        }
        other => Ok(Transformed::no(other)),
    }
}

fn in_list(expr: Expr, list: Vec<Expr>, negated: bool, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let kind = kind_of(&expr, schema)?;
    let list = list
        .into_iter()
        .map(|item| {
            let item_kind = kind_of(&item, schema)?;
            comparable("IN", expr.clone(), item, [kind, item_kind]).map(|(_, item)| item)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(Expr::InList(InList::new(Box::new(expr), list, negated))))
}

fn check_case(case: &Case, schema: &DFSchema) -> Result<()> {
    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref());
    let results = kinds(results, schema)?;
    if !alike(&results) {
        return Err(no_signature("CASE or IF", &results, None).hint("cast the results to one type").into());
    }
    let operand = case.expr.as_deref();
    for (when, _) in &case.when_then_expr {
        let kind = kind_of(when, schema)?;
        let fits = match operand {
            Some(operand) => alike(&[kind_of(operand, schema)?, kind]),
            None => matches!(kind, Kind::Bool | Kind::Null),
        };
        if !fits {
            return Err(
                SqlError::invalid(format!("a condition of CASE or IF is {}, not BOOL", kind.name())).into()
            );
        }
    }
    Ok(())
}

fn kinds<'a>(exprs: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Result<Vec<Kind>> {
    exprs.map(|expr| kind_of(expr, schema)).collect()
}

/// Whether values have a common type: one kind, or numbers only, NULL aside.
fn alike(kinds: &[Kind]) -> bool {
    let mut known = kinds.iter().filter(|kind| **kind != Kind::Null);
    match known.next() {
        None => true,
        Some(first) => known.all(|kind| kind == first || (kind.is_number() && first.is_number())),
    }
}
