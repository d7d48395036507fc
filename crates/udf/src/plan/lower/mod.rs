//! Lowers a script: runs it once, without a message, and writes down what depends on the message.
//!
//! Everything that is the same for each message is worked out here: constant lists, loops over them,
//! names of properties, helper functions. What is left is a [`Program`]. An error is not an error of the
//! script: it names what a program has no equal for.

mod assign;
mod binary;
mod branches;
mod calls;
mod expressions;
mod globals;
mod harmless;
mod loops;
mod members;
mod objects;
mod state;
mod statements;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use oxc_ast::ast::Program as Ast;
use oxc_span::Span;

use self::state::{Body, Const, Flow, Frame, FrameKind, FunctionRef, Known, Scope, Table, Variable};
use super::explain::{Obstacle, place};
use super::program::{
    BlockId, Expr, LocalId, Node, NodeId, Object, ObjectId, Op, Program, ROOT, SlotId, TextId,
};
use crate::quote::quote;

/// Most operations, parts, properties and variables of a program: loops over constant lists are unrolled.
const SIZE_MAX: usize = 4_000;

/// Deepest nesting of expressions, statements and calls.
const DEPTH_MAX: usize = 100;

/// A script that has been read.
pub(super) struct ScriptAst<'a> {
    pub name: &'a str,
    pub source: &'a str,
    pub ast: &'a Ast<'a>,
}

/// A lowered script.
pub(super) struct Lowered {
    pub program: Program,
    /// Whether the parsed message itself is changed.
    pub has_overlay: bool,
    /// What it leaves to the engine.
    pub partly: Vec<Obstacle>,
    /// How many parameters the function declares.
    pub parameters: usize,
}

/// Where in the scripts something stands that has no equal, and what it is.
#[derive(Debug)]
struct Stop {
    script: usize,
    span: Option<Span>,
    construct: String,
}

type Lowering<T> = Result<T, Stop>;

