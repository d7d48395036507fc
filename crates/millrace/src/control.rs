//! What an operator asks of a running server, carried out on its parts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};
use millrace_model::Micros;
use millrace_pipeline::{DeskError, VersionAct, VersionChange, VersionDesk};
use millrace_pubsub::KeptTopics;
use millrace_server::{
    Control, ControlError, ControlFault, RerunReport, RerunRequest, Steer, UdfChange, UdfEvent, UdfHistory,
    UdfScript, UdfShadow, UdfSource, UpdateReport,
};
use millrace_udf::Script;
use serde_json::{Value, json};

use crate::config::{self, Config, Origin};
use crate::data_dir::DataDir;
use crate::node::Node;
use crate::pipelines::{self, Slot, Versions, desk_config};
use crate::update::{self, Step};
use crate::{moment, plan, settings};

/// The controls of a server.
pub struct Controls {
    node: Arc<Node>,
    data: DataDir,
    /// Absent when it was not read from a file.
    origin: Option<Origin>,
    /// What runs. Held while an update is made, so that updates come one after the other.
    config: Mutex<Config>,
    /// What Pub/Sub's clients must not delete.
    kept_topics: KeptTopics,
}

impl Controls {
    /// Of a server that runs with this configuration.
    pub fn new(
        node: Arc<Node>,
        data: DataDir,
        origin: Option<Origin>,
        config: Config,
        kept_topics: KeptTopics,
    ) -> Self {
        Self { node, data, origin, config: Mutex::new(config), kept_topics }
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        // It is replaced as a whole: a panicked holder cannot have broken it.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipeline of that name, or the only one that has a UDF.
    fn with_udf(&self, name: Option<&str>) -> Result<Arc<Slot>, ControlError> {
        let slots = self.node.pipelines().all();
        if let Some(name) = name {
            return named(slots, name);
        }
        let mut with: Vec<_> = slots.into_iter().filter(|slot| slot.udf.is_some()).collect();
        match with.len() {
            0 => Err(error(ControlFault::NotFound, "no pipeline has a UDF")),
            1 => Ok(with.remove(0)),
            _ => {
                let names: Vec<_> = with.iter().map(|slot| slot.name.as_str()).collect();
                let message =
                    format!("several pipelines have a UDF, name one with --pipeline: {}", names.join(", "));
                Err(error(ControlFault::BadRequest, message))
            }
        }
    }

    /// Takes up a new configuration; what is done of it is in `running`, also when a later step fails.
    fn take_up(&self, running: &mut Config) -> Result<Vec<String>> {
        let origin =
            self.origin.as_ref().context("it was started from template parameters: start it anew")?;
        let new = origin.load()?;
        config::check(&new)?;
        let steps = update::steps(running, &new).map_err(|fixed| {
            anyhow!("cannot be changed while the server runs: {}; nothing was changed", fixed.join(", "))
        })?;
        // First, so that no topic is deleted that a step has just found or made.
        self.kept_topics.extend(settings::kept_topics(&new));
        let mut changes = Vec::new();
        for step in steps {
            let done = self.step(&new, step.clone()).with_context(|| so_far(&changes))?;
            changes.push(done);
            update::take(running, step);
        }
        // A script whose text changed is taken up whether or not its settings did.
        for slot in self.node.pipelines().all() {
            let Some(Versions { desk, .. }) = &slot.udf else { continue };
            let taken = desk.take_news(VersionAct::Update).with_context(|| so_far(&changes))?;
            if let Some(VersionChange { udf_hash, .. }) = taken {
                changes.push(format!("pipeline {}: version {udf_hash} of its UDF", slot.name));
            }
        }
        *running = new;
        Ok(changes)
    }

    fn step(&self, new: &Config, step: Step) -> Result<String> {
        match step {
            Step::AddTopic(topic) => {
                self.node.log().create_topic(&topic.name, settings::topic(new, &topic.name))?;
                Ok(format!("topic {} is there", topic.name))
            }
            Step::AddTable(table) => {
                self.node.add_table(&plan::declared_table(&table)?)?;
                Ok(format!("table {} is there", table.name))
            }
            Step::Udf(pipeline) => {
                let slot = named(self.node.pipelines().all(), &pipeline.name)?;
                change_udf(&slot, &pipeline).with_context(|| format!("in pipeline {}", pipeline.name))
            }
            Step::Limits(pipeline) => {
                let slot = named(self.node.pipelines().all(), &pipeline.name)?;
                let limits = plan::pipeline_config(&pipeline)?;
                let running = slot.managed.config();
                let (window, workers) = (limits.window, limits.workers);
                slot.managed.reconfigure(millrace_pipeline::PipelineConfig { window, workers, ..running })?;
                Ok(format!("pipeline {}: windows of {} rows, {workers} workers", slot.name, window.rows_max))
            }
            Step::AddPipeline(pipeline) => {
                let name = pipeline.name.clone();
                // The scripts of those that run are none of its business.
                let alone = Config { pipeline: vec![pipeline], ..new.clone() };
                let plan = pipelines::plan_to_start(&alone, &self.data)?.pop();
                self.node.add_pipeline(new, plan.context("it is not in the configuration")?)?;
                Ok(format!("pipeline {name} is started"))
            }
        }
    }
}

/// What was done of an update before it failed.
fn so_far(changes: &[String]) -> String {
    match changes.is_empty() {
        true => "nothing was changed".to_owned(),
        false => format!("changed before that: {}", changes.join("; ")),
    }
}

/// Takes up other settings of a UDF, and the version that is found with them; neither when that version
/// is refused.
fn change_udf(slot: &Slot, pipeline: &config::Pipeline) -> Result<String> {
    let (Some(Versions { files, desk }), Some(settings)) = (&slot.udf, &pipeline.udf) else {
        bail!("its UDF cannot be changed until the next start");
    };
    let (before, new) = (files.settings(), desk_config(settings)?);
    files.configure(settings);
    desk.configure(new);
    let another = (&before.path, &before.function) != (&settings.path, &settings.function);
    match desk.refit(another) {
        Ok(Some(change)) => Ok(format!("pipeline {}: version {} of its UDF", slot.name, change.udf_hash)),
        Ok(None) => Ok(format!("pipeline {}: settings of its UDF", slot.name)),
        Err(error) => {
            files.configure(&before);
            desk.configure(desk_config(&before)?);
            Err(error.into())
        }
    }
}

impl Control for Controls {
    fn udf_history(&self, pipeline: Option<&str>) -> Result<UdfHistory, ControlError> {
        let slot = self.with_udf(pipeline)?;
        let desk = desk(&slot)?;
        let kept = desk.kept().map_err(|reason| error(ControlFault::Internal, reason))?;
        Ok(history(&slot.name, &desk.history(), kept, desk.note()))
    }

