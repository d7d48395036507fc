//! The desk that every change of a pipeline's UDF goes over: what is taken up from the script's file,
//! gone back to, run in the shadow or promoted, in which order, and what is written down before.
//!
//! Text and history are made durable before a version runs, so that whatever has ever made a row or a
//! dead letter is there to be looked at, and a restart goes on with it.

mod choose;
mod store;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_model::{Micros, TransformFactory};
use serde::{Deserialize, Serialize};

pub use choose::{Chosen, choose_version};
pub use store::{VersionStore, VersionText};

use choose::WAITS;

use crate::meters::{count_trial, count_version};
use crate::{
    ManagedPipeline, PipelineError, Refusal, RunningVersion, Shadow, ShadowConfig, ShadowReport, TrialPolicy,
    TrialReport, VersionAct, VersionError, VersionHistory, judge, trial,
};

/// What a desk is told by configuration.
#[derive(Clone, Default)]
pub struct DeskConfig {
    /// How a new version is tried.
    pub policy: TrialPolicy,
    /// Most versions whose text is kept.
    pub versions_max: usize,
    /// How a shadow runs.
    pub shadow: ShadowConfig,
}

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
    /// The new version may not run.
    #[error("version {udf_hash} is refused: {refusal}")]
    Refused {
        /// The version.
        udf_hash: String,
        /// Why.
        refusal: Refusal,
        /// What the trial found, when there was one.
        trial: Option<Box<TrialReport>>,
    },
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

/// The versions of one pipeline's UDF.
pub struct VersionDesk {
    name: String,
    pipeline: Arc<ManagedPipeline>,
    store: Arc<dyn VersionStore>,
    config: Mutex<DeskConfig>,
    /// Held while a change is made, so that changes come one after the other.
    change: Mutex<()>,
    inner: Mutex<Inner>,
}

struct Inner {
    history: VersionHistory,
    shadow: Option<InShadow>,
    /// Why the script's file is not what runs, when it is not.
    note: Option<String>,
}

struct InShadow {
    version: VersionText,
    shadow: Shadow,
}

