//! The pipelines of a server: each runs or says why not, and more may come while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::{Context, Result, bail};
use millrace_lake::Lake;
use millrace_log::{Log, Topic};
use millrace_model::{Offset, Source, TransformFactory};
use millrace_pipeline::{
    Chosen, DeskConfig, DuplicatesProbe, LedgerKey, ManagedPipeline, PipelineConfig, PipelineParts,
    PipelineState, ShadowConfig, Sink, SourceSlice, VersionDesk, VersionStore, WrittenDown, choose_version,
};
use millrace_server::PipelineStatus;
use millrace_table::TableSpec;
use millrace_udf::{Opened, PassThrough};

use crate::config::{self, Config};
use crate::data_dir::DataDir;
use crate::plan::{self, PipelinePlan, TablePlan};
use crate::replays::{ReplayTables, Running};
use crate::settings;
use crate::tables::Tables;
use crate::threads::{Work, give_way};
use crate::udf;
use crate::udf_files::UdfFiles;

/// All pipelines of a server.
pub struct Pipelines {
    log: Arc<Log>,
    lake: Arc<Lake>,
    tables: Arc<Tables>,
    slots: RwLock<Vec<Arc<Slot>>>,
    opening: Mutex<()>,
    /// What open tables were opened with, by `dataset.table`.
    declared: RwLock<BTreeMap<String, Arc<TableSpec>>>,
    stopping: AtomicBool,
}

/// A configured pipeline: running, or the reason why it is not. One that cannot start does not keep the
/// others, or ingest, from working.
pub struct Slot {
    /// Its name.
    pub name: String,
    /// The topic that it reads.
    pub topic: String,
    /// The table that it writes, `dataset.table`.
    pub table: String,
    /// It.
    pub managed: Arc<ManagedPipeline>,
    /// The versions of its UDF, when it has one.
    pub udf: Option<Versions>,
    /// Of a BigQuery subscription: what makes rows of its dead letters.
    replayed_with: Option<Arc<dyn TransformFactory>>,
    /// What it was started with; where it has versions, its counters are those of all of them.
    opened: Opened,
}

/// The versions of a pipeline's UDF.
pub struct Versions {
    /// Where they are.
    pub files: Arc<UdfFiles>,
    /// Where they are changed.
    pub desk: VersionDesk,
}

/// A pipeline, checked, with the version of its UDF that is to run.
pub struct StartPlan {
    /// It.
    pub pipeline: PipelinePlan,
    /// Its versions, when it has a UDF.
    versions: Option<(Arc<UdfFiles>, Chosen)>,
}

/// The pipeline of a BigQuery subscription, checked.
pub struct ExportPlan {
    /// Its name and limits.
    pub limits: PipelineConfig,
    /// The topic that it reads.
    pub topic: Arc<Topic>,
    /// The first message that it wants. The subscription's cursor holds the topic back for it.
    pub start: Offset,
    /// Its tables.
    pub tables: TablePlan,
    /// What makes its rows.
    pub transforms: Arc<dyn TransformFactory>,
    /// What makes rows of its dead letters.
    pub replayed_with: Arc<dyn TransformFactory>,
}

/// Every pipeline with the version of its UDF that is to run: what lies in the script's file, unless that
/// was passed over, or is broken while the version that ran last is not.
///
/// # Errors
/// Names the pipeline and what is wrong with it.
pub fn plan_to_start(config: &Config, data: &DataDir) -> Result<Vec<StartPlan>> {
    let plans = plan::plan_with(config, |pipeline| {
        let settings = pipeline.udf.as_ref();
        // Without a function there is nothing to have versions of.
        let Some(with_function) = settings.filter(|udf| udf.function.is_some()) else {
            return Ok((udf::open(settings)?, None));
        };
        let files = Arc::new(UdfFiles::new(data, &pipeline.name, with_function));
        match choose_version(files.as_ref()) {
            Ok(chosen) => {
                let opened = files.opened().context("a version was loaded and is not known")?;
                Ok((opened, Some((files, chosen))))
            }
            // An error, or, in the template's mode, a UDF that makes dead letters of everything.
            Err(error) => {
                let opened = udf::open(settings)?;
                tracing::error!(pipeline = %pipeline.name, %error, "the UDF has no versions until the next start");
                Ok((opened, None))
            }
        }
    })?;
    Ok(plans.into_iter().map(|(pipeline, versions)| StartPlan { pipeline, versions }).collect())
}

