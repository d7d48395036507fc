//! Trials over a topic in memory.

use std::sync::Arc;
use std::time::Duration;

use millrace_model::TransformFactory;

use super::*;
use crate::fakes::{FakeSource, FakeTransforms, Fate, spec};

fn version(
    prefix: &'static str,
    judge: impl Fn(u64) -> Fate + Send + Sync + 'static,
) -> Arc<dyn TransformFactory> {
    FakeTransforms::new(prefix, judge)
}

fn tried(
    source: &FakeSource,
    old: &Arc<dyn TransformFactory>,
    new: &Arc<dyn TransformFactory>,
    policy: &TrialPolicy,
) -> TrialReport {
    trial(source, &spec(), old, new, policy, &|| false).unwrap()
}

#[test]
fn the_same_version_makes_no_difference_over_the_newest_messages() {
    let source = FakeSource::new(2500);
    let thirds = |offset| [Fate::Write, Fate::Filter, Fate::Fail][usize::try_from(offset % 3).unwrap()];
    let old = version("", thirds);
    let report = tried(&source, &old, &old, &TrialPolicy::default());
    let found = &report.comparison;
    assert!(found.is_same() && found.samples.is_empty() && found.changes.is_empty(), "{report:?}");
    assert_eq!((report.start, report.end, found.messages), (1500, 2500, 1000));
    assert_eq!(found.old.rows + found.old.filtered + found.old.failed, 1000);
    assert_eq!(judge(found, &TrialPolicy::default()), Ok(()));
}

#[test]
fn every_kind_of_change_is_counted_and_sampled_with_its_columns() {
    let source = FakeSource::new(100);
    let old = version("", |offset| if offset % 10 == 0 { Fate::Filter } else { Fate::Write });
    let new = version("new ", |offset| match offset % 10 {
        1 => Fate::Fail,
        2 => Fate::Filter,
        3 => Fate::Panic,
        _ => Fate::Write,
    });
    let found = tried(&source, &old, &new, &TrialPolicy::default()).comparison;
    assert_eq!((found.messages, found.same, found.changed_rows), (100, 0, 60));
    assert_eq!(found.new, Fates { rows: 70, filtered: 10, failed: 20 });
    let changes: Vec<_> = found.changes.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    let expected = [
        ("filtered -> row", 10),
        ("row -> failed: udf_threw", 20),
        ("row -> filtered", 10),
        ("row -> row", 60),
    ];
    assert_eq!(changes, expected);
    assert_eq!(found.columns.get("id"), Some(&60));
    assert_eq!(found.samples.len() as u64 + found.samples_left_out, 100);
    assert!(found.samples.len() <= SAMPLES_MAX);
    let row = found.samples.iter().find(|sample| sample.offset == 4).unwrap();
    let change =
        ColumnChange { column: "id".to_owned(), old: Some("m4".to_owned()), new: Some("new m4".to_owned()) };
    assert_eq!(row.columns, [change]);
    let failed = found.samples.iter().find(|sample| sample.offset == 1).unwrap();
    assert_eq!((failed.new.as_str(), failed.new_error.as_deref()), ("failed: udf_threw", Some("no")));
    let panicked = found.samples.iter().find(|sample| sample.offset == 3).unwrap();
    assert!(panicked.new_error.as_ref().is_some_and(|error| error.contains("panicked")), "{panicked:?}");
}

#[test]
fn one_failure_more_is_refused_unless_it_is_tolerated() {
    let source = FakeSource::new(1000);
    let old = version("", |offset| if offset == 5 { Fate::Fail } else { Fate::Write });
    let strict = TrialPolicy::default();
    let tolerant = TrialPolicy { error_rate_rise_max: 0.01, ..strict };
    for (failures, at_once, tolerated) in
        [(0, true, true), (1, true, true), (2, false, true), (50, false, false)]
    {
        let new = version("", move |offset| if offset < failures { Fate::Fail } else { Fate::Write });
        let found = tried(&source, &old, &new, &strict).comparison;
        assert_eq!(judge(&found, &strict).is_ok(), at_once, "{failures}");
        let found = tried(&source, &old, &new, &tolerant).comparison;
        assert_eq!(judge(&found, &tolerant).is_ok(), tolerated, "{failures}");
    }
}

