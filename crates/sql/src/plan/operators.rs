//! Operators by the types of their operands: GoogleSQL's functions for arithmetic, its refusal to
//! compare what has nothing in common, its conversion of string literals to times.

use datafusion::arrow::datatypes::Field;
use datafusion::common::{DFSchema, Result, ScalarValue, TableReference};
use datafusion::functions_nested::make_array::make_array;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;

use crate::error::SqlError;
use crate::functions;
use crate::types::Kind;

#[derive(Debug)]
pub(super) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        if let Some(name) = functions::operator(&op) {
            return Ok(PlannerResult::Planned(function(name, vec![left, right])?));
        }
        let kinds = [kind_of(&left, schema)?, kind_of(&right, schema)?];
        let (left, right) = match op {
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
                comparable(&op.to_string(), left, right, kinds)?
            }
            Op::And | Op::Or => {
                if !kinds.iter().all(|kind| matches!(kind, Kind::Bool | Kind::Null)) {
                    return Err(
                        functions::scalar::no_signature(&format!("operator {op}"), &kinds, None).into()
                    );
                }
                (left, right)
            }
            Op::BitwiseAnd
            | Op::BitwiseOr
            | Op::BitwiseXor
            | Op::PGBitwiseShiftLeft
            | Op::PGBitwiseShiftRight => {
                if !kinds.iter().all(|kind| matches!(kind, Kind::Int | Kind::Null)) {
                    return Err(
                        functions::scalar::no_signature(&format!("operator {op}"), &kinds, None).into()
                    );
                }
                (left, right)
            }
            other => return Err(SqlError::invalid(format!("{other} is not a GoogleSQL operator")).into()),
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }

    /// `[JSON '1', JSON '2']`: the engine's array would be one of strings.
    fn plan_array_literal(&self, exprs: Vec<Expr>, schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        for expr in &exprs {
            if kind_of(expr, schema)? == Kind::Json {
                return Ok(PlannerResult::Planned(function("#json_items", vec![make_array(exprs)])?));
            }
        }
        Ok(PlannerResult::Original(exprs))
    }

    /// `json.a.b` and `struct.a.b`.
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut value = Expr::Column(datafusion::common::Column::new(qualifier.cloned(), field.name()));
        for name in nested_names {
            value = function("#field", vec![value, lit(name)])?;
        }
        Ok(PlannerResult::Planned(value))
    }
}

/// A call of one of our functions.
pub(super) fn function(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    match functions::scalar(name) {
        Some(function) => Ok(function.call(arguments)),
        None => Err(SqlError::internal(format!("function {name} is missing")).into()),
    }
}

pub(super) fn kind_of(expr: &Expr, schema: &DFSchema) -> Result<Kind> {
    Ok(Kind::of(&expr.to_field(schema)?.1))
}

/// Both sides as they are compared.
///
/// # Errors
/// When GoogleSQL would not compare them.
pub(super) fn comparable(label: &str, left: Expr, right: Expr, kinds: [Kind; 2]) -> Result<(Expr, Expr)> {
    let refused = || {
        let error = functions::scalar::no_signature(&format!("operator {label}"), &kinds, None);
        let [left, right] = kinds;
        let hint = functions::cast_name(right)
            .filter(|_| left != Kind::Json && right != Kind::Json)
            .map(|_| format!("cast one side, for instance with SAFE_CAST(... AS {})", right.name()));
        error.maybe_hint(hint.or_else(|| Some("take a value out of the JSON with JSON_VALUE".to_owned())))
    };
    match kinds {
        [Kind::Json, _] | [_, Kind::Json] => Err(refused().into()),
        [left_kind, right_kind] if left_kind == right_kind => Ok((left, right)),
        [Kind::Null, _] | [_, Kind::Null] => Ok((left, right)),
        [left_kind, right_kind] if left_kind.is_number() && right_kind.is_number() => Ok((left, right)),
        [Kind::String, to] if converts(&left, to) => Ok((converted(left, to)?, right)),
        [to, Kind::String] if converts(&right, to) => Ok((left, converted(right, to)?)),
        _ => Err(refused().into()),
    }
}

/// A string literal becomes what it is compared with; a string column does not.
fn converts(expr: &Expr, to: Kind) -> bool {
    let literal = matches!(expr, Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_), _));
    literal && matches!(to, Kind::Date | Kind::Timestamp | Kind::Datetime | Kind::Bytes)
}

fn converted(expr: Expr, to: Kind) -> Result<Expr> {
    match functions::cast_name(to) {
        Some(name) => function(name, vec![expr]),
        None => Ok(expr),
    }
}
