//! From configuration to the parts it asks for: what is read from files (schemas, scripts, filters) is
//! read and checked here, before anything is started.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millrace_model::{TransformFactory, names};
use millrace_pipeline::{PipelineConfig, WindowLimits};
use millrace_table::{TableSchema, TableSpec, dead_letter_spec};
use millrace_udf::{ChildCommand, PassThrough, Script, Udf, UdfConfig};

use crate::config::{self, Config};

const DEFAULT_SCRIPT: &str = include_str!("../../../examples/gemini/transform.js");
const DEFAULT_SCHEMA: &str = include_str!("../../../examples/gemini/gemini_raw_logs.schema.json");
const DEFAULT_FUNCTION: &str = "transform";

/// A pipeline, checked and ready to be started.
pub struct PipelinePlan {
    /// Its limits.
    pub config: PipelineConfig,
    /// The topic that it reads.
    pub topic: String,
    /// The dataset of its tables.
    pub dataset: String,
    /// The table of its rows.
    pub table: Arc<TableSpec>,
    /// The table of its dead letters.
    pub dead_letters: Arc<TableSpec>,
    /// The UDF.
    pub transforms: Arc<dyn TransformFactory>,
}

/// The tables of one pipeline, without its script: what readers need.
pub struct TablePlan {
    /// The pipeline's name.
    pub pipeline: String,
    /// The topic that it reads.
    pub topic: String,
    /// The dataset of its tables.
    pub dataset: String,
    /// The table of its rows.
    pub table: Arc<TableSpec>,
    /// The table of its dead letters.
    pub dead_letters: Arc<TableSpec>,
}

/// The configured pipelines, or the default one.
pub fn pipelines(config: &Config) -> Vec<config::Pipeline> {
    if !config.pipeline.is_empty() {
        return config.pipeline.clone();
    }
    vec![config::Pipeline {
        name: names::SUBSCRIPTION_LOGS.to_owned(),
        topic: names::TOPIC_LOGS.to_owned(),
        table: format!("{}.{}", names::DATASET, names::TABLE_LOGS),
        schema: None,
        partition: Some("timestamp".to_owned()),
        clustering: vec!["logName".to_owned(), "severity".to_owned()],
        udf: Some(config::Udf {
            path: None,
            function: Some(DEFAULT_FUNCTION.to_owned()),
            time_limit_ms: 500,
            heap_bytes_max: 64 << 20,
            reload_interval_seconds: None,
            reload_interval_minutes: None,
            trial: config::Trial::default(),
            versions_max: config::VERSIONS_MAX,
        }),
        window: config::Window::default(),
        workers: 0,
        adopt_new_topic: false,
    }]
}

/// The tables of every pipeline.
///
/// # Errors
/// Names the pipeline and what is wrong with its table or schema.
pub fn tables(config: &Config) -> Result<Vec<TablePlan>> {
    let plans: Vec<_> = pipelines(config)
        .iter()
        .map(|pipeline| table_plan(pipeline).with_context(|| format!("in pipeline {}", pipeline.name)))
        .collect::<Result<_>>()?;
    let mut seen = BTreeSet::new();
    for plan in &plans {
        if let Some(rule) = names::resource_name_violation(&plan.pipeline) {
            bail!("pipeline name {:?} is not valid: {rule}", plan.pipeline);
        }
        if !seen.insert(&plan.pipeline) {
            bail!("two pipelines are called {}", plan.pipeline);
        }
    }
    Ok(plans)
}

/// The tables of one pipeline.
///
/// # Errors
/// What is wrong with its table or schema.
pub fn table_plan(pipeline: &config::Pipeline) -> Result<TablePlan> {
    let Some((dataset, name)) = pipeline.table.split_once('.') else {
        bail!("table {:?} is not dataset.table", pipeline.table);
    };
    for part in [dataset, name] {
        let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if part.is_empty() || !plain || part.len() > 1024 {
            bail!("table {:?}: names hold letters, digits and _ only", pipeline.table);
        }
    }
    let schema = match &pipeline.schema {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the schema {}", path.display()))?,
        None => DEFAULT_SCHEMA.to_owned(),
    };
    let schema = TableSchema::parse(&schema).with_context(|| match &pipeline.schema {
        Some(path) => format!("in the schema {}", path.display()),
        None => "in the embedded schema".to_owned(),
    })?;
    let table = TableSpec::new(name, schema, pipeline.partition.as_deref(), &pipeline.clustering)?;
    Ok(TablePlan {
        pipeline: pipeline.name.clone(),
        topic: pipeline.topic.clone(),
        dataset: dataset.to_owned(),
        table: Arc::new(table),
        dead_letters: Arc::new(dead_letter_spec(name)),
    })
}

