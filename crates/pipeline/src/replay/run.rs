//! The job at work: batch after batch, each in two commits, and what to make of a commit that failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_model::{Micros, Offset, TopicId, TransformFactory};
use serde::{Deserialize, Serialize};

use super::batch::{Bench, Outcomes};
use super::job::{Next, ReplayJob, Stand, next};
use super::letters::{self, Letters, Selection};
use super::{ReplayError, Replayer, Stop};
use crate::chunk::Version;
use crate::ledger::LedgerKey;
use crate::meters;
use crate::plan::backoff;
use crate::{Amendment, Commit, Sink, SinkError};

/// Longest wait between two tries of a commit.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// The job's number; 0 when nothing was selected.
    pub job: u64,
    /// Dead letters on its list.
    pub selected: u64,
    /// Of these, how many have a row now.
    pub written: u64,
    /// How many the UDF leaves out now.
    pub filtered: u64,
    /// How many failed again and are dead letters still.
    pub failed: u64,
    /// How many were not there any more.
    pub gone: u64,
    /// Dead letters that were left out because they had been tried too often.
    pub exhausted: u64,
    /// Dead letters that were left out because one replay takes only so many.
    pub beyond: u64,
}

impl Replayer {
    /// Replays the dead letters that `selection` means. `udf` is kept with the job: what the owner makes
    /// the same `transforms` of when the job must be resumed.
    ///
    /// # Errors
    /// See [`ReplayError`]: also when another one is at work, or an unfinished one must be resumed first.
    pub fn replay(
        &self,
        topic: TopicId,
        selection: &Selection,
        udf: String,
        transforms: Arc<dyn TransformFactory>,
        stop: &Stop,
    ) -> Result<ReplayReport, ReplayError> {
        let _at_work = self.begin()?;
        if self.unfinished()?.is_some() {
            return Err(ReplayError::Unfinished(self.pipeline.clone()));
        }
        // Tried before anything is written down: a UDF that cannot be had must not become a job.
        let version = self.version(transforms)?;
        let (rows, dead) = (self.rows_stand(topic)?, self.dead_stand(topic)?);
        let selected = self.select(topic, selection, stop)?;
        let mut report = ReplayReport {
            exhausted: selected.exhausted,
            beyond: selected.beyond,
            ..ReplayReport::default()
        };
        if selected.offsets.is_empty() {
            return Ok(report);
        }
        let before = Stand { replayed: rows.replayed, filtered: dead.filtered, ..Stand::default() };
        let number = rows.job.max(dead.job) + 1;
        let job = ReplayJob::new(number, topic, udf, &before, selected.offsets);
        self.store.save(&job.to_text()).map_err(ReplayError::Store)?;
        tracing::info!(pipeline = %self.pipeline, job = number, selected = job.selected(), "replay begins");
        let done = self.run(&job, version, stop)?;
        (report.job, report.selected) = (done.job, done.selected);
        Ok(ReplayReport { exhausted: report.exhausted, beyond: report.beyond, ..done })
    }

