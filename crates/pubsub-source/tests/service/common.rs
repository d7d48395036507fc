//! A Pub/Sub server that can lose its power, and a log that can, too.

use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_pubsub::client::{Publisher, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{Message, Subscription};
use millrace_disk::sim::SimDisk;
use millrace_log::{Log, LogConfig, Topic, TopicConfig};
use millrace_model::{ReadLimit, Source as _};
use millrace_pubsub::{Broker, PubsubConfig, SubscriptionFigures};
use millrace_pubsub_source::{Counts, Endpoint, Input, Source, SourceConfig};
use tokio::runtime::{Handle, Runtime};
use tokio::time::Instant;

/// The longest wait for what has to come: far longer than it takes, so that a slow machine is no failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// The service, with a topic and a subscription.
pub struct World {
    endpoint: String,
    /// No two tests on one emulator have the same.
    project: String,
    own: Option<Own>,
}

/// The service when it is that of this project.
struct Own {
    disk: SimDisk,
    /// Stays bound through all lives, so that nobody else gets the port in between.
    listener: TcpListener,
    server: Option<Server>,
}

/// One life of the service.
struct Server {
    broker: Arc<Broker>,
    /// Its connections end with it.
    runtime: Runtime,
}

impl World {
    pub async fn start() -> Self {
        let (disk, listener) = (SimDisk::new(3), TcpListener::bind("127.0.0.1:0").unwrap());
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = Some(Server::open(&disk, &listener));
        let world = Self { endpoint, project: "p".to_owned(), own: Some(Own { disk, listener, server }) };
        world.furnish().await;
        world
    }

    /// A service that runs already.
    #[cfg(feature = "googles-emulator")]
    pub async fn at(address: &str) -> Self {
        let project = format!("p{}", std::process::id());
        let world = Self { endpoint: format!("http://{address}"), project, own: None };
        world.furnish().await;
        world
    }

    async fn furnish(&self) {
        let topics = TopicAdmin::builder().with_endpoint(&self.endpoint).with_credentials(nobody());
        topics.build().await.unwrap().create_topic().set_name(self.topic()).send().await.unwrap();
        self.subscribe(&self.subscription(), |subscription| subscription).await;
    }

    pub fn topic(&self) -> String {
        format!("projects/{}/topics/top", self.project)
    }

    pub fn subscription(&self) -> String {
        format!("projects/{}/subscriptions/sub", self.project)
    }

    /// What the service answers with, for a listener of another kind.
    pub fn router(&self) -> axum::Router {
        self.own.as_ref().and_then(|own| own.server.as_ref()).unwrap().broker.router()
    }

    /// The power goes, and comes back.
    pub async fn restart(&mut self) {
        let own = self.own.as_mut().unwrap();
        let server = own.server.take().unwrap();
        own.disk.crash();
        tokio::task::spawn_blocking(|| server.end()).await.unwrap();
        own.server = Some(Server::open(&own.disk, &own.listener));
    }

    /// A source of the subscription.
    pub fn config(&self) -> SourceConfig {
        SourceConfig { input: Input::Subscription(self.subscription()), ..config(&self.endpoint) }
    }

    async fn admin(&self) -> SubscriptionAdmin {
        let builder = SubscriptionAdmin::builder().with_endpoint(&self.endpoint);
        builder.with_credentials(nobody()).build().await.unwrap()
    }

    pub async fn subscribe(&self, name: &str, change: impl FnOnce(Subscription) -> Subscription) {
        let subscription = change(Subscription::new().set_name(name).set_topic(self.topic()));
        self.admin().await.create_subscription().with_request(subscription).send().await.unwrap();
    }

    pub async fn publish(&self, messages: impl IntoIterator<Item = Message>) {
        let builder =
            Publisher::builder(self.topic()).with_endpoint(&self.endpoint).with_credentials(nobody());
        let publisher = builder.build().await.unwrap();
        let published: Vec<_> = messages.into_iter().map(|message| publisher.publish(message)).collect();
        for id in published {
            id.await.unwrap();
        }
    }

    pub async fn seek_to_the_beginning(&self) {
        let beginning = google_cloud_wkt::Timestamp::clamp(0, 0);
        self.admin()
            .await
            .seek()
            .set_subscription(self.subscription())
            .set_time(beginning)
            .send()
            .await
            .unwrap();
    }

    /// Waits until the service has nothing left for the subscription.
    pub async fn drained(&self) {
        until(|| self.backlog() == 0, || format!("{} messages are left", self.backlog())).await;
    }

    fn backlog(&self) -> u64 {
        self.figures().backlog_messages
    }

    /// Messages of the subscription that the service has given to somebody, whose deadline has not passed.
    pub fn leased(&self) -> u64 {
        self.figures().leased_messages
    }

    fn figures(&self) -> SubscriptionFigures {
        let server = self.own.as_ref().and_then(|own| own.server.as_ref()).unwrap();
        let figures = server.broker.figures();
        figures.into_iter().find(|figures| figures.name == self.subscription()).unwrap()
    }

    pub async fn subscriptions(&self) -> Vec<String> {
        let listed = self
            .admin()
            .await
            .list_subscriptions()
            .set_project(format!("projects/{}", self.project))
            .send()
            .await
            .unwrap();
        listed.subscriptions.into_iter().map(|subscription| subscription.name).collect()
    }
}

impl Server {
    fn open(disk: &SimDisk, listener: &TcpListener) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let process = Arc::new(disk.process());
        let log = Log::open(Arc::clone(&process) as _, Path::new("log"), LogConfig::default()).unwrap();
        let (config, log) = (PubsubConfig::new("local".to_owned()), Arc::new(log));
        let broker =
            Broker::open(config, process, Path::new("pubsub"), log, runtime.handle().clone()).unwrap();
        let router = broker.router();
        let listener = listener.try_clone().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Self { broker, runtime }
    }

    /// Without a word to anybody; its connections are closed when this returns.
    fn end(self) {
        self.runtime.shutdown_timeout(PATIENCE);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(server) = self.own.as_mut().and_then(|own| own.server.take()) {
            server.runtime.shutdown_background();
        }
    }
}

