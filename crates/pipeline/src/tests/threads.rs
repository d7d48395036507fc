//! The threads around the fold. Outcomes do not depend on timing.

use std::sync::Arc;
use std::time::Duration;

use millrace_model::Offset;

use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, Fault, spec};
use crate::tests::{placed, run_audit};
use crate::{Pipeline, PipelineConfig, PipelineState, WindowLimits};

const LONG: Duration = Duration::from_secs(30);

struct World {
    source: Arc<FakeSource>,
    rows: Arc<FakeSink>,
    dead: Arc<FakeSink>,
}

impl World {
    fn new(messages: u64) -> Self {
        let (rows, dead) = (FakeSink::new("rows"), FakeSink::new("rows_dead"));
        Self { source: FakeSource::new(messages), rows, dead }
    }

    fn start(&self, config: PipelineConfig, transforms: Arc<FakeTransforms>) -> Pipeline {
        let (source, rows, dead) = (self.source.clone(), self.rows.clone(), self.dead.clone());
        Pipeline::start(config, source, transforms, spec(), rows, dead).unwrap()
    }

    fn check(&self) {
        placed(&self.source, &self.rows, &self.dead);
        let report = run_audit(&self.source, &self.rows, &self.dead);
        assert!(report.balanced, "{report}");
    }
}

fn config() -> PipelineConfig {
    PipelineConfig {
        window: WindowLimits { rows_max: 100, bytes_max: 10_000, age_max: Duration::from_millis(5) },
        workers: 4,
        chunk_messages_max: 7,
        chunk_linger: Duration::ZERO,
        retry_delay_min: Duration::from_millis(1),
        retry_delay_max: Duration::from_millis(4),
        idle_wait: Duration::from_millis(5),
        ..PipelineConfig::new("main")
    }
}

fn thirds(offset: u64) -> Fate {
    [Fate::Write, Fate::Filter, Fate::Fail][usize::try_from(offset % 3).unwrap()]
}

#[test]
fn a_backlog_is_folded_in_order_and_within_the_limits() {
    let world = World::new(3000);
    let pipeline = world.start(config(), FakeTransforms::new("", thirds));
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    let status = pipeline.status();
    assert_eq!(
        (status.read, status.written, status.filtered, status.dead_lettered),
        (3000, 1000, 1000, 1000)
    );
    assert_eq!((status.pending_messages, status.backlog_bytes, status.retries), (0, 0, 0));
    assert_eq!((status.freshness_seconds, status.system_lag_seconds), (0.0, 0.0));
    let offsets = world.rows.all_offsets();
    assert!(offsets.is_sorted(), "rows are in message order");
    assert!(world.rows.with(|state| state.commits.iter().all(|commit| commit.len() <= 100)));
    assert_eq!(world.source.with(|state| state.held), Some(Offset(3000)));
    world.check();
}

#[test]
fn messages_that_come_later_are_folded_without_being_asked() {
    let world = World::new(0);
    let pipeline = world.start(config(), FakeTransforms::new("", |_| Fate::Write));
    assert!(!pipeline.wait_for(Offset(1), Duration::ZERO));
    world.source.append(10);
    assert!(pipeline.wait_for(Offset(10), LONG));
    assert_eq!(world.rows.all_offsets().len(), 10);
    assert_eq!(pipeline.state(), PipelineState::Running);
    assert_eq!(pipeline.stop(), PipelineState::Stopped);
    world.check();
}

#[test]
fn an_idle_topic_commits_nothing() {
    let world = World::new(0);
    let pipeline = world.start(config(), FakeTransforms::new("", |_| Fate::Write));
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    assert_eq!(world.rows.with(|state| state.begun), 0);
    assert_eq!(world.source.with(|state| state.held), Some(Offset(0)));
}

#[test]
fn failed_commits_and_reads_are_tried_again_and_counted() {
    let world = World::new(50);
    world.source.with(|state| state.reads_to_fail = 2);
    let faults = [Fault::FailsBefore, Fault::ReplyLost, Fault::FailsBefore];
    world.rows.with(|state| state.faults = faults.into());
    world.dead.with(|state| state.faults = faults.into());
    let pipeline = world.start(config(), FakeTransforms::new("", thirds));
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    let status = pipeline.status();
    assert!(status.retries >= 6, "{status:?}");
    assert_eq!(status.retries_in_a_row, 0);
    assert!(status.last_error.is_some_and(|error| error.contains("injected")));
    world.check();
}

