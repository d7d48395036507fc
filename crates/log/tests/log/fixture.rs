//! Files of released format versions, kept for ever.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millrace_disk::StdDisk;
use millrace_log::{Clock, CursorState, Log, LogConfig, Topic, verify};
use millrace_model::{AttributeBlock, DedupKey, Micros, NewMessage, Offset};

use crate::support::{append, put, read_all};

/// When the fixture was written, by the clock it was written with.
const WRITTEN: i64 = 1_767_232_824_000_000;

fn fixture() -> PathBuf {
    PathBuf::from("tests/fixtures/v1")
}

/// A message of the fixture, by its number.
fn message(number: u64) -> NewMessage {
    let text = || format!("message {number} \u{1f30a} 水車 {}", "x".repeat(number as usize * 9));
    let attributes = [("number", number.to_string()), ("empty", String::new())];
    let attributes = attributes.iter().map(|(key, value)| (*key, value.as_str()));
    NewMessage {
        data: match number {
            number if number.is_multiple_of(7) => vec![0, 255, number as u8].into(),
            number if number.is_multiple_of(5) => Bytes::new(),
            _ => text().into(),
        },
        attributes: match number % 3 {
            0 => AttributeBlock::pack(attributes).unwrap(),
            _ => AttributeBlock::default(),
        },
        ordering_key: match number % 4 {
            0 => format!("key-{}", number % 8).into(),
            _ => Bytes::new(),
        },
        dedup_key: number.is_multiple_of(2).then_some(DedupKey([number as u8; 16])),
    }
}

/// What the fixture holds from offset 9 on: one large message, then 10 to 25, those without a key twice.
fn expected() -> Vec<NewMessage> {
    let large = NewMessage::from_data(vec![b'g'; 1500]);
    let numbers = (10..26_u64).flat_map(|number| vec![number; if number.is_multiple_of(2) { 1 } else { 2 }]);
    std::iter::once(large).chain(numbers.map(message)).collect()
}

fn check_content(topic: &Topic) {
    let batch = read_all(topic);
    let expected = expected();
    assert_eq!(batch.len(), expected.len());
    for ((message, expected), offset) in batch.iter().zip(&expected).zip(9..) {
        assert_eq!(message.offset, Offset(offset));
        assert_eq!((message.data, message.ordering_key), (&expected.data[..], &expected.ordering_key[..]));
        assert_eq!(message.attributes.collect::<Vec<_>>(), expected.attributes.iter().collect::<Vec<_>>());
    }
    let stats = topic.stats();
    assert_eq!((stats.start, stats.end, stats.segments), (Offset(9), Offset(34), 4));
    assert_eq!((stats.duplicates_total, stats.expired_total), (10, 9));
    assert_eq!(stats.newest_publish_time, Some(Micros(WRITTEN - 1_000_000)));
    assert_eq!(topic.id().to_string(), "a0e3a5a8f31848bfd138e86fcf616901");
    assert_eq!((topic.failure(), topic.config().bytes_max), (None, 1_000_000));
}

/// Scenario: a log of format version 1 is looked at where it lies, then copied and worked with, once with
/// its index files and once without.
/// Guarantees: every message, count, holder, cursor and remembered key is there, and work goes on.
#[test]
fn the_first_version_opens_for_ever() {
    assert!(verify(&StdDisk, &fixture()).unwrap().is_intact());
    let looked = Log::open_read_only(Arc::new(StdDisk), &fixture()).unwrap();
    check_content(&looked.topic("events").unwrap());
    for with_indexes in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let events = home.path().join("events");
        fs::create_dir(&events).unwrap();
        for file in fs::read_dir(fixture().join("events")).unwrap() {
            let file = file.unwrap();
            if with_indexes || file.path().extension().is_none_or(|extension| extension != "index") {
                fs::copy(file.path(), events.join(file.file_name())).unwrap();
            }
        }
        let config = LogConfig { clock: Clock::new(|| Micros(WRITTEN)), ..LogConfig::default() };
        let log = Log::open(Arc::new(StdDisk), home.path(), config).unwrap();
        let topic = log.topic("events").unwrap();
        check_content(&topic);
        assert_eq!(topic.holds(), [("pipeline".to_owned(), Offset(9))]);
        let cursor = topic.cursor("cursor").unwrap();
        assert_eq!(
            (cursor.position().unwrap(), cursor.state().unwrap()),
            (Offset(15), CursorState::Attached)
        );
        assert_eq!(cursor.expired_messages().unwrap(), 9);
        assert_eq!(topic.stats().dedup_entries, 8);
        let retried = append(&topic, vec![message(10), message(24)]).unwrap();
        assert_eq!((retried.offsets, retried.duplicates), ([10, 31].map(Offset).to_vec(), 2));
        assert_eq!(put(&topic, "and on"), Offset(34));
        assert_eq!(fs::read_dir(&events).unwrap().count(), 9);
    }
}
