//! The transform of one worker that has a plan: rows go straight into the table's columns.

use std::ops::Range;
use std::sync::Arc;

use millrace_model::{Cell, ColumnId, MessageBatch, RowSink, Transform};

use super::Plan;
use super::machine::{Machine, Returned, Task};
use super::program::{ObjectId, SlotId};
use super::scan::{Kind, format_into};
use super::value::{Halt, Run, Stored, Text, Val};
use crate::runner::Spec;
use crate::script::{ScriptTransform, put_row};
use crate::stats::add;

/// Most messages that are handed to the engine in one go, when one after the other was refused.
const HANDED_OVER_MAX: usize = 128;

/// Most bytes that a byte of a string takes in JSON text: `\u0001`.
const QUOTED_BYTES_PER_BYTE: usize = 6;

/// A value that is ready for its column.
#[derive(Debug, Clone, Copy)]
enum Ready {
    Null,
    Bool(bool),
    String(Text),
    Json(Text),
}

/// A worker's transform over a plan. Its engine is started by the first message that needs it.
#[derive(Debug)]
pub(crate) struct PlanTransform {
    plan: Arc<Plan>,
    spec: Arc<Spec>,
    machine: Machine,
    engine: Option<ScriptTransform>,
    /// For each property of the rows its column, in the table of this call.
    columns: Vec<Option<ColumnId>>,
    /// Whether rows may go in cell by cell: no two properties go into one column.
    has_cells: bool,
    ready: Vec<(ColumnId, Ready)>,
    /// How many messages go to the engine with the next one that is refused.
    handed_over: usize,
    counts: Counts,
}

/// What happened during one call.
#[derive(Debug, Default)]
struct Counts {
    planned: u64,
    rows: u64,
    filtered: u64,
}

impl PlanTransform {
    pub fn new(plan: Arc<Plan>, spec: Arc<Spec>) -> Self {
        Self {
            plan,
            spec,
            machine: Machine::default(),
            engine: None,
            columns: Vec::new(),
            has_cells: false,
            ready: Vec::new(),
            handed_over: 1,
            counts: Counts::default(),
        }
    }

    fn find_columns(&mut self, rows: &dyn RowSink) {
        let program = &self.plan.program;
        self.columns.clear();
        self.columns.resize(program.slots.len(), None);
        self.has_cells = true;
        for &object in &self.plan.rows {
            let slots = &program.objects[usize::from(object)].slots;
            for (index, &slot) in slots.iter().enumerate() {
                let name = &program.texts[usize::from(program.slots[usize::from(slot)].name)];
                let column = rows.column(name);
                let is_taken = |other: &SlotId| self.columns[usize::from(*other)] == column;
                self.has_cells &= column.is_none() || !slots[..index].iter().any(is_taken);
                self.columns[usize::from(slot)] = column;
            }
        }
    }

    /// Runs the plan on a message; an error leaves it to the engine.
    fn message(&mut self, plan: &Plan, data: &[u8], message: usize, rows: &mut dyn RowSink) -> Run<()> {
        let text = simdutf8::basic::from_utf8(data).map_err(|_| Halt::Refuse)?;
        let task = plan.task(text);
        match self.machine.run(task)? {
            Returned::Row(object) => {
                if self.prepare(task, object, rows)? && self.put_cells(task, message, rows) {
                    self.counts.rows += 1;
                    return Ok(());
                }
                let row = self.machine.stringify(task, Val::Object(object))?;
                self.put_text(task, row, message, rows)
            }
            Returned::Value(value) => self.put_text(task, value, message, rows),
        }
    }

    /// Makes each value ready for its column. False when the row must go in as text: a column is missing,
    /// which is for the table to say, or it is so large that its exact size counts.
    fn prepare(&mut self, task: Task<'_>, object: ObjectId, rows: &dyn RowSink) -> Run<bool> {
        self.ready.clear();
        let mut bytes_max = 0_usize;
        let mut has_columns = self.has_cells;
        let slots = &task.program.objects.get(usize::from(object)).ok_or(Halt::Refuse)?.slots;
        for &slot in slots {
            let Some(&Stored::Set(value, ..)) = self.machine.slots.get(usize::from(slot)) else { continue };
            let Some(ready) = self.machine.ready(task, value)? else { continue };
            bytes_max += match ready {
                Ready::Null | Ready::Bool(_) => 5,
                Ready::String(text) => 2 + QUOTED_BYTES_PER_BYTE * self.machine.length(task, text)?,
                Ready::Json(text) => self.machine.length(task, text)?,
            };
            bytes_max += 1 + task.program.slots.get(usize::from(slot)).map_or(0, |slot| slot.key.len());
            match self.columns.get(usize::from(slot)).copied().flatten() {
                Some(column) => self.ready.push((column, ready)),
                None => has_columns = false,
            }
        }
        // A row without cells would not look like one that was put.
        has_columns &= !self.ready.is_empty();
        let limit = self.spec.config.output_bytes_max.min(rows.row_bytes_max());
        Ok(has_columns && bytes_max + 2 <= limit)
    }