impl Pipelines {
    /// None yet.
    pub fn new(log: Arc<Log>, lake: Arc<Lake>, tables: Arc<Tables>) -> Self {
        Self {
            log,
            lake,
            tables,
            slots: RwLock::default(),
            opening: Mutex::default(),
            declared: RwLock::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Opens the tables of a pipeline and starts it.
    ///
    /// # Errors
    /// When its topic or a table cannot be opened at all, there is one of that name, or the server is
    /// stopping.
    pub fn open(&self, config: &Config, plan: StartPlan) -> Result<Arc<Slot>> {
        let _opening = self.begin_opening();
        let PipelinePlan { config: limits, topic, dataset, table, .. } = &plan.pipeline;
        self.must_be_new(&limits.name)?;
        self.must_be_free(&limits.name, topic, &format!("{dataset}.{}", table.name))?;
        Ok(self.keep(self.start(config, plan)?))
    }

    /// Opens the tables of a BigQuery subscription and starts its pipeline.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_export(&self, plan: ExportPlan) -> Result<Arc<Slot>> {
        let _opening = self.begin_opening();
        let ExportPlan { limits, tables, .. } = &plan;
        self.must_be_new(&limits.name)?;
        self.must_be_free(&limits.name, &tables.topic, &format!("{}.{}", tables.dataset, tables.table.name))?;
        Ok(self.keep(self.start_export(plan)?))
    }

    /// Ends a pipeline, and forgets it: when this returns nothing of it touches its tables any more. They
    /// stay open, for queries.
    pub fn close_export(&self, slot: &Arc<Slot>) {
        slot.managed.close();
        if let Ok(pipeline) = slot.managed.pipeline() {
            pipeline.end();
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// Pipelines are opened one after the other: what one must not be beside may be another that is being
    /// opened.
    fn begin_opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message that goes to a table by a BigQuery subscription has one row there: another pipeline from
    /// the same topic would make a second one, and no audit could tell it from a fault.
    ///
    /// # Errors
    /// Names the other pipeline.
    pub fn must_be_free(&self, name: &str, topic: &str, table: &str) -> Result<()> {
        let slots = self.all();
        let other = slots.iter().find(|slot| {
            is_one_exported(name, &slot.name)
                && slot.name != name
                && slot.topic == topic
                && slot.table == table
        });
        match other.map(|slot| &slot.name) {
            None => Ok(()),
            Some(other) => {
                bail!("pipeline {other} writes the messages of topic {topic} to table {table} already")
            }
        }
    }

    fn must_be_new(&self, name: &str) -> Result<()> {
        if self.stopping.load(Ordering::SeqCst) {
            bail!("pipeline {name} is not started any more: the server is stopping");
        }
        // Two on the same tables would each take the other's commits for its own.
        if self.all().iter().any(|slot| slot.name == name) {
            bail!("there is a pipeline {name} already");
        }
        Ok(())
    }

    fn keep(&self, slot: Slot) -> Arc<Slot> {
        let slot = Arc::new(slot);
        self.slots.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&slot));
        slot
    }

    fn start_export(&self, plan: ExportPlan) -> Result<Slot> {
        let ExportPlan { limits, topic, start, tables, transforms, replayed_with } = plan;
        let (rows, dead_letters) =
            self.open_tables(&tables).with_context(|| format!("in pipeline {}", limits.name))?;
        must_not_double(rows.as_ref(), &topic, &limits.name)?;
        let name = limits.name.clone();
        let source: Arc<dyn Source> = topic;
        let source = Arc::new(SourceSlice::new(source, start, Offset(u64::MAX)));
        let table = format!("{}.{}", tables.dataset, tables.table.name);
        let parts = PipelineParts { source, spec: tables.table, rows, dead_letters };
        let managed = Arc::new(ManagedPipeline::start(limits, transforms, parts));
        Ok(Slot {
            name,
            topic: tables.topic,
            table,
            managed,
            udf: None,
            replayed_with: Some(replayed_with),
            opened: Opened::PassThrough(PassThrough::default()),
        })
    }

    /// Opens the tables of a plan, or makes them, so that they can be queried.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn open_tables(&self, plan: &TablePlan) -> Result<(Arc<dyn Sink>, Arc<dyn Sink>)> {
        let rows = self.open_table(&plan.dataset, &plan.table)?;
        Ok((rows, self.open_table(&plan.dead_letter_dataset, &plan.dead_letters)?))
    }

