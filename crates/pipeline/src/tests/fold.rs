//! The cases that DESIGN names, one by one.

use std::sync::Arc;

use millrace_model::Offset;

use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, Fault};
use crate::folder::{Folder, Limits};
use crate::tests::{placed, run_audit};
use crate::trouble::Trouble;
use crate::{Ledger, LedgerKey, NEXT_OFFSET};

const LIMITS: Limits = Limits { chunk: 5, rows: 10, bytes: 1000, chunks_by_age: 100 };

struct Tables {
    source: Arc<FakeSource>,
    rows: Arc<FakeSink>,
    dead: Arc<FakeSink>,
}

impl Tables {
    fn new(messages: u64) -> Self {
        Self {
            source: FakeSource::new(messages),
            rows: FakeSink::new("rows"),
            dead: FakeSink::new("rows_dead"),
        }
    }

    fn start(&self, limits: Limits, judge: impl Fn(u64) -> Fate + Send + Sync + 'static) -> Folder {
        let transforms = FakeTransforms::new("", judge);
        Folder::start(&self.source, &self.rows, &self.dead, transforms, limits).unwrap()
    }

    fn dead_position(&self) -> i64 {
        let app_id = LedgerKey::new("main", "rows_dead", crate::fakes::TOPIC).app_id(NEXT_OFFSET);
        self.dead.with(|state| state.marks[&app_id])
    }
}

fn fail_odd(offset: u64) -> Fate {
    if offset % 2 == 1 { Fate::Fail } else { Fate::Write }
}

fn fail_even(offset: u64) -> Fate {
    fail_odd(offset + 1)
}

#[test]
fn outcomes_that_flip_after_a_crash_between_the_two_commits() {
    let tables = Tables::new(25);
    tables.rows.with(|state| state.faults.push_back(Fault::Breaks));
    let mut folder = tables.start(LIMITS, fail_odd);
    assert!(matches!(folder.step(), Err(Trouble::Broken(_))));
    assert_eq!((tables.dead.all_offsets(), tables.dead_position()), (vec![1, 3, 5, 7, 9], 10));
    assert!(tables.rows.all_offsets().is_empty());

    // The new version fails what the old one wrote. Age would close a window after one chunk.
    let mut folder = tables.start(Limits { rows: 100, chunks_by_age: 1, ..LIMITS }, fail_even);
    assert!(folder.step().unwrap());
    assert_eq!(folder.ledger().next_offset, Offset(10), "the window ends where the dead letters do");
    assert_eq!(tables.dead.all_offsets(), [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]);
    assert_eq!((tables.rows.all_offsets(), tables.dead_position()), (vec![], 10));
    assert_eq!(folder.ledger().dead_lettered, 10);
    while folder.step().unwrap() {}
    let (rows, dead) = placed(&tables.source, &tables.rows, &tables.dead);
    assert_eq!((rows.len(), dead.len()), (7, 18));
    let report = run_audit(&tables.source, &tables.rows, &tables.dead);
    assert!(report.balanced, "{report}");
}

#[test]
fn no_window_reaches_past_the_end_of_the_dead_letters() {
    for chunk in [1, 3, 5, 10] {
        let tables = Tables::new(25);
        tables.rows.with(|state| state.faults.push_back(Fault::Breaks));
        assert!(tables.start(Limits { rows: 5, ..LIMITS }, fail_odd).step().is_err());
        let mut folder = tables.start(Limits { chunk, rows: 100, ..LIMITS }, fail_even);
        assert!(folder.step().unwrap());
        assert_eq!(folder.ledger().next_offset, Offset(5), "chunks of {chunk}");
    }
}

#[test]
fn an_erasure_between_two_windows_is_not_undone() {
    let tables = Tables::new(20);
    let mut folder = tables.start(LIMITS, |_| Fate::Write);
    assert!(folder.step().unwrap());
    let erased = LedgerKey::new("main", "rows", crate::fakes::TOPIC).app_id(crate::ERASED);
    tables.rows.with(|state| {
        state.rows.remove(3);
        state.marks.insert(erased.clone(), 1);
        state.faults.push_back(Fault::ReplyLost);
    });
    assert!(matches!(folder.step(), Err(Trouble::Retry(_))));
    assert!(folder.step().unwrap());
    assert_eq!(tables.rows.with(|state| state.marks[&erased]), 1);
    assert_eq!(folder.ledger().erased, 1);
    let report = run_audit(&tables.source, &tables.rows, &tables.dead);
    assert!(report.balanced, "{report}");
}

