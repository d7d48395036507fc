//! Parses JSON text once per row however many paths are asked.
//!
//! Where one node asks for several paths of one column, a projection below it finds them all in one
//! pass, as one struct, and the node takes the fields. It runs after DataFusion's rules, which would push
//! the fields' uses through the projection again and so undo it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use crate::error::SqlError;
use crate::functions;
use crate::functions::json::{MULTI, literal_path, many_name};

/// Rewrites a plan that is ready to run.
///
/// # Errors
/// Only when the plan cannot be rebuilt, which is a mistake of ours.
pub(crate) fn share_json_parses(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(share_in_node).map(|shared| shared.data)
}

/// The paths that a node asks of one column, each as an argument of the function that finds all.
struct Wanted {
    column: Column,
    paths: Vec<String>,
}

fn share_in_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_)) {
        return Ok(Transformed::no(plan));
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for expr in plan.expressions() {
        collect(&expr, &mut wanted)?;
    }
    wanted.retain(|wanted| wanted.paths.len() > 1);
    if wanted.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let outputs = Arc::clone(plan.schema());
    let [input] = plan.inputs()[..] else { return Ok(Transformed::no(plan)) };
    let shared = with_structs(input.clone(), &wanted)?;
    let names = NamePreserver::new(&plan);
    let expressions = plan
        .expressions()
        .into_iter()
        .map(|expr| {
            let name = names.save(&expr);
            let replaced = expr.transform_up(|expr| replace(expr, &wanted))?.data;
            Ok(name.restore(replaced))
        })
        .collect::<Result<Vec<_>>>()?;
    let rewritten = plan.with_new_exprs(expressions, vec![shared])?;
    // A filter lets all columns of its input pass, the structs too.
    match rewritten {
        LogicalPlan::Filter(_) => Ok(Transformed::yes(only(rewritten, &outputs)?)),
        other => Ok(Transformed::yes(other)),
    }
}

fn only(plan: LogicalPlan, outputs: &DFSchemaRef) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan).project(outputs.columns().into_iter().map(Expr::Column))?.build()
}

/// The column and argument of a call that asks for one path of one column.
fn path_of(expr: &Expr) -> Option<(&Column, String)> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    // The forgiving forms differ only in paths that are wrong, and those are left alone.
    let mode = match func.name().trim_start_matches("safe.") {
        "json_value" | "json_extract_scalar" => 'v',
        "json_query" | "json_extract" => 'q',
        _ => return None,
    };
    match args.as_slice() {
        [Expr::Column(column), Expr::Literal(path, _)] => {
            Some((column, format!("{mode}{}", literal_path(path)?)))
        }
        _ => None,
    }
}

fn collect(expr: &Expr, wanted: &mut Vec<Wanted>) -> Result<()> {
    expr.apply(|expr| {
        if let Some((column, path)) = path_of(expr) {
            match wanted.iter_mut().find(|wanted| wanted.column == *column) {
                Some(known) if known.paths.contains(&path) => {}
                Some(known) => known.paths.push(path),
                None => wanted.push(Wanted { column: column.clone(), paths: vec![path] }),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn struct_name(index: usize) -> String {
    format!("#json{index}")
}

fn function(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    match functions::scalar(name) {
        Some(function) => Ok(function.call(arguments)),
        None => Err(SqlError::internal(format!("function {name} is missing")).into()),
    }
}

/// The input with a struct of found values for each column.
fn with_structs(input: LogicalPlan, wanted: &[Wanted]) -> Result<LogicalPlan> {
    let mut columns: Vec<_> = input.schema().columns().into_iter().map(Expr::Column).collect();
    for (index, wanted) in wanted.iter().enumerate() {
        let arguments = std::iter::once(Expr::Column(wanted.column.clone()));
        let paths = wanted.paths.iter().map(|path| lit(path.as_str()));
        columns.push(function(MULTI, arguments.chain(paths).collect())?.alias(struct_name(index)));
    }
    LogicalPlanBuilder::from(input).project(columns)?.build()
}

fn replace(expr: Expr, wanted: &[Wanted]) -> Result<Transformed<Expr>> {
    let Some((column, path)) = path_of(&expr) else { return Ok(Transformed::no(expr)) };
    let Some(index) = wanted.iter().position(|wanted| wanted.column == *column) else {
        return Ok(Transformed::no(expr));
    };
    match wanted[index].paths.iter().position(|known| *known == path) {
        Some(field) => {
            let parsed = Expr::Column(Column::new_unqualified(struct_name(index)));
            Ok(Transformed::yes(function("#field", vec![parsed, lit(many_name(field))])?))
        }
        None => Ok(Transformed::no(expr)),
    }
}
