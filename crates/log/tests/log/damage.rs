//! Damage: what people and disks do to files behind the log's back.

use std::path::Path;
use std::sync::Arc;

use millrace_disk::{Disk, OpenMode};
use millrace_log::{AppendError, Log, Topic, TopicConfig, verify};
use millrace_model::{Offset, Source, SourceError};

use crate::support::{ALL, DIRECTORY, ROOT, Rig, append, message, put, texts};

/// Forty messages over several segments, and a second topic that must not suffer.
fn filled(seed: u64) -> Rig {
    let rig = Rig::new(seed);
    let (log, topic) = rig.open_topic();
    for number in 0..40 {
        put(&topic, &format!("{number:0200}"));
    }
    put(&log.create_topic("other", TopicConfig::default()).unwrap(), "fine");
    drop(log);
    rig
}

/// Opens the log, in which `events` must be out of work for a reason that names `file`.
fn check_damaged(rig: &Rig, file: &str) {
    let log = rig.open();
    let other = log.topic("other").unwrap();
    assert_eq!(texts(&other)[0], "fine");
    put(&other, "fine too");
    let topic: Arc<Topic> = log.topic("events").unwrap();
    let failure = topic.failure().unwrap_or_default();
    assert!(failure.contains(file) && failure.contains("log verify"), "{file}: {failure:?}");
    match append(&topic, vec![message("x")]) {
        Err(AppendError::Unavailable { reason, .. }) => assert_eq!(reason, failure),
        other => panic!("{other:?}"),
    }
    assert!(matches!(topic.read(Offset(0), ALL), Err(SourceError::Corrupt(text)) if text == failure));
    log.create_topic("events", TopicConfig::default()).unwrap();
    log.maintain(rig.now()).unwrap();
    assert_eq!(topic.stats().failure, Some(failure));
    drop(log);
    let report = verify(&rig.disk, Path::new(ROOT)).unwrap();
    let events = report.topics.iter().find(|topic| topic.name == "events").unwrap();
    assert!(!report.is_intact() && !events.is_intact());
    assert!(events.problems.iter().any(|problem| problem.contains(file)), "{file}: {:?}", events.problems);
}

fn remove(rig: &Rig, name: &str) {
    rig.disk.remove_file(&Path::new(DIRECTORY).join(name)).unwrap();
}

fn move_to(rig: &Rig, from: &str, to: &str) {
    let directory = Path::new(DIRECTORY);
    rig.disk.rename(&directory.join(from), &directory.join(to)).unwrap();
}

/// Scenario: the first, a middle, the newest segment, or `topic.json` is removed or renamed; two segments
/// change places.
/// Guarantees: the topic says which file is missing or misplaced; other topics work; verify says the same.
#[test]
fn missing_and_renamed_files_are_named() {
    for which in [0, 2, usize::MAX] {
        let rig = filled(51);
        let segments = rig.files(".log");
        let name = &segments[which.min(segments.len() - 1)];
        remove(&rig, name);
        check_damaged(&rig, name);
        let rig = filled(52);
        move_to(&rig, name, "99999999999999999999x.log");
        check_damaged(&rig, name);
        // To where another segment could be.
        let rig = filled(52);
        move_to(&rig, name, "00000000000000000039.log");
        check_damaged(&rig, name);
    }
    let rig = filled(53);
    remove(&rig, "topic.json");
    check_damaged(&rig, "topic.json");
    let rig = filled(54);
    let segments = rig.files(".log");
    move_to(&rig, &segments[1], "x");
    move_to(&rig, &segments[2], &segments[1]);
    move_to(&rig, "x", &segments[2]);
    check_damaged(&rig, &segments[1]);
}

/// Scenario: `topic.json` or `readers.json` holds something else; a segment of another topic lies in the
/// directory; a sealed segment is longer or shorter than it was.
/// Guarantees: each is named.
#[test]
fn foreign_and_cut_files_are_named() {
    for name in ["topic.json", "readers.json"] {
        for content in [&b"{"[..], b"[]", b"{\"format\": 2}", &[0xff; 40]] {
            let rig = filled(55);
            let path = Path::new(DIRECTORY).join(name);
            millrace_disk::write_atomically(&rig.disk, &path, content).unwrap();
            check_damaged(&rig, name);
        }
    }
    let rig = filled(56);
    let segments = rig.files(".log");
    rig.disk.remove_file(&Path::new(DIRECTORY).join(&segments[0])).unwrap();
    let foreign = Path::new(ROOT).join("other").join(&segments[0]);
    rig.disk.hard_link(&foreign, &Path::new(DIRECTORY).join(&segments[0])).unwrap();
    check_damaged(&rig, &segments[0]);
    for change in [-1_i64, 1] {
        let rig = filled(57);
        let file = rig.file(&segments[1]);
        file.set_len(file.len().unwrap().saturating_add_signed(change)).unwrap();
        check_damaged(&rig, &segments[1]);
    }
}

