//! Statements, declarations and scopes.

use oxc_ast::ast::{
    BindingPattern, Expression, ForStatementInit, ForStatementLeft, FormalParameters, Statement,
    VariableDeclaration, VariableDeclarationKind,
};
use oxc_span::GetSpan;

use super::branches::evaluate;
use super::state::{Const, FrameKind, FunctionRef, Known, Scope, Table, Value};
use super::{Lowerer, Lowering, Op};
use crate::plan::program::Expr;

impl<'a> Lowerer<'_, 'a> {
    pub(super) fn statements(
        &mut self,
        statements: &'a [Statement<'a>],
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        for statement in statements {
            if !self.flow.is_reachable {
                break;
            }
            self.statement(statement, scope, ops)?;
        }
        Ok(())
    }

    pub(super) fn statement(
        &mut self,
        statement: &'a Statement<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        self.deeper(statement.span(), |this| match statement {
            Statement::BlockStatement(block) => this.block(block, scope, ops),
            Statement::EmptyStatement(_) | Statement::FunctionDeclaration(_) => Ok(()),
            Statement::ExpressionStatement(statement) => {
                let value = this.expression(&statement.expression, scope)?;
                evaluate(value.expr, ops);
                Ok(())
            }
            Statement::VariableDeclaration(declaration) => this.declaration(declaration, scope, ops),
            Statement::IfStatement(choice) => this.choice(choice, scope, ops),
            Statement::ReturnStatement(end) => {
                let value = match &end.argument {
                    Some(argument) => this.expression(argument, scope)?,
                    None => undefined(),
                };
                this.give_back(value, ops)
            }
            Statement::TryStatement(attempt) => this.attempt(attempt, scope, ops),
            Statement::ThrowStatement(_) => this.throw(statement, scope, ops),
            Statement::ForStatement(round) => this.counted_loop(round, scope, ops),
            Statement::ForOfStatement(round) => this.list_loop(round, scope, ops),
            Statement::ForInStatement(round) => this.name_loop(round, scope, ops),
            Statement::SwitchStatement(switch) => this.switch(switch, scope, ops),
            Statement::BreakStatement(leave) if leave.label.is_none() => {
                this.leave(FrameKind::Loop, leave.span, ops)
            }
            Statement::ContinueStatement(leave) if leave.label.is_none() => {
                this.leave(FrameKind::Round, leave.span, ops)
            }
            other => Err(this.stop(other.span(), what(other))),
        })
    }

    /// Returns from the function that is being lowered.
    pub(super) fn give_back(&mut self, value: Value<'a>, ops: &mut Vec<Op>) -> Lowering<()> {
        let is_return = |kind: FrameKind| matches!(kind, FrameKind::Call(_) | FrameKind::Top);
        let Some(at) = self.frames.iter().rposition(|frame| is_return(frame.kind)) else { return Ok(()) };
        match self.frames[at].kind {
            FrameKind::Call(result) => {
                self.set(result, value, ops);
                ops.push(Op::Leave(self.frames[at].block));
                let flow = self.flow.clone();
                self.frames[at].exits.push(flow);
            }
            _ => self.end_with(value, ops),
        }
        self.flow.is_reachable = false;
        Ok(())
    }

    fn end_with(&mut self, value: Value<'a>, ops: &mut Vec<Op>) {
        match (value.expr, value.known) {
            (expr, Known::TextOf(object, writes)) if writes == self.writes => {
                // The object itself is enough. If its text was put into a variable, that is dropped later.
                keep_effects(expr, ops);
                ops.push(Op::ReturnRow(object));
            }
            (Expr::Choose(test, then, other), _) => {
                let (mut first, mut second) = (Vec::new(), Vec::new());
                self.end_with(returned(*then), &mut first);
                self.end_with(returned(*other), &mut second);
                ops.push(Op::If(*test, first, second));
            }
            (Expr::Stringify(inner), _) if matches!(*inner, Expr::Object(_)) => {
                let Expr::Object(object) = *inner else { return };
                ops.push(Op::ReturnRow(object));
            }
            (expr, _) => ops.push(Op::Return(expr)),
        }
    }

    pub(super) fn declaration(
        &mut self,
        declaration: &'a VariableDeclaration<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        for declarator in &declaration.declarations {
            match &declarator.init {
                Some(init) => {
                    let value = self.expression(init, scope)?;
                    self.bind(&declarator.id, value, scope, ops)?;
                }
                None if declaration.kind == VariableDeclarationKind::Var => {}
                None => self.bind(&declarator.id, undefined(), scope, ops)?,
            }
        }
        Ok(())
    }

    /// Gives a declared name its value, or each name of a pattern its part of it.
    pub(super) fn bind(
        &mut self,
        pattern: &'a BindingPattern<'a>,
        value: Value<'a>,
        scope: usize,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        match pattern {
            BindingPattern::BindingIdentifier(id) => {
                let Some(variable) = self.find_local(id.name.as_str(), scope) else {
                    return Err(self.stop(id.span, "a declaration that is not understood"));
                };
                self.guard(id.name.as_str(), &value);
                self.set(variable, value, ops);
                Ok(())
            }
            BindingPattern::AssignmentPattern(default) => {
                let value = self.default(value, &default.right, scope)?;
                self.bind(&default.left, value, scope, ops)
            }
            BindingPattern::ObjectPattern(object) if object.rest.is_none() => {
                let held = self.hold(value, ops)?;
                if object.properties.is_empty() {
                    return Err(self.stop(object.span, "an empty pattern"));
                }
                for property in &object.properties {
                    let Some(name) = super::globals::plain_key(&property.key).filter(|_| !property.computed)
                    else {
                        return Err(self.stop(property.span, "a computed name in a pattern"));
                    };
                    let value = self.read(held);
                    let part = self.property(value, name, property.span, false)?;
                    self.bind(&property.value, part, scope, ops)?;
                }
                Ok(())
            }
            other => Err(self.stop(other.span(), "a pattern of this kind")),
        }
    }

    /// The value, or another where it is undefined.
    fn default(&mut self, value: Value<'a>, other: &'a Expression<'a>, scope: usize) -> Lowering<Value<'a>> {
        let mut ops = Vec::new();
        let held = self.hold(value, &mut ops)?;
        let before = self.flow.clone();
        let default = self.expression(other, scope)?;
        let after = self.go_back(before);
        self.flow.join(&after);
        let (test, value) = (self.read(held), self.read(held));
        if value.is_shared() || default.is_shared() {
            return Err(self.stop(other.span(), "a choice of functions or constant lists"));
        }
        let nodes = super::state::union(value.nodes, &default.nodes);
        let test = Expr::IsUndefined(Box::new(test.expr));
        let chosen = Expr::Choose(Box::new(test), Box::new(default.expr), Box::new(value.expr));
        Ok(Value::new(after_ops(ops, chosen)).with_nodes(nodes))
    }

    pub(super) fn parameters(
        &mut self,
        function: FunctionRef<'a>,
        scope: usize,
        arguments: Vec<Value<'a>>,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let params: &'a FormalParameters<'a> = function.params;
        if let Some(rest) = &params.rest {
            return Err(self.stop(rest.span, "a rest parameter"));
        }
        let mut arguments = arguments.into_iter();
        for param in &params.items {
            if let Some(initializer) = &param.initializer {
                return Err(self.stop(initializer.span(), "a default for a parameter"));
            }
            self.declare_names(&param.pattern, scope, false)?;
            let value = arguments.next().unwrap_or_else(undefined);
            self.bind(&param.pattern, value, scope, ops)?;
        }
        // What is left over is evaluated all the same.
        arguments.for_each(|value| evaluate(value.expr, ops));
        Ok(())
    }

    pub(super) fn new_scope(&mut self, parent: usize) -> usize {
        self.scopes.push(Scope { parent: Some(parent), ..Scope::default() });
        self.scopes.len() - 1
    }

    /// The variable of that name, when it is not a global one.
    pub(super) fn find_local(&self, name: &str, scope: usize) -> Option<usize> {
        let mut at = Some(scope);
        while let Some(scope) = at {
            if let Some(&variable) = self.scopes[scope].names.get(name) {
                return Some(variable);
            }
            at = self.scopes[scope].parent;
        }
        None
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, variable: usize, value: Value<'a>, ops: &mut Vec<Op>) {
        let target = &mut self.flow.variables[variable];
        ops.push(Op::Set(target.local, value.expr));
        target.known = value.known;
        target.nodes = value.nodes;
        target.is_text = value.is_text;
    }

    /// Notes the name of a variable that comes to hold a function or a constant list.
    pub(super) fn guard(&mut self, name: &'a str, value: &Value<'a>) {
        if value.is_shared() {
            self.guarded.insert(name);
        }
    }

    /// Puts a value into a variable without a name, so that it can be read more than once.
    pub(super) fn hold(&mut self, value: Value<'a>, ops: &mut Vec<Op>) -> Lowering<usize> {
        let variable = self.new_variable(true, Known::Unknown)?;
        self.set(variable, value, ops);
        Ok(variable)
    }

    /// Declares what is visible in all of a block or function before it is run.
    pub(super) fn hoist(
        &mut self,
        statements: &'a [Statement<'a>],
        scope: usize,
        is_function: bool,
    ) -> Lowering<()> {
        for statement in statements {
            self.declare_lexical(statement, scope)?;
            if is_function {
                self.declare_vars(statement, scope)?;
            }
        }
        for statement in statements {
            let Statement::FunctionDeclaration(function) = statement else { continue };
            if !is_function {
                return Err(self.stop(function.span, "a function that is declared in a block"));
            }
            let Some(id) = &function.id else { continue };
            let known = self.function(function, Some(scope));
            let variable = self.new_variable(false, known)?;
            self.scopes[scope].names.insert(id.name.as_str(), variable);
            self.guarded.insert(id.name.as_str());
        }
        Ok(())
    }

    pub(super) fn declare_lexical(&mut self, statement: &'a Statement<'a>, scope: usize) -> Lowering<()> {
        match statement {
            Statement::VariableDeclaration(declaration) => match declaration.kind {
                VariableDeclarationKind::Var => Ok(()),
                VariableDeclarationKind::Let | VariableDeclarationKind::Const => {
                    self.declare_all(declaration, scope)
                }
                _ => Err(self.stop(declaration.span, "a `using` declaration")),
            },
            Statement::ClassDeclaration(class) => Err(self.stop(class.span, "a class")),
            _ => Ok(()),
        }
    }

    fn declare_vars(&mut self, statement: &'a Statement<'a>, scope: usize) -> Lowering<()> {
        let each = |this: &mut Self, list: &'a [Statement<'a>]| {
            list.iter().try_for_each(|inner| this.declare_vars(inner, scope))
        };
        self.deeper(statement.span(), |this| match statement {
            Statement::VariableDeclaration(declaration) => this.declare_if_var(declaration, scope),
            Statement::BlockStatement(block) => each(this, &block.body),
            Statement::IfStatement(choice) => {
                this.declare_vars(&choice.consequent, scope)?;
                choice.alternate.as_ref().map_or(Ok(()), |other| this.declare_vars(other, scope))
            }
            Statement::ForStatement(round) => {
                if let Some(ForStatementInit::VariableDeclaration(declaration)) = &round.init {
                    this.declare_if_var(declaration, scope)?;
                }
                this.declare_vars(&round.body, scope)
            }
            Statement::ForOfStatement(round) => {
                this.declare_left(&round.left, scope)?;
                this.declare_vars(&round.body, scope)
            }
            Statement::ForInStatement(round) => {
                this.declare_left(&round.left, scope)?;
                this.declare_vars(&round.body, scope)
            }
            Statement::TryStatement(attempt) => {
                each(this, &attempt.block.body)?;
                let handler = attempt.handler.as_ref();
                handler.map_or(Ok(()), |handler| each(this, &handler.body.body))?;
                attempt.finalizer.as_ref().map_or(Ok(()), |last| each(this, &last.body))
            }
            Statement::SwitchStatement(switch) => {
                switch.cases.iter().try_for_each(|case| each(this, &case.consequent))
            }
            Statement::WhileStatement(round) => this.declare_vars(&round.body, scope),
            Statement::DoWhileStatement(round) => this.declare_vars(&round.body, scope),
            Statement::LabeledStatement(labeled) => this.declare_vars(&labeled.body, scope),
            Statement::WithStatement(with) => this.declare_vars(&with.body, scope),
            _ => Ok(()),
        })
    }

    fn declare_left(&mut self, left: &'a ForStatementLeft<'a>, scope: usize) -> Lowering<()> {
        match left {
            ForStatementLeft::VariableDeclaration(declaration) => self.declare_if_var(declaration, scope),
            _ => Ok(()),
        }
    }

    fn declare_if_var(&mut self, declaration: &'a VariableDeclaration<'a>, scope: usize) -> Lowering<()> {
        if declaration.kind == VariableDeclarationKind::Var {
            self.declare_all(declaration, scope)
        } else {
            Ok(())
        }
    }

    pub(super) fn declare_all(
        &mut self,
        declaration: &'a VariableDeclaration<'a>,
        scope: usize,
    ) -> Lowering<()> {
        let kind = declaration.kind;
        for declarator in &declaration.declarations {
            if kind == VariableDeclarationKind::Var {
                self.declare_names(&declarator.id, scope, false)?;
                continue;
            }
            let first = self.flow.variables.len();
            self.declare_names(&declarator.id, scope, kind == VariableDeclarationKind::Const)?;
            // Not to be read before the declaration is reached.
            for variable in &mut self.flow.variables[first..] {
                variable.known = Known::Unreadable;
            }
        }
        Ok(())
    }

    fn declare_names(
        &mut self,
        pattern: &'a BindingPattern<'a>,
        scope: usize,
        is_const: bool,
    ) -> Lowering<()> {
        match pattern {
            BindingPattern::BindingIdentifier(id) => {
                if self.scopes[scope].names.contains_key(id.name.as_str()) {
                    return Ok(());
                }
                let variable = self.new_variable(is_const, Known::Const(Const::Undefined))?;
                self.scopes[scope].names.insert(id.name.as_str(), variable);
                Ok(())
            }
            BindingPattern::AssignmentPattern(default) => self.declare_names(&default.left, scope, is_const),
            BindingPattern::ObjectPattern(object) => {
                object.properties.iter().try_for_each(|part| self.declare_names(&part.value, scope, is_const))
            }
            BindingPattern::ArrayPattern(array) => Err(self.stop(array.span, "an array pattern")),
        }
    }
}

