//! The user's JavaScript: loads a Dataflow UDF, `f(string) -> string`, and runs messages through it on
//! one engine per worker, so that no script can stop a pipeline: time, heap, stack and output are
//! limited, and an engine that is stuck where nothing can interrupt it is left behind.
//!
//! ```text
//! worker thread                         engine thread (one per transform)
//! ScriptTransform --chunks (Job)-->     Seat -> Runner -> Engine (QuickJS)
//!   rows <--verdicts--                    |
//!   Watch --stop, abandon (Pulse)-->      +- or ChildRunner -> child process -> the same again
//! ```
//!
//! * `plan` runs scripts that are plain projections without an engine, where it can do so exactly.
//! * [`Udf`] is a loaded UDF and makes transforms; [`PassThrough`] is for pipelines without one.
//! * `engine` and `load` are all that knows QuickJS; `thrown` reads exceptions.
//! * `runner` decides when an engine is worn out; `watch` when it is over its time; `host` is the
//!   thread; `script` what a worker calls; `child` and `frame` the way out of the process.
//!
//! **Invariant:** this crate knows nothing of tables and topics: text goes in, and rows come out as
//! JSON text through [`millrace_model::RowSink`].

mod child;
mod config;
mod engine;
mod frame;
mod host;
mod job;
mod load;
mod plan;
mod pulse;
mod runner;
mod script;
mod stats;
mod stringify;
mod thrown;
mod udf;
mod verdict;
mod watch;

pub use child::{ChildError, run_child};
pub use config::{ChildCommand, Script, Shape, UdfConfig, UdfError};
pub use plan::{Explanation, NativePlan, Obstacle, explain};
pub use stats::UdfStats;
pub use udf::{PassThrough, Udf};
