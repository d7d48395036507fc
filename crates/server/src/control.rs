//! What an operator can change while the server runs, as the handlers see it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The running pipelines, to be changed. Calls block and may take as long as a trial; those that name no
/// pipeline mean the only one that can be meant, or all where that makes sense.
pub trait Control: Send + Sync {
    /// What ran when and why.
    ///
    /// # Errors
    /// See [`ControlError`]; so for all.
    fn udf_history(&self, pipeline: Option<&str>) -> Result<UdfHistory, ControlError>;

    /// Looks at the script's file now.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn reload_udf(&self, pipeline: Option<&str>) -> Result<UdfChange, ControlError>;

    /// Goes back to another version.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn roll_back_udf(&self, pipeline: Option<&str>, to: Option<&str>) -> Result<UdfChange, ControlError>;

    /// What the version in the shadow has found so far.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn udf_shadow(&self, pipeline: Option<&str>) -> Result<UdfShadow, ControlError>;

    /// Runs a version in the shadow of the running one.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn start_udf_shadow(&self, pipeline: Option<&str>, new: UdfSource) -> Result<UdfShadow, ControlError>;

    /// Ends the shadow and tells what it has found.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn stop_udf_shadow(&self, pipeline: Option<&str>) -> Result<UdfShadow, ControlError>;

    /// Puts the version in the shadow in the place of the running one.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn promote_udf(&self, pipeline: Option<&str>, force: bool) -> Result<UdfChange, ControlError>;

    /// Asks one pipeline, or all, to drain, to be cancelled or to go on; does not wait. Answers whom it
    /// asked.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn steer(&self, pipeline: Option<&str>, how: Steer) -> Result<Vec<String>, ControlError>;

    /// Reads the configuration anew and applies what changed.
    ///
    /// # Errors
    /// See [`ControlError`]; it says what was changed before that.
    fn update(&self) -> Result<UpdateReport, ControlError>;

    /// Runs a stretch of a topic again into a table of its own, or goes on with that.
    ///
    /// # Errors
    /// See [`ControlError`].
    fn rerun(&self, request: RerunRequest) -> Result<RerunReport, ControlError>;

    /// All reruns, as far as they are.
    fn reruns(&self) -> Vec<RerunReport>;
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What kind of error it is.
    pub fault: ControlFault,
    /// What is wrong, for a person.
    pub message: String,
}

/// Kinds of errors, as HTTP tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlFault {
    /// The request makes no sense.
    BadRequest,
    /// What it names is not there.
    NotFound,
    /// Things are not so that it can be done.
    Conflict,
    /// It failed on our side.
    Internal,
}

/// What to do with a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Fold everything there is now, then end.
    Drain,
    /// End now; the rest waits in the topic.
    Cancel,
    /// Go on.
    Resume,
}

/// The versions of one pipeline's UDF.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UdfHistory {
    /// The pipeline.
    pub pipeline: String,
    /// The version that runs.
    pub running: Option<String>,
    /// Why the script's file is not what runs, when it is not.
    pub note: Option<String>,
    /// The versions whose text is kept.
    pub kept: Vec<String>,
    /// What happened, oldest first.
    pub events: Vec<UdfEvent>,
    /// Older events that are kept no more.
    pub events_forgotten: u64,
}

/// One event of a history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UdfEvent {
    /// When, RFC 3339.
    pub at: String,
    /// `start`, `reload`, `promote`, `rollback`, `update`, `refused` or `forgotten`.
    pub act: String,
    /// The version.
    pub udf_hash: String,
    /// The version that ran until then.
    pub previous: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// The text of a new version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdfSource {
    /// The function to call; absent means the configured one.
    #[serde(default)]
    pub function: Option<String>,
    /// The scripts, in order.
    pub scripts: Vec<UdfScript>,
}

/// One script.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdfScript {
    /// What errors call it.
    pub name: String,
    /// Its text.
    pub source: String,
}

/// What became of a request for another version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UdfChange {
    /// The pipeline.
    pub pipeline: String,
    /// The version that it is about.
    pub udf_hash: String,
    /// Whether it runs now.
    pub adopted: bool,
    /// Why it does not, when it was refused.
    pub refused: Option<String>,
    /// The version that ran before.
    pub previous: Option<String>,
    /// What it made of recent messages beside the running version, when it was tried.
    pub trial: Option<Value>,
}

/// A version in the shadow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UdfShadow {
    /// The pipeline.
    pub pipeline: String,
    /// The version.
    pub udf_hash: String,
    /// What it made of messages beside the running version.
    pub report: Value,
}

/// What an update did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateReport {
    /// One line for each thing that changed; none when nothing did.
    pub changes: Vec<String>,
}

/// A stretch of a topic to be run again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RerunRequest {
    /// The pipeline whose topic, schema and limits it is about.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// The first moment of publishing, in microseconds since 1970 UTC.
    pub from_micros: i64,
    /// Behind the last one.
    pub to_micros: i64,
    /// The first moment as it was written (`24h`), when it is relative to now: the same words mean the same
    /// rerun as long as that is not done.
    #[serde(default)]
    pub from_relative: Option<String>,
    /// The last one likewise.
    #[serde(default)]
    pub to_relative: Option<String>,
    /// The table to be made, `dataset.table`.
    pub into: String,
    /// The new version; absent means the running one.
    #[serde(default)]
    pub udf: Option<UdfSource>,
}

/// A rerun as far as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RerunReport {
    /// Its name, also that of its pipeline.
    pub name: String,
    /// The table that it fills.
    pub into: String,
    /// The version that it runs.
    pub udf_hash: Option<String>,
    /// `running`, `done`, `stopped` or `failed`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// The first offset.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// The first offset not yet committed.
    pub next_offset: u64,
    /// Rows written.
    pub written: u64,
    /// Messages that the UDF left out.
    pub filtered: u64,
    /// Dead letters.
    pub dead_lettered: u64,
    /// Messages that retention took before they were run.
    pub expired: u64,
}
