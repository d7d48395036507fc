//! The transform of one worker: cuts its messages into chunks, keeps an engine thread busy with them,
//! hands the results to the rows, and replaces the engine when it is stuck.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use millrace_model::{ErrorClass, Failure, MessageBatch, MessageView, RowSink, Stage, Transform};

use crate::child::START_RETRY_INTERVAL;
use crate::host::{Host, Place, QUEUED_JOBS_MAX, Waited};
use crate::job::{Chunk, Job};
use crate::runner::Spec;
use crate::stats::{Counters, add};
use crate::verdict::Verdict;

/// How often a transform at the cap of abandoned engines looks whether one of them has ended.
const CAP_WAIT_INTERVAL: Duration = Duration::from_millis(50);

/// A worker's transform. While its engine thread runs one chunk, the worker's own thread makes rows of
/// the one before and copies the one after.
#[derive(Debug)]
pub(crate) struct ScriptTransform {
    spec: Arc<Spec>,
    host: Host,
    flights: VecDeque<Flight>,
}

/// A job under way and where its first message stands in the batch.
#[derive(Debug)]
struct Flight {
    job: Arc<Job>,
    first: usize,
}

impl ScriptTransform {
    /// A transform over an engine that has been started.
    pub fn new(spec: Arc<Spec>, host: Host) -> Self {
        Self { spec, host, flights: VecDeque::new() }
    }

    /// A transform over an engine that is started here, however long that takes: for a worker that has
    /// begun on its messages.
    pub fn start(spec: Arc<Spec>) -> Self {
        let host = start_host(&spec, || Some(Place::Thread));
        Self::new(spec, host)
    }

    /// Waits for the oldest flight, through as many engines as it takes.
    fn complete(&mut self, job: &Job) {
        loop {
            let waited = self.host.wait(job);
            if waited == Waited::Done {
                return;
            }
            job.progress().verdicts.push(waited.verdict());
            if waited == Waited::Stuck {
                self.host.abandon();
            }
            self.replace_host();
        }
    }

    /// Starts another engine and gives it what the last one left undone.
    fn replace_host(&mut self) {
        self.host = start_host(&self.spec, || self.place());
        for flight in &self.flights {
            flight.job.progress().owner = self.host.id();
            self.host.submit(&flight.job);
        }
    }

    /// Where the next engine may live; `None` when it has to wait for a stuck one to end.
    fn place(&self) -> Option<Place> {
        if self.engines_stuck() < self.spec.config.abandoned_engines_max {
            Some(Place::Thread)
        } else if self.spec.config.child.is_some() {
            Some(Place::Child)
        } else {
            None
        }
    }

    fn engines_stuck(&self) -> usize {
        let live = self.spec.counters.engines_abandoned_live.load(Ordering::SeqCst);
        usize::try_from(live).unwrap_or(usize::MAX)
    }

    fn launch(&mut self, batch: &MessageBatch, messages: &mut Range<usize>) {
        while self.flights.len() < QUEUED_JOBS_MAX && messages.start < messages.end {
            let chunk = Chunk::fill(batch, messages.clone(), self.spec.intake());
            add(&self.spec.counters.payloads_repaired, chunk.repaired());
            let first = messages.start;
            messages.start += chunk.len();
            let job = Arc::new(Job::new(chunk, self.host.id()));
            self.host.submit(&job);
            self.flights.push_back(Flight { job, first });
        }
    }

    /// Gives `each` the verdict on every message of `range`, in order.
    pub fn run(&mut self, batch: &MessageBatch, range: Range<usize>, each: &mut dyn FnMut(usize, Verdict)) {
        if self.host.place() == Place::Child && self.engines_stuck() == 0 {
            self.replace_host();
        }
        let mut rest = range;
        loop {
            self.launch(batch, &mut rest);
            let Some(job) = self.flights.front().map(|flight| Arc::clone(&flight.job)) else { break };
            self.complete(&job);
            let Some(flight) = self.flights.pop_front() else { break };
            let verdicts = std::mem::take(&mut flight.job.progress().verdicts);
            add(&self.spec.counters.calls, verdicts.len() as u64);
            for (message, verdict) in (flight.first..).zip(verdicts) {
                each(message, verdict);
            }
        }
    }
}

/// Starts an engine thread, as soon as there is a place for it.
fn start_host(spec: &Arc<Spec>, place: impl Fn() -> Option<Place>) -> Host {
    loop {
        match place().map(|place| Host::start(spec, place)) {
            Some(Ok(host)) => return host,
            Some(Err(error)) => {
                add(&spec.counters.start_failures, 1);
                tracing::error!(%error, "cannot start a JavaScript engine, trying again");
                thread::park_timeout(START_RETRY_INTERVAL);
            }
            None => thread::park_timeout(CAP_WAIT_INTERVAL),
        }
    }
}

impl Transform for ScriptTransform {
    fn transform(&mut self, batch: &MessageBatch, range: Range<usize>, rows: &mut dyn RowSink) {
        let counters = Arc::clone(&self.spec.counters);
        self.run(batch, range, &mut |message, verdict| {
            deliver(&counters, &batch.get(message), message, verdict, rows);
        });
    }
}

fn deliver(
    counters: &Counters,
    view: &MessageView<'_>,
    message: usize,
    verdict: Verdict,
    rows: &mut dyn RowSink,
) {
    let failure = match verdict {
        Verdict::Filtered => {
            add(&counters.filtered, 1);
            add(&counters.empty_payloads_filtered, u64::from(view.data.is_empty()));
            return rows.filtered(message);
        }
        Verdict::Row(returned) => match put_row(message, &returned.text, rows) {
            Ok(()) => {
                let is_changed = returned.attributes.is_some_and(|attributes| differ(&attributes, view));
                add(&counters.attribute_changes_dropped, u64::from(is_changed));
                return add(&counters.rows, 1);
            }
            Err(failure) => failure,
        },
        Verdict::Failed(failure) => failure,
    };
    counters.failed(failure.class);
    rows.dead_letter(message, failure);
}

/// Whether the attributes are others than the message's, in whatever order.
fn differ(attributes: &[(String, String)], view: &MessageView<'_>) -> bool {
    let mut count = 0;
    let is_there = |(key, value): (&str, &str)| {
        count += 1;
        attributes.iter().any(|own| own.0 == key && own.1 == value)
    };
    let all_there = view.attributes.clone().all(is_there);
    !all_there || count != attributes.len()
}

/// Puts a whole row of JSON text; what the table says against it becomes the failure.
pub(crate) fn put_row(message: usize, text: &str, rows: &mut dyn RowSink) -> Result<(), Failure> {
    let put = rows.put_json_row(message, text).and_then(|()| rows.finish_row(message));
    put.map_err(|error| Failure {
        stage: Stage::Row,
        class: error.class,
        message: error.message,
        stack: None,
    })
}

impl Waited {
    /// The verdict on the message that an engine did not come back from.
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Done => Verdict::failed(ErrorClass::UdfThrew, "the engine gave no verdict"),
            Self::Stuck => Verdict::failed(
                ErrorClass::UdfTimeout,
                "the UDF is stuck in a native function that cannot be interrupted; its engine was given up",
            ),
            Self::Lost => {
                Verdict::failed(ErrorClass::UdfThrew, "the engine ended unexpectedly on this message")
            }
        }
    }
}