/// Lowers the function of that name.
pub(super) fn lower(scripts: &[ScriptAst<'_>], function: &str) -> Result<Lowered, Obstacle> {
    let mut lowerer = Lowerer::new(scripts);
    match lowerer.top(function) {
        Ok(()) => Ok(lowerer.finish()),
        Err(stop) => Err(obstacle(scripts, &stop)),
    }
}

fn obstacle(scripts: &[ScriptAst<'_>], stop: &Stop) -> Obstacle {
    let script = scripts.get(stop.script);
    let (line, column) =
        stop.span.zip(script).map_or((0, 0), |(span, script)| place(script.source, span.start));
    let name = script.map_or("", |script| script.name);
    Obstacle { script: name.to_owned(), line, column, construct: stop.construct.clone() }
}

struct Lowerer<'s, 'a> {
    scripts: &'s [ScriptAst<'a>],
    globals: HashMap<&'a str, Known<'a>>,
    /// All names that the scripts' top level declares.
    declared: HashSet<&'a str>,
    /// Names of what code that is left to the engine must not touch: functions and constant lists.
    guarded: HashSet<&'a str>,
    scopes: Vec<Scope<'a>>,
    flow: Flow<'a>,
    frames: Vec<Frame<'a>>,
    /// The functions that are being lowered, outermost first.
    calls: Vec<FunctionRef<'a>>,
    program: Program,
    /// For each property that the script writes, the parts of the message that it may be.
    slot_nodes: Vec<Vec<NodeId>>,
    /// Objects that the script makes of constants and has not written on since.
    tables: HashMap<ObjectId, Rc<Table<'a>>>,
    texts: HashMap<Box<str>, TextId>,
    partly: Vec<Stop>,
    parameters: usize,
    /// Which script the places are of.
    script: usize,
    /// Writes to objects so far.
    writes: u32,
    size: usize,
    depth: usize,
    /// The first place that writes on the parsed message, and the first that reads what may or may not be
    /// the parsed message: not both.
    overlay_at: Option<Span>,
    /// See `overlay_at`.
    blurred_at: Option<Span>,
    parses: usize,
}

impl<'s, 'a> Lowerer<'s, 'a> {
    fn new(scripts: &'s [ScriptAst<'a>]) -> Self {
        let mut lowerer = Self {
            scripts,
            globals: HashMap::new(),
            declared: HashSet::new(),
            guarded: HashSet::new(),
            scopes: Vec::new(),
            flow: Flow { variables: Vec::new(), is_reachable: true },
            frames: Vec::new(),
            calls: Vec::new(),
            program: Program { objects: vec![Object::default()], ..Program::default() },
            slot_nodes: Vec::new(),
            tables: HashMap::new(),
            texts: HashMap::new(),
            partly: Vec::new(),
            parameters: 0,
            script: 0,
            writes: 0,
            size: 0,
            depth: 0,
            overlay_at: None,
            blurred_at: None,
            parses: 0,
        };
        let name = lowerer.text("");
        lowerer.program.nodes.push(Node {
            name,
            key: Box::default(),
            index: None,
            is_builtin: false,
            parent: ROOT,
            children: Vec::new(),
            hashes: Vec::new(),
            wants_text: false,
        });
        lowerer
    }

    fn top(&mut self, name: &str) -> Lowering<()> {
        self.read_globals()?;
        let Some(Known::Function(function)) = self.globals.get(name).cloned() else {
            let construct = format!("`{name}` is not declared as a plain function at the top level");
            return Err(Stop { script: 0, span: None, construct });
        };
        self.parameters = function.params.items.len();
        self.script = function.script;
        self.frames.push(Frame { kind: FrameKind::Top, block: 0, exits: Vec::new() });
        let mut ops = Vec::new();
        let arguments = vec![state::Value::known(Expr::Argument, Known::Argument)];
        self.enter(function, arguments, &mut ops)?;
        self.program.body = ops;
        self.check_overlay()
    }

    /// Lowers a function's parameters and body; the frame that its returns leave is there already.
    fn enter(
        &mut self,
        function: FunctionRef<'a>,
        arguments: Vec<state::Value<'a>>,
        ops: &mut Vec<Op>,
    ) -> Lowering<()> {
        let (script, depth) = (self.script, self.scopes.len());
        self.script = function.script;
        self.calls.push(function);
        self.scopes.push(Scope { parent: function.scope, names: HashMap::new() });
        self.parameters(function, depth, arguments, ops)?;
        match function.body {
            Body::Statements(body) => {
                self.hoist(&body.statements, depth, true)?;
                self.statements(&body.statements, depth, ops)?;
            }
            Body::Expression(expression) => {
                let value = self.expression(expression, depth)?;
                self.give_back(value, ops)?;
            }
        }
        if self.flow.is_reachable {
            let nothing = state::Value::known(Expr::Undefined, Known::Const(Const::Undefined));
            self.give_back(nothing, ops)?;
        }
        self.calls.pop();
        self.script = script;
        Ok(())
    }

    /// A program that writes on the parsed message must know at each place which object is that message.
    fn check_overlay(&self) -> Lowering<()> {
        let Some(span) = self.overlay_at else { return Ok(()) };
        if let Some(blurred) = self.blurred_at {
            return Err(self.stop(blurred, "what may or may not be the parsed message, which is changed"));
        }
        if self.parses > 1 {
            return Err(self.stop(span, "a change of the parsed message, which is parsed more than once"));
        }
        Ok(())
    }

    fn finish(self) -> Lowered {
        let partly = self.partly.iter().map(|stop| obstacle(self.scripts, stop)).collect();
        Lowered {
            program: self.program,
            has_overlay: self.overlay_at.is_some(),
            partly,
            parameters: self.parameters,
        }
    }

    fn stop(&self, span: Span, construct: impl Into<String>) -> Stop {
        Stop { script: self.script, span: Some(span), construct: construct.into() }
    }

    /// Counts something that the program holds.
    fn grow(&mut self) -> Lowering<()> {
        self.size += 1;
        if self.size > SIZE_MAX {
            let construct =
                format!("the function comes to more than {SIZE_MAX} steps once loops are unrolled");
            return Err(Stop { script: self.script, span: None, construct });
        }
        Ok(())
    }

    /// Runs `work` one level deeper.
    fn deeper<T>(&mut self, span: Span, work: impl FnOnce(&mut Self) -> Lowering<T>) -> Lowering<T> {
        if self.depth == DEPTH_MAX {
            return Err(self.stop(span, format!("nesting deeper than {DEPTH_MAX}")));
        }
        self.grow()?;
        self.depth += 1;
        let done = work(self);
        self.depth -= 1;
        done
    }

    fn text(&mut self, text: &str) -> TextId {
        if let Some(&id) = self.texts.get(text) {
            return id;
        }
        let id = number(self.program.texts.len());
        self.program.texts.push(text.into());
        self.texts.insert(text.into(), id);
        id
    }

    fn new_variable(&mut self, is_const: bool, known: Known<'a>) -> Lowering<usize> {
        self.grow()?;
        let local: LocalId = number(self.program.locals);
        self.program.locals += 1;
        let variable = Variable { local, is_const, known, nodes: Vec::new(), is_text: false };
        self.flow.variables.push(variable);
        Ok(self.flow.variables.len() - 1)
    }

    fn new_block(&mut self) -> BlockId {
        let block = self.program.blocks;
        self.program.blocks += 1;
        block
    }

    fn new_object(&mut self) -> Lowering<u16> {
        self.grow()?;
        self.program.objects.push(Object::default());
        Ok(number(self.program.objects.len() - 1))
    }

    /// The property of that name of an object that the script makes, added when there is none.
    fn slot(&mut self, object: u16, name: &str) -> Lowering<SlotId> {
        let name = self.text(name);
        if let Some(slot) = self.find_slot(object, name) {
            return Ok(slot);
        }
        self.grow()?;
        let slot: SlotId = number(self.program.slots.len());
        let mut key = String::new();
        quote(&mut key, &self.program.texts[usize::from(name)]);
        key.push(':');
        self.program.slots.push(super::program::Slot { name, key: key.into() });
        self.slot_nodes.push(Vec::new());
        self.program.objects[usize::from(object)].slots.push(slot);
        Ok(slot)
    }

    fn find_slot(&self, object: u16, name: TextId) -> Option<SlotId> {
        let slots = &self.program.objects[usize::from(object)].slots;
        slots.iter().copied().find(|&slot| self.program.slots[usize::from(slot)].name == name)
    }

    /// The part of that name below a part, added when there is none.
    fn child(&mut self, parent: NodeId, name: TextId) -> Lowering<NodeId> {
        let nodes = &self.program.nodes;
        let children = &nodes[usize::from(parent)].children;
        if let Some(child) = children.iter().copied().find(|&child| nodes[usize::from(child)].name == name) {
            return Ok(child);
        }
        self.grow()?;
        let child: NodeId = number(self.program.nodes.len());
        let text = &self.program.texts[usize::from(name)];
        let mut key = String::new();
        quote(&mut key, text);
        let node = Node {
            name,
            key: key.as_bytes()[1..key.len() - 1].into(),
            index: super::names::index(text),
            is_builtin: super::names::is_on_others(text),
            parent,
            children: Vec::new(),
            hashes: Vec::new(),
            wants_text: false,
        };
        let above = &mut self.program.nodes[usize::from(parent)];
        above.children.push(child);
        above.hashes.push(super::scan::hash(&node.key, 0..node.key.len()));
        self.program.nodes.push(node);
        Ok(child)
    }

    fn want_texts(&mut self, nodes: &[NodeId]) {
        for &node in nodes {
            self.program.nodes[usize::from(node)].wants_text = true;
        }
    }
}

/// An index as a program holds it: [`SIZE_MAX`] is far below what fits.
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
