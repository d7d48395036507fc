//! Texts of values: as strings, and as JSON.

use super::machine::{Machine, Task};
use super::program::{OVERLAY, ObjectId, ROOT, SlotId};
use super::scan::{Kind, format_into, unescape_into};
use super::value::{Halt, Run, Stored, Text, Val};
use crate::quote::quote;

/// Deepest nesting of objects that the script makes: one that holds itself has no text.
const DEPTH_MAX: usize = 20;

impl Machine {
    /// Values as strings, one behind the other.
    pub(super) fn join(&mut self, task: Task<'_>, values: &[Val]) -> Run<Val> {
        let first = self.stack.len();
        self.stack.extend_from_slice(values);
        self.join_from(task, first)
    }

    /// The values on the stack from `first` on, taken off it, as strings, one behind the other.
    pub(super) fn join_from(&mut self, task: Task<'_>, first: usize) -> Run<Val> {
        let start = self.made.len();
        for index in first..self.stack.len() {
            match self.stack[index] {
                Val::Undefined => self.made.push_str("undefined"),
                Val::Null => self.made.push_str("null"),
                Val::Bool(value) => self.made.push_str(if value { "true" } else { "false" }),
                Val::Number(number) => self.made.push_str(ryu_js::Buffer::new().format(number)),
                Val::Text(text) => self.append(task, text)?,
                Val::Part(node) => {
                    let part = *self.parts.get(usize::from(node)).ok_or(Halt::Refuse)?;
                    let raw = task.message.get(part.start as usize..part.end as usize).ok_or(Halt::Refuse)?;
                    match part.kind {
                        Kind::String => unescape_into(&mut self.made, raw).ok_or(Halt::Refuse)?,
                        Kind::Number if part.is_odd => {
                            format_into(&mut self.made, raw).ok_or(Halt::Refuse)?
                        }
                        Kind::Number => self.made.push_str(raw),
                        _ => return Err(Halt::Refuse),
                    }
                }
                Val::Root | Val::Object(_) | Val::Opaque => return Err(Halt::Refuse),
            }
        }
        self.stack.truncate(first);
        Ok(Val::Text(self.made_since(start)?))
    }

    fn append(&mut self, task: Task<'_>, text: Text) -> Run<()> {
        if let Text::Made(start, end) = text {
            self.made.extend_from_within(start as usize..end as usize);
            return Ok(());
        }
        let mut made = std::mem::take(&mut self.made);
        let found = self.str(task, text).map(|text| made.push_str(text));
        self.made = made;
        found
    }

    /// Appends a text as a JSON string.
    fn append_quoted(&mut self, task: Task<'_>, text: Text) -> Run<()> {
        if let Text::Made(start, end) = text {
            self.spare.clear();
            self.spare.push_str(self.made.get(start as usize..end as usize).ok_or(Halt::Refuse)?);
            quote(&mut self.made, &self.spare);
            return Ok(());
        }
        let mut made = std::mem::take(&mut self.made);
        let found = self.str(task, text).map(|text| quote(&mut made, text));
        self.made = made;
        found
    }

    /// `JSON.stringify`
    pub(super) fn stringify(&mut self, task: Task<'_>, value: Val) -> Run<Val> {
        if let Some(text) = self.scanned_text(task, value) {
            return Ok(Val::Text(text));
        }
        let start = self.made.len();
        match self.append_json(task, value, 0)? {
            true => Ok(Val::Text(self.made_since(start)?)),
            false => Ok(Val::Undefined),
        }
    }

    /// The JSON text of a part of the message, when the scan has written it.
    pub(super) fn scanned_text(&self, task: Task<'_>, value: Val) -> Option<Text> {
        let node = match value {
            Val::Part(node) => node,
            Val::Root if !task.has_overlay => ROOT,
            _ => return None,
        };
        let part = self.parts.get(usize::from(node))?;
        let has_text = matches!(part.kind, Kind::Array | Kind::Object) && part.text_start < part.text_end;
        has_text.then_some(Text::Scanned(part.text_start, part.text_end))
    }

