//! Replays beside folds, with every commit failing in every way: a message has a row or a dead letter, never
//! both or none, and the audit balances at every moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_model::{Offset, TransformFactory};
use millrace_table::dead_letters;
use proptest::prelude::*;

use super::*;
use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, Fault, TOPIC, spec};
use crate::folder::{Folder, Limits};
use crate::tests::{placed, run_audit};

static GO_ON: Stop = Stop::new();
const FOLD: Limits = Limits { chunk: 5, rows: 10, bytes: 1000, chunks_by_age: 100 };

#[derive(Default)]
struct MemoryStore(Mutex<Option<String>>);

impl JobStore for MemoryStore {
    fn load(&self) -> Result<Option<String>, String> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn save(&self, text: &str) -> Result<(), String> {
        *self.0.lock().unwrap() = Some(text.to_owned());
        Ok(())
    }

    fn clear(&self) -> Result<(), String> {
        *self.0.lock().unwrap() = None;
        Ok(())
    }
}

struct World {
    source: Arc<FakeSource>,
    rows: Arc<FakeSink>,
    dead: Arc<FakeSink>,
    store: Arc<MemoryStore>,
    limits: ReplayLimits,
}

impl World {
    /// Folds `messages` with one third each written, filtered and failing.
    fn new(messages: u64) -> Self {
        let world = Self {
            source: FakeSource::new(messages),
            rows: FakeSink::new("rows"),
            dead: FakeSink::new("rows_dead"),
            store: Arc::default(),
            limits: ReplayLimits {
                batch_messages_max: 4,
                tries_max: 1,
                retry_delay: Duration::ZERO,
                ..ReplayLimits::default()
            },
        };
        world.fold(thirds);
        world
    }

    fn fold(&self, judge: fn(u64) -> Fate) {
        let transforms = FakeTransforms::new("", judge);
        let mut folder = Folder::start(&self.source, &self.rows, &self.dead, transforms, FOLD).unwrap();
        while folder.step().unwrap() {}
    }

    /// What a process that has just begun knows: nothing.
    fn replayer(&self) -> Replayer {
        let (rows, dead, store) = (self.rows.clone(), self.dead.clone(), self.store.clone());
        Replayer::new("main", spec(), rows, dead, store, self.limits)
    }

    fn replay(
        &self,
        judge: impl Fn(u64) -> Fate + Send + Sync + 'static,
    ) -> Result<ReplayReport, ReplayError> {
        self.replay_some(&Selection::default(), judge)
    }

    fn replay_some(
        &self,
        selection: &Selection,
        judge: impl Fn(u64) -> Fate + Send + Sync + 'static,
    ) -> Result<ReplayReport, ReplayError> {
        self.replayer().replay(TOPIC, selection, "new".to_owned(), FakeTransforms::new("", judge), &GO_ON)
    }

    fn resume(
        &self,
        judge: impl Fn(u64) -> Fate + Send + Sync + 'static,
    ) -> Result<Option<ReplayReport>, ReplayError> {
        let make = |udf: &str| -> Result<Arc<dyn TransformFactory>, String> {
            assert_eq!(udf, "new");
            Ok(FakeTransforms::new("", judge))
        };
        self.replayer().resume(make, &GO_ON)
    }

    fn balanced(&self) -> crate::AuditReport {
        let report = run_audit(&self.source, &self.rows, &self.dead);
        assert!(report.balanced, "{report}");
        assert!(report.versions.iter().all(|version| version.udf != "not counted"), "{report}");
        report
    }

    fn attempts(&self) -> Vec<(u64, i64)> {
        let whole = self.dead.with(|state| state.whole.clone());
        let there = self.dead.all_offsets();
        let there = whole.iter().filter(|(offset, _)| there.contains(offset));
        there.map(|(offset, row)| (*offset, dead_letters(row).next().unwrap().attempts())).collect()
    }
}

fn thirds(offset: u64) -> Fate {
    [Fate::Write, Fate::Filter, Fate::Fail][usize::try_from(offset % 3).unwrap()]
}

/// Of the failed ones (2, 5, 8, ...) every second is written, then some are filtered.
fn better(offset: u64) -> Fate {
    match offset % 12 {
        2 | 8 => Fate::Write,
        5 => Fate::Filter,
        _ => Fate::Fail,
    }
}