/// What is in a message of the log.
#[derive(Debug)]
pub struct Stored {
    pub data: Vec<u8>,
    pub ordering_key: String,
    pub attributes: Vec<(String, String)>,
}

/// The topic that a source fills.
pub struct Sink {
    disk: SimDisk,
    _log: Log,
    topic: Arc<Topic>,
}

impl Sink {
    pub fn new() -> Self {
        Self::on(SimDisk::new(4))
    }

    fn on(disk: SimDisk) -> Self {
        let log = Log::open(Arc::new(disk.process()), Path::new("log"), LogConfig::default()).unwrap();
        let topic = log.create_topic("events", TopicConfig::default()).unwrap();
        Self { disk, _log: log, topic }
    }

    /// The power goes, and comes back.
    pub fn crash(self) -> Self {
        self.disk.crash();
        let disk = self.disk.clone();
        drop(self);
        Self::on(disk)
    }

    /// Every sync fails from here on.
    pub fn take_nothing(&self) {
        self.disk.fail_next_syncs(u32::MAX);
    }

    /// The disk is well again.
    pub fn take_all(&self) {
        self.disk.fail_next_syncs(0);
    }

    pub fn read(&self, config: SourceConfig) -> Source {
        self.read_on(config, &Handle::current())
    }

    pub fn read_on(&self, config: SourceConfig, runtime: &Handle) -> Source {
        Source::start(config, Arc::clone(&self.topic), runtime).unwrap()
    }

    pub fn messages(&self) -> Vec<Stored> {
        let bounds = self.topic.bounds();
        let mut stored = Vec::new();
        let mut from = bounds.start;
        while from < bounds.end {
            let limit = ReadLimit { messages_max: 10_000, bytes_max: 64 << 20, end: Some(bounds.end) };
            let batch = self.topic.read(from, limit).unwrap();
            stored.extend(batch.iter().map(|message| Stored {
                data: message.data.to_vec(),
                ordering_key: String::from_utf8(message.ordering_key.to_vec()).unwrap(),
                attributes:
                    message.attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            }));
            from = batch.next_offset().unwrap();
        }
        stored
    }

    /// The numbered messages from 0 to `count`, each once, and no others.
    pub fn holds_exactly(&self, count: usize) {
        let mut stored: Vec<Vec<u8>> = self.messages().into_iter().map(|message| message.data).collect();
        stored.sort();
        let mut expected: Vec<Vec<u8>> = numbered(0..count).map(|message| message.data.to_vec()).collect();
        expected.sort();
        assert_eq!(stored.len(), expected.len(), "messages are missing or there twice");
        assert!(stored == expected, "other messages than those that were published");
    }

    pub async fn until_there_are(&self, count: u64) {
        until(|| self.topic.bounds().end.0 >= count, || format!("{:?}", self.topic.bounds())).await;
    }

    pub async fn until(&self, source: &Source, done: impl Fn(&Counts) -> bool) -> Counts {
        until(|| done(&source.status().counts), || format!("{:?}", source.status())).await;
        source.status().counts
    }
}

async fn until(done: impl Fn() -> bool, now: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it never came: {}", now());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A source of a subscription at that endpoint.
pub fn config(endpoint: &str) -> SourceConfig {
    let input = Input::Subscription("projects/p/subscriptions/sub".to_owned());
    SourceConfig {
        endpoint: Endpoint::parse(endpoint).unwrap(),
        ack_deadline: Duration::from_secs(10),
        backoff_max: Duration::from_secs(1),
        probe_after: Duration::from_millis(500),
        ..SourceConfig::new("test".to_owned(), input, [9; 32])
    }
}

pub fn numbered(numbers: Range<usize>) -> impl Iterator<Item = Message> {
    numbers.map(|number| Message::new().set_data(format!("message {number}")))
}

fn nobody() -> Credentials {
    anonymous::Builder::new().build()
}
