//! Messages whose answers are written down, into topics on a disk that loses what was not synced.

use std::path::Path;
use std::sync::Mutex;

use millrace_disk::sim::SimDisk;
use millrace_log::{Log, LogConfig, TopicConfig};
use millrace_model::limits::MESSAGE_BYTES_MAX;
use millrace_model::{ReadLimit, Source as _};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::receipt::Confirmation;
use crate::status::Counts;

/// What was answered, in order.
type Answers = Arc<Mutex<Vec<(String, &'static str)>>>;

struct Written {
    id: String,
    answers: Answers,
    /// What the service says of the ack, if it says anything.
    confirmed: Option<oneshot::Receiver<Result<(), String>>>,
}

impl Receipt for Written {
    fn ack(self) -> Option<Confirmation> {
        self.answers.lock().unwrap().push((self.id, "ack"));
        let confirmed = self.confirmed?;
        Some(Box::pin(async move { confirmed.await.unwrap_or(Err("gone".to_owned())) }))
    }

    fn nack(self) {
        self.answers.lock().unwrap().push((self.id, "nack"));
    }
}

/// An intake with everything around it.
struct Bench {
    disk: SimDisk,
    log: Log,
    topic: Arc<Topic>,
    figures: Arc<Figures>,
    phase: watch::Sender<Phase>,
    committed: watch::Sender<Offset>,
    answers: Answers,
    room: Arc<Semaphore>,
    deliveries: Option<mpsc::Sender<Delivery<Written>>>,
    task: JoinHandle<()>,
}

impl Bench {
    fn start(settings: TopicConfig, durable: bool) -> Self {
        Self::on(SimDisk::new(5), settings, durable)
    }

    fn on(disk: SimDisk, settings: TopicConfig, durable: bool) -> Self {
        let process = Arc::new(disk.process());
        let log = Log::open(process, Path::new("log"), LogConfig::default()).unwrap();
        let topic = log.create_topic("events", settings).unwrap();
        let figures = Arc::new(Figures::new("test"));
        let (phase, phases) = watch::channel(Phase::Running);
        let (committed, commits) = watch::channel(Offset::ZERO);
        let (deliveries, queue) = mpsc::channel(100);
        let intake = Intake::new(
            Arc::clone(&topic),
            Identity::new(&[1; 32], "projects/p/subscriptions/sub"),
            Arc::clone(&figures),
            phases,
            Duration::ZERO,
            (!durable).then_some(commits),
        );
        let task = tokio::spawn(intake.run(queue));
        let (deliveries, room) = (Some(deliveries), Arc::new(Semaphore::new(1000)));
        let answers = Answers::default();
        Self { disk, log, topic, figures, phase, committed, answers, room, deliveries, task }
    }

    async fn deliver(&self, message: Message, confirmed: Option<oneshot::Receiver<Result<(), String>>>) {
        let room = Arc::clone(&self.room).acquire_owned().await.unwrap();
        let place = Place::new(&self.figures, room);
        let receipt =
            Written { id: message.message_id.clone(), answers: Arc::clone(&self.answers), confirmed };
        let delivery = Delivery { message, answer: Answer { receipt, place } };
        let sent = self.deliveries.as_ref().unwrap().send(delivery).await;
        assert!(sent.is_ok());
    }

    async fn deliver_all(&self, ids: impl IntoIterator<Item = &str>) {
        for id in ids {
            self.deliver(message(id), None).await;
        }
    }

    /// Waits for what has to come.
    async fn until(&self, done: impl Fn(&Counts) -> bool) -> Counts {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let counts = self.counts();
            if done(&counts) {
                return counts;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never came: {counts:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn counts(&self) -> Counts {
        self.figures.status("sub", "events", true).counts
    }

    fn outstanding(&self) -> u64 {
        self.figures.status("sub", "events", true).outstanding
    }

    fn answers(&self) -> Vec<(String, &'static str)> {
        self.answers.lock().unwrap().clone()
    }

    /// The reader is gone; ends the intake.
    async fn end(&mut self) {
        self.phase.send_replace(Phase::Stopping);
        self.deliveries = None;
        (&mut self.task).await.unwrap();
    }
}

fn message(id: &str) -> Message {
    Message::new().set_data(format!("data of {id}")).set_message_id(id)
}

fn stored(topic: &Topic) -> Vec<String> {
    let limit = ReadLimit { messages_max: 1000, bytes_max: 64 << 20, end: None };
    let batch = topic.read(topic.bounds().start, limit).unwrap();
    batch.iter().map(|message| String::from_utf8_lossy(message.data).into_owned()).collect()
}

fn named(answers: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    answers.iter().map(|(id, answer)| ((*id).to_owned(), *answer)).collect()
}

/// Scenario: messages are acknowledged, then the power goes.
/// Guarantees: what was acknowledged is in the log, in order.
#[tokio::test]
async fn what_is_acknowledged_survives_power_loss() {
    let ids: Vec<String> = (0..50).map(|number| format!("{number:02}")).collect();
    let bench = Bench::start(TopicConfig::default(), true);
    bench.deliver_all(ids.iter().map(String::as_str)).await;
    bench.until(|counts| counts.acks == 50).await;
    bench.disk.crash();
    let log = Log::open(Arc::new(bench.disk.process()), Path::new("log"), LogConfig::default()).unwrap();
    let expected: Vec<String> = ids.iter().map(|id| format!("data of {id}")).collect();
    assert_eq!(stored(&log.topic("events").unwrap()), expected);
}

/// Scenario: a disk that syncs nothing for a while.
/// Guarantees: nothing is acknowledged and nothing given back before it is synced; then all of it is acknowledged.
#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_synced() {
    let bench = Bench::start(TopicConfig::default(), true);
    bench.disk.fail_next_syncs(u32::MAX);
    bench.deliver_all(["1", "2"]).await;
    bench.until(|counts| counts.holds >= 2).await;
    assert_eq!((bench.answers(), bench.outstanding()), (named(&[]), 2));
    bench.disk.fail_next_syncs(0);
    bench.until(|counts| counts.acks == 2).await;
    assert_eq!(bench.answers(), named(&[("1", "ack"), ("2", "ack")]));
    assert_eq!(stored(&bench.topic), ["data of 1", "data of 2"]);
}

/// Scenario: messages come again, at once and after the power went.
/// Guarantees: they are recognised, acknowledged again and counted, and stored once.
#[tokio::test]
async fn what_comes_again_is_recognised_also_after_a_restart() {
    let mut bench = Bench::start(TopicConfig::default(), true);
    bench.deliver_all(["1", "2", "1"]).await;
    let counts = bench.until(|counts| counts.acks == 3).await;
    assert_eq!((counts.received, counts.appended, counts.duplicates), (3, 2, 1));
    bench.end().await;
    let disk = bench.disk.clone();
    disk.crash();
    drop(bench);
    let bench = Bench::on(disk, TopicConfig::default(), true);
    bench.deliver_all(["2", "3"]).await;
    let counts = bench.until(|counts| counts.acks == 2).await;
    assert_eq!((counts.appended, counts.duplicates), (1, 1));
    assert_eq!(stored(&bench.topic), ["data of 1", "data of 2", "data of 3"]);
}

/// Scenario: among good messages there is one that is too large for any topic, and one with too many attributes.
/// Guarantees: these two are given back and counted, the others stored and acknowledged.
#[tokio::test]
async fn what_the_log_never_takes_is_given_back() {
    let bench = Bench::start(TopicConfig::default(), true);
    bench.deliver(message("1"), None).await;
    bench.deliver(message("large").set_data(vec![0; MESSAGE_BYTES_MAX + 1]), None).await;
    let many = (0..101).map(|number| (format!("a{number}"), "v"));
    bench.deliver(message("many").set_attributes(many), None).await;
    bench.deliver(message("2"), None).await;
    let counts = bench.until(|counts| counts.acks == 2 && counts.nacks == 2).await;
    assert_eq!((counts.received, counts.appended), (4, 2));
    let mut answers = bench.answers();
    answers.sort();
    assert_eq!(answers, named(&[("1", "ack"), ("2", "ack"), ("large", "nack"), ("many", "nack")]));
    assert_eq!(stored(&bench.topic), ["data of 1", "data of 2"]);
    assert_eq!(bench.outstanding(), 0);
}

/// Scenario: a pipeline holds the topic and the topic is full; then the pipeline goes on.
/// Guarantees: messages are held meanwhile, neither lost nor given back, and the status says why.
#[tokio::test]
async fn a_full_topic_is_waited_for() {
    let bench = Bench::start(TopicConfig { bytes_max: 200, ..TopicConfig::default() }, true);
    bench.topic.hold("pipeline", Offset::ZERO);
    bench.deliver(message("1").set_data(vec![b'x'; 200]), None).await;
    bench.until(|counts| counts.acks == 1).await;
    bench.deliver_all(["2"]).await;
    bench.until(|counts| counts.holds > 0).await;
    let status = bench.figures.status("sub", "events", true);
    assert_eq!(status.state, crate::status::SourceState::Holding);
    assert!(status.error.as_ref().unwrap().contains("takes no more for now"), "{status:?}");
    assert_eq!((bench.answers().len(), bench.outstanding()), (1, 1));
    bench.topic.hold("pipeline", Offset(1));
    bench.until(|counts| counts.acks == 2).await;
    assert_eq!(bench.answers(), named(&[("1", "ack"), ("2", "ack")]));
    assert_eq!(bench.figures.status("sub", "events", true).error, None);
}

/// Scenario: the source is stopped while the topic is full, or after the log was closed.
/// Guarantees: what is held is given back, and the intake ends.
#[tokio::test]
async fn what_is_held_at_the_end_is_given_back() {
    let mut full = Bench::start(TopicConfig { bytes_max: 1, ..TopicConfig::default() }, true);
    full.deliver_all(["0"]).await;
    full.until(|counts| counts.acks == 1).await;
    full.topic.hold("pipeline", Offset::ZERO);
    full.deliver_all(["1"]).await;
    full.until(|counts| counts.holds > 0).await;
    full.end().await;
    assert_eq!(full.answers(), named(&[("0", "ack"), ("1", "nack")]));
    assert_eq!((full.counts().nacks, full.outstanding()), (1, 0));

    let closed = Bench::start(TopicConfig::default(), true);
    closed.log.shutdown();
    closed.deliver_all(["1"]).await;
    closed.until(|counts| counts.nacks == 1).await;
    assert_eq!(closed.answers(), named(&[("1", "nack")]));
}

/// Scenario: the disk is not to be trusted.
/// Guarantees: a message is acknowledged when its row is committed and not before; copies of it as well; what
/// is not committed at the end is given back.
#[tokio::test]
async fn without_a_durable_disk_commits_acknowledge() {
    let mut bench = Bench::start(TopicConfig::default(), false);
    bench.deliver_all(["1", "2", "3", "2"]).await;
    bench.until(|counts| counts.appended == 3 && counts.duplicates == 1).await;
    assert_eq!((bench.counts().acks, bench.outstanding()), (0, 4));
    bench.committed.send_replace(Offset(2));
    bench.until(|counts| counts.acks == 3).await;
    // It is committed already when it comes again.
    bench.deliver_all(["1"]).await;
    bench.until(|counts| counts.acks == 4).await;
    bench.end().await;
    assert_eq!(bench.counts().nacks, 1);
    assert_eq!(bench.answers().last().unwrap(), &("3".to_owned(), "nack"));
    assert_eq!(bench.outstanding(), 0);
}

/// Scenario: an exactly-once subscription confirms one ack and not the other.
/// Guarantees: only what is confirmed counts as acknowledged; until then the message takes its place.
#[tokio::test]
async fn confirmations_are_counted() {
    let bench = Bench::start(TopicConfig::default(), true);
    let ((good, good_said), (bad, bad_said)) = (oneshot::channel(), oneshot::channel());
    bench.deliver(message("1"), Some(good_said)).await;
    bench.deliver(message("2"), Some(bad_said)).await;
    bench.until(|counts| counts.appended == 2).await;
    assert_eq!((bench.counts().acks, bench.outstanding()), (0, 2));
    good.send(Ok(())).unwrap();
    bad.send(Err("the lease has expired".to_owned())).unwrap();
    bench.until(|counts| counts.acks == 1 && counts.ack_failures == 1).await;
    while bench.outstanding() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn appends_are_bounded_by_bytes() {
    let answer = || {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let place = Place::new(&Arc::new(Figures::new("test")), room);
        Answer { receipt: (), place }
    };
    let fit = |bytes: usize| Fit { message: NewMessage::from_data(vec![0; bytes]), answer: answer() };
    let mut batch = vec![fit(APPEND_BYTES_MAX + 1), fit(APPEND_BYTES_MAX), fit(1), fit(1)];
    let parts: Vec<usize> =
        std::iter::from_fn(|| (!batch.is_empty()).then(|| first_append(&mut batch).len())).collect();
    assert_eq!(parts, [1, 1, 2]);
}