#[test]
fn what_succeeds_leaves_the_dead_letters_and_what_fails_has_one_attempt_more() {
    let world = World::new(60);
    let report = world.replay(better).unwrap();
    assert_eq!((report.job, report.selected, report.written), (1, 20, 10));
    assert_eq!((report.filtered, report.failed, report.gone), (5, 5, 0));
    placed(&world.source, &world.rows, &world.dead);
    let totals = world.balanced().totals;
    assert_eq!((totals.written, totals.filtered, totals.dead_lettered), (30, 25, 5));
    assert_eq!((totals.replayed, totals.in_replay, totals.purged), (15, 0, 0));
    assert_eq!(world.attempts(), [11, 23, 35, 47, 59].map(|offset| (offset, 2)));

    // Again: nothing is added, the failing ones are tried once more, and not for ever.
    let report = world.replay(better).unwrap();
    assert_eq!((report.job, report.selected, report.written, report.failed), (2, 5, 0, 5));
    assert_eq!(world.balanced().totals.written, 30);
    let world = World { limits: ReplayLimits { attempts_max: 3, ..world.limits }, ..world };
    let report = world.replay(|_| Fate::Write).unwrap();
    assert_eq!((report.job, report.selected, report.exhausted), (0, 0, 5));
    assert!(world.store.load().unwrap().is_none());

    // The fold goes on as if nothing had been.
    world.source.append(9);
    world.fold(thirds);
    assert_eq!(world.balanced().totals.accepted, 69);
}

/// Scenario: at each commit of a replay, the process dies before it or after it, and the next one has a
/// UDF that decides otherwise on every message.
/// Guarantees: each message is in one place, the audit balances at each of these moments, the report of the
/// whole job is right.
#[test]
fn a_replay_interrupted_at_any_commit_goes_on() {
    let mut interrupted = 0;
    for fault in [Fault::FailsBefore, Fault::ReplyLost, Fault::Breaks, Fault::HappensAndBreaks] {
        for (rows, commit) in (0..6).flat_map(|commit| [(true, commit), (false, commit)]) {
            let world = World::new(60);
            let sink = if rows { &world.rows } else { &world.dead };
            sink.with(|state| {
                state.faults = std::iter::repeat_n(Fault::Works, commit).chain([fault]).collect();
            });
            let first = world.replay(better);
            // Where it stopped, the audit balances, and a purge or another replay does not begin.
            world.balanced();
            sink.with(|state| state.faults.clear());
            let report = match first {
                Ok(report) => report,
                Err(_) => {
                    interrupted += 1;
                    assert!(matches!(world.replay(better), Err(ReplayError::Unfinished(_))));
                    let all = Selection::default();
                    let purged = world.replayer().purge(TOPIC, &all, &GO_ON);
                    assert!(matches!(purged, Err(ReplayError::Unfinished(_))));
                    // The fold goes on meanwhile.
                    world.source.append(3);
                    world.fold(thirds);
                    world.balanced();
                    let flipped = |offset| match better(offset) {
                        Fate::Write => Fate::Fail,
                        Fate::Filter => Fate::Write,
                        _ => Fate::Filter,
                    };
                    world.resume(flipped).unwrap().unwrap()
                }
            };
            assert_eq!(report.written + report.filtered + report.failed, 20, "{report:?}");
            let (in_rows, in_dead) = placed(&world.source, &world.rows, &world.dead);
            assert_eq!(in_rows.len() as u64, 20 + report.written + (in_rows.range(60..).count() as u64));
            assert_eq!(in_dead.range(..60).count() as u64, report.failed);
            let totals = world.balanced().totals;
            assert_eq!((totals.in_replay, totals.replayed), (0, report.written + report.filtered));
            assert!(world.resume(better).unwrap().is_none());
        }
    }
    assert!(interrupted >= 20, "only {interrupted} replays were interrupted");
}

#[test]
fn between_the_two_commits_a_message_counts_as_a_row() {
    let world = World::new(60);
    world.dead.with(|state| state.faults.push_back(Fault::Breaks));
    assert!(world.replay(|_| Fate::Write).is_err());
    let totals = world.balanced().totals;
    assert_eq!((totals.in_replay, totals.written, totals.dead_lettered), (4, 24, 16));
    // A row that is added to both tables by somebody else is noticed also now.
    world.rows.with(|state| state.rows.push((17, "m17".to_owned())));
    assert!(!run_audit(&world.source, &world.rows, &world.dead).balanced);
}

#[test]
fn rows_that_the_sink_refuses_stay_dead_letters() {
    let world = World::new(60);
    world.rows.with(|state| state.refused = [2, 8, 59].into());
    let report = world.replay(|_| Fate::Write).unwrap();
    assert_eq!((report.written, report.failed), (17, 3));
    assert_eq!(world.dead.all_offsets().into_iter().collect::<BTreeSet<_>>(), [2, 8, 59].into());
    world.balanced();
}

#[test]
fn a_transform_that_panics_fails_one_message() {
    let world = World::new(60);
    let report = world.replay(|offset| if offset == 8 { Fate::Panic } else { Fate::Write }).unwrap();
    assert_eq!((report.written, report.failed), (19, 1));
    world.balanced();
}

