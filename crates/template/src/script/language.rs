//! What Nashorn (the template's engine, ES5.1 and a part of ES6) and QuickJS (ES2023) take differently.

use std::collections::BTreeSet;

use oxc_ast::ast::{ArrayAssignmentTarget, ArrayPattern, BigIntLiteral, ObjectAssignmentTarget};
use oxc_ast::ast::{
    ArrowFunctionExpression, AssignmentExpression, AwaitExpression, BinaryExpression, BinaryOperator,
    BindingIdentifier, CallExpression, ChainExpression, Class, Expression, FormalParameters, Function,
    IdentifierReference, ImportExpression, LogicalExpression, NewExpression, ObjectPattern, RegExpFlags,
    RegExpLiteral, SimpleAssignmentTarget, SpreadElement, StaticMemberExpression, UpdateExpression,
};
use oxc_ast_visit::{Visit, walk};
use oxc_syntax::scope::ScopeFlags;

use super::{Effect, Finding, Source};

/// Globals of Nashorn that are not part of the language
/// (<https://docs.oracle.com/javase/8/docs/technotes/guides/scripting/nashorn/shell.html>).
const NASHORN_GLOBALS: [&str; 16] = [
    "Java",
    "JavaAdapter",
    "JavaImporter",
    "Packages",
    "com",
    "exit",
    "importClass",
    "importPackage",
    "java",
    "javax",
    "load",
    "loadWithNewGlobal",
    "org",
    "quit",
    "readFully",
    "readLine",
];
/// Globals of Node and of browsers, which neither engine has.
const HOST_GLOBALS: [&str; 14] = [
    "Buffer",
    "XMLHttpRequest",
    "atob",
    "btoa",
    "clearTimeout",
    "exports",
    "fetch",
    "module",
    "process",
    "require",
    "setInterval",
    "setTimeout",
    "structuredClone",
    "window",
];
/// Globals of the language since ES2015 that Nashorn has not; `console` is ours, and only counts.
const NEWER_GLOBALS: [&str; 6] = ["BigInt", "Promise", "Proxy", "Reflect", "console", "globalThis"];
/// Methods of the language since ES2017 that Nashorn has not.
const NEWER_METHODS: [&str; 11] = [
    "findLast",
    "flat",
    "flatMap",
    "fromEntries",
    "matchAll",
    "padEnd",
    "padStart",
    "replaceAll",
    "toSorted",
    "trimEnd",
    "trimStart",
];
/// Methods whose result is the engine's choice of locale.
const LOCALE_METHODS: [&str; 6] = [
    "localeCompare",
    "toLocaleDateString",
    "toLocaleLowerCase",
    "toLocaleString",
    "toLocaleTimeString",
    "toLocaleUpperCase",
];

