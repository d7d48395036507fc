//! Calls: of `JSON` and a few other built-ins, and of the script's own functions, which are put in place.

use oxc_ast::ast::{Argument, CallExpression, Expression, StaticMemberExpression};
use oxc_span::GetSpan;

use super::state::{Const, FrameKind, FunctionRef, Known, Value};
use super::statements::{after_ops, elements, undefined};
use super::{Lowerer, Lowering};
use crate::plan::program::{Expr, OVERLAY, ROOT};

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn call(&mut self, call: &'a CallExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        if call.optional {
            return Err(self.stop(call.span, "an optional call"));
        }
        if let Expression::StaticMemberExpression(member) = &call.callee {
            return self.method(call, member, scope);
        }
        if let Expression::Identifier(name) = &call.callee {
            let is_free = self.find_local(name.name.as_str(), scope).is_none()
                && !self.declared.contains(name.name.as_str());
            match (name.name.as_str(), is_free) {
                ("String", true) if call.arguments.len() == 1 => {
                    let value = self.argument(call, 0, scope)?;
                    return Ok(Value::text(Expr::Concat(vec![value.expr])));
                }
                ("Boolean", true) if call.arguments.len() == 1 => {
                    let value = self.argument(call, 0, scope)?;
                    return Ok(Value::new(Expr::Truthy(Box::new(value.expr))));
                }
                (other, true) => return Err(self.stop(call.span, format!("a call of `{other}`"))),
                _ => {}
            }
        }
        let callee = self.expression(&call.callee, scope)?;
        let (Known::Function(function), true) = (callee.known, callee.expr.is_idle()) else {
            return Err(self.stop(call.span, "a call of what is not a function of the script"));
        };
        let arguments = self.arguments(call, scope)?;
        self.inline(call, function, arguments)
    }

    fn arguments(&mut self, call: &'a CallExpression<'a>, scope: usize) -> Lowering<Vec<Value<'a>>> {
        (0..call.arguments.len()).map(|index| self.argument(call, index, scope)).collect()
    }

    fn argument(&mut self, call: &'a CallExpression<'a>, index: usize, scope: usize) -> Lowering<Value<'a>> {
        let argument: Option<&'a Argument<'a>> = call.arguments.get(index);
        match argument {
            None => Ok(undefined()),
            Some(argument) => match argument.as_expression() {
                Some(expression) => self.expression(expression, scope),
                None => Err(self.stop(argument.span(), "`...` in a call")),
            },
        }
    }

    /// Puts a function's body in the place of its call.
    fn inline(
        &mut self,
        call: &'a CallExpression<'a>,
        function: FunctionRef<'a>,
        arguments: Vec<Value<'a>>,
    ) -> Lowering<Value<'a>> {
        if self.calls.iter().any(|active| std::ptr::eq(active.params, function.params)) {
            return Err(self.stop(call.span, "a function that calls itself"));
        }
        // All arguments first: what they are must not change under way.
        let mut ops = Vec::new();
        let mut held = Vec::new();
        for value in arguments {
            let is_moving = matches!(value.expr, Expr::Local(_) | Expr::Slot(_) | Expr::Stringify(_));
            let is_idle = value.expr.is_idle() && !is_moving;
            held.push(if is_idle { Ok(value) } else { Err(self.hold(value, &mut ops)?) });
        }
        let arguments =
            held.into_iter().map(|held| held.unwrap_or_else(|variable| self.read(variable))).collect();
        let result = self.new_variable(false, Known::Const(Const::Undefined))?;
        self.deeper(call.span, |this| {
            this.framed(FrameKind::Call(result), &mut ops, |this, ops| {
                this.enter(function, arguments, ops)?;
                this.flow.is_reachable = false;
                Ok(())
            })
        })?;
        let value = self.read(result);
        Ok(Value { expr: after_ops(ops, value.expr), ..value })
    }

    fn method(
        &mut self,
        call: &'a CallExpression<'a>,
        member: &'a StaticMemberExpression<'a>,
        scope: usize,
    ) -> Lowering<Value<'a>> {
        let name = member.property.name.as_str();
        if let Expression::Identifier(holder) = &member.object {
            let holder = holder.name.as_str();
            let is_free = self.find_local(holder, scope).is_none() && !self.declared.contains(holder);
            match (holder, name) {
                ("JSON", "parse") if is_free && call.arguments.len() == 1 => return self.parse(call, scope),
                ("JSON", "stringify") if is_free => return self.stringify(call, scope),
                ("Array", "isArray") if is_free && call.arguments.len() == 1 => {
                    let value = self.argument(call, 0, scope)?;
                    return Ok(Value::new(Expr::IsArray(Box::new(value.expr))));
                }
                _ if is_free => return Err(self.stop(call.span, format!("a call of `{holder}.{name}`"))),
                _ => {}
            }
        }
        if member.optional {
            return Err(self.stop(call.span, format!("a call of `{name}`")));
        }
        match name {
            "hasOwnProperty" if call.arguments.len() == 1 => {
                let object = self.expression(&member.object, scope)?;
                let key = self.argument(call, 0, scope)?;
                let Some(key) = key.constant() else {
                    return Err(
                        self.stop(call.span, "`hasOwnProperty` of a name that depends on the message")
                    );
                };
                // An object of the message may have a property of that very name.
                let method = self.text(name);
                if self.find_slot(OVERLAY, method).is_some() {
                    return Err(self.stop(call.span, "`hasOwnProperty`, which the script writes itself"));
                }
                for &node in &object.nodes {
                    self.child(node, method)?;
                }
                self.has(object, &super::binary::text(key), call.span)
            }
            "forEach" if call.arguments.len() == 1 => {
                let list = self.expression(&member.object, scope)?;
                let function = self.argument(call, 0, scope)?.known;
                let (Some(list), Known::Function(function)) = (elements(&list).map(<[_]>::to_vec), function)
                else {
                    return Err(self.stop(call.span, "`forEach` of what is not a constant list"));
                };
                self.for_each(call, list, function)
            }
            _ => Err(self.stop(call.span, format!("a call of `{name}`"))),
        }
    }

    fn for_each(
        &mut self,
        call: &'a CallExpression<'a>,
        list: Vec<Known<'a>>,
        function: FunctionRef<'a>,
    ) -> Lowering<Value<'a>> {
        let mut ops = Vec::new();
        for (index, known) in (0_u32..).zip(list) {
            let element = self.value_of(known);
            let index = self.value_of(Known::Const(Const::Number(f64::from(index))));
            let round = self.inline(call, function, vec![element, index])?;
            super::branches::evaluate(round.expr, &mut ops);
        }
        Ok(Value::known(after_ops(ops, Expr::Undefined), Known::Const(Const::Undefined)))
    }

    fn parse(&mut self, call: &'a CallExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let text = self.argument(call, 0, scope)?;
        if !matches!(text.known, Known::Argument) {
            return Err(self.stop(call.span, "`JSON.parse` of what is not the message"));
        }
        self.parses += 1;
        Ok(Value::known(Expr::Parse, Known::Root).with_nodes(vec![ROOT]))
    }

    fn stringify(&mut self, call: &'a CallExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let value = self.argument(call, 0, scope)?;
        for index in 1..call.arguments.len() {
            let option = self.argument(call, index, scope)?;
            if !matches!(option.constant(), Some(Const::Undefined | Const::Null)) {
                return Err(self.stop(call.span, "`JSON.stringify` with a replacer or an indent"));
            }
        }
        if matches!(value.expr, Expr::Opaque) || matches!(value.known, Known::Table(_) | Known::Function(_)) {
            return Err(self.stop(call.span, "the text of a function or constant list"));
        }
        if !matches!(value.known, Known::Root) {
            self.note_blurred(&value.nodes, call.span);
        }
        self.want_texts(&value.nodes);
        let known = match value.known {
            Known::Object(object) => Known::TextOf(object, self.writes),
            _ => Known::Unknown,
        };
        Ok(Value { known, ..Value::new(Expr::Stringify(Box::new(value.expr))) })
    }
}
