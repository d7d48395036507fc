//! What subscribers answer, by ack id.

use std::time::Duration;

use super::Subscription;
use crate::ack_id;
use crate::acklog::Commit;
use crate::error::PubsubError;
use crate::machine::{Answer, Machine, Moment, Ticket};

/// What became of one ack id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was taken, or had been before.
    Good,
    /// Its delivery is not the one that counts any more.
    Stale,
}

/// What became of the ack ids of a request, each in its place.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) ids: Vec<String>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Answers {
    /// The ids with one verdict.
    pub(crate) fn with(&self, verdict: Verdict) -> impl Iterator<Item = &String> {
        self.ids.iter().zip(&self.verdicts).filter(move |(_, own)| **own == verdict).map(|(id, _)| id)
    }
}

impl Subscription {
    /// Messages are done with. What is good of it is durable when the commit is.
    ///
    /// # Errors
    /// When an id is malformed or another subscription's; then none is taken.
    pub(crate) fn acknowledge(&self, ids: Vec<String>) -> Result<(Answers, Commit), PubsubError> {
        let tickets = self.tickets(&ids)?;
        let ordered = self.settings().rules.ordered;
        let ((verdicts, taken, was_full), commit) = self.change(|machine, now| {
            let was_full = machine.look_at_most() == 0;
            let mut taken = 0;
            let verdicts = tickets.iter().map(|ticket| {
                let answer = machine.ack(*ticket, now);
                taken += u64::from(answer == Answer::Taken);
                verdict(answer)
            });
            (verdicts.collect::<Vec<_>>(), taken, was_full)
        });
        let stale = verdicts.iter().filter(|verdict| **verdict == Verdict::Stale).count();
        self.count("millrace_pubsub_acked_total", taken);
        if stale > 0 {
            self.count("millrace_pubsub_stale_acks_total", stale as u64);
        }
        if ordered || was_full {
            // The next message of a key, or the next ones to look at, may be free.
            self.available.notify_one();
        }
        // One that was acked before may still be on its way to the disk.
        let commit = commit.unwrap_or_else(|| self.acks.commit(self.uid, Vec::new()));
        Ok((Answers { ids, verdicts }, commit))
    }

    /// Leases last `seconds` from now; 0 gives the message back.
    ///
    /// # Errors
    /// As [`acknowledge`](Self::acknowledge), and when seconds are negative or too many, or not as many as
    /// ids.
    pub(crate) fn modify_deadlines(&self, ids: Vec<String>, seconds: &[i32]) -> Result<Answers, PubsubError> {
        if ids.len() != seconds.len() {
            return Err(PubsubError::invalid(format!(
                "there are {} ack ids and {} deadlines: each id has one",
                ids.len(),
                seconds.len()
            )));
        }
        let max = *crate::limits::ACK_DEADLINE_SECONDS.end();
        if let Some(bad) = seconds.iter().find(|seconds| !(0..=max).contains(*seconds)) {
            return Err(PubsubError::invalid(format!("an ack deadline is 0 to {max} seconds, not {bad}")));
        }
        let tickets = self.tickets(&ids)?;
        let (verdicts, _) = self.change(|machine, now| {
            let each = tickets.iter().zip(seconds);
            each.map(|(ticket, seconds)| verdict(modify(machine, *ticket, now, *seconds))).collect()
        });
        let nacks = seconds.iter().filter(|seconds| **seconds == 0).count();
        if nacks > 0 {
            self.count("millrace_pubsub_nacked_total", nacks as u64);
            self.available.notify_one();
        }
        Ok(Answers { ids, verdicts })
    }

    fn tickets(&self, ids: &[String]) -> Result<Vec<Ticket>, PubsubError> {
        ids.iter()
            .map(|id| match ack_id::read(id) {
                Some((uid, ticket)) if uid == self.uid => Ok(ticket),
                Some(_) => Err(PubsubError::invalid(format!(
                    "You have passed an ack ID of another subscription than {} (ack_id={id}).",
                    self.name
                ))),
                None => Err(PubsubError::invalid(format!(
                    "You have passed an invalid ack ID to the service (ack_id={}).",
                    id.chars().take(ack_id::TEXT_BYTES + 20).collect::<String>()
                ))),
            })
            .collect()
    }
}

fn modify(machine: &mut Machine, ticket: Ticket, now: Moment, seconds: i32) -> Answer {
    match seconds {
        0 => machine.nack(ticket, now),
        _ => {
            let lease = Duration::from_secs(u64::from(seconds.unsigned_abs()));
            machine.extend(ticket, now, now.saturating_add(lease))
        }
    }
}

fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::Taken | Answer::Already => Verdict::Good,
        Answer::Stale => Verdict::Stale,
    }
}
