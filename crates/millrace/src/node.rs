//! The running parts of a server, wired together, and what they report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace_disk::{Disk, StdDisk};
use millrace_lake::Lake;
use millrace_log::Log;
use millrace_model::{Micros, Offset, Source};
use millrace_pipeline::{DuplicatesProbe, Pipeline, PipelineConfig, PipelineState, Sink};
use millrace_server::{Facts, PipelineStatus, Status, TableStatus, TopicStatus};
use millrace_udf::Opened;

use crate::auditor::Auditor;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::plan::PipelinePlan;
use crate::replays::{ReplayTables, Replays};
use crate::settings;
use crate::tables::Tables;
use crate::udf;

/// Everything that runs in a server process except its listeners.
pub struct Node {
    log: Arc<Log>,
    lake: Arc<Lake>,
    tables: Arc<Tables>,
    pipelines: Vec<Running>,
    replays: Arc<Replays>,
    auditor: Arc<Auditor>,
    postgres: OnceLock<String>,
    started: Instant,
}

/// A configured pipeline: running, or the reason why it is not. One that cannot start does not keep
/// the others, or ingest, from working.
struct Running {
    name: String,
    topic: String,
    table: String,
    udf: Opened,
    pipeline: Result<Pipeline, String>,
}

impl Node {
    /// Opens log and lake and starts every pipeline. Called with the data directory's lock held.
    ///
    /// # Errors
    /// When the log, a topic, the lake or a table cannot be opened at all.
    pub fn start(
        config: &Config,
        data: &DataDir,
        plans: Vec<PipelinePlan>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self> {
        let started = Instant::now();
        let disk: Arc<dyn Disk> = Arc::new(StdDisk);
        let log = Log::open(Arc::clone(&disk), &data.log(), settings::log(config))
            .context("cannot open the log")?;
        let log = Arc::new(log);
        for name in settings::topics(config) {
            log.create_topic(&name, settings::topic(config, &name))
                .with_context(|| format!("in the settings of topic {name}"))?;
        }
        let lake = Lake::open(settings::lake(config, data, disk, runtime.clone()))
            .context("cannot open the lake")?;
        let mut tables = Tables::new();
        let (mut pipelines, mut replayed) = (Vec::new(), Vec::new());
        for plan in plans {
            let (running, tables) = start_pipeline(config, &log, &lake, &mut tables, plan)?;
            pipelines.push(running);
            replayed.push(tables);
        }
        release_forgotten_holds(&log, &pipelines);
        let replays = Arc::new(Replays::new(config, data, replayed));
        let auditor = Arc::<Auditor>::default();
        resume_replays(&replays)?;
        auditor.start(config, &log)?;
        Ok(Self {
            log,
            lake,
            tables: Arc::new(tables),
            pipelines,
            replays,
            auditor,
            postgres: OnceLock::new(),
            started,
        })
    }

    /// The log, for ingest.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The tables, for queries.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// What can be done with dead letters.
    pub fn replays(&self) -> &Arc<Replays> {
        &self.replays
    }

    /// Says where Postgres clients connect, for the status.
    pub fn announce_postgres(&self, project: &str, address: SocketAddr) {
        self.postgres.get_or_init(|| format!("postgresql://{address}/{project}"));
    }

    /// Removes what retention says, and counts the topics where it could not.
    pub fn maintain(&self) {
        let failures = match self.log.maintain(Micros::now()) {
            Ok(done) => done.failures,
            Err(error) => vec![("all".to_owned(), error.to_string())],
        };
        for (topic, error) in failures {
            tracing::error!(%topic, %error, "retention failed");
            metrics::counter!("millrace_retention_errors_total", "topic" => topic).increment(1);
        }
    }

    /// Why a pipeline does not run, when one does not although nobody stopped it.
    pub fn failure(&self) -> Option<String> {
        let statuses = self.pipelines.iter().map(pipeline_status);
        let failed = statuses.into_iter().find(|status| status.state == "failed")?;
        Some(format!("pipeline {} failed: {}", failed.name, failed.error.unwrap_or_default()))
    }

    /// Folds what there is, then stops every pipeline and the lake. Ingest has ended before. A pipeline
    /// that makes no progress for `stall_max` (its disk is full, say) is stopped where it is: nothing is
    /// lost, the next start goes on from its table.
    pub fn drain(&self, stall_max: Duration) {
        self.replays.stop();
        self.auditor.stop();
        let pipelines = || self.pipelines.iter().filter_map(|running| running.pipeline.as_ref().ok());
        pipelines().for_each(Pipeline::request_drain);
        for pipeline in pipelines() {
            let mut status = pipeline.status();
            while !pipeline.wait_for(Offset(status.end_offset), stall_max) && !pipeline.state().is_over() {
                let now = pipeline.status();
                if now.next_offset == status.next_offset {
                    tracing::warn!(pipeline = %now.pipeline, pending = now.pending_messages, "stopped before it was drained");
                    pipeline.request_stop();
                    break;
                }
                status = now;
            }
            let state = pipeline.drain();
            tracing::info!(pipeline = %status.pipeline, ?state, "pipeline ended");
        }
        self.lake.shutdown();
    }
}

/// Goes on with replays that a process before left unfinished, beside everything else. Nobody waits for the
/// thread: what it has not done when the process ends, the next one does.
fn resume_replays(replays: &Arc<Replays>) -> Result<()> {
    let replays = Arc::clone(replays);
    let thread = std::thread::Builder::new().name("replay".to_owned());
    thread.spawn(move || replays.resume_all()).map(|_| ()).context("no thread for replays")
}

fn start_pipeline(
    config: &Config,
    log: &Arc<Log>,
    lake: &Arc<Lake>,
    tables: &mut Tables,
    plan: PipelinePlan,
) -> Result<(Running, ReplayTables)> {
    let table = format!("{}.{}", plan.dataset, &plan.table.name);
    let context = || format!("in pipeline {}", plan.config.name);
    let topic = log.create_topic(&plan.topic, settings::topic(config, &plan.topic)).with_context(context)?;
    let rows = lake.table(&plan.dataset, Arc::clone(&plan.table)).with_context(context)?;
    let dead_letters =
        lake.table(&plan.dead_letter_dataset, Arc::clone(&plan.dead_letters)).with_context(context)?;
    tables.add(&plan.dataset, &plan.table.name, Arc::clone(&rows));
    tables.add(&plan.dead_letter_dataset, &plan.dead_letters.name, Arc::clone(&dead_letters));
    let counted = Arc::clone(&topic);
    let limits = PipelineConfig {
        duplicates: DuplicatesProbe::new(move || counted.stats().duplicates_total),
        ..plan.config
    };
    let name = limits.name.clone();
    let source: Arc<dyn Source> = topic;
    let (rows, dead_letters): (Arc<dyn Sink>, Arc<dyn Sink>) = (rows, dead_letters);
    let replayed = ReplayTables {
        pipeline: name.clone(),
        spec: Arc::clone(&plan.table),
        rows: Arc::clone(&rows),
        dead_letters: Arc::clone(&dead_letters),
    };
    let pipeline =
        Pipeline::start(limits, source, plan.transforms, plan.table, rows, dead_letters).map_err(|error| {
            tracing::error!(pipeline = %name, %error, "pipeline did not start");
            error.to_string()
        });
    Ok((Running { name, topic: plan.topic, table, udf: plan.udf, pipeline }, replayed))
}

/// A pipeline holds its topic back across restarts; one that is not configured any more would do so for
/// ever, until the topic is full and producers are refused.
fn release_forgotten_holds(log: &Log, pipelines: &[Running]) {
    for topic in log.topics() {
        for (holder, folded) in topic.holds() {
            let configured =
                pipelines.iter().any(|pipeline| pipeline.name == holder && pipeline.topic == topic.name());
            if configured {
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

impl Facts for Node {
    fn status(&self) -> Status {
        let pipelines: Vec<_> = self
            .pipelines
            .iter()
            .map(|running| PipelineStatus {
                audit: self.auditor.status(&running.name),
                ..pipeline_status(running)
            })
            .collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: pipelines.iter().all(|pipeline| pipeline.state == "running"),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            postgres: self.postgres.get().cloned(),
            topics: topic_statuses(&self.log),
            pipelines,
            tables: self.tables.iter().map(|(name, table)| table_status(name, table)).collect(),
        }
    }

    fn publish_gauges(&self) {
        self.pipelines.iter().for_each(|running| udf::publish(&running.name, &running.udf));
        for topic in topic_statuses(&self.log) {
            let labels = [("topic", topic.name)];
            // Counters of the log itself live in its files and go on over restarts.
            metrics::counter!("millrace_topic_accepted_total", &labels).absolute(topic.end);
            metrics::counter!("millrace_topic_duplicate_total", &labels).absolute(topic.duplicates);
            metrics::counter!("millrace_topic_expired_total", &labels).absolute(topic.expired);
            gauge("millrace_topic_bytes", &labels, topic.bytes);
            gauge("millrace_topic_segments", &labels, topic.segments);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 bytes are 8 PiB")]
fn gauge(name: &'static str, labels: &[(&'static str, String); 1], value: u64) {
    metrics::gauge!(name, labels).set(value as f64);
}

fn pipeline_status(running: &Running) -> PipelineStatus {
    let pipeline = match &running.pipeline {
        Ok(pipeline) => pipeline.status(),
        Err(reason) => {
            return PipelineStatus {
                name: running.name.clone(),
                state: "failed".to_owned(),
                error: Some(reason.clone()),
                topic: running.topic.clone(),
                table: running.table.clone(),
                ..PipelineStatus::default()
            };
        }
    };
    let (state, failure) = match &pipeline.state {
        PipelineState::Running => ("running", None),
        PipelineState::Draining => ("draining", None),
        PipelineState::Stopped => ("stopped", None),
        PipelineState::Failed(reason) => ("failed", Some(reason.clone())),
    };
    PipelineStatus {
        name: running.name.clone(),
        state: state.to_owned(),
        error: failure.or(pipeline.last_error.filter(|_| pipeline.retries_in_a_row > 0)),
        topic: running.topic.clone(),
        table: running.table.clone(),
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
        audit: None,
    }
}

/// Every topic's figures, by name; of those that cannot be opened, the reason.
pub fn topic_statuses(log: &Log) -> Vec<TopicStatus> {
    let mut statuses = BTreeMap::new();
    for topic in log.topics() {
        let stats = topic.stats();
        let status = TopicStatus {
            name: stats.name.clone(),
            id: stats.id.to_string(),
            start: stats.start.0,
            end: stats.end.0,
            bytes: stats.bytes,
            segments: stats.segments,
            duplicates: stats.duplicates_total,
            expired: stats.expired_total,
            error: stats.failure,
        };
        statuses.insert(stats.name, status);
    }
    statuses.into_values().collect()
}

fn table_status(name: &str, table: &millrace_lake::LakeTable) -> TableStatus {
    let stats = table.stats();
    TableStatus {
        name: name.to_owned(),
        version: stats.version,
        files: stats.files as u64,
        rows: stats.rows,
        bytes: stats.bytes,
    }
}