    /// Appends a value's JSON text; answers whether it has one.
    pub(super) fn append_json(&mut self, task: Task<'_>, value: Val, depth: usize) -> Run<bool> {
        if let Some(text) = self.scanned_text(task, value) {
            self.append(task, text)?;
            return Ok(true);
        }
        match value {
            Val::Undefined => return Ok(false),
            Val::Null => self.made.push_str("null"),
            Val::Bool(value) => self.made.push_str(if value { "true" } else { "false" }),
            Val::Number(number) if number.is_finite() => {
                self.made.push_str(ryu_js::Buffer::new().format_finite(number));
            }
            Val::Number(_) => self.made.push_str("null"),
            Val::Text(text) => self.append_quoted(task, text)?,
            Val::Part(node) => {
                let part = *self.parts.get(usize::from(node)).ok_or(Halt::Refuse)?;
                match part.kind {
                    Kind::String => {
                        let text = self.text(task, value)?;
                        self.append_quoted_over(text)?;
                    }
                    Kind::Number => {
                        self.join(task, &[value])?;
                    }
                    // Its text was not asked for.
                    _ => return Err(Halt::Refuse),
                }
            }
            Val::Root if task.has_overlay => self.append_overlaid(task, depth)?,
            Val::Object(object) => self.append_object(task, object, depth)?,
            Val::Root | Val::Opaque => return Err(Halt::Refuse),
        }
        Ok(true)
    }

    /// Puts the JSON string of a text in the text's own place at the end of what was made.
    fn append_quoted_over(&mut self, text: Text) -> Run<()> {
        let Text::Made(start, end) = text else { return Err(Halt::Refuse) };
        self.spare.clear();
        self.spare.push_str(self.made.get(start as usize..end as usize).ok_or(Halt::Refuse)?);
        self.made.truncate(start as usize);
        quote(&mut self.made, &self.spare);
        Ok(())
    }

    fn append_object(&mut self, task: Task<'_>, object: ObjectId, depth: usize) -> Run<()> {
        if depth == DEPTH_MAX {
            return Err(Halt::Refuse);
        }
        self.made.push('{');
        let start = self.made.len();
        self.append_slots(task, object, start, depth)?;
        self.made.push('}');
        Ok(())
    }

    /// Appends an object's properties in the order that they were first set in.
    fn append_slots(&mut self, task: Task<'_>, object: ObjectId, start: usize, depth: usize) -> Run<()> {
        let slots = &task.program.objects.get(usize::from(object)).ok_or(Halt::Refuse)?.slots;
        self.append_properties(task, slots, start, depth)
    }

    /// Appends those of these properties that are set, in the order that they were first set in.
    fn append_properties(&mut self, task: Task<'_>, slots: &[SlotId], start: usize, depth: usize) -> Run<()> {
        let mut before = 0;
        while let Some((slot, value, since)) = self.next_slot(slots, before)? {
            before = since;
            let rest = self.made.len();
            if rest > start {
                self.made.push(',');
            }
            self.made.push_str(&task.program.slots.get(usize::from(slot)).ok_or(Halt::Refuse)?.key);
            if !self.append_json(task, value, depth + 1)? {
                self.made.truncate(rest);
            }
        }
        Ok(())
    }

    /// The property that was first set the soonest after so many writes.
    fn next_slot(&self, slots: &[SlotId], before: u32) -> Run<Option<(SlotId, Val, u32)>> {
        let set = slots.iter().filter_map(|&slot| match self.slots.get(usize::from(slot)) {
            Some(&Stored::Set(value, since, _)) if since > before => Some((slot, value, since)),
            _ => None,
        });
        Ok(set.min_by_key(|(_, _, since)| *since))
    }

    /// The message with what the script has written on it: properties that were there keep their places.
    fn append_overlaid(&mut self, task: Task<'_>, depth: usize) -> Run<()> {
        let slots = &task.program.objects.get(usize::from(OVERLAY)).ok_or(Halt::Refuse)?.slots;
        self.made.push('{');
        let start = self.made.len();
        let mut placed = Vec::new();
        for index in 0..self.scratch.entries.len() {
            let Some(&entry) = self.scratch.entries.get(index) else { break };
            let key = Text::Scanned(entry.key.0, entry.key.1);
            let key_text = self.str(task, key)?;
            let named = |slot: &SlotId| {
                let slot = task.program.slots.get(usize::from(*slot));
                slot.is_some_and(|slot| slot.key.strip_suffix(':') == Some(key_text))
            };
            let slot = slots.iter().copied().find(named);
            let stored = slot.and_then(|slot| self.slots.get(usize::from(slot)).copied()).unwrap_or_default();
            let rest = self.made.len();
            if matches!(stored, Stored::Deleted | Stored::Set(_, _, true)) {
                continue;
            }
            if rest > start {
                self.made.push(',');
            }
            self.append(task, key)?;
            self.made.push(':');
            match stored {
                Stored::Set(value, ..) => {
                    placed.extend(slot);
                    if !self.append_json(task, value, depth + 1)? {
                        self.made.truncate(rest);
                    }
                }
                _ => self.append(task, Text::Scanned(entry.value.0, entry.value.1))?,
            }
        }
        let new: Vec<SlotId> = slots.iter().copied().filter(|slot| !placed.contains(slot)).collect();
        self.append_properties(task, &new, start, depth)?;
        self.made.push('}');
        Ok(())
    }
}
