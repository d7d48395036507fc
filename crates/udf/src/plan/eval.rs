//! Values of expressions, as the language defines them.

use super::machine::{Machine, Task};
use super::program::{Expr, Order, TextId};
use super::scan::{Kind, unescape_into};
use super::value::{Halt, Run, Stored, Text, Type, Val};

impl Machine {
    pub(super) fn eval(&mut self, task: Task<'_>, expr: &Expr) -> Run<Val> {
        Ok(match expr {
            Expr::Undefined => Val::Undefined,
            Expr::Null => Val::Null,
            Expr::Bool(value) => Val::Bool(*value),
            Expr::Number(number) => Val::Number(*number),
            Expr::Text(text) => Val::Text(Text::Const(*text)),
            Expr::Opaque => Val::Opaque,
            Expr::Argument => {
                let end = u32::try_from(task.message.len()).map_err(|_| Halt::Refuse)?;
                Val::Text(Text::Message(0, end))
            }
            Expr::Parse => self.parse(task)?,
            Expr::Local(local) => *self.locals.get(usize::from(*local)).ok_or(Halt::Refuse)?,
            Expr::Part(node) => self.part(*node)?,
            Expr::Slot(slot) => match self.slots.get(usize::from(*slot)).ok_or(Halt::Refuse)? {
                Stored::Set(value, ..) => *value,
                Stored::Unset | Stored::Deleted => Val::Undefined,
            },
            Expr::Overlay(slot, get) => match self.slots.get(usize::from(*slot)).ok_or(Halt::Refuse)? {
                Stored::Set(value, ..) => *value,
                Stored::Deleted => Val::Undefined,
                Stored::Unset => self.eval(task, get)?,
            },
            Expr::Object(object) => Val::Object(*object),
            Expr::Get(base, name, is_optional) => {
                let base = self.eval(task, base)?;
                self.get(task, base, *name, *is_optional)?
            }
            Expr::Chain(inner) => match self.eval(task, inner) {
                Err(Halt::Short) => Val::Undefined,
                other => other?,
            },
            Expr::Stringify(inner) => {
                let value = self.eval(task, inner)?;
                self.stringify(task, value)?
            }
            Expr::Concat(parts) => self.concat(task, parts)?,
            Expr::Add(a, b) => self.add(task, a, b)?,
            Expr::Not(_) | Expr::IsUndefined(_) | Expr::IsNull(_) | Expr::IsNullish(_) => {
                Val::Bool(self.test(task, expr)?)
            }
            Expr::Truthy(inner) => Val::Bool(self.test(task, inner)?),
            Expr::And(a, b) => {
                let value = self.eval(task, a)?;
                if self.truth(task, value)? { self.eval(task, b)? } else { value }
            }
            Expr::Or(a, b) => {
                let value = self.eval(task, a)?;
                if self.truth(task, value)? { value } else { self.eval(task, b)? }
            }
            Expr::Coalesce(a, b) => {
                let value = self.eval(task, a)?;
                if self.type_of(value)?.is_nullish() { self.eval(task, b)? } else { value }
            }
            Expr::Choose(test, then, other) => {
                let taken = if self.test(task, test)? { then } else { other };
                self.eval(task, taken)?
            }
            Expr::Strict(a, b) => {
                let (a, b) = (self.eval(task, a)?, self.eval(task, b)?);
                Val::Bool(self.is_same(task, a, b)?)
            }
            Expr::Loose(a, b) => {
                let (a, b) = (self.eval(task, a)?, self.eval(task, b)?);
                Val::Bool(self.is_alike(task, a, b)?)
            }
            Expr::Compare(order, a, b) => {
                let (a, b) = (self.eval(task, a)?, self.eval(task, b)?);
                let (a, b) = (self.number(task, a)?, self.number(task, b)?);
                Val::Bool(match order {
                    Order::Less => a < b,
                    Order::LessEqual => a <= b,
                    Order::Greater => a > b,
                    Order::GreaterEqual => a >= b,
                })
            }
            Expr::Typeof(inner) => {
                let value = self.eval(task, inner)?;
                Val::Text(Text::TypeName(self.type_of(value)?))
            }
            Expr::IsArray(inner) => match self.eval(task, inner)? {
                Val::Part(node) => Val::Bool(self.kind(node) == Kind::Array),
                Val::Opaque => return Err(Halt::Refuse),
                _ => Val::Bool(false),
            },
            Expr::Has(object, name) => {
                let object = self.eval(task, object)?;
                Val::Bool(self.has(task, object, *name)?)
            }
            Expr::After(ops, value) => {
                self.ops_within(task, ops)?;
                self.eval(task, value)?
            }
        })
    }