    /// Puts the cells. False when one is refused: the row then goes in as text, so that what the table
    /// says against it is what it would have said without a plan.
    fn put_cells(&mut self, task: Task<'_>, message: usize, rows: &mut dyn RowSink) -> bool {
        let mut done = true;
        for &(column, ready) in &self.ready {
            let cell = match ready {
                Ready::Null => Cell::Null,
                Ready::Bool(value) => Cell::Bool(value),
                Ready::String(text) => match self.machine.str(task, text) {
                    Ok(text) => Cell::String(text),
                    Err(_) => return false,
                },
                Ready::Json(text) => match self.machine.str(task, text) {
                    Ok(text) => Cell::Json(text),
                    Err(_) => return false,
                },
            };
            done = done && rows.put(message, column, cell).is_ok();
            if !done {
                return false;
            }
        }
        rows.finish_row(message).is_ok()
    }

    /// Hands over what the function returned, as text.
    fn put_text(&mut self, task: Task<'_>, value: Val, message: usize, rows: &mut dyn RowSink) -> Run<()> {
        let Some(text) = self.machine.returned_text(task, value)? else {
            self.counts.filtered += 1;
            rows.filtered(message);
            return Ok(());
        };
        if text.len() > self.spec.config.output_bytes_max {
            return Err(Halt::Refuse);
        }
        match put_row(message, text, rows) {
            Ok(()) => self.counts.rows += 1,
            Err(failure) => {
                self.spec.counters.failed(failure.class);
                rows.dead_letter(message, failure);
            }
        }
        Ok(())
    }

    fn engine(&mut self) -> &mut ScriptTransform {
        self.engine.get_or_insert_with(|| ScriptTransform::start(Arc::clone(&self.spec)))
    }
}

impl Transform for PlanTransform {
    fn transform(&mut self, batch: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink) {
        self.find_columns(rows);
        let plan = Arc::clone(&self.plan);
        let mut next = range.start;
        while next < range.end {
            if self.message(&plan, batch.get(next).data, next, rows).is_ok() {
                self.counts.planned += 1;
                self.handed_over = 1;
                next += 1;
                continue;
            }
            // Where one is refused, more may follow: the engine takes runs at a better pace.
            let end = range.end.min(next + self.handed_over);
            self.handed_over = (self.handed_over * 2).min(HANDED_OVER_MAX);
            add(&self.spec.counters.plan_fallbacks, (end - next) as u64);
            self.engine().transform(batch, next..end, rows);
            next = end;
        }
        let counts = std::mem::take(&mut self.counts);
        let counters = &self.spec.counters;
        add(&counters.calls, counts.planned);
        add(&counters.planned, counts.planned);
        add(&counters.rows, counts.rows);
        add(&counters.filtered, counts.filtered);
    }
}

impl Machine {
    /// A value as its column takes it; `None` when it has no JSON text, and so no place in the row.
    fn ready(&mut self, task: Task<'_>, value: Val) -> Run<Option<Ready>> {
        if let Some(text) = self.scanned_text(task, value) {
            return Ok(Some(Ready::Json(text)));
        }
        Ok(Some(match value {
            Val::Undefined => return Ok(None),
            Val::Null => Ready::Null,
            Val::Bool(value) => Ready::Bool(value),
            Val::Text(text) => Ready::String(text),
            Val::Part(node) => {
                let part = *self.parts.get(usize::from(node)).ok_or(Halt::Refuse)?;
                match part.kind {
                    Kind::String => Ready::String(self.text(task, value)?),
                    Kind::Number if !part.is_odd => Ready::Json(Text::Message(part.start, part.end)),
                    Kind::Number => {
                        let raw =
                            task.message.get(part.start as usize..part.end as usize).ok_or(Halt::Refuse)?;
                        let start = self.made.len();
                        format_into(&mut self.made, raw).ok_or(Halt::Refuse)?;
                        Ready::Json(self.made_since(start)?)
                    }
                    _ => return Err(Halt::Refuse),
                }
            }
            Val::Number(_) | Val::Object(_) | Val::Root | Val::Opaque => {
                let start = self.made.len();
                self.append_json(task, value, 0)?;
                Ready::Json(self.made_since(start)?)
            }
        }))
    }

    /// The text that a function returned; `None` when that filters the message. What is not text is left
    /// to the engine, which says so.
    pub(super) fn returned_text<'m>(&'m mut self, task: Task<'m>, value: Val) -> Run<Option<&'m str>> {
        let text = match value {
            Val::Undefined | Val::Null => return Ok(None),
            Val::Text(text) => text,
            Val::Part(node)
                if self.parts.get(usize::from(node)).is_some_and(|part| part.kind == Kind::String) =>
            {
                self.text(task, value)?
            }
            _ => return Err(Halt::Refuse),
        };
        let text = self.str(task, text)?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}
