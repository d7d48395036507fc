//! Realistic telemetry, made up from the recorded one: [`generate`] writes Cloud Logging entries of a fleet
//! of Gemini CLI users, the kind of file that `millrace load` takes.
//!
//! A *session* is planned when it starts: a list of steps (request, answer, tool call, ...) with their times.
//! Sessions under way wait in a heap, and the earliest step is written next, by copying the fixed text of a
//! template and filling its slots. Templates come from recordings of the real CLI (`templates.json`, made by
//! `scripts/make_templates.py`); events that were not recorded follow the CLI's documentation
//! (`documented.json`).
//!
//! **Invariant:** a function of its options: no clock, no environment, no threads, no floating-point function
//! that differs between machines. Memory does not grow with the number of records.

mod calendar;
mod clock;
mod fleet;
mod kind;
mod library;
mod model;
mod options;
mod plan;
mod planner;
mod random;
mod session;
mod slots;
mod stream;
mod template;
mod text;
mod write;

pub use library::{TemplateError, recorded, recorded_mix};
pub use options::{DAYS_MAX, Options, OptionsError, USERS_MAX};
pub use stream::{GenerateError, Generated, generate};