#[test]
fn a_hopeless_version_is_not_shown_everything_and_time_is_bounded() {
    let source = FakeSource::new(1000);
    let (old, new) = (version("", |_| Fate::Write), version("", |_| Fate::Fail));
    let policy = TrialPolicy::default();
    let report = tried(&source, &old, &new, &policy);
    assert!(report.cut_short && report.comparison.messages < 100, "{report:?}");
    assert!(matches!(judge(&report.comparison, &policy), Err(Refusal::ErrorRate { .. })));
    let report = tried(&source, &old, &old, &TrialPolicy { time_max: Duration::ZERO, ..policy });
    assert!(report.cut_short && report.comparison.messages == 0);
}

#[test]
fn bytes_and_gaps_and_an_empty_topic() {
    let source = FakeSource::new(1000);
    let old = version("", |_| Fate::Write);
    // Messages of four bytes.
    let few = TrialPolicy { bytes_max: 40, ..TrialPolicy::default() };
    assert_eq!(tried(&source, &old, &old, &few).comparison.messages, 10);
    let one = TrialPolicy { bytes_max: 1, ..few };
    assert_eq!(tried(&source, &old, &old, &one).comparison.messages, 1);
    let none = TrialPolicy { messages_max: 0, ..few };
    assert_eq!(tried(&source, &old, &old, &none).comparison.messages, 0);
    source.with(|state| (state.start, state.lost) = (990, [995].into()));
    assert_eq!(tried(&source, &old, &old, &TrialPolicy::default()).comparison.messages, 9);
    assert_eq!(tried(&FakeSource::new(0), &old, &old, &few).comparison.messages, 0);
    source.with(|state| state.corrupt_at = Some(990));
    let error = trial(source.as_ref(), &spec(), &old, &old, &TrialPolicy::default(), &|| false).unwrap_err();
    assert!(matches!(error, Refusal::NotTried(ref reason) if reason.contains("damaged")), "{error}");
}

#[test]
fn a_version_that_gives_no_transform_is_refused() {
    struct Broken;
    impl TransformFactory for Broken {
        fn create(&self) -> Result<Box<dyn millrace_model::Transform>, String> {
            Err("out of memory".to_owned())
        }

        fn udf_hash(&self) -> Option<millrace_model::UdfHash> {
            None
        }
    }
    let source = FakeSource::new(10);
    let (good, broken): (_, Arc<dyn TransformFactory>) = (version("", |_| Fate::Write), Arc::new(Broken));
    let refused = trial(source.as_ref(), &spec(), &good, &broken, &TrialPolicy::default(), &|| false);
    assert_eq!(refused, Err(Refusal::NotLoaded("out of memory".to_owned())));
}

#[test]
fn a_trial_is_stopped_between_two_messages_and_then_says_nothing() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let source = FakeSource::new(100);
    let shown = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&shown);
    let new = version("new ", move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Fate::Fail
    });
    let old = version("", |_| Fate::Write);
    let stop = || shown.load(Ordering::SeqCst) >= 3;
    let stopped = trial(source.as_ref(), &spec(), &old, &new, &TrialPolicy::default(), &stop);
    assert_eq!(stopped, Err(Refusal::Interrupted));
    assert_eq!(shown.load(Ordering::SeqCst), 3);
}

#[test]
fn each_kind_of_change_has_its_samples_also_when_it_comes_late() {
    let source = FakeSource::new(64);
    let old = version("", |_| Fate::Write);
    let early = tried(&source, &old, &version("new ", |_| Fate::Write), &TrialPolicy::default());
    let late = tried(&source, &old, &version("", |_| Fate::Fail), &TrialPolicy::default());
    let mut found = early.comparison.clone();
    for _ in 0..5 {
        found.merge(early.comparison.clone());
    }
    found.merge(late.comparison);
    let count = |new: &str| found.samples.iter().filter(|sample| sample.new.starts_with(new)).count();
    assert_eq!((count("row"), count("failed")), (5, 5));
    let differ = found.messages - found.same;
    assert_eq!(found.samples.len() as u64 + found.samples_left_out, differ);
}
