//! Tests of the parts put together.

mod beside;
mod fold;
mod machine;
mod metered;
mod parts;
mod threads;

use std::collections::{BTreeMap, BTreeSet};

use crate::fakes::{FakeSink, FakeSource};
use crate::{AuditInput, AuditReport, SourceFacts, audit};

pub(crate) fn run_audit(source: &FakeSource, rows: &FakeSink, dead: &FakeSink) -> AuditReport {
    let facts = || SourceFacts::survey(source, millrace_model::Offset::ZERO);
    audit(&AuditInput {
        pipeline: "main",
        source: &facts,
        rows,
        dead_letters: dead,
        adopts_new_topic: false,
        since: None,
    })
}

/// Each message is in one table at most, once, with its own payload; answers where each is.
pub(crate) fn placed(
    source: &FakeSource,
    rows: &FakeSink,
    dead: &FakeSink,
) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let mut seen = BTreeMap::new();
    for (table, sink) in [("rows", rows), ("dead", dead)] {
        for (offset, text) in sink.with(|state| state.rows.clone()) {
            assert_eq!(seen.insert(offset, table), None, "offset {offset} is there twice");
            let payload = source.with(|state| state.messages[usize::try_from(offset).unwrap()].clone());
            assert!(text.as_bytes().ends_with(&payload), "offset {offset} has {text}");
        }
    }
    let of = |table| seen.iter().filter(|(_, at)| **at == table).map(|(&offset, _)| offset).collect();
    (of("rows"), of("dead"))
}
