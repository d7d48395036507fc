//! The scripts' top level: functions and constants, and nothing that does something.

use std::rc::Rc;

use oxc_ast::ast::{
    ArrayExpressionElement, ArrowFunctionBody, BindingPattern, Expression, Function, ObjectExpression,
    ObjectPropertyKind, PropertyKey, PropertyKind, Statement, UnaryExpression, VariableDeclarator,
};
use oxc_span::GetSpan;
use oxc_syntax::operator::UnaryOperator;

use super::branches::TopLevel;
use super::harmless::Harmless;
use super::state::{Body, Const, FunctionRef, Known, Table};
use super::{Lowerer, Lowering};

impl<'a> Lowerer<'_, 'a> {
    /// Takes in what the scripts declare.
    pub(super) fn read_globals(&mut self) -> Lowering<()> {
        for script in self.scripts {
            script.ast.body.iter().for_each(|statement| self.note_names(statement));
        }
        for (index, script) in self.scripts.iter().enumerate() {
            self.script = index;
            for statement in &script.ast.body {
                self.global(statement)?;
            }
        }
        Ok(())
    }

    fn note_names(&mut self, statement: &'a Statement<'a>) {
        match statement {
            Statement::FunctionDeclaration(function) => {
                self.declared.extend(function.id.iter().map(|id| id.name.as_str()));
            }
            Statement::VariableDeclaration(declaration) => {
                for declarator in &declaration.declarations {
                    if let BindingPattern::BindingIdentifier(id) = &declarator.id {
                        self.declared.insert(id.name.as_str());
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether top-level code does nothing but make a value.
    fn is_harmless(&self, expression: &Expression<'_>) -> bool {
        Harmless::new(&TopLevel { lowerer: self }).expression(expression)
    }

    fn global(&mut self, statement: &'a Statement<'a>) -> Lowering<()> {
        match statement {
            Statement::FunctionDeclaration(function) => {
                let Some(id) = &function.id else { return Ok(()) };
                let known = self.function(function, None);
                self.declare_global(id.name.as_str(), known);
                Ok(())
            }
            Statement::VariableDeclaration(declaration) => {
                declaration.declarations.iter().try_for_each(|declarator| self.global_variable(declarator))
            }
            Statement::EmptyStatement(_) => Ok(()),
            Statement::ExpressionStatement(statement) if self.is_harmless(&statement.expression) => Ok(()),
            other => Err(self.stop(other.span(), "top-level code that does something when it is loaded")),
        }
    }

    fn global_variable(&mut self, declarator: &'a VariableDeclarator<'a>) -> Lowering<()> {
        let BindingPattern::BindingIdentifier(id) = &declarator.id else {
            return Err(self.stop(declarator.span, "a top-level declaration that takes a value apart"));
        };
        let known = match &declarator.init {
            None => Known::Const(Const::Undefined),
            Some(init) => match self.constant(init, None) {
                Some(known) => known,
                None if self.is_harmless(init) => Known::Unreadable,
                None => {
                    return Err(
                        self.stop(init.span(), "top-level code that does something when it is loaded")
                    );
                }
            },
        };
        self.declare_global(id.name.as_str(), known);
        Ok(())
    }

    /// Of a name that is declared twice it would take the order of things to tell what it is.
    fn declare_global(&mut self, name: &'a str, known: Known<'a>) {
        let reserved = ["undefined", "NaN", "Infinity"].contains(&name);
        let twice = self.globals.contains_key(name);
        if twice || !matches!(known, Known::Const(_) | Known::Unreadable) {
            self.guarded.insert(name);
        }
        self.globals.insert(name, if twice || reserved { Known::Unreadable } else { known });
    }

    /// A function as a value; one of a kind that is not plain must not be read.
    pub(super) fn function(&self, function: &'a Function<'a>, scope: Option<usize>) -> Known<'a> {
        match &function.body {
            Some(body) if !function.r#async && !function.generator => Known::Function(FunctionRef {
                script: self.script,
                params: &function.params,
                body: Body::Statements(body),
                scope,
            }),
            _ => Known::Unreadable,
        }
    }

    /// A function expression or arrow function as a value. A function expression with a name could call
    /// itself by it.
    pub(super) fn function_expression(
        &self,
        expression: &'a Expression<'a>,
        scope: Option<usize>,
    ) -> Option<Known<'a>> {
        match expression {
            Expression::FunctionExpression(function) => Some(self.function(function, scope)),
            Expression::ArrowFunctionExpression(arrow) if !arrow.r#async => {
                let body = match &arrow.body {
                    ArrowFunctionBody::FunctionBody(body) => Body::Statements(body),
                    other => Body::Expression(other.as_expression()?),
                };
                let params = &arrow.params;
                Some(Known::Function(FunctionRef { script: self.script, params, body, scope }))
            }
            _ => None,
        }
    }

    /// A value that is written down in the script: a literal, a list, a look-up table, a function.
    pub(super) fn constant(&self, expression: &'a Expression<'a>, scope: Option<usize>) -> Option<Known<'a>> {
        if let Some(literal) = literal(expression) {
            return Some(Known::Const(literal));
        }
        match expression {
            Expression::ArrayExpression(array) => {
                let element =
                    |element: &'a ArrayExpressionElement<'a>| self.constant(element.as_expression()?, scope);
                let elements: Option<Vec<_>> = array.elements.iter().map(element).collect();
                Some(Known::Table(Rc::new(Table::Array(elements?))))
            }
            Expression::ObjectExpression(object) => self.constant_object(object, scope).map(Known::Table),
            other => self.function_expression(other, scope),
        }
    }

    /// An object of constants, as a look-up table.
    pub(super) fn constant_object(
        &self,
        object: &'a ObjectExpression<'a>,
        scope: Option<usize>,
    ) -> Option<Rc<Table<'a>>> {
        let mut entries: Vec<(Rc<str>, Known<'a>)> = Vec::new();
        for property in &object.properties {
            let ObjectPropertyKind::ObjectProperty(property) = property else { return None };
            let key = plain_key(&property.key)?;
            let is_plain = property.kind == PropertyKind::Init && !property.computed;
            let is_odd = key == "__proto__" || crate::plan::names::is_digits(key);
            let is_twice = entries.iter().any(|(name, _)| **name == *key);
            if !is_plain || property.method || is_odd || is_twice {
                return None;
            }
            entries.push((key.into(), self.constant(&property.value, scope)?));
        }
        Some(Rc::new(Table::Object(entries)))
    }
}

