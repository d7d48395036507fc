//! BigQuery subscriptions: each a pipeline beside the configured ones, from its topic to a declared table.
//!
//! Two subscriptions of a topic that write the same table one after the other are one pipeline to the table:
//! it is named after both, so the ledger goes on, and what lies between them counts as passed over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use millrace_disk::StdDisk;
use millrace_export::ExportConfig;
use millrace_model::{AttributeIter, Failure, MessageBatch, Offset, TransformFactory, names};
use millrace_pipeline::{LedgerKey, NEXT_OFFSET, PipelineConfig, PipelineState, Sink};
use millrace_pubsub::{Export, ExportFault, ExportRecord, Exporter, export_records};

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::node::Node;
use crate::pipelines::{ExportPlan, Slot, must_not_double};
use crate::plan::{self, TablePlan};

/// The pipelines of a server's BigQuery subscriptions.
pub struct Exports {
    node: Arc<Node>,
    /// By subscription: its pipeline, or why there is none.
    open: Mutex<BTreeMap<String, Result<Arc<Slot>, ExportFault>>>,
}

impl Exports {
    /// None yet.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, open: Mutex::default() }
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<String, Result<Arc<Slot>, ExportFault>>> {
        // Entries come and go in one step each: a panicked holder breaks nothing.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipeline that writes a subscription, when its table can be written.
    fn plan(&self, export: &Export) -> Result<ExportPlan, ExportFault> {
        let config = self.node.config();
        if export.project != config.project {
            return Err(ExportFault::NotFound(format!(
                "there is no table {}.{}: the tables here are of project {}",
                export.project, export.table, config.project
            )));
        }
        let name = pipeline_name(export.topic.name(), &export.table);
        let found = plan::written_table(&config, &export.table);
        let found = found.map_err(|error| ExportFault::NotFound(format!("{error:#}")))?;
        let mut table = found.ok_or_else(|| {
            ExportFault::NotFound(format!(
                "there is no table {0}: declare it in a [[table]], or a [[pipeline]] that writes it",
                export.table
            ))
        })?;
        // An open table stays what it was opened as, also when the file of its schema has changed since.
        if let Some(opened_with) = self.node.pipelines().declared(&export.table) {
            table.table = opened_with;
        }
        if let Some(rule) = names::resource_name_violation(&name) {
            return Err(ExportFault::SchemaMismatch(format!(
                "the pipeline of topic and table would be called {name}, and {rule}"
            )));
        }
        let rows = ExportConfig {
            subscription: export.subscription.clone(),
            use_table_schema: export.use_table_schema,
            write_metadata: export.write_metadata,
            drop_unknown_fields: export.drop_unknown_fields,
        };
        millrace_export::check(&table.table.schema, &rows).map_err(|misfit| {
            ExportFault::SchemaMismatch(format!("table {} does not fit: {misfit}", export.table))
        })?;
        let pipelines = self.node.pipelines();
        let is_free = pipelines.must_be_free(&name, export.topic.name(), &export.table);
        is_free.map_err(|error| ExportFault::PermissionDenied(format!("{error:#}")))?;
        let replayed_with = millrace_export::Exporter::new(rows, Arc::clone(&table.table));
        let transforms = folding(replayed_with.clone(), export);
        // One worker: there may be many subscriptions, and no script runs.
        let limits =
            PipelineConfig { workers: 1, adopt_new_topic: true, ..PipelineConfig::new(name.clone()) };
        let topic = export.topic.name().to_owned();
        let tables = TablePlan { pipeline: name, topic, adopt_new_topic: true, ..table };
        Ok(ExportPlan {
            limits,
            topic: Arc::clone(&export.topic),
            start: export.start,
            tables,
            transforms: Arc::new(transforms),
            replayed_with: Arc::new(replayed_with),
        })
    }
}

impl Exporter for Exports {
    fn check(&self, export: &Export) -> Result<(), ExportFault> {
        let plan = self.plan(export)?;
        // One that is declared is open.
        let Some(table) = self.node.tables().get(&export.table) else { return Ok(()) };
        let is_new = must_not_double(table.as_ref(), &export.topic, &plan.limits.name);
        is_new.map_err(|error| ExportFault::PermissionDenied(format!("{error:#}")))
    }

    fn written(&self, export: &Export) -> Result<Option<Offset>, ExportFault> {
        // Also where no pipeline could be opened: the table may be there all the same.
        let Some(table) = self.node.tables().get(&export.table) else { return Ok(None) };
        let unreadable = |error: String| {
            ExportFault::PermissionDenied(format!(
                "how far table {} is cannot be read: {error}",
                export.table
            ))
        };
        let marks = table.marks().map_err(|error| unreadable(error.to_string()))?;
        let name = pipeline_name(export.topic.name(), &export.table);
        let key = LedgerKey::new(&name, Sink::table(table.as_ref()), export.topic.id());
        let position = key.get(&marks, NEXT_OFFSET).map_err(|error| unreadable(error.to_string()))?;
        Ok(position.map(Offset))
    }

