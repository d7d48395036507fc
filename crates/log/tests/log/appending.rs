//! Appends: order, durability, duplicates, limits.

use std::sync::Arc;
use std::time::Duration;

use millrace_log::{AppendError, TopicConfig};
use millrace_model::limits::MESSAGE_BYTES_MAX;
use millrace_model::{AttributeBlock, Micros, NewMessage, Offset, Source};

use crate::support::{BEGIN, Rig, append, keyed, message, put, read_all, texts};

/// Scenario: messages with everything a message can have, across several frames and segments.
/// Guarantees: offsets are dense from 0, every byte comes back, the answer came after a sync.
#[test]
fn what_goes_in_comes_out() {
    let rig = Rig::new(1);
    let (log, topic) = rig.open_topic();
    let attributes = AttributeBlock::pack([("kind", "emoji 🙂"), ("empty", "")]).unwrap();
    let full = NewMessage {
        data: vec![0, 255, 10].into(),
        attributes: attributes.clone(),
        ordering_key: "key".into(),
        dedup_key: None,
    };
    let large = "x".repeat(5000);
    let syncs = rig.disk.syncs();
    let appended = append(&topic, vec![full, message(""), message(&large), message("last")]).unwrap();
    assert_eq!(appended.offsets, [0, 1, 2, 3].map(Offset));
    assert!(rig.disk.syncs() > syncs);
    assert_eq!(append(&topic, Vec::new()).unwrap().offsets, []);

    let batch = read_all(&topic);
    let first = batch.get(0);
    assert_eq!((first.data, first.ordering_key), (&[0, 255, 10][..], &b"key"[..]));
    assert_eq!(first.attributes.collect::<Vec<_>>(), attributes.iter().collect::<Vec<_>>());
    assert_eq!(first.publish_time, BEGIN);
    assert_eq!(batch.get(2).data, large.as_bytes());
    let stats = topic.stats();
    assert_eq!((stats.start, stats.end, stats.segments), (Offset(0), Offset(4), 3));
    drop(log);
    assert_eq!(
        append(&topic, vec![message("late")]),
        Err(AppendError::Closed { topic: "events".to_owned() })
    );
}

/// Scenario: the clock goes back an hour, and back again after a restart.
/// Guarantees: publish times never go back.
#[test]
fn publish_time_never_goes_back() {
    let rig = Rig::new(2);
    {
        let (_log, topic) = rig.open_topic();
        put(&topic, "a");
        rig.time.store(BEGIN.0 - 3_600_000_000, std::sync::atomic::Ordering::SeqCst);
        put(&topic, "b");
    }
    let (_log, topic) = rig.open_topic();
    put(&topic, "c");
    rig.time.store(BEGIN.0 + 7, std::sync::atomic::Ordering::SeqCst);
    put(&topic, "d");
    let times: Vec<_> = read_all(&topic).iter().map(|message| message.publish_time).collect();
    assert_eq!(times, [BEGIN, BEGIN, BEGIN, Micros(BEGIN.0 + 7)]);
}

/// Scenario: the same key twice in one append, again later, again after a restart, again when the
/// window has passed; and true twins without a key.
/// Guarantees: stored once inside the window and answered with the first copy's offset; counted, and
/// the count survives restarts; stored again behind the window.
#[test]
fn duplicates_are_dropped_inside_the_window() {
    let rig = Rig::new(3);
    {
        let (_log, topic) = rig.open_topic();
        let first = append(&topic, vec![message("x"), keyed(1, "a"), keyed(1, "a"), message("x")]).unwrap();
        assert_eq!((first.offsets, first.duplicates), ([0, 1, 1, 2].map(Offset).to_vec(), 1));
        let again = append(&topic, vec![keyed(1, "a")]).unwrap();
        assert_eq!((again.offsets, again.duplicates), (vec![Offset(1)], 1));
    }
    rig.pass(Duration::from_secs(599));
    rig.disk.crash();
    let (_log, topic) = rig.open_topic();
    assert_eq!(topic.stats().duplicates_total, 2);
    assert_eq!(append(&topic, vec![keyed(1, "a")]).unwrap().offsets, [Offset(1)]);
    rig.pass(Duration::from_secs(2));
    assert_eq!(append(&topic, vec![keyed(1, "a")]).unwrap().offsets, [Offset(3)]);
    assert_eq!(topic.stats().duplicates_total, 3);
    assert_eq!(texts(&topic), ["x", "a", "x", "a"]);
}

