//! The Dataflow template `PubSub_to_BigQuery` as others start it: reads the same parameters, refuses what
//! the template refuses, says what pipeline comes of it, and what a job that runs in Dataflow today would
//! do differently here.
//!
//! ```text
//! --parameters, file, environment --> Given --> Launch --> pipeline (text of millrace.toml)
//! Dataflow's job description, .js --------------> Report (behaviours, losses, what must be changed)
//! ```
//!
//! * `parameters` is the table of every name; `given` reads them; `launch` types and checks them.
//! * `names` reads Pub/Sub and BigQuery names, `gs` places `gs://` paths on this machine.
//! * `pipeline` writes the configuration.
//! * `job` reads a job description, `script` a UDF, `behaviour` is the table of what differs, `report`
//!   puts the three together.
//!
//! Facts are those of GoogleCloudPlatform/DataflowTemplates at 378c7e57; `docs/template.md` is the manual.
//!
//! **Invariant:** pure functions over text: no file, no clock, no environment, no network. It knows the
//! template and the names of our settings, and neither runs nor opens anything.

mod behaviour;
mod given;
mod gs;
mod job;
mod launch;
mod names;
mod parameters;
mod pipeline;
mod report;
mod script;

pub use behaviour::{BEHAVIOURS, Behaviour, Severity};
pub use given::{Given, GivenError, Origin};
pub use gs::{GsError, locate};
pub use job::{Job, JobError};
pub use launch::{Input, Launch, LaunchError, Mode, Problem, UdfSource, WriteMethod};
pub use names::{NameError, ResourceName, TableName};
pub use parameters::{Kind, PARAMETERS, Parameter, Template};
pub use pipeline::{PipelineText, Schema, Service};
pub use report::{Change, Difference, Loss, Report};
pub use script::{Effect, Finding, ScriptText, Scripts};
