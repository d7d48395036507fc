//! Expressions.

use oxc_ast::ast::{ConditionalExpression, Expression, TemplateLiteral};
use oxc_span::{GetSpan, Span};

use super::branches::{evaluate, truth};
use super::state::{Const, Known, Value, union};
use super::statements::after_ops;
use super::{Lowerer, Lowering};
use crate::plan::program::Expr;

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn expression(&mut self, expression: &'a Expression<'a>, scope: usize) -> Lowering<Value<'a>> {
        self.deeper(expression.span(), |this| this.expression_here(expression, scope))
    }

    fn expression_here(&mut self, expression: &'a Expression<'a>, scope: usize) -> Lowering<Value<'a>> {
        if let Some(literal) = super::globals::literal(expression) {
            return Ok(self.value_of(Known::Const(literal)));
        }
        if let Some(member) = expression.as_member_expression() {
            return self.member(member, scope);
        }
        match expression {
            Expression::Identifier(name) => self.name(name.name.as_str(), name.span, scope),
            Expression::TemplateLiteral(template) => self.template(template, scope),
            Expression::ParenthesizedExpression(inner) => self.expression(&inner.expression, scope),
            Expression::ConditionalExpression(choice) => self.conditional(choice, scope),
            Expression::LogicalExpression(logical) => self.logical(logical, scope),
            Expression::BinaryExpression(binary) => self.binary(binary, scope),
            Expression::UnaryExpression(unary) => self.unary(unary, scope),
            Expression::UpdateExpression(update) => self.update(update, scope),
            Expression::AssignmentExpression(assignment) => self.assignment(assignment, scope),
            Expression::CallExpression(call) => self.call(call, scope),
            Expression::ChainExpression(chain) => self.chain(&chain.expression, scope),
            Expression::ObjectExpression(object) => self.object(object, scope),
            Expression::ArrayExpression(array) => match self.constant(expression, Some(scope)) {
                Some(known) => Ok(self.value_of(known)),
                None => Err(self.stop(array.span, "an array that is not of constants")),
            },
            Expression::SequenceExpression(sequence) => {
                let mut ops = Vec::new();
                let mut last = None;
                for expression in &sequence.expressions {
                    if let Some(Value { expr, .. }) = last.replace(self.expression(expression, scope)?) {
                        evaluate(expr, &mut ops);
                    }
                }
                let Some(value) = last else { return Ok(super::statements::undefined()) };
                Ok(Value { expr: after_ops(ops, value.expr), ..value })
            }
            other => match self.function_expression(other, Some(scope)) {
                Some(known) => Ok(self.value_of(known)),
                None => Err(self.stop(other.span(), what(other))),
            },
        }
    }

    fn name(&mut self, name: &'a str, span: Span, scope: usize) -> Lowering<Value<'a>> {
        if let Some(variable) = self.find_local(name, scope) {
            if matches!(self.flow.variables[variable].known, Known::Unreadable) {
                return Err(self.stop(span, format!("`{name}` before its declaration")));
            }
            return Ok(self.read(variable));
        }
        match self.globals.get(name).cloned() {
            Some(Known::Unreadable) => {
                Err(self.stop(span, format!("`{name}`, which is declared twice or is not a plain constant")))
            }
            Some(known) => Ok(self.value_of(known)),
            None if self.declared.contains(name) => {
                Err(self.stop(span, format!("`{name}` before its declaration")))
            }
            None if name == "undefined" => Ok(super::statements::undefined()),
            None => Err(self.stop(span, format!("the global `{name}`"))),
        }
    }

    /// What a variable holds at this place.
    pub(super) fn read(&mut self, variable: usize) -> Value<'a> {
        let variable = self.flow.variables[variable].clone();
        let mut value = match variable.known {
            Known::Const(_) => self.value_of(variable.known),
            Known::Object(object) => Value::known(Expr::Object(object), variable.known),
            Known::Argument => Value::known(Expr::Argument, variable.known),
            known => Value::known(Expr::Local(variable.local), known),
        };
        if matches!(value.known, Known::Table(_) | Known::Function(_)) {
            value.expr = Expr::Opaque;
        }
        value.is_text |= variable.is_text;
        value.with_nodes(variable.nodes)
    }

    fn template(&mut self, template: &'a TemplateLiteral<'a>, scope: usize) -> Lowering<Value<'a>> {
        let mut parts = Vec::new();
        let mut constant = Some(String::new());
        for (index, quasi) in template.quasis.iter().enumerate() {
            let Some(cooked) = quasi.value.cooked.as_ref().filter(|_| !quasi.lone_surrogates) else {
                return Err(self.stop(quasi.span, "half of a surrogate pair"));
            };
            let text = self.text(cooked.as_str());
            parts.push(Expr::Text(text));
            constant = constant.map(|before| before + cooked.as_str());
            let Some(expression) = template.expressions.get(index) else { continue };
            let value = self.expression(expression, scope)?;
            constant = match value.constant() {
                Some(known) => constant.map(|before| before + &super::binary::text(known)),
                None => None,
            };
            parts.push(value.expr);
        }
        if let Some(text) = constant {
            return Ok(self.value_of(Known::Const(Const::Text(text.into()))));
        }
        parts.retain(
            |part| !matches!(part, Expr::Text(text) if self.program.texts[usize::from(*text)].is_empty()),
        );
        Ok(Value::text(Expr::Concat(parts)))
    }

    fn conditional(&mut self, choice: &'a ConditionalExpression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let test = self.expression(&choice.test, scope)?;
        if let Some(is_true) = truth(&test) {
            let mut ops = Vec::new();
            evaluate(test.expr, &mut ops);
            let value =
                self.expression(if is_true { &choice.consequent } else { &choice.alternate }, scope)?;
            return Ok(Value { expr: after_ops(ops, value.expr), ..value });
        }
        let before = self.flow.clone();
        let then = self.expression(&choice.consequent, scope)?;
        let after = self.go_back(before);
        let other = self.expression(&choice.alternate, scope)?;
        self.flow.join(&after);
        if then.is_shared() || other.is_shared() {
            return Err(self.stop(choice.span, "a choice of functions or constant lists"));
        }
        let is_text = then.is_text && other.is_text;
        let nodes = union(then.nodes, &other.nodes);
        let expr = Expr::Choose(Box::new(test.expr), Box::new(then.expr), Box::new(other.expr));
        Ok(Value { is_text, ..Value::new(expr).with_nodes(nodes) })
    }
}

fn what(expression: &Expression<'_>) -> &'static str {
    match expression {
        Expression::RegExpLiteral(_) => "a regular expression",
        Expression::NewExpression(_) => "`new`",
        Expression::ThisExpression(_) => "`this`",
        Expression::ClassExpression(_) => "a class",
        Expression::AwaitExpression(_) | Expression::ArrowFunctionExpression(_) => "`async`",
        Expression::FunctionExpression(_) => "an async function or generator",
        Expression::BigIntLiteral(_) => "a BigInt",
        Expression::NumericLiteral(_) => "a number beyond doubles",
        Expression::StringLiteral(_) => "half of a surrogate pair",
        Expression::TaggedTemplateExpression(_) => "a tagged template",
        _ => "an expression of this kind",
    }
}
