//! Operators.

use oxc_ast::ast::{BinaryExpression, LogicalExpression, UnaryExpression};
use oxc_syntax::operator::{BinaryOperator, LogicalOperator, UnaryOperator};

use super::branches::truth;
use super::state::{Const, Known, Value, union};
use super::{Lowerer, Lowering};
use crate::plan::program::{Expr, Order};

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn binary(&mut self, binary: &'a BinaryExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        if binary.operator == BinaryOperator::In {
            return self.is_in(binary, scope);
        }
        let left = self.expression(&binary.left, scope)?;
        let right = self.expression(&binary.right, scope)?;
        if let (Some(a), Some(b)) = (left.constant(), right.constant())
            && let Some(result) = fold(binary.operator, a, b)
        {
            return Ok(self.value_of(Known::Const(result)));
        }
        let is_text = left.is_text || right.is_text;
        let (a, b) = (Box::new(left.expr), Box::new(right.expr));
        let negated = |expr: Expr| Expr::Not(Box::new(expr));
        Ok(Value::new(match binary.operator {
            BinaryOperator::StrictEquality => strict(*a, *b),
            BinaryOperator::StrictInequality => negated(strict(*a, *b)),
            BinaryOperator::Equality => loose(*a, *b),
            BinaryOperator::Inequality => negated(loose(*a, *b)),
            BinaryOperator::LessThan => Expr::Compare(Order::Less, a, b),
            BinaryOperator::LessEqualThan => Expr::Compare(Order::LessEqual, a, b),
            BinaryOperator::GreaterThan => Expr::Compare(Order::Greater, a, b),
            BinaryOperator::GreaterEqualThan => Expr::Compare(Order::GreaterEqual, a, b),
            BinaryOperator::Addition if is_text => return Ok(Value::text(concat(*a, *b))),
            BinaryOperator::Addition => Expr::Add(a, b),
            other => return Err(self.stop(binary.span, format!("the operator `{}`", other.as_str()))),
        }))
    }

    pub(super) fn unary(&mut self, unary: &'a UnaryExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        if let Some(literal) = super::globals::literal_unary(unary) {
            return Ok(self.value_of(Known::Const(literal)));
        }
        let value = |this: &mut Self| this.expression(&unary.argument, scope);
        match unary.operator {
            UnaryOperator::LogicalNot => {
                let value = value(self)?;
                if let (Some(is_true), true) = (truth(&value), value.expr.is_idle()) {
                    return Ok(self.value_of(Known::Const(Const::Bool(!is_true))));
                }
                Ok(Value::new(Expr::Not(Box::new(value.expr))))
            }
            UnaryOperator::Typeof => {
                let value = value(self)?;
                if matches!(value.expr, Expr::Opaque) {
                    return Err(self.stop(unary.span, "`typeof` of a function or constant list"));
                }
                Ok(Value::text(Expr::Typeof(Box::new(value.expr))))
            }
            UnaryOperator::Delete => self.delete(unary, scope),
            other => Err(self.stop(unary.span, format!("the operator `{}`", other.as_str()))),
        }
    }

    pub(super) fn logical(
        &mut self,
        logical: &'a LogicalExpression<'a>,
        scope: usize,
    ) -> Lowering<Value<'a>> {
        let left = self.expression(&logical.left, scope)?;
        let decided = match logical.operator {
            LogicalOperator::And => truth(&left).map(|is_true| !is_true),
            LogicalOperator::Or => truth(&left),
            LogicalOperator::Coalesce => match &left.known {
                Known::Const(value) => Some(!matches!(value, Const::Undefined | Const::Null)),
                _ => None,
            },
        };
        if decided == Some(true) {
            return Ok(left);
        }
        if decided == Some(false) && left.expr.is_idle() {
            return self.expression(&logical.right, scope);
        }
        let before = self.flow.clone();
        let right = self.expression(&logical.right, scope)?;
        let after = self.go_back(before);
        self.flow.join(&after);
        if left.is_shared() || right.is_shared() {
            return Err(self.stop(logical.span, "a choice of functions or constant lists"));
        }
        let is_text = left.is_text && right.is_text;
        let nodes = union(left.nodes, &right.nodes);
        let (a, b) = (Box::new(left.expr), Box::new(right.expr));
        let expr = match logical.operator {
            LogicalOperator::And => Expr::And(a, b),
            LogicalOperator::Or => Expr::Or(a, b),
            LogicalOperator::Coalesce => Expr::Coalesce(a, b),
        };
        Ok(Value { is_text, ..Value::new(expr).with_nodes(nodes) })
    }
}

/// `===`, and its common cases.
pub(super) fn strict(a: Expr, b: Expr) -> Expr {
    match (a, b) {
        (Expr::Undefined, other) | (other, Expr::Undefined) => Expr::IsUndefined(Box::new(other)),
        (Expr::Null, other) | (other, Expr::Null) => Expr::IsNull(Box::new(other)),
        (a, b) => Expr::Strict(Box::new(a), Box::new(b)),
    }
}

/// `==`, and its common case.
fn loose(a: Expr, b: Expr) -> Expr {
    match (a, b) {
        (Expr::Undefined | Expr::Null, other) | (other, Expr::Undefined | Expr::Null) => {
            Expr::IsNullish(Box::new(other))
        }
        (a, b) => Expr::Loose(Box::new(a), Box::new(b)),
    }
}

/// Texts one behind the other, in one list.
pub(super) fn concat(left: Expr, right: Expr) -> Expr {
    match left {
        Expr::Concat(mut parts) => {
            parts.push(right);
            Expr::Concat(parts)
        }
        left => Expr::Concat(vec![left, right]),
    }
}

/// A constant as a string, as `String(value)` makes it.
pub(super) fn text(value: &Const) -> String {
    match value {
        Const::Undefined => "undefined".to_owned(),
        Const::Null => "null".to_owned(),
        Const::Bool(value) => value.to_string(),
        Const::Number(number) => ryu_js::Buffer::new().format(*number).to_owned(),
        Const::Text(text) => text.to_string(),
    }
}

/// An operation on constants.
fn fold(operator: BinaryOperator, a: &Const, b: &Const) -> Option<Const> {
    use BinaryOperator as Op;
    let nullish = |value: &Const| matches!(value, Const::Undefined | Const::Null);
    let same_kind = std::mem::discriminant(a) == std::mem::discriminant(b);
    let loosely = |a: &Const, b: &Const| match (nullish(a), nullish(b)) {
        (true, true) => Some(true),
        (false, false) => same_kind.then(|| a == b),
        _ => Some(false),
    };
    Some(match (operator, a, b) {
        (Op::StrictEquality, a, b) => Const::Bool(a == b),
        (Op::StrictInequality, a, b) => Const::Bool(a != b),
        (Op::Equality, a, b) => Const::Bool(loosely(a, b)?),
        (Op::Inequality, a, b) => Const::Bool(!loosely(a, b)?),
        (Op::Addition, Const::Text(_), _) | (Op::Addition, _, Const::Text(_)) => {
            Const::Text((text(a) + &text(b)).into())
        }
        (operator, Const::Number(a), Const::Number(b)) => match operator {
            Op::Addition => Const::Number(a + b),
            Op::Subtraction => Const::Number(a - b),
            Op::Multiplication => Const::Number(a * b),
            Op::LessThan => Const::Bool(a < b),
            Op::LessEqualThan => Const::Bool(a <= b),
            Op::GreaterThan => Const::Bool(a > b),
            Op::GreaterEqualThan => Const::Bool(a >= b),
            _ => return None,
        },
        _ => return None,
    })
}
