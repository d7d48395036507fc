//! A model of a log next to the log itself, on a disk that loses, tears and reorders, driven at random.
//!
//! Scenario: random appends (retries, repeated keys, several at once), reads, holds, cursors, the clock,
//! maintenance, failing syncs and writes, full disks, clean restarts, dying processes and power cuts,
//! also in the middle of any of these.
//!
//! Guarantees: the log always opens. What was acknowledged, and what any reader was ever shown, stays at
//! its offset with its bytes until retention takes it, and retention never takes for room what a holder
//! has not folded. Offsets are dense, publish times never go back, an unsynced message is never shown, a
//! message with a key is never there twice, duplicates are counted across restarts, cursors are where
//! they were last durably left.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_log::{AppendError, Appended, CursorConfig, CursorStart, CursorState, Log, Topic, verify};
use millrace_model::{AttributeBlock, DedupKey, NewMessage, Offset, ReadLimit, Source};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{ALL, ROOT, Rig, TOPIC};

/// How a run of the process ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Shutdown,
    Kill,
    PowerCut,
}

/// A fault ordered before something else happens.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Syncs(u32),
    Writes(u32),
    Full(u64),
}

#[derive(Debug, Clone)]
enum Step {
    /// New messages in one append; the flag says whether they have keys.
    Append {
        sizes: Vec<u16>,
        keyed: bool,
    },
    /// Several appends at once, each with one new keyed message, sent twice.
    Burst {
        size: u16,
        appends: u8,
    },
    /// An earlier message again.
    Retry {
        which: prop::sample::Index,
    },
    Inject(Fault),
    Heal,
    Restart(End),
    /// The process stops after some operations, in the middle of appends and maintenance.
    StopDuring {
        operations: u8,
        power: bool,
    },
    Pass {
        minutes: u8,
    },
    Maintain,
    Hold {
        at: prop::sample::Index,
    },
    Advance {
        at: prop::sample::Index,
    },
    Read {
        at: prop::sample::Index,
        messages_max: u8,
        bytes_max: u16,
    },
    LookOn,
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = prop::collection::vec(0_u16..700, 1..5);
    let fault = prop_oneof![
        (1_u32..4).prop_map(Fault::Syncs),
        (1_u32..3).prop_map(Fault::Writes),
        (0_u64..3000).prop_map(Fault::Full),
    ];
    let end = prop_oneof![Just(End::Shutdown), Just(End::Kill), Just(End::PowerCut)];
    let index = any::<prop::sample::Index>;
    prop_oneof![
        10 => (sizes, any::<bool>()).prop_map(|(sizes, keyed)| Step::Append { sizes, keyed }),
        3 => (0_u16..500, 1_u8..6).prop_map(|(size, appends)| Step::Burst { size, appends }),
        5 => index().prop_map(|which| Step::Retry { which }),
        4 => fault.prop_map(Step::Inject),
        3 => Just(Step::Heal),
        3 => end.prop_map(Step::Restart),
        4 => (1_u8..60, any::<bool>()).prop_map(|(operations, power)| Step::StopDuring { operations, power }),
        2 => (1_u8..10).prop_map(|minutes| Step::Pass { minutes }),
        3 => Just(Step::Maintain),
        3 => index().prop_map(|at| Step::Hold { at }),
        2 => index().prop_map(|at| Step::Advance { at }),
        4 => (index(), 1_u8..9, 0_u16..2000)
            .prop_map(|(at, messages_max, bytes_max)| Step::Read { at, messages_max, bytes_max }),
        1 => Just(Step::LookOn),
    ]
}

/// What happened in all cases together: a test that never crashed anything proves nothing.
#[derive(Default)]
struct Seen {
    acked: AtomicU64,
    refused: AtomicU64,
    duplicates: AtomicU64,
    crashes: AtomicU64,
    torn: AtomicU64,
    removed: AtomicU64,
    repairs: AtomicU64,
    unsure_kept: AtomicU64,
}

/// A message that was ever sent: its number says everything about it.
#[derive(Debug, Clone, Copy)]
struct Sent {
    size: u16,
    keyed: bool,
}

struct Machine<'a> {
    rig: Rig,
    seen: &'a Seen,
    process: Option<(Log, Arc<Topic>)>,
    sent: Vec<Sent>,
    /// Which message is known to lie where: acknowledged, or shown to a reader.
    known: BTreeMap<u64, usize>,
    duplicates_acked: u64,
    /// The end and start that were seen last.
    end: u64,
    start: u64,
    /// What holders were last told to have folded.
    folded: u64,
    /// The cursor's position that is durable, and one that may be.
    cursor: (u64, u64),
    /// Whether a message that was refused may be there.
    full: bool,
}

