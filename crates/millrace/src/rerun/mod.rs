//! Stretches of a topic that are run again into tables of their own: durable jobs, each a pipeline over
//! frozen offsets whose position is in its table, so that it goes on after any end and adds nothing twice.

mod plan;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use millrace_disk::{Disk, StdDisk, write_atomically};
use millrace_lake::Lake;
use millrace_log::Log;
use millrace_model::{Micros, Offset, Source, TransformFactory, names};
use millrace_pipeline::{
    Ledger, LedgerKey, ManagedPipeline, Pipeline, PipelineConfig, PipelineParts, PipelineState, Sink,
    SourceSlice, VersionStore as _, VersionText,
};
use millrace_server::{RerunReport, RerunRequest};
use millrace_udf::{PassThrough, Script};

use crate::config::{self, Config};
use crate::data_dir::DataDir;
use crate::plan as plans;
use crate::tables::Tables;
use crate::threads::{self, give_way};
use crate::udf_files::UdfFiles;

pub use plan::tables;
use plan::{Likeness, Moment, Plan, pipeline, read_all, table_plan};

/// Most reruns of a data directory, ended ones included: each has two tables.
const RERUNS_MAX: usize = 100;

/// The reruns of a server.
pub struct Reruns {
    folder: PathBuf,
    log: Arc<Log>,
    lake: Arc<Lake>,
    tables: Arc<Tables>,
    /// Held while one is begun, so that two never begin into the same table.
    beginning: Mutex<()>,
    jobs: Mutex<Vec<Arc<Job>>>,
    stopping: AtomicBool,
}

struct Job {
    plan: Plan,
    work: Work,
}

/// What a job does.
enum Work {
    /// Nothing: its table said at the start that everything is in it.
    Done(Ledger),
    /// Runs, or ended.
    Runs(Box<ManagedPipeline>),
    /// Cannot go on.
    Stuck(String),
}