#[test]
fn dead_letters_of_a_window_under_way_are_not_touched() {
    let world = World::new(20);
    world.source.append(10);
    world.rows.with(|state| state.faults.push_back(Fault::Breaks));
    let transforms = FakeTransforms::new("", thirds);
    let mut folder = Folder::start(&world.source, &world.rows, &world.dead, transforms, FOLD).unwrap();
    assert!(folder.step().is_err());
    assert!(world.dead.all_offsets().iter().any(|offset| *offset >= 20));
    let report = world.replay(|_| Fate::Write).unwrap();
    assert_eq!(report.selected, 6);
    assert_eq!(world.replayer().purge(TOPIC, &Selection::default(), &GO_ON).unwrap().purged, 0);
    assert_eq!(world.balanced().totals.pending_dead_lettered, 4);
    // The window is finished by a UDF that would write all of it.
    world.fold(|_| Fate::Write);
    placed(&world.source, &world.rows, &world.dead);
    assert_eq!(world.balanced().totals.dead_lettered, 4);
}

#[test]
fn a_trial_says_what_the_replay_then_does_and_changes_nothing() {
    let world = World::new(60);
    let before = (world.rows.all_offsets(), world.dead.all_offsets(), world.attempts());
    let all = Selection::default();
    let trial = world.replayer().trial(TOPIC, &all, FakeTransforms::new("", better), &GO_ON).unwrap();
    assert_eq!(before, (world.rows.all_offsets(), world.dead.all_offsets(), world.attempts()));
    assert_eq!((trial.selected, trial.written, trial.filtered, trial.failed), (20, 10, 5, 5));
    assert_eq!((trial.classes.len(), trial.classes[0].written, trial.failing[0].failed), (1, 10, 5));
    assert_eq!(trial.samples.len(), 9);
    let written = trial.samples.iter().find(|sample| sample.outcome == "written").unwrap();
    assert_eq!((written.payload.as_str(), written.output.as_deref()), ("m2", Some("{\"id\": \"m2\"}")));
    let report = world.replay(better).unwrap();
    assert_eq!((report.written, report.filtered, report.failed), (10, 5, 5));
}

#[test]
fn a_selection_means_a_class_a_time_or_one_message() {
    let world = World::new(60);
    let replayer = world.replayer();
    let classes = replayer.classes(TOPIC, &Selection::default()).unwrap();
    let [class] = &classes.classes[..] else { panic!("{classes:?}") };
    assert_eq!((class.count, class.signature.as_str(), class.attempts_most), (20, "no", 1));
    let one = Selection { message: Some(8), ..Selection::default() };
    let report = world.replay_some(&one, |_| Fate::Write).unwrap();
    assert_eq!((report.selected, report.written), (1, 1));
    let other = Selection { class: Some(ClassId::of("row", "x", "y")), ..Selection::default() };
    assert_eq!(world.replay_some(&other, |_| Fate::Write).unwrap().selected, 0);
    let future = Selection { since_micros: Some(i64::MAX), ..Selection::default() };
    assert_eq!(world.replay_some(&future, |_| Fate::Write).unwrap().selected, 0);
    let this = Selection {
        class: Some(class.id.clone()),
        since_micros: Some(class.first_seen_micros),
        message: None,
    };
    assert_eq!(world.replay_some(&this, |_| Fate::Write).unwrap().selected, 19);
    assert!(matches!(replayer.classes(TopicId([9; 16]), &one), Err(ReplayError::NothingFolded { .. })));
}

#[test]
fn a_purge_is_counted_however_its_commits_end() {
    for fault in [Fault::Works, Fault::FailsBefore, Fault::ReplyLost, Fault::HappensAndBreaks] {
        let world = World::new(60);
        world.dead.with(|state| state.faults.push_back(fault));
        let purge = || world.replayer().purge(TOPIC, &Selection::default(), &GO_ON);
        let purged = match purge() {
            Ok(report) => report.purged,
            Err(error) => {
                assert!(matches!(error, ReplayError::Sink(SinkError::Retry { .. })), "{error}");
                world.balanced();
                purge().unwrap().purged
            }
        };
        assert_eq!(purged, 20, "{fault:?}");
        let totals = world.balanced().totals;
        assert_eq!((totals.purged, totals.dead_lettered, totals.accepted), (20, 0, 60));
        assert_eq!(purge().unwrap().purged, 0);
    }
}

