//! Makes trees flat enough to be walked: chains of AND, OR and || are balanced, and what still is too
//! deep is refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Statement, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use crate::error::SqlError;
use crate::parse::too_deep;

/// Deepest expression: each level costs stack in every pass over it and for each batch of rows.
const EXPRESSION_DEPTH_MAX: usize = 400;

/// Balances chains of associative operators and refuses trees that are still too deep.
pub(super) fn flatten(query: &mut Query) -> Result<(), SqlError> {
    let _ = VisitMut::visit(query, &mut Balance { texts: true });
    let mut depth = Depth { now: 0 };
    match Visit::visit(query, &mut depth) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            Err(too_deep().hint("shorten the longest chain of operators, or take it apart with WITH"))
        }
    }
}

/// Balances chains of AND and OR; of other operators it is not known here what they are applied to.
pub(crate) fn balance_logic(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Balance { texts: false });
}

struct Depth {
    now: usize,
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.now += 1;
        if self.now > EXPRESSION_DEPTH_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
        self.now -= 1;
        ControlFlow::Continue(())
    }
}

struct Balance {
    /// Whether || joins texts only, and never lists.
    texts: bool,
}

impl VisitorMut for Balance {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { left, op, .. } = expr
            && self.associative(op)
            && matches!(left.as_ref(), Expr::BinaryOp { op: inner, .. } if inner == op)
        {
            let op = op.clone();
            let chain = take_chain(std::mem::replace(expr, nothing()), &op);
            *expr = balanced(chain, &op);
        }
        ControlFlow::Continue(())
    }
}

impl Balance {
    fn associative(&self, op: &BinaryOperator) -> bool {
        matches!(op, BinaryOperator::And | BinaryOperator::Or)
            || (self.texts && matches!(op, BinaryOperator::StringConcat))
    }
}

fn nothing() -> Expr {
    Expr::Value(Value::Null.into())
}

/// The operands of a left-deep chain, from left to right.
fn take_chain(mut expr: Expr, op: &BinaryOperator) -> Vec<Expr> {
    let mut operands = Vec::new();
    loop {
        match expr {
            Expr::BinaryOp { left, op: inner, right } if inner == *op => {
                operands.push(*right);
                expr = *left;
            }
            first => {
                operands.push(first);
                operands.reverse();
                return operands;
            }
        }
    }
}

/// One tree over the operands, of logarithmic depth.
fn balanced(mut operands: Vec<Expr>, op: &BinaryOperator) -> Expr {
    while operands.len() > 1 {
        let mut pairs = Vec::with_capacity(operands.len().div_ceil(2));
        let mut rest = operands.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => {
                    // Parentheses are not needed: the tree is never printed and parsed again.
                    Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) }
                }
                None => left,
            });
        }
        operands = pairs;
    }
    operands.pop().unwrap_or_else(nothing)
}
