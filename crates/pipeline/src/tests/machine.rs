//! The state machine: whatever happens in whatever order, each message ends in exactly one place.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, Fault};
use crate::folder::{Folder, Limits};
use crate::tests::{placed, run_audit};
use crate::trouble::Trouble;

/// What a version of the UDF does with a message: another thing for each version, always the same.
fn fate(version: u64, offset: u64) -> Fate {
    let mixed = (version * 1_000_003 + offset).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
    match mixed {
        0..=6 => Fate::Write,
        7..=9 => Fate::Filter,
        10..=14 => Fate::Fail,
        _ => Fate::Panic,
    }
}

#[derive(Debug, Clone)]
enum Act {
    Append(u64),
    Step,
    /// The process dies; the next one runs the next version of the UDF with these limits.
    Crash(Limits),
    /// The next commits to the rows or the dead letters.
    Faults {
        rows: bool,
        faults: Vec<Fault>,
    },
    /// The rows table refuses every n-th message from now on.
    Refuse(u64),
    /// Retention removes up to this many messages, folded or not.
    Expire(u64),
    FailReads(u32),
    Audit,
}

fn limits() -> impl Strategy<Value = Limits> {
    (1usize..6, 1usize..14, 4usize..60, 1usize..4).prop_map(|(chunk, rows, bytes, chunks_by_age)| Limits {
        chunk: chunk.min(rows),
        rows,
        bytes,
        chunks_by_age,
    })
}

fn act() -> impl Strategy<Value = Act> {
    let fault = prop_oneof![
        3 => Just(Fault::Works),
        2 => Just(Fault::FailsBefore),
        3 => Just(Fault::ReplyLost),
        1 => Just(Fault::Breaks),
        2 => Just(Fault::HappensAndBreaks),
    ];
    prop_oneof![
        3 => (1u64..20).prop_map(Act::Append),
        8 => Just(Act::Step),
        3 => limits().prop_map(Act::Crash),
        4 => (any::<bool>(), prop::collection::vec(fault, 1..4)).prop_map(|(rows, faults)| Act::Faults { rows, faults }),
        1 => (2u64..6).prop_map(Act::Refuse),
        1 => (1u64..8).prop_map(Act::Expire),
        1 => (1u32..3).prop_map(Act::FailReads),
        1 => Just(Act::Audit),
    ]
}

struct World {
    source: Arc<FakeSource>,
    rows: Arc<FakeSink>,
    dead: Arc<FakeSink>,
    version: u64,
    limits: Limits,
    folder: Folder,
    /// What was in the dead-letter table at any crash: final, whatever later versions say.
    final_dead: BTreeSet<u64>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let (source, rows, dead) = (FakeSource::new(0), FakeSink::new("rows"), FakeSink::new("rows_dead"));
        let folder = start(&source, &rows, &dead, 0, limits);
        Self { source, rows, dead, version: 0, limits, folder, final_dead: BTreeSet::new() }
    }

    fn crash(&mut self) {
        self.version += 1;
        self.final_dead.extend(self.dead.all_offsets());
        self.folder = start(&self.source, &self.rows, &self.dead, self.version, self.limits);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Append(count) => self.source.append(count),
            Act::Step => self.step(),
            Act::Crash(limits) => {
                self.limits = limits;
                self.crash();
            }
            Act::Faults { rows, faults } => {
                let sink = if rows { &self.rows } else { &self.dead };
                sink.with(|state| state.faults = faults.into());
            }
            Act::Refuse(nth) => {
                self.rows
                    .with(|state| state.refused = (0..1000).filter(|offset| offset % nth == 0).collect());
            }
            Act::Expire(count) => self.source.with(|state| {
                state.start = (state.start + count).min(state.messages.len() as u64);
            }),
            Act::FailReads(count) => self.source.with(|state| state.reads_to_fail = count),
            Act::Audit => {
                self.source.with(|state| state.reads_to_fail = 0);
                let report = run_audit(&self.source, &self.rows, &self.dead);
                assert!(report.balanced, "{report}");
                assert!(report.versions.iter().all(|version| version.udf != "not counted"), "{report}");
            }
        }
    }

    /// One try; a table that breaks takes the process with it.
    fn step(&mut self) {
        match self.folder.step() {
            Ok(_) | Err(Trouble::Retry(_)) => {}
            Err(Trouble::Broken(reason)) => {
                assert!(reason.contains("injected"), "{reason}");
                self.crash();
            }
        }
    }

    fn finish(&mut self) {
        for sink in [&self.rows, &self.dead] {
            sink.with(|state| state.faults.clear());
        }
        self.source.with(|state| state.reads_to_fail = 0);
        while self.folder.step().unwrap() {}
    }

    fn check(&self) {
        let (rows, dead) = placed(&self.source, &self.rows, &self.dead);
        let ledger = self.folder.ledger();
        let end = self.source.with(|state| state.messages.len() as u64);
        assert_eq!(ledger.next_offset.0, end);
        assert_eq!((ledger.written, ledger.dead_lettered), (rows.len() as u64, dead.len() as u64));
        // Nothing is anywhere without a version that put it there, and nothing is nowhere without one
        // that left it out or retention.
        let some_version = |offset, wanted: &[Fate]| {
            (0..=self.version).any(|version| wanted.contains(&fate(version, offset)))
        };
        let start = self.source.with(|state| state.start);
        for offset in 0..end {
            if rows.contains(&offset) {
                assert!(some_version(offset, &[Fate::Write]), "row {offset}");
                assert!(!self.final_dead.contains(&offset));
            } else if dead.contains(&offset) {
                let refused = self.rows.with(|state| !state.refused.is_empty());
                assert!(refused || some_version(offset, &[Fate::Fail, Fate::Panic]), "dead {offset}");
            } else {
                assert!(offset < start || some_version(offset, &[Fate::Filter]), "nowhere {offset}");
            }
        }
        assert!(self.final_dead.iter().all(|offset| dead.contains(offset)));
        let report = run_audit(&self.source, &self.rows, &self.dead);
        assert!(report.balanced && report.totals.pending == 0, "{report}");
    }
}

fn start(
    source: &Arc<FakeSource>,
    rows: &Arc<FakeSink>,
    dead: &Arc<FakeSink>,
    version: u64,
    limits: Limits,
) -> Folder {
    let transforms = FakeTransforms::new("", move |offset| fate(version, offset));
    Folder::start(source, rows, dead, transforms, limits).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn each_message_ends_in_exactly_one_place(first in limits(), acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new(first);
        world.source.append(10);
        acts.into_iter().for_each(|act| world.act(act));
        world.finish();
        world.check();
    }
}
