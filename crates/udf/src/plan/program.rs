//! What a script is lowered to: a small tree of operations over the parts of the message that it reads.
//!
//! A program has no effect until it ends: whatever it is not sure of, it *refuses*, and the engine runs
//! the message from the start as if there had been no plan.

/// A part of the message: the index of its [`Node`].
pub(crate) type NodeId = u16;
/// A variable of the script at one place of the program.
pub(crate) type LocalId = u16;
/// An object that the script makes.
pub(crate) type ObjectId = u16;
/// A property of such an object.
pub(crate) type SlotId = u16;
/// A constant text.
pub(crate) type TextId = u16;
/// A block of operations that can be left.
pub(crate) type BlockId = u16;

/// The part that is the whole message.
pub(crate) const ROOT: NodeId = 0;

/// The object of the properties that the script writes on the parsed message itself.
pub(crate) const OVERLAY: ObjectId = 0;

/// A lowered script.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// What is done for each message.
    pub body: Vec<Op>,
    /// The parts of the message that are read, as a tree; the first is the message.
    pub nodes: Vec<Node>,
    /// The objects that the script makes; the first is [`OVERLAY`].
    pub objects: Vec<Object>,
    /// All their properties.
    pub slots: Vec<Slot>,
    /// All constant texts, names of properties too.
    pub texts: Vec<Box<str>>,
    /// How many variables there are.
    pub locals: usize,
    /// How many blocks there are.
    pub blocks: BlockId,
}

/// A part of the message, found by its name in the part above it.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub name: TextId,
    /// Its name as JSON text has it between quotes.
    pub key: Box<[u8]>,
    /// Its name as an index of an array.
    pub index: Option<u32>,
    /// Whether strings, numbers, booleans or arrays have something of that name from their prototypes.
    pub is_builtin: bool,
    /// The part above.
    pub parent: NodeId,
    /// The parts below.
    pub children: Vec<NodeId>,
    /// The hashes of their names, in the same order.
    pub hashes: Vec<u32>,
    /// Whether its JSON text is needed when it is an object or an array.
    pub wants_text: bool,
}

/// An object that the script makes.
#[derive(Debug, Default)]
pub(crate) struct Object {
    /// Its properties.
    pub slots: Vec<SlotId>,
}

/// A property of an object that the script makes.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its name.
    pub name: TextId,
    /// `"name":`, as JSON text has it.
    pub key: Box<str>,
}

/// An operation.
#[derive(Debug)]
pub(crate) enum Op {
    /// Sets a variable.
    Set(LocalId, Expr),
    /// Makes an object anew, empty.
    New(ObjectId),
    /// Sets a property.
    Put(SlotId, Expr),
    /// Deletes a property.
    Delete(SlotId),
    /// Evaluates for nothing but what may be refused in it.
    Do(Expr),
    /// One or the other.
    If(Expr, Vec<Op>, Vec<Op>),
    /// Operations that [`Op::Leave`] leaves.
    Block(BlockId, Vec<Op>),
    /// Goes on behind the block.
    Leave(BlockId),
    /// The function returns a value.
    Return(Expr),
    /// The function returns the JSON text of an object.
    ReturnRow(ObjectId),
    /// The engine must run this message.
    Refuse,
}

/// A comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Something that has a value.
#[derive(Debug)]
pub(crate) enum Expr {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(TextId),
    /// A function or a constant list: nothing can be done with it while a message runs.
    Opaque,
    /// The message as it came.
    Argument,
    /// The message, parsed.
    Parse,
    Local(LocalId),
    /// A part of the message that has been parsed.
    Part(NodeId),
    /// A property of an object that the script makes.
    Slot(SlotId),
    /// A property of the parsed message, unless the script has written another.
    Overlay(SlotId, Box<Expr>),
    /// An object that the script makes.
    Object(ObjectId),
    /// A property by name; with `true` the chain ends when there is nothing to take it from.
    Get(Box<Expr>, TextId, bool),
    /// Where a chain of `?.` ends.
    Chain(Box<Expr>),
    /// `JSON.stringify`.
    Stringify(Box<Expr>),
    /// Texts one behind the other; one at least is known to be a string.
    Concat(Vec<Expr>),
    /// `+` of what may be numbers.
    Add(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Truthy(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Coalesce(Box<Expr>, Box<Expr>),
    Choose(Box<Expr>, Box<Expr>, Box<Expr>),
    Strict(Box<Expr>, Box<Expr>),
    Loose(Box<Expr>, Box<Expr>),
    IsUndefined(Box<Expr>),
    IsNull(Box<Expr>),
    IsNullish(Box<Expr>),
    Compare(Order, Box<Expr>, Box<Expr>),
    Typeof(Box<Expr>),
    IsArray(Box<Expr>),
    /// Whether there is a property of that name.
    Has(Box<Expr>, TextId),
    /// Operations, then a value.
    After(Vec<Op>, Box<Expr>),
}

impl Expr {
    /// Whether evaluating it can neither be refused nor change anything.
    pub fn is_idle(&self) -> bool {
        matches!(
            self,
            Self::Undefined
                | Self::Null
                | Self::Bool(_)
                | Self::Number(_)
                | Self::Text(_)
                | Self::Opaque
                | Self::Argument
                | Self::Local(_)
                | Self::Part(_)
                | Self::Slot(_)
                | Self::Object(_)
        )
    }
}
