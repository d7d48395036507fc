//! What a source counts, where it stands, and for how long the service has been silent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;

use crate::status::{Counts, SourceState, SourceStatus};

/// What one source counts and where it stands.
pub(crate) struct Figures {
    source: String,
    pub(crate) received: Meter,
    appended: Meter,
    duplicates: Meter,
    pub(crate) acks: Meter,
    pub(crate) ack_failures: Meter,
    nacks: AtomicU64,
    pub(crate) reconnects: Meter,
    holds: Meter,
    pub(crate) metadata_left_out: Meter,
    outstanding: AtomicU64,
    now: Mutex<Now>,
}

/// A total of the process and the metric beside it.
pub(crate) struct Meter {
    total: AtomicU64,
    metric: Counter,
}

impl Meter {
    fn new(metric: Counter) -> Self {
        Self { total: AtomicU64::new(0), metric }
    }

    pub(crate) fn add(&self, count: u64) {
        self.total.fetch_add(count, Ordering::Relaxed);
        self.metric.increment(count);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

struct Now {
    state: SourceState,
    error: Option<String>,
    /// When the service last said anything.
    answered: Instant,
    last_message: Instant,
}

impl Figures {
    pub(crate) fn new(source: &str) -> Self {
        // Asked for once: a message must not cost a look-up for each counter.
        macro_rules! meter {
            ($name:literal) => {
                Meter::new(counter!($name, "source" => source.to_owned()))
            };
        }
        let now = Instant::now();
        let (state, error) = (SourceState::Connecting, None);
        Self {
            source: source.to_owned(),
            received: meter!("millrace_pubsub_source_received_total"),
            appended: meter!("millrace_pubsub_source_appended_total"),
            duplicates: meter!("millrace_pubsub_source_duplicates_total"),
            acks: meter!("millrace_pubsub_source_acks_total"),
            ack_failures: meter!("millrace_pubsub_source_ack_failures_total"),
            nacks: AtomicU64::new(0),
            reconnects: meter!("millrace_pubsub_source_reconnects_total"),
            holds: meter!("millrace_pubsub_source_holds_total"),
            metadata_left_out: meter!("millrace_pubsub_source_metadata_left_out_total"),
            outstanding: AtomicU64::new(0),
            now: Mutex::new(Now { state, error, answered: now, last_message: now }),
        }
    }

    /// A message came.
    pub(crate) fn received(&self) {
        self.received.add(1);
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        let mut now = self.now();
        now.answered = Instant::now();
        now.last_message = now.answered;
        now.reads();
    }

    /// A message was answered, with whatever outcome.
    pub(crate) fn settled(&self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }

    /// An append is durable.
    pub(crate) fn appended(&self, appended: u64, duplicates: u64) {
        self.appended.add(appended);
        self.duplicates.add(duplicates);
        let mut now = self.now();
        if now.state == SourceState::Holding {
            (now.state, now.error) = (SourceState::Running, None);
        }
    }

    /// A message is given back, for `reason`.
    pub(crate) fn nacked(&self, reason: &'static str) {
        self.nacks.fetch_add(1, Ordering::Relaxed);
        counter!("millrace_pubsub_source_nacks_total", "source" => self.source.clone(), "reason" => reason)
            .increment(1);
    }

    /// The log does not take messages now.
    pub(crate) fn holds(&self, reason: String) {
        self.holds.add(1);
        let mut now = self.now();
        (now.state, now.error) = (SourceState::Holding, Some(reason));
    }

    /// The service answered a question.
    pub(crate) fn answered(&self) {
        let mut now = self.now();
        now.answered = Instant::now();
        now.reads();
    }

    /// Reading does not go on, for `error`.
    pub(crate) fn fails(&self, error: String) {
        let mut now = self.now();
        (now.state, now.error) = (SourceState::Failing, Some(error));
    }

    pub(crate) fn stopped(&self) {
        self.now().state = SourceState::Stopped;
    }

    /// A stream is opened: its silence is counted from now.
    pub(crate) fn opened(&self) {
        self.now().last_message = Instant::now();
    }

    /// For how long the service has not answered.
    pub(crate) fn unanswered(&self) -> Duration {
        self.now().answered.elapsed()
    }

    /// For how long no message has come; zero while some are still in hand, as the service may be waiting for
    /// their answers.
    pub(crate) fn quiet(&self) -> Duration {
        if self.outstanding.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.now().last_message.elapsed()
    }

    pub(crate) fn status(&self, subscription: &str, topic: &str, durable: bool) -> SourceStatus {
        let now = self.now();
        let is_stopped = now.state == SourceState::Stopped;
        SourceStatus {
            name: self.source.clone(),
            subscription: subscription.to_owned(),
            topic: topic.to_owned(),
            durable,
            state: now.state,
            error: now.error.clone(),
            counts: Counts {
                received: self.received.total(),
                appended: self.appended.total(),
                duplicates: self.duplicates.total(),
                acks: self.acks.total(),
                ack_failures: self.ack_failures.total(),
                nacks: self.nacks.load(Ordering::Relaxed),
                reconnects: self.reconnects.total(),
                holds: self.holds.total(),
                metadata_left_out: self.metadata_left_out.total(),
            },
            outstanding: self.outstanding.load(Ordering::Relaxed),
            stalled_seconds: if is_stopped { 0 } else { now.answered.elapsed().as_secs() },
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Now {
    /// The service is there. What the log does not take is not over with that.
    fn reads(&mut self) {
        if matches!(self.state, SourceState::Connecting | SourceState::Failing) {
            (self.state, self.error) = (SourceState::Running, None);
        }
    }
}

/// Publishes what is no total.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 seconds or messages never come")]
pub(crate) fn publish(status: &SourceStatus) {
    let source = status.name.clone();
    gauge!("millrace_pubsub_source_stalled_seconds", "source" => source.clone())
        .set(status.stalled_seconds as f64);
    gauge!("millrace_pubsub_source_outstanding_messages", "source" => source).set(status.outstanding as f64);
}

/// Describes this crate's metrics to whatever records them.
pub fn describe_metrics() {
    describe_counter!(
        "millrace_pubsub_source_received_total",
        "messages received, those that came again included"
    );
    describe_counter!("millrace_pubsub_source_appended_total", "messages stored in the topic");
    describe_counter!("millrace_pubsub_source_duplicates_total", "messages that the topic had already");
    describe_counter!("millrace_pubsub_source_acks_total", "messages acknowledged");
    describe_counter!("millrace_pubsub_source_ack_failures_total", "acks that were not confirmed");
    describe_counter!("millrace_pubsub_source_nacks_total", "messages given back");
    describe_counter!("millrace_pubsub_source_reconnects_total", "streams opened after the first");
    describe_counter!(
        "millrace_pubsub_source_holds_total",
        "appends put off because the log did not take them"
    );
    describe_counter!(
        "millrace_pubsub_source_metadata_left_out_total",
        "messages whose id and publish time found no room among their attributes"
    );
    describe_gauge!("millrace_pubsub_source_stalled_seconds", "seconds since the service last answered");
    describe_gauge!("millrace_pubsub_source_outstanding_messages", "messages received and not answered yet");
}
