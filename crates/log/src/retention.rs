//! What may go: by age whatever anyone has folded, by bytes only what everyone has.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_model::{Micros, Offset};

use crate::core::Core;
use crate::meta::write_topic;
use crate::segment::{index_path, segment_path};
use crate::shared::{Garbage, Shared};
use crate::sidecar;
use crate::sync::lock;
use crate::{CursorState, LogError, TopicConfig};

/// A sealed segment as retention sees it.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    base: Offset,
    end: Offset,
    bytes: u64,
    last_time: Micros,
    folded_since: Option<Micros>,
}

/// What to remove, oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    segments: usize,
    bytes: u64,
    expired: u64,
    folded_early: u64,
}

/// Decides what to remove. `bytes` is the topic's size, `held_from` the first offset that some holder
/// has not folded. A message counts as expired when it is removed although a holder had not folded it,
/// or although nobody held the topic.
fn plan(
    candidates: &[Candidate],
    bytes: u64,
    held_from: Option<Offset>,
    now: Micros,
    config: &TopicConfig,
) -> Plan {
    let mut plan = Plan::default();
    let mut folded_bytes: u64 =
        candidates.iter().filter(|segment| segment.folded_since.is_some()).map(|segment| segment.bytes).sum();
    for segment in candidates {
        let too_old = segment.last_time < now.minus(config.retention_age);
        let over = bytes - plan.bytes > config.bytes_max;
        let kept_long_enough =
            segment.folded_since.is_some_and(|since| since <= now.minus(config.folded_retention));
        let too_much_folded = segment.folded_since.is_some() && folded_bytes > config.folded_bytes_max;
        let goes = too_old || (over && (held_from.is_none() || kept_long_enough || too_much_folded));
        if !goes {
            break;
        }
        let folded_end = held_from.map_or(segment.base, |held| held.clamp(segment.base, segment.end));
        plan.segments += 1;
        plan.bytes += segment.bytes;
        plan.expired += segment.end.since(folded_end);
        plan.folded_early += u64::from(!too_old && held_from.is_some() && !kept_long_enough);
        if segment.folded_since.is_some() {
            folded_bytes -= segment.bytes;
        }
    }
    plan
}

impl Core {
    /// Removes what may go. Positions and the new start are durable before any file goes.
    pub(crate) fn enforce_retention(&self, now: Micros) -> Result<(), LogError> {
        let _files = lock(&self.files);
        let (plan, file) = {
            let mut shared = lock(&self.shared);
            shared.detach_cursors(0);
            expire_cursors(&mut shared, now);
            let held_from = shared.held_from();
            let candidates = candidates(&shared, held_from, now);
            let plan = plan(&candidates, shared.bytes(), held_from, now, &shared.config);
            let mut file = self.topic_file(&shared)?;
            file.start = candidates.get(plan.segments.wrapping_sub(1)).map_or(file.start, |last| last.end.0);
            file.expired_total += plan.expired;
            (plan, file)
        };
        self.refresh_budget();
        if plan.segments > 0 {
            self.save_readers_locked()?;
            self.keep_keys(&plan)?;
            write_topic(&*self.disk, &self.directory, &file)?;
            self.forget_segments(&plan, Offset(file.start), file.expired_total);
        }
        self.remove_garbage()
    }

    /// Makes the index files of segments that are about to go durable where keys in them are still
    /// remembered, so that a restart remembers them too.
    fn keep_keys(&self, plan: &Plan) -> Result<(), LogError> {
        let from = self.dedup_from();
        let wanted: Vec<_> = {
            let shared = lock(&self.shared);
            let going = shared.sealed.iter().take(plan.segments);
            going.filter(|segment| segment.facts.end > from).cloned().collect()
        };
        for segment in wanted {
            let base = segment.facts.base;
            let path = index_path(&self.directory, base);
            let keep = || {
                sidecar::make_durable(&*self.disk, &self.directory, self.id(), base)
                    .map_err(LogError::io("write", &path))
            };
            if keep()?.is_err() {
                // Opening a sealed segment makes its index anew.
                self.open_sealed(&segment)?;
                keep()?.map_err(|reason| LogError::corrupt(&path, 0, reason))?;
            }
        }
        Ok(())
    }

    /// Stops showing the segments before `start`, whose files then are garbage.
    fn forget_segments(&self, plan: &Plan, start: Offset, expired_total: u64) {
        self.counters.folded_early.fetch_add(plan.folded_early, Ordering::Relaxed);
        let mut shared = lock(&self.shared);
        shared.untold.segments_removed += plan.segments as u64;
        shared.untold.bytes_removed += plan.bytes;
        shared.untold.messages_expired += plan.expired;
        let gone: Vec<_> = shared.sealed.drain(..plan.segments).collect();
        shared.start = start;
        shared.expired_total = expired_total;
        for segment in gone {
            let base = segment.facts.base;
            shared.garbage.push((segment_path(&self.directory, base), Offset::ZERO));
            shared.garbage.push((index_path(&self.directory, base), segment.facts.end));
        }
        for cursor in shared.readers.cursors.values_mut() {
            cursor.expired_messages += start.0.saturating_sub(cursor.position);
            cursor.position = cursor.position.max(start.0);
        }
        for folded in shared.readers.holds.values_mut() {
            *folded = (*folded).max(start.0);
        }
        drop(shared);
        lock(&self.open_segments).forget_before(start);
        self.refresh_budget();
    }

