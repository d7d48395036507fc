//! The result of a run, and whether it means anything.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Result, bail};

use super::lake::Written;
use super::oracle::Counts;
use super::rounds::Killed;
use super::shared::Shared;
use super::topology::Sub;
use crate::crash_test;

/// Everything a run has counted.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// Rounds asked for.
    pub rounds: u64,
    /// The faults of the server.
    pub killed: Killed,
    /// What the oracle counted.
    pub counts: Counts,
    /// Publish requests acknowledged.
    pub published_requests: u64,
    /// Publish requests without an answer.
    pub lost_replies: u64,
    /// Publish requests put off by the server.
    pub put_off: u64,
    /// Streams that broke, or were hung up.
    pub streams_ended: u64,
    /// Messages given back.
    pub nacks: u64,
    /// Messages neither acked nor given back.
    pub forgotten: u64,
    /// Snapshots made.
    pub snapshots: u64,
    /// Seeks to them.
    pub seeks: u64,
    /// Those of them over a restart of the server.
    pub seeks_over_restarts: u64,
    /// Changes of a BigQuery subscription's table.
    pub moves: u64,
    /// What BigQuery subscriptions have written.
    pub written: Written,
    /// What is wrong, the first of them.
    pub faults: Vec<String>,
    /// How many things are wrong.
    pub faults_total: u64,
    /// Wall clock, in seconds.
    pub elapsed_seconds: f64,
}

impl Summary {
    /// What a run has come to.
    pub fn of(shared: &Shared, rounds: usize, killed: Killed, written: Written) -> Self {
        let (counts, faults, faults_total) = shared.oracle.conclude();
        let tasks = &shared.counts;
        Self {
            seed: shared.oracle.seed(),
            rounds: rounds as u64,
            killed,
            counts,
            published_requests: tasks.published_requests.load(Relaxed),
            lost_replies: tasks.lost_replies.load(Relaxed),
            put_off: tasks.put_off.load(Relaxed),
            streams_ended: tasks.streams_ended.load(Relaxed),
            nacks: tasks.nacks.load(Relaxed),
            forgotten: tasks.forgotten.load(Relaxed),
            snapshots: tasks.snapshots.load(Relaxed),
            seeks: tasks.seeks.load(Relaxed),
            seeks_over_restarts: tasks.seeks_over_restarts.load(Relaxed),
            moves: tasks.moves.load(Relaxed),
            written,
            faults,
            faults_total,
            elapsed_seconds: 0.0,
        }
    }

    /// The vacuity guard: what did not happen often enough. Thresholds grow with the rounds and lie far below
    /// what a healthy run reaches.
    fn vacuous(&self) -> Vec<String> {
        let (rounds, counts) = (self.rounds, &self.counts);
        let mut enough = vec![
            ("messages promised", counts.promised, 50 * rounds),
            ("publish requests acknowledged", self.published_requests, 5 * rounds),
            ("publish replies lost", self.lost_replies, rounds / 2),
            ("kills", self.killed.total(), rounds / 2),
            ("kills of a busy server", self.killed.while_busy, rounds / 4),
            ("kills during start", self.killed.while_starting, rounds / 20),
            ("deliveries", counts.delivered, 200 * rounds),
            ("acks confirmed", counts.confirmed, 10 * rounds),
            ("ordered messages replayed", counts.replays, rounds),
            ("letters", counts.letters, rounds),
            ("streams ended", self.streams_ended, rounds),
            ("snapshots", self.snapshots, rounds / 4),
            ("seeks", self.seeks, rounds / 4),
            ("seeks over restarts", self.seeks_over_restarts, rounds / 10),
            ("acked messages sought back", counts.sought_back, 10 * rounds),
            ("changes of a BigQuery subscription's table", self.moves, rounds / 2),
            ("rows of a BigQuery subscription", self.written.rows, 50 * rounds),
            ("dead letters of a BigQuery subscription", self.written.dead_letters, 10 * rounds),
        ];
        let by_sub = Sub::ALL.into_iter().zip(counts.redelivered).filter(|(sub, _)| *sub != Sub::Letters);
        enough.extend(by_sub.map(|(sub, redelivered)| (sub.name(), redelivered, rounds)));
        let too_few = enough.into_iter().filter(|(_, found, wanted)| found < wanted);
        too_few.map(|(what, found, wanted)| format!("{what}: {found}, at least {wanted} needed")).collect()
    }
}

impl crash_test::Summary for Summary {
    fn took(&mut self, elapsed_seconds: f64) {
        self.elapsed_seconds = elapsed_seconds;
    }

    fn judge(&self) -> Result<()> {
        for fault in &self.faults {
            eprintln!("fault: {fault}");
        }
        if self.faults_total > 0 {
            bail!("{} faults, seed {}", self.faults_total, self.seed);
        }
        let vacuous = self.vacuous();
        if !vacuous.is_empty() {
            bail!("the run proves nothing: {}", vacuous.join(", "));
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (killed, counts) = (&self.killed, &self.counts);
        let redelivered: Vec<String> = Sub::ALL
            .into_iter()
            .zip(counts.redelivered)
            .map(|(sub, redelivered)| format!("{} {redelivered}", sub.name()))
            .collect();
        write!(
            out,
            "crash-pubsub: {} rounds, seed {}, {:.0} s: {} kills -9 ({} serving, {} of them busy; {} starting), {} clean stops, \
             slowest start {} ms; {} ids sent, {} acked, {} replies lost, {} unacked present; {} deliveries, again: {}; \
             {} nacks, {} forgotten, {} streams ended, {} acks confirmed, {} ordered replays, {} dead letters; \
             {} snapshots, {} seeks ({} over restarts), {} acked messages sought back; {} rows and {} dead letters in tables, {} moves; {} faults",
            self.rounds,
            self.seed,
            self.elapsed_seconds,
            killed.total(),
            killed.while_serving,
            killed.while_busy,
            killed.while_starting,
            killed.stops,
            killed.slowest_start_ms,
            counts.issued,
            counts.promised,
            self.lost_replies,
            counts.unpromised,
            counts.delivered,
            redelivered.join(", "),
            self.nacks,
            self.forgotten,
            self.streams_ended,
            counts.confirmed,
            counts.replays,
            counts.letters,
            self.snapshots,
            self.seeks,
            self.seeks_over_restarts,
            counts.sought_back,
            self.written.rows,
            self.written.dead_letters,
            self.moves,
            self.faults_total,
        )
    }
}