/// Scenario: keys spread over many segments, whose index files are good, missing or damaged.
/// Guarantees: a restart remembers all of them.
#[test]
fn the_window_survives_in_sealed_segments() {
    let rig = Rig::new(4);
    {
        let (_log, topic) = rig.open_topic();
        for key in 0..40 {
            append(&topic, vec![keyed(key, &"y".repeat(300))]).unwrap();
        }
    }
    let indexes = rig.files(".index");
    assert!(indexes.len() > 4, "{indexes:?}");
    rig.disk.flip_bit(&std::path::Path::new(crate::support::DIRECTORY).join(&indexes[0]), 60).unwrap();
    let len = rig.file(&indexes[1]).len().unwrap();
    rig.disk.flip_bit(&std::path::Path::new(crate::support::DIRECTORY).join(&indexes[1]), len - 1).unwrap();
    rig.file(&indexes[2]).set_len(100).unwrap();
    let (_log, topic) = rig.open_topic();
    for key in 0..40 {
        assert_eq!(append(&topic, vec![keyed(key, "")]).unwrap().offsets, [Offset(u64::from(key))]);
    }
    assert_eq!(topic.stats().dedup_entries, 40);
}

/// Scenario: a topic without holders removes segments for room while their keys are inside the window;
/// then the power goes; later the window has passed.
/// Guarantees: keys outlive their messages, and the files that hold them go when nobody needs them.
#[test]
fn the_window_outlives_its_segments() {
    let mut rig = Rig::new(10);
    rig.topic_config.bytes_max = 5_000;
    let data = "k".repeat(300);
    {
        let (_log, topic) = rig.open_topic();
        for key in 0..40 {
            append(&topic, vec![keyed(key, &data)]).unwrap();
        }
    }
    rig.disk.crash();
    let (log, topic) = rig.open_topic();
    assert!(topic.bounds().start > Offset(10));
    for key in 0..40 {
        assert_eq!(append(&topic, vec![keyed(key, &data)]).unwrap().offsets, [Offset(u64::from(key))]);
    }
    assert!(rig.files(".index").len() as u64 > topic.stats().segments);
    rig.pass(Duration::from_secs(601));
    log.maintain(rig.now()).unwrap();
    assert_eq!(rig.files(".index").len() as u64, topic.stats().segments - 1);
}

/// Scenario: a retry is appended while its first copy still waits for its sync; then the sync fails.
/// Guarantees: both get the same answer at the same time; a failed copy does not count as the first.
#[test]
fn a_retry_that_overtakes_its_first_copy_waits_for_it() {
    let rig = Rig::new(5);
    let (_log, topic) = rig.open_topic();
    // The writer is busy with something else while both arrive.
    let busy = topic.append(vec![message("busy")]);
    let (first, retry) = (topic.append(vec![keyed(9, "a")]), topic.append(vec![keyed(9, "a")]));
    busy.wait().unwrap();
    assert_eq!(first.wait().unwrap().offsets, retry.wait().unwrap().offsets);

    rig.disk.fail_next_syncs(1);
    let failed = append(&topic, vec![keyed(8, "b")]);
    assert!(matches!(failed, Err(AppendError::Unavailable { .. })), "{failed:?}");
    let stored = append(&topic, vec![keyed(8, "b")]).unwrap();
    assert_eq!((stored.offsets, stored.duplicates), (vec![Offset(2)], 0));
    assert_eq!(texts(&topic), ["busy", "a", "b"]);
}