impl<'a> Machine<'a> {
    fn new(seed: u64, seen: &'a Seen) -> Self {
        let mut rig = Rig::new(seed);
        rig.topic_config.bytes_max = 16_000;
        rig.topic_config.folded_bytes_max = 4_000;
        rig.topic_config.folded_retention = Duration::from_secs(300);
        rig.topic_config.retention_age = Duration::from_secs(3600);
        rig.topic_config.dedup_age = Duration::from_secs(24 * 3600);
        let (log, topic) = rig.open_topic();
        topic.hold("pipeline", Offset(0));
        topic.create_cursor("cursor", CursorStart::Oldest, CursorConfig::default()).unwrap();
        let process = Some((log, topic));
        let (sent, known) = (Vec::new(), BTreeMap::new());
        let numbers = (0, 0, 0);
        Self {
            rig,
            seen,
            process,
            sent,
            known,
            duplicates_acked: 0,
            end: numbers.0,
            start: numbers.1,
            folded: numbers.2,
            cursor: (0, 0),
            full: false,
        }
    }

    fn topic(&self) -> &Arc<Topic> {
        &self.process.as_ref().unwrap().1
    }

    fn new_message(&mut self, size: u16, keyed: bool) -> usize {
        self.sent.push(Sent { size, keyed });
        self.sent.len() - 1
    }

    fn message(&self, number: usize) -> NewMessage {
        let Sent { size, keyed } = self.sent[number];
        let mut key = [0x5a; 16];
        key[..8].copy_from_slice(&(number as u64).to_le_bytes());
        NewMessage {
            data: payload(number, size).into(),
            attributes: AttributeBlock::pack([("number", number.to_string().as_str())]).unwrap(),
            ordering_key: if number.is_multiple_of(3) { "odd".into() } else { bytes::Bytes::new() },
            dedup_key: keyed.then_some(DedupKey(key)),
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append { sizes, keyed } => {
                let numbers: Vec<_> = sizes.iter().map(|size| self.new_message(*size, *keyed)).collect();
                self.append(&numbers);
            }
            Step::Burst { size, appends } => self.burst(*size, *appends),
            Step::Retry { which } if !self.sent.is_empty() => {
                let number = which.index(self.sent.len());
                if self.sent[number].keyed {
                    self.append(&[number]);
                }
            }
            Step::Retry { .. } => {}
            Step::Inject(Fault::Syncs(count)) => self.rig.disk.fail_next_syncs(*count),
            Step::Inject(Fault::Writes(count)) => self.rig.disk.fail_writes(*count),
            Step::Inject(Fault::Full(bytes)) => {
                self.full = true;
                self.rig.disk.set_free_bytes(Some(*bytes));
            }
            Step::Heal => self.heal(),
            Step::Restart(end) => self.restart(*end),
            Step::StopDuring { operations, power } => self.stop_during(*operations, *power),
            Step::Pass { minutes } => self.rig.pass(Duration::from_secs(60 * u64::from(*minutes))),
            Step::Maintain => self.maintain(),
            Step::Hold { at } => self.hold(*at),
            Step::Advance { at } => self.advance(*at),
            Step::Read { at, messages_max, bytes_max } => self.read(*at, *messages_max, *bytes_max),
            Step::LookOn => self.look_on(),
        }
        if self.topic().failure().is_none() {
            self.check_all();
        }
    }

    fn append(&mut self, numbers: &[usize]) {
        let messages = numbers.iter().map(|number| self.message(*number)).collect();
        let answer = self.topic().append(messages).wait();
        self.hear(numbers, answer);
    }

