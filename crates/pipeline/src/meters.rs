//! Metrics of a pipeline. Every name is described in `docs/metrics.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::VersionAct;
use crate::ledger::Tally;
use crate::status::PipelineStatus;

const READ: &str = "millrace_messages_read_total";
const WRITTEN: &str = "millrace_messages_written_total";
const FILTERED: &str = "millrace_messages_filtered_total";
const DEAD_LETTERED: &str = "millrace_messages_dead_lettered_total";
const DUPLICATE: &str = "millrace_messages_duplicate_total";
const EXPIRED: &str = "millrace_messages_expired_total";
const WINDOWS: &str = "millrace_windows_total";
const COMMIT_RETRIES: &str = "millrace_commit_retries_total";
const READ_RETRIES: &str = "millrace_read_retries_total";
const COMMIT_SECONDS: &str = "millrace_commit_seconds";
const TRANSFORM_SECONDS: &str = "millrace_transform_seconds";
const BACKLOG_BYTES: &str = "millrace_backlog_bytes";
const BACKLOG_AGE: &str = "millrace_backlog_age_seconds";
const FRESHNESS: &str = "millrace_freshness_seconds";
const SYSTEM_LAG: &str = "millrace_system_lag_seconds";
const UTILISATION: &str = "millrace_worker_utilisation";
const PENDING: &str = "millrace_pending_messages";
const UDF_CHANGES: &str = "millrace_udf_changes_total";
const TRIAL_SECONDS: &str = "millrace_udf_trial_seconds";
const SHADOW_MESSAGES: &str = "millrace_shadow_messages_total";
const SHADOW_DIFFERENT: &str = "millrace_shadow_different_total";
const SHADOW_SKIPPED: &str = "millrace_shadow_skipped_total";

const REPLAYED: &str = "millrace_replayed_messages_total";
const REPLAYS: &str = "millrace_replays_total";
const REPLAY_RETRIES: &str = "millrace_replay_retries_total";
const PURGED: &str = "millrace_purged_dead_letters_total";

/// The stage and error class of a dead letter that an earlier run put into its table and this run
/// counted: its reason is in the table only.
const RECOVERED: &str = "recovered";

/// Tells the metrics recorder what each pipeline metric is. Call once, after the recorder is installed
/// and before a pipeline starts.
pub fn describe_metrics() {
    describe_counter!(READ, "Messages read from the topic and committed, with whatever outcome");
    describe_counter!(WRITTEN, "Messages committed as rows");
    describe_counter!(FILTERED, "Messages that the UDF asked to leave out");
    describe_counter!(DEAD_LETTERED, "Messages in the dead-letter table, by stage and error_class");
    describe_counter!(DUPLICATE, "Messages that the topic refused as duplicates");
    describe_counter!(EXPIRED, "Messages that retention removed before they were read");
    describe_counter!(WINDOWS, "Windows committed");
    describe_counter!(COMMIT_RETRIES, "Commits that failed and were tried again");
    describe_counter!(READ_RETRIES, "Reads of the topic that failed and were tried again");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time to commit a window, dead letters included");
    describe_histogram!(TRANSFORM_SECONDS, Unit::Seconds, "Time to transform one chunk of messages");
    describe_gauge!(BACKLOG_BYTES, Unit::Bytes, "Payload bytes accepted and not committed");
    describe_gauge!(BACKLOG_AGE, Unit::Seconds, "Age of the oldest message accepted and not committed");
    describe_gauge!(FRESHNESS, Unit::Seconds, "Now minus the oldest message accepted and not committed");
    describe_gauge!(SYSTEM_LAG, Unit::Seconds, "How long the oldest message has been inside the pipeline");
    describe_gauge!(UTILISATION, "Share of time that workers spend transforming, 0 to 1");
    describe_gauge!(PENDING, "Messages accepted and not committed");
    describe_counter!(
        UDF_CHANGES,
        "Versions of the UDF that began to run, were refused or forgotten, by act"
    );
    describe_histogram!(TRIAL_SECONDS, Unit::Seconds, "Time to try a new version on recent messages");
    describe_counter!(SHADOW_MESSAGES, "Messages shown to a version in the shadow");
    describe_counter!(SHADOW_DIFFERENT, "Messages that it made something else of than the running version");
    describe_counter!(SHADOW_SKIPPED, "Messages that a shadow passed over to keep up");
    describe_counter!(REPLAYED, "Dead letters that a replay has settled, by outcome");
    describe_counter!(REPLAYS, "Replays that ended, by outcome");
    describe_counter!(REPLAY_RETRIES, "Commits of replays that failed and were tried again");
    describe_counter!(PURGED, "Dead letters removed by a purge");
}

/// Something happened to a version of a pipeline's UDF.
pub(crate) fn count_version(pipeline: &str, act: VersionAct) {
    counter!(UDF_CHANGES, "pipeline" => pipeline.to_owned(), "act" => act.as_str()).increment(1);
}

/// A new version was tried.
pub(crate) fn count_trial(pipeline: &str, seconds: f64) {
    histogram!(TRIAL_SECONDS, "pipeline" => pipeline.to_owned()).record(seconds);
}

