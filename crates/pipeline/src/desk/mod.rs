//! The desk that every change of a pipeline's UDF goes over: what is taken up from the script's file,
//! gone back to, run in the shadow or promoted, in which order, and what is written down before.
//!
//! Text and history are made durable before a version runs, so that whatever has ever made a row or a
//! dead letter is there to be looked at, and a restart goes on with it.

mod change;
mod choose;
mod store;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_model::{Micros, TransformFactory};

pub use change::{DeskError, VersionChange};
pub use choose::{Chosen, WrittenDown, choose_version};
pub use store::{VersionStore, VersionText};

use choose::WAITS;

use crate::meters::{count_trial, count_version};
use crate::trial::cut;
use crate::{
    ManagedPipeline, Refusal, RunningVersion, Shadow, ShadowConfig, ShadowReport, TrialPolicy, TrialReport,
    VersionAct, VersionHistory, judge, trial,
};

/// Longest note in the status, in bytes: a script chooses the text of its own error.
const NOTE_BYTES_MAX: usize = 2000;

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

/// The versions of one pipeline's UDF.
pub struct VersionDesk {
    name: String,
    pipeline: Arc<ManagedPipeline>,
    store: Arc<dyn VersionStore>,
    config: Mutex<DeskConfig>,
    /// Held while a change is made, so that changes come one after the other.
    change: Mutex<()>,
    /// The server is ending: trials are interrupted, and nothing is changed any more.
    stopping: AtomicBool,
    /// Rollbacks that wait for a change to be made: its trial is interrupted.
    rollbacks_waiting: AtomicUsize,
    inner: Mutex<Inner>,
}

struct Inner {
    history: VersionHistory,
    shadow: Option<InShadow>,
    /// Why the script's file is not what runs, when it is not.
    note: Option<String>,
    /// Why the script's file cannot be read, when it cannot.
    unreadable: Option<String>,
}

struct InShadow {
    version: VersionText,
    shadow: Shadow,
}

