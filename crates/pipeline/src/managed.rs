//! A pipeline that is drained, cancelled, started again and changed while its server runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_model::{Source, TransformFactory};
use millrace_table::TableSpec;

use crate::{Pipeline, PipelineConfig, PipelineError, PipelineState, PipelineStatus, Sink};

/// What a pipeline stands on: fixed for as long as the server runs.
#[derive(Clone)]
pub struct PipelineParts {
    /// The topic that it reads.
    pub source: Arc<dyn Source>,
    /// The table of its rows.
    pub spec: Arc<TableSpec>,
    /// Where rows go.
    pub rows: Arc<dyn Sink>,
    /// Where dead letters go.
    pub dead_letters: Arc<dyn Sink>,
}

/// A pipeline by name, whether it runs or not.
///
/// Its whole position is in its tables, so that ending it and starting it with other settings loses
/// nothing and doubles nothing. Only one of it exists at a time: the next is started when every thread
/// of the one before is gone.
pub struct ManagedPipeline {
    parts: PipelineParts,
    /// Held while it is changed, so that changes come one after the other.
    change: Mutex<()>,
    held: Mutex<Held>,
}

struct Held {
    config: PipelineConfig,
    transforms: Arc<dyn TransformFactory>,
    /// The pipeline, or why there is none.
    pipeline: Result<Arc<Pipeline>, String>,
    /// Nothing starts it any more.
    closed: bool,
}

impl ManagedPipeline {
    /// Starts it. One that cannot be started is kept all the same and says why.
    #[must_use]
    pub fn start(
        config: PipelineConfig,
        transforms: Arc<dyn TransformFactory>,
        parts: PipelineParts,
    ) -> Self {
        let pipeline = run(&config, &transforms, &parts).map_err(|error| error.to_string());
        if let Err(error) = &pipeline {
            tracing::error!(pipeline = %config.name, %error, "pipeline did not start");
        }
        let held = Held { config, transforms, pipeline, closed: false };
        Self { parts, change: Mutex::default(), held: Mutex::new(held) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.held().config.name.clone()
    }

    /// What it stands on.
    #[must_use]
    pub fn parts(&self) -> &PipelineParts {
        &self.parts
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> PipelineConfig {
        self.held().config.clone()
    }

    /// The transforms that new messages are, or will be, shown to.
    #[must_use]
    pub fn transforms(&self) -> Arc<dyn TransformFactory> {
        Arc::clone(&self.held().transforms)
    }

    /// The pipeline as it is now, running or ended.
    ///
    /// # Errors
    /// Why it could not be started.
    pub fn pipeline(&self) -> Result<Arc<Pipeline>, String> {
        self.held().pipeline.clone()
    }

    /// How it is doing now.
    ///
    /// # Errors
    /// Why it could not be started.
    pub fn status(&self) -> Result<PipelineStatus, String> {
        Ok(self.pipeline()?.status())
    }

    /// From the next window on, messages are shown to another version; one that has ended will be
    /// started with it.
    ///
    /// # Errors
    /// When the transforms cannot be made: the old ones stay.
    pub fn swap(&self, transforms: Arc<dyn TransformFactory>) -> Result<(), PipelineError> {
        let _change = self.begin_change();
        if let Ok(pipeline) = self.pipeline() {
            pipeline.swap_transforms(Arc::clone(&transforms))?;
        }
        self.held().transforms = transforms;
        Ok(())
    }

    /// Goes on with other settings from the next window on: it is ended after what its workers have in
    /// hand and started again. One that drains or has ended goes on doing so, and will be
    /// started with them.
    ///
    /// # Errors
    /// When it cannot be started with them: it runs as before then.
    pub fn reconfigure(&self, config: PipelineConfig) -> Result<(), PipelineError> {
        let _change = self.begin_change();
        config.validate()?;
        self.must_be_open()?;
        let Ok(pipeline) = self.pipeline() else {
            self.held().config = config;
            return Ok(());
        };
        if pipeline.state() != PipelineState::Running {
            self.held().config = config;
            return Ok(());
        }
        pipeline.end();
        let transforms = self.transforms();
        match run(&config, &transforms, &self.parts) {
            Ok(pipeline) => {
                let mut held = self.held();
                (held.config, held.pipeline) = (config, Ok(pipeline));
                Ok(())
            }
            Err(error) => {
                let again = run(&self.config(), &transforms, &self.parts);
                self.held().pipeline = again.map_err(|error| error.to_string());
                Err(error)
            }
        }
    }

    /// Starts it when it does not run, whatever ended it. One that is on its way to its end (drained or
    /// cancelled) cannot be called back: it ends after what its workers have in hand, and starts again.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn resume(&self) -> Result<(), PipelineError> {
        let _change = self.begin_change();
        self.must_be_open()?;
        if let Ok(pipeline) = self.pipeline() {
            if pipeline.state() == PipelineState::Running {
                return Ok(());
            }
            pipeline.end();
        }
        let started = run(&self.config(), &self.transforms(), &self.parts);
        let (pipeline, result) = match started {
            Ok(pipeline) => (Ok(pipeline), Ok(())),
            Err(error) => (Err(error.to_string()), Err(error)),
        };
        self.held().pipeline = pipeline;
        result
    }

    /// Folds everything there is now, then ends: asks for it and does not wait for that.
    pub fn request_drain(&self) {
        // One that is just being started with other settings is not missed.
        let _change = self.begin_change();
        if let Ok(pipeline) = self.pipeline() {
            pipeline.request_drain();
        }
    }

    /// Ends after what its workers have in hand: asks for it and does not wait for that. The rest is folded
    /// when it is started again.
    pub fn request_cancel(&self) {
        let _change = self.begin_change();
        if let Ok(pipeline) = self.pipeline() {
            pipeline.request_stop();
        }
    }

    /// From now on nothing starts it, whoever asks: the server is ending. What runs goes on.
    pub fn close(&self) {
        let _change = self.begin_change();
        self.held().closed = true;
    }

    fn must_be_open(&self) -> Result<(), PipelineError> {
        let held = self.held();
        match held.closed {
            true => Err(PipelineError::Closed { pipeline: held.config.name.clone() }),
            false => Ok(()),
        }
    }

    fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Fields are set one by one and each is right by itself: a panicked holder breaks nothing.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(
    config: &PipelineConfig,
    transforms: &Arc<dyn TransformFactory>,
    parts: &PipelineParts,
) -> Result<Arc<Pipeline>, PipelineError> {
    let PipelineParts { source, spec, rows, dead_letters } = parts.clone();
    Pipeline::start(config.clone(), source, Arc::clone(transforms), spec, rows, dead_letters).map(Arc::new)
}