/// A shadow went on by some messages.
pub(crate) fn count_shadow(pipeline: &str, messages: u64, different: u64, skipped: u64) {
    for (name, count) in
        [(SHADOW_MESSAGES, messages), (SHADOW_DIFFERENT, different), (SHADOW_SKIPPED, skipped)]
    {
        counter!(name, "pipeline" => pipeline.to_owned()).increment(count);
    }
}

/// A batch of a replay is committed.
pub(crate) fn replayed(pipeline: &str, written: u64, filtered: u64, failed: u64) {
    for (outcome, count) in [("written", written), ("filtered", filtered), ("failed", failed)] {
        counter!(REPLAYED, "pipeline" => pipeline.to_owned(), "outcome" => outcome).increment(count);
    }
}

/// A replay has ended, done or not.
pub(crate) fn replay_ended(pipeline: &str, done: bool) {
    let outcome = if done { "done" } else { "interrupted" };
    counter!(REPLAYS, "pipeline" => pipeline.to_owned(), "outcome" => outcome).increment(1);
}

/// A commit of a replay failed and is tried again.
pub(crate) fn replay_retried(pipeline: &str) {
    counter!(REPLAY_RETRIES, "pipeline" => pipeline.to_owned()).increment(1);
}

/// Dead letters were purged.
pub(crate) fn purged(pipeline: &str, count: u64) {
    counter!(PURGED, "pipeline" => pipeline.to_owned()).increment(count);
}

/// Handles to the metrics of one pipeline.
pub(crate) struct Meters {
    pipeline: String,
    read: Counter,
    written: Counter,
    filtered: Counter,
    duplicate: Counter,
    expired: Counter,
    windows: Counter,
    commit_retries: Counter,
    read_retries: Counter,
    commit_seconds: Histogram,
    transform_seconds: Histogram,
    backlog_bytes: Gauge,
    backlog_age: Gauge,
    freshness: Gauge,
    system_lag: Gauge,
    utilisation: Gauge,
    pending: Gauge,
}

impl Meters {
    pub fn new(pipeline: &str) -> Self {
        let counter = |name: &'static str| counter!(name, "pipeline" => pipeline.to_owned());
        let gauge = |name: &'static str| gauge!(name, "pipeline" => pipeline.to_owned());
        let histogram = |name: &'static str| histogram!(name, "pipeline" => pipeline.to_owned());
        Self {
            pipeline: pipeline.to_owned(),
            read: counter(READ),
            written: counter(WRITTEN),
            filtered: counter(FILTERED),
            duplicate: counter(DUPLICATE),
            expired: counter(EXPIRED),
            windows: counter(WINDOWS),
            commit_retries: counter(COMMIT_RETRIES),
            read_retries: counter(READ_RETRIES),
            commit_seconds: histogram(COMMIT_SECONDS),
            transform_seconds: histogram(TRANSFORM_SECONDS),
            backlog_bytes: gauge(BACKLOG_BYTES),
            backlog_age: gauge(BACKLOG_AGE),
            freshness: gauge(FRESHNESS),
            system_lag: gauge(SYSTEM_LAG),
            utilisation: gauge(UTILISATION),
            pending: gauge(PENDING),
        }
    }

    /// A window was committed. `kinds` are the new dead letters by stage and class, `duplicates` those
    /// since the window before.
    pub fn committed(
        &self,
        tally: &Tally,
        kinds: &BTreeMap<(&'static str, &'static str), u64>,
        duplicates: u64,
        took: Duration,
    ) {
        self.read.increment(tally.read);
        self.written.increment(tally.written);
        self.filtered.increment(tally.filtered);
        self.expired.increment(tally.expired);
        self.duplicate.increment(duplicates);
        self.windows.increment(1);
        self.commit_seconds.record(took);
        let known: u64 = kinds.values().sum();
        let recovered = ((RECOVERED, RECOVERED), tally.dead_lettered.saturating_sub(known));
        for ((stage, class), count) in kinds.iter().map(|(kind, count)| (*kind, *count)).chain([recovered]) {
            if count > 0 {
                let pipeline = self.pipeline.clone();
                counter!(DEAD_LETTERED, "pipeline" => pipeline, "stage" => stage, "error_class" => class)
                    .increment(count);
            }
        }
    }

    pub fn commit_retried(&self) {
        self.commit_retries.increment(1);
    }

    pub fn read_retried(&self) {
        self.read_retries.increment(1);
    }

    pub fn transformed(&self, took: Duration) {
        self.transform_seconds.record(took);
    }

    /// Sets the gauges.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point")]
    pub fn observe(&self, status: &PipelineStatus) {
        self.backlog_bytes.set(status.backlog_bytes as f64);
        self.backlog_age.set(status.backlog_age_seconds);
        self.freshness.set(status.freshness_seconds);
        self.system_lag.set(status.system_lag_seconds);
        self.utilisation.set(status.worker_utilisation);
        self.pending.set(status.pending_messages as f64);
    }
}
