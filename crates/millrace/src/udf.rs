//! UDFs as they are configured, and their counters.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millrace_model::TransformFactory;
use millrace_udf::{
    ChildCommand, Mode, Opened, PassThrough, Script, ScriptFileError, Shape, UdfConfig, UdfError,
    read_scripts,
};

use crate::config;

const DEFAULT_SCRIPT: &str = include_str!("../../../examples/gemini/transform.js");

/// Opens a pipeline's UDF; without one, payloads are rows.
///
/// # Errors
/// What is wrong with the scripts, the function or the limits.
pub fn open(udf: Option<&config::Udf>) -> Result<Opened> {
    let Some(udf) = udf else { return Ok(Opened::PassThrough(PassThrough::default())) };
    let scripts = match (&udf.path, &udf.function) {
        (None, None) if udf.mode == config::UdfMode::Strict => {
            bail!("there is a udf section without udf.function: say which function to call");
        }
        (None, None) => None,
        (path, _) => Some(scripts(path.as_deref())),
    };
    millrace_udf::open(scripts, udf.function.as_deref(), limits(udf)?).map_err(|error| match error {
        UdfError::FunctionNotNamed => anyhow::Error::new(error).context("udf.path without udf.function"),
        error => error.into(),
    })
}

/// The transforms of these scripts, within the mode, shape and limits of a configured UDF.
///
/// # Errors
/// What is wrong with a script or the function.
pub fn load(scripts: Vec<Script>, function: &str, udf: &config::Udf) -> Result<Arc<dyn TransformFactory>> {
    Ok(millrace_udf::open(Some(Ok(scripts)), Some(function), limits(udf)?)?.factory())
}

/// The scripts at a path; without one, the embedded one.
///
/// # Errors
/// When there is nothing to read.
pub fn scripts(path: Option<&Path>) -> Result<Vec<Script>, ScriptFileError> {
    let Some(path) = path else {
        return Ok(vec![Script { name: "transform.js".to_owned(), source: DEFAULT_SCRIPT.to_owned() }]);
    };
    read_scripts(path)
}

/// Mode, shape and limits.
///
/// # Errors
/// When the system does not tell where this program is, which is the UDF's last resort, or how it is
/// reloaded makes no sense.
pub fn limits(udf: &config::Udf) -> Result<UdfConfig> {
    udf.reload_interval()?;
    udf.trial_policy()?;
    Ok(UdfConfig {
        shape: match udf.shape {
            config::UdfShape::Auto => Shape::ByParameterCount,
            config::UdfShape::Template => Shape::Template,
            config::UdfShape::MessageTransform => Shape::MessageTransform,
        },
        mode: match udf.mode {
            config::UdfMode::Strict => Mode::Strict,
            config::UdfMode::Compatible => Mode::Compatible,
        },
        reproducible: udf.reproducible,
        console: udf.console,
        native_plan: udf.native_plan,
        time_limit: Duration::from_millis(udf.time_limit_ms),
        heap_bytes_max: udf.heap_bytes_max,
        child: Some(child()?),
        ..UdfConfig::default()
    })
}

/// This program as the process that UDFs run in when too many engines are stuck in this one.
///
/// # Errors
/// When it cannot find its own file.
pub fn child() -> Result<ChildCommand> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Ok(ChildCommand { program, args: vec!["udf-child".to_owned()] })
}

/// Publishes what has happened inside a pipeline's UDF.
pub fn publish(pipeline: &str, udf: &Opened) {
    let stats = udf.stats();
    let labels = [("pipeline", pipeline.to_owned())];
    let count = |name: &'static str, value: u64| metrics::counter!(name, &labels).absolute(value);
    count("millrace_udf_planned_total", stats.planned);
    count("millrace_udf_plan_fallbacks_total", stats.plan_fallbacks);
    count("millrace_udf_timeouts_total", stats.timeouts);
    count("millrace_udf_engines_abandoned_total", stats.engines_abandoned);
    count("millrace_udf_engine_rebuilds_total", stats.engine_rebuilds);
    count("millrace_udf_memory_retries_total", stats.memory_retries);
    count("millrace_udf_child_starts_total", stats.child_starts);
    count("millrace_udf_start_failures_total", stats.start_failures);
    count("millrace_udf_job_overflows_total", stats.job_overflows);
    count("millrace_udf_console_calls_total", stats.console_calls);
    count("millrace_udf_console_lines_dropped_total", stats.console_lines_dropped);
    count("millrace_udf_empty_payloads_filtered_total", stats.empty_payloads_filtered);
    count("millrace_udf_payloads_repaired_total", stats.payloads_repaired);
    count("millrace_udf_attribute_changes_dropped_total", stats.attribute_changes_dropped);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; there are few engines")]
    metrics::gauge!("millrace_udf_engines_stuck", &labels).set(stats.engines_abandoned_live as f64);
}
