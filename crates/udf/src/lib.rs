//! The user's JavaScript: loads a Dataflow UDF, `f(string) -> string`, or a Pub/Sub single message
//! transform, `f(message, metadata) -> message`, and runs messages through it on one engine per worker, so that no script can stop a pipeline: time, heap, stack and output are
//! limited, and an engine that is stuck where nothing can interrupt it is left behind.
//!
//! ```text
//! worker thread                         engine thread (one per transform)
//! ScriptTransform --chunks (Job)-->     Seat -> Runner -> Engine (QuickJS)
//!   rows <--verdicts--                    |
//!   Watch --stop, abandon (Pulse)-->      +- or ChildRunner -> child process -> the same again
//! ```
//!
//! * [`open`] decides by mode what a pipeline runs: [`Udf`] is a loaded UDF and makes transforms,
//!   [`PassThrough`] is for pipelines without one; [`read_scripts`] finds the files. [`Evaluator`] is for
//!   tools that show what was returned.
//! * `engine`, `load`, `smt` (the second shape), `console` and `frozen` (the message's own clock) are all
//!   that knows QuickJS; `thrown` reads exceptions, `foreign` knows what other engines would have had.
//! * `plan` runs scripts that are plain projections without an engine, where it can do so exactly.
//! * `runner` decides when an engine is worn out; `watch` when it is over its time; `host` is the
//!   thread; `script` what a worker calls; `child` and `frame` the way out of the process.
//!
//! **Invariant:** this crate knows nothing of tables and topics: text goes in, and rows come out as
//! JSON text through [`millrace_model::RowSink`].

mod block;
mod child;
mod config;
mod console;
mod engine;
mod envelope;
mod evaluate;
mod files;
mod foreign;
mod frame;
mod frozen;
mod host;
mod job;
mod load;
mod open;
mod pass_through;
mod plan;
mod pulse;
mod quote;
mod runner;
mod script;
mod smt;
mod stats;
mod stringify;
mod thrown;
mod udf;
mod verdict;
mod watch;

pub use child::{ChildError, run_child};
pub use config::{
    ChildCommand, MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX, MESSAGE_TRANSFORM_TIME_MAX, Mode, Script, Shape,
    UdfConfig, UdfError,
};
pub use evaluate::Evaluator;
pub use files::{SCRIPTS_BYTES_MAX, SCRIPTS_MAX, ScriptFileError, read_scripts};
pub use open::{Opened, open};
pub use pass_through::{PassThrough, Unloadable};
pub use plan::{Explanation, NativePlan, Obstacle, explain};
pub use stats::{UdfCounters, UdfStats};
pub use udf::Udf;
pub use verdict::{Returned, Verdict};
