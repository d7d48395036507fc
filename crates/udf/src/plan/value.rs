//! Values while a message runs. They are small: texts stay where they are.

use super::program::{NodeId, ObjectId, TextId};

/// A value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Val {
    #[default]
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    Text(Text),
    /// A part of the message: a string with escapes in it, a number, an array or an object.
    Part(NodeId),
    /// The parsed message.
    Root,
    /// An object that the script makes.
    Object(ObjectId),
    /// Nothing can be done with it.
    Opaque,
}

/// Where a text is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Text {
    /// In the message.
    Message(u32, u32),
    /// Among the texts that the scan has written.
    Scanned(u32, u32),
    /// Among those that the program has made.
    Made(u32, u32),
    /// In the program.
    Const(TextId),
    /// What `typeof` says.
    TypeName(Type),
}

/// The types that the language's comparisons tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Undefined,
    Null,
    Bool,
    Number,
    String,
    Object,
}

impl Type {
    pub fn is_nullish(self) -> bool {
        matches!(self, Self::Undefined | Self::Null)
    }

    /// What `typeof` says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null | Self::Object => "object",
            Self::Bool => "boolean",
            Self::Number => "number",
            Self::String => "string",
        }
    }
}

/// A property of an object that the script makes, or writes on the parsed message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Stored {
    /// Never set: the parsed message's own property shows through.
    #[default]
    Unset,
    Deleted,
    /// Set, the first time with this write of the message: properties keep the order of their first
    /// setting. And whether it was deleted before that, so that it has left its place in the message.
    Set(Val, u32, bool),
}

/// Why a program does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// The engine must run this message.
    Refuse,
    /// A chain of `?.` ends.
    Short,
}

pub(super) type Run<T> = Result<T, Halt>;