    fn reload_udf(&self, pipeline: Option<&str>) -> Result<UdfChange, ControlError> {
        let slot = self.with_udf(pipeline)?;
        change(&slot, desk(&slot)?.reload(VersionAct::Reload))
    }

    fn roll_back_udf(&self, pipeline: Option<&str>, to: Option<&str>) -> Result<UdfChange, ControlError> {
        let slot = self.with_udf(pipeline)?;
        change(&slot, desk(&slot)?.rollback(to))
    }

    fn udf_shadow(&self, pipeline: Option<&str>) -> Result<UdfShadow, ControlError> {
        let slot = self.with_udf(pipeline)?;
        let found = desk(&slot)?.shadow();
        let (udf_hash, report) = found.ok_or_else(|| desk_error(&DeskError::NoShadow))?;
        Ok(UdfShadow { pipeline: slot.name.clone(), udf_hash, report: json!(report) })
    }

    fn start_udf_shadow(&self, pipeline: Option<&str>, new: UdfSource) -> Result<UdfShadow, ControlError> {
        let slot = self.with_udf(pipeline)?;
        let Some(Versions { files, desk }) = &slot.udf else { return Err(no_udf(&slot)) };
        let scripts =
            new.scripts.into_iter().map(|UdfScript { name, source }| Script { name, source }).collect();
        let version = files
            .version(new.function, scripts)
            .map_err(|reason| error(ControlFault::BadRequest, format!("{reason:#}")))?;
        desk.start_shadow(version).map_err(|error| desk_error(&error))?;
        self.udf_shadow(Some(&slot.name))
    }

    fn stop_udf_shadow(&self, pipeline: Option<&str>) -> Result<UdfShadow, ControlError> {
        let slot = self.with_udf(pipeline)?;
        let (udf_hash, report) = desk(&slot)?.stop_shadow().map_err(|error| desk_error(&error))?;
        Ok(UdfShadow { pipeline: slot.name.clone(), udf_hash, report: json!(report) })
    }

    fn promote_udf(&self, pipeline: Option<&str>, force: bool) -> Result<UdfChange, ControlError> {
        let slot = self.with_udf(pipeline)?;
        change(&slot, desk(&slot)?.promote(force))
    }

