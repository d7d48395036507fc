//! The audit that a running server makes of itself, again and again, and the alarm when it does not balance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use millrace_log::Log;
use millrace_model::Micros;
use millrace_pipeline::replay::Stop;
use millrace_pipeline::{AuditInput, AuditReport, SourceFacts};
use millrace_server::AuditStatus;

use crate::config::Config;
use crate::moment;
use crate::reader::{OpenPipeline, Reader};

const BALANCED: &str = "millrace_audit_balanced";
const UNACCOUNTED: &str = "millrace_audit_unaccounted_messages";
const AUDITS: &str = "millrace_audits_total";
const SECONDS: &str = "millrace_audit_seconds";

/// The first audit comes this soon, so that a wrong ledger does not wait for a long interval.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(30);

/// An audit takes at most this part of the time: after one that took a minute, the next begins twenty minutes
/// later.
const SHARE: u32 = 20;

/// The newest audit of each pipeline.
pub struct Auditor {
    /// Which pipelines there are.
    config: Mutex<Config>,
    latest: Mutex<BTreeMap<String, AuditStatus>>,
    stop: Stop,
}

/// Tells the metrics recorder what the audit's metrics are.
pub fn describe_metrics() {
    describe_gauge!(BALANCED, "1 when the newest audit of the pipeline balanced, 0 when it did not");
    describe_gauge!(UNACCOUNTED, "Messages that the newest audit could not account for");
    describe_counter!(AUDITS, "Audits by the server itself, by outcome");
    describe_histogram!(SECONDS, metrics::Unit::Seconds, "Time of one audit");
}

impl Auditor {
    /// Of the pipelines of a configuration; none is audited yet.
    pub fn new(config: &Config) -> Self {
        Self { config: Mutex::new(config.clone()), latest: Mutex::default(), stop: Stop::new() }
    }

    /// From the next audit on, the pipelines are those of this configuration. Intervals stay.
    pub fn configure(&self, config: &Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config.clone();
    }

    fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the thread that audits, unless the interval is 0. It only reads, so nobody waits for its end.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(self: &Arc<Self>, log: &Arc<Log>) -> Result<()> {
        let interval = Duration::from_secs(self.config().audit.interval_seconds);
        if interval.is_zero() {
            return Ok(());
        }
        let (this, log) = (Arc::clone(self), Arc::clone(log));
        let work = move || {
            let mut pause = interval.min(FIRST_AFTER_MAX);
            while !this.stop.wait(pause) {
                let began = Instant::now();
                if let Err(error) = this.audit_all(&this.config(), &log) {
                    counter!(AUDITS, "pipeline" => "all", "outcome" => "failed").increment(1);
                    tracing::error!(error = format!("{error:#}"), "the tables cannot be audited");
                }
                pause = interval.max(began.elapsed() * SHARE);
            }
        };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(work);
        thread.map(|_| ()).context("no thread for the audit")
    }

    /// Asks the thread to end after the pipeline that it has in hand.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// The newest audit of a pipeline.
    pub fn status(&self, pipeline: &str) -> Option<AuditStatus> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).get(pipeline).cloned()
    }

    fn audit_all(&self, config: &Config, log: &Log) -> Result<()> {
        // Tables opened for reading stay as they are while they are looked at.
        let tables = Reader::open_pipelines(config)?;
        for pipeline in &tables.pipelines {
            if self.stop.is_asked() {
                break;
            }
            let began = Instant::now();
            if let Some(report) = audit(pipeline, log) {
                self.take(&pipeline.plan.pipeline, &report, began.elapsed());
            }
        }
        Ok(())
    }

    fn take(&self, pipeline: &str, report: &AuditReport, took: Duration) {
        let outcome = if report.balanced { "balanced" } else { "not_balanced" };
        let label = || [("pipeline", pipeline.to_owned())];
        counter!(AUDITS, "pipeline" => pipeline.to_owned(), "outcome" => outcome).increment(1);
        gauge!(BALANCED, &label()).set(if report.balanced { 1.0 } else { 0.0 });
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!(UNACCOUNTED, &label()).set(report.totals.unaccounted as f64);
        histogram!(SECONDS, &label()).record(took.as_secs_f64());
        let findings: Vec<_> =
            report.findings.iter().map(|finding| format!("{}: {}", finding.code, finding.what)).collect();
        if !report.balanced {
            let unaccounted = report.totals.unaccounted;
            tracing::error!(
                pipeline,
                unaccounted,
                findings = findings.join("; "),
                "the ledger does not balance: run `millrace audit`"
            );
        }
        let status = AuditStatus {
            balanced: report.balanced,
            checked_at: moment::text(Micros::now()),
            seconds: took.as_secs_f64(),
            unaccounted: report.totals.unaccounted,
            replayed: report.totals.replayed,
            purged: report.totals.purged,
            findings,
        };
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).insert(pipeline.to_owned(), status);
    }
}

/// Audits one pipeline, with what the open log says of itself: its bytes are `millrace audit`'s to read.
fn audit(pipeline: &OpenPipeline, log: &Log) -> Option<AuditReport> {
    let topic = log.topic(&pipeline.plan.topic)?;
    let facts = || {
        let mut facts = SourceFacts::of(pipeline.source(Arc::clone(&topic)).as_ref());
        let stats = topic.stats();
        facts.duplicates = Some(stats.duplicates_total);
        facts.damage.extend(stats.failure);
        facts
    };
    Some(millrace_pipeline::audit(&AuditInput {
        pipeline: &pipeline.plan.pipeline,
        source: &facts,
        rows: pipeline.rows.as_ref(),
        dead_letters: pipeline.dead_letters.as_ref(),
        adopts_new_topic: pipeline.plan.adopt_new_topic,
        since: None,
    }))
}
