//! The global functions of a set of scripts.

use std::collections::BTreeMap;

use oxc_ast::ast::{
    ArrowFunctionExpression, AssignmentTarget, BindingPattern, Expression, FormalParameters, Function,
    FunctionBody, Statement,
};
use oxc_span::GetSpan as _;
use strsim::jaro_winkler;

use super::Source;

/// Least similarity for a name to be offered in place of a missing one, as the engine's loader has it.
const SIMILARITY_MIN: f64 = 0.7;

/// A global function, and which script it is in.
#[derive(Clone, Copy)]
pub(super) struct Known<'s, 'a> {
    pub source: &'s Source<'a>,
    pub form: Form<'s, 'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Form<'s, 'a> {
    Function(&'s Function<'a>),
    Arrow(&'s ArrowFunctionExpression<'a>),
}

impl<'s, 'a> Known<'s, 'a> {
    fn formal(self) -> &'s FormalParameters<'a> {
        match self.form {
            Form::Function(function) => &function.params,
            Form::Arrow(arrow) => &arrow.params,
        }
    }

    /// What `f.length` is: parameters before the first with a default, without the rest.
    pub fn parameters(self) -> usize {
        self.formal().items.iter().take_while(|parameter| parameter.initializer.is_none()).count()
    }

    /// Its statements; `None` when it is an arrow with an expression.
    pub fn body(self) -> Option<&'s FunctionBody<'a>> {
        match self.form {
            Form::Function(function) => function.body.as_deref(),
            Form::Arrow(arrow) => match &arrow.body {
                oxc_ast::ast::ArrowFunctionBody::FunctionBody(body) => Some(body),
                _ => None,
            },
        }
    }

    /// What an arrow without statements gives.
    pub fn expression(self) -> Option<&'s Expression<'a>> {
        match self.form {
            Form::Function(_) => None,
            Form::Arrow(arrow) => arrow.body.as_expression(),
        }
    }

    /// Why what it returns is never text: a promise or a generator.
    pub fn wrapper(self) -> Option<&'static str> {
        match self.form {
            Form::Function(function) if function.r#async => Some("a promise"),
            Form::Function(function) if function.generator => Some("a generator"),
            Form::Arrow(arrow) if arrow.r#async => Some("a promise"),
            _ => None,
        }
    }

    /// Where it begins.
    pub fn start(self) -> u32 {
        match self.form {
            Form::Function(function) => function.span.start,
            Form::Arrow(arrow) => arrow.span.start,
        }
    }
}

/// Global functions by name; of two with one name the later counts.
pub(super) struct Functions<'s, 'a>(BTreeMap<&'s str, Known<'s, 'a>>);

impl<'s, 'a> Functions<'s, 'a> {
    pub fn of(sources: &'s [Source<'a>]) -> Self {
        let mut functions = Self(BTreeMap::new());
        for source in sources {
            for statement in &source.parsed.program.body {
                functions.add(source, statement);
            }
        }
        functions
    }

    pub fn get(&self, name: &str) -> Option<Known<'s, 'a>> {
        self.0.get(name).copied()
    }

    pub fn nearest(&self, name: &str) -> Option<String> {
        let similarity = |known: &&str| jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
        let scored = self.0.keys().map(|known| (similarity(known), known));
        let best = scored.filter(|(score, _)| *score >= SIMILARITY_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, known)| (*known).to_owned())
    }

    fn add(&mut self, source: &'s Source<'a>, statement: &'s Statement<'a>) {
        match statement {
            Statement::FunctionDeclaration(function) => {
                if let Some(name) = &function.id {
                    self.0.insert(name.name.as_str(), Known { source, form: Form::Function(function) });
                }
            }
            Statement::VariableDeclaration(declaration) => {
                for declarator in &declaration.declarations {
                    if let (BindingPattern::BindingIdentifier(name), Some(value)) =
                        (&declarator.id, &declarator.init)
                    {
                        self.set(source, name.name.as_str(), value);
                    }
                }
            }
            Statement::ExpressionStatement(statement) => {
                if let Expression::AssignmentExpression(assignment) = &statement.expression
                    && let AssignmentTarget::AssignmentTargetIdentifier(name) = &assignment.left
                {
                    self.set(source, name.name.as_str(), &assignment.right);
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, source: &'s Source<'a>, name: &'s str, value: &'s Expression<'a>) {
        match value.without_parentheses() {
            Expression::FunctionExpression(function) => {
                self.0.insert(name, Known { source, form: Form::Function(function) });
            }
            Expression::ArrowFunctionExpression(arrow) => {
                self.0.insert(name, Known { source, form: Form::Arrow(arrow) });
            }
            _ => {}
        }
    }
}

/// The last byte of a body: where its closing brace is.
pub(super) fn end_of(body: &FunctionBody<'_>) -> u32 {
    body.span().end.saturating_sub(1)
}