    fn steer(&self, pipeline: Option<&str>, how: Steer) -> Result<Vec<String>, ControlError> {
        let slots = self.node.pipelines().all();
        let slots = match pipeline {
            Some(name) => vec![named(slots, name)?],
            None => slots,
        };
        // One that cannot go on does not keep the others from it.
        let mut failed = Vec::new();
        let (pipelines, sources) = (self.node.pipelines(), self.node.sources());
        // What feeds them ends first, and begins last.
        match how {
            Steer::Drain => sources.end_before(pipelines, &slots, true),
            Steer::Cancel => sources.end_before(pipelines, &slots, false),
            Steer::Resume => {}
        }
        for slot in &slots {
            tracing::info!(pipeline = %slot.name, ?how, "an operator steers the pipeline");
            match how {
                Steer::Drain => slot.managed.request_drain(),
                Steer::Cancel => slot.managed.request_cancel(),
                Steer::Resume => failed.extend(slot.managed.resume().err().map(|error| error.to_string())),
            }
        }
        if !failed.is_empty() {
            return Err(error(ControlFault::Conflict, failed.join("; ")));
        }
        if how == Steer::Resume {
            let resumed = sources.resume(&slots);
            resumed.map_err(|reason| error(ControlFault::Conflict, format!("{reason:#}")))?;
        }
        Ok(slots.iter().map(|slot| slot.name.clone()).collect())
    }

    fn update(&self) -> Result<UpdateReport, ControlError> {
        let mut running = self.config();
        let taken_up = self.take_up(&mut running);
        self.node.reconfigured(&running);
        let changes = taken_up.map_err(|reason| {
            tracing::error!(error = %format!("{reason:#}"), "the configuration is not taken up, or not all of it");
            error(ControlFault::Conflict, format!("{reason:#}"))
        })?;
        tracing::info!(changes = changes.len(), "the configuration was read anew");
        Ok(UpdateReport { changes })
    }

    fn rerun(&self, request: RerunRequest) -> Result<RerunReport, ControlError> {
        let config = self.config().clone();
        let begun = self.node.reruns().start(&config, &self.data, request);
        begun.map_err(|reason| error(ControlFault::Conflict, format!("{reason:#}")))
    }

    fn reruns(&self) -> Vec<RerunReport> {
        self.node.reruns().reports()
    }
}

/// A history as it is told.
pub fn history(
    pipeline: &str,
    history: &millrace_pipeline::VersionHistory,
    kept: Vec<String>,
    note: Option<String>,
) -> UdfHistory {
    let event = |event: &millrace_pipeline::VersionEvent| UdfEvent {
        at: moment::text(Micros(event.at_micros)),
        act: event.act.as_str().to_owned(),
        udf_hash: event.udf_hash.clone(),
        previous: event.previous.clone(),
        reason: event.reason.clone(),
    };
    UdfHistory {
        pipeline: pipeline.to_owned(),
        running: history.running.clone(),
        note,
        kept,
        events: history.events.iter().map(event).collect(),
        events_forgotten: history.events_forgotten,
    }
}

fn named(slots: Vec<Arc<Slot>>, name: &str) -> Result<Arc<Slot>, ControlError> {
    let found = slots.into_iter().find(|slot| slot.name == name);
    found.ok_or_else(|| error(ControlFault::NotFound, format!("no pipeline is called {name}")))
}

fn desk(slot: &Slot) -> Result<&VersionDesk, ControlError> {
    slot.udf.as_ref().map(|udf| &udf.desk).ok_or_else(|| no_udf(slot))
}

fn no_udf(slot: &Slot) -> ControlError {
    error(ControlFault::NotFound, format!("pipeline {} has no UDF whose versions are known", slot.name))
}

/// A refusal is an answer, anything else an error.
fn change(slot: &Slot, made: Result<VersionChange, DeskError>) -> Result<UdfChange, ControlError> {
    let pipeline = slot.name.clone();
    match made {
        Ok(VersionChange { udf_hash, previous, trial }) => Ok(UdfChange {
            pipeline,
            udf_hash,
            adopted: true,
            refused: None,
            previous,
            trial: trial.map(|trial| json!(trial)),
        }),
        Err(DeskError::Refused { udf_hash, refusal, trial }) => Ok(UdfChange {
            pipeline,
            udf_hash,
            adopted: false,
            refused: Some(refusal.to_string()),
            previous: None,
            trial: trial.map(|trial| json!(trial)).filter(|trial| *trial != Value::Null),
        }),
        Err(other) => Err(desk_error(&other)),
    }
}

fn desk_error(reason: &DeskError) -> ControlError {
    let fault = match reason {
        DeskError::Refused { .. } => ControlFault::BadRequest,
        DeskError::Version(_) => ControlFault::NotFound,
        DeskError::RunsAlready(_) | DeskError::NoShadow | DeskError::Interrupted(_) | DeskError::Stopping => {
            ControlFault::Conflict
        }
        DeskError::NotTried { .. } | DeskError::Shadow(_) | DeskError::Store(_) | DeskError::Pipeline(_) => {
            ControlFault::Internal
        }
    };
    error(fault, reason.to_string())
}

fn error(fault: ControlFault, message: impl Into<String>) -> ControlError {
    ControlError { fault, message: message.into() }
}
