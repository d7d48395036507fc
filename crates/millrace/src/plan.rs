//! From configuration to the parts it asks for: what is read from files (schemas, scripts, filters) is
//! read and checked here, before anything is started.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use millrace_model::{TransformFactory, names};
use millrace_pipeline::{PipelineConfig, WindowLimits};
use millrace_table::{TableSchema, TableSpec, dead_letter_spec, dead_letter_spec_named};
use millrace_udf::Opened;

use crate::config::{self, Config};
use crate::udf;

const DEFAULT_SCHEMA: &str = include_str!("../../../examples/gemini/gemini_raw_logs.schema.json");
const DEFAULT_FUNCTION: &str = "transform";
/// What the names of BigQuery subscriptions' pipelines begin with, and no other's.
pub const EXPORT_PREFIX: &str = "bigquery~";

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
    /// The dataset of that, nearly always the same.
    pub dead_letter_dataset: String,
    /// The UDF.
    pub udf: Opened,
    /// What makes its transforms.
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
    /// The dataset of that, nearly always the same.
    pub dead_letter_dataset: String,
    /// Whether it begins anew with a topic that took the place of one it has folded.
    pub adopt_new_topic: bool,
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
        schema_text: None,
        dead_letter_table: None,
        partition: Some("timestamp".to_owned()),
        clustering: vec!["logName".to_owned(), "severity".to_owned()],
        udf: Some(config::Udf { function: Some(DEFAULT_FUNCTION.to_owned()), ..config::Udf::default() }),
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
        if plan.pipeline.starts_with(EXPORT_PREFIX) {
            bail!(
                "pipeline name {:?} is not valid: names that begin with {EXPORT_PREFIX} are those of BigQuery subscriptions",
                plan.pipeline
            );
        }
        if !seen.insert(&plan.pipeline) {
            bail!("two pipelines are called {}", plan.pipeline);
        }
    }
    Ok(plans)
}

/// The tables that no pipeline writes; those of their dead letters beside them.
///
/// # Errors
/// Names the table and what is wrong with it.
pub fn declared_tables(config: &Config) -> Result<Vec<TablePlan>> {
    let mut seen: BTreeSet<String> = pipelines(config).into_iter().map(|pipeline| pipeline.table).collect();
    config
        .table
        .iter()
        .map(|table| {
            if !seen.insert(table.name.clone()) {
                bail!("in [[table]]: {} is there twice, or a [[pipeline]] declares it", table.name);
            }
            declared_table(table)
        })
        .collect()
}

/// One of them.
///
/// # Errors
/// As [`declared_tables`].
pub fn declared_table(table: &config::Table) -> Result<TablePlan> {
    let context = || format!("in [[table]] {}", table.name);
    if table.schema.is_none() && table.schema_text.is_none() {
        bail!("{}: give schema or schema_text", context());
    }
    table_plan(&table.as_written()).with_context(context)
}

/// The table `dataset.table` as a section declares it that no pipeline writes, or that one does.
///
/// # Errors
/// What is wrong with its schema.
pub fn written_table(config: &Config, name: &str) -> Result<Option<TablePlan>> {
    if let Some(table) = config.table.iter().find(|table| table.name == name) {
        return declared_table(table).map(Some);
    }
    let writer = pipelines(config).into_iter().find(|pipeline| pipeline.table == name);
    writer.map(|pipeline| table_plan(&pipeline)).transpose()
}

/// The tables of one pipeline.
///
/// # Errors
/// What is wrong with its tables or schema.
pub fn table_plan(pipeline: &config::Pipeline) -> Result<TablePlan> {
    let (dataset, name) = table_name(&pipeline.table)?;
    let schema = match (&pipeline.schema, &pipeline.schema_text) {
        (Some(_), Some(_)) => bail!("schema and schema_text: keep one of them"),
        (Some(path), None) => &std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the schema {}", path.display()))?,
        (None, Some(text)) => text,
        (None, None) => DEFAULT_SCHEMA,
    };
    let schema = TableSchema::parse(schema).with_context(|| match &pipeline.schema {
        Some(path) => format!("in the schema {}", path.display()),
        None if pipeline.schema_text.is_some() => "in schema_text".to_owned(),
        None => "in the embedded schema".to_owned(),
    })?;
    let table = TableSpec::new(name, schema, pipeline.partition.as_deref(), &pipeline.clustering)?;
    let (dead_letter_dataset, dead_letters) = match &pipeline.dead_letter_table {
        Some(table) if *table == pipeline.table => bail!("dead_letter_table is table: choose another"),
        Some(table) => {
            let (dataset, name) = table_name(table)?;
            (dataset, dead_letter_spec_named(name))
        }
        None => (dataset, dead_letter_spec(name)),
    };
    Ok(TablePlan {
        pipeline: pipeline.name.clone(),
        topic: pipeline.topic.clone(),
        dataset: dataset.to_owned(),
        table: Arc::new(table),
        dead_letters: Arc::new(dead_letters),
        dead_letter_dataset: dead_letter_dataset.to_owned(),
        adopt_new_topic: pipeline.adopt_new_topic,
    })
}

fn table_name(text: &str) -> Result<(&str, &str)> {
    let Some((dataset, name)) = text.split_once('.') else {
        bail!("table {text:?} is not dataset.table");
    };
    for part in [dataset, name] {
        let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if part.is_empty() || !plain || part.len() > 1024 {
            bail!("table {text:?}: names hold letters, digits and _ only");
        }
    }
    Ok((dataset, name))
}

/// Every pipeline with its script compiled.
///
/// # Errors
/// Names the pipeline and what is wrong with it.
pub fn plan(config: &Config) -> Result<Vec<PipelinePlan>> {
    let plans = plan_with(config, |pipeline| Ok((udf::open(pipeline.udf.as_ref())?, ())))?;
    Ok(plans.into_iter().map(|(plan, ())| plan).collect())
}

/// Every pipeline with the UDF that `choose` gives it, and whatever else it gives.
///
/// # Errors
/// As [`plan`].
pub fn plan_with<T>(
    config: &Config,
    choose: impl Fn(&config::Pipeline) -> Result<(Opened, T)>,
) -> Result<Vec<(PipelinePlan, T)>> {
    let tables = tables(config)?;
    let configured = pipelines(config);
    tables
        .into_iter()
        .zip(&configured)
        .map(|(tables, pipeline)| {
            let context = || format!("in pipeline {}", pipeline.name);
            let (udf, more) = choose(pipeline).with_context(context)?;
            let limits = pipeline_config(pipeline).with_context(context)?;
            let plan = PipelinePlan {
                config: limits,
                topic: tables.topic,
                dataset: tables.dataset,
                table: tables.table,
                dead_letters: tables.dead_letters,
                dead_letter_dataset: tables.dead_letter_dataset,
                transforms: udf.factory(),
                udf,
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
