//! What sessions speak: the Postgres dialect, DataFusion's functions, and of ours those for JSON, with
//! Postgres' `->` and `->>` over them.

use std::sync::Arc;

use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::execution::SessionStateDefaults;
use datafusion::functions::core;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::bounded::Bounded;
use crate::cost::check_cost;
use crate::error::SqlError;
use crate::functions;
use crate::parse;
use crate::rewrite::shape::balance_logic;
use crate::sessions::stop::go_on;

/// The GoogleSQL functions that sessions have beside DataFusion's, to look into JSON.
pub const JSON_FUNCTIONS: [&str; 12] = [
    "json_value",
    "json_query",
    "json_extract",
    "json_extract_scalar",
    "json_type",
    "parse_json",
    "to_json",
    "to_json_string",
    "lax_bool",
    "lax_float64",
    "lax_int64",
    "lax_string",
];

/// DataFusion's functions of these names make strings of any length; ours have a limit.
const BOUNDED_FUNCTIONS: [&str; 3] = ["lpad", "repeat", "rpad"];

/// Parses statements in the Postgres dialect.
///
/// # Errors
/// Syntax errors with their position; texts over the limits of depth and size, and what would take too long to
/// plan.
pub fn parse_postgres(sql: &str, bytes_max: usize) -> Result<Vec<Statement>, SqlError> {
    let tokens = parse::tokens_of(&PostgreSqlDialect {}, sql, bytes_max, true)?;
    let dialect = Bounded::new(PostgreSqlDialect {}, tokens.len());
    let mut statements = Parser::new(&dialect)
        .with_recursion_limit(parse::PARSER_DEPTH_MAX)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| parse::parser_error(&error))?;
    for statement in &mut statements {
        balance_logic(statement);
        check_cost(statement)?;
    }
    Ok(statements)
}

pub(super) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut scalars = SessionStateDefaults::default_scalar_functions();
    // The last of a name wins.
    let ours = JSON_FUNCTIONS.iter().chain(&BOUNDED_FUNCTIONS);
    scalars.extend(ours.filter_map(|name| functions::scalar(name)));
    scalars
}

pub(super) fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(JsonOperators)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}

/// `json -> 'key'`, `json -> 0`: a part as JSON; `->>`: the same as text, NULL for JSON's null.
#[derive(Debug)]
struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        go_on()?;
        let as_text = match expr.op {
            BinaryOperator::Arrow => false,
            BinaryOperator::LongArrow => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (json, path) = below(expr.left, path(&expr.right)?);
        let path = lit(path);
        let part = call("json_query", vec![json.clone(), path.clone()])?;
        if !as_text {
            return Ok(PlannerResult::Planned(part));
        }
        let scalar = call("json_value", vec![json, path])?;
        let nested = core::nullif().call(vec![part, lit("null")]);
        Ok(PlannerResult::Planned(core::coalesce().call(vec![scalar, nested])))
    }
}

fn call(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    match functions::scalar(name) {
        Some(function) => Ok(function.call(arguments)),
        None => Err(SqlError::internal(format!("function {name} is missing")).into()),
    }
}

/// A part of a part as one part: what is asked for once is looked for once.
fn below(json: Expr, path: String) -> (Expr, String) {
    if let Expr::ScalarFunction(part) = &json
        && part.name() == "json_query"
        && let [whole, Expr::Literal(ScalarValue::Utf8(Some(outer)), _)] = part.args.as_slice()
        && outer.starts_with('$')
    {
        return (whole.clone(), format!("{outer}{}", path.trim_start_matches('$')));
    }
    (json, path)
}

/// The JSONPath of the operand behind `->`.
fn path(operand: &Expr) -> Result<String> {
    match operand {
        Expr::Literal(
            ScalarValue::Utf8(Some(key))
            | ScalarValue::Utf8View(Some(key))
            | ScalarValue::LargeUtf8(Some(key)),
            _,
        ) => Ok(format!("$[\"{}\"]", key.replace('"', "\\\""))),
        Expr::Literal(ScalarValue::Int64(Some(item)), _) if *item >= 0 => Ok(format!("$[{item}]")),
        _ => Err(SqlError::unsupported("the operand behind -> or ->> must be a key or an index")
            .hint("write payload ->> 'key' or payload -> 0, or use json_value(payload, '$.path')")
            .into()),
    }
}