/// The findings of all scripts; what one declares all of them see.
pub(super) fn findings(sources: &[Source<'_>]) -> Vec<Finding> {
    let mut names = Names::default();
    for source in sources {
        names.visit_program(&source.parsed.program);
    }
    let mut all = Vec::new();
    for source in sources {
        let mut language = Language { names: &names, depth: 0, found: Vec::new() };
        language.visit_program(&source.parsed.program);
        all.extend(language.found.into_iter().map(|(at, effect, text)| source.finding(at, effect, text)));
    }
    all
}

/// Every name that the scripts bind: at the top level, and within functions.
#[derive(Default)]
struct Names {
    depth: usize,
    functions: BTreeSet<String>,
    globals: BTreeSet<String>,
    locals: BTreeSet<String>,
}

impl Names {
    fn is_bound(&self, name: &str) -> bool {
        self.globals.contains(name) || self.locals.contains(name) || self.functions.contains(name)
    }

    /// Whether assigning to a name within a function changes something that outlives the call: a global
    /// variable, or one that nothing declares.
    fn outlives(&self, name: &str) -> bool {
        !self.locals.contains(name) && !self.functions.contains(name)
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_binding_identifier(&mut self, name: &BindingIdentifier<'a>) {
        let names = if self.depth == 0 { &mut self.globals } else { &mut self.locals };
        names.insert(name.name.to_string());
    }

    fn visit_function(&mut self, function: &Function<'a>, flags: ScopeFlags) {
        if let Some(name) = &function.id {
            self.functions.insert(name.name.to_string());
        }
        self.depth += 1;
        walk::walk_function(self, function, flags);
        self.depth -= 1;
    }

    fn visit_arrow_function_expression(&mut self, arrow: &ArrowFunctionExpression<'a>) {
        self.depth += 1;
        walk::walk_arrow_function_expression(self, arrow);
        self.depth -= 1;
    }
}

struct Language<'n> {
    names: &'n Names,
    depth: usize,
    found: Vec<(u32, Effect, String)>,
}

impl Language<'_> {
    fn add(&mut self, at: u32, effect: Effect, text: impl Into<String>) {
        self.found.push((at, effect, text.into()));
    }

    fn newer(&mut self, at: u32, what: &str) {
        self.add(at, Effect::OnlyMillrace, what);
    }

    fn state(&mut self, at: u32, name: &str) {
        if self.depth > 0 && self.names.outlives(name) {
            self.add(at, Effect::KeepsState, format!("{name} keeps its value from message to message"));
        }
    }

    fn assigned(&mut self, at: u32, target: &SimpleAssignmentTarget<'_>) {
        match target {
            SimpleAssignmentTarget::AssignmentTargetIdentifier(name) => self.state(at, name.name.as_str()),
            other => {
                let object = other.as_member_expression().map(|member| member.object());
                if let Some(Expression::Identifier(name)) = object
                    && self.names.globals.contains(name.name.as_str())
                {
                    self.state(at, name.name.as_str());
                }
            }
        }
    }
}

