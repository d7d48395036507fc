//! Replays and purges as the server and the command line ask for them: which pipelines, which UDF.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, Result};
use millrace_model::{MessageId, TopicId, TransformFactory};
use millrace_pipeline::Sink;
use millrace_pipeline::replay::{
    Classes, PurgeReport, ReplayError, ReplayLimits, ReplayReport, Replayer, Selection, Stop, Trial,
};
use millrace_server::{DeadLetterChoice, DeadLetterError, DeadLetters, ReplayRequest, SentScript, SentUdf};
use millrace_table::TableSpec;
use millrace_udf::{PassThrough, Script};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{self, Config};
use crate::data_dir::DataDir;
use crate::job_store::JobFile;
use crate::plan;
use crate::udf;
use crate::udf_files::{UdfFiles, VersionParts};

/// An answer about several pipelines.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer<T> {
    /// One for each pipeline, and for each topic that it has folded.
    pub pipelines: Vec<Of<T>>,
}

/// An answer about one pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Of<T> {
    /// The pipeline.
    pub pipeline: String,
    /// Its dead-letter table.
    pub table: String,
    /// The topic of the messages.
    pub topic_id: String,
    /// The answer.
    #[serde(flatten)]
    pub answer: T,
}

/// What a replay did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The unfinished replay that was done first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ReplayReport>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReplayReport>,
    /// What would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// A UDF as it is kept with a job; absent where payloads are rows already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptUdf {
    scripts: Vec<SentScript>,
    function: String,
}

/// The dead letters of all pipelines.
pub struct Replays {
    data: DataDir,
    limits: ReplayLimits,
    pipelines: RwLock<Pipelines>,
}

#[derive(Default)]
struct Pipelines {
    all: Vec<Arc<Pipeline>>,
    /// Nothing is to be at work any more.
    stopping: bool,
}

struct Pipeline {
    replayer: Replayer,
    udf: KnownUdf,
    stop: Stop,
}

/// What is known of a pipeline's UDF when a replay brings none of its own.
enum KnownUdf {
    /// Without versions: as it is configured, read again at each replay.
    Configured(Option<config::Udf>),
    /// The version that a server runs.
    Running(Arc<UdfFiles>),
    /// No server runs: the version that the next one would.
    Next(Box<UdfFiles>),
    /// None: rows are made by something else.
    Fixed(Arc<dyn TransformFactory>),
}

/// A pipeline's open tables.
pub struct ReplayTables {
    /// The pipeline's name.
    pub pipeline: String,
    /// The table of its rows.
    pub spec: Arc<TableSpec>,
    /// Its rows.
    pub rows: Arc<dyn Sink>,
    /// Its dead letters.
    pub dead_letters: Arc<dyn Sink>,
    /// What runs it.
    pub running: Running,
}

/// What runs a pipeline.
pub enum Running {
    /// No server.
    NoServer,
    /// A server, with a UDF that has no versions, or without one.
    NoVersions,
    /// A server, with one of these versions.
    Versions(Arc<UdfFiles>),
    /// A server or not: rows are made by this, which is no UDF.
    Fixed(Arc<dyn TransformFactory>),
}

impl Replays {
    /// Of these pipelines, which are configured.
    pub fn new(config: &Config, data: &DataDir, tables: Vec<ReplayTables>) -> Self {
        let limits = ReplayLimits {
            attempts_max: config.replay.attempts_max,
            messages_max: config.replay.messages_max,
            batch_messages_max: config.replay.batch_messages_max,
            batch_bytes_max: config.replay.batch_bytes_max,
            ..ReplayLimits::default()
        };
        let this = Self { data: data.clone(), limits, pipelines: RwLock::default() };
        tables.into_iter().for_each(|tables| this.add(config, tables));
        this
    }

    /// One more pipeline, of this configuration.
    pub fn add(&self, config: &Config, tables: ReplayTables) {
        let ReplayTables { pipeline, spec, rows, dead_letters, running } = tables;
        let configured = plan::pipelines(config).into_iter().find(|configured| configured.name == pipeline);
        let settings = configured.and_then(|configured| configured.udf);
        let udf = match (running, settings) {
            (Running::Versions(files), _) => KnownUdf::Running(files),
            (Running::Fixed(transforms), _) => KnownUdf::Fixed(transforms),
            (Running::NoServer, Some(settings)) if settings.function.is_some() => {
                KnownUdf::Next(Box::new(UdfFiles::new(&self.data, &pipeline, &settings)))
            }
            (_, settings) => KnownUdf::Configured(settings),
        };
        let store = Arc::new(JobFile::new(&self.data.replays(), &pipeline));
        let replayer = Replayer::new(&pipeline, spec, rows, dead_letters, store, self.limits);
        let stop = Stop::new();
        let mut pipelines = self.pipelines.write().unwrap_or_else(PoisonError::into_inner);
        if pipelines.stopping {
            stop.ask();
        }
        pipelines.all.push(Arc::new(Pipeline { replayer, udf, stop }));
    }

