//! A plan by itself, for tests and tools.

use std::sync::Arc;

use super::Plan;
use super::machine::{Machine, Returned, Task};
use super::value::{Run, Val};

/// A UDF's native plan without a table behind it: what the script's function returns, as text.
#[derive(Debug)]
pub struct NativePlan {
    plan: Arc<Plan>,
    machine: Machine,
}

impl NativePlan {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, machine: Machine::default() }
    }

    /// What the function returns for a message: its text, or `Some(None)` when it filters the message.
    /// `None` when the plan leaves the message to the engine.
    pub fn call<'m>(&'m mut self, message: &'m str) -> Option<Option<&'m str>> {
        let task = self.plan.task(message);
        self.machine.call(task).ok()
    }
}

impl Plan {
    pub(super) fn task<'t>(&'t self, message: &'t str) -> Task<'t> {
        Task { program: &self.program, message, has_overlay: self.has_overlay }
    }
}

impl Machine {
    fn call<'m>(&'m mut self, task: Task<'m>) -> Run<Option<&'m str>> {
        let text = match self.run(task)? {
            Returned::Row(object) => self.stringify(task, Val::Object(object))?,
            Returned::Value(value) => value,
        };
        self.returned_text(task, text)
    }
}