    /// Goes on with the unfinished job, if there is one. `transforms` makes them of what was kept with it.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn resume(
        &self,
        transforms: impl FnOnce(&str) -> Result<Arc<dyn TransformFactory>, String>,
        stop: &Stop,
    ) -> Result<Option<ReplayReport>, ReplayError> {
        let _at_work = self.begin()?;
        let Some(job) = self.unfinished()? else { return Ok(None) };
        tracing::info!(pipeline = %self.pipeline, job = job.number, "replay goes on");
        let version = self.version(transforms(&job.udf).map_err(ReplayError::Transform)?)?;
        self.run(&job, version, stop).map(Some)
    }

    pub(super) fn select(
        &self,
        topic: TopicId,
        selection: &Selection,
        stop: &Stop,
    ) -> Result<letters::Selected, ReplayError> {
        let (attempts, messages) = (self.limits.attempts_max, self.limits.messages_max);
        let end = self.settled(topic)?;
        letters::select(self.dead_letters.as_ref(), topic, end, selection, attempts, messages, stop)
    }

    pub(super) fn version(&self, transforms: Arc<dyn TransformFactory>) -> Result<Version, ReplayError> {
        Version::new(0, transforms, 1).map_err(ReplayError::Transform)
    }

    fn run(&self, job: &ReplayJob, version: Version, stop: &Stop) -> Result<ReplayReport, ReplayError> {
        let outcome = self.run_batches(job, version, stop);
        meters::replay_ended(&self.pipeline, outcome.is_ok());
        match &outcome {
            Ok(report) => tracing::info!(
                pipeline = %self.pipeline, job = job.number, written = report.written,
                filtered = report.filtered, failed = report.failed, "replay is done"
            ),
            Err(error) => {
                tracing::warn!(pipeline = %self.pipeline, job = job.number, %error, "replay ended early");
            }
        }
        outcome
    }

    fn run_batches(
        &self,
        job: &ReplayJob,
        version: Version,
        stop: &Stop,
    ) -> Result<ReplayReport, ReplayError> {
        let mut at_work = AtWork {
            replayer: self,
            job,
            stop,
            rows_key: self.rows_key(job.topic),
            dead_key: self.dead_key(job.topic),
            rows: self.rows_stand(job.topic)?,
            dead: self.dead_stand(job.topic)?,
            bench: Bench::new(job.topic, Arc::clone(&self.spec), version)?,
        };
        loop {
            if stop.is_asked() {
                return Err(ReplayError::Stopped);
            }
            match next(job, &at_work.rows, &at_work.dead)? {
                Next::Begin { from } => at_work.begin(from)?,
                Next::Finish { from, to } => at_work.finish(from, to)?,
                Next::Done => break,
            }
        }
        let report = at_work.report()?;
        self.store.clear().map_err(ReplayError::Store)?;
        Ok(report)
    }

    pub(super) fn rows_stand(&self, topic: TopicId) -> Result<Stand, ReplayError> {
        stand(self.rows.as_ref(), &self.rows_key(topic))
    }

    pub(super) fn dead_stand(&self, topic: TopicId) -> Result<Stand, ReplayError> {
        stand(self.dead_letters.as_ref(), &self.dead_key(topic))
    }

    /// Waits before try number `tries + 1`; false when there is no further one.
    pub(super) fn again(&self, tries: u32, stop: &Stop) -> bool {
        let delay = backoff(tries, self.limits.retry_delay, RETRY_DELAY_MAX);
        tries < self.limits.tries_max && !stop.wait(delay)
    }
}

fn stand(sink: &dyn Sink, key: &LedgerKey) -> Result<Stand, ReplayError> {
    let table = || sink.table().to_owned();
    Stand::from_marks(key, &sink.marks()?).map_err(|error| ReplayError::Ledger { table: table(), error })
}

/// A job under way, and what both tables say about it.
struct AtWork<'a> {
    replayer: &'a Replayer,
    job: &'a ReplayJob,
    stop: &'a Stop,
    rows_key: LedgerKey,
    dead_key: LedgerKey,
    rows: Stand,
    dead: Stand,
    bench: Bench,
}