    fn hear(&mut self, numbers: &[usize], answer: Result<Appended, AppendError>) {
        match answer {
            Ok(appended) => {
                assert_eq!(appended.offsets.len(), numbers.len());
                for (number, offset) in numbers.iter().zip(appended.offsets) {
                    let before = self.known.insert(offset.0, *number);
                    assert!(before.is_none_or(|before| before == *number), "offset {offset} was {before:?}");
                    self.end = self.end.max(offset.0 + 1);
                }
                self.duplicates_acked += appended.duplicates;
                self.seen.acked.fetch_add(numbers.len() as u64, Ordering::Relaxed);
                self.seen.duplicates.fetch_add(appended.duplicates, Ordering::Relaxed);
            }
            Err(AppendError::Backpressure { .. } | AppendError::Unavailable { .. }) => {
                self.seen.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn burst(&mut self, size: u16, appends: u8) {
        let numbers: Vec<_> = (0..appends).map(|_| self.new_message(size, true)).collect();
        let twice: Vec<_> = numbers.iter().chain(&numbers).copied().collect();
        let answers: Vec<_> =
            twice.iter().map(|number| self.topic().append(vec![self.message(*number)])).collect();
        for (number, answer) in twice.into_iter().zip(answers) {
            self.hear(&[number], answer.wait());
        }
    }

    fn heal(&mut self) {
        self.rig.disk.fail_next_syncs(0);
        self.rig.disk.fail_writes(0);
        self.rig.disk.set_free_bytes(None);
        self.full = false;
    }

    fn maintain(&mut self) {
        let log = &self.process.as_ref().unwrap().0;
        let maintained = log.maintain(self.rig.now()).unwrap();
        self.seen.removed.fetch_add(maintained.segments_removed, Ordering::Relaxed);
    }

    fn hold(&mut self, at: prop::sample::Index) {
        let to = self.start + at.index(usize::try_from(self.end - self.start).unwrap() + 1) as u64;
        if to < self.folded {
            // Going back is written down at once, which nobody could tell to have failed.
            self.heal();
        }
        self.folded = to;
        self.topic().hold("pipeline", Offset(to));
    }

    fn advance(&mut self, at: prop::sample::Index) {
        let Some(cursor) = self.topic().cursor("cursor") else { return };
        let to = self.start + at.index(usize::try_from(self.end - self.start).unwrap() + 1) as u64;
        if cursor.state().unwrap() != CursorState::Attached {
            if cursor.seek(Offset(to)).is_ok() {
                self.cursor = (to, to);
            } else {
                self.cursor = (0, u64::MAX);
            }
            return;
        }
        match cursor.advance(Offset(to)) {
            Ok(()) => self.cursor = (self.cursor.0.max(to), self.cursor.1.max(to)),
            // It may have been written all the same, and be found by the next process.
            Err(_) => self.cursor.1 = self.cursor.1.max(to),
        }
    }

    fn restart(&mut self, end: End) {
        match end {
            End::Shutdown => drop(self.process.take()),
            End::Kill => self.rig.disk.kill(),
            End::PowerCut => self.rig.disk.crash(),
        }
        self.open_again();
    }

    fn stop_during(&mut self, operations: u8, power: bool) {
        self.rig.disk.halt_after(u64::from(operations));
        for round in 0..3 {
            let numbers: Vec<_> = (0..3).map(|_| self.new_message(200 + round, true)).collect();
            self.append(&numbers);
            self.maintain();
        }
        self.seen.crashes.fetch_add(1, Ordering::Relaxed);
        if power {
            self.rig.disk.crash()
        } else {
            self.rig.disk.kill()
        }
        self.open_again();
    }

    fn open_again(&mut self) {
        self.process = None;
        let log = self.rig.open();
        let topic = log.topic(TOPIC).expect("the topic is there whatever happened");
        self.process = Some((log, topic));
        if self.topic().failure().is_some() {
            // Only because the disk is failing: it comes back by itself when the disk does.
            self.heal();
            self.maintain();
        }
        assert_eq!(self.topic().failure(), None);
        let stats = self.topic().stats();
        self.seen.torn.fetch_add(u64::from(stats.activity.torn_bytes > 0), Ordering::Relaxed);
        assert!(stats.duplicates_total >= self.duplicates_acked);
        // A hold that was not written down since is kept where it was: earlier, never later.
        assert!(
            self.topic().holds()[0].1.0 <= self.folded.max(stats.start.0),
            "{:?} {}",
            self.topic().holds(),
            self.folded
        );
        if let Some(cursor) = self.topic().cursor("cursor") {
            let position = cursor.position().unwrap().0;
            let durable = self.cursor.0.max(stats.start.0);
            let possible = self.cursor.1.max(stats.start.0);
            if cursor.state().unwrap() == CursorState::Attached {
                assert!((durable..=possible).contains(&position), "{position} not in {durable}..={possible}");
                self.cursor = (position, position);
            }
        }
    }

    fn read(&mut self, at: prop::sample::Index, messages_max: u8, bytes_max: u16) {
        if self.topic().failure().is_some() {
            return;
        }
        let bounds = self.topic().bounds();
        let from =
            bounds.start.plus(at.index(usize::try_from(bounds.end.since(bounds.start)).unwrap() + 1) as u64);
        let limit = ReadLimit { messages_max: messages_max.into(), bytes_max: bytes_max.into(), end: None };
        let batch = self.topic().read(from, limit).unwrap();
        assert!(batch.len() <= usize::from(messages_max));
        assert!(batch.len() <= 1 || batch.size_bytes() <= usize::from(bytes_max));
        assert_eq!(batch.is_empty(), from == bounds.end);
        for (message, offset) in batch.iter().zip(from.0..) {
            assert_eq!(message.offset.0, offset);
        }
    }

    /// Another process sees at least what this one has shown.
    fn look_on(&mut self) {
        if self.topic().failure().is_some() {
            return;
        }
        let log = Log::open_read_only(Arc::new(self.rig.disk.process()), Path::new(ROOT)).unwrap();
        let other = log.topic(TOPIC).unwrap();
        assert_eq!(other.failure(), None);
        assert!(other.bounds().end.0 >= self.end);
        let limit = ReadLimit { end: Some(Offset(self.end)), ..ALL };
        let batch = other.read(other.bounds().start, limit).unwrap();
        for message in batch.iter() {
            assert_eq!(self.known.get(&message.offset.0), Some(&number_of(message.data)));
        }
        assert!(verify(&self.rig.disk, Path::new(ROOT)).unwrap().is_intact());
    }

    /// Reads everything and compares it with what is known; what is read is known from then on.
    fn check_all(&mut self) {
        let bounds = self.topic().bounds();
        assert!(
            bounds.end.0 >= self.end,
            "messages were lost: the end went from {} to {}",
            self.end,
            bounds.end
        );
        assert!(bounds.start.0 >= self.start);
        let mut keys = BTreeMap::new();
        let mut last_time = None;
        let batch = self.topic().read(bounds.start, ALL).unwrap();
        assert_eq!(batch.len() as u64, bounds.end.since(bounds.start));
        for (message, offset) in batch.iter().zip(bounds.start.0..) {
            assert_eq!(message.offset.0, offset);
            let number = number_of(message.data);
            let sent = self.sent[number];
            assert_eq!(message.data, payload(number, sent.size));
            assert_eq!(message.attributes.clone().next(), Some(("number", number.to_string().as_str())));
            match self.known.get(&offset) {
                Some(known) => assert_eq!(*known, number, "offset {offset} changed"),
                None => {
                    self.seen.unsure_kept.fetch_add(1, Ordering::Relaxed);
                    self.known.insert(offset, number);
                }
            }
            assert!(last_time <= Some(message.publish_time));
            last_time = Some(message.publish_time);
            if sent.keyed {
                let before = keys.insert(number, offset);
                assert_eq!(before, None, "message {number} is there twice");
            }
        }
        // One that retention took must not come back either.
        for (offset, number) in &self.known {
            if self.sent[*number].keyed && *offset < bounds.start.0 {
                assert_eq!(keys.get(number), None, "message {number} is there again");
            }
        }
        let stats = self.topic().stats();
        let held = self.folded.max(self.start);
        if bounds.start.0 > held {
            assert!(stats.expired_total > 0, "an unfolded message went without being counted");
        }
        self.seen.repairs.fetch_max(stats.activity.repairs_total, Ordering::Relaxed);
        (self.end, self.start) = (bounds.end.0, bounds.start.0);
    }
}

/// The bytes of message `number`: its number, then noise that differs from message to message.
fn payload(number: usize, size: u16) -> Vec<u8> {
    let mut data = (number as u64).to_le_bytes().to_vec();
    data.extend((0..usize::from(size)).map(|at| ((number * 31 + at * 7) % 251) as u8));
    data
}

fn number_of(data: &[u8]) -> usize {
    usize::try_from(u64::from_le_bytes(data[..8].try_into().unwrap())).unwrap()
}

#[test]
fn the_log_behaves_as_its_model() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    let config = Config { cases, max_shrink_iters: 4000, failure_persistence: None, ..Config::default() };
    let seen = Seen::default();
    TestRunner::new(config)
        .run(&(any::<u64>(), prop::collection::vec(step(), 1..50)), |(seed, steps)| {
            let mut machine = Machine::new(seed, &seen);
            steps.iter().for_each(|step| machine.run(step));
            machine.heal();
            machine.restart(End::PowerCut);
            machine.check_all();
            machine.topic().release_hold("pipeline").unwrap();
            let number = machine.new_message(1, true);
            let before = machine.end;
            machine.append(&[number]);
            assert_eq!(machine.known.get(&before), Some(&number), "a healthy disk takes messages");
            Ok(())
        })
        .unwrap();
    for (what, count) in [
        ("acknowledged", &seen.acked),
        ("refused", &seen.refused),
        ("duplicates", &seen.duplicates),
        ("crashes", &seen.crashes),
        ("torn tails", &seen.torn),
        ("segments removed", &seen.removed),
        ("repairs", &seen.repairs),
        ("unacknowledged and kept", &seen.unsure_kept),
    ] {
        let count = count.load(Ordering::Relaxed);
        println!("{what}: {count}");
        assert!(count > 0, "no {what}: the test proves nothing");
    }
}