/// The value `undefined`.
pub(super) fn undefined<'a>() -> Value<'a> {
    Value::known(Expr::Undefined, Known::Const(Const::Undefined))
}

/// An expression behind operations.
pub(super) fn after_ops(ops: Vec<Op>, expr: Expr) -> Expr {
    if ops.is_empty() { expr } else { Expr::After(ops, Box::new(expr)) }
}

/// Keeps what comes before the text of an object, not the text.
fn keep_effects(expr: Expr, ops: &mut Vec<Op>) {
    match expr {
        Expr::After(before, value) => {
            ops.extend(before);
            keep_effects(*value, ops);
        }
        Expr::Stringify(value) => keep_effects(*value, ops),
        other => evaluate(other, ops),
    }
}

/// A part of a value that is returned; what else is known of it is of no more use.
fn returned<'a>(expr: Expr) -> Value<'a> {
    Value::new(expr)
}

/// The elements of a constant list.
pub(super) fn elements<'v, 'a>(value: &'v Value<'a>) -> Option<&'v [Known<'a>]> {
    match &value.known {
        Known::Table(table) if value.expr.is_idle() => match &**table {
            Table::Array(elements) => Some(elements),
            Table::Object(_) => None,
        },
        _ => None,
    }
}

fn what(statement: &Statement<'_>) -> &'static str {
    match statement {
        Statement::WhileStatement(_) | Statement::DoWhileStatement(_) => "a loop whose rounds are not known",
        Statement::LabeledStatement(_) | Statement::BreakStatement(_) | Statement::ContinueStatement(_) => {
            "a label"
        }
        Statement::ClassDeclaration(_) => "a class",
        Statement::WithStatement(_) => "`with`",
        _ => "a statement of this kind",
    }
}
