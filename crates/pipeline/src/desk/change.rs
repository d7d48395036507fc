//! What a change of version answers.

use serde::{Deserialize, Serialize};

use crate::{PipelineError, Refusal, TrialReport, VersionError};

/// What a change did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionChange {
    /// The version that runs now.
    pub udf_hash: String,
    /// The version that ran before.
    pub previous: Option<String>,
    /// What the trial found, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialReport>,
}

/// Why a change was not made. The running version runs on.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The new version may not run: a verdict, which holds until its text changes.
    #[error("version {udf_hash} is refused: {refusal}")]
    Refused {
        /// The version.
        udf_hash: String,
        /// Why.
        refusal: Refusal,
        /// What the trial found, when there was one.
        trial: Option<Box<TrialReport>>,
    },
    /// Nothing was found out about the new version; it may be tried again.
    #[error("version {udf_hash} could not be tried: {reason}")]
    NotTried {
        /// The version.
        udf_hash: String,
        /// What kept it from being tried.
        reason: String,
    },
    /// The trial ended before it found anything out.
    #[error("the trial of version {0} was interrupted: by a rollback, or because the server stops")]
    Interrupted(String),
    /// Nothing is changed any more.
    #[error("versions are not changed any more: the server is stopping")]
    Stopping,
    /// There is no such version to go back to.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// It runs already.
    #[error("version {0} runs already")]
    RunsAlready(String),
    /// Nothing is in the shadow.
    #[error("no version runs in the shadow: `millrace udf shadow FILE` starts one")]
    NoShadow,
    /// The shadow cannot be started.
    #[error("the shadow cannot be started: {0}")]
    Shadow(String),
    /// Text or history cannot be read or written.
    #[error("{0}")]
    Store(String),
    /// The pipeline did not take the version.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}
