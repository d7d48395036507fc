//! The factories: a loaded UDF, and the one for pipelines without.

use std::ops::Range;
use std::sync::Arc;

use millrace_model::{
    ErrorClass, Failure, MessageBatch, RowSink, Stage, Transform, TransformFactory, UdfHash,
};

use crate::config::{UdfConfig, UdfError};
use crate::host::{Host, Place};
use crate::plan::{self, Explanation, NativePlan, Plan, PlanTransform};
use crate::runner::Spec;
use crate::script::{ScriptTransform, put_row};
use crate::stats::{Counters, UdfStats};

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
        config.validate()?;
        let hash = config.hash();
        let spec = Arc::new(Spec { config, counters: Arc::new(Counters::default()) });
        let parameters = Host::start(&spec, Place::Thread)?.wait_ready()?;
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

    /// The settings it was loaded with.
    #[must_use]
    pub fn config(&self) -> &UdfConfig {
        &self.spec.config
    }

    /// How many parameters the function declares.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
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
        let started = Host::start(&self.spec, Place::Thread).and_then(|mut host| {
            host.wait_ready()?;
            Ok(host)
        });
        let host = started.map_err(|error| error.to_string())?;
        Ok(Box::new(ScriptTransform::new(Arc::clone(&self.spec), host)))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        Some(self.hash)
    }
}

/// The transform of a pipeline without a UDF: each payload is the row's JSON. The template drops an
/// empty payload silently; here it is a dead letter like anything else that is not a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct PassThrough;

impl TransformFactory for PassThrough {
    fn create(&self) -> Result<Box<dyn Transform>, String> {
        Ok(Box::new(Self))
    }

    fn udf_hash(&self) -> Option<UdfHash> {
        None
    }
}

impl Transform for PassThrough {
    fn transform(&mut self, batch: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink) {
        for message in range {
            let put = match std::str::from_utf8(batch.get(message).data) {
                Ok("") => Err(refused(ErrorClass::InvalidJson, "the payload is empty".to_owned())),
                Ok(text) => put_row(message, text, rows),
                Err(error) => {
                    let from = error.valid_up_to();
                    let message = format!("the payload is not UTF-8: invalid from byte {from} on");
                    Err(refused(ErrorClass::InvalidUtf8, message))
                }
            };
            if let Err(failure) = put {
                rows.dead_letter(message, failure);
            }
        }
    }
}

fn refused(class: ErrorClass, message: String) -> Failure {
    Failure { stage: Stage::Row, class, message, stack: None }
}
