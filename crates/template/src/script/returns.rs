//! Where a function returns nothing: each `return` of null, undefined or "", and an end that can be reached.

use std::collections::{BTreeMap, BTreeSet};

use oxc_ast::ast::{
    ArrowFunctionExpression, AssignmentExpression, AssignmentTarget, BindingPattern, Expression, Function,
    ReturnStatement, VariableDeclarator,
};
use oxc_ast_visit::Visit;
use oxc_ast_visit::walk::{walk_assignment_expression, walk_variable_declarator};
use oxc_syntax::scope::ScopeFlags;

use super::flow::may_reach_end;
use super::functions::{Functions, Known, end_of};
use super::values::{Value, nothing, values};
use super::{Effect, Finding, Source};

/// How many functions deep a returned call is followed.
const CALLS_DEEP_MAX: usize = 8;

/// Adds what the function `name`, and the functions whose results it returns, lead to.
pub(super) fn findings(
    sources: &[Source<'_>],
    functions: &Functions<'_, '_>,
    name: &str,
    findings: &mut Vec<Finding>,
) {
    let mut reader = Reader { functions, seen: BTreeSet::new(), findings };
    if !sources.is_empty() {
        reader.function(name, 0);
    }
}

struct Reader<'r, 's, 'a> {
    functions: &'r Functions<'s, 'a>,
    seen: BTreeSet<String>,
    findings: &'r mut Vec<Finding>,
}

impl<'s, 'a> Reader<'_, 's, 'a> {
    fn function(&mut self, name: &str, depth: usize) {
        let Some(known) = self.functions.get(name) else { return };
        if depth > CALLS_DEEP_MAX || !self.seen.insert(name.to_owned()) {
            return;
        }
        if let Some(what) = known.wrapper() {
            let text = format!("{name} returns {what}, not text");
            self.findings.push(known.source.finding(known.start(), Effect::NotText, text));
            return;
        }
        if let Some(expression) = known.expression() {
            self.returned(known, &Variables::default(), values(expression), depth);
        }
        let Some(body) = known.body() else { return };
        let mut inside = Inside::default();
        for statement in &body.statements {
            inside.visit_statement(statement);
        }
        self.returned(known, &inside.variables, inside.returns, depth);
        if may_reach_end(&body.statements) {
            let text = format!("the end of {name} can be reached without a return: undefined");
            self.add(known, end_of(body), Effect::Drops, text);
        }
    }

    fn returned(
        &mut self,
        known: Known<'s, 'a>,
        variables: &Variables,
        values: Vec<(u32, Value)>,
        depth: usize,
    ) {
        for (at, value) in values {
            match value {
                Value::Nothing(what) => self.add(known, at, Effect::Drops, format!("returns {what}")),
                Value::PerhapsNothing(what) => {
                    self.add(known, at, Effect::MayDrop, format!("may return {what}"));
                }
                Value::NotText(what) => {
                    self.add(known, at, Effect::NotText, format!("returns {what}, not text"));
                }
                Value::Variable(name) => {
                    if let Some((from, what)) = variables.0.get(&name) {
                        let line = known.source.lines.line(*from);
                        let text = format!("may return {what}: {name} is {what} from line {line} on");
                        self.add(known, at, Effect::MayDrop, text);
                    }
                }
                Value::Call(name) => self.function(&name, depth + 1),
                Value::Unknown => {}
            }
        }
    }

    fn add(&mut self, known: Known<'s, 'a>, at: u32, effect: Effect, text: String) {
        self.findings.push(known.source.finding(at, effect, text));
    }
}

/// Variables that are nothing at some time: where, and what.
#[derive(Default)]
struct Variables(BTreeMap<String, (u32, &'static str)>);

/// The returned values and the variables of one function, without those of functions within it.
#[derive(Default)]
struct Inside {
    returns: Vec<(u32, Value)>,
    variables: Variables,
}

impl Inside {
    fn assigned(&mut self, name: &str, at: u32, value: Option<&Expression<'_>>) {
        let what = match value {
            None => Some("undefined"),
            Some(value) => nothing(value),
        };
        if let Some(what) = what {
            self.variables.0.entry(name.to_owned()).or_insert((at, what));
        }
    }
}

impl<'a> Visit<'a> for Inside {
    fn visit_return_statement(&mut self, statement: &ReturnStatement<'a>) {
        match &statement.argument {
            None => self.returns.push((statement.span.start, Value::Nothing("undefined: no value is given"))),
            Some(argument) => self.returns.extend(values(argument)),
        }
    }

    fn visit_variable_declarator(&mut self, declarator: &VariableDeclarator<'a>) {
        if let BindingPattern::BindingIdentifier(name) = &declarator.id {
            self.assigned(name.name.as_str(), declarator.span.start, declarator.init.as_ref());
        }
        walk_variable_declarator(self, declarator);
    }

    fn visit_assignment_expression(&mut self, assignment: &AssignmentExpression<'a>) {
        if let AssignmentTarget::AssignmentTargetIdentifier(name) = &assignment.left
            && assignment.operator.is_assign()
        {
            self.assigned(name.name.as_str(), assignment.span.start, Some(&assignment.right));
        }
        walk_assignment_expression(self, assignment);
    }

    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}

    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}
}