    /// One less. When this returns nothing is at work on its tables: what a replay has not done, it goes on
    /// with when the pipeline is there again.
    pub fn remove(&self, name: &str) {
        let is_it = |pipeline: &Arc<Pipeline>| pipeline.replayer.pipeline() == name;
        let removed: Vec<_> = {
            let mut pipelines = self.pipelines.write().unwrap_or_else(PoisonError::into_inner);
            pipelines.all.extract_if(.., |pipeline| is_it(pipeline)).collect()
        };
        for pipeline in removed {
            pipeline.stop.ask();
            pipeline.replayer.wait_idle();
        }
    }

    fn pipelines(&self) -> Vec<Arc<Pipeline>> {
        self.pipelines.read().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// Goes on with what a process before left unfinished: of one pipeline, or of all.
    pub fn resume(&self, name: Option<&str>) {
        let mut pipelines = self.pipelines();
        pipelines.retain(|pipeline| name.is_none_or(|name| name == pipeline.replayer.pipeline()));
        for pipeline in pipelines {
            match pipeline.resume() {
                // Who is at work does that first.
                Ok(_) | Err(ReplayError::Busy(_) | ReplayError::Stopped) => {}
                Err(error) => {
                    let name = pipeline.replayer.pipeline();
                    tracing::error!(pipeline = name, %error, "an unfinished replay cannot be gone on with");
                }
            }
        }
    }

    /// Asks what is at work to stop between two batches, and everything later too.
    pub fn stop(&self) {
        let mut pipelines = self.pipelines.write().unwrap_or_else(PoisonError::into_inner);
        pipelines.stopping = true;
        pipelines.all.iter().for_each(|pipeline| pipeline.stop.ask());
    }

    /// The classes of dead letters.
    ///
    /// # Errors
    /// When the choice makes no sense, or a table cannot be read.
    pub fn classes(&self, choice: &DeadLetterChoice) -> Result<Answer<Classes>, DeadLetterError> {
        self.each(choice, |pipeline, topic, selection| {
            pipeline.replayer.classes(topic, selection).map_err(|error| refused(&error))
        })
    }

    /// Replays dead letters, or says what that would do. Unfinished ones are done first.
    ///
    /// # Errors
    /// As [`classes`](Self::classes), and when the UDF cannot be had, or another one is at work.
    pub fn replay(&self, request: &ReplayRequest) -> Result<Answer<Replayed>, DeadLetterError> {
        self.each(&request.choice, |pipeline, topic, selection| {
            let kept = pipeline.kept_udf(request).map_err(|error| wrong(&error))?;
            let transforms = pipeline.transforms(kept.as_ref()).map_err(|error| wrong(&error))?;
            let replayer = &pipeline.replayer;
            if request.dry_run {
                let trial = replayer
                    .trial(topic, selection, transforms, &pipeline.stop)
                    .map_err(|error| refused(&error))?;
                return Ok(Replayed { trial: Some(trial), ..Replayed::default() });
            }
            let resumed = pipeline.resume().map_err(|error| refused(&error))?;
            let kept = serde_json::to_string(&kept).map_err(|error| wrong(&error.into()))?;
            let report = replayer
                .replay(topic, selection, kept, transforms, &pipeline.stop)
                .map_err(|error| refused(&error))?;
            Ok(Replayed { resumed, report: Some(report), trial: None })
        })
    }

    /// Removes dead letters. Unfinished replays are done first.
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    pub fn purge(&self, choice: &DeadLetterChoice) -> Result<Answer<PurgeReport>, DeadLetterError> {
        self.each(choice, |pipeline, topic, selection| {
            pipeline.resume().map_err(|error| refused(&error))?;
            pipeline.replayer.purge(topic, selection, &pipeline.stop).map_err(|error| refused(&error))
        })
    }

    /// Does something with each pipeline and topic that a choice means.
    pub fn each_of(
        &self,
        choice: &DeadLetterChoice,
        mut work: impl FnMut(&Replayer, TopicId, &Selection) -> Result<(), ReplayError>,
    ) -> Result<(), DeadLetterError> {
        self.each(choice, |pipeline, topic, selection| {
            work(&pipeline.replayer, topic, selection).map_err(|error| refused(&error))
        })
        .map(|_: Answer<()>| ())
    }

    fn each<T>(
        &self,
        choice: &DeadLetterChoice,
        mut work: impl FnMut(&Pipeline, TopicId, &Selection) -> Result<T, DeadLetterError>,
    ) -> Result<Answer<T>, DeadLetterError> {
        let (message, selection) = selection(choice).map_err(|error| wrong(&error))?;
        let named = |pipeline: &Arc<Pipeline>| {
            choice.pipeline.as_ref().is_none_or(|name| *name == pipeline.replayer.pipeline())
        };
        let mut pipelines = self.pipelines();
        pipelines.retain(named);
        if let (Some(name), true) = (&choice.pipeline, pipelines.is_empty()) {
            let text = format!("no pipeline {name} has tables: `millrace status` names them");
            return Err(DeadLetterError::Wrong(text));
        }
        let mut answers = Vec::new();
        for pipeline in pipelines {
            for topic in pipeline.replayer.topics().map_err(|error| refused(&error))? {
                if message.is_some_and(|message| message.topic != topic) {
                    continue;
                }
                answers.push(Of {
                    pipeline: pipeline.replayer.pipeline().to_owned(),
                    table: pipeline.replayer.tables().1.to_owned(),
                    topic_id: topic.to_string(),
                    answer: work(&pipeline, topic, &selection)?,
                });
            }
        }
        Ok(Answer { pipelines: answers })
    }
}

impl Pipeline {
    fn resume(&self) -> Result<Option<ReplayReport>, ReplayError> {
        let make = |kept: &str| {
            let kept: Option<KeptUdf> = serde_json::from_str(kept).map_err(|error| error.to_string())?;
            self.transforms(kept.as_ref()).map_err(|error| format!("{error:#}"))
        };
        self.replayer.resume(make, &self.stop)
    }

