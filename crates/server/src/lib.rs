//! The HTTP API, metrics, and what every port of ours shares: connection limits and the guard against
//! web pages and strangers.
//!
//! **Invariant:** this crate knows HTTP and JSON, not storage formats. What there is to report comes
//! through [`Facts`]; what can be changed, through [`Control`]; what there is to query, through the SQL
//! engine.

mod api;
mod changes;
mod control;
mod dead_letters;
mod guard;
mod listen;
mod prometheus;
mod status;
mod views;

pub use api::{ApiState, Facts, router};
pub use control::{
    Control, ControlError, ControlFault, RerunReport, RerunRequest, Steer, UdfChange, UdfEvent, UdfHistory,
    UdfScript, UdfShadow, UdfSource, UpdateReport,
};
pub use dead_letters::{DeadLetterChoice, DeadLetterError, DeadLetters, ReplayRequest, SentScript, SentUdf};
pub use guard::{Guard, GuardError, guarded};
pub use listen::{ConnectionLimits, serve};
pub use prometheus::{Recorder, RecorderError};
pub use status::{AuditStatus, PipelineStatus, SourceStatus, Status, TableStatus, TopicStatus};
pub use views::{ViewList, ViewReport, ViewResultReport};
