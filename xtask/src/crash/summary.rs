//! The result of a run, and whether it means anything.

use std::fmt;

use anyhow::{Result, bail};

use super::oracle::Verdict;
use super::rounds::Killed;
use crate::crash_test;

/// Everything a run has counted.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// The seed.
    pub seed: u64,
    /// Rounds asked for.
    pub rounds: u64,
    /// The faults.
    pub killed: Killed,
    /// What the oracle found.
    pub verdict: Verdict,
    /// Requests acknowledged.
    pub acked_requests: u64,
    /// Attempts without a reply.
    pub lost_replies: u64,
    /// Attempts put off by the server.
    pub put_off: u64,
    /// Attempts to send the same bytes again.
    pub retries: u64,
    /// Requests given up without an acknowledgement.
    pub abandoned: u64,
    /// Messages that the topic recognised as repetitions.
    pub duplicates_refused: u64,
    /// Messages that were dead letters until a replay.
    pub replayed: u64,
    /// Wall clock, in seconds.
    pub elapsed_seconds: f64,
}

impl Summary {
    /// The vacuity guard: what did not happen often enough. Thresholds grow with the rounds and lie far
    /// below what a healthy run reaches.
    fn vacuous(&self) -> Vec<String> {
        let rounds = self.rounds;
        let enough = [
            ("ids acknowledged", self.verdict.acked, 50 * rounds),
            ("requests acknowledged", self.acked_requests, 5 * rounds),
            ("repetitions refused", self.duplicates_refused, rounds),
            ("replies lost", self.lost_replies, rounds),
            ("kills", self.killed.total(), rounds / 2),
            ("kills of a busy server", self.killed.while_busy, rounds / 4),
            ("kills of a load", self.killed.while_loading, rounds / 20),
            ("kills during start", self.killed.while_starting, rounds / 20),
            ("changes of a running server", self.killed.live_changes, rounds / 8),
            ("compactions", self.killed.compactions, rounds / 10),
            ("dead letters", self.verdict.dead_letters, rounds),
            ("messages replayed", self.replayed, rounds / 10),
            ("flips that became rows", self.verdict.flips_to_row, rounds / 10),
            ("flips that became dead letters", self.verdict.flips_to_dead_letter, rounds / 10),
        ];
        let too_few = enough.into_iter().filter(|(_, found, wanted)| found < wanted);
        too_few.map(|(what, found, wanted)| format!("{found} {what}, at least {wanted} needed")).collect()
    }
}

impl crash_test::Summary for Summary {
    fn took(&mut self, elapsed_seconds: f64) {
        self.elapsed_seconds = elapsed_seconds;
    }

    fn judge(&self) -> Result<()> {
        for fault in &self.verdict.faults {
            eprintln!("fault: {fault}");
        }
        if self.verdict.faults_total > 0 {
            bail!("{} faults, seed {}", self.verdict.faults_total, self.seed);
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
        let (killed, verdict) = (&self.killed, &self.verdict);
        write!(
            out,
            "crash: {} rounds, seed {}, {:.0} s: {} kills -9 ({} serving, {} of them busy; {} starting; {} loading), \
             {} clean stops, {} script changes, {} of them or of limits live, {} compactions, slowest start {} ms; {} ids sent, {} acked, \
             {} replies lost, {} retries, {} repetitions refused; {} rows, {} dead letters \
             (flips: {} rows, {} dead letters), {} replayed, {} unacked present, {} audits balanced; {} faults",
            self.rounds,
            self.seed,
            self.elapsed_seconds,
            killed.total(),
            killed.while_serving,
            killed.while_busy,
            killed.while_starting,
            killed.while_loading,
            killed.stops,
            killed.script_changes,
            killed.live_changes,
            killed.compactions,
            killed.slowest_start_ms,
            verdict.issued,
            verdict.acked,
            self.lost_replies,
            self.retries,
            self.duplicates_refused,
            verdict.rows,
            verdict.dead_letters,
            verdict.flips_to_row,
            verdict.flips_to_dead_letter,
            self.replayed,
            verdict.unacked_present,
            killed.audits + 2,
            verdict.faults_total,
        )
    }
}
