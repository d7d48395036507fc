//! What is known of the script's values while it is lowered.

use std::collections::HashMap;
use std::rc::Rc;

use oxc_ast::ast::{Expression, FormalParameters, FunctionBody};

use crate::plan::program::{BlockId, Expr, LocalId, NodeId, ObjectId};

/// A value that does not depend on the message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Const {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Rc<str>),
}

/// A constant list or look-up table. Nothing that is lowered changes one.
#[derive(Debug)]
pub(super) enum Table<'a> {
    Array(Vec<Known<'a>>),
    Object(Vec<(Rc<str>, Known<'a>)>),
}

/// A function of the script and where its names are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct FunctionRef<'a> {
    pub script: usize,
    pub params: &'a FormalParameters<'a>,
    pub body: Body<'a>,
    /// The scope that it stands in; `None` for the global one.
    pub scope: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'a> {
    Statements(&'a FunctionBody<'a>),
    Expression(&'a Expression<'a>),
}

impl PartialEq for FunctionRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.params, other.params) && self.scope == other.scope
    }
}

/// What is known of a value before any message.
#[derive(Debug, Clone)]
pub(super) enum Known<'a> {
    /// Nothing.
    Unknown,
    /// It must not be read: a `let` before its declaration, or a constant that is not understood.
    Unreadable,
    Const(Const),
    Table(Rc<Table<'a>>),
    Function(FunctionRef<'a>),
    /// The message as it came.
    Argument,
    /// The parsed message, exactly that.
    Root,
    /// An object that the script makes, exactly that.
    Object(ObjectId),
    /// The JSON text of that object, as of so many writes.
    TextOf(ObjectId, u32),
}

impl PartialEq for Known<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unknown, Self::Unknown)
            | (Self::Unreadable, Self::Unreadable)
            | (Self::Argument, Self::Argument)
            | (Self::Root, Self::Root) => true,
            (Self::Const(a), Self::Const(b)) => a == b,
            (Self::Table(a), Self::Table(b)) => Rc::ptr_eq(a, b),
            (Self::Function(a), Self::Function(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::TextOf(a, at), Self::TextOf(b, bt)) => a == b && at == bt,
            _ => false,
        }
    }
}

/// An expression, lowered.
pub(super) struct Value<'a> {
    pub expr: Expr,
    pub known: Known<'a>,
    /// The parts of the message that it may be.
    pub nodes: Vec<NodeId>,
    /// Whether it is surely a string.
    pub is_text: bool,
}

impl<'a> Value<'a> {
    pub fn new(expr: Expr) -> Self {
        Self { expr, known: Known::Unknown, nodes: Vec::new(), is_text: false }
    }

    pub fn text(expr: Expr) -> Self {
        Self { is_text: true, ..Self::new(expr) }
    }

    pub fn known(expr: Expr, known: Known<'a>) -> Self {
        let is_text = matches!(known, Known::Const(Const::Text(_)) | Known::Argument | Known::TextOf(..));
        Self { known, is_text, ..Self::new(expr) }
    }

    /// Whether it is a function or a constant list, which all messages share.
    pub fn is_shared(&self) -> bool {
        let is_known = matches!(self.known, Known::Table(_) | Known::Function(_) | Known::Unreadable);
        is_known || matches!(self.expr, Expr::Opaque)
    }

    /// The value, when it is known before any message and costs nothing to have.
    pub fn constant(&self) -> Option<&Const> {
        match &self.known {
            Known::Const(value) if self.expr.is_idle() => Some(value),
            _ => None,
        }
    }

    pub fn with_nodes(mut self, nodes: Vec<NodeId>) -> Self {
        self.nodes = nodes;
        self
    }
}

/// The union of two sets of parts.
pub(super) fn union(mut a: Vec<NodeId>, b: &[NodeId]) -> Vec<NodeId> {
    a.extend(b.iter().filter(|node| !a.contains(node)).copied().collect::<Vec<_>>());
    a
}

/// A variable as it stands at one place of the script.
#[derive(Debug, Clone)]
pub(super) struct Variable<'a> {
    pub local: LocalId,
    pub is_const: bool,
    pub known: Known<'a>,
    pub nodes: Vec<NodeId>,
    pub is_text: bool,
}

/// All variables at one place, and whether the place can be reached.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow<'a> {
    pub variables: Vec<Variable<'a>>,
    pub is_reachable: bool,
}

impl<'a> Flow<'a> {
    /// What holds where two ways meet.
    pub fn join(&mut self, other: &Self) {
        if !other.is_reachable {
            // Variables of the other way only are never seen again, but their numbers are taken.
            self.variables.extend(other.variables.iter().skip(self.variables.len()).cloned());
            return;
        }
        if !self.is_reachable {
            let longer = self.variables.split_off(other.variables.len().min(self.variables.len()));
            *self = other.clone();
            self.variables.extend(longer);
            return;
        }
        for (mine, theirs) in self.variables.iter_mut().zip(&other.variables) {
            if mine.known != theirs.known {
                mine.known = match (&mine.known, &theirs.known) {
                    // What may be a function or a constant list must not get about unseen.
                    (Known::Unreadable | Known::Table(_) | Known::Function(_), _)
                    | (_, Known::Unreadable | Known::Table(_) | Known::Function(_)) => Known::Unreadable,
                    _ => Known::Unknown,
                };
            }
            mine.nodes = union(std::mem::take(&mut mine.nodes), &theirs.nodes);
            mine.is_text &= theirs.is_text;
        }
        self.variables.extend(other.variables.iter().skip(self.variables.len()).cloned());
    }
}

/// Names of a block or function.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    pub parent: Option<usize>,
    /// Name -> variable.
    pub names: HashMap<&'a str, usize>,
}

/// What can be left, innermost last.
pub(super) struct Frame<'a> {
    pub kind: FrameKind,
    pub block: BlockId,
    /// How things stand wherever it is left from.
    pub exits: Vec<Flow<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// `break` leaves it.
    Loop,
    /// `continue` leaves it.
    Round,
    /// `return` leaves it, with the value in this variable.
    Call(usize),
    /// `return` ends the program.
    Top,
}
