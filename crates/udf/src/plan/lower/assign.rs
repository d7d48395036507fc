//! Assignments, `++`, and `delete`.

use oxc_ast::ast::{
    AssignmentExpression, AssignmentTarget, Expression, MemberExpression, SimpleAssignmentTarget,
    UnaryExpression, UpdateExpression,
};
use oxc_span::{GetSpan, Span};
use oxc_syntax::operator::AssignmentOperator;

use super::binary::concat;
use super::state::{Const, Known, Value, union};
use super::statements::after_ops;
use super::{Lowerer, Lowering, Op};
use crate::plan::names::is_digits;
use crate::plan::program::{Expr, NodeId, OVERLAY, ObjectId, ROOT, SlotId};

/// Where an assignment goes.
#[derive(Clone, Copy)]
enum Target {
    Variable(usize),
    Slot(SlotId),
}

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn assignment(
        &mut self,
        assignment: &'a AssignmentExpression<'a>,
        scope: usize,
    ) -> Lowering<Value<'a>> {
        let mut ops = Vec::new();
        if assignment.operator == AssignmentOperator::Assign {
            let target = self.target(&assignment.left, scope)?;
            let value = self.expression(&assignment.right, scope)?;
            self.note_name(&assignment.left, &value);
            let result = self.store(target, value, assignment.span, &mut ops)?;
            return Ok(Value { expr: after_ops(ops, result.expr), ..result });
        }
        if assignment.operator == AssignmentOperator::Addition {
            let before = self.current(&assignment.left, scope)?;
            let target = self.target(&assignment.left, scope)?;
            let right = self.expression(&assignment.right, scope)?;
            let value = match (before.constant(), right.constant()) {
                (Some(Const::Number(a)), Some(Const::Number(b))) => {
                    self.value_of(Known::Const(Const::Number(a + b)))
                }
                _ if before.is_text || right.is_text => Value::text(concat(before.expr, right.expr)),
                _ => Value::new(Expr::Add(Box::new(before.expr), Box::new(right.expr))),
            };
            let result = self.store(target, value, assignment.span, &mut ops)?;
            return Ok(Value { expr: after_ops(ops, result.expr), ..result });
        }
        let construct = format!("the operator `{}`", assignment.operator.as_str());
        Err(self.stop(assignment.span, construct))
    }

    /// Assigns a value that is there already.
    pub(super) fn assign_to(
        &mut self,
        target: &'a AssignmentTarget<'a>,
        value: Value<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        self.note_name(target, &value);
        let span = target.span();
        let target = self.target(target, scope)?;
        self.store(target, value, span, ops).map(|_| ())
    }

    fn note_name(&mut self, target: &'a AssignmentTarget<'a>, value: &Value<'a>) {
        if let AssignmentTarget::AssignmentTargetIdentifier(name) = target {
            self.guard(name.name.as_str(), value);
        }
    }

    fn target(&mut self, target: &'a AssignmentTarget<'a>, scope: usize) -> Lowering<Target> {
        if let AssignmentTarget::AssignmentTargetIdentifier(name) = target {
            return self.variable_target(name.name.as_str(), name.span, scope);
        }
        match target.as_member_expression() {
            Some(member) => self.slot_target(member, scope).map(Target::Slot),
            None => Err(self.stop(target.span(), "an assignment that takes a value apart")),
        }
    }

    fn variable_target(&mut self, name: &str, span: Span, scope: usize) -> Lowering<Target> {
        let Some(variable) = self.find_local(name, scope) else {
            return Err(self.stop(span, format!("an assignment to `{name}`, which outlives the message")));
        };
        let found = &self.flow.variables[variable];
        if found.is_const || matches!(found.known, Known::Unreadable) {
            return Err(self.stop(span, format!("an assignment to `{name}` that throws")));
        }
        Ok(Target::Variable(variable))
    }

    /// The property that is written: of an object that the script makes, or of the parsed message.
    fn slot_target(&mut self, member: &'a MemberExpression<'a>, scope: usize) -> Lowering<SlotId> {
        let span = member.span();
        let object = self.written_object(member.object(), span, scope)?;
        let name = self.member_name(member, scope)?;
        if name == "__proto__" || is_digits(&name) {
            return Err(self.stop(span, format!("a property named `{name}`")));
        }
        self.slot(object, &name)
    }

    fn written_object(&mut self, object: &'a Expression<'a>, span: Span, scope: usize) -> Lowering<ObjectId> {
        let value = self.expression(object, scope)?;
        let is_plain = value.expr.is_idle();
        match value.known {
            Known::Object(object) if is_plain => {
                self.tables.remove(&object);
                Ok(object)
            }
            Known::Root if is_plain => {
                self.overlay_at.get_or_insert(span);
                Ok(OVERLAY)
            }
            _ => {
                Err(self.stop(span, "a change of what is neither the parsed message nor an object made here"))
            }
        }
    }

    fn store(
        &mut self,
        target: Target,
        value: Value<'a>,
        span: Span,
        ops: &mut Vec<Op>,
    ) -> Lowering<Value<'a>> {
        match target {
            Target::Variable(variable) => {
                self.set(variable, value, ops);
                Ok(self.read(variable))
            }
            Target::Slot(slot) => self.put(slot, value, span, ops),
        }
    }

    /// Sets a property; answers the value as the assignment's own.
    pub(super) fn put(
        &mut self,
        slot: SlotId,
        value: Value<'a>,
        span: Span,
        ops: &mut Vec<Op>,
    ) -> Lowering<Value<'a>> {
        let is_opaque = matches!(value.expr, Expr::Opaque);
        if is_opaque || matches!(value.known, Known::Function(_) | Known::Table(_)) {
            return Err(self.stop(span, "a property that is a function or a constant list"));
        }
        if matches!(value.known, Known::Root) {
            return Err(self.stop(span, "a property that is the parsed message as an object"));
        }
        self.note_blurred(&value.nodes, span);
        if value.nodes.contains(&ROOT) {
            return Err(self.stop(span, "a property that may be the parsed message as an object"));
        }
        self.want_texts(&value.nodes);
        let nodes: Vec<NodeId> = union(std::mem::take(&mut self.slot_nodes[usize::from(slot)]), &value.nodes);
        self.slot_nodes[usize::from(slot)] = nodes.clone();
        self.writes += 1;
        let (known, is_text) = (value.known, value.is_text);
        ops.push(Op::Put(slot, value.expr));
        let result = match known {
            known @ Known::Const(_) => self.value_of(known),
            Known::Object(object) => Value::known(Expr::Object(object), Known::Object(object)),
            _ => Value::new(Expr::Slot(slot)),
        };
        Ok(Value { is_text, ..result.with_nodes(nodes) })
    }

    /// What stands now where an assignment with an operator goes.
    fn current(&mut self, target: &'a AssignmentTarget<'a>, scope: usize) -> Lowering<Value<'a>> {
        match target {
            AssignmentTarget::AssignmentTargetIdentifier(name) => {
                match self.find_local(name.name.as_str(), scope) {
                    Some(variable) => Ok(self.read(variable)),
                    None => Err(self.stop(
                        name.span,
                        format!("an assignment to `{}`, which outlives the message", name.name),
                    )),
                }
            }
            other => match other.as_member_expression() {
                Some(member) => self.member(member, scope),
                None => Err(self.stop(other.span(), "an assignment that takes a value apart")),
            },
        }
    }

    /// `++` and `--` of what is known.
    pub(super) fn update(&mut self, update: &'a UpdateExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let SimpleAssignmentTarget::AssignmentTargetIdentifier(name) = &update.argument else {
            return Err(self.stop(update.span, "counting in a property"));
        };
        let Target::Variable(variable) = self.variable_target(name.name.as_str(), name.span, scope)? else {
            return Err(self.stop(update.span, "counting in a property"));
        };
        let Known::Const(Const::Number(before)) = self.flow.variables[variable].known else {
            return Err(self.stop(update.span, "counting from what depends on the message"));
        };
        let step = if update.operator.as_str() == "++" { 1.0 } else { -1.0 };
        let after = self.value_of(Known::Const(Const::Number(before + step)));
        let mut ops = Vec::new();
        self.set(variable, after, &mut ops);
        let result = if update.prefix { before + step } else { before };
        let result = self.value_of(Known::Const(Const::Number(result)));
        Ok(Value { expr: after_ops(ops, result.expr), ..result })
    }

    pub(super) fn delete(&mut self, unary: &'a UnaryExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let Some(member) = unary.argument.as_member_expression() else {
            return Err(self.stop(unary.span, "`delete` of what is not a property"));
        };
        let slot = self.slot_target(member, scope)?;
        self.writes += 1;
        Ok(Value::new(Expr::After(vec![Op::Delete(slot)], Box::new(Expr::Bool(true)))))
    }
}
