//! What runs beside a pipeline: a shadow, and a stretch of the topic run again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_model::{Offset, TransformFactory};

use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, spec};
use crate::{
    AuditInput, Pipeline, PipelineConfig, PipelineState, RunningVersion, Shadow, ShadowConfig, ShadowReport,
    SourceFacts, SourceSlice, audit,
};

fn wait_for(shadow: &Shadow, source: &FakeSource, done: impl Fn(&ShadowReport) -> bool) -> ShadowReport {
    for _ in 0..3000 {
        let report = shadow.report();
        if done(&report) {
            return report;
        }
        // Nobody appends: this is a pause only.
        millrace_model::Source::wait(source, Offset(u64::MAX), Duration::from_millis(10));
    }
    panic!("the shadow did not get there: {:?}", shadow.report());
}

fn shadow(
    source: &Arc<FakeSource>,
    running: &Arc<Mutex<Arc<dyn TransformFactory>>>,
    new: Arc<FakeTransforms>,
    lag_messages_max: u64,
) -> Shadow {
    let running = Arc::clone(running);
    let running: RunningVersion = Arc::new(move || Arc::clone(&running.lock().unwrap()));
    let config = ShadowConfig { lag_messages_max, ..ShadowConfig::default() };
    Shadow::start("main", source.clone(), spec(), running, new, config).unwrap()
}

fn running(prefix: &'static str) -> Arc<Mutex<Arc<dyn TransformFactory>>> {
    Arc::new(Mutex::new(FakeTransforms::new(prefix, |_| Fate::Write)))
}

#[test]
fn a_shadow_compares_what_comes_and_follows_the_running_version() {
    let source = FakeSource::new(100);
    let running = running("");
    let new = FakeTransforms::new("new ", |offset| if offset == 103 { Fate::Fail } else { Fate::Write });
    let shadow = shadow(&source, &running, new, 4096);
    source.append(10);
    let report = wait_for(&shadow, &source, |report| report.position == 110);
    let found = &report.comparison;
    assert_eq!((found.messages, found.changed_rows, found.new.failed, report.skipped), (10, 9, 1, 0));
    assert_eq!(report.ended, None);
    // The running version becomes the same: nothing differs from there on.
    *running.lock().unwrap() = FakeTransforms::new("new ", |_| Fate::Write);
    source.append(10);
    let report = wait_for(&shadow, &source, |report| report.position == 120);
    assert_eq!((report.comparison.messages, report.comparison.same), (20, 10));
    assert_eq!(shadow.stop().ended.as_deref(), Some("stopped"));
}

#[test]
fn a_shadow_passes_over_what_it_cannot_keep_up_with() {
    let source = FakeSource::new(0);
    let (gate, running) = (Arc::new(Mutex::new(())), running(""));
    let held = gate.lock().unwrap();
    let waits = Arc::clone(&gate);
    let new = FakeTransforms::new("", move |_| {
        drop(waits.lock());
        Fate::Write
    });
    let shadow = shadow(&source, &running, new, 50);
    source.append(1);
    source.wait_until(|state| state.read_to >= 1);
    source.append(999);
    drop(held);
    let report = wait_for(&shadow, &source, |report| report.position == 1000);
    assert_eq!(report.comparison.messages + report.skipped, 1000);
    assert!(report.skipped >= 900, "{report:?}");
}

#[test]
fn a_shadow_that_fails_says_why() {
    let source = FakeSource::new(0);
    source.with(|state| state.corrupt_at = Some(0));
    let shadow = shadow(&source, &running(""), FakeTransforms::new("", |_| Fate::Write), 10);
    source.append(1);
    let report = wait_for(&shadow, &source, |report| report.ended.is_some());
    assert!(report.ended.is_some_and(|reason| reason.contains("damaged")));
}