impl<'a> Visit<'a> for Language<'_> {
    fn visit_function(&mut self, function: &Function<'a>, flags: ScopeFlags) {
        if function.r#async {
            self.newer(function.span.start, "async function");
        }
        if function.generator {
            self.newer(function.span.start, "generator");
        }
        self.depth += 1;
        walk::walk_function(self, function, flags);
        self.depth -= 1;
    }

    fn visit_arrow_function_expression(&mut self, arrow: &ArrowFunctionExpression<'a>) {
        if arrow.r#async {
            self.newer(arrow.span.start, "async function");
        }
        self.depth += 1;
        walk::walk_arrow_function_expression(self, arrow);
        self.depth -= 1;
    }

    fn visit_formal_parameters(&mut self, parameters: &FormalParameters<'a>) {
        if parameters.items.iter().any(|parameter| parameter.initializer.is_some()) {
            self.newer(parameters.span.start, "default parameter");
        }
        if parameters.rest.is_some() {
            self.newer(parameters.span.start, "rest parameter");
        }
        walk::walk_formal_parameters(self, parameters);
    }

    fn visit_await_expression(&mut self, wait: &AwaitExpression<'a>) {
        self.newer(wait.span.start, "await");
        walk::walk_await_expression(self, wait);
    }

    fn visit_class(&mut self, class: &Class<'a>) {
        self.newer(class.span.start, "class");
        walk::walk_class(self, class);
    }

    fn visit_object_pattern(&mut self, pattern: &ObjectPattern<'a>) {
        self.newer(pattern.span.start, "destructuring");
        walk::walk_object_pattern(self, pattern);
    }

    fn visit_array_pattern(&mut self, pattern: &ArrayPattern<'a>) {
        self.newer(pattern.span.start, "destructuring");
        walk::walk_array_pattern(self, pattern);
    }

    fn visit_object_assignment_target(&mut self, target: &ObjectAssignmentTarget<'a>) {
        self.newer(target.span.start, "destructuring");
        walk::walk_object_assignment_target(self, target);
    }

    fn visit_array_assignment_target(&mut self, target: &ArrayAssignmentTarget<'a>) {
        self.newer(target.span.start, "destructuring");
        walk::walk_array_assignment_target(self, target);
    }

    fn visit_spread_element(&mut self, spread: &SpreadElement<'a>) {
        self.newer(spread.span.start, "spread");
        walk::walk_spread_element(self, spread);
    }

    fn visit_chain_expression(&mut self, chain: &ChainExpression<'a>) {
        self.newer(chain.span.start, "optional chaining ?.");
        walk::walk_chain_expression(self, chain);
    }

    fn visit_logical_expression(&mut self, logical: &LogicalExpression<'a>) {
        if logical.operator.is_coalesce() {
            self.newer(logical.span.start, "??");
        }
        walk::walk_logical_expression(self, logical);
    }

    fn visit_binary_expression(&mut self, binary: &BinaryExpression<'a>) {
        if binary.operator == BinaryOperator::Exponential {
            self.newer(binary.span.start, "**");
        }
        walk::walk_binary_expression(self, binary);
    }

    fn visit_big_int_literal(&mut self, literal: &BigIntLiteral<'a>) {
        self.newer(literal.span.start, "bigint literal");
    }

    fn visit_reg_exp_literal(&mut self, literal: &RegExpLiteral<'a>) {
        let old = RegExpFlags::G | RegExpFlags::I | RegExpFlags::M;
        if !old.contains(literal.regex.flags) || literal.regex.pattern.text.contains("(?<") {
            self.newer(literal.span.start, "regular expression with flags or groups of ES2018");
        }
    }

    fn visit_import_expression(&mut self, import: &ImportExpression<'a>) {
        self.add(import.span.start, Effect::InNeither, "import(): scripts are no modules");
        walk::walk_import_expression(self, import);
    }

    fn visit_identifier_reference(&mut self, name: &IdentifierReference<'a>) {
        let (at, text) = (name.span.start, name.name.as_str());
        if self.names.is_bound(text) {
            return;
        }
        if NASHORN_GLOBALS.contains(&text) {
            self.add(at, Effect::OnlyNashorn, format!("{text} is Nashorn's"));
        } else if HOST_GLOBALS.contains(&text) {
            self.add(at, Effect::InNeither, format!("{text} is of Node or browsers"));
        } else if NEWER_GLOBALS.contains(&text) {
            self.newer(at, text);
        } else if text == "Intl" {
            self.add(at, Effect::MayDiffer, "Intl is the engine's choice of locale");
        }
    }

    fn visit_static_member_expression(&mut self, member: &StaticMemberExpression<'a>) {
        let (at, property) = (member.property.span.start, member.property.name.as_str());
        let object = match &member.object {
            Expression::Identifier(name) => name.name.as_str(),
            _ => "",
        };
        if NEWER_METHODS.contains(&property)
            || (object == "Object" && matches!(property, "entries" | "values"))
        {
            self.newer(at, property);
        }
        if LOCALE_METHODS.contains(&property) {
            self.add(at, Effect::MayDiffer, format!("{property} is the engine's choice of locale"));
        }
        match (object, property) {
            ("Math", "random") | ("Date", "now") => {
                self.add(at, Effect::NotReproducible, format!("{object}.{property}"));
            }
            ("Date", "parse") => self.dates(at),
            _ => {}
        }
        walk::walk_static_member_expression(self, member);
    }

    fn visit_new_expression(&mut self, new: &NewExpression<'a>) {
        if matches!(&new.callee, Expression::Identifier(name) if name.name == "Date") {
            match new.arguments.len() {
                0 => self.add(new.span.start, Effect::NotReproducible, "new Date()"),
                1 => self.dates(new.span.start),
                _ => {}
            }
        }
        walk::walk_new_expression(self, new);
    }

    fn visit_call_expression(&mut self, call: &CallExpression<'a>) {
        if matches!(&call.callee, Expression::Identifier(name) if name.name == "Date") {
            self.add(call.span.start, Effect::NotReproducible, "Date()");
        }
        walk::walk_call_expression(self, call);
    }

    fn visit_assignment_expression(&mut self, assignment: &AssignmentExpression<'a>) {
        let operator = assignment.operator.as_str();
        if matches!(operator, "**=" | "||=" | "&&=" | "??=") {
            self.newer(assignment.span.start, operator);
        }
        if let Some(target) = assignment.left.as_simple_assignment_target() {
            self.assigned(assignment.span.start, target);
        }
        walk::walk_assignment_expression(self, assignment);
    }

    fn visit_update_expression(&mut self, update: &UpdateExpression<'a>) {
        self.assigned(update.span.start, &update.argument);
        walk::walk_update_expression(self, update);
    }
}

impl Language<'_> {
    fn dates(&mut self, at: u32) {
        self.add(at, Effect::MayDiffer, "text other than ISO 8601 is a date as each engine sees fit");
    }
}
