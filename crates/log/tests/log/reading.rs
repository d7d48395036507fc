//! Reads: limits, places, times, backlog, and what other processes see.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_log::Log;
use millrace_model::{AttributeBlock, Bounds, Micros, NewMessage, Offset, ReadLimit, Source, SourceError};

use crate::support::{ALL, BEGIN, DIRECTORY, ROOT, Rig, TOPIC, append, message, put, read_all, texts};

/// Sixty messages of 100 bytes, ten to a second, over several segments and frames.
fn filled(rig: &Rig) -> (Log, Arc<millrace_log::Topic>) {
    let (log, topic) = rig.open_topic();
    for number in 0..20 {
        let three = (0..3).map(|part| message(&format!("{:0100}", number * 3 + part))).collect();
        append(&topic, three).unwrap();
        rig.pass(Duration::from_millis(300));
    }
    (log, topic)
}

/// Scenario: reads from every offset with every small limit, from memory and from the disk.
/// Guarantees: exactly the wanted messages come, at least one where there is one, and none beyond the
/// end asked for.
#[test]
fn reads_keep_their_limits() {
    let rig = Rig::new(11);
    let (log, topic) = filled(&rig);
    let check = |topic: &millrace_log::Topic| {
        let all = read_all(topic);
        assert_eq!(all.len(), 60);
        for from in 0..=60 {
            for (messages_max, bytes_max, end) in [
                (1, 1, None),
                (7, usize::MAX, None),
                (100, 350, None),
                (100, 0, Some(from + 2)),
                (9, 9999, Some(30)),
            ] {
                let limit = ReadLimit { messages_max, bytes_max, end: end.map(Offset) };
                let batch = topic.read(Offset(from), limit).unwrap();
                let by_bytes = (bytes_max / 100).max(1);
                let by_end = end.map_or(usize::MAX, |end| end.saturating_sub(from) as usize);
                let wanted = messages_max.min(by_bytes).min(by_end).min(60 - from as usize);
                assert_eq!(batch.len(), wanted, "from {from}, {limit:?}");
                for (message, place) in batch.iter().zip(from as usize..) {
                    let original = all.get(place);
                    assert_eq!((message.offset, message.data), (original.offset, original.data));
                    assert_eq!(message.publish_time, original.publish_time);
                }
            }
        }
        assert!(topic.read(Offset(61), ALL).unwrap().is_empty());
    };
    check(&topic);
    drop((log, topic));
    let (_log, topic) = rig.open_topic();
    check(&topic);
    assert!(topic.stats().segments > 3);
}

/// Scenario: messages without data, with attributes and an ordering key of 100 bytes together.
/// Guarantees: they count against a read's bytes, in memory and on the disk.
#[test]
fn a_read_counts_attributes_and_ordering_keys() {
    let mut rig = Rig::new(13);
    let (log, topic) = rig.open_topic();
    let value = "v".repeat(55);
    let attributes = AttributeBlock::pack([("k", value.as_str())]).unwrap();
    let message = NewMessage { attributes, ordering_key: vec![b'o'; 40].into(), ..NewMessage::default() };
    assert_eq!(message.size_bytes(), 100);
    append(&topic, vec![message; 20]).unwrap();
    let check = |topic: &millrace_log::Topic| {
        for (bytes_max, wanted) in [(0, 1), (99, 1), (250, 2), (1_000, 10), (1_001, 10), (9_999, 20)] {
            let limit = ReadLimit { messages_max: 100, bytes_max, end: None };
            let batch = topic.read(Offset(0), limit).unwrap();
            assert_eq!((batch.len(), batch.size_bytes(), batch.data_bytes()), (wanted, 100 * wanted, 0));
        }
    };
    check(&topic);
    drop((log, topic));
    rig.config.cache_bytes_max = 0;
    check(&rig.open_topic().1);
}

/// Scenario: one message sits in a frame with many others and is read one by one.
/// Guarantees: the frame is read from the disk once, not once for each message.
#[test]
fn a_frame_read_in_part_is_kept() {
    let mut rig = Rig::new(12);
    rig.config.cache_bytes_max = 64 * 1024;
    rig.config.batch_bytes_max = 64 * 1024;
    {
        let (_log, topic) = rig.open_topic();
        append(&topic, (0..100).map(|number| message(&format!("{number:050}"))).collect()).unwrap();
    }
    let (_log, topic) = rig.open_topic();
    let one = ReadLimit { messages_max: 1, bytes_max: 1, end: None };
    assert_eq!(topic.stats().cache_bytes, 0);
    topic.read(Offset(0), one).unwrap();
    let cached = topic.stats().cache_bytes;
    assert!(cached > 5000, "{cached}");
    for offset in 1..100 {
        assert_eq!(topic.read(Offset(offset), one).unwrap().first_offset(), Some(Offset(offset)));
    }
    assert_eq!(topic.stats().cache_bytes, cached);
}

/// Scenario: a reader takes an old frame message by message while the newest frames fill the cache.
/// Guarantees: the old frame is kept for it all the same; damage on the disk is not even noticed.
#[test]
fn a_lagging_reader_keeps_its_frame_beside_the_newest() {
    let mut rig = Rig::new(14);
    rig.config.batch_bytes_max = 64 * 1024;
    let (_log, topic) = rig.open_topic();
    append(&topic, (0..100).map(|number| message(&format!("{number:050}"))).collect()).unwrap();
    for _ in 0..20 {
        append(&topic, vec![message(&"x".repeat(500))]).unwrap();
    }
    assert!(topic.stats().cache_bytes > 3_000, "the newest frames fill the cache");
    let one = ReadLimit { messages_max: 1, bytes_max: 1, end: None };
    topic.read(Offset(0), one).unwrap();
    let oldest = rig.files(".log").into_iter().min().unwrap();
    rig.disk.flip_bit(&Path::new(DIRECTORY).join(oldest), 1_000).unwrap();
    for offset in 1..100 {
        assert_eq!(topic.read(Offset(offset), one).unwrap().first_offset(), Some(Offset(offset)));
    }
}

