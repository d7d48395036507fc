//! What happens in a session: steps in their order, and the calls to models and tools that they tell of.

use crate::kind::Kind;
use crate::model::Usage;

/// One record to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Milliseconds after the session's start.
    pub(crate) at_ms: u32,
    pub(crate) kind: Kind,
    /// Whose call it tells of.
    pub(crate) call: u16,
}

/// A call to a model, and to a tool when the model asked for one; or what else has numbers of its own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Call {
    pub(crate) model: u8,
    pub(crate) role: Role,
    pub(crate) usage: Usage,
    /// What a tool did.
    pub(crate) tool: ToolUse,
    /// A place in the list of errors.
    pub(crate) error: u8,
    /// The number that a record has of its own: an attempt, turns, milliseconds.
    pub(crate) extra: u32,
}

/// Who calls a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Role {
    #[default]
    Main,
    Subagent,
    NextSpeaker,
    Router,
    Compressor,
}

/// A tool call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ToolUse {
    /// A place in the list of tools, or in that of failures.
    pub(crate) place: u8,
    pub(crate) fails: bool,
    pub(crate) decision: Decision,
    pub(crate) duration_ms: u32,
}

/// What was decided about a tool call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Decision {
    #[default]
    Accept,
    AutoAccept,
    Modify,
    Reject,
}

/// The steps of a session in their order, and their calls.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) calls: Vec<Call>,
}
