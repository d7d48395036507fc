//! The fold over a topic: read, transform, window, commit, and keep the ledger.
//!
//! A pipeline's whole state is in its tables: the rows table keeps, in the same atomic step as the
//! rows, the offset to go on from and a counter for every fate that a message can have
//! ([`Ledger`]). The dead-letter table is written first and keeps how far it is. After a crash, or a
//! commit of which nobody knows whether it happened, the tables are asked, and what they say is final.
//! [`audit`] proves from topic and tables alone that every message is accounted for.
//!
//! **Invariant:** this crate knows traits only. It does not know which source it reads, which sink it
//! writes or what language a UDF is in.

mod audit;
mod belt;
mod chunk;
mod committer;
mod config;
mod desk;
#[cfg(test)]
mod fakes;
#[cfg(test)]
mod folder;
mod history;
mod ledger;
mod managed;
mod meters;
mod pipeline;
mod plan;
mod reader;
pub mod replay;
mod run;
mod shadow;
mod shared;
mod sink;
mod slice;
mod status;
#[cfg(test)]
mod tests;
mod transform;
mod trial;
mod trouble;
mod versions;
mod window;

pub use audit::{AuditInput, AuditReport, Finding, Since, SinceTotals, SourceFacts, Totals, audit};
pub use config::{DuplicatesProbe, PipelineConfig, PipelineError, WindowLimits};
pub use desk::{
    Chosen, DeskConfig, DeskError, VersionChange, VersionDesk, VersionStore, VersionText, WrittenDown,
    choose_version,
};
pub use history::{VersionAct, VersionError, VersionEvent, VersionHistory};
pub use ledger::{
    COUNTERS, DEAD_LETTERED, DUPLICATE, DeadLedger, ERASED, EXPIRED, FILTERED, Ledger, LedgerError,
    LedgerKey, NEXT_OFFSET, PURGED, READ, REPLAYED, REPLAYED_FILTERED, Tally, WRITTEN,
};
pub use managed::{ManagedPipeline, PipelineParts};
pub use meters::describe_metrics;
pub use pipeline::Pipeline;
pub use shadow::{RunningVersion, Shadow, ShadowConfig, ShadowReport};
pub use sink::{Amendment, Commit, Mark, Scan, Sink, SinkError};
pub use slice::SourceSlice;
pub use status::{PipelineState, PipelineStatus};
pub use trial::{
    ColumnChange, Comparison, Difference, Fates, Refusal, SAMPLES_MAX, TrialPolicy, TrialReport, judge, trial,
};
pub use versions::{VERSIONS_MAX, VersionTotals};
