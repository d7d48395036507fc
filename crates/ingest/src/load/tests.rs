//! Loading into a real log on a simulated disk, interrupted where it hurts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_disk::sim::SimDisk;
use millrace_log::{Log, LogConfig, Topic, TopicConfig};
use millrace_model::{NewMessage, Offset, ReadLimit, Source, names};

use super::Loader;
use crate::{Filter, Ingest, IngestConfig, Route, StoreError, Stored, TopicStore};

struct World {
    disk: Arc<SimDisk>,
    log: Arc<Log>,
    routes: Vec<Route>,
    files: tempfile::TempDir,
}

/// A topic that stores appends up to a number and breaks down after storing or before.
struct Failing {
    topic: Arc<Topic>,
    appends_left: Arc<AtomicUsize>,
    store_the_last: bool,
}

impl TopicStore for Failing {
    fn append(&self, messages: Vec<NewMessage>) -> BoxFuture<'static, Result<Stored, StoreError>> {
        let left =
            self.appends_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let stored = (left.is_ok() || self.store_the_last).then(|| self.topic.append(messages));
        async move {
            let duplicates = match stored {
                Some(append) => append.await.unwrap().duplicates,
                None => 0,
            };
            left.map_err(|_| StoreError::Refused("power cut".to_owned()))?;
            Ok(Stored { duplicates })
        }
        .boxed()
    }

    fn source(&self) -> &dyn Source {
        &*self.topic
    }
}

impl World {
    fn new(routes: Vec<Route>) -> Self {
        let disk = Arc::new(SimDisk::new(1));
        let log = Log::open(Arc::clone(&disk) as _, Path::new("log"), LogConfig::default()).unwrap();
        Self { disk, log: Arc::new(log), routes, files: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> IngestConfig {
        IngestConfig::new("p".to_owned(), [3; 32], self.routes.clone())
    }

    fn loader(&self) -> Arc<Loader> {
        let ingest = Ingest::new(self.config(), Arc::clone(&self.log)).unwrap();
        Loader::new(ingest, Arc::clone(&self.disk) as _, "load".into()).unwrap()
    }

    fn failing_loader(&self, appends: usize, store_the_last: bool) -> Arc<Loader> {
        let appends_left = Arc::new(AtomicUsize::new(appends));
        // The topics as they are made for real first.
        Ingest::new(self.config(), Arc::clone(&self.log)).unwrap();
        let ingest = Ingest::with_topics(self.config(), |name| {
            let topic = self.log.topic(name).unwrap();
            Ok(Arc::new(Failing { topic, appends_left: Arc::clone(&appends_left), store_the_last }) as _)
        });
        Loader::new(ingest.unwrap(), Arc::clone(&self.disk) as _, "load".into()).unwrap()
    }

    fn file(&self, name: &str, content: &[u8]) -> std::path::PathBuf {
        let path = self.files.path().join(name);
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), content).unwrap();
        path
    }

    fn messages(&self, topic: &str) -> Vec<Vec<u8>> {
        let topic = self.log.topic(topic).unwrap();
        let limit = ReadLimit { messages_max: 1 << 20, bytes_max: 1 << 20, end: None };
        let (mut from, mut messages) = (Offset::ZERO, Vec::new());
        loop {
            let batch = topic.read(from, limit).unwrap();
            messages.extend(batch.iter().map(|message| message.data.to_vec()));
            let Some(next) = batch.next_offset() else { return messages };
            from = next;
        }
    }
}

fn route(topic: &str, filter: &str) -> Route {
    Route { name: topic.to_owned(), topic: topic.to_owned(), filter: Some(Filter::parse(filter).unwrap()) }
}