/// Scenario: sixteen producers at once, each retrying everything once, with one key space.
/// Guarantees: every message once, offsets dense, and fewer syncs than appends.
#[test]
fn producers_share_syncs() {
    let rig = Rig::new(6);
    let (_log, topic) = rig.open_topic();
    let syncs = topic.stats().activity.syncs_total;
    std::thread::scope(|scope| {
        for producer in 0..16_u8 {
            let topic = &topic;
            scope.spawn(move || {
                let answers: Vec<_> =
                    (0..16_u8).map(|number| topic.append(vec![keyed(producer * 16 + number, "m")])).collect();
                let retries: Vec<_> =
                    (0..16_u8).map(|number| topic.append(vec![keyed(producer * 16 + number, "m")])).collect();
                for (answer, retry) in answers.into_iter().zip(retries) {
                    assert_eq!(answer.wait().unwrap().offsets, retry.wait().unwrap().offsets);
                }
            });
        }
    });
    let stats = topic.stats();
    assert_eq!((stats.end, stats.duplicates_total), (Offset(256), 256));
    assert!(stats.activity.syncs_total - syncs < 512);
}

/// Scenario: a message at the limit, one over it, and an ordering key over its own.
/// Guarantees: the first is stored, the others are refused by name and number, and nothing of their
/// append is stored.
#[test]
fn sizes_are_limited() {
    let mut rig = Rig::new(7);
    rig.config.batch_bytes_max = 1024 * 1024;
    let (_log, topic) = rig.open_topic();
    let data: bytes::Bytes = vec![7; MESSAGE_BYTES_MAX + 1].into();
    append(&topic, vec![NewMessage::from_data(data.slice(1..))]).unwrap();
    let error = append(&topic, vec![message("ok"), NewMessage::from_data(data)]).unwrap_err();
    let (topic_name, bytes_max) = ("events".to_owned(), MESSAGE_BYTES_MAX);
    assert_eq!(error, AppendError::TooLarge { topic: topic_name, index: 1, bytes: bytes_max + 1, bytes_max });
    let odd = NewMessage { ordering_key: vec![b'k'; 70_000].into(), ..message("") };
    assert!(matches!(append(&topic, vec![odd]), Err(AppendError::TooLarge { bytes: 70_000, .. })));
    assert_eq!(read_all(&topic).data_bytes(), MESSAGE_BYTES_MAX);
}

/// Scenario: more is appended than the queue may hold while the writer cannot get on.
/// Guarantees: what does not fit is refused with backpressure, what was accepted is stored.
#[test]
fn the_queue_is_bounded() {
    let mut rig = Rig::new(8);
    rig.config.queue_bytes_max = 4000;
    rig.topic_config = TopicConfig::default();
    let (_log, topic) = rig.open_topic();
    let data = "z".repeat(1000);
    let answers: Vec<_> = (0..200).map(|_| topic.append(vec![message(&data)])).collect();
    let (mut stored, mut refused) = (0, 0);
    for answer in answers {
        match answer.wait() {
            Ok(_) => stored += 1,
            Err(AppendError::Backpressure { backlog_bytes, .. }) => {
                assert!(backlog_bytes > 2000);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(stored > 0 && refused > 0, "{stored} {refused}");
    assert_eq!(topic.bounds().end, Offset(stored));
    assert_eq!(topic.stats().activity.refused_total, refused);
}

/// Scenario: an append is awaited in an async task, and one is dropped unanswered.
/// Guarantees: the future resolves; dropping it takes nothing back.
#[test]
fn answers_can_be_awaited() {
    let rig = Rig::new(9);
    let (_log, topic) = rig.open_topic();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let awaited = Arc::clone(&topic);
    let offsets = runtime.block_on(async move {
        drop(awaited.append(vec![message("dropped")]));
        awaited.append(vec![message("awaited")]).await.unwrap().offsets
    });
    assert_eq!(offsets, [Offset(1)]);
    assert_eq!(texts(&topic), ["dropped", "awaited"]);
}