    fn kind(&self, node: u16) -> Kind {
        self.parts.get(usize::from(node)).map_or(Kind::Missing, |part| part.kind)
    }

    pub(super) fn type_of(&self, value: Val) -> Run<Type> {
        Ok(match value {
            Val::Undefined => Type::Undefined,
            Val::Null => Type::Null,
            Val::Bool(_) => Type::Bool,
            Val::Number(_) => Type::Number,
            Val::Text(_) => Type::String,
            Val::Root | Val::Object(_) => Type::Object,
            Val::Part(node) => match self.kind(node) {
                Kind::String => Type::String,
                Kind::Number => Type::Number,
                Kind::Array | Kind::Object => Type::Object,
                _ => return Err(Halt::Refuse),
            },
            Val::Opaque => return Err(Halt::Refuse),
        })
    }

    /// A property by name. Names that every object has from its prototype do not get here.
    fn get(&self, task: Task<'_>, base: Val, name: TextId, is_optional: bool) -> Run<Val> {
        let node = match base {
            Val::Undefined | Val::Null => return Err(if is_optional { Halt::Short } else { Halt::Refuse }),
            Val::Root => super::program::ROOT,
            Val::Part(node) => node,
            Val::Bool(_) | Val::Number(_) | Val::Text(_) => return self.get_of_primitive(task, name),
            Val::Object(object) => {
                let object = task.program.objects.get(usize::from(object)).ok_or(Halt::Refuse)?;
                let named = |slot: &&u16| {
                    task.program.slots.get(usize::from(**slot)).is_some_and(|slot| slot.name == name)
                };
                let slot = object.slots.iter().find(named);
                return Ok(match slot.and_then(|slot| self.slots.get(usize::from(*slot))) {
                    Some(Stored::Set(value, ..)) => *value,
                    _ => Val::Undefined,
                });
            }
            Val::Opaque => return Err(Halt::Refuse),
        };
        let nodes = &task.program.nodes;
        let kind = self.kind(node);
        if !matches!(kind, Kind::Object | Kind::Array) {
            return self.get_of_primitive(task, name);
        }
        let children = &nodes.get(usize::from(node)).ok_or(Halt::Refuse)?.children;
        let child = children
            .iter()
            .copied()
            .find(|&child| nodes.get(usize::from(child)).is_some_and(|child| child.name == name));
        // A part that the scan did not look for.
        let child = child.ok_or(Halt::Refuse)?;
        let child_node = nodes.get(usize::from(child)).ok_or(Halt::Refuse)?;
        if kind == Kind::Array && child_node.is_builtin && child_node.index.is_none() {
            return Err(Halt::Refuse);
        }
        self.part(child)
    }

    /// A property of a string, number or boolean: there is none, unless the prototype has it.
    fn get_of_primitive(&self, task: Task<'_>, name: TextId) -> Run<Val> {
        let name = task.program.texts.get(usize::from(name)).ok_or(Halt::Refuse)?;
        if super::names::is_on_others(name) { Err(Halt::Refuse) } else { Ok(Val::Undefined) }
    }

    fn has(&self, task: Task<'_>, object: Val, name: TextId) -> Run<bool> {
        let node = match object {
            Val::Root => super::program::ROOT,
            Val::Part(node) if self.kind(node) == Kind::Object => node,
            _ => return Err(Halt::Refuse),
        };
        let nodes = &task.program.nodes;
        let mut found = None;
        for &child in &nodes.get(usize::from(node)).ok_or(Halt::Refuse)?.children {
            let child_node = nodes.get(usize::from(child)).ok_or(Halt::Refuse)?;
            let is_there = self.kind(child) != Kind::Missing;
            if is_there && *child_node.key == *b"hasOwnProperty" {
                return Err(Halt::Refuse);
            }
            if child_node.name == name {
                found = Some(is_there);
            }
        }
        found.ok_or(Halt::Refuse)
    }

