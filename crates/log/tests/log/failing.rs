//! Disks that fail, fill up and die, one fault at a time.

use std::path::Path;
use std::time::Duration;

use millrace_log::{AppendError, Appended};
use millrace_model::{Offset, Source};

use crate::support::{DIRECTORY, ROOT, Rig, append, keyed, message, put, texts};

fn unavailable(result: &Result<Appended, AppendError>) {
    assert!(matches!(result, Err(AppendError::Unavailable { .. })), "{result:?}");
}

/// Scenario: a sync fails; then the power goes at once, or the process dies first and the power goes
/// after the restart, or work goes on and then the power goes. Over many seeds.
/// Guarantees: the producer hears of it, nobody sees the message before it is durable, and what was
/// acknowledged or shown is still there in the end.
#[test]
fn a_failed_sync_loses_nothing_that_was_promised() {
    for seed in 0..60 {
        let rig = Rig::new(seed);
        let (log, topic) = rig.open_topic();
        put(&topic, "first");
        rig.disk.fail_next_syncs(1);
        unavailable(&append(&topic, vec![message("unsure")]));
        assert_eq!(texts(&topic), ["first"]);
        let mut shown = vec!["first".to_owned()];
        if seed % 3 == 0 {
            rig.disk.kill();
            let (_log, reopened) = rig.open_topic();
            shown = texts(&reopened);
        } else if seed % 3 == 1 {
            put(&topic, "second");
            shown = texts(&topic);
            assert_eq!(shown, ["first", "second"]);
        }
        rig.disk.crash();
        drop(log);
        let (_log, topic) = rig.open_topic();
        let after = texts(&topic);
        assert!(after.starts_with(&shown), "seed {seed}: {after:?} lost some of {shown:?}");
        assert!(after.len() <= 2);
    }
}

/// Scenario: the sync fails, and goes on failing while the topic is being repaired.
/// Guarantees: producers are refused meanwhile with the reason; afterwards the topic goes back to work
/// by itself, and the failures and the repair are counted.
#[test]
fn a_topic_comes_back_by_itself() {
    let mut rig = Rig::new(21);
    rig.config.repair_backoff_min = Duration::from_millis(1);
    rig.config.repair_backoff_max = Duration::from_millis(2);
    let (log, topic) = rig.open_topic();
    put(&topic, "a");
    rig.disk.fail_next_syncs(4);
    unavailable(&append(&topic, vec![message("b")]));
    assert!(topic.failure().unwrap().contains("sync"), "{:?}", topic.failure());
    // No append comes: the writer tries again on its own.
    for _ in 0..60_000 {
        if topic.failure().is_none() {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    put(&topic, "c");
    assert_eq!(texts(&topic), ["a", "c"]);
    let activity = topic.stats().activity;
    assert_eq!((activity.failures_total, activity.repairs_total), (4, 1));
    drop(log);
}

/// Scenario: the disk is full, first in the middle of a frame, then when a segment is begun; then there
/// is room.
/// Guarantees: producers are refused, what is stored stays readable, the partial frame is cut, and work
/// goes on without anyone's help.
#[test]
fn a_full_disk_refuses_and_recovers() {
    for free in [0, 10, 200, 700, 1500, 1900] {
        let rig = Rig::new(22);
        let (log, topic) = rig.open_topic();
        let data = "d".repeat(300);
        put(&topic, &data);
        rig.disk.set_free_bytes(Some(free));
        let mut stored = 1;
        for _ in 0..12 {
            match append(&topic, vec![message(&data)]) {
                Ok(_) => stored += 1,
                refused => unavailable(&refused),
            }
        }
        assert!(stored < 13, "the disk was never full");
        assert_eq!(texts(&topic).len(), stored);
        rig.disk.set_free_bytes(None);
        for _ in 0..8 {
            put(&topic, &data);
        }
        assert_eq!(topic.bounds().end, Offset(stored as u64 + 8));
        drop(log);
        rig.disk.crash();
        let (_log, topic) = rig.open_topic();
        assert_eq!(texts(&topic).len(), stored + 8);
    }
}

/// Scenario: the process stops at every single operation of a workload that rolls segments, and the
/// power goes or not; the topic is created in it as well. Then the producer sends everything again.
/// Guarantees: the log opens every time, every acknowledged message is there, in order, and after the
/// retries every message is there exactly once: no key outlives its message, none is forgotten.
#[test]
fn stopping_anywhere_is_safe() {
    let mut stopped = 0;
    for at in 1..400 {
        let rig = Rig::new(at);
        rig.disk.create_dir_all_for_tests();
        rig.disk.halt_after(at);
        let all: Vec<_> = (0..40_u8).map(|number| (number, format!("{number:0150}"))).collect();
        let mut acked = 0;
        let finished = (|| -> Option<()> {
            let process = std::sync::Arc::new(rig.disk.process());
            let log = millrace_log::Log::open(process, Path::new(ROOT), rig.config.clone()).ok()?;
            let topic = log.create_topic("events", rig.topic_config.clone()).ok()?;
            for (number, data) in &all {
                append(&topic, vec![keyed(*number, data)]).ok()?;
                acked += 1;
            }
            Some(())
        })();
        stopped += u32::from(finished.is_none());
        if at % 2 == 0 {
            rig.disk.crash()
        } else {
            rig.disk.kill()
        }
        let (_log, topic) = rig.open_topic();
        assert_eq!(topic.failure(), None, "stopped at {at}");
        let there = texts(&topic).len();
        assert!((acked..=acked + 1).contains(&there), "stopped at {at}: {there} of {acked}");
        for (number, data) in &all {
            assert_eq!(
                append(&topic, vec![keyed(*number, data)]).unwrap().offsets,
                [Offset(u64::from(*number))]
            );
        }
        let wanted: Vec<_> = all.into_iter().map(|(_, data)| data).collect();
        assert_eq!(texts(&topic), wanted, "stopped at {at}");
    }
    assert!(stopped > 100, "{stopped}");
}

/// Scenario: every sync and directory sync fails while the log is being opened.
/// Guarantees: it opens, the topic says what is wrong, and it works once the disk does.
#[test]
fn opening_on_a_failing_disk() {
    let rig = Rig::new(23);
    {
        let (_log, topic) = rig.open_topic();
        put(&topic, "a");
    }
    rig.disk.fail_next_syncs(1);
    let log = rig.open();
    let topic = log.topic("events").unwrap();
    assert!(topic.failure().is_some());
    topic.read(Offset(0), crate::support::ALL).unwrap_err();
    log.maintain(rig.now()).unwrap();
    assert_eq!(topic.failure(), None);
    put(&topic, "b");
    assert_eq!(texts(&topic), ["a", "b"]);
    assert!(rig.disk.entry_exists(Path::new(DIRECTORY)));
}

/// Small words for the disk that only these tests need.
trait Words {
    fn create_dir_all_for_tests(&self);
    fn entry_exists(&self, path: &Path) -> bool;
}

impl Words for millrace_disk::sim::SimDisk {
    fn create_dir_all_for_tests(&self) {
        millrace_disk::Disk::create_dir_all(self, Path::new(ROOT)).unwrap();
    }

    fn entry_exists(&self, path: &Path) -> bool {
        millrace_disk::Disk::entry(self, path).unwrap().is_some()
    }
}
