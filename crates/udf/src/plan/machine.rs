//! Runs a program on one message: the operations, and what becomes of them.

use super::program::{BlockId, Expr, ObjectId, Op, Program, ROOT};
use super::scan::{Kind, Part, Scratch, scan};
use super::value::{Halt, Run, Stored, Text, Type, Val};

/// Buffers above this size are given back after the message that needed them.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// What the script's function returned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Returned {
    Value(Val),
    /// The JSON text of this object.
    Row(ObjectId),
}

/// How a run of operations ended.
pub(super) enum Flow {
    Next,
    Leave(BlockId),
    Return(Returned),
}

/// One worker's memory for running programs, used again for each message.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) parts: Vec<Part>,
    pub(super) scratch: Scratch,
    /// Texts that the program makes.
    pub(super) made: String,
    /// A text on its way into `made`.
    pub(super) spare: String,
    pub(super) stack: Vec<Val>,
    pub(super) slots: Vec<Stored>,
    pub(super) locals: Vec<Val>,
    /// Writes to properties so far.
    writes: u32,
    is_scanned: bool,
}

/// A message and the program that runs on it.
#[derive(Clone, Copy)]
pub(super) struct Task<'t> {
    pub program: &'t Program,
    pub message: &'t str,
    pub has_overlay: bool,
}

impl Machine {
    /// Runs the program; an error leaves the message to the engine.
    pub fn run(&mut self, task: Task<'_>) -> Run<Returned> {
        if task.message.is_empty() {
            // What becomes of a message of attributes only is a matter of the mode.
            return Err(Halt::Refuse);
        }
        self.reset(task.program);
        match self.ops(task, &task.program.body)? {
            Flow::Return(returned) => Ok(returned),
            Flow::Next | Flow::Leave(_) => Ok(Returned::Value(Val::Undefined)),
        }
    }

    fn reset(&mut self, program: &Program) {
        self.made.clear();
        if self.made.capacity() > KEPT_BYTES_MAX || self.scratch.texts.len() > KEPT_BYTES_MAX {
            self.made = String::new();
            self.spare = String::new();
            self.scratch = Scratch::default();
        }
        self.parts.clear();
        self.parts.resize(program.nodes.len(), Part::default());
        self.slots.clear();
        self.slots.resize(program.slots.len(), Stored::Unset);
        self.locals.clear();
        self.locals.resize(program.locals, Val::Undefined);
        self.stack.clear();
        self.writes = 0;
        self.is_scanned = false;
    }