    fn open(&self, export: Export) {
        let open = self.opened().get(&export.subscription).and_then(|slot| slot.clone().ok());
        if let Some(slot) = open {
            if slot.managed.pipeline().is_err() {
                // Its state says why, if it cannot be started this time either.
                let _ = slot.managed.resume();
            }
            return;
        }
        let opened = self.plan(&export).and_then(|plan| {
            let slot = self.node.open_export(plan);
            slot.map_err(|error| ExportFault::PermissionDenied(format!("{error:#}")))
        });
        self.opened().insert(export.subscription, opened);
    }

    fn close(&self, subscription: &str) -> Option<Offset> {
        let slot = self.opened().remove(subscription)?.ok()?;
        self.node.close_export(&slot);
        position(&slot)
    }

    fn state(&self, subscription: &str) -> Result<(), ExportFault> {
        let slot = match self.opened().get(subscription) {
            Some(opened) => opened.clone()?,
            None => return Err(ExportFault::PermissionDenied("nothing writes it".to_owned())),
        };
        let fault = |reason| Err(ExportFault::PermissionDenied(reason));
        let status = match slot.managed.status() {
            Ok(status) => status,
            Err(reason) => return fault(reason),
        };
        match status.state {
            PipelineState::Failed(reason) => fault(reason),
            PipelineState::Stopped => {
                fault(format!("pipeline {0} was ended: `millrace resume {0}` starts it again", slot.name))
            }
            PipelineState::Running | PipelineState::Draining if status.retries_in_a_row > 0 => {
                fault(status.last_error.unwrap_or_else(|| "its commits fail".to_owned()))
            }
            PipelineState::Running | PipelineState::Draining => Ok(()),
        }
    }

    fn position(&self, subscription: &str) -> Option<Offset> {
        let slot = self.opened().get(subscription)?.clone().ok()?;
        position(&slot)
    }
}

fn position(slot: &Slot) -> Option<Offset> {
    slot.managed.status().ok().map(|status| Offset(status.next_offset))
}

/// The transform of the fold, which a replay's is not: it knows what passes, and tells the dead-letter topic.
fn folding(rows: millrace_export::Exporter, export: &Export) -> millrace_export::Exporter {
    let with_filter = match export.filter.clone() {
        Some(filter) => {
            rows.with_filter(Arc::new(move |attributes: AttributeIter<'_>| filter.passes(attributes)))
        }
        None => rows,
    };
    let Some(letters) = export.dead_letters.clone() else { return with_filter };
    let subscription = export.subscription.clone();
    with_filter.with_failed(Arc::new(move |batch: &MessageBatch, failed: &[(usize, Failure)]| {
        let messages = failed.len();
        let failed = failed.iter().map(|(message, failure)| (*message, failure.message.as_str()));
        // They are in the table of dead letters in any case.
        if let Err(error) = letters.forward(batch, failed) {
            tracing::warn!(%subscription, topic = letters.name(), messages, %error, "dead letters were not published");
        }
    }))
}

fn pipeline_name(topic: &str, table: &str) -> String {
    format!("{}{topic}~{table}", plan::EXPORT_PREFIX)
}

/// A BigQuery subscription for who works on its tables while no server may run.
pub struct RecordedExport {
    /// Its tables.
    pub plan: TablePlan,
    /// The first message that is its.
    pub start: Offset,
    /// What makes its rows.
    pub replayed_with: Arc<dyn TransformFactory>,
}

/// The BigQuery subscriptions of a data directory whose tables are declared.
///
/// # Errors
/// When the list of subscriptions cannot be read.
pub fn recorded(config: &Config, data: &DataDir) -> Result<Vec<RecordedExport>> {
    let directory = data.pubsub();
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let records = export_records(Arc::new(StdDisk), &directory).context("cannot read the subscriptions")?;
    let mut exports: BTreeMap<String, RecordedExport> = BTreeMap::new();
    for ExportRecord {
        subscription,
        topic,
        start,
        table,
        use_table_schema,
        write_metadata,
        drop_unknown_fields,
    } in records
    {
        // One whose table is not declared any more is told by its state.
        let Ok(Some(plan)) = plan::written_table(config, &table) else { continue };
        let name = pipeline_name(&topic, &table);
        let plan = TablePlan { pipeline: name.clone(), topic, adopt_new_topic: true, ..plan };
        let rows = ExportConfig { subscription, use_table_schema, write_metadata, drop_unknown_fields };
        let replayed_with = Arc::new(millrace_export::Exporter::new(rows, Arc::clone(&plan.table)));
        exports.entry(name).or_insert(RecordedExport { plan, start, replayed_with });
    }
    Ok(exports.into_values().collect())
}