    pub(super) fn truth(&self, task: Task<'_>, value: Val) -> Run<bool> {
        Ok(match value {
            Val::Undefined | Val::Null => false,
            Val::Bool(value) => value,
            Val::Number(number) => number != 0.0 && !number.is_nan(),
            Val::Text(Text::Message(start, end) | Text::Scanned(start, end) | Text::Made(start, end)) => {
                start < end
            }
            Val::Text(text) => !self.str(task, text)?.is_empty(),
            Val::Root | Val::Object(_) => true,
            Val::Part(node) => match self.kind(node) {
                Kind::Number => self.number(task, value)? != 0.0,
                // A string with an escape in it is not empty.
                Kind::String | Kind::Array | Kind::Object => true,
                _ => return Err(Halt::Refuse),
            },
            Val::Opaque => return Err(Halt::Refuse),
        })
    }

    /// A number; what would have to be made one is left to the engine.
    fn number(&self, task: Task<'_>, value: Val) -> Run<f64> {
        match value {
            Val::Number(number) => Ok(number),
            Val::Part(node) if self.kind(node) == Kind::Number => {
                let part = self.parts.get(usize::from(node)).ok_or(Halt::Refuse)?;
                self.str(task, Text::Message(part.start, part.end))?.parse().map_err(|_| Halt::Refuse)
            }
            _ => Err(Halt::Refuse),
        }
    }

    /// A string's text.
    pub(super) fn text(&mut self, task: Task<'_>, value: Val) -> Run<Text> {
        match value {
            Val::Text(text) => Ok(text),
            Val::Part(node) if self.kind(node) == Kind::String => {
                let part = *self.parts.get(usize::from(node)).ok_or(Halt::Refuse)?;
                let raw = task.message.get(part.start as usize..part.end as usize).ok_or(Halt::Refuse)?;
                let start = self.made.len();
                unescape_into(&mut self.made, raw).ok_or(Halt::Refuse)?;
                self.made_since(start)
            }
            _ => Err(Halt::Refuse),
        }
    }

    /// `===`
    fn is_same(&mut self, task: Task<'_>, a: Val, b: Val) -> Run<bool> {
        let (type_of_a, type_of_b) = (self.type_of(a)?, self.type_of(b)?);
        if type_of_a != type_of_b {
            return Ok(false);
        }
        match type_of_a {
            Type::Undefined | Type::Null => Ok(true),
            Type::Bool => Ok(a == b),
            Type::Number => Ok(self.number(task, a)? == self.number(task, b)?),
            Type::String => {
                let (a, b) = (self.text(task, a)?, self.text(task, b)?);
                Ok(self.str(task, a)? == self.str(task, b)?)
            }
            Type::Object => Err(Halt::Refuse),
        }
    }

    /// `==`
    fn is_alike(&mut self, task: Task<'_>, a: Val, b: Val) -> Run<bool> {
        let (type_of_a, type_of_b) = (self.type_of(a)?, self.type_of(b)?);
        match (type_of_a.is_nullish(), type_of_b.is_nullish()) {
            (true, true) => Ok(true),
            (false, false) if type_of_a == type_of_b => self.is_same(task, a, b),
            (false, false) => Err(Halt::Refuse),
            _ => Ok(false),
        }
    }

    /// `+` of what is not known to be a string before.
    fn add(&mut self, task: Task<'_>, a: &Expr, b: &Expr) -> Run<Val> {
        let (a, b) = (self.eval(task, a)?, self.eval(task, b)?);
        match (self.type_of(a)?, self.type_of(b)?) {
            (Type::Number, Type::Number) => Ok(Val::Number(self.number(task, a)? + self.number(task, b)?)),
            (Type::String, _) | (_, Type::String) => self.join(task, &[a, b]),
            _ => Err(Halt::Refuse),
        }
    }

    fn concat(&mut self, task: Task<'_>, parts: &[Expr]) -> Run<Val> {
        let first = self.stack.len();
        for part in parts {
            let value = self.eval(task, part)?;
            self.stack.push(value);
        }
        self.join_from(task, first)
    }
}
