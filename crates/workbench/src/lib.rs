//! The workbench for UDFs: run one on lines of a file, hold it against golden cases, measure it beside
//! Node. The logic of `millrace udf run|test|bench`; the command line is the binary's.
//!
//! * [`run`] writes one line for each line read; [`test`] compares a folder of cases; [`bench()`] measures.
//! * [`Lines`] reads messages, as payloads or as Pub/Sub's JSON; [`Check`] is the table's word on a row.
//!
//! All of it goes through [`millrace_udf::Evaluator`], the interpreter with the limits of a pipeline, and
//! through the table's own row builder: what is shown is what a pipeline would do.
//!
//! **Invariant:** this crate knows UDFs, rows and files of messages. It does not know topics, pipelines,
//! tables on disk or the command line, and writes to no terminal.

mod bench;
mod check;
mod golden;
mod line;
mod message;
mod node;
mod run;

pub use bench::{BenchError, BenchOptions, BenchReport, Measured, bench};
pub use check::{Check, CheckError};
pub use golden::{Case, CaseOutcome, TestError, TestOptions, TestReport, test};
pub use line::output_line;
pub use message::{InputForm, Lines, Message, MessageError};
pub use node::{NODE, NodeOutcome};
pub use run::{RunError, RunOptions, RunReport, run};
