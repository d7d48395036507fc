use std::path::Path;
use std::sync::Arc;

use millrace_disk::Disk;
use millrace_disk::sim::SimDisk;
use proptest::prelude::*;

use super::*;

const DIRECTORY: &str = "acks";

fn open(disk: &SimDisk) -> Result<(AckLog, Image), AckLogError> {
    AckLog::open(Arc::new(disk.process()), Path::new(DIRECTORY))
}

fn file_bytes(disk: &SimDisk) -> u64 {
    disk.read_dir(Path::new(DIRECTORY)).unwrap().iter().map(|entry| entry.len).sum()
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Uid, Change),
    FailSyncs(u32),
    Halt(u64),
    Crash,
    Reopen,
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0u64..60, 1u64..5).prop_map(|(start, len)| Change::Acked { start, end: start + len }),
        2 => (0u64..60, 1u32..9).prop_map(|(offset, failures)| Change::Failed { offset, failures }),
        1 => (0u64..40).prop_map(|start| Change::Expired { start }),
        1 => (0u64..40, 1u32..5).prop_map(|(at, generation)| {
            Change::Reset(Progress::at(at).with_generation(generation))
        }),
        1 => Just(Change::Removed),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (1u64..4, changes()).prop_map(|(uid, change)| Step::Commit(uid, change)),
        1 => (1u32..3).prop_map(Step::FailSyncs),
        2 => (0u64..12).prop_map(Step::Halt),
        2 => Just(Step::Crash),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Scenario: changes are committed while syncs fail, the process stops in the middle of anything, and
    /// the power goes.
    /// Guarantees: what was answered as durable is there after any restart, in order and whole; of what
    /// was not answered a part may be.
    #[test]
    fn what_was_answered_is_there(seed: u64, steps in prop::collection::vec(steps(), 1..80)) {
        let disk = SimDisk::new(seed);
        let (mut log, _) = open(&disk).unwrap();
        // Images after each commit since the last one that was answered; the first is durable.
        let mut possible = vec![Image::new()];
        for step in steps {
            match step {
                Step::Commit(uid, change) => {
                    let mut image = possible.last().unwrap().clone();
                    file::apply(&mut image, uid, &change);
                    possible.push(image);
                    if log.commit(uid, vec![change]).wait().is_ok() {
                        possible.drain(..possible.len() - 1);
                    }
                }
                Step::FailSyncs(count) => disk.fail_next_syncs(count),
                Step::Halt(operations) => disk.halt_after(operations),
                Step::Crash | Step::Reopen => {
                    if matches!(step, Step::Crash) { disk.crash() } else { disk.kill() }
                    drop(log);
                    let (next, image) = loop {
                        disk.fail_next_syncs(0);
                        match open(&disk) {
                            Ok(opened) => break opened,
                            Err(AckLogError::Io { .. }) => disk.crash(),
                            Err(error) => panic!("{error}"),
                        }
                    };
                    log = next;
                    prop_assert!(possible.contains(&image), "{:?} not in {:?}", image, possible);
                    possible = vec![image];
                }
            }
        }
    }
}

/// Scenario: a million messages are acked, every other one first, in commits of a thousand.
/// Guarantees: the file's size does not follow the number of acks.
#[test]
fn it_does_not_grow_with_acks() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk).unwrap();
    drop(log.commit(7, vec![Change::Reset(Progress::at(0))]));
    for window in 0..500u64 {
        let base = window * 2000;
        let alternate = |first: u64| {
            (0..1000)
                .map(|n| base + first + n * 2)
                .map(|at| Change::Acked { start: at, end: at + 1 })
                .collect()
        };
        log.commit(7, alternate(0)).wait().unwrap();
        log.commit(7, alternate(1)).wait().unwrap();
    }
    assert!(file_bytes(&disk) < 5 << 20, "{} bytes", file_bytes(&disk));
    drop(log);
    let (_, image) = open(&disk).unwrap();
    assert_eq!(image[&7], Progress::at(1_000_000));
}

/// Scenario: a bit of a frame in the middle turns over, and one of the last frame.
/// Guarantees: the first is told as damage that names the file; the second is a torn tail.
#[test]
fn damage_is_named_and_a_torn_tail_is_cut() {
    let build = || {
        let disk = SimDisk::new(3);
        let (log, _) = open(&disk).unwrap();
        for end in 1..=3 {
            log.commit(1, vec![Change::Acked { start: end - 1, end }]).wait().unwrap();
        }
        drop(log);
        let entry = disk.read_dir(Path::new(DIRECTORY)).unwrap().remove(0);
        (disk, Path::new(DIRECTORY).join(entry.name), entry.len)
    };
    let (disk, path, len) = build();
    disk.flip_bit(&path, len - 30).unwrap();
    let error = open(&disk).err().unwrap().to_string();
    assert!(error.contains(".acks is damaged at byte"), "{error}");
    let (disk, path, len) = build();
    disk.flip_bit(&path, len - 1).unwrap();
    assert_eq!(open(&disk).unwrap().1[&1], Progress::at(2));
}