    fn open_table(&self, dataset: &str, spec: &Arc<TableSpec>) -> Result<Arc<dyn Sink>> {
        let table = self.lake.table(dataset, Arc::clone(spec))?;
        self.tables.add(dataset, &spec.name, Arc::clone(&table));
        let mut declared = self.declared.write().unwrap_or_else(PoisonError::into_inner);
        declared.entry(format!("{dataset}.{}", spec.name)).or_insert_with(|| Arc::clone(spec));
        Ok(table)
    }

    /// What the table `dataset.table` was opened with, whatever its schema's file says by now; `None` when
    /// it is not open.
    pub fn declared(&self, table: &str) -> Option<Arc<TableSpec>> {
        self.declared.read().unwrap_or_else(PoisonError::into_inner).get(table).cloned()
    }

    fn start(&self, config: &Config, plan: StartPlan) -> Result<Slot> {
        let StartPlan { pipeline: plan, versions } = plan;
        let table = format!("{}.{}", plan.dataset, &plan.table.name);
        let context = || format!("in pipeline {}", plan.config.name);
        let topic =
            self.log.create_topic(&plan.topic, settings::topic(config, &plan.topic)).with_context(context)?;
        let rows = self.open_table(&plan.dataset, &plan.table).with_context(context)?;
        must_not_double(rows.as_ref(), &topic, &plan.config.name).with_context(context)?;
        let dead_letters =
            self.open_table(&plan.dead_letter_dataset, &plan.dead_letters).with_context(context)?;
        let counted = Arc::clone(&topic);
        let limits = PipelineConfig {
            duplicates: DuplicatesProbe::new(move || counted.stats().duplicates_total),
            ..plan.config
        };
        let name = limits.name.clone();
        let source: Arc<dyn Source> = topic;
        let parts = PipelineParts { source, spec: plan.table, rows, dead_letters };
        let versions = versions.and_then(|(files, chosen)| written_down(&name, files, chosen));
        let managed = Arc::new(ManagedPipeline::start(limits, plan.transforms, parts));
        let udf = versions.map(|(files, settings, written_down)| {
            let store: Arc<dyn VersionStore> = Arc::<UdfFiles>::clone(&files);
            Versions { desk: VersionDesk::open(Arc::clone(&managed), store, written_down, settings), files }
        });
        Ok(Slot { name, topic: plan.topic, table, managed, udf, replayed_with: None, opened: plan.udf })
    }

    /// All of them, in the order of the configuration.
    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server is ending: no pipeline is added, and no version changed, any more. Does not wait.
    pub fn request_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let slots = self.all();
        slots.iter().filter_map(|slot| slot.udf.as_ref()).for_each(|udf| udf.desk.request_stop());
    }

    /// As [`request_stop`](Self::request_stop); afterwards no change is under way and no pipeline is started
    /// again.
    pub fn close(&self) {
        self.request_stop();
        for slot in self.all() {
            if let Some(udf) = &slot.udf {
                udf.desk.stop();
            }
            slot.managed.close();
        }
    }

    /// A pipeline holds its topic back across restarts; one that is not configured any more would do so
    /// for ever, until the topic is full and producers are refused.
    pub fn release_forgotten_holds(&self) {
        let slots = self.all();
        for topic in self.log.topics() {
            for (holder, folded) in topic.holds() {
                if slots.iter().any(|slot| slot.name == holder && slot.topic == topic.name()) {
                    continue;
                }
                match topic.release_hold(&holder) {
                    Ok(()) => tracing::warn!(
                        topic = topic.name(), pipeline = %holder, folded = folded.0,
                        "pipeline is no longer configured: its topic does not wait for it any more"
                    ),
                    Err(error) => tracing::error!(
                        topic = topic.name(), pipeline = %holder, %error,
                        "a pipeline that is no longer configured still holds its topic back"
                    ),
                }
            }
        }
    }
}

/// Whether one of two pipelines, by name, is a BigQuery subscription's.
fn is_one_exported(one: &str, other: &str) -> bool {
    [one, other].iter().any(|name| name.starts_with(plan::EXPORT_PREFIX))
}

