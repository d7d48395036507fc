//! Every operation and expression of a program, for those who look for something or change it.

use super::program::{Expr, Op};

/// A place in a program.
pub(super) enum At<'p> {
    Op(&'p mut Op),
    Expr(&'p mut Expr),
}

/// Calls a function with every place in these operations, in the order of [`walk`].
pub(super) fn walk_all(ops: &mut [Op], call: &mut dyn FnMut(At<'_>)) {
    ops.iter_mut().for_each(|op| walk(op, call));
}

/// Calls a function with every operation, and with every expression behind those within it.
pub(super) fn walk(op: &mut Op, call: &mut dyn FnMut(At<'_>)) {
    call(At::Op(op));
    match op {
        Op::Set(_, expr) | Op::Put(_, expr) | Op::Do(expr) | Op::Return(expr) => walk_within(expr, call),
        Op::If(test, then, otherwise) => {
            walk_within(test, call);
            then.iter_mut().chain(otherwise).for_each(|op| walk(op, call));
        }
        Op::Block(_, ops) => ops.iter_mut().for_each(|op| walk(op, call)),
        Op::New(_) | Op::Delete(_) | Op::Leave(_) | Op::ReturnRow(_) | Op::Refuse => {}
    }
}

/// Calls a function with every place within an expression, and with the expression last.
pub(super) fn walk_within(expr: &mut Expr, call: &mut dyn FnMut(At<'_>)) {
    match expr {
        Expr::Concat(parts) => parts.iter_mut().for_each(|part| walk_within(part, call)),
        Expr::After(ops, value) => {
            ops.iter_mut().for_each(|op| walk(op, call));
            walk_within(value, call);
        }
        Expr::Choose(a, b, c) => [a, b, c].into_iter().for_each(|part| walk_within(part, call)),
        Expr::Add(a, b)
        | Expr::And(a, b)
        | Expr::Or(a, b)
        | Expr::Coalesce(a, b)
        | Expr::Strict(a, b)
        | Expr::Loose(a, b)
        | Expr::Compare(_, a, b) => [a, b].into_iter().for_each(|part| walk_within(part, call)),
        Expr::Overlay(_, a)
        | Expr::Get(a, ..)
        | Expr::Chain(a)
        | Expr::Stringify(a)
        | Expr::Not(a)
        | Expr::IsUndefined(a)
        | Expr::IsNull(a)
        | Expr::IsNullish(a)
        | Expr::Truthy(a)
        | Expr::Typeof(a)
        | Expr::IsArray(a)
        | Expr::Has(a, _) => walk_within(a, call),
        Expr::Undefined
        | Expr::Null
        | Expr::Bool(_)
        | Expr::Number(_)
        | Expr::Text(_)
        | Expr::Opaque
        | Expr::Argument
        | Expr::Parse
        | Expr::Local(_)
        | Expr::Part(_)
        | Expr::Slot(_)
        | Expr::Object(_) => {}
    }
    call(At::Expr(expr));
}