#[test]
fn one_replay_takes_no_more_than_its_limit_and_stops_when_asked() {
    let world = World::new(60);
    let world = World { limits: ReplayLimits { messages_max: 6, ..world.limits }, ..world };
    let report = world.replay(|_| Fate::Write).unwrap();
    assert_eq!((report.selected, report.beyond), (6, 14));
    let stopped: &'static Stop = Box::leak(Box::new(Stop::new()));
    let asks = FakeTransforms::new("", |_| {
        stopped.ask();
        Fate::Write
    });
    let all = Selection::default();
    let outcome = world.replayer().replay(TOPIC, &all, "new".to_owned(), asks, stopped);
    assert!(matches!(outcome, Err(ReplayError::Stopped)), "{outcome:?}");
    // Whoever comes once it is to stop begins nothing that somebody would have to go on with.
    let before = world.store.load().unwrap();
    assert!(before.is_some());
    world.store.clear().unwrap();
    let late = FakeTransforms::new("", thirds);
    let outcome = world.replayer().replay(TOPIC, &all, "new".to_owned(), late, stopped);
    assert!(matches!(outcome, Err(ReplayError::Stopped)), "{outcome:?}");
    assert_eq!(world.store.load().unwrap(), None);
    world.store.save(&before.unwrap()).unwrap();
    assert_eq!(world.resume(|_| Fate::Write).unwrap().unwrap().written, 6);
    world.balanced();
}

#[test]
fn a_damaged_or_old_job_is_named() {
    let world = World::new(60);
    world.store.save("{").unwrap();
    assert!(matches!(world.resume(thirds), Err(ReplayError::Job { .. })));
    world.store.clear().unwrap();
    world.dead.with(|state| state.faults.push_back(Fault::Breaks));
    assert!(world.replay(better).is_err());
    let old = world.store.load().unwrap().unwrap();
    world.resume(better).unwrap().unwrap();
    world.replay(better).unwrap();
    world.store.save(&old).unwrap();
    assert!(matches!(world.resume(better), Err(ReplayError::Superseded { job: 1, newest: 2 })));
}

#[derive(Debug, Clone)]
enum Act {
    Append(u64),
    Fold,
    Replay,
    Purge(u64),
    Faults { rows: bool, faults: Vec<Fault> },
    Batch(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let fault = prop_oneof![
        3 => Just(Fault::Works),
        1 => Just(Fault::FailsBefore),
        2 => Just(Fault::ReplyLost),
        1 => Just(Fault::Breaks),
        2 => Just(Fault::HappensAndBreaks),
    ];
    prop_oneof![
        3 => (1u64..20).prop_map(Act::Append),
        4 => Just(Act::Fold),
        6 => Just(Act::Replay),
        1 => (0u64..80).prop_map(Act::Purge),
        4 => (any::<bool>(), prop::collection::vec(fault, 1..5)).prop_map(|(rows, faults)| Act::Faults { rows, faults }),
        1 => (1usize..9).prop_map(Act::Batch),
    ]
}

/// What a version of the UDF does with a message: another thing for each version.
fn fate(version: u64, offset: u64) -> Fate {
    let mixed = (version * 1_000_003 + offset).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
    [Fate::Write, Fate::Filter, Fate::Fail][usize::try_from(mixed % 3).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn folds_replays_and_purges_in_any_order_keep_each_message_once(acts in prop::collection::vec(act(), 1..30)) {
        let mut world = World::new(0);
        for (version, act) in acts.into_iter().enumerate() {
            let judge = move |offset| fate(version as u64, offset);
            match act {
                Act::Append(count) => world.source.append(count),
                Act::Fold => {
                    let transforms = FakeTransforms::new("", judge);
                    let mut folder =
                        Folder::start(&world.source, &world.rows, &world.dead, transforms, FOLD).unwrap();
                    while folder.step().unwrap_or(false) {}
                }
                Act::Replay => {
                    if let Err(ReplayError::Unfinished(_)) = world.replay(judge) {
                        let _ = world.resume(judge);
                    }
                }
                Act::Purge(offset) => {
                    let one = Selection { message: Some(offset), ..Selection::default() };
                    let _ = world.replayer().purge(TOPIC, &one, &GO_ON);
                }
                Act::Faults { rows, faults } => {
                    let sink = if rows { &world.rows } else { &world.dead };
                    sink.with(|state| state.faults = faults.into());
                }
                Act::Batch(most) => world.limits.batch_messages_max = most,
            }
            world.balanced();
        }
        for sink in [&world.rows, &world.dead] {
            sink.with(|state| state.faults.clear());
        }
        let _ = world.resume(|_| Fate::Write);
        world.fold(thirds);
        placed(&world.source, &world.rows, &world.dead);
        let totals = world.balanced().totals;
        prop_assert_eq!((totals.in_replay, totals.pending), (0, 0));
        prop_assert_eq!(Offset(totals.accepted), world.source.with(|state| Offset(state.messages.len() as u64)));
    }
}
