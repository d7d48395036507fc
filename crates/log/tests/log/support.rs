//! What the tests share: a log on a simulated disk with a clock that only moves when told.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use millrace_disk::sim::SimDisk;
use millrace_disk::{Disk, DiskFile, OpenMode};
use millrace_log::{AppendError, Appended, Clock, Log, LogConfig, Topic, TopicConfig};
use millrace_model::{DedupKey, MessageBatch, Micros, NewMessage, Offset, ReadLimit, Source};

pub const ROOT: &str = "data/log";
pub const TOPIC: &str = "events";
pub const DIRECTORY: &str = "data/log/events";
/// When the tests' clock begins: 2026-01-01.
pub const BEGIN: Micros = Micros(1_767_225_600_000_000);

/// A disk, a clock, and small limits.
pub struct Rig {
    pub disk: SimDisk,
    pub time: Arc<AtomicI64>,
    pub config: LogConfig,
    pub topic_config: TopicConfig,
}

impl Rig {
    pub fn new(seed: u64) -> Self {
        let time = Arc::new(AtomicI64::new(BEGIN.0));
        let clock = Arc::clone(&time);
        let config = LogConfig {
            segment_bytes_max: 2048,
            batch_bytes_max: 1024,
            batch_linger: Duration::ZERO,
            index_interval_bytes: 256,
            repair_backoff_min: Duration::ZERO,
            cache_bytes_max: 4096,
            clock: Clock::new(move || Micros(clock.load(Ordering::SeqCst))),
            ..LogConfig::default()
        };
        Self { disk: SimDisk::new(seed), time, config, topic_config: TopicConfig::default() }
    }

    pub fn now(&self) -> Micros {
        Micros(self.time.load(Ordering::SeqCst))
    }

    pub fn pass(&self, time: Duration) {
        self.time.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// The log as a new process opens it.
    pub fn open(&self) -> Log {
        Log::open(Arc::new(self.disk.process()), Path::new(ROOT), self.config.clone()).unwrap()
    }

    pub fn open_topic(&self) -> (Log, Arc<Topic>) {
        let log = self.open();
        let topic = log.create_topic(TOPIC, self.topic_config.clone()).unwrap();
        (log, topic)
    }

    /// The names of the topic's files that end so.
    pub fn files(&self, suffix: &str) -> Vec<String> {
        let entries = self.disk.read_dir(Path::new(DIRECTORY)).unwrap();
        entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(suffix)).collect()
    }

    pub fn file(&self, name: &str) -> Arc<dyn DiskFile> {
        self.disk.open(&Path::new(DIRECTORY).join(name), OpenMode::ReadWrite).unwrap()
    }
}

pub fn message(data: &str) -> NewMessage {
    NewMessage::from_data(data.to_owned())
}

pub fn keyed(key: u8, data: &str) -> NewMessage {
    NewMessage { dedup_key: Some(DedupKey([key; 16])), ..message(data) }
}

pub fn append(topic: &Arc<Topic>, messages: Vec<NewMessage>) -> Result<Appended, AppendError> {
    topic.append(messages).wait()
}

/// Appends one message that must be stored.
pub fn put(topic: &Arc<Topic>, data: &str) -> Offset {
    append(topic, vec![message(data)]).unwrap().offsets[0]
}

pub const ALL: ReadLimit = ReadLimit { messages_max: usize::MAX, bytes_max: usize::MAX, end: None };

pub fn read_all(topic: &Topic) -> MessageBatch {
    topic.read(topic.bounds().start, ALL).unwrap()
}

/// All payloads as text.
pub fn texts(topic: &Topic) -> Vec<String> {
    read_all(topic).iter().map(|message| String::from_utf8(message.data.to_vec()).unwrap()).collect()
}
