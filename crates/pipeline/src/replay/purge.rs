//! Purging: taking dead letters out of their table for good, counted.

use millrace_model::{Offset, TopicId};
use serde::{Deserialize, Serialize};

use super::letters::{self, Selection};
use super::{ReplayError, Replayer, Stop};
use crate::ledger::{DeadLedger, PURGED, mark};
use crate::meters;
use crate::{Amendment, Commit, SinkError};

/// Most dead letters of one commit.
const PURGE_MESSAGES_MAX: usize = 65_536;

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// Dead letters removed.
    pub purged: u64,
    /// Dead letters left because one purge takes only so many.
    pub beyond: u64,
}

impl Replayer {
    /// Removes the dead letters that `selection` means, however often they were tried. Each commit removes
    /// some and counts them in one step, so one that is interrupted has purged a part, and the next goes on.
    ///
    /// # Errors
    /// See [`ReplayError`]: also when a replay is at work or unfinished.
    pub fn purge(
        &self,
        topic: TopicId,
        selection: &Selection,
        stop: &Stop,
    ) -> Result<PurgeReport, ReplayError> {
        let _at_work = self.begin()?;
        if self.unfinished()?.is_some() {
            return Err(ReplayError::Unfinished(self.pipeline.clone()));
        }
        let (end, messages) = (self.settled(topic)?, self.limits.messages_max);
        let sink = self.dead_letters.as_ref();
        let selected = letters::select(sink, topic, end, selection, i64::MAX, messages, stop)?;
        let mut report = PurgeReport { purged: 0, beyond: selected.beyond };
        let offsets: Vec<_> = selected.offsets.into_iter().collect();
        for some in offsets.chunks(PURGE_MESSAGES_MAX) {
            if stop.is_asked() {
                return Err(ReplayError::Stopped);
            }
            let purged = self.purge_some(topic, some, stop)?;
            report.purged += purged;
            meters::purged(&self.pipeline, purged);
        }
        tracing::info!(pipeline = %self.pipeline, purged = report.purged, "dead letters purged");
        Ok(report)
    }

    fn purge_some(&self, topic: TopicId, some: &[Offset], stop: &Stop) -> Result<u64, ReplayError> {
        let (Some(first), Some(last)) = (some.first(), some.last()) else { return Ok(0) };
        let (sink, key) = (self.dead_letters.as_ref(), self.dead_key(topic));
        let purged = || -> Result<u64, ReplayError> {
            let ledger = DeadLedger::from_marks(&key, &sink.marks()?);
            let table = || sink.table().to_owned();
            Ok(ledger.map_err(|error| ReplayError::Ledger { table: table(), error })?.purged)
        };
        let before = purged()?;
        let mut there = sink.offsets(topic, *first, last.plus(1))?;
        there.retain(|offset| some.binary_search(offset).is_ok());
        there.dedup();
        let count = there.len() as u64;
        let marks = vec![mark(key.app_id(PURGED), before + count)];
        let commit = Commit { rows: Vec::new(), marks };
        let amendment = Amendment { topic, removed: there, commit };
        let mut tries = 0;
        if count == 0 {
            return Ok(0);
        }
        while let Err(error) = sink.amend(&amendment) {
            match purged()? {
                now if now == before + count => break,
                now if now != before => return Err(ReplayError::Foreign(sink.table().to_owned())),
                _ => {}
            }
            tries += 1;
            if !matches!(error, SinkError::Retry { .. }) || !self.again(tries, stop) {
                return Err(error.into());
            }
        }
        Ok(count)
    }
}