#[test]
fn dead_letters_whose_reply_was_lost_are_not_appended_again() {
    let tables = Tables::new(10);
    tables.dead.with(|state| state.faults = [Fault::Works, Fault::ReplyLost].into());
    let mut folder = tables.start(LIMITS, fail_odd);
    assert!(matches!(folder.step(), Err(Trouble::Retry(_))));
    assert_eq!(folder.window_end(), Some(Offset(10)));
    assert!(folder.step().unwrap());
    assert_eq!(tables.dead.all_offsets(), [1, 3, 5, 7, 9]);
    assert_eq!(tables.rows.all_offsets(), [0, 2, 4, 6, 8]);
}

#[test]
fn rows_whose_reply_was_lost_are_not_written_again() {
    let tables = Tables::new(10);
    tables.rows.with(|state| state.faults.push_back(Fault::ReplyLost));
    let mut folder = tables.start(LIMITS, |_| Fate::Write);
    assert!(matches!(folder.step(), Err(Trouble::Retry(_))));
    assert!(folder.step().unwrap());
    assert_eq!(tables.rows.with(|state| state.commits.len()), 1);
    assert_eq!(folder.ledger().written, 10);
}

#[test]
fn refused_rows_become_dead_letters_first() {
    let tables = Tables::new(10);
    tables.rows.with(|state| state.refused = [0, 4, 9].into());
    let mut folder = tables.start(LIMITS, |offset| if offset == 3 { Fate::Fail } else { Fate::Write });
    assert!(folder.step().unwrap());
    assert_eq!(tables.dead.all_offsets(), [3, 0, 4, 9]);
    assert_eq!(tables.rows.all_offsets(), [1, 2, 5, 6, 7, 8]);
    assert_eq!((folder.ledger().written, folder.ledger().dead_lettered), (6, 4));
}

#[test]
fn a_window_without_rows_still_moves() {
    let tables = Tables::new(10);
    let mut folder = tables.start(LIMITS, |_| Fate::Filter);
    assert!(folder.step().unwrap());
    let ledger = Ledger { next_offset: Offset(10), read: 10, filtered: 10, ..Ledger::default() };
    assert_eq!(folder.ledger(), ledger);
    assert_eq!(tables.rows.with(|state| state.commits.clone()), [Vec::<String>::new()]);
    assert!(!folder.step().unwrap(), "an idle topic commits nothing");
}

#[test]
fn another_writer_is_noticed() {
    let tables = Tables::new(20);
    let mut first = tables.start(LIMITS, |_| Fate::Write);
    let mut second = tables.start(LIMITS, |_| Fate::Filter);
    assert!(second.step().unwrap());
    tables.rows.with(|state| state.faults.push_back(Fault::FailsBefore));
    assert!(matches!(first.step(), Err(Trouble::Retry(_))));
    let Err(Trouble::Broken(reason)) = first.step() else { panic!("went on") };
    assert!(reason.contains("another process"), "{reason}");
    assert!(tables.rows.all_offsets().is_empty());
}

#[test]
fn a_message_larger_than_a_window_makes_one_of_its_own() {
    let tables = Tables::new(3);
    tables.source.with(|state| state.messages[1] = vec![b'x'; 5000].into());
    let mut folder = tables.start(LIMITS, |_| Fate::Write);
    while folder.step().unwrap() {}
    let sizes: Vec<usize> = tables.rows.with(|state| state.commits.iter().map(Vec::len).collect());
    assert_eq!(sizes, [1, 1, 1]);
}

#[test]
fn expired_messages_are_counted_and_their_dead_letters_stay_dead_letters() {
    let tables = Tables::new(20);
    tables.rows.with(|state| state.faults.push_back(Fault::Breaks));
    assert!(tables.start(LIMITS, fail_odd).step().is_err());
    tables.source.with(|state| state.start = 6);
    let mut folder = tables.start(LIMITS, |_| Fate::Write);
    while folder.step().unwrap() {}
    // 1, 3 and 5 were dead letters before they expired; 7 and 9 still are.
    let ledger = folder.ledger();
    assert_eq!((ledger.expired, ledger.dead_lettered, ledger.written), (3, 5, 12));
    let report = run_audit(&tables.source, &tables.rows, &tables.dead);
    assert!(report.balanced, "{report}");
}

#[test]
fn a_log_that_lost_its_end_stops_the_pipeline() {
    let tables = Tables::new(20);
    let mut folder = tables.start(LIMITS, |_| Fate::Write);
    while folder.step().unwrap() {}
    tables.source.with(|state| state.messages.truncate(15));
    let Err(Trouble::Broken(reason)) = folder.step() else { panic!("went on") };
    assert!(reason.contains("log verify"), "{reason}");
}