/// Scenario: bits change in the newest segment before its last frame; in its last frame; in its header.
/// Guarantees: with an intact frame behind it, it is damage, named with its place; the last frame alone
/// looks like a torn tail and is cut, and counted.
#[test]
fn a_torn_tail_is_told_from_damage() {
    let rig = filled(58);
    let newest = rig.files(".log").pop().unwrap();
    let path = Path::new(DIRECTORY).join(&newest);
    rig.disk.flip_bit(&path, 90).unwrap();
    check_damaged(&rig, &newest);
    rig.disk.flip_bit(&path, 90).unwrap();
    rig.disk.flip_bit(&path, 20).unwrap();
    check_damaged(&rig, &newest);
    rig.disk.flip_bit(&path, 20).unwrap();

    let len = rig.file(&newest).len().unwrap();
    rig.disk.flip_bit(&path, len - 1).unwrap();
    assert!(verify(&rig.disk, Path::new(ROOT)).unwrap().is_intact());
    let (_log, topic) = rig.open_topic();
    assert_eq!((topic.failure(), topic.bounds().end), (None, Offset(39)));
    assert!(topic.stats().activity.torn_bytes > 200);
    assert_eq!(put(&topic, "again"), Offset(39));
}

/// Scenario: a message holds a copy of the log's own newest segment, and the frame that holds it is torn.
/// Guarantees: frames inside a payload do not count as frames: the tail is cut, the log opens.
#[test]
fn a_log_inside_a_message_is_only_a_message() {
    let rig = filled(59);
    let newest = rig.files(".log").pop().unwrap();
    let path = Path::new(DIRECTORY).join(&newest);
    let end = {
        let (_log, topic) = rig.open_topic();
        let file = rig.disk.open(&path, OpenMode::Read).unwrap();
        let mut copy = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut copy, 0).unwrap();
        append(&topic, vec![millrace_model::NewMessage::from_data(copy)]).unwrap();
        topic.bounds().end
    };
    let newest = rig.files(".log").pop().unwrap();
    let path = Path::new(DIRECTORY).join(&newest);
    let len = rig.file(&newest).len().unwrap();
    rig.disk.flip_bit(&path, len - 1).unwrap();
    let (_log, topic) = rig.open_topic();
    assert_eq!((topic.failure(), topic.bounds().end.plus(1)), (None, end));
}

/// Scenario: verify runs over a whole log, over one with two rotten places, and beside a working server.
/// Guarantees: it counts what is intact and what is lost, says where, and changes nothing.
#[test]
fn verify_says_what_can_be_saved() {
    let rig = filled(60);
    let segments = rig.files(".log");
    let report = verify(&rig.disk, Path::new(ROOT)).unwrap();
    assert!(report.is_intact());
    let messages: u64 = report.topics[0].segments.iter().map(|segment| segment.intact_messages).sum();
    assert_eq!((report.topics[0].name.as_str(), messages), ("events", 40));

    let path = Path::new(DIRECTORY).join(&segments[1]);
    rig.disk.flip_bit(&path, 100).unwrap();
    rig.disk.flip_bit(&path, 1000).unwrap();
    remove(&rig, rig.files(".index").first().unwrap());
    let operations = rig.disk.operations();
    let report = verify(&rig.disk, Path::new(ROOT)).unwrap();
    let events = &report.topics[0];
    let rotten = &events.segments[1];
    let bad = rotten.first_bad.as_ref().unwrap();
    assert!(bad.position == 80 && bad.reason.contains("checksum") && !bad.is_torn_tail, "{bad:?}");
    assert_eq!((rotten.lost_messages, rotten.base.plus(rotten.intact_messages + 2)), (2, rotten.end));
    assert!(events.segments[0].index_fault.is_some() && events.problems.len() == 1, "{events:?}");
    assert_eq!(rig.disk.operations(), operations);
    let _running: Log = rig.open();
    assert!(!verify(&rig.disk, Path::new(ROOT)).unwrap().is_intact());
}