    /// Removes files whose messages are gone; those that cannot be removed are tried again.
    fn remove_garbage(&self) -> Result<(), LogError> {
        let from = self.dedup_from();
        let garbage: Garbage = {
            let mut shared = lock(&self.shared);
            shared.garbage.extract_if(.., |(_, end)| *end <= from).collect()
        };
        if garbage.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        for (path, end) in garbage {
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed = Some(LogError::io("remove", &path)(error));
                    lock(&self.shared).garbage.push((path, end));
                }
                _ => {}
            }
        }
        self.disk.sync_dir(&self.directory).map_err(LogError::io("sync", &self.directory))?;
        failed.map_or(Ok(()), Err)
    }

    /// Whether the newest segment is due to be sealed although it is not full.
    pub(crate) fn is_active_old(&self, now: Micros) -> bool {
        let shared = lock(&self.shared);
        let age_max = self.config.segment_age_max.min(shared.config.retention_age / 8);
        let first_time = shared.active.as_ref().and_then(|active| active.first_time);
        first_time.is_some_and(|first| first < now.minus(age_max))
    }
}

fn candidates(shared: &Shared, held_from: Option<Offset>, now: Micros) -> Vec<Candidate> {
    let candidate = |segment: &Arc<crate::segment::Sealed>| {
        let facts = segment.facts;
        let folded = held_from.is_some_and(|held| facts.end <= held);
        Candidate {
            base: facts.base,
            end: facts.end,
            bytes: facts.bytes,
            last_time: facts.last_time,
            folded_since: segment.note_folded(folded, now),
        }
    };
    shared.sealed.iter().map(candidate).collect()
}

fn expire_cursors(shared: &mut Shared, now: Micros) {
    let mut expired = 0;
    for cursor in shared.readers.cursors.values_mut() {
        let idle = now.since(Micros(cursor.last_active_micros));
        if cursor.state == CursorState::Attached && idle > cursor.config.expires_after {
            cursor.state = CursorState::Expired;
            expired += 1;
        }
    }
    shared.readers.cursors_expired_total += expired;
    shared.readers_changed |= expired > 0;
    shared.untold.cursors_expired += expired;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config() -> TopicConfig {
        TopicConfig {
            bytes_max: 250,
            retention_age: Duration::from_micros(1000),
            folded_retention: Duration::from_micros(100),
            folded_bytes_max: 300,
            ..TopicConfig::default()
        }
    }

    /// Four segments of ten messages and 100 bytes, published at 10, 20, 30, 40; those before
    /// `folded` segments folded at 50.
    fn segments(folded: usize) -> Vec<Candidate> {
        (0..4)
            .map(|number: usize| Candidate {
                base: Offset(number as u64 * 10),
                end: Offset(number as u64 * 10 + 10),
                bytes: 100,
                last_time: Micros(number as i64 * 10 + 10),
                folded_since: (number < folded).then_some(Micros(50)),
            })
            .collect()
    }

    /// Scenario: topics over and under their budget, held or not, young and old.
    /// Guarantees: bytes take only what is folded and was kept long enough, or what nobody holds; age
    /// takes anything; each message not folded by all is counted.
    #[test]
    fn what_may_go() {
        let went = |folded: usize, held: Option<u64>, now| {
            let plan = plan(&segments(folded), 400, held.map(Offset), Micros(now), &config());
            (plan.segments, plan.expired, plan.folded_early)
        };
        assert_eq!(went(0, Some(0), 500), (0, 0, 0), "over budget, nothing folded");
        assert_eq!(went(1, Some(15), 500), (1, 0, 0), "one folded: it goes, the half folded one does not");
        assert_eq!(went(3, Some(30), 149), (0, 0, 0), "folded too lately");
        assert_eq!(went(3, Some(30), 150), (2, 0, 0), "folded long enough: only as many as needed");
        assert_eq!(went(4, Some(40), 149), (1, 0, 1), "more folded than the limit for such");
        assert_eq!(went(0, None, 500), (2, 20, 0), "nobody holds it");
        assert_eq!(went(0, Some(15), 1021), (2, 5, 0), "two too old, one and a half folded");
        assert_eq!(went(0, None, 1041), (4, 40, 0), "all too old");
    }
}
