//! Drops what a program does for nothing: variables that are set and never read, because what they hold
//! was known when the script was lowered.

use super::program::{Expr, LocalId, Op, Program};
use super::simplify::may_be_circular;
use super::walk::{At, walk_all};

/// Drops settings of variables that nothing reads, until there are none.
pub(super) fn tidy(program: &mut Program) {
    let has_texts = !may_be_circular(program);
    loop {
        let mut reads = vec![0_usize; program.locals];
        walk_all(&mut program.body, &mut |at| {
            let At::Expr(Expr::Local(local)) = at else { return };
            if let Some(reads) = reads.get_mut(usize::from(*local)) {
                *reads += 1;
            }
        });
        if !drop_ops(&mut program.body, &Unread { reads, has_texts }) {
            return;
        }
    }
}

/// What tells whether a setting may go.
struct Unread {
    /// How often each variable is read.
    reads: Vec<usize>,
    /// Whether every object that the script makes has a JSON text: to make one is then no error.
    has_texts: bool,
}

impl Unread {
    fn covers(&self, local: LocalId, value: &Expr) -> bool {
        let is_read = self.reads.get(usize::from(local)).is_none_or(|&reads| reads > 0);
        let is_text = |value: &Expr| match value {
            Expr::Stringify(object) => matches!(**object, Expr::Object(_)),
            _ => false,
        };
        !is_read && (value.is_idle() || (self.has_texts && is_text(value)))
    }
}

/// Answers whether anything was dropped.
fn drop_ops(ops: &mut Vec<Op>, unread: &Unread) -> bool {
    let before = ops.len();
    ops.retain(|op| match op {
        Op::Set(local, expr) => !unread.covers(*local, expr),
        _ => true,
    });
    let mut dropped = ops.len() < before;
    for op in ops {
        dropped |= match op {
            Op::If(test, then, otherwise) => {
                drop_in(test, unread) | drop_ops(then, unread) | drop_ops(otherwise, unread)
            }
            Op::Block(_, ops) => drop_ops(ops, unread),
            Op::Set(_, expr) | Op::Put(_, expr) | Op::Do(expr) | Op::Return(expr) => drop_in(expr, unread),
            _ => false,
        };
    }
    dropped
}

fn drop_in(expr: &mut Expr, unread: &Unread) -> bool {
    let Expr::After(ops, value) = expr else { return false };
    let dropped = drop_ops(ops, unread) | drop_in(value, unread);
    if ops.is_empty() {
        *expr = std::mem::replace(value, Expr::Undefined);
        return true;
    }
    dropped
}