impl AtWork<'_> {
    /// The next batch, from place `from` on.
    fn begin(&mut self, from: u64) -> Result<(), ReplayError> {
        let limits = &self.replayer.limits;
        let wanted = self.job.offsets(from, limits.batch_messages_max.max(1) as u64);
        let dead_letters = self.replayer.dead_letters.as_ref();
        let (mut letters, mut covered) =
            letters::fetch(dead_letters, self.job.topic, &wanted, limits.batch_bytes_max)?;
        let (outcomes, rest) =
            self.bench.transform(&letters, &BTreeSet::new(), limits.built_bytes_max, self.stop)?;
        if let Some(rest) = rest {
            letters.split_off(&rest);
            covered = wanted.partition_point(|offset| *offset < rest);
        }
        self.commit(from + covered as u64, &letters, outcomes)
    }

    /// A batch whose rows are committed: those of its messages that have one are asked of the table, whatever
    /// the UDF would say now. The others are decided anew.
    fn finish(&mut self, from: u64, to: u64) -> Result<(), ReplayError> {
        let wanted = self.job.offsets(from, to - from);
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return Err(ReplayError::Job { reason: format!("places {from} to {to} hold nothing") });
        };
        let topic = self.job.topic;
        let there = self.replayer.rows.offsets(topic, *first, last.plus(1))?;
        let there: BTreeSet<Offset> =
            there.into_iter().filter(|offset| wanted.binary_search(offset).is_ok()).collect();
        // It was a batch once, so it fits.
        let (letters, _) = letters::fetch(self.replayer.dead_letters.as_ref(), topic, &wanted, usize::MAX)?;
        let (outcomes, _) = self.bench.transform(&letters, &there, usize::MAX, self.stop)?;
        self.commit(to, &letters, outcomes)
    }

    fn commit(
        &mut self,
        to: u64,
        letters: &Letters,
        mut outcomes: Option<Outcomes>,
    ) -> Result<(), ReplayError> {
        if let Some(outcomes) = &mut outcomes {
            self.commit_rows(to, outcomes)?;
        }
        let (written, filtered, failed) = self.settle(to, letters, outcomes.as_ref())?;
        meters::replayed(&self.replayer.pipeline, written, filtered, failed);
        Ok(())
    }

    /// Commits rows, if there are any, and the place that they reach.
    fn commit_rows(&mut self, to: u64, outcomes: &mut Outcomes) -> Result<(), ReplayError> {
        let sink = self.replayer.rows.as_ref();
        let mut tries = 0;
        while outcomes.written() > 0 {
            let replayed = self.rows.replayed + outcomes.written();
            let after = Stand { job: self.job.number, position: to, replayed, ..self.rows };
            let commit = Commit { rows: outcomes.rows(), marks: after.to_marks(&self.rows_key) };
            let outcome = sink.commit(&commit);
            match self.outcome(sink, &self.rows_key, outcome, (self.rows, after), &mut tries)? {
                Settled::Happened => {
                    self.rows = after;
                    break;
                }
                Settled::NotYet => {}
                Settled::Refused(refused) => outcomes.reject(sink.table(), refused)?,
            }
        }
        Ok(())
    }

    /// Takes a batch out of the dead-letter table; those that failed again go back in.
    fn settle(
        &mut self,
        to: u64,
        letters: &Letters,
        outcomes: Option<&Outcomes>,
    ) -> Result<(u64, u64, u64), ReplayError> {
        let sink = self.replayer.dead_letters.as_ref();
        let filtered = outcomes.map_or(0, Outcomes::filtered);
        let failed = outcomes.map_or(0, |outcomes| outcomes.failures().count() as u64);
        let after = Stand {
            job: self.job.number,
            position: to,
            replayed: self.rows.replayed,
            filtered: self.dead.filtered + filtered,
        };
        let rows = outcomes.map(|outcomes| outcomes.dead_letters(letters, Micros::now())).transpose()?;
        let amendment = Amendment {
            topic: self.job.topic,
            removed: letters.keys().copied().collect(),
            commit: Commit { rows: rows.unwrap_or_default(), marks: after.to_marks(&self.dead_key) },
        };
        let mut tries = 0;
        loop {
            let outcome = sink.amend(&amendment);
            match self.outcome(sink, &self.dead_key, outcome, (self.dead, after), &mut tries)? {
                Settled::Happened => break,
                Settled::NotYet => {}
                Settled::Refused(refused) => return Err(SinkError::Rejected(refused).into()),
            }
        }
        let written = after.replayed - self.dead.replayed;
        self.dead = after;
        Ok((written, filtered, failed))
    }

    /// What came of a commit: after an error the table is asked.
    fn outcome(
        &self,
        sink: &dyn Sink,
        key: &LedgerKey,
        outcome: Result<(), SinkError>,
        (before, after): (Stand, Stand),
        tries: &mut u32,
    ) -> Result<Settled, ReplayError> {
        let error = match outcome {
            Ok(()) => return Ok(Settled::Happened),
            Err(error) => error,
        };
        let found = stand(sink, key)?;
        if found == after {
            return Ok(Settled::Happened);
        }
        if found != before {
            return Err(ReplayError::Foreign(sink.table().to_owned()));
        }
        match error {
            SinkError::Rejected(refused) => Ok(Settled::Refused(refused)),
            SinkError::Retry { .. } => {
                *tries += 1;
                meters::replay_retried(&self.replayer.pipeline);
                if self.replayer.again(*tries, self.stop) { Ok(Settled::NotYet) } else { Err(error.into()) }
            }
            SinkError::Broken { .. } => Err(error.into()),
        }
    }

    /// The whole job's outcome, by what the tables say: parts of it may have been done by another process.
    fn report(&self) -> Result<ReplayReport, ReplayError> {
        let (first, end) = self.job.range();
        let mut still = self.replayer.dead_letters.offsets(self.job.topic, first, end)?;
        still.retain(|offset| self.job.contains(*offset));
        still.dedup();
        let (selected, failed) = (self.job.selected(), still.len() as u64);
        let written = self.rows.replayed.saturating_sub(self.job.replayed_before);
        let filtered = self.dead.filtered.saturating_sub(self.job.filtered_before);
        let gone = selected.saturating_sub(written + filtered + failed);
        let job = self.job.number;
        Ok(ReplayReport { job, selected, written, filtered, failed, gone, exhausted: 0, beyond: 0 })
    }
}

enum Settled {
    Happened,
    NotYet,
    Refused(Vec<(usize, String)>),
}
