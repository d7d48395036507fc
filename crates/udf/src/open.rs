//! From what is configured to what runs, in either mode.

use std::sync::Arc;

use millrace_model::TransformFactory;

use crate::config::{Mode, Script, UdfConfig, UdfError};
use crate::files::ScriptFileError;
use crate::pass_through::{PassThrough, Unloadable};
use crate::stats::UdfStats;
use crate::udf::Udf;

/// What a pipeline runs its messages through.
#[derive(Debug, Clone)]
pub enum Opened {
    /// The UDF.
    Udf(Udf),
    /// None: payloads are rows.
    PassThrough(PassThrough),
    /// In the template's mode, a UDF that does not load.
    Unloadable(Unloadable),
}

/// Opens a UDF: `scripts` as [`crate::read_scripts`] gave them, `None` when there is no path; the function
/// to call; and mode and limits, of which the scripts and the function are not looked at.
///
/// | | [`Mode::Strict`] | [`Mode::Compatible`] |
/// |---|---|---|
/// | scripts, no function | [`UdfError::FunctionNotNamed`] | payloads are rows |
/// | scripts missing or not JavaScript, function missing | an error | every message is a dead letter |
/// | neither scripts nor function | payloads are rows | payloads are rows |
///
/// # Errors
/// What is wrong with the UDF, or, in either mode, with its limits.
pub fn open(
    scripts: Option<Result<Vec<Script>, ScriptFileError>>,
    function: Option<&str>,
    limits: UdfConfig,
) -> Result<Opened, UdfError> {
    let mode = limits.mode;
    let (scripts, function) = match (scripts, function) {
        (None, None) => return Ok(Opened::PassThrough(PassThrough::new(mode))),
        (_, None) if mode == Mode::Compatible => {
            tracing::warn!("there are scripts and no function name: messages pass through untransformed");
            return Ok(Opened::PassThrough(PassThrough::new(mode)));
        }
        (Some(_), None) => return Err(UdfError::FunctionNotNamed),
        // A function of no script is missing, and said to be.
        (scripts, Some(function)) => (scripts.unwrap_or_else(|| Ok(Vec::new())), function.to_owned()),
    };
    if let Err(error @ ScriptFileError::Python(_)) = &scripts {
        return Err(UdfError::Scripts(error.to_string()));
    }
    let loaded = scripts
        .map_err(|error| UdfError::Scripts(error.to_string()))
        .and_then(|scripts| Udf::load(UdfConfig { scripts, function, ..limits }));
    match loaded {
        Ok(udf) => Ok(Opened::Udf(udf)),
        Err(error) if mode == Mode::Compatible && error.is_of_the_script() => {
            tracing::error!(%error, "the UDF does not load: every message becomes a dead letter");
            Ok(Opened::Unloadable(Unloadable::new(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

impl Opened {
    /// What makes the transforms.
    #[must_use]
    pub fn factory(&self) -> Arc<dyn TransformFactory> {
        match self {
            Self::Udf(udf) => Arc::new(udf.clone()),
            Self::PassThrough(pass_through) => Arc::new(pass_through.clone()),
            Self::Unloadable(unloadable) => Arc::new(unloadable.clone()),
        }
    }

    /// The counters of all transforms together.
    #[must_use]
    pub fn stats(&self) -> UdfStats {
        match self {
            Self::Udf(udf) => udf.stats(),
            Self::PassThrough(pass_through) => pass_through.stats(),
            Self::Unloadable(unloadable) => unloadable.stats(),
        }
    }
}
