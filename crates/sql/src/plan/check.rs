//! What DataFusion converts by itself and GoogleSQL refuses: values of different kinds in IN, CASE,
//! COALESCE and UNION; and JSON where DataFusion would take it for a string.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::expr::{InList, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Case, Expr, LogicalPlan, Operator};

use super::operators::{comparable, function, kind_of};
use crate::error::{SqlError, from_datafusion};
use crate::functions::scalar::no_signature;
use crate::types::Kind;

/// Checks a plan that has not been optimised yet, and converts the literals of IN lists.
///
/// # Errors
/// The first thing that GoogleSQL would refuse.
pub(super) fn check(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    let types_changed = Cell::new(false);
    plan.transform_up_with_subqueries(|node| check_node(node, &types_changed))
        .map(|checked| checked.data)
        .map_err(|error| from_datafusion(&error))
}

fn check_node(plan: LogicalPlan, types_changed: &Cell<bool>) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Union(union) = &plan {
        check_union(&union.inputs)?;
    }
    let schema = input_schema(&plan);
    let names = NamePreserver::new(&plan);
    let checked = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let checked = expr.transform_up(|expr| check_expr(expr, &schema, types_changed))?;
        Ok(checked.update_data(|expr| name.restore(expr)))
    })?;
    // Marking a value as JSON changes the fields of its node and of all nodes above.
    match types_changed.get() {
        true => Ok(Transformed::yes(checked.data.recompute_schema()?)),
        false => Ok(checked),
    }
}

pub(super) fn input_schema(plan: &LogicalPlan) -> DFSchemaRef {
    match plan.inputs().as_slice() {
        [input] => Arc::clone(input.schema()),
        inputs => {
            let mut schema = DFSchema::empty();
            inputs.iter().for_each(|input| schema.merge(input.schema()));
            Arc::new(schema)
        }
    }
}

fn check_union(inputs: &[Arc<LogicalPlan>]) -> Result<()> {
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

fn check_expr(expr: Expr, schema: &DFSchema, types_changed: &Cell<bool>) -> Result<Transformed<Expr>> {
    match expr {
        Expr::AggregateFunction(call) => {
            check_json_argument(call.func.name(), &call.params.args, schema)?;
            Ok(Transformed::no(Expr::AggregateFunction(call)))
        }
        Expr::WindowFunction(call) => {
            check_json_argument(call.fun.name(), &call.params.args, schema)?;
            Ok(Transformed::no(Expr::WindowFunction(call)))
        }
        Expr::InSubquery(query) => {
            check_in_subquery(&query, schema)?;
            Ok(Transformed::no(Expr::InSubquery(query)))
        }
        Expr::InList(InList { expr, list, negated }) => in_list(*expr, list, negated, schema),
        Expr::Case(case) => {
            let json = check_case(&case, schema)?;
            as_json(Expr::Case(case), json, types_changed)
        }
        Expr::ScalarFunction(call) if matches!(call.name(), "coalesce" | "nullif") => {
            let kinds = kinds(call.args.iter(), schema)?;
            if !alike(&kinds) {
                return Err(no_signature(&call.name().to_uppercase(), &kinds, None)
                    .hint("cast the arguments to one type")
                    .into());
            }
            as_json(Expr::ScalarFunction(call), kinds.contains(&Kind::Json), types_changed)
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

/// Marks the value of an expression of DataFusion's as the JSON that it is.
fn as_json(expr: Expr, json: bool, types_changed: &Cell<bool>) -> Result<Transformed<Expr>> {
    if !json {
        return Ok(Transformed::no(expr));
    }
    types_changed.set(true);
    Ok(Transformed::yes(function("#json", vec![expr])?))
}

/// DataFusion's aggregates and window functions would hand JSON on as a string; only counting is safe.
fn check_json_argument(name: &str, args: &[Expr], schema: &DFSchema) -> Result<()> {
    let name = name.to_uppercase();
    if name != "COUNT" && kinds(args.iter(), schema)?.contains(&Kind::Json) {
        return Err(SqlError::unsupported(format!("{name} of JSON is not supported"))
            .hint(format!("take a value out with JSON_VALUE, or write {name}(TO_JSON_STRING(...))"))
            .into());
    }
    Ok(())
}

fn check_in_subquery(query: &InSubquery, schema: &DFSchema) -> Result<()> {
    let Some(found) = query.subquery.subquery.schema().fields().first() else { return Ok(()) };
    let kinds = [kind_of(&query.expr, schema)?, Kind::of(found)];
    match alike(&kinds) && !kinds.contains(&Kind::Json) {
        true => Ok(()),
        false => Err(no_signature("operator IN", &kinds, None).hint("cast one of them").into()),
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

/// Whether the results are JSON.
fn check_case(case: &Case, schema: &DFSchema) -> Result<bool> {
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
    Ok(results.contains(&Kind::Json))
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