impl Reruns {
    /// Opens the tables of all reruns and goes on with those that are not done. One that cannot go on
    /// says so and keeps nobody else from working.
    pub fn open(
        config: &Config,
        data: &DataDir,
        log: &Arc<Log>,
        lake: &Arc<Lake>,
        tables: &Arc<Tables>,
    ) -> Self {
        let (log, lake, tables) = (Arc::clone(log), Arc::clone(lake), Arc::clone(tables));
        let this = Self {
            folder: data.reruns(),
            log,
            lake,
            tables,
            beginning: Mutex::default(),
            jobs: Mutex::default(),
            stopping: AtomicBool::new(false),
        };
        let plans = read_all(&this.folder).unwrap_or_else(|error| vec![Err(error)]);
        for plan in plans {
            match plan {
                Ok(plan) => drop(this.begin(config, data, plan)),
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "a rerun cannot be read and does not go on");
                }
            }
        }
        this
    }

    /// Begins a rerun, or goes on with the one into that table when it is the same.
    ///
    /// # Errors
    /// What is wrong with the request, or that the table is taken.
    pub fn start(&self, config: &Config, data: &DataDir, request: RerunRequest) -> Result<RerunReport> {
        let _beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stopping.load(Ordering::SeqCst) {
            bail!("the server is stopping");
        }
        let wanted = self.plan(config, data, request)?;
        let jobs = self.jobs();
        if let Some(job) = jobs.iter().find(|job| job.plan.into == wanted.into) {
            let likeness = job.plan.likeness(&wanted);
            // Done, `24h` means another day: that it was done would be no answer.
            if likeness == Likeness::Other || (likeness == Likeness::SameWords && job.is_done()) {
                let (into, described) = (&job.plan.into, job.plan.describe());
                let what = if job.is_done() { "was filled by a rerun" } else { "is being filled by a rerun" };
                bail!("table {into} {what} {described}: give these again, or name another table");
            }
            return self.go_on(config, data, job);
        }
        if jobs.len() >= RERUNS_MAX {
            bail!("there are {RERUNS_MAX} reruns already");
        }
        self.must_be_new(data, &wanted)?;
        // Written down first: a table that nobody knows of is worse than a job without a table.
        let path = self.folder.join(format!("{}.json", wanted.name));
        let written = StdDisk
            .create_dir_all(&self.folder)
            .and_then(|()| write_atomically(&StdDisk, &path, &serde_json::to_vec(&wanted)?));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        tracing::info!(rerun = %wanted.name, start = wanted.start, end = wanted.end, "messages are run again");
        Ok(self.begin(config, data, wanted).report())
    }

    /// Goes on with a job that is not done and does not run.
    fn go_on(&self, config: &Config, data: &DataDir, job: &Arc<Job>) -> Result<RerunReport> {
        if matches!(job.work, Work::Stuck(_)) {
            // What stood in its way at the start may be gone.
            self.jobs.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, job));
            return Ok(self.begin(config, data, job.plan.clone()).report());
        }
        if job.is_done() || job.pipeline().is_some_and(|pipeline| !pipeline.state().is_over()) {
            return Ok(job.report());
        }
        let resumed = Arc::clone(job);
        quietly(move || -> Result<()> {
            if let Work::Runs(managed) = &resumed.work {
                managed.resume()?;
                managed.request_drain();
            }
            Ok(())
        })??;
        Ok(job.report())
    }

    /// A rerun makes its two tables: rows of somebody else must not be among them.
    fn must_be_new(&self, data: &DataDir, wanted: &Plan) -> Result<()> {
        for table in [wanted.into.clone(), format!("{}{}", wanted.into, names::DEAD_LETTER_SUFFIX)] {
            if self.tables.get(&table).is_some() || data.lake().join(table.replace('.', "/")).exists() {
                bail!("table {table} is there already: a rerun makes a new one");
            }
        }
        Ok(())
    }

    /// All of them, as far as they are.
    pub fn reports(&self) -> Vec<RerunReport> {
        self.jobs().iter().map(|job| job.report()).collect()
    }

    /// Waits until a rerun is over or `timeout` has passed.
    pub fn wait(&self, name: &str, timeout: Duration) {
        let job = self.jobs().into_iter().find(|job| job.plan.name == name);
        if let Some(pipeline) = job.and_then(|job| job.pipeline()) {
            // Whether it got there is in its report.
            let _ = pipeline.wait_for(Offset(u64::MAX), timeout);
        }
    }

    /// Ends those that run, and begins none any more; the next start goes on with them.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        drop(self.beginning.lock().unwrap_or_else(PoisonError::into_inner));
        for pipeline in self.jobs().iter().filter_map(|job| job.pipeline()) {
            pipeline.end();
        }
    }

    fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a request asks for, its moments turned into offsets.
    fn plan(&self, config: &Config, data: &DataDir, request: RerunRequest) -> Result<Plan> {
        let pipeline = pipeline(config, request.pipeline.as_deref())?;
        let topic = self.log.topic(&pipeline.topic);
        let topic = topic.with_context(|| format!("topic {} is not in the log", pipeline.topic))?;
        if request.from_micros >= request.to_micros {
            bail!("--from must be before --to");
        }
        let start = topic.offset_at(Micros(request.from_micros))?;
        let end = topic.offset_at(Micros(request.to_micros))?;
        let udf_sent = request.udf.is_some();
        let udf = match (&pipeline.udf, request.udf) {
            (None, None) => None,
            (None, Some(_)) => {
                bail!("pipeline {} has no UDF, so its limits for one are not known", pipeline.name)
            }
            (Some(settings), new) => {
                let files = UdfFiles::new(data, &pipeline.name, settings);
                let version = match new {
                    Some(new) => {
                        let script = |script: millrace_server::UdfScript| Script {
                            name: script.name,
                            source: script.source,
                        };
                        files.version(new.function, new.scripts.into_iter().map(script).collect())?
                    }
                    None => match files.history().map_err(anyhow::Error::msg)?.running {
                        Some(running) => files.fetch(&running).map_err(anyhow::Error::msg)?,
                        None => files.on_disk().map_err(anyhow::Error::msg)?,
                    },
                };
                // Refused here and now rather than as a job that fails.
                files.load(&version).map_err(anyhow::Error::msg)?;
                Some((version.udf_hash, String::from_utf8(version.text)?))
            }
        };
        let name = format!("rerun-{}", request.into);
        if let Some(rule) = names::resource_name_violation(&name) {
            bail!(
                "table {:?} cannot be filled by a rerun: its pipeline would be called {name}, and {rule}",
                request.into
            );
        }
        let into = plans::table_plan(&config::Pipeline {
            table: request.into,
            dead_letter_table: None,
            ..pipeline.clone()
        })?;
        Ok(Plan {
            version: 1,
            name,
            pipeline: pipeline.name,
            topic: pipeline.topic,
            topic_id: topic.topic_id().to_string(),
            into: format!("{}.{}", into.dataset, into.table.name),
            from: Moment { micros: request.from_micros, relative: request.from_relative },
            to: Moment { micros: request.to_micros, relative: request.to_relative },
            start: start.0,
            end: end.0,
            udf,
            udf_sent,
        })
    }

    fn begin(&self, config: &Config, data: &DataDir, plan: Plan) -> Arc<Job> {
        let work = self.run(config, data, &plan).unwrap_or_else(|error| {
            let error = format!("{error:#}");
            tracing::error!(rerun = %plan.name, %error, "a rerun does not go on");
            Work::Stuck(error)
        });
        let job = Arc::new(Job { plan, work });
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&job));
        job
    }

    fn run(&self, config: &Config, data: &DataDir, plan: &Plan) -> Result<Work> {
        let pipeline = pipeline(config, Some(&plan.pipeline))?;
        let plans::TablePlan { dataset, table, dead_letters, .. } = table_plan(&pipeline, plan)?;
        let topic = self.log.topic(&plan.topic);
        let topic = topic.with_context(|| format!("topic {} is not in the log", plan.topic))?;
        if topic.topic_id().to_string() != plan.topic_id {
            bail!("topic {} was made anew: its messages are others now", plan.topic);
        }
        let rows = self.lake.table(&dataset, Arc::clone(&table))?;
        let dead = self.lake.table(&dataset, Arc::clone(&dead_letters))?;
        self.tables.add(&dataset, &table.name, Arc::clone(&rows));
        self.tables.add(&dataset, &dead_letters.name, Arc::clone(&dead));
        let key = LedgerKey::new(&plan.name, Sink::table(rows.as_ref()), topic.topic_id());
        let ledger = Ledger::from_marks(&key, &rows.marks()?)?.unwrap_or_default();
        if plan.start >= plan.end || ledger.next_offset.0 >= plan.end {
            return Ok(Work::Done(ledger));
        }
        let transforms: Arc<dyn TransformFactory> = match (&plan.udf, &pipeline.udf) {
            (Some((udf_hash, text)), Some(settings)) => {
                let version = VersionText { udf_hash: udf_hash.clone(), text: text.clone().into_bytes() };
                UdfFiles::new(data, &plan.pipeline, settings).load(&version).map_err(anyhow::Error::msg)?
            }
            (Some(_), None) => bail!("pipeline {} has no UDF any more", plan.pipeline),
            (None, _) => Arc::new(PassThrough::default()),
        };
        let limits = PipelineConfig { name: plan.name.clone(), ..plans::pipeline_config(&pipeline)? };
        let slice = SourceSlice::new(topic as Arc<dyn Source>, Offset(plan.start), Offset(plan.end));
        let (rows, dead_letters): (Arc<dyn Sink>, Arc<dyn Sink>) = (rows, dead);
        let parts = PipelineParts { source: Arc::new(slice), spec: table, rows, dead_letters };
        quietly(move || {
            let managed = ManagedPipeline::start(limits, transforms, parts);
            managed.request_drain();
            Work::Runs(Box::new(managed))
        })
    }
}

