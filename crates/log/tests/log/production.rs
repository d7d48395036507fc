//! The limits that are really used, on the real disk.

use std::sync::Arc;

use bytes::Bytes;
use millrace_disk::StdDisk;
use millrace_log::{Log, LogConfig, TopicConfig, verify};
use millrace_model::limits::MESSAGE_BYTES_MAX;
use millrace_model::{DedupKey, NewMessage, Offset, ReadLimit, Source};

/// Scenario: with the default settings, more than a segment of 64 MiB is appended by several producers,
/// in messages of a kilobyte and of 16 MiB; then everything is read, reopened and read again.
/// Guarantees: segments are as large as they should be, every byte comes back in order from either side of
/// the boundary, keys are remembered, no frame is larger than one message or a batch.
#[test]
fn default_limits_on_the_real_disk() {
    const PRODUCERS: usize = 4;
    const BATCHES: usize = 32;
    let home = tempfile::tempdir().unwrap();
    let open = || Log::open(Arc::new(StdDisk), home.path(), LogConfig::default()).unwrap();
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    let noise: Bytes = (0..MESSAGE_BYTES_MAX).map(|_| random()).collect::<Vec<u8>>().into();
    let message = |producer: usize, number: usize| NewMessage {
        data: noise.slice((producer * 20_000 + number) * 7..).slice(..1000),
        dedup_key: Some(DedupKey(
            [[producer as u8; 8], (number as u64).to_le_bytes()].concat().try_into().unwrap(),
        )),
        ..NewMessage::default()
    };
    let log = open();
    let topic = log.create_topic("events", TopicConfig::default()).unwrap();
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (topic, message) = (&topic, &message);
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let messages = (batch * 512..(batch + 1) * 512).map(|number| message(producer, number));
                    topic.append(messages.collect()).wait().unwrap();
                }
            });
        }
    });
    let huge = topic.append(vec![NewMessage::from_data(noise.clone())]).wait().unwrap().offsets[0];
    let count = (PRODUCERS * BATCHES * 512) as u64;
    assert_eq!(huge, Offset(count));

    let check = |topic: &millrace_log::Topic| {
        let (mut next, mut seen) = (Offset(0), [0; PRODUCERS]);
        let limit = ReadLimit { messages_max: 10_000, bytes_max: 8 * 1024 * 1024, end: None };
        while next < huge {
            let batch = topic.read(next, ReadLimit { end: Some(huge), ..limit }).unwrap();
            assert!(batch.data_bytes() <= limit.bytes_max && batch.first_offset() == Some(next));
            for found in batch.iter() {
                // Each producer's messages come in its order.
                let sent =
                    (0..PRODUCERS).find(|producer| found.data == message(*producer, seen[*producer]).data);
                let producer = sent.expect("a message that is next for some producer");
                seen[producer] += 1;
            }
            next = batch.next_offset().unwrap();
        }
        assert_eq!(seen, [BATCHES * 512; PRODUCERS]);
        let last = topic.read(huge, limit).unwrap();
        assert!(last.len() == 1 && last.get(0).data == noise);
    };
    check(&topic);
    let sealed = home.path().join("events/00000000000000000000.log").metadata().unwrap().len();
    assert!((62 << 20..=64 << 20).contains(&sealed), "{sealed}");
    assert!(topic.stats().segments >= 2);
    drop((topic, log));

    let log = open();
    let topic = log.topic("events").unwrap();
    check(&topic);
    let again = topic.append((0..512).map(|number| message(1, number)).collect()).wait().unwrap();
    assert_eq!(again.duplicates, 512);
    drop((topic, log));
    assert!(verify(&StdDisk, home.path()).unwrap().is_intact());
}