/// The name of a property that is written down as such.
pub(super) fn plain_key<'a>(key: &'a PropertyKey<'a>) -> Option<&'a str> {
    match key {
        PropertyKey::StaticIdentifier(name) => Some(name.name.as_str()),
        PropertyKey::StringLiteral(text) if !text.lone_surrogates => Some(text.value.as_str()),
        _ => None,
    }
}

/// A literal's value.
pub(super) fn literal(expression: &Expression<'_>) -> Option<Const> {
    Some(match expression {
        Expression::NullLiteral(_) => Const::Null,
        Expression::BooleanLiteral(literal) => Const::Bool(literal.value),
        Expression::NumericLiteral(literal) if literal.value.is_finite() => Const::Number(literal.value),
        Expression::StringLiteral(literal) if !literal.lone_surrogates => {
            Const::Text(literal.value.as_str().into())
        }
        Expression::UnaryExpression(unary) => return literal_unary(unary),
        Expression::TemplateLiteral(template) if template.expressions.is_empty() => {
            let quasi = template.quasis.first().filter(|quasi| !quasi.lone_surrogates)?;
            Const::Text(quasi.value.cooked.as_ref()?.as_str().into())
        }
        _ => return None,
    })
}

/// The value of an operator before a literal.
pub(super) fn literal_unary(unary: &UnaryExpression<'_>) -> Option<Const> {
    match (unary.operator, literal(&unary.argument)?) {
        (UnaryOperator::UnaryNegation, Const::Number(number)) => Some(Const::Number(-number)),
        (UnaryOperator::LogicalNot, Const::Number(number)) => Some(Const::Bool(number == 0.0)),
        (UnaryOperator::Void, _) => Some(Const::Undefined),
        _ => None,
    }
}
