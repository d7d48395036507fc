//! Rows taken out by message: exactly those, with what is put in, in one step, whatever happens meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{TOPIC, all_offsets, eager, open, position, query_number, rows, window};
use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use millrace_disk::sim::SimDisk;
use millrace_lake::LakeTable;
use millrace_model::{Offset, TopicId};
use millrace_pipeline::{Amendment, Commit, Mark, Scan, Sink as _};
use proptest::prelude::*;

fn day(offset: u64) -> Option<i32> {
    (offset % 3 > 0).then_some((offset % 3) as i32)
}

fn amendment(removed: impl IntoIterator<Item = u64>, put_in: std::ops::Range<u64>, number: i64) -> Amendment {
    let rows = if put_in.is_empty() { Vec::new() } else { vec![rows(put_in, day)] };
    let marks = vec![Mark { app_id: "test/amended".to_owned(), version: number }];
    Amendment {
        topic: TOPIC,
        removed: removed.into_iter().map(Offset).collect(),
        commit: Commit { rows, marks },
    }
}

fn amended(table: &LakeTable) -> i64 {
    table.marks().unwrap().get("test/amended").copied().unwrap_or(0)
}

/// What a scan of a range gives: offset and name, in order.
fn scanned(table: &LakeTable, start: u64, end: u64, columns: &[&str]) -> Vec<(i64, Option<String>)> {
    let mut found = Vec::new();
    let scan = Scan { topic: TOPIC, start: Offset(start), end: Offset(end), columns };
    table
        .scan(&scan, &mut |rows| {
            let offsets = rows["_offset"].as_primitive::<Int64Type>();
            let names = rows.column_by_name("name").map(|column| column.as_string::<i32>());
            for row in 0..rows.num_rows() {
                found.push((offsets.value(row), names.map(|names| names.value(row).to_owned())));
            }
            true
        })
        .unwrap();
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Scenario: windows, compactions and amendments in any order.
    /// Guarantees: the table holds what a set would hold, by offsets, by query, by scan, after opening again.
    #[test]
    fn a_table_is_the_set_of_what_was_put_in_and_not_taken_out(
        steps in prop::collection::vec((0_u8..4, prop::collection::btree_set(0_u64..90, 0..20), 0_u64..6), 1..12),
    ) {
        let disk = SimDisk::new(1);
        let (lake, table) = open(eager(Arc::new(disk.process())));
        let mut wanted = BTreeSet::new();
        let (mut next, mut number) = (0, 0);
        for (kind, removed, count) in steps {
            match kind {
                0 | 1 => {
                    table.commit(&window(next..next + 10, day)).unwrap();
                    wanted.extend(next..next + 10);
                    next += 10;
                }
                2 => {
                    number += 1;
                    // What is put in may be of messages that are taken out.
                    let again: Vec<_> = removed.iter().copied().filter(|offset| wanted.contains(offset)).collect();
                    let put_in = next..next + count;
                    table.amend(&amendment(removed.iter().copied(), put_in.clone(), number)).unwrap();
                    wanted.retain(|offset| !again.contains(offset));
                    wanted.extend(put_in);
                    next += count;
                }
                _ => drop(table.maintain_now().unwrap()),
            }
            let expected: Vec<_> = wanted.iter().copied().collect();
            prop_assert_eq!(all_offsets(&table), expected);
            prop_assert_eq!(amended(&table), number);
        }
        drop((lake, table));
        disk.crash();
        let (_lake, table) = open(eager(Arc::new(disk.process())));
        let expected: Vec<_> = wanted.iter().copied().collect();
        prop_assert_eq!(all_offsets(&table), expected);
        prop_assert_eq!(query_number(&table, "select count(*) from events"), wanted.len() as i64);
        let shared = wanted.iter().filter(|offset| day(**offset).is_none()).count() as i64;
        prop_assert_eq!(query_number(&table, "select count(*) from events where _event_day is null"), shared);
        let names = wanted.iter().map(|offset| (*offset as i64, Some(format!("row {offset}")))).collect::<Vec<_>>();
        prop_assert_eq!(scanned(&table, 0, u64::MAX, &[]), names);
    }
}

