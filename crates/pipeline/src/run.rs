//! The bodies of a pipeline's threads: thin loops over the parts that do the work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_model::Offset;
use millrace_table::TableSpec;

use crate::PipelineConfig;
use crate::belt::{Belt, Taken};
use crate::committer::Committer;
use crate::plan::{FillLimits, backoff};
use crate::reader::Reader;
use crate::shared::{Request, Shared};
use crate::transform::transform_chunk;
use crate::trouble::Trouble;
use crate::window::{Pending, Window};

/// Reads chunks onto the belt until told to end.
pub(crate) fn read_loop(mut reader: Reader, shared: &Shared, belt: &Belt, config: &PipelineConfig) {
    let mut failures = 0;
    while !shared.state().is_over() {
        shared.tick();
        let target = match shared.request() {
            Request::Stop => return belt.close(true),
            Request::Drain(to) if reader.position() >= to => return belt.close(false),
            Request::Drain(to) => Some(to),
            Request::Run => None,
        };
        if !belt.wait_room(config.idle_wait) {
            continue;
        }
        match reader.next(target, &shared.version()) {
            Ok(Some(chunk)) => {
                if std::mem::take(&mut failures) > 0 {
                    shared.recovered();
                }
                shared.chunk_read(chunk.end, chunk.read_at);
                belt.put(chunk);
            }
            Ok(None) => reader.wait(config.idle_wait, config.chunk_linger),
            Err(Trouble::Retry(reason)) => {
                failures += 1;
                shared.meters.read_retried();
                shared.retry("read", &reason);
                shared.pause(backoff(failures, config.retry_delay_min, config.retry_delay_max));
            }
            Err(Trouble::Broken(reason)) => {
                // What was read before is sound: it is committed first.
                shared.fail_later(reason);
                return belt.close(false);
            }
        }
    }
    belt.abort();
}

/// Transforms chunks until none come any more.
pub(crate) fn work_loop(shared: &Shared, belt: &Belt, spec: &Arc<TableSpec>) {
    let mut own = None;
    while let Some((number, chunk)) = belt.take_work() {
        let mut busy = Busy::begin(shared);
        let transform = match own.take() {
            Some((held, transform)) if held == chunk.version.number => Ok(transform),
            _ => chunk.version.take(),
        };
        let worked = transform.and_then(|mut transform| {
            transform_chunk(&mut transform, spec, &chunk, |part, last| {
                busy.pause();
                let go_on = belt.put_done(number, part, last);
                busy.resume();
                go_on
            })?;
            own = Some((chunk.version.number, transform));
            Ok(())
        });
        busy.end();
        if let Err(reason) = worked {
            shared.fail(reason);
            return belt.abort();
        }
    }
}

/// Measures a worker's time at work on one chunk, without its waits for room on the belt.
struct Busy<'a> {
    shared: &'a Shared,
    since: Instant,
    spent: Duration,
}

impl<'a> Busy<'a> {
    fn begin(shared: &'a Shared) -> Self {
        Self { shared, since: Instant::now(), spent: Duration::ZERO }
    }

    fn pause(&mut self) {
        self.spent += self.since.elapsed();
    }

    fn resume(&mut self) {
        self.since = Instant::now();
    }

    fn end(mut self) {
        self.pause();
        self.shared.worked(self.spent);
    }
}

/// Gathers windows and commits them until none come any more.
pub(crate) fn commit_loop(mut committer: Committer, shared: &Shared, belt: &Belt, config: &PipelineConfig) {
    let limits = FillLimits { window: config.window, built_bytes_max: config.built_bytes_max };
    while let Some(window) = gather(belt, &limits) {
        let pending = Pending::new(window, config.duplicates.count());
        if !commit(&mut committer, pending, shared, config) {
            belt.abort();
            break;
        }
    }
    shared.end();
}

/// The next window: closed by its limits or by age, counted from when its first message was read. Behind
/// a backlog that moment is long past; such a window is filled for half the age still, because many
/// small commits would make the backlog last longer.
pub(crate) fn gather(belt: &Belt, limits: &FillLimits) -> Option<Window> {
    let Taken::Chunk(first) = belt.take_done(None, |_| true) else { return None };
    let mut window = Window::open(*first);
    let age_max = limits.window.age_max;
    let at_least = Instant::now().checked_add(age_max / 2);
    while !window.is_closed(limits) {
        let aged = window.opened_at.checked_add(age_max);
        let deadline = aged.max(at_least).filter(|_| !window.replayed);
        match belt.take_done(deadline, |next| window.admits(next, limits)) {
            Taken::Chunk(next) => window.push(*next),
            Taken::Refused | Taken::TimedOut | Taken::End => break,
        }
    }
    Some(window)
}

/// Commits a window, however many tries it takes; false when the pipeline ends here.
fn commit(committer: &mut Committer, mut pending: Pending, shared: &Shared, config: &PipelineConfig) -> bool {
    let before = committer.ledger();
    let mut failures = 0;
    loop {
        let started = Instant::now();
        match committer.attempt(&mut pending) {
            Ok(()) => {
                let (after, took) = (committer.ledger(), started.elapsed());
                let duplicates = after.duplicate - before.duplicate;
                let mut tally = pending.window.tally();
                // What lies before a stretch of the topic has not expired: nobody wanted it.
                let wanted_from = shared.source.first().min(after.next_offset);
                tally.expired = tally.expired.saturating_sub(wanted_from.since(before.next_offset));
                shared.meters.committed(&tally, &pending.kinds, duplicates, took);
                shared.committed(after, took);
                hold(shared, after.next_offset);
                return true;
            }
            Err(Trouble::Retry(reason)) => {
                failures += 1;
                shared.meters.commit_retried();
                shared.retry("commit", &reason);
                let delay: Duration = backoff(failures, config.retry_delay_min, config.retry_delay_max);
                if !shared.pause(delay) {
                    return false;
                }
            }
            Err(Trouble::Broken(reason)) => {
                shared.fail(reason);
                return false;
            }
        }
    }
}

/// Tells the topic what must not be removed.
pub(crate) fn hold(shared: &Shared, folded: Offset) {
    shared.source.hold(&shared.identity.pipeline, folded);
}