    pub(super) fn ops(&mut self, task: Task<'_>, ops: &[Op]) -> Run<Flow> {
        for op in ops {
            match self.op(task, op)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    /// Operations in an expression: whatever leaves them ends inside of them.
    pub(super) fn ops_within(&mut self, task: Task<'_>, ops: &[Op]) -> Run<()> {
        match self.ops(task, ops)? {
            Flow::Next => Ok(()),
            Flow::Leave(_) | Flow::Return(_) => Err(Halt::Refuse),
        }
    }

    fn op(&mut self, task: Task<'_>, op: &Op) -> Run<Flow> {
        match op {
            Op::Set(local, expr) => {
                let value = self.eval(task, expr)?;
                *self.locals.get_mut(usize::from(*local)).ok_or(Halt::Refuse)? = value;
            }
            Op::New(object) => {
                let object = task.program.objects.get(usize::from(*object)).ok_or(Halt::Refuse)?;
                for &slot in &object.slots {
                    *self.slots.get_mut(usize::from(slot)).ok_or(Halt::Refuse)? = Stored::Unset;
                }
            }
            Op::Put(slot, expr) => {
                let value = self.eval(task, expr)?;
                self.writes += 1;
                let writes = self.writes;
                let stored = self.slots.get_mut(usize::from(*slot)).ok_or(Halt::Refuse)?;
                *stored = match stored {
                    Stored::Set(_, since, has_moved) => Stored::Set(value, *since, *has_moved),
                    Stored::Unset => Stored::Set(value, writes, false),
                    Stored::Deleted => Stored::Set(value, writes, true),
                };
            }
            Op::Delete(slot) => {
                *self.slots.get_mut(usize::from(*slot)).ok_or(Halt::Refuse)? = Stored::Deleted;
            }
            Op::Do(expr) => {
                self.eval(task, expr)?;
            }
            Op::If(test, then, otherwise) => {
                let taken = if self.test(task, test)? { then } else { otherwise };
                return self.ops(task, taken);
            }
            Op::Block(block, ops) => match self.ops(task, ops)? {
                Flow::Leave(left) if left == *block => {}
                other => return Ok(other),
            },
            Op::Leave(block) => return Ok(Flow::Leave(*block)),
            Op::Return(expr) => return Ok(Flow::Return(Returned::Value(self.eval(task, expr)?))),
            Op::ReturnRow(object) => return Ok(Flow::Return(Returned::Row(*object))),
            Op::Refuse => return Err(Halt::Refuse),
        }
        Ok(Flow::Next)
    }

    pub(super) fn test(&mut self, task: Task<'_>, expr: &Expr) -> Run<bool> {
        Ok(match expr {
            Expr::Not(inner) => !self.test(task, inner)?,
            Expr::And(a, b) => self.test(task, a)? && self.test(task, b)?,
            Expr::Or(a, b) => self.test(task, a)? || self.test(task, b)?,
            Expr::IsUndefined(inner) => {
                let value = self.eval(task, inner)?;
                self.type_of(value)? == Type::Undefined
            }
            Expr::IsNull(inner) => {
                let value = self.eval(task, inner)?;
                self.type_of(value)? == Type::Null
            }
            Expr::IsNullish(inner) => {
                let value = self.eval(task, inner)?;
                self.type_of(value)?.is_nullish()
            }
            _ => {
                let value = self.eval(task, expr)?;
                self.truth(task, value)?
            }
        })
    }

    /// Parses the message, the first time.
    pub(super) fn parse(&mut self, task: Task<'_>) -> Run<Val> {
        if !self.is_scanned {
            let nodes = &task.program.nodes;
            scan(task.message, nodes, &mut self.parts, &mut self.scratch, task.has_overlay)
                .ok_or(Halt::Refuse)?;
            self.is_scanned = true;
        }
        Ok(Val::Root)
    }

    /// A property of the parsed message's part, as a value.
    pub(super) fn part(&self, node: u16) -> Run<Val> {
        let part = self.parts.get(usize::from(node)).ok_or(Halt::Refuse)?;
        Ok(match part.kind {
            Kind::Missing => Val::Undefined,
            Kind::Null => Val::Null,
            Kind::True => Val::Bool(true),
            Kind::False => Val::Bool(false),
            Kind::String if !part.is_odd => Val::Text(Text::Message(part.start, part.end)),
            _ if node == ROOT => Val::Root,
            _ => Val::Part(node),
        })
    }

    /// A text, where it is.
    pub(super) fn str<'m>(&'m self, task: Task<'m>, text: Text) -> Run<&'m str> {
        let range = |start: u32, end: u32| start as usize..end as usize;
        let found = match text {
            Text::Message(start, end) => task.message.get(range(start, end)),
            Text::Scanned(start, end) => {
                let bytes = self.scratch.texts.get(range(start, end));
                bytes.and_then(|bytes| simdutf8::basic::from_utf8(bytes).ok())
            }
            Text::Made(start, end) => self.made.get(range(start, end)),
            Text::Const(text) => task.program.texts.get(usize::from(text)).map(|text| &**text),
            Text::TypeName(of) => Some(of.name()),
        };
        found.ok_or(Halt::Refuse)
    }

    /// A text's length in bytes.
    pub(super) fn length(&self, task: Task<'_>, text: Text) -> Run<usize> {
        match text {
            Text::Message(start, end) | Text::Scanned(start, end) | Text::Made(start, end) => {
                Ok(end.saturating_sub(start) as usize)
            }
            Text::Const(_) | Text::TypeName(_) => self.str(task, text).map(str::len),
        }
    }

    /// What has been made since `start`.
    pub(super) fn made_since(&self, start: usize) -> Run<Text> {
        let position = |at: usize| u32::try_from(at).map_err(|_| Halt::Refuse);
        Ok(Text::Made(position(start)?, position(self.made.len())?))
    }
}