#[test]
fn a_scan_gives_the_rows_and_columns_that_were_asked_for() {
    let (_lake, table) = open(eager(Arc::new(SimDisk::new(1).process())));
    table.commit(&window(0..20, day)).unwrap();
    table.commit(&window(20..40, day)).unwrap();
    let some = scanned(&table, 15, 25, &["_offset"]);
    assert_eq!(some, (15..25).map(|offset| (offset, None)).collect::<Vec<_>>());
    assert_eq!(scanned(&table, 39, 99, &["name"]), [(39, Some("row 39".to_owned()))]);
    let mut pieces = 0;
    let scan = Scan { topic: TOPIC, start: Offset(0), end: Offset(99), columns: &[] };
    table
        .scan(&scan, &mut |rows| {
            pieces += rows.num_rows();
            false
        })
        .unwrap();
    assert!((1..40).contains(&pieces));
    let other = Scan { topic: TopicId([8; 16]), ..scan };
    table.scan(&other, &mut |_| panic!("another topic's rows")).unwrap();
}

#[test]
fn a_file_without_rows_left_goes_and_one_without_such_rows_stays() {
    let (_lake, table) = open(eager(Arc::new(SimDisk::new(1).process())));
    table.commit(&window(0..10, |_| Some(1))).unwrap();
    table.commit(&window(10..20, |_| Some(1))).unwrap();
    table.amend(&amendment(0..10, 0..0, 1)).unwrap();
    assert_eq!((table.stats().files, table.stats().rows), (1, 10));
    let version = table.stats().version;
    table.amend(&amendment([3, 99], 0..0, 2)).unwrap();
    assert_eq!((table.stats().files, table.stats().version, amended(&table)), (1, version + 1, 2));
    assert_eq!(position(&table), 20);
}

/// Scenario: at every single disk operation of an amendment, the process dies or the power goes.
/// Guarantees: rows, removals and marks are there together or not at all; both outcomes occur.
#[test]
fn an_amendment_interrupted_anywhere_is_whole_or_absent() {
    let step = || amendment([1, 4, 5, 11], 15..18, 1);
    let operations = {
        let disk = SimDisk::new(0);
        let (_lake, table) = open(eager(Arc::new(disk.process())));
        table.commit(&window(0..15, day)).unwrap();
        let before = disk.operations();
        table.amend(&step()).unwrap();
        disk.operations() - before
    };
    let after: Vec<u64> = (0..18).filter(|offset| ![1, 4, 5, 11].contains(offset)).collect();
    let (mut whole, mut absent) = (0, 0);
    for (seed, stop) in (0..=operations).flat_map(|stop| [(stop, stop), (stop + 1000, stop)]) {
        let disk = SimDisk::new(seed);
        let (lake, table) = open(eager(Arc::new(disk.process())));
        table.commit(&window(0..15, day)).unwrap();
        disk.halt_after(stop);
        let answered = table.amend(&step()).is_ok();
        if seed % 2 == 0 {
            disk.crash()
        } else {
            disk.kill()
        }
        drop((lake, table));
        let (_lake, table) = open(eager(Arc::new(disk.process())));
        let found = all_offsets(&table);
        if amended(&table) == 1 {
            assert_eq!(found, after, "stopped at {stop}");
            whole += 1;
        } else {
            assert!(!answered, "stopped at {stop}");
            assert_eq!(found, (0..15).collect::<Vec<_>>(), "stopped at {stop}");
            absent += 1;
            table.amend(&step()).unwrap();
            assert_eq!(all_offsets(&table), after);
        }
    }
    assert!(whole > 0 && absent > 0, "{whole} whole, {absent} absent");
}

/// Scenario: compaction at work beside windows and amendments.
/// Guarantees: no row is lost or comes back.
#[test]
fn amendments_and_compaction_do_not_undo_each_other() {
    let (_lake, table) = open(eager(Arc::new(SimDisk::new(5).process())));
    let done = AtomicBool::new(false);
    let wanted = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // One that an amendment was faster than says so and is made again.
                let _ = table.maintain_now();
            }
        });
        let mut wanted = BTreeSet::new();
        for turn in 0..40_u64 {
            table.commit(&window(turn * 6..turn * 6 + 6, day)).unwrap();
            wanted.extend(turn * 6..turn * 6 + 6);
            let removed: Vec<_> = wanted.iter().copied().filter(|offset| offset % 7 == turn % 7).collect();
            table.amend(&amendment(removed.iter().copied(), 0..0, turn as i64)).unwrap();
            wanted.retain(|offset| !removed.contains(offset));
        }
        done.store(true, Ordering::Relaxed);
        wanted
    });
    assert_eq!(all_offsets(&table), wanted.into_iter().collect::<Vec<_>>());
}