/// Starts threads that give way to those of the server's own pipelines: they inherit it.
fn quietly<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let starter = std::thread::Builder::new().name("rerun".to_owned()).spawn(move || {
        give_way(threads::Work::Query);
        start()
    });
    let started = starter.context("no thread for it")?.join();
    started.map_err(|_| anyhow::anyhow!("its start panicked; this is a bug, please report it"))
}

impl Job {
    fn pipeline(&self) -> Option<Arc<Pipeline>> {
        match &self.work {
            Work::Runs(managed) => managed.pipeline().ok(),
            Work::Done(_) | Work::Stuck(_) => None,
        }
    }

    fn is_done(&self) -> bool {
        match &self.work {
            Work::Done(_) => true,
            Work::Runs(managed) => managed.status().is_ok_and(|status| status.next_offset >= self.plan.end),
            Work::Stuck(_) => false,
        }
    }

    fn report(&self) -> RerunReport {
        let known = RerunReport {
            name: self.plan.name.clone(),
            into: self.plan.into.clone(),
            udf_hash: self.plan.udf.as_ref().map(|(udf_hash, _)| udf_hash.clone()),
            start: self.plan.start,
            end: self.plan.end,
            next_offset: self.plan.start,
            ..RerunReport::default()
        };
        let failed = |error| RerunReport { state: "failed".to_owned(), error: Some(error), ..known.clone() };
        let status = match &self.work {
            Work::Stuck(error) => return failed(error.clone()),
            Work::Done(ledger) => {
                let counts = Counts {
                    next_offset: ledger.next_offset.0,
                    written: ledger.written,
                    filtered: ledger.filtered,
                    dead_lettered: ledger.dead_lettered,
                    expired: ledger.expired,
                };
                return self.counted(RerunReport { state: "done".to_owned(), ..known }, &counts);
            }
            Work::Runs(managed) => match managed.status() {
                Ok(status) => status,
                Err(error) => return failed(error),
            },
        };
        let counts = Counts {
            next_offset: status.next_offset,
            written: status.written,
            filtered: status.filtered,
            dead_lettered: status.dead_lettered,
            expired: status.expired,
        };
        let (state, error) = match status.state {
            _ if status.next_offset >= self.plan.end => ("done", None),
            PipelineState::Failed(reason) => ("failed", Some(reason)),
            PipelineState::Stopped => ("stopped", None),
            PipelineState::Running | PipelineState::Draining => ("running", status.last_error),
        };
        self.counted(RerunReport { state: state.to_owned(), error, ..known }, &counts)
    }

    fn counted(&self, report: RerunReport, counts: &Counts) -> RerunReport {
        RerunReport {
            next_offset: counts.next_offset.max(self.plan.start),
            written: counts.written,
            filtered: counts.filtered,
            dead_lettered: counts.dead_lettered,
            // Those before the stretch are none of its business.
            expired: counts.expired.saturating_sub(self.plan.start),
            ..report
        }
    }
}

struct Counts {
    next_offset: u64,
    written: u64,
    filtered: u64,
    dead_lettered: u64,
    expired: u64,
}
