//! What is kept, what goes, and who pays when there is no room.

use std::sync::Arc;
use std::time::Duration;

use millrace_log::{AppendError, CursorConfig, CursorStart, CursorState, Topic, TopicConfig};
use millrace_model::{Offset, Source, SourceError};

use crate::support::{ALL, Rig, append, message, put, read_all};

const HOUR: Duration = Duration::from_secs(3600);

fn rig(seed: u64) -> Rig {
    let mut rig = Rig::new(seed);
    rig.config.queue_bytes_max = 100_000;
    rig.topic_config = TopicConfig {
        bytes_max: 10_000,
        retention_age: 24 * HOUR,
        folded_bytes_max: 6_000,
        ..TopicConfig::default()
    };
    rig
}

/// Appends until refused; answers how many were taken.
fn fill(topic: &Arc<Topic>) -> u64 {
    let data = "f".repeat(400);
    for count in 0..1000 {
        match append(topic, vec![message(&data)]) {
            Ok(_) => {}
            Err(AppendError::Backpressure { backlog_bytes, retry_after, .. }) => {
                assert!((9_000..=10_000).contains(&backlog_bytes) && !retry_after.is_zero());
                return count;
            }
            Err(other) => panic!("{other}"),
        }
    }
    1000
}

/// Scenario: a pipeline has folded nothing while producers go on; it then folds; restarts lie between.
/// Guarantees: producers are refused rather than an unfolded message removed, also right after a restart
/// when the pipeline has not spoken yet; they go on as soon as it has folded, not an hour later.
#[test]
fn bytes_never_evict_what_is_not_folded() {
    let rig = rig(31);
    let stored = {
        let (log, topic) = rig.open_topic();
        topic.hold("pipeline", Offset(0));
        let stored = fill(&topic);
        assert!(stored > 15);
        log.maintain(rig.now()).unwrap();
        assert_eq!(topic.bounds().start, Offset(0));
        stored
    };
    let (log, topic) = rig.open_topic();
    assert_eq!(topic.holds(), [("pipeline".to_owned(), Offset(0))]);
    assert_eq!(fill(&topic), 0);
    log.maintain(rig.now()).unwrap();
    assert_eq!((topic.bounds().start, read_all(&topic).len() as u64), (Offset(0), stored));
    topic.hold("pipeline", Offset(stored / 2));
    assert!(fill(&topic) > stored / 4);
    topic.release_hold("pipeline").unwrap();
    assert_eq!(fill(&topic), 1000);
}

/// Scenario: everything is folded at once and more comes; an hour passes.
/// Guarantees: folded segments stay for an hour, except for what is over their own limit, which is
/// counted; then they go as far as the budget asks; none of it counts as expired; the start survives a
/// crash and the files are gone.
#[test]
fn folded_segments_stay_for_an_hour() {
    let mut rig = rig(32);
    rig.topic_config.folded_bytes_max = 14_000;
    let (log, topic) = rig.open_topic();
    for _ in 0..22 {
        put(&topic, &"f".repeat(400));
        topic.hold("pipeline", topic.bounds().end);
    }
    let before = topic.stats();
    assert!(before.bytes > 10_000, "{}", before.bytes);
    assert_eq!((before.start, before.activity.folded_removed_early_total), (Offset(0), 0));
    log.maintain(rig.now()).unwrap();
    for _ in 0..22 {
        put(&topic, &"f".repeat(400));
        topic.hold("pipeline", topic.bounds().end);
    }
    let full = topic.stats();
    assert!(full.bytes <= 14_000 + 2_048 && full.bytes > 12_000, "{}", full.bytes);
    assert!(full.activity.folded_removed_early_total > 0);
    rig.pass(HOUR);
    let maintained = log.maintain(rig.now()).unwrap();
    assert!(maintained.segments_removed > 0 && maintained.messages_expired == 0);
    let after = topic.stats();
    assert!(after.bytes <= 10_000 && after.bytes > 7_000, "{}", after.bytes);
    assert_eq!(after.expired_total, 0);
    rig.disk.crash();
    let (_log, topic) = rig.open_topic();
    assert_eq!((topic.bounds().start, topic.stats().segments), (after.start, after.segments));
    assert_eq!(rig.files(".log").len() as u64, after.segments);
    assert_eq!(rig.files(".index").len() as u64, after.segments - 1);
    let early = topic.read(Offset(0), ALL);
    assert!(matches!(early, Err(SourceError::Expired { start, .. }) if start == after.start));
}

