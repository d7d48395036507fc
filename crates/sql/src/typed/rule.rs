//! The optimizer rule that turns calls of JSON_VALUE into columns of the scan below.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::lineage::{at_origin, carry, origin};
use super::scalar_call;
use super::scan::Virtual;

/// See the module. Runs before DataFusion's rules, which then treat the columns as any other: filters on
/// them are pushed down, and the JSON text is not read when nothing else wants it.
#[derive(Debug)]
pub(crate) struct AnswerFromColumns;

impl OptimizerRule for AnswerFromColumns {
    fn name(&self) -> &'static str {
        "answer_json_value_from_columns"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(answer_in_node)
    }
}

/// A call, or a COALESCE of calls, and the column that has its value.
struct Answered {
    expr: Expr,
    column: Column,
}

fn answer_in_node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let fits = matches!(
        plan,
        LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Window(_)
    );
    let [input] = plan.inputs()[..] else { return Ok(Transformed::no(plan)) };
    if !fits {
        return Ok(Transformed::no(plan));
    }
    let mut wanted = Vec::new();
    for expr in plan.expressions() {
        collect(&expr, input, &mut wanted)?;
    }
    let mut input = input.clone();
    let mut answered = Vec::new();
    for (expr, added) in wanted {
        if let Some((next, column)) = carry(&input, &added)? {
            input = next;
            answered.push(Answered { expr, column });
        }
    }
    if answered.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let outputs = Arc::clone(plan.schema());
    let names = NamePreserver::new(&plan);
    let expressions = plan
        .expressions()
        .into_iter()
        .map(|expr| {
            let name = names.save(&expr);
            Ok(name.restore(expr.transform_down(|expr| Ok(replace(expr, &answered)))?.data))
        })
        .collect::<Result<Vec<_>>>()?;
    let rewritten = plan.with_new_exprs(expressions, vec![input])?;
    match rewritten {
        // These let all columns of their input pass, the new ones too.
        LogicalPlan::Filter(_) | LogicalPlan::Window(_) => Ok(Transformed::yes(only(rewritten, &outputs)?)),
        other => Ok(Transformed::yes(other)),
    }
}

fn only(plan: LogicalPlan, outputs: &DFSchemaRef) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan).project(outputs.columns().into_iter().map(Expr::Column))?.build()
}

fn replace(expr: Expr, answered: &[Answered]) -> Transformed<Expr> {
    match answered.iter().find(|known| known.expr == expr) {
        Some(known) => Transformed::new(Expr::Column(known.column.clone()), true, TreeNodeRecursion::Jump),
        None => Transformed::no(expr),
    }
}

/// The largest parts of an expression that are made of known paths of one table.
fn collect(expr: &Expr, input: &LogicalPlan, wanted: &mut Vec<(Expr, Virtual)>) -> Result<()> {
    expr.apply(|expr| {
        if !is_known(expr, input) {
            return Ok(TreeNodeRecursion::Continue);
        }
        if !wanted.iter().any(|(known, _)| known == expr)
            && let Some(base) = at_origin(input, expr)?
        {
            wanted.push((expr.clone(), Virtual { name: name_of(&base), expr: base }));
        }
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(())
}

fn is_known(expr: &Expr, input: &LogicalPlan) -> bool {
    if let Some((column, steps)) = scalar_call(expr) {
        return origin(input, column).is_some_and(|(scan, name)| scan.known().knows(&(name, steps)));
    }
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "coalesce" => {
            !args.is_empty() && args.iter().all(|arg| is_known(arg, input))
        }
        _ => false,
    }
}

/// A name that tells this expression from others, and begins with what it is about.
fn name_of(expr: &Expr) -> String {
    let mut hasher = DefaultHasher::new();
    expr.hash(&mut hasher);
    let mut about = None;
    // Nothing in the walk can fail.
    let _ = expr.apply(|expr| {
        if let Expr::ScalarFunction(call) = expr
            && let [Expr::Column(column), Expr::Literal(path, _)] = call.args.as_slice()
        {
            about = path.try_as_str().flatten().map(|path| format!("{}{path}", column.name));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    format!("#{}:{:016x}", about.unwrap_or_default(), hasher.finish())
}