#[test]
fn a_stretch_of_a_topic_is_run_again_once_however_often_it_is_begun() {
    let source = FakeSource::new(300);
    let (rows, dead) = (FakeSink::new("again"), FakeSink::new("again_dead"));
    let run = || {
        let slice = Arc::new(SourceSlice::new(source.clone(), Offset(100), Offset(200)));
        let config = PipelineConfig { idle_wait: Duration::from_millis(5), ..PipelineConfig::new("rerun") };
        let judge = |offset| if offset % 10 == 0 { Fate::Fail } else { Fate::Write };
        let transforms = FakeTransforms::new("", judge);
        Pipeline::start(config, slice, transforms, spec(), rows.clone(), dead.clone()).unwrap()
    };
    let first = run();
    assert!(!first.wait_for(Offset(150), Duration::ZERO) || first.stop() == PipelineState::Stopped);
    drop(first);
    for _ in 0..2 {
        let again = run();
        assert_eq!(again.drain(), PipelineState::Stopped);
        let status = again.status();
        assert_eq!((status.written, status.dead_lettered, status.next_offset), (90, 10, 200));
        assert_eq!((status.pending_messages, status.backlog_bytes), (0, 0));
    }
    assert_eq!((rows.all_offsets().len(), dead.all_offsets().len()), (90, 10));
    assert!(rows.all_offsets().iter().all(|offset| (100..200).contains(offset)));
    assert_eq!(source.with(|state| state.held), None, "what runs again holds nothing back");
}

#[test]
fn what_is_read_from_somewhere_on_again_and_again_balances() {
    let source = FakeSource::new(100);
    let (rows, dead) = (FakeSink::new("rows"), FakeSink::new("rows_dead"));
    let from = |start| Arc::new(SourceSlice::new(source.clone(), Offset(start), Offset(u64::MAX)));
    for (start, end) in [(40, 100), (110, 120), (120, 130)] {
        // What was appended since is nobody's.
        source.append(start - source.with(|state| state.messages.len() as u64).min(start));
        let config = PipelineConfig { idle_wait: Duration::from_millis(5), ..PipelineConfig::new("main") };
        let transforms =
            FakeTransforms::new("", |offset| if offset % 10 == 0 { Fate::Fail } else { Fate::Write });
        let pipeline =
            Pipeline::start(config, from(start), transforms, spec(), rows.clone(), dead.clone()).unwrap();
        source.append(end - source.with(|state| state.messages.len() as u64).min(end));
        assert!(pipeline.wait_for(Offset(end), Duration::from_secs(60)));
        assert_eq!(pipeline.end(), PipelineState::Stopped);
        let slice = from(start);
        let facts = || SourceFacts::of(slice.as_ref());
        let report = audit(&AuditInput {
            pipeline: "main",
            source: &facts,
            rows: rows.as_ref(),
            dead_letters: dead.as_ref(),
            adopts_new_topic: false,
            since: None,
        });
        assert!(report.balanced, "{report}");
    }
    let mut offsets = [rows.all_offsets(), dead.all_offsets()].concat();
    offsets.sort_unstable();
    assert_eq!(offsets, (40..100).chain(110..130).collect::<Vec<_>>());
}

#[test]
fn a_pipeline_names_the_transforms_that_it_runs() {
    let source = FakeSource::new(10);
    let (rows, dead) = (FakeSink::new("rows"), FakeSink::new("rows_dead"));
    let old: Arc<dyn TransformFactory> = FakeTransforms::new("", |_| Fate::Write);
    let config = PipelineConfig::new("main");
    let pipeline = Pipeline::start(config, source, Arc::clone(&old), spec(), rows, dead).unwrap();
    assert!(Arc::ptr_eq(&pipeline.transforms(), &old));
    let new: Arc<dyn TransformFactory> = FakeTransforms::new("new ", |_| Fate::Write);
    pipeline.swap_transforms(Arc::clone(&new)).unwrap();
    assert!(Arc::ptr_eq(&pipeline.transforms(), &new));
}
