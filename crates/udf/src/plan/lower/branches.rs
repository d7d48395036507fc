//! Code that is not for every message: branches, `try`, and what is left to the engine.

use oxc_ast::ast::{BlockStatement, IfStatement, Statement, TryStatement};
use oxc_span::GetSpan;

use super::harmless::{Harmless, Names};
use super::state::{Const, Flow, Known, Value};
use super::{Lowerer, Lowering, Op, Stop};
use crate::plan::program::Expr;

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn choice(
        &mut self,
        choice: &'a IfStatement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let test = self.expression(&choice.test, scope)?;
        let other = choice.alternate.as_ref();
        if let Some(is_true) = truth(&test) {
            evaluate(test.expr, ops);
            let taken = if is_true { Some(&choice.consequent) } else { other };
            return taken.map_or(Ok(()), |taken| self.statement(taken, scope, ops));
        }
        let before = self.flow.clone();
        let then = self.branch(&choice.consequent, scope)?;
        let after_then = self.go_back(before);
        let otherwise = match other {
            Some(other) => self.branch(other, scope)?,
            None => Vec::new(),
        };
        self.flow.join(&after_then);
        ops.push(Op::If(test.expr, then, otherwise));
        Ok(())
    }

    /// How things stood before a branch, with what the branch has declared, so that numbers stay unique.
    fn resume(&self, mut before: Flow<'a>) -> Flow<'a> {
        before.variables.extend(self.flow.variables.iter().skip(before.variables.len()).cloned());
        before
    }

    /// Goes back to how things stood before a branch; answers how they stand after it.
    pub(super) fn go_back(&mut self, before: Flow<'a>) -> Flow<'a> {
        let before = self.resume(before);
        std::mem::replace(&mut self.flow, before)
    }

    /// A branch; one that has no equal is left to the engine if that leaves nothing behind.
    fn branch(&mut self, statement: &'a Statement<'a>, scope: usize) -> Lowering<Vec<Op>> {
        let before = self.flow.clone();
        let (script, calls, frames) = (self.script, self.calls.len(), self.frames.len());
        let partly = self.partly.len();
        let mut ops = Vec::new();
        match self.statement(statement, scope, &mut ops) {
            Ok(()) => Ok(ops),
            Err(stop) => {
                self.script = script;
                self.calls.truncate(calls);
                self.frames.truncate(frames);
                self.partly.truncate(partly);
                if !Harmless::new(&At { lowerer: self, scope }).statement(statement) {
                    return Err(stop);
                }
                self.flow = self.resume(before);
                self.refuse(stop, &mut ops);
                Ok(vec![Op::Refuse])
            }
        }
    }

    /// Leaves what comes here to the engine.
    fn refuse(&mut self, stop: Stop, ops: &mut Vec<Op>) {
        if !self.partly.iter().any(|known| known.script == stop.script && known.span == stop.span) {
            self.partly.push(stop);
        }
        ops.push(Op::Refuse);
        self.flow.is_reachable = false;
    }

    /// Whatever is thrown sends the message to the engine, so the handler need not have an equal.
    pub(super) fn attempt(
        &mut self,
        attempt: &'a TryStatement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        if let Some(last) = attempt.finalizer.as_ref().filter(|last| !last.body.is_empty()) {
            return Err(self.stop(last.span, "`finally`"));
        }
        self.block(&attempt.block, scope, ops)?;
        // Behind the block, when it is known which variables hold what must not be touched.
        if let Some(handler) = &attempt.handler {
            let inner = self.new_scope(scope);
            if let Some(param) = &handler.param {
                let oxc_ast::ast::BindingPattern::BindingIdentifier(name) = &param.pattern else {
                    return Err(self.stop(param.span, "a `catch` that takes the error apart"));
                };
                let error = self.new_variable(false, Known::Unknown)?;
                self.scopes[inner].names.insert(name.name.as_str(), error);
            }
            // What the handler declares is its function's own; so are its `let`s, under names of their own.
            for statement in &handler.body.body {
                self.declare_lexical(statement, inner)?;
            }
            let names = At { lowerer: self, scope: inner };
            let harmless = Harmless::new(&names);
            if !handler.body.body.iter().all(|statement| harmless.statement(statement)) {
                return Err(self.stop(
                    handler.body.span,
                    "a `catch` that may leave something behind for later messages",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn throw(
        &mut self,
        statement: &'a Statement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let stop = self.stop(statement.span(), "`throw`");
        if !Harmless::new(&At { lowerer: self, scope }).statement(statement) {
            return Err(stop);
        }
        self.refuse(stop, ops);
        Ok(())
    }

    pub(super) fn block(
        &mut self,
        block: &'a BlockStatement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let inner = self.new_scope(scope);
        self.hoist(&block.body, inner, false)?;
        self.statements(&block.body, inner, ops)
    }
}

/// Whether a value counts as true, when that is known before any message.
pub(super) fn truth(value: &Value<'_>) -> Option<bool> {
    match &value.known {
        Known::Const(Const::Undefined | Const::Null) => Some(false),
        Known::Const(Const::Bool(value)) => Some(*value),
        Known::Const(Const::Number(number)) => Some(*number != 0.0 && !number.is_nan()),
        Known::Const(Const::Text(text)) => Some(!text.is_empty()),
        Known::Table(_) | Known::Function(_) | Known::Object(_) | Known::Root => Some(true),
        _ => None,
    }
}

/// Keeps what evaluating a value may refuse or do, though the value is of no use.
pub(super) fn evaluate(expr: Expr, ops: &mut Vec<Op>) {
    if !expr.is_idle() {
        ops.push(Op::Do(expr));
    }
}

/// Names as they are looked up in one scope.
pub(super) struct At<'l, 's, 'a> {
    pub lowerer: &'l Lowerer<'s, 'a>,
    pub scope: usize,
}

impl Names for At<'_, '_, '_> {
    fn is_own(&self, name: &str) -> bool {
        self.lowerer.find_local(name, self.scope).is_some() && !self.lowerer.guarded.contains(name)
    }

    fn is_fixed(&self, name: &str) -> bool {
        self.lowerer.find_local(name, self.scope).is_none()
            && matches!(self.lowerer.globals.get(name), Some(Known::Const(_) | Known::Unreadable))
            && !self.lowerer.guarded.contains(name)
    }

    fn is_free(&self, name: &str) -> bool {
        self.lowerer.find_local(name, self.scope).is_none() && !self.lowerer.globals.contains_key(name)
    }
}

/// Names while the scripts' top level is looked at: of what is declared there nothing can be relied on.
pub(super) struct TopLevel<'l, 's, 'a> {
    pub lowerer: &'l Lowerer<'s, 'a>,
}

impl Names for TopLevel<'_, '_, '_> {
    fn is_own(&self, _: &str) -> bool {
        false
    }

    fn is_fixed(&self, name: &str) -> bool {
        matches!(self.lowerer.globals.get(name), Some(Known::Const(_)))
    }

    fn is_free(&self, name: &str) -> bool {
        !self.lowerer.declared.contains(name)
    }
}