/// Scenario: messages grow old, some folded, some not; also in the newest segment of a quiet topic.
/// Guarantees: age removes them whoever holds them, exactly the unfolded ones count as expired, and the
/// count and start survive a crash.
#[test]
fn age_removes_and_counts() {
    let rig = rig(33);
    let (log, topic) = rig.open_topic();
    for _ in 0..10 {
        put(&topic, &"o".repeat(400));
    }
    topic.hold("fast", Offset(10));
    topic.hold("slow", Offset(7));
    // The newest segment is sealed because its first message is old, then all is too old.
    rig.pass(4 * HOUR);
    assert_eq!(log.maintain(rig.now()).unwrap().segments_removed, 0);
    rig.pass(21 * HOUR);
    put(&topic, "young");
    let maintained = log.maintain(rig.now()).unwrap();
    assert_eq!((maintained.messages_expired, topic.bounds().start), (3, Offset(10)));
    rig.disk.crash();
    let (_log, topic) = rig.open_topic();
    let stats = topic.stats();
    assert_eq!((stats.start, stats.end, stats.expired_total, stats.segments), (Offset(10), Offset(11), 3, 1));
    assert_eq!(put(&topic, "next"), Offset(11));
}

/// Scenario: nobody holds a topic, and it grows beyond its budget.
/// Guarantees: it never refuses, keeps its size, and counts what went as expired.
#[test]
fn a_topic_that_nobody_holds_keeps_its_size() {
    let rig = rig(34);
    let (_log, topic) = rig.open_topic();
    assert_eq!(fill(&topic), 1000);
    let stats = topic.stats();
    assert!(stats.bytes <= 10_000 + 2_048, "{}", stats.bytes);
    assert_eq!(stats.expired_total, stats.start.0);
    assert_eq!(rig.files(".log").len() as u64, stats.segments);
}

/// Scenario: a forgotten cursor beside a working pipeline, and one that nobody uses for a month.
/// Guarantees: neither stops ingest: one is detached when it holds back more than its budget, the
/// other expires; both are counted and stay so across restarts, and seeking brings them back.
#[test]
fn forgotten_cursors_let_go() {
    let mut rig = rig(35);
    rig.topic_config.retention_age = 90 * 24 * HOUR;
    {
        let (log, topic) = rig.open_topic();
        let greedy = CursorConfig { backlog_bytes_max: u64::MAX, ..CursorConfig::default() };
        let small = CursorConfig { backlog_bytes_max: 3_000, ..CursorConfig::default() };
        let greedy = topic.create_cursor("greedy", CursorStart::Oldest, greedy).unwrap();
        let small = topic.create_cursor("small", CursorStart::Oldest, small).unwrap();
        let idle = topic.create_cursor("idle", CursorStart::Oldest, CursorConfig::default()).unwrap();
        for _ in 0..60 {
            put(&topic, &"c".repeat(400));
            idle.advance(topic.bounds().end).unwrap();
        }
        assert_eq!(greedy.state().unwrap(), CursorState::Detached);
        log.maintain(rig.now()).unwrap();
        assert_eq!(small.state().unwrap(), CursorState::Detached);
        assert_eq!(idle.state().unwrap(), CursorState::Attached);
        small.advance(Offset(60)).unwrap_err();
        rig.pass(32 * 24 * HOUR);
        assert_eq!(log.maintain(rig.now()).unwrap().cursors_expired, 1);
    }
    rig.disk.crash();
    let (_log, topic) = rig.open_topic();
    let states: Vec<_> = topic.cursors().iter().map(|cursor| cursor.state().unwrap()).collect();
    assert_eq!(states, [CursorState::Detached, CursorState::Expired, CursorState::Detached]);
    let stats = topic.stats();
    assert_eq!((stats.cursors_detached_total, stats.cursors_expired_total), (2, 1));
    let small = topic.cursor("small").unwrap();
    small.seek(Offset(0)).unwrap_err();
    small.seek(topic.bounds().start).unwrap();
    assert_eq!(small.state().unwrap(), CursorState::Attached);
}