/// A BigQuery subscription's pipeline and another one never write the messages of one topic to one table,
/// also not one after the other: neither goes on where the other was. One that is ahead of the other already
/// doubles nothing any more.
///
/// # Errors
/// Names the other pipeline; or when the table's marks cannot be read.
pub fn must_not_double(rows: &dyn Sink, topic: &Topic, name: &str) -> Result<()> {
    let others = LedgerKey::all_pipelines(rows.table(), topic.id(), &rows.marks()?);
    let own = others.get(name).copied();
    if others.values().all(|other| own >= Some(*other)) {
        return Ok(());
    }
    let other = others.keys().find(|other| is_one_exported(name, other) && *other != name);
    match other {
        None => Ok(()),
        Some(other) => bail!(
            "pipeline {other} has written messages of topic {} to table {}, and they would be written a second time: \
             choose another table",
            topic.name(),
            rows.table()
        ),
    }
}

/// Writes down that a version runs, before it does. A full disk does not keep its pipeline from running.
fn written_down(
    pipeline: &str,
    files: Arc<UdfFiles>,
    chosen: Chosen,
) -> Option<(Arc<UdfFiles>, DeskConfig, WrittenDown)> {
    let settings = desk_config(&files.settings()).map_err(|error| format!("{error:#}"));
    let written = settings.and_then(|settings| Ok((settings, chosen.write_down(pipeline, files.as_ref())?)));
    match written {
        Ok((settings, written_down)) => Some((files, settings, written_down)),
        Err(error) => {
            tracing::error!(pipeline, %error, "versions of the UDF cannot be changed until the next start");
            None
        }
    }
}

/// How versions of a UDF are changed by its settings.
///
/// # Errors
/// When a setting makes no sense.
pub fn desk_config(settings: &config::Udf) -> Result<DeskConfig> {
    // A shadow runs when nobody else wants the cores.
    let on_start = Arc::new(|| give_way(Work::Refresh));
    Ok(DeskConfig {
        policy: settings.trial_policy()?,
        versions_max: settings.versions_max,
        shadow: ShadowConfig { on_start, ..ShadowConfig::default() },
    })
}

impl Slot {
    /// Its tables, for replays of dead letters.
    pub fn replay_tables(&self) -> ReplayTables {
        let PipelineParts { spec, rows, dead_letters, .. } = self.managed.parts().clone();
        let versions = self.udf.as_ref().map(|udf| Running::Versions(Arc::clone(&udf.files)));
        let fixed = self.replayed_with.clone().map(Running::Fixed);
        let running = versions.or(fixed).unwrap_or(Running::NoVersions);
        ReplayTables { pipeline: self.name.clone(), spec, rows, dead_letters, running }
    }

    /// Publishes what has happened inside its UDF.
    pub fn publish_udf(&self) {
        udf::publish(&self.name, &self.opened);
    }

    /// How it is doing now.
    pub fn status(&self) -> PipelineStatus {
        let desk = self.udf.as_ref().map(|udf| &udf.desk);
        let known = PipelineStatus {
            name: self.name.clone(),
            topic: self.topic.clone(),
            table: self.table.clone(),
            udf_note: desk.and_then(VersionDesk::note),
            udf_shadow: desk.and_then(VersionDesk::shadow).map(|(udf_hash, _)| udf_hash),
            ..PipelineStatus::default()
        };
        let pipeline = match self.managed.status() {
            Ok(status) => status,
            Err(reason) => {
                return PipelineStatus { state: "failed".to_owned(), error: Some(reason), ..known };
            }
        };
        let (state, failure) = match &pipeline.state {
            PipelineState::Running => ("running", None),
            PipelineState::Draining => ("draining", None),
            PipelineState::Stopped => ("stopped", None),
            PipelineState::Failed(reason) => ("failed", Some(reason.clone())),
        };
        PipelineStatus {
            state: state.to_owned(),
            error: failure.or(pipeline.last_error.filter(|_| pipeline.retries_in_a_row > 0)),
            udf_hash: pipeline.udf_hash,
            next_offset: pipeline.next_offset,
            pending: pipeline.pending_messages,
            read: pipeline.read,
            written: pipeline.written,
            filtered: pipeline.filtered,
            dead_lettered: pipeline.dead_lettered,
            duplicate: pipeline.duplicate,
            expired: pipeline.expired,
            erased: pipeline.erased,
            backlog_bytes: pipeline.backlog_bytes,
            backlog_age_seconds: pipeline.backlog_age_seconds,
            freshness_seconds: pipeline.freshness_seconds,
            system_lag_seconds: pipeline.system_lag_seconds,
            worker_utilisation: pipeline.worker_utilisation,
            commit_retries: pipeline.retries,
            ..known
        }
    }
}
