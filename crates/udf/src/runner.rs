//! Runs messages on an engine in this thread, and decides when the engine must be replaced.

use std::sync::Arc;

use millrace_model::ErrorClass;

use crate::config::{Mode, Shape, UdfConfig, UdfError};
use crate::engine::Engine;
use crate::envelope::Input;
use crate::job::Intake;
use crate::pulse::Pulse;
use crate::stats::{Counters, add};
use crate::verdict::Verdict;

/// What all engines of one UDF have in common.
#[derive(Debug)]
pub(crate) struct Spec {
    pub config: UdfConfig,
    pub counters: Arc<Counters>,
}

impl Spec {
    /// What its engines want of messages.
    pub fn intake(&self) -> Intake {
        Intake {
            envelopes: self.config.reproducible || self.config.shape == Shape::MessageTransform,
            repairs: self.config.mode == Mode::Compatible,
        }
    }
}

/// Turns a message's text into a verdict, whatever it takes. Lives on an engine thread.
pub(crate) trait Runner {
    /// Runs one message.
    fn run(&mut self, input: Input<'_>) -> Verdict;
}

/// A runner with an engine of its own.
pub(crate) struct LocalRunner {
    spec: Arc<Spec>,
    pulse: Arc<Pulse>,
    activities: u64,
    engine: Option<Engine>,
    engines_built: u64,
}

impl LocalRunner {
    pub fn new(spec: Arc<Spec>, pulse: Arc<Pulse>) -> Self {
        Self { spec, pulse, activities: 0, engine: None, engines_built: 0 }
    }

    /// Builds the engine, and answers how many parameters the function declares.
    ///
    /// # Errors
    /// What is wrong with the scripts, or that the machine refused memory.
    pub fn load(&mut self) -> Result<usize, UdfError> {
        self.pulse.begin(&mut self.activities, true);
        let loaded = Engine::load(&self.spec.config, &self.pulse, &self.spec.counters);
        self.pulse.idle();
        let (engine, parameters) = loaded?;
        add(&self.spec.counters.engine_rebuilds, u64::from(self.engines_built > 0));
        self.engines_built += 1;
        self.engine = Some(engine);
        Ok(parameters)
    }

    fn run_once(&mut self, input: Input<'_>) -> (Verdict, bool) {
        if self.engine.is_none()
            && let Err(error) = self.load()
        {
            let message = format!("the scripts loaded before, but not again: {error}");
            return (Verdict::failed(ErrorClass::UdfThrew, message), true);
        }
        let Some(engine) = self.engine.as_mut() else {
            return (Verdict::failed(ErrorClass::UdfThrew, "there is no engine"), true);
        };
        self.pulse.begin(&mut self.activities, false);
        let called = engine.call(input);
        self.pulse.idle();
        let is_fresh = engine.is_fresh();
        if called.broken || engine.is_leaking() {
            self.engine = None;
        }
        (called.verdict, is_fresh)
    }
}

impl Runner for LocalRunner {
    /// Globals persist from message to message, so a message can run out of memory that earlier ones
    /// took: it gets a second run on a new engine, and only what it does there counts.
    fn run(&mut self, input: Input<'_>) -> Verdict {
        let (verdict, is_fresh) = self.run_once(input);
        if !verdict.is_memory() || is_fresh {
            return verdict;
        }
        add(&self.spec.counters.memory_retries, 1);
        self.run_once(input).0
    }
}
