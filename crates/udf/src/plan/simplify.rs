//! Rewrites a program into one that does the same with fewer steps. What an unrolled loop leaves behind
//! is mostly this: variables that hold a part of the message, and values that nobody takes.

use super::program::{Expr, LocalId, Op, Program};
use super::walk::{At, walk, walk_all, walk_within};

/// Simplifies every operation of a program.
pub(super) fn simplify(program: &mut Program) {
    flatten(&mut program.body);
    forward(&mut program.body);
    merge_tests(&mut program.body);
}

/// Takes operations out of expressions, and leaves out values that nobody takes.
fn flatten(ops: &mut Vec<Op>) {
    let mut flat = Vec::with_capacity(ops.len());
    for op in ops.drain(..) {
        flatten_op(op, &mut flat);
    }
    *ops = flat;
}

fn flatten_op(op: Op, flat: &mut Vec<Op>) {
    match op {
        Op::Do(value) => {
            let value = take_ops(value, flat);
            if !value.is_idle() {
                flat.push(Op::Do(value));
            }
        }
        Op::Set(local, value) => {
            let value = take_ops(value, flat);
            flat.push(Op::Set(local, value));
        }
        Op::Put(slot, value) => {
            let value = take_ops(value, flat);
            flat.push(Op::Put(slot, value));
        }
        Op::If(test, mut then, mut otherwise) => {
            flatten(&mut then);
            flatten(&mut otherwise);
            flat.push(Op::If(test, then, otherwise));
        }
        Op::Block(block, mut ops) => {
            flatten(&mut ops);
            flat.push(Op::Block(block, ops));
        }
        other => flat.push(other),
    }
}

/// The value of an expression, when the operations before it have been done that are moved out of it.
fn take_ops(mut expr: Expr, flat: &mut Vec<Op>) -> Expr {
    while let Expr::After(ops, value) = expr {
        if !ops.iter().all(is_straight) {
            return Expr::After(ops, value);
        }
        ops.into_iter().for_each(|op| flatten_op(op, flat));
        expr = *value;
    }
    expr
}

/// Whether what comes next is always the next operation.
fn is_straight(op: &Op) -> bool {
    matches!(op, Op::Set(..) | Op::New(_) | Op::Put(..) | Op::Delete(_) | Op::Do(_))
}

/// Reads a part of the message where it is, not from the variable that was set to it just before.
fn forward(ops: &mut [Op]) {
    for index in 0..ops.len() {
        let (before, behind) = ops.split_at_mut(index + 1);
        if let Some(Op::Set(local, Expr::Part(node))) = before.last() {
            for op in behind {
                if !is_kept(op, *local) {
                    break;
                }
                walk(op, &mut |at| match at {
                    At::Expr(expr) if matches!(&*expr, Expr::Local(read) if read == local) => {
                        *expr = Expr::Part(*node);
                    }
                    _ => {}
                });
            }
        }
        match &mut ops[index] {
            Op::If(_, then, otherwise) => {
                forward(then);
                forward(otherwise);
            }
            Op::Block(_, ops) => forward(ops),
            _ => {}
        }
    }
}

/// Whether a variable and the parts of the message stay what they are.
fn is_kept(op: &mut Op, local: LocalId) -> bool {
    let mut is_kept = true;
    walk(op, &mut |at| match at {
        At::Op(Op::Set(set, _)) => is_kept &= *set != local,
        At::Expr(Expr::Parse) => is_kept = false,
        _ => {}
    });
    is_kept
}

/// One test for what is neither `undefined` nor `null`.
fn merge_tests(ops: &mut [Op]) {
    for op in ops {
        walk(op, &mut |at| {
            let At::Expr(expr) = at else { return };
            let Expr::And(a, b) = expr else { return };
            let (Expr::Not(a), Expr::Not(b)) = (&mut **a, &**b) else { return };
            let (one, other) = match (&mut **a, &**b) {
                (Expr::IsUndefined(one), Expr::IsNull(other))
                | (Expr::IsNull(one), Expr::IsUndefined(other)) => (one, other),
                _ => return,
            };
            let is_same = match (&**one, &**other) {
                (Expr::Part(one), Expr::Part(other)) => one == other,
                (Expr::Local(one), Expr::Local(other)) => one == other,
                _ => false,
            };
            if is_same {
                let value = std::mem::replace(&mut **one, Expr::Undefined);
                *expr = Expr::Not(Box::new(Expr::IsNullish(Box::new(value))));
            }
        });
    }
}

/// Whether an object that the script makes may come to hold itself: to turn it into text is an error then.
pub(super) fn may_be_circular(program: &mut Program) -> bool {
    let mut holders = vec![false; program.locals];
    let mut has_grown = true;
    while std::mem::take(&mut has_grown) {
        walk_all(&mut program.body, &mut |at| {
            let At::Op(Op::Set(local, value)) = at else { return };
            let is_holder = may_hold_object(value, &holders);
            if let Some(known) = holders.get_mut(usize::from(*local)).filter(|known| is_holder && !**known) {
                *known = true;
                has_grown = true;
            }
        });
    }
    let objects = &program.objects;
    let mut is_found = false;
    walk_all(&mut program.body, &mut |at| {
        let At::Op(Op::Put(slot, value)) = at else { return };
        is_found |= match value {
            // Objects that hold only later ones make no circle.
            Expr::Object(held) => {
                let holder = objects.iter().position(|object| object.slots.contains(slot));
                holder.is_none_or(|holder| holder >= usize::from(*held))
            }
            other => may_hold_object(other, &holders),
        };
    });
    is_found
}

/// Whether a value may be an object that the script makes; `holders` are the variables that may.
fn may_hold_object(value: &mut Expr, holders: &[bool]) -> bool {
    let mut is_found = false;
    walk_within(value, &mut |at| {
        is_found |= match at {
            At::Expr(Expr::Object(_) | Expr::Slot(_)) => true,
            At::Expr(Expr::Local(local)) => holders.get(usize::from(*local)).is_none_or(|&may| may),
            _ => false,
        }
    });
    is_found
}