/// Lines of about 1 kB without an insert id, so that only the place in the file tells them apart.
fn lines(count: usize) -> String {
    let padding = "x".repeat(1000);
    (0..count)
        .map(|number| {
            format!(
                "{{\"severity\":\"{}\",\"jsonPayload\":{{\"n\":{number},\"p\":\"{padding}\"}}}}\n",
                ["INFO", "ERROR"][number % 2]
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_loaded_once_whatever_it_is_called() {
    let world = World::new(vec![Route { name: "all".into(), topic: names::TOPIC_LOGS.into(), filter: None }]);
    let recorded = "../../testdata/gemini-cli/cloud_logging_entries.jsonl";
    let loader = world.loader();
    let report = loader.load(Path::new(recorded), None, |_| {}).await.unwrap();
    assert_eq!((report.records, report.added, report.already_loaded), (181, 181, 0));
    let text = std::fs::read_to_string(recorded).unwrap();
    for (message, line) in world.messages(names::TOPIC_LOGS).iter().zip(text.lines()) {
        let message = std::str::from_utf8(message).unwrap();
        // As it was, with the receive time behind.
        assert!(
            message.starts_with(&format!("{},\"receiveTimestamp\":\"", &line[..line.len() - 1])),
            "{message}"
        );
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
    let zipped = world.file("other.gz", &gzip.finish().unwrap());
    // A new process, the same ledger.
    let report = world.loader().load(&zipped, None, |_| {}).await.unwrap();
    assert_eq!((report.records, report.added, report.already_loaded), (181, 0, 181));
    assert_eq!(world.messages(names::TOPIC_LOGS).len(), 181);
    // The same entries in another file are known by their own insert ids.
    let other = world.file("other.jsonl", format!("{text}\n").as_bytes());
    let report = world.loader().load(&other, None, |_| {}).await.unwrap();
    assert_eq!((report.records, report.added, report.duplicates), (181, 0, 181));
    let truncated = world.file("cut.gz", &std::fs::read(&zipped).unwrap()[..9000]);
    assert!(world.loader().load(&truncated, None, |_| {}).await.unwrap_err().to_string().contains("cut.gz"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_entry_goes_in_as_it_is() {
    let world = World::new(vec![
        route("errors", "severity>=ERROR"),
        Route { name: "rest".into(), topic: "rest-of-it".into(), filter: None },
    ]);
    let twice = "{\"logName\":\"l\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"insertId\":\"i\",\"receiveTimestamp\":\"x\",\"severity\":\"ERROR\"}";
    let content = [twice.as_bytes(), b"\n{broken\n\xff\xfe\n", twice.as_bytes(), b"\n{}\n[1]\n"].concat();
    let report = world.loader().load(&world.file("f", &content), None, |_| {}).await.unwrap();
    assert_eq!((report.records, report.opaque, report.rejected, report.duplicates), (6, 3, 0, 2));
    assert_eq!(report.problems.iter().map(|problem| problem.0).collect::<Vec<_>>(), [2, 3, 6]);
    assert_eq!(world.messages("errors"), [twice.as_bytes()]);
    let rest = world.messages("rest-of-it");
    assert_eq!(
        (&rest[0][..], &rest[1][..], &rest[2][..]),
        (twice.as_bytes(), &b"{broken"[..], &b"\xff\xfe"[..])
    );
    assert!(rest[3].starts_with(b"{\"insertId\":\"") && rest[4] == b"[1]");
    assert!(
        world
            .loader()
            .load(Path::new("x"), Some("nowhere"), |_| {})
            .await
            .unwrap_err()
            .to_string()
            .contains("errors")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_bodies_load_like_requests() {
    let world = World::new(vec![Route { name: "all".into(), topic: names::TOPIC_LOGS.into(), filter: None }]);
    let folder = Path::new("../../testdata/gemini-cli/otlp_http_json");
    let compact = std::fs::read(folder.join("0002_http_logs.json")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&compact).unwrap();
    let records = value["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().len() as u64;
    let report = world.loader().load(&world.file("a", &compact), None, |_| {}).await.unwrap();
    assert_eq!((report.records, report.added), (records, records));
    // Pretty-printed it is another file of the same records; metrics follow it.
    let metrics = std::fs::read(folder.join("0001_http_metrics.json")).unwrap();
    let pretty = [serde_json::to_vec_pretty(&value).unwrap(), metrics].concat();
    let report = world.loader().load(&world.file("b", &pretty), None, |_| {}).await.unwrap();
    assert_eq!((report.duplicates, report.opaque), (records, 0));
    assert_eq!(world.messages(names::TOPIC_LOGS).len() as u64, records);
    assert_eq!(world.messages(names::TOPIC_METRICS).len() as u64, report.records - records);
}

/// Scenario: a load over two topics breaks down at any append, stored or not, again and again.
/// Guarantees: in the end each topic has each of its lines once, in order.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_load_goes_on_where_it_stopped() {
    // 10 MB: three batches, most of them to both topics.
    let content = lines(10_000);
    for (appends, store_the_last) in
        [(0, true), (1, true), (1, false), (2, true), (3, true), (3, false), (4, true)]
    {
        let world = World::new(vec![
            route("errors", "severity=ERROR"),
            Route { name: "all".into(), topic: "all-of-it".into(), filter: None },
        ]);
        let path = world.file("f", content.as_bytes());
        // The topics remember no keys, as if the interruption had lasted longer than their windows.
        for topic in ["errors", "all-of-it"] {
            let forgetful = TopicConfig { dedup_entries_max: 0, ..TopicConfig::default() };
            world.log.create_topic(topic, forgetful).unwrap();
        }
        for attempt in 0..2 {
            let loaded = world.failing_loader(appends, store_the_last).load(&path, None, |_| {}).await;
            assert!(attempt == 1 || loaded.unwrap_err().to_string().contains("power cut"));
        }
        let report = world.loader().load(&path, None, |_| {}).await.unwrap();
        assert_eq!((report.records, report.duplicates), (10_000, 0));
        for (topic, step) in [("errors", 2), ("all-of-it", 1)] {
            let numbers: Vec<u64> = world
                .messages(topic)
                .iter()
                .map(|message| {
                    serde_json::from_slice::<serde_json::Value>(message).unwrap()["jsonPayload"]["n"]
                        .as_u64()
                        .unwrap()
                })
                .collect();
            let expected: Vec<u64> = (step - 1..10_000).step_by(usize::try_from(step).unwrap()).collect();
            assert!(numbers == expected, "{topic} after {appends} appends: {} messages", numbers.len());
        }
    }
}
