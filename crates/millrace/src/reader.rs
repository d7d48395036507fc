//! What commands that only read open: a snapshot of the tables and of the log, whether or not a server
//! is writing them.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use millrace_disk::{Disk, StdDisk};
use millrace_lake::{Lake, LakeError, LakeTable};
use millrace_log::{Log, Topic};
use millrace_model::{Offset, Source, TransformFactory};
use millrace_pipeline::SourceSlice;
use millrace_sql::format::FormatError;
use millrace_sql::{Engine, QueryResult};
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::data_dir::{DataDir, Spill};
use crate::exports::{self, RecordedExport};
use crate::plan::{self, TablePlan};
use crate::tables::Tables;
use crate::threads::{self, Work};
use crate::{queries, rerun, settings};

/// A snapshot of everything in a data directory.
pub struct Reader {
    /// What the asynchronous parts run on.
    pub runtime: Runtime,
    /// The pipelines whose tables exist, and these.
    pub pipelines: Vec<OpenPipeline>,
    /// What is configured.
    pub config: Config,
    engine_config: millrace_sql::EngineConfig,
    tables: Arc<Tables>,
    lake: Arc<Lake>,
}

/// One pipeline's open tables.
pub struct OpenPipeline {
    /// What is configured.
    pub plan: TablePlan,
    /// Its rows.
    pub rows: Arc<LakeTable>,
    /// Its dead letters.
    pub dead_letters: Arc<LakeTable>,
    /// Of a BigQuery subscription: more about it.
    pub export: Option<OpenExport>,
}

/// What a BigQuery subscription's pipeline is beyond its tables.
pub struct OpenExport {
    /// The first message that is its.
    pub start: Offset,
    /// What makes rows of its dead letters.
    pub replayed_with: Arc<dyn TransformFactory>,
}

impl OpenPipeline {
    /// What it reads of its topic.
    pub fn source(&self, topic: Arc<Topic>) -> Arc<dyn Source> {
        match &self.export {
            None => topic,
            Some(export) => Arc::new(SourceSlice::new(topic, export.start, Offset(u64::MAX))),
        }
    }
}

/// The configured pipelines, and those of BigQuery subscriptions.
///
/// # Errors
/// Names the pipeline and what is wrong with it; or when the list of subscriptions cannot be read.
pub fn plans(config: &Config, data: &DataDir) -> Result<Vec<(TablePlan, Option<OpenExport>)>> {
    let configured = plan::tables(config)?.into_iter().map(|plan| (plan, None));
    let recorded = exports::recorded(config, data)?.into_iter();
    let exported = recorded.map(|RecordedExport { plan, start, replayed_with }| {
        (plan, Some(OpenExport { start, replayed_with }))
    });
    Ok(configured.chain(exported).collect())
}

impl Reader {
    /// Opens the tables of the configured pipelines as they are now. Tables that were never made are
    /// left out: they hold nothing.
    ///
    /// # Errors
    /// When there is no data directory, or a table cannot be opened.
    pub fn open(config: &Config) -> Result<Self> {
        let reader = Self::open_pipelines(config)?;
        for plan in rerun::tables(config, &DataDir::new(&config.data_dir))? {
            for spec in [&plan.table, &plan.dead_letters] {
                // One that was never made holds nothing; one that is damaged keeps nobody from the others.
                match reader.lake.table(&plan.dataset, Arc::clone(spec)) {
                    Ok(table) => reader.tables.add(&plan.dataset, &spec.name, table),
                    Err(LakeError::Missing(_)) => {}
                    Err(error) => {
                        tracing::warn!(table = %format!("{}.{}", plan.dataset, spec.name), %error, "a rerun's table cannot be opened");
                    }
                }
            }
        }
        Ok(reader)
    }

    /// The same without the tables of reruns.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_pipelines(config: &Config) -> Result<Self> {
        let data = DataDir::new(&config.data_dir);
        data.must_exist()?;
        // A server that takes events on the same cores comes first.
        let runtime = threads::runtime(Work::Query)?;
        let disk: Arc<dyn Disk> = Arc::new(StdDisk);
        let lake_config = settings::lake_reader(&data, disk, runtime.handle().clone());
        let lake = Lake::open(lake_config).context("cannot open the lake")?;
        let tables = Tables::new();
        let open = |dataset: &str, spec| match lake.table(dataset, spec) {
            Err(LakeError::Missing(_)) => Ok(None),
            other => other.map(Some),
        };
        let mut pipelines = Vec::new();
        for (plan, export) in plans(config, &data)? {
            // Rows first: the dead letters read after them are never behind them.
            let (Some(rows), Some(dead_letters)) = (
                open(&plan.dataset, Arc::clone(&plan.table))?,
                open(&plan.dead_letter_dataset, Arc::clone(&plan.dead_letters))?,
            ) else {
                continue;
            };
            tables.add(&plan.dataset, &plan.table.name, Arc::clone(&rows));
            tables.add(&plan.dead_letter_dataset, &plan.dead_letters.name, Arc::clone(&dead_letters));
            pipelines.push(OpenPipeline { plan, rows, dead_letters, export });
        }
        for plan in plan::declared_tables(config)? {
            for (dataset, spec) in
                [(&plan.dataset, &plan.table), (&plan.dead_letter_dataset, &plan.dead_letters)]
            {
                if let Some(table) = open(dataset, Arc::clone(spec))? {
                    tables.add(dataset, &spec.name, table);
                }
            }
        }
        let engine_config = millrace_sql::EngineConfig {
            // Who may only read here has no place to spill to, and queries that need one say so.
            spill_dir: queries::spill_dir(&data, Spill::Commands).ok(),
            ..queries::engine(config)?
        };
        let config = config.clone();
        Ok(Self { runtime, pipelines, config, engine_config, tables: Arc::new(tables), lake })
    }

    /// An engine over the tables.
    ///
    /// # Errors
    /// When a view of the user's cannot be read.
    pub fn engine(&self) -> Result<Engine> {
        Ok(Engine::new(self.engine_config.clone(), Arc::clone(&self.tables) as _)?)
    }

    /// Runs one query and hands its result to `print`.
    ///
    /// # Errors
    /// As the engine reports, with its hint.
    pub fn query<T>(&self, sql: &str, print: impl AsyncFnOnce(QueryResult) -> Result<T>) -> Result<T> {
        let engine = self.engine()?;
        self.runtime.block_on(async {
            let result = engine.query(sql).await.map_err(|error| with_hint(&error))?;
            print(result).await
        })
    }
}

/// An SQL error as one line for the terminal.
pub fn with_hint(error: &millrace_sql::SqlError) -> anyhow::Error {
    match &error.hint {
        Some(hint) => anyhow::anyhow!("{} ({hint})", error.message),
        None => anyhow::anyhow!("{}", error.message),
    }
}

/// A failure to print a result as one line for the terminal; a closed pipe stays recognisable.
pub fn format_error(error: FormatError) -> anyhow::Error {
    match error {
        FormatError::Query(error) => with_hint(&error),
        FormatError::Write(error) => anyhow::Error::new(error).context("cannot write the result"),
    }
}

/// The log of a data directory, as far as it is intact, without changing it.
///
/// # Errors
/// When there is none or it cannot be read.
pub fn log(config: &Config) -> Result<Log> {
    let data = DataDir::new(&config.data_dir);
    data.must_exist()?;
    Log::open_read_only(Arc::new(StdDisk), &data.log()).context("cannot open the log")
}
