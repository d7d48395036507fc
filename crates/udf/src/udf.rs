//! A loaded UDF, which makes transforms.

use std::sync::Arc;

use millrace_model::{Transform, TransformFactory, UdfHash};

use crate::config::{UdfConfig, UdfError};
use crate::evaluate::Evaluator;
use crate::host::{Host, Place};
use crate::plan::{self, Explanation, NativePlan, Plan, PlanTransform};
use crate::runner::Spec;
use crate::script::ScriptTransform;
use crate::stats::{UdfCounters, UdfStats};

/// A user-defined function that has been loaded once and found right. Makes transforms, each with an
/// engine and an engine thread of its own.
#[derive(Debug, Clone)]
pub struct Udf {
    spec: Arc<Spec>,
    hash: UdfHash,
    parameters: usize,
    plan: Option<Arc<Plan>>,
    explanation: Explanation,
}

impl Udf {
    /// Evaluates the scripts in an engine, which is then thrown away, and finds the function.
    ///
    /// # Errors
    /// What is wrong with the settings, the scripts or the function; see [`UdfError`].
    pub fn load(config: UdfConfig) -> Result<Self, UdfError> {
        Self::load_counting(config, &UdfCounters::default())
    }

    /// As [`load`](Self::load), and counts where other versions of the same UDF count too: what is
    /// counted goes on when one takes the other's place, and so does the cap of engines that are stuck,
    /// however many versions have left some behind.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_counting(config: UdfConfig, counters: &UdfCounters) -> Result<Self, UdfError> {
        config.validate()?;
        let hash = config.hash();
        let spec = Arc::new(Spec { config, counters: Arc::clone(&counters.0) });
        let parameters = Host::start(&spec, Place::Thread)?.wait_ready()?;
        let shape = spec.config.shape_of(parameters);
        spec.config.validate_shape(shape)?;
        let config = UdfConfig { shape, ..spec.config.clone() };
        let spec = Arc::new(Spec { config, counters: Arc::clone(&spec.counters) });
        let (plan, explanation) = plan::compile(&spec.config);
        Ok(Self { spec, hash, parameters, plan, explanation })
    }

    /// Whether it runs as a native plan, and what stands in the way.
    #[must_use]
    pub fn explanation(&self) -> &Explanation {
        &self.explanation
    }

    /// The native plan by itself, when there is one.
    #[must_use]
    pub fn native_plan(&self) -> Option<NativePlan> {
        self.plan.clone().map(NativePlan::new)
    }

    /// The settings it was loaded with; the shape is the one that it has.
    #[must_use]
    pub fn config(&self) -> &UdfConfig {
        &self.spec.config
    }

    /// How many parameters the function declares.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Runs messages without a table; see [`Evaluator`].
    ///
    /// # Errors
    /// When no engine can be had: the machine is out of something.
    pub fn evaluator(&self) -> Result<Evaluator, UdfError> {
        self.script_transform().map(Evaluator::new)
    }

    fn script_transform(&self) -> Result<ScriptTransform, UdfError> {
        let mut host = Host::start(&self.spec, Place::Thread)?;
        host.wait_ready()?;
        Ok(ScriptTransform::new(Arc::clone(&self.spec), host))
    }

    /// The counters of all its transforms together.
    #[must_use]
    pub fn stats(&self) -> UdfStats {
        self.spec.counters.snapshot()
    }
}

impl TransformFactory for Udf {
    fn create(&self) -> Result<Box<dyn Transform>, String> {
        if let Some(plan) = &self.plan {
            return Ok(Box::new(PlanTransform::new(Arc::clone(plan), Arc::clone(&self.spec))));
        }
        let transform = self.script_transform().map_err(|error| error.to_string())?;
        Ok(Box::new(transform))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        Some(self.hash)
    }
}