impl VersionDesk {
    /// Opens the desk of a pipeline that runs the chosen version, and writes down that it does.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn open(
        pipeline: Arc<ManagedPipeline>,
        store: Arc<dyn VersionStore>,
        chosen: Chosen,
        config: DeskConfig,
    ) -> Result<Self, String> {
        let Chosen { version, mut history, on_disk, reason, refused, .. } = chosen;
        let (name, hash, now) = (pipeline.name(), version.udf_hash.as_str(), Micros::now());
        let before = history.clone();
        if let (true, Some(reason)) = (refused, &reason) {
            tracing::error!(pipeline = %name, running = hash, %reason, "the script is refused: the version that ran last goes on");
            history.note_refused(on_disk.as_deref().unwrap_or("unreadable"), reason.clone(), now);
            count_version(&name, VersionAct::Refused);
        }
        store.keep(&version)?;
        let last = history.events.iter().rfind(|event| event.act != VersionAct::Refused);
        let is_known = last.is_some_and(|event| event.act == VersionAct::Start && event.udf_hash == hash);
        if is_known && history.running.as_deref() == Some(hash) {
            history.passed_over = on_disk.filter(|on_disk| on_disk != hash);
        } else {
            history.adopt(VersionAct::Start, hash, on_disk.as_deref(), reason.clone(), now);
        }
        // A start on what ran before writes nothing: it is quick, and works on a full disk.
        if history != before {
            store.write_history(&history)?;
        }
        let inner = Mutex::new(Inner { history, shadow: None, note: reason });
        let desk =
            Self { name, pipeline, store, config: Mutex::new(config), change: Mutex::default(), inner };
        desk.forget_old();
        Ok(desk)
    }

    /// The history.
    #[must_use]
    pub fn history(&self) -> VersionHistory {
        self.inner().history.clone()
    }

    /// The versions whose text is kept.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn kept(&self) -> Result<Vec<String>, String> {
        self.store.kept()
    }

    /// Why the script's file is not what runs, when it is not; for the status.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        self.inner().note.clone()
    }

    /// Replaces the settings.
    pub fn configure(&self, config: DeskConfig) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The content of the script's file when it should be tried; `None` also when it cannot be read,
    /// which the note then says.
    #[must_use]
    pub fn news(&self) -> Option<String> {
        match self.store.on_disk() {
            Ok(found) => {
                let mut inner = self.inner();
                if inner.history.running.as_ref() == Some(&found.udf_hash) {
                    inner.note = None;
                }
                inner.history.is_news(&found.udf_hash).then_some(found.udf_hash)
            }
            Err(error) => {
                let mut inner = self.inner();
                if inner.note.as_ref() != Some(&error) {
                    tracing::error!(pipeline = %self.name, %error, "the script cannot be read: the running version goes on");
                    inner.note = Some(error);
                }
                None
            }
        }
    }

    /// Takes up what lies in the script's file, when it is not what runs: tried first, refused if it does
    /// worse. `act` says who asked.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn reload(&self, act: VersionAct) -> Result<VersionChange, DeskError> {
        let _change = self.begin_change();
        let version = self.store.on_disk().map_err(DeskError::Store)?;
        if self.running().as_deref() == Some(version.udf_hash.as_str()) {
            return Err(DeskError::RunsAlready(version.udf_hash));
        }
        match self.try_version(&version) {
            Ok((transforms, report)) => self.adopt(act, &version, transforms, None, Some(report)),
            Err(error) => {
                if let DeskError::Refused { refusal, .. } = &error {
                    self.write_down(|history, now| {
                        history.refuse(&version.udf_hash, refusal.to_string(), now);
                    })?;
                    self.inner().note = Some(error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Goes back to a kept version: the one named by its first digits, else the one that ran before. Not
    /// tried: it has run, and who goes back is in a hurry.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn rollback(&self, to: Option<&str>) -> Result<VersionChange, DeskError> {
        let _change = self.begin_change();
        let kept = self.store.kept().map_err(DeskError::Store)?;
        let target = self.inner().history.rollback_target(to, &kept)?;
        if self.running().as_ref() == Some(&target) {
            return Err(DeskError::RunsAlready(target));
        }
        let version = self.store.fetch(&target).map_err(DeskError::Store)?;
        let transforms = self.load(&version)?;
        self.adopt(
            VersionAct::Rollback,
            &version,
            transforms,
            to.map(|_| "named by an operator".to_owned()),
            None,
        )
    }

    /// Loads the running version anew, for settings that changed beside its text.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn refit(&self) -> Result<(), DeskError> {
        let _change = self.begin_change();
        let Some(running) = self.running() else { return Ok(()) };
        let version = self.store.fetch(&running).map_err(DeskError::Store)?;
        let transforms = self.load(&version)?;
        Ok(self.pipeline.swap(transforms)?)
    }

    /// Runs a version in the shadow, in place of one that is there already.
    ///
    /// # Errors
    /// When it does not load, or there is no thread for it.
    pub fn start_shadow(&self, version: VersionText) -> Result<(), DeskError> {
        let _change = self.begin_change();
        let transforms = self.load(&version)?;
        let running: RunningVersion = {
            let pipeline = Arc::clone(&self.pipeline);
            Arc::new(move || pipeline.transforms())
        };
        let parts = self.pipeline.parts();
        let (source, spec) = (Arc::clone(&parts.source), Arc::clone(&parts.spec));
        let shadow = Shadow::start(&self.name, source, spec, running, transforms, self.config().shadow)
            .map_err(DeskError::Shadow)?;
        tracing::info!(pipeline = %self.name, udf_hash = %version.udf_hash, "a version runs in the shadow");
        // The one before ends outside the lock: it may be in the middle of a message.
        let before = self.inner().shadow.replace(InShadow { version, shadow });
        drop(before);
        Ok(())
    }

    /// The version in the shadow and what it has found so far.
    #[must_use]
    pub fn shadow(&self) -> Option<(String, ShadowReport)> {
        let inner = self.inner();
        let shadow = inner.shadow.as_ref()?;
        Some((shadow.version.udf_hash.clone(), shadow.shadow.report()))
    }

    /// Ends the shadow and tells what it has found.
    ///
    /// # Errors
    /// [`DeskError::NoShadow`].
    pub fn stop_shadow(&self) -> Result<(String, ShadowReport), DeskError> {
        let _change = self.begin_change();
        let taken = self.inner().shadow.take().ok_or(DeskError::NoShadow)?;
        Ok((taken.version.udf_hash, taken.shadow.stop()))
    }

    /// Puts the version in the shadow in the place of the running one; tried first, like one from the
    /// script's file, unless `force`. Refused, it stays in the shadow.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn promote(&self, force: bool) -> Result<VersionChange, DeskError> {
        let _change = self.begin_change();
        let version = self.inner().shadow.as_ref().map(|shadow| shadow.version.clone());
        let version = version.ok_or(DeskError::NoShadow)?;
        if self.running().as_ref() == Some(&version.udf_hash) {
            return Err(DeskError::RunsAlready(version.udf_hash));
        }
        let tried = if force {
            self.load(&version).map(|transforms| (transforms, None))
        } else {
            self.try_version(&version).map(|(transforms, report)| (transforms, Some(report)))
        };
        let (transforms, report) = match tried {
            Ok(tried) => tried,
            Err(error) => {
                if let DeskError::Refused { refusal, .. } = &error {
                    self.write_down(|history, now| {
                        history.note_refused(&version.udf_hash, refusal.to_string(), now);
                    })?;
                }
                return Err(error);
            }
        };
        let reason = force.then(|| "forced by an operator".to_owned());
        let change = self.adopt(VersionAct::Promote, &version, transforms, reason, report)?;
        let shadow = self.inner().shadow.take();
        drop(shadow);
        Ok(change)
    }

    /// Loads a version and tries it on recent messages.
    fn try_version(
        &self,
        version: &VersionText,
    ) -> Result<(Arc<dyn TransformFactory>, TrialReport), DeskError> {
        let new = self.load(version)?;
        let (policy, parts) = (self.config().policy, self.pipeline.parts());
        let refused = |refusal: Refusal, trial| self.refused(version, refusal, trial);
        let report = trial(parts.source.as_ref(), &parts.spec, &self.pipeline.transforms(), &new, &policy)
            .map_err(|refusal| refused(refusal, None))?;
        count_trial(&self.name, report.seconds);
        match judge(&report.comparison, &policy) {
            Ok(()) => Ok((new, report)),
            Err(refusal) => Err(refused(refusal, Some(Box::new(report)))),
        }
    }

    fn load(&self, version: &VersionText) -> Result<Arc<dyn TransformFactory>, DeskError> {
        self.store.load(version).map_err(|error| self.refused(version, Refusal::NotLoaded(error), None))
    }

    fn refused(&self, version: &VersionText, refusal: Refusal, trial: Option<Box<TrialReport>>) -> DeskError {
        let (pipeline, udf_hash) = (&self.name, version.udf_hash.clone());
        tracing::error!(%pipeline, %udf_hash, %refusal, "a version is refused: the running one goes on");
        count_version(pipeline, VersionAct::Refused);
        DeskError::Refused { udf_hash, refusal, trial }
    }

    /// Keeps the version, writes down that it runs, and lets it.
    fn adopt(
        &self,
        act: VersionAct,
        version: &VersionText,
        transforms: Arc<dyn TransformFactory>,
        reason: Option<String>,
        trial: Option<TrialReport>,
    ) -> Result<VersionChange, DeskError> {
        self.store.keep(version).map_err(DeskError::Store)?;
        let on_disk = self.store.on_disk().ok().map(|on_disk| on_disk.udf_hash);
        // Of a file that was taken up, what lies there now may be newer than what was tried: news again.
        let was_file = matches!(act, VersionAct::Reload | VersionAct::Update);
        let on_disk = if was_file { Some(version.udf_hash.clone()) } else { on_disk };
        let before = self.inner().history.clone();
        self.write_down(|history, now| {
            history.adopt(act, &version.udf_hash, on_disk.as_deref(), reason, now);
        })?;
        if let Err(error) = self.pipeline.swap(transforms) {
            self.store.write_history(&before).map_err(DeskError::Store)?;
            self.inner().history = before;
            return Err(error.into());
        }
        let waits = on_disk.is_some_and(|on_disk| on_disk != version.udf_hash);
        self.inner().note = waits.then(|| WAITS.to_owned());
        let changed = trial.as_ref().map_or(0, |report| report.comparison.changed_rows);
        let messages = trial.as_ref().map_or(0, |report| report.comparison.messages);
        tracing::info!(
            pipeline = %self.name, ?act, udf_hash = %version.udf_hash, previous = before.running.as_deref(),
            tried_messages = messages, changed_rows = changed, "another version of the UDF runs"
        );
        count_version(&self.name, act);
        self.forget_old();
        Ok(VersionChange { udf_hash: version.udf_hash.clone(), previous: before.running, trial })
    }

    fn write_down(&self, change: impl FnOnce(&mut VersionHistory, Micros)) -> Result<(), DeskError> {
        let mut history = self.inner().history.clone();
        change(&mut history, Micros::now());
        self.store.write_history(&history).map_err(DeskError::Store)?;
        self.inner().history = history;
        Ok(())
    }

    /// Removes the text of versions beyond the limit, and says so: dead letters may have been made by
    /// them.
    fn forget_old(&self) {
        let history = self.history();
        let Ok(kept) = self.store.kept() else { return };
        for udf_hash in history.to_forget(&kept, self.config().versions_max) {
            let forgotten = self.store.forget(&udf_hash).map_err(DeskError::Store).and_then(|()| {
                let reason = "more versions than versions_max; its dead letters can no longer be run with it";
                self.write_down(|history, now| history.note_forgotten(&udf_hash, reason.to_owned(), now))
            });
            match forgotten {
                Ok(()) => {
                    tracing::warn!(pipeline = %self.name, %udf_hash, "the text of an old version is kept no more");
                    count_version(&self.name, VersionAct::Forgotten);
                }
                Err(error) => {
                    tracing::error!(pipeline = %self.name, %udf_hash, %error, "an old version is still there")
                }
            }
        }
    }

    fn running(&self) -> Option<String> {
        self.inner().history.running.clone()
    }

    fn config(&self) -> DeskConfig {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Fields are set one by one and each is right by itself: a panicked holder breaks nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