    /// The UDF of a request: what it sends, else what runs.
    fn kept_udf(&self, request: &ReplayRequest) -> Result<Option<KeptUdf>> {
        let (sent, wanted) = match request.udf.clone() {
            Some(SentUdf { scripts, function }) => (scripts, function),
            None => (Vec::new(), None),
        };
        let (scripts, function) = match (sent.is_empty(), self.udf.settings()) {
            (false, settings) => (sent, settings.and_then(|settings| settings.function)),
            (true, None) => return Ok(None),
            (true, Some(settings)) => {
                let (scripts, function) = self.udf.parts(settings)?;
                (scripts.into_iter().map(sent_script).collect(), function)
            }
        };
        let function = wanted.or(function);
        let function = function.context("which function is to be called? Name it with --function")?;
        Ok(Some(KeptUdf { scripts, function }))
    }

    fn transforms(&self, kept: Option<&KeptUdf>) -> Result<Arc<dyn TransformFactory>> {
        let Some(KeptUdf { scripts, function }) = kept else {
            return Ok(match &self.udf {
                KnownUdf::Fixed(transforms) => Arc::clone(transforms),
                _ => Arc::new(PassThrough::default()),
            });
        };
        let scripts = scripts.iter().cloned().map(|SentScript { name, source }| Script { name, source });
        udf::load(scripts.collect(), function, &self.udf.settings().unwrap_or_default())
    }
}

impl KnownUdf {
    /// Its settings as they are now; `None` without a UDF.
    fn settings(&self) -> Option<config::Udf> {
        match self {
            Self::Configured(settings) => settings.clone(),
            Self::Running(files) => Some(files.settings()),
            Self::Next(files) => Some(files.settings()),
            Self::Fixed(_) => None,
        }
    }

    /// Scripts and function of the version that runs, or would.
    fn parts(&self, settings: config::Udf) -> Result<(Vec<Script>, Option<String>)> {
        let version = match self {
            Self::Configured(_) | Self::Fixed(_) => {
                return Ok((udf::scripts(settings.path.as_deref())?, settings.function));
            }
            Self::Running(files) => files.running(),
            Self::Next(files) => files.next_to_run(),
        };
        let VersionParts { scripts, function } = UdfFiles::parts(&version.map_err(anyhow::Error::msg)?)?;
        Ok((scripts, Some(function)))
    }
}

/// A script on its way to a job.
pub fn sent_script(script: Script) -> SentScript {
    SentScript { name: script.name, source: script.source }
}

fn selection(choice: &DeadLetterChoice) -> Result<(Option<MessageId>, Selection)> {
    let message: Option<MessageId> = choice.message_id.as_deref().map(str::parse).transpose()?;
    let class = choice.class.as_deref().map(str::parse).transpose()?;
    let since_micros = choice.since_micros;
    Ok((message, Selection { class, since_micros, message: message.map(|message| message.offset.0) }))
}

fn wrong(error: &anyhow::Error) -> DeadLetterError {
    DeadLetterError::Wrong(format!("{error:#}"))
}

fn refused(error: &ReplayError) -> DeadLetterError {
    let text = error.to_string();
    match error {
        ReplayError::Busy(_) | ReplayError::Unfinished(_) => DeadLetterError::Busy(text),
        ReplayError::Transform(_) | ReplayError::NothingFolded { .. } => DeadLetterError::Wrong(text),
        _ => DeadLetterError::Failed(text),
    }
}

fn as_json<T: Serialize>(answer: &Answer<T>) -> Result<Value, DeadLetterError> {
    serde_json::to_value(answer).map_err(|error| DeadLetterError::Failed(error.to_string()))
}

impl DeadLetters for Replays {
    fn classes(&self, choice: &DeadLetterChoice) -> Result<Value, DeadLetterError> {
        as_json(&self.classes(choice)?)
    }

    fn replay(&self, request: &ReplayRequest) -> Result<Value, DeadLetterError> {
        as_json(&self.replay(request)?)
    }

    fn purge(&self, choice: &DeadLetterChoice) -> Result<Value, DeadLetterError> {
        as_json(&self.purge(choice)?)
    }
}
