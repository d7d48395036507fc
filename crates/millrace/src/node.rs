//! The running parts of a server, wired together, and what they report.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace_disk::{Disk, StdDisk};
use millrace_lake::Lake;
use millrace_log::Log;
use millrace_model::{Micros, Offset};
use millrace_server::{Facts, PipelineStatus, Status, TableStatus, TopicStatus};

use crate::auditor::Auditor;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::pipelines::{ExportPlan, Pipelines, Slot, StartPlan};
use crate::plan::{self, TablePlan};
use crate::replays::Replays;
use crate::rerun::Reruns;
use crate::settings;
use crate::sources::Sources;
use crate::tables::Tables;

/// Everything that runs in a server process except its listeners.
pub struct Node {
    log: Arc<Log>,
    lake: Arc<Lake>,
    tables: Arc<Tables>,
    pipelines: Pipelines,
    sources: Sources,
    reruns: Reruns,
    replays: Arc<Replays>,
    auditor: Arc<Auditor>,
    postgres: OnceLock<String>,
    /// What runs.
    config: RwLock<Config>,
    started: Instant,
}

impl Node {
    /// Opens log and lake and starts every pipeline. Called with the data directory's lock held.
    ///
    /// # Errors
    /// When the log, a topic, the lake or a table cannot be opened at all.
    pub fn start(
        config: &Config,
        data: &DataDir,
        plans: Vec<StartPlan>,
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
        let tables = Arc::new(Tables::new());
        let pipelines = Pipelines::new(Arc::clone(&log), Arc::clone(&lake), Arc::clone(&tables));
        for table in plan::declared_tables(config)? {
            pipelines.open_tables(&table).with_context(|| format!("in [[table]] {}", table.table.name))?;
        }
        let mut replayed = Vec::new();
        for plan in plans {
            replayed.push(pipelines.open(config, plan)?.replay_tables());
        }
        pipelines.release_forgotten_holds();
        let reruns = Reruns::open(config, data, &log, &lake, &tables);
        let replays = Arc::new(Replays::new(config, data, replayed));
        let auditor = Arc::new(Auditor::new(config));
        resume_replays(&replays, None)?;
        auditor.start(&log)?;
        let postgres = OnceLock::new();
        // Last, when everything that they fill is there.
        let sources = Sources::start(config, data, &log, runtime)?;
        let config = RwLock::new(config.clone());
        Ok(Self {
            log,
            lake,
            tables,
            pipelines,
            sources,
            reruns,
            replays,
            auditor,
            postgres,
            config,
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

    /// The pipelines.
    pub fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    /// Starts one more pipeline.
    ///
    /// # Errors
    /// As [`Pipelines::open`].
    pub fn add_pipeline(&self, config: &Config, plan: StartPlan) -> Result<()> {
        let slot = self.pipelines.open(config, plan)?;
        self.replays.add(config, slot.replay_tables());
        Ok(())
    }

    /// Starts the pipeline of a BigQuery subscription.
    ///
    /// # Errors
    /// As [`Pipelines::open_export`].
    pub fn open_export(&self, plan: ExportPlan) -> Result<Arc<Slot>> {
        let slot = self.pipelines.open_export(plan)?;
        self.replays.add(&self.config(), slot.replay_tables());
        if let Err(error) = resume_replays(&self.replays, Some(slot.name.clone())) {
            tracing::error!(pipeline = %slot.name, %error, "an unfinished replay waits for the next one");
        }
        Ok(slot)
    }

    /// Ends it.
    pub fn close_export(&self, slot: &Arc<Slot>) {
        self.replays.remove(&slot.name);
        self.pipelines.close_export(slot);
    }

    /// Makes a table that no pipeline writes.
    ///
    /// # Errors
    /// As [`Pipelines::open_tables`].
    pub fn add_table(&self, table: &TablePlan) -> Result<()> {
        self.pipelines.open_tables(table).map(|_| ())
    }

    /// The configuration that runs.
    pub fn config(&self) -> Config {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells those who look at the configuration now and then that it is this one now.
    pub fn reconfigured(&self, config: &Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.auditor.configure(config);
    }

    /// What is read from the real Pub/Sub.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What is run again.
    pub fn reruns(&self) -> &Reruns {
        &self.reruns
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
        let statuses = self.pipelines.all();
        let failed = statuses.iter().map(|slot| slot.status()).find(|status| status.state == "failed")?;
        Some(format!("pipeline {} failed: {}", failed.name, failed.error.unwrap_or_default()))
    }

    /// Folds what there is, then stops every pipeline and the lake. Ingest has ended before. A pipeline
    /// that makes no progress for `stall_max` (its disk is full, say) is stopped where it is: nothing is
    /// lost, the next start goes on from its table.
    pub fn drain(&self, stall_max: Duration) {
        self.replays.stop();
        self.auditor.stop();
        self.pipelines.request_stop();
        // What runs again goes on where it is at the next start, as many others as need be.
        self.reruns.stop();
        // A change that an operator asked for a moment ago must not start anything behind this.
        self.pipelines.close();
        let slots = self.pipelines.all();
        let pipelines: Vec<_> = slots.iter().filter_map(|slot| slot.managed.pipeline().ok()).collect();
        pipelines.iter().for_each(|pipeline| pipeline.request_drain());
        for pipeline in pipelines {
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

/// Goes on with replays that a process before left unfinished, of one pipeline or of all, beside everything
/// else. Nobody waits for the thread: what it has not done when the process ends, the next one does.
fn resume_replays(replays: &Arc<Replays>, pipeline: Option<String>) -> Result<()> {
    let replays = Arc::clone(replays);
    let thread = std::thread::Builder::new().name("replay".to_owned());
    thread.spawn(move || replays.resume(pipeline.as_deref())).map(|_| ()).context("no thread for replays")
}

impl Facts for Node {
    fn status(&self) -> Status {
        let with_audit =
            |status: PipelineStatus| PipelineStatus { audit: self.auditor.status(&status.name), ..status };
        let pipelines: Vec<_> = self.pipelines.all().iter().map(|slot| with_audit(slot.status())).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // One that an operator has ended is where it should be.
            ready: pipelines.iter().all(|pipeline| pipeline.state != "failed"),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            postgres: self.postgres.get().cloned(),
            topics: topic_statuses(&self.log),
            sources: self.sources.statuses(),
            pipelines,
            tables: self.tables.all().iter().map(|(name, table)| table_status(name, table)).collect(),
        }
    }

    fn publish_gauges(&self) {
        self.pipelines.all().iter().for_each(|slot| slot.publish_udf());
        self.sources.publish_gauges();
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