/// One more who waits, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl VersionDesk {
    /// The desk of a pipeline that runs the version that was written down.
    #[must_use]
    pub fn open(
        pipeline: Arc<ManagedPipeline>,
        store: Arc<dyn VersionStore>,
        written_down: WrittenDown,
        config: DeskConfig,
    ) -> Self {
        let WrittenDown { history, note, unreadable } = written_down;
        let desk = Self {
            name: pipeline.name(),
            pipeline,
            store,
            config: Mutex::new(config),
            change: Mutex::default(),
            stopping: AtomicBool::new(false),
            rollbacks_waiting: AtomicUsize::new(0),
            inner: Mutex::new(Inner { history, shadow: None, note, unreadable }),
        };
        desk.forget_old();
        desk
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
        let inner = self.inner();
        inner.unreadable.clone().or_else(|| inner.note.clone())
    }

    /// Replaces the settings.
    pub fn configure(&self, config: DeskConfig) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The content of the script's file when it should be tried; `None` also when it cannot be read,
    /// which the note then says.
    #[must_use]
    pub fn news(&self) -> Option<String> {
        self.read_news().map(|version| version.udf_hash)
    }

    fn read_news(&self) -> Option<VersionText> {
        let found = self.store.on_disk();
        let mut inner = self.inner();
        match found {
            Ok(found) => {
                inner.unreadable = None;
                if inner.history.is_news(&found.udf_hash) {
                    return Some(found);
                }
                if inner.history.running.as_ref() == Some(&found.udf_hash) {
                    inner.note = None;
                } else {
                    inner.note.get_or_insert_with(|| WAITS.to_owned());
                }
                None
            }
            Err(error) => {
                if inner.unreadable.as_ref() != Some(&error) {
                    tracing::error!(pipeline = %self.name, %error, "the script cannot be read: the running version goes on");
                    inner.unreadable = Some(error);
                }
                None
            }
        }
    }

    /// Takes up what lies in the script's file when it is news; `None` when it is not. News are asked for
    /// once no other change is under way: what a rollback or a promotion has just passed over is none.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn take_news(&self, act: VersionAct) -> Result<Option<VersionChange>, DeskError> {
        let _change = self.begin_change()?;
        let Some(version) = self.read_news() else { return Ok(None) };
        self.take_up(act, &version).map(Some)
    }

    /// Takes up what lies in the script's file, when it is not what runs, also when it was passed over:
    /// tried first, refused if it does worse. `act` says who asked.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn reload(&self, act: VersionAct) -> Result<VersionChange, DeskError> {
        let _change = self.begin_change()?;
        let version = self.store.on_disk().map_err(DeskError::Store)?;
        if self.running().as_deref() == Some(version.udf_hash.as_str()) {
            return Err(DeskError::RunsAlready(version.udf_hash));
        }
        self.take_up(act, &version)
    }

    /// Takes up settings that changed beside the text: with what lies in the script's file now, when that is
    /// another version and news, or the settings name `another` script; else with the running one.
    ///
    /// # Errors
    /// See [`DeskError`]; a script that cannot be read is one.
    pub fn refit(&self, another: bool) -> Result<Option<VersionChange>, DeskError> {
        let _change = self.begin_change()?;
        let version = self.store.on_disk().map_err(DeskError::Store)?;
        let running = self.running();
        let is_other = running.as_ref() != Some(&version.udf_hash);
        if is_other && (another || self.inner().history.is_news(&version.udf_hash)) {
            return self.take_up(VersionAct::Update, &version).map(Some);
        }
        let version = match running {
            Some(running) => self.store.fetch(&running).map_err(DeskError::Store)?,
            None => version,
        };
        self.pipeline.swap(self.load(&version)?)?;
        Ok(None)
    }

    fn take_up(&self, act: VersionAct, version: &VersionText) -> Result<VersionChange, DeskError> {
        let taken = self
            .try_version(version)
            .and_then(|(transforms, report)| self.adopt(act, version, transforms, None, Some(report)));
        let Err(mut error) = taken else { return taken };
        if let DeskError::Refused { refusal, .. } = &error {
            let reason = refusal.to_string();
            let written = self.write_down(|history, now| history.refuse(&version.udf_hash, reason, now));
            error = written.err().unwrap_or(error);
        }
        let note = cut(&error.to_string(), NOTE_BYTES_MAX);
        let mut inner = self.inner();
        // A refusal was logged. What else stands in the way is tried again and again, and logged once.
        let is_new = inner.note.as_ref() != Some(&note);
        if is_new && !matches!(error, DeskError::Refused { .. } | DeskError::Interrupted(_)) {
            tracing::error!(pipeline = %self.name, %error, "a version is not taken up: the running one goes on");
        }
        inner.note = Some(note);
        drop(inner);
        Err(error)
    }

    /// Goes back to a kept version: the one named by its first digits, else the one that ran before. Not
    /// tried: it has run, and who goes back is in a hurry. A trial under way is interrupted.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn rollback(&self, to: Option<&str>) -> Result<VersionChange, DeskError> {
        let waiting = Waiting::begin(&self.rollbacks_waiting);
        let _change = self.begin_change()?;
        drop(waiting);
        let kept = self.store.kept().map_err(DeskError::Store)?;
        let target = self.inner().history.rollback_target(to, &kept)?;
        if self.running().as_ref() == Some(&target) {
            return Err(DeskError::RunsAlready(target));
        }
        let version = self.store.fetch(&target).map_err(DeskError::Store)?;
        let transforms = self.load(&version)?;
        let reason = to.map(|_| "named by an operator".to_owned());
        self.adopt(VersionAct::Rollback, &version, transforms, reason, None)
    }

    /// Runs a version in the shadow, in place of one that is there already.
    ///
    /// # Errors
    /// When it does not load, or there is no thread for it.
    pub fn start_shadow(&self, version: VersionText) -> Result<(), DeskError> {
        let _change = self.begin_change()?;
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
        let _change = self.begin_change()?;
        let taken = self.inner().shadow.take().ok_or(DeskError::NoShadow)?;
        Ok((taken.version.udf_hash, taken.shadow.stop()))
    }

    /// Puts the version in the shadow in the place of the running one; tried first, like one from the
    /// script's file, unless `force`. Refused, it stays in the shadow.
    ///
    /// # Errors
    /// See [`DeskError`].
    pub fn promote(&self, force: bool) -> Result<VersionChange, DeskError> {
        let _change = self.begin_change()?;
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

    /// Interrupts a trial and the shadow after the message that they have in hand, and refuses every change
    /// from now on; does not wait.
    pub fn request_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(shadow) = &self.inner().shadow {
            shadow.shadow.request_stop();
        }
    }

    /// As [`request_stop`](Self::request_stop), and waits for the end of the change under way and of the
    /// shadow.
    pub fn stop(&self) {
        self.request_stop();
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let shadow = self.inner().shadow.take();
        drop(shadow);
    }

    /// Loads a version and tries it on recent messages.
    fn try_version(
        &self,
        version: &VersionText,
    ) -> Result<(Arc<dyn TransformFactory>, TrialReport), DeskError> {
        let new = self.load(version)?;
        let (policy, parts) = (self.config().policy, self.pipeline.parts());
        let running = self.pipeline.transforms();
        let stop = || self.is_stopping() || self.rollbacks_waiting.load(Ordering::SeqCst) > 0;
        let report = trial(parts.source.as_ref(), &parts.spec, &running, &new, &policy, &stop)
            .map_err(|refusal| self.refused(version, refusal, None))?;
        count_trial(&self.name, report.seconds);
        match judge(&report.comparison, &policy) {
            Ok(()) => Ok((new, report)),
            Err(refusal) => Err(self.refused(version, refusal, Some(Box::new(report)))),
        }
    }

    fn load(&self, version: &VersionText) -> Result<Arc<dyn TransformFactory>, DeskError> {
        self.store.load(version).map_err(|error| self.refused(version, Refusal::NotLoaded(error), None))
    }

    fn refused(&self, version: &VersionText, refusal: Refusal, trial: Option<Box<TrialReport>>) -> DeskError {
        let (pipeline, udf_hash) = (&self.name, version.udf_hash.clone());
        match refusal {
            Refusal::NotTried(reason) => return DeskError::NotTried { udf_hash, reason },
            Refusal::Interrupted => return DeskError::Interrupted(udf_hash),
            Refusal::NotLoaded(_) | Refusal::ErrorRate { .. } => {}
        }
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
            // The one before runs on, whether or not that can be written.
            self.inner().history = before.clone();
            self.store.write_history(&before).map_err(DeskError::Store)?;
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

    /// Waits for a change under way; an error when the server is ending.
    fn begin_change(&self) -> Result<MutexGuard<'_, ()>, DeskError> {
        let change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopping() { Err(DeskError::Stopping) } else { Ok(change) }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Fields are set one by one and each is right by itself: a panicked holder breaks nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
