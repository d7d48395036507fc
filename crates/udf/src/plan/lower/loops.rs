//! Loops over what is known before any message: they are unrolled. And `switch`, which is a row of choices.

use oxc_ast::ast::{
    ForInStatement, ForOfStatement, ForStatement, ForStatementInit, ForStatementLeft, Statement,
    SwitchStatement,
};
use oxc_span::{GetSpan, Span};

use super::branches::{evaluate, truth};
use super::state::{Const, Frame, FrameKind, Known, Table, Value};
use super::statements::elements;
use super::{Lowerer, Lowering, Op};
use crate::plan::program::Expr;

impl<'a> Lowerer<'_, 'a> {
    /// `break` or `continue`.
    pub(super) fn leave(&mut self, kind: FrameKind, span: Span, ops: &mut Vec<Op>) -> Lowering<()> {
        let function =
            self.frames.iter().rposition(|frame| matches!(frame.kind, FrameKind::Call(_) | FrameKind::Top));
        let at = self.frames.iter().rposition(|frame| frame.kind == kind);
        let Some(at) = at.filter(|at| function.is_none_or(|function| *at > function)) else {
            return Err(self.stop(span, "a jump that is not understood"));
        };
        ops.push(Op::Leave(self.frames[at].block));
        let flow = self.flow.clone();
        self.frames[at].exits.push(flow);
        self.flow.is_reachable = false;
        Ok(())
    }

    /// Lowers what may be left by jumps; all ways out meet behind it.
    pub(super) fn framed(
        &mut self,
        kind: FrameKind,
        ops: &mut Vec<Op>,
        work: impl FnOnce(&mut Self, &mut Vec<Op>) -> Lowering<()>,
    ) -> Lowering<()> {
        let block = self.new_block();
        self.frames.push(Frame { kind, block, exits: Vec::new() });
        let mut inner = Vec::new();
        work(self, &mut inner)?;
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        if frame.exits.is_empty() {
            ops.append(&mut inner);
            return Ok(());
        }
        frame.exits.iter().for_each(|exit| self.flow.join(exit));
        ops.push(Op::Block(block, inner));
        Ok(())
    }

    pub(super) fn counted_loop(
        &mut self,
        round: &'a ForStatement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let scope = self.new_scope(scope);
        match &round.init {
            Some(ForStatementInit::VariableDeclaration(declaration)) => {
                if !declaration.kind.is_var() {
                    self.declare_all(declaration, scope)?;
                }
                self.declaration(declaration, scope, ops)?;
            }
            Some(init) => {
                if let Some(expression) = init.as_expression() {
                    let value = self.expression(expression, scope)?;
                    evaluate(value.expr, ops);
                }
            }
            None => {}
        }
        self.framed(FrameKind::Loop, ops, |this, ops| {
            while this.flow.is_reachable {
                this.grow()?;
                let Some(test) = &round.test else {
                    return Err(this.stop(round.span, "a loop without a condition"));
                };
                let value = this.expression(test, scope)?;
                match truth(&value) {
                    Some(true) => evaluate(value.expr, ops),
                    Some(false) => break,
                    None => return Err(this.stop(test.span(), "a loop whose rounds depend on the message")),
                }
                this.framed(FrameKind::Round, ops, |this, ops| this.statement(&round.body, scope, ops))?;
                if let Some(update) = round.update.as_ref().filter(|_| this.flow.is_reachable) {
                    let value = this.expression(update, scope)?;
                    evaluate(value.expr, ops);
                }
            }
            Ok(())
        })
    }

    pub(super) fn list_loop(
        &mut self,
        round: &'a ForOfStatement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let list = self.expression(&round.right, scope)?;
        let Some(list) = elements(&list).map(<[_]>::to_vec).filter(|_| !round.r#await) else {
            return Err(self.stop(round.right.span(), "a loop over what is not a constant list"));
        };
        self.rounds(list, &round.left, &round.body, scope, ops)
    }

    pub(super) fn name_loop(
        &mut self,
        round: &'a ForInStatement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let right = self.expression(&round.right, scope)?;
        let text = |text: &str| Known::Const(Const::Text(text.into()));
        let table = match &right.known {
            Known::Table(table) => Some(table),
            Known::Object(object) => self.tables.get(object),
            _ => None,
        };
        let names = |table: &Table<'a>| -> Vec<Known<'a>> {
            match table {
                Table::Array(list) => (0..list.len()).map(|index| text(&index.to_string())).collect(),
                Table::Object(entries) => entries.iter().map(|(name, _)| text(name)).collect(),
            }
        };
        let names = table.filter(|_| right.expr.is_idle()).map(|table| names(table));
        let Some(names) = names else {
            return Err(self.stop(round.right.span(), "a loop over the names of what is not a constant"));
        };
        self.rounds(names, &round.left, &round.body, scope, ops)?;
        // A name that a round deletes would not have its turn any more.
        match right.known {
            Known::Object(object) if !self.tables.contains_key(&object) => {
                Err(self.stop(round.span, "a loop that changes the object whose names it goes through"))
            }
            _ => Ok(()),
        }
    }

    /// One round for each value.
    fn rounds(
        &mut self,
        list: Vec<Known<'a>>,
        left: &'a ForStatementLeft<'a>,
        body: &'a Statement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        self.framed(FrameKind::Loop, ops, |this, ops| {
            for known in list {
                if !this.flow.is_reachable {
                    break;
                }
                let inner = this.new_scope(scope);
                let value = this.value_of(known);
                match left {
                    ForStatementLeft::VariableDeclaration(declaration) => {
                        if !declaration.kind.is_var() {
                            this.declare_all(declaration, inner)?;
                        }
                        let Some(declarator) = declaration.declarations.first() else { break };
                        this.bind(&declarator.id, value, inner, ops)?;
                    }
                    other => {
                        let Some(target) = other.as_assignment_target() else { break };
                        this.assign_to(target, value, scope, ops)?;
                    }
                }
                this.framed(FrameKind::Round, ops, |this, ops| this.statement(body, inner, ops))?;
            }
            Ok(())
        })
    }

    /// A known value, as an expression.
    pub(super) fn value_of(&mut self, known: Known<'a>) -> Value<'a> {
        let expr = match &known {
            Known::Const(Const::Undefined) => Expr::Undefined,
            Known::Const(Const::Null) => Expr::Null,
            Known::Const(Const::Bool(value)) => Expr::Bool(*value),
            Known::Const(Const::Number(number)) => Expr::Number(*number),
            Known::Const(Const::Text(text)) => {
                let text = std::rc::Rc::clone(text);
                Expr::Text(self.text(&text))
            }
            _ => Expr::Opaque,
        };
        Value::known(expr, known)
    }

    /// `switch`: cases are tried in order; each must end before the next begins, or be empty.
    pub(super) fn switch(
        &mut self,
        switch: &'a SwitchStatement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let subject = self.expression(&switch.discriminant, scope)?;
        let subject = self.hold(subject, ops)?;
        let inner = self.new_scope(scope);
        for case in &switch.cases {
            case.consequent.iter().try_for_each(|statement| self.declare_lexical(statement, inner))?;
        }
        let last = switch.cases.len().saturating_sub(1);
        let default = switch.cases.iter().position(|case| case.test.is_none());
        if let Some(case) = default.filter(|&default| default != last) {
            return Err(self.stop(switch.cases[case].span, "a `default` that is not the last case"));
        }
        self.framed(FrameKind::Loop, ops, |this, ops| this.cases(switch, 0, subject, inner, ops))
    }

    fn cases(
        &mut self,
        switch: &'a SwitchStatement<'a>,
        from: usize,
        subject: usize,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        // Cases without statements share those of the next.
        let Some(group) = switch.cases[from..].iter().position(|case| !case.consequent.is_empty()) else {
            return Ok(());
        };
        let end = from + group;
        let mut test: Option<Expr> = None;
        for case in &switch.cases[from..=end] {
            let Some(wanted) = &case.test else { return self.case(switch, end, scope, ops) };
            let Some(wanted) = super::globals::literal(wanted) else {
                return Err(self.stop(wanted.span(), "a case that is not a constant"));
            };
            let wanted = self.value_of(Known::Const(wanted)).expr;
            let found = self.read(subject).expr;
            let same = super::binary::strict(found, wanted);
            test = Some(match test {
                Some(before) => Expr::Or(Box::new(before), Box::new(same)),
                None => same,
            });
        }
        let Some(test) = test else { return Ok(()) };
        let before = self.flow.clone();
        let mut then = Vec::new();
        self.case(switch, end, scope, &mut then)?;
        if self.flow.is_reachable && end + 1 < switch.cases.len() {
            return Err(self.stop(switch.cases[end].span, "a case that runs on into the next"));
        }
        let after = self.go_back(before);
        let mut otherwise = Vec::new();
        self.deeper(switch.span, |this| this.cases(switch, end + 1, subject, scope, &mut otherwise))?;
        self.flow.join(&after);
        ops.push(Op::If(test, then, otherwise));
        Ok(())
    }

    fn case(
        &mut self,
        switch: &'a SwitchStatement<'a>,
        case: usize,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        self.statements(&switch.cases[case].consequent, scope, ops)
    }
}