/// Every pipeline with its script compiled.
///
/// # Errors
/// Names the pipeline and what is wrong with it.
pub fn plan(config: &Config) -> Result<Vec<PipelinePlan>> {
    let plans = plan_with(config, |pipeline| Ok((transforms(pipeline.udf.as_ref())?, ())))?;
    Ok(plans.into_iter().map(|(plan, ())| plan).collect())
}

/// Every pipeline with the transforms that `choose` gives it, and whatever else it gives.
///
/// # Errors
/// As [`plan`].
pub fn plan_with<T>(
    config: &Config,
    choose: impl Fn(&config::Pipeline) -> Result<(Arc<dyn TransformFactory>, T)>,
) -> Result<Vec<(PipelinePlan, T)>> {
    let tables = tables(config)?;
    let configured = pipelines(config);
    tables
        .into_iter()
        .zip(configured)
        .map(|(tables, pipeline)| {
            let context = || format!("in pipeline {}", pipeline.name);
            let (transforms, more) = choose(&pipeline).with_context(context)?;
            let limits = pipeline_config(&pipeline).with_context(context)?;
            let plan = PipelinePlan {
                config: limits,
                topic: tables.topic,
                dataset: tables.dataset,
                table: tables.table,
                dead_letters: tables.dead_letters,
                transforms,
            };
            Ok((plan, more))
        })
        .collect()
}

/// A pipeline's limits.
///
/// # Errors
/// Names the limit that makes no sense.
pub fn pipeline_config(pipeline: &config::Pipeline) -> Result<PipelineConfig> {
    let window = &pipeline.window;
    if window.rows_max == 0 || window.bytes_max == 0 || window.age_ms_max == 0 {
        bail!("window.rows_max, bytes_max and age_ms_max must be above 0");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(PipelineConfig {
        window: WindowLimits {
            rows_max: window.rows_max,
            bytes_max: window.bytes_max,
            age_max: Duration::from_millis(window.age_ms_max),
        },
        adopt_new_topic: pipeline.adopt_new_topic,
        workers: if pipeline.workers == 0 { cores } else { pipeline.workers },
        ..PipelineConfig::new(&pipeline.name)
    })
}

fn transforms(udf: Option<&config::Udf>) -> Result<Arc<dyn TransformFactory>> {
    let Some(udf) = udf else { return Ok(Arc::new(PassThrough)) };
    let Some(function) = udf.function.clone() else {
        bail!("udf.path without udf.function: say which function to call");
    };
    let scripts = scripts(udf.path.as_deref())?;
    load_udf(udf_config(udf, &function, scripts)?)
}

/// A UDF's settings over some scripts, not loaded.
///
/// # Errors
/// When this program's own file cannot be found, or how to reload makes no sense.
pub fn udf_config(udf: &config::Udf, function: &str, scripts: Vec<Script>) -> Result<UdfConfig> {
    udf.reload_interval()?;
    udf.trial_policy()?;
    Ok(UdfConfig {
        time_limit: Duration::from_millis(udf.time_limit_ms),
        heap_bytes_max: udf.heap_bytes_max,
        child: Some(ChildCommand {
            program: std::env::current_exe().context("cannot find this program's own file")?,
            args: vec!["udf-child".to_owned()],
        }),
        ..UdfConfig::new(scripts, function)
    })
}

/// Compiles a UDF.
///
/// # Errors
/// What is wrong with its settings, its scripts or its function.
pub fn load_udf(udf: UdfConfig) -> Result<Arc<dyn TransformFactory>> {
    Ok(Arc::new(Udf::load(udf)?))
}

/// The scripts at a path: the file, or all `.js` files of the folder in order of name.
///
/// # Errors
/// When there are none, or one cannot be read.
pub fn scripts(path: Option<&Path>) -> Result<Vec<Script>> {
    let Some(path) = path else {
        return Ok(vec![Script { name: "transform.js".to_owned(), source: DEFAULT_SCRIPT.to_owned() }]);
    };
    let files = if path.is_dir() { js_files(path)? } else { vec![path.to_owned()] };
    if files.is_empty() {
        bail!("no .js file in {}", path.display());
    }
    files
        .iter()
        .map(|file| {
            let source = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the script {}", file.display()))?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Script { name, source })
        })
        .collect()
}

fn js_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "js"));
    files.sort();
    Ok(files)
}