#[test]
fn a_broken_table_fails_its_pipeline_and_no_other() {
    let (broken, sound) = (World::new(50), World::new(50));
    broken.rows.with(|state| state.faults.push_back(Fault::Breaks));
    let first = broken.start(config(), FakeTransforms::new("", thirds));
    let second = sound.start(config(), FakeTransforms::new("", thirds));
    assert!(!first.wait_for(Offset(50), LONG));
    assert!(matches!(first.state(), PipelineState::Failed(reason) if reason.contains("injected")));
    assert_eq!(second.drain(), PipelineState::Stopped);
    sound.check();
    drop(first);
    // Repaired and started again, it goes on from its table.
    let again = broken.start(config(), FakeTransforms::new("", |_| Fate::Write));
    assert_eq!(again.drain(), PipelineState::Stopped);
    broken.check();
}

#[test]
fn a_stop_does_not_wait_for_a_sink_that_keeps_failing() {
    let world = World::new(50);
    world.rows.with(|state| state.faults = vec![Fault::FailsBefore; 1_000_000].into());
    let config = PipelineConfig { retry_delay_max: LONG, retry_delay_min: LONG, ..config() };
    let pipeline = world.start(config, FakeTransforms::new("", thirds));
    world.rows.wait_until(|state| state.begun > 0);
    assert_eq!(pipeline.stop(), PipelineState::Stopped);
    drop(pipeline);
    world.rows.with(|state| state.faults.clear());
    assert_eq!(world.start(self::config(), FakeTransforms::new("", thirds)).drain(), PipelineState::Stopped);
    world.check();
}

#[test]
fn a_damaged_log_fails_the_pipeline_after_what_is_sound() {
    let world = World::new(50);
    world.source.with(|state| state.corrupt_at = Some(33));
    let pipeline = world.start(config(), FakeTransforms::new("", |_| Fate::Write));
    let state = pipeline.drain();
    assert_eq!(state, PipelineState::Failed("segment 0 is damaged".to_owned()));
    assert_eq!(pipeline.status().next_offset, 33);
}

#[test]
fn a_message_that_makes_the_transform_panic_is_a_dead_letter() {
    let world = World::new(50);
    let poison = |offset| if offset % 20 == 5 { Fate::Panic } else { Fate::Write };
    let pipeline = world.start(config(), FakeTransforms::new("", poison));
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    let mut dead = world.dead.all_offsets();
    dead.sort_unstable();
    assert_eq!(dead, [5, 25, 45]);
    world.check();
}

#[test]
fn versions_are_swapped_between_windows() {
    let world = World::new(200);
    let pipeline = world.start(config(), FakeTransforms::new("old ", |_| Fate::Write));
    for (count, prefix) in [(150, "new "), (150, "newer "), (150, "newest ")] {
        pipeline.swap_transforms(FakeTransforms::new(prefix, |_| Fate::Write)).unwrap();
        world.source.append(count);
    }
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    let commits = world.rows.with(|state| state.commits.clone());
    let version = |row: &String| row.split(' ').next().unwrap().to_owned();
    for commit in &commits {
        assert!(commit.iter().all(|row| version(row) == version(&commit[0])), "{commit:?}");
    }
    assert_eq!(version(commits.last().unwrap().last().unwrap()), "newest");
    world.check();
}

#[test]
fn a_slow_sink_holds_back_the_reader() {
    let world = World::new(5000);
    world.rows.with(|state| state.gate_closed = true);
    let pipeline = world.start(config(), FakeTransforms::new("", |_| Fate::Write));
    // One window waits at the gate, one is complete on the belt; no chunk comes after that.
    world.source.wait_until(|state| state.read_to >= 100);
    let bound = 100 + 100 + 7;
    assert!(world.source.with(|state| state.read_to) <= bound);
    world.rows.wait_until(|state| state.begun > 0);
    assert!(pipeline.status().system_lag_seconds >= 0.0);
    assert!(world.source.with(|state| state.read_to) <= bound);
    world.rows.with(|state| state.gate_closed = false);
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    world.check();
}

#[test]
fn an_audit_beside_a_pipeline_at_work_balances() {
    let world = World::new(0);
    let pipeline = world.start(config(), FakeTransforms::new("", thirds));
    for _ in 0..40 {
        world.source.append(50);
        let report = run_audit(&world.source, &world.rows, &world.dead);
        assert!(report.balanced, "{report}");
    }
    assert_eq!(pipeline.drain(), PipelineState::Stopped);
    world.check();
}

#[test]
fn a_bad_configuration_is_refused() {
    let world = World::new(0);
    for config in [
        PipelineConfig { workers: 0, ..config() },
        PipelineConfig { name: "a/b/c".to_owned(), ..config() },
        PipelineConfig { idle_wait: Duration::ZERO, ..config() },
    ] {
        let transforms = FakeTransforms::new("", |_| Fate::Write);
        let (source, rows, dead) = (world.source.clone(), world.rows.clone(), world.dead.clone());
        assert!(Pipeline::start(config, source, transforms, spec(), rows, dead).is_err());
    }
}