/// Scenario: a reader follows a writer as closely as it can.
/// Guarantees: what it reads lies inside the bounds that it is told next. (Once a frame was in the cache
/// before the topic's end was moved, and a pipeline took that for lost messages.)
#[test]
fn nothing_is_read_beyond_the_end() {
    let rig = Rig::new(15);
    let (_log, topic) = rig.open_topic();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..10_000 {
                append(&topic, vec![message("follow me")]).unwrap();
            }
        });
        let mut next = Offset(0);
        while next < Offset(10_000) && !(writer.is_finished() && topic.bounds().end < Offset(10_000)) {
            let batch = topic.read(next, ALL).unwrap();
            next = batch.next_offset().unwrap_or(next);
            let end = topic.bounds().end;
            assert!(next <= end, "read up to {next:?}, the end is {end:?}");
        }
        assert_eq!(next, Offset(10_000));
    });
}

/// Scenario: times before, between, at and behind all messages.
/// Guarantees: the first message at or after a time is found, in sealed and open segments.
#[test]
fn messages_are_found_by_time() {
    let rig = Rig::new(13);
    let (_log, topic) = filled(&rig);
    for group in 0..20_i64 {
        let time = Micros(BEGIN.0 + group * 300_000);
        let first = Offset(group.unsigned_abs() * 3);
        assert_eq!(topic.offset_at(time).unwrap(), first);
        assert_eq!(topic.offset_at(Micros(time.0 - 1)).unwrap(), first);
        assert_eq!(topic.offset_at(Micros(time.0 + 1)).unwrap(), first.plus(3));
    }
    assert_eq!(topic.offset_at(Micros(i64::MIN)).unwrap(), Offset(0));
    assert_eq!(topic.offset_at(Micros(i64::MAX)).unwrap(), Offset(60));
}

/// Scenario: the backlog is asked for from every offset.
/// Guarantees: bytes are right to within an index interval and a frame, the time is exact.
#[test]
fn the_backlog_is_known() {
    let rig = Rig::new(14);
    let (_log, topic) = filled(&rig);
    for from in 0..60_u64 {
        let (bytes, time) = topic.backlog(Offset(from));
        let exact = (60 - from) * 100;
        assert!(bytes >= exact && bytes <= exact + 256 + 300, "{from}: {bytes}");
        assert_eq!(time, Some(Micros(BEGIN.0 + (from / 3).cast_signed() * 300_000)));
    }
    assert_eq!(topic.backlog(Offset(60)), (0, None));
}

/// Scenario: a reader waits for a message that comes, and for one that does not.
/// Guarantees: it is woken by the first and gives up on the second.
#[test]
fn readers_wait_for_messages() {
    let rig = Rig::new(15);
    let (_log, topic) = rig.open_topic();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| topic.wait(Offset(0), Duration::from_secs(60)));
        put(&topic, "now");
        assert_eq!(waiting.join().unwrap(), Offset(1));
    });
    assert_eq!(topic.wait(Offset(1), Duration::from_millis(1)), Offset(1));
}

/// Scenario: another process opens the log to read only while the first writes on, and a torn frame
/// lies at the end.
/// Guarantees: it sees all intact messages, changes no byte, and takes no appends or changes.
#[test]
fn another_process_may_look_on() {
    let rig = Rig::new(16);
    let (_log, topic) = filled(&rig);
    let newest = rig.files(".log").pop().unwrap();
    let file = rig.file(&newest);
    let end = file.len().unwrap();
    file.write_all_at(b"MRfr torn", end).unwrap();
    let operations = rig.disk.operations();
    let reader = Log::open_read_only(Arc::new(rig.disk.process()), Path::new(ROOT)).unwrap();
    let seen = reader.topic(TOPIC).unwrap();
    assert_eq!(texts(&seen), texts(&topic));
    assert_eq!(seen.bounds(), Bounds { start: Offset(0), end: Offset(60) });
    seen.hold("looker", Offset(3));
    append(&seen, vec![message("no")]).unwrap_err();
    reader.maintain(rig.now()).unwrap_err();
    reader.create_topic("other", rig.topic_config.clone()).err().unwrap();
    drop(reader);
    assert_eq!(rig.disk.operations(), operations);
    assert_eq!(file.len().unwrap(), end + 9);
    file.set_len(end).unwrap();
    put(&topic, "still writing");
}

/// Scenario: a bit rots in the middle of a sealed segment.
/// Guarantees: messages before it are still read, the damage is an error that names file and place, and
/// messages in later segments are read.
#[test]
fn rot_is_named_and_passed_by() {
    let rig = Rig::new(17);
    {
        filled(&rig);
    }
    let segments = rig.files(".log");
    let path = Path::new(DIRECTORY).join(&segments[1]);
    rig.disk.flip_bit(&path, 1000).unwrap();
    let (_log, topic) = rig.open_topic();
    assert_eq!(topic.failure(), None);
    let before = read_all(&topic);
    let next = before.next_offset().unwrap();
    assert!(before.len() > 10 && before.len() < 60);
    let Err(SourceError::Corrupt(text)) = topic.read(next, ALL) else { panic!("not named") };
    assert!(text.contains(&segments[1]) && text.contains("byte"), "{text}");
    let after: u64 = segments[2].trim_end_matches(".log").parse().unwrap();
    assert_eq!(topic.read(Offset(after), ALL).unwrap().len() as u64, 60 - after);
    put(&topic, "and on");
}
