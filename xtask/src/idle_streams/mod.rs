//! `cargo xtask idle-streams`: ten thousand idle streams on the Pub/Sub port of the real binary, then more silent
//! connections than the port takes. The server is started with the soft limit of open files that systems give.

mod silent;
mod streams;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use self::streams::Streams;
use crate::children;
use crate::pubsub::Clients;
use crate::pubsub::v1::{PublishRequest, PubsubMessage, Subscription, Topic};
use crate::server::{Launch, Server};
use crate::{wait, workspace};

/// Topics that streams wait for; a message to each goes to all its subscriptions.
const TOPICS: usize = 10;
const SUBSCRIPTIONS_PER_TOPIC: usize = 10;
/// What a process may open unless it asks for more.
const SOFT_LIMIT: u64 = 1_024;
/// Few connections, so that a port is full before a silent one loses its place.
const CONFIG: &str = "[server]\nconnections_max = 64\n";
/// How long idleness is measured.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// How long the server may take to count streams that were opened or have ended.
const COUNTING_LIMIT: Duration = Duration::from_secs(60);

/// What `cargo xtask idle-streams` takes.
#[derive(clap::Args)]
pub struct IdleStreamsArguments {
    /// Streams to hold open
    #[arg(long, default_value_t = 10_000)]
    streams: usize,
    /// The binary to test instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: &IdleStreamsArguments) -> Result<()> {
    let binary = workspace::binary(arguments.binary.as_deref())?;
    let limit = getrlimit(Resource::Nofile);
    let directory = tempfile::Builder::new().prefix("millrace-idle-streams-").tempdir()?;
    let config = directory.path().join("millrace.toml");
    millrace_disk::write_atomically(&millrace_disk::StdDisk, &config, CONFIG.as_bytes())?;
    let launch = Launch { config: Some(config), ..Launch::inside(directory.path(), binary)? };
    setrlimit(Resource::Nofile, Rlimit { current: Some(SOFT_LIMIT), ..limit })?;
    let mut server = launch.start_ready()?;
    setrlimit(Resource::Nofile, limit)?;

    let address = format!("127.0.0.1:{}", launch.pubsub_port());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    idle(&runtime, &server, &address, arguments.streams)?;
    silent::run(&runtime, &server, &address, &topic(0))?;
    server.stop()
}

/// Holds streams open, uses some, and ends all.
fn idle(runtime: &Runtime, server: &Server, address: &str, count: usize) -> Result<()> {
    let subscriptions = runtime.block_on(create(address))?;
    let megabytes = || anyhow::Ok(children::memory_bytes(server.pid(), "VmRSS")? as f64 / 1e6);
    let (before, started) = (megabytes()?, Instant::now());
    let mut streams = runtime.block_on(Streams::open(address, &subscriptions, count))?;
    let opened = started.elapsed();
    until_there_are(server, count)?;

    let cpu = children::cpu_seconds(server.pid())?;
    wait::pause(IDLE_TIME);
    let cpu = (children::cpu_seconds(server.pid())? - cpu) / IDLE_TIME.as_secs_f64();
    let after = megabytes()?;

    let delivering = Instant::now();
    runtime.block_on(publish(address))?;
    runtime.block_on(streams.deliver(&subscriptions))?;
    let delivered = delivering.elapsed();
    runtime.block_on(streams.end())?;
    until_there_are(server, 0)?;
    println!(
        "idle-streams: {count} streams over {} connections opened in {:.1} s; {before:.0} MB before, {after:.0} MB with \
         them ({:.1} KB each), {:.1} % of a core idle; {TOPICS} messages delivered to {} subscriptions in {:.0} ms; \
         all ended",
        streams::connections(count),
        opened.as_secs_f64(),
        (after - before) * 1e3 / count as f64,
        cpu * 100.0,
        subscriptions.len(),
        delivered.as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Waits until the server counts so many streams: it does a moment after the client knows.
fn until_there_are(server: &Server, count: usize) -> Result<()> {
    let counted = || server.api().metric("millrace_pubsub_streams");
    let done = wait::until(COUNTING_LIMIT, Duration::from_millis(50), || {
        counted().ok().filter(|open| *open == count as f64)
    });
    done.map(drop).with_context(|| format!("the server counts {:?} streams, not {count}", counted()))
}

fn topic(number: usize) -> String {
    format!("projects/idle/topics/topic-{number}")
}

/// Makes the topics and the subscriptions; the names of the latter.
async fn create(address: &str) -> Result<Vec<String>> {
    let mut clients = Clients::new(address)?;
    let mut names = Vec::new();
    for number in 0..TOPICS {
        let resource = Topic { name: topic(number), ..Topic::default() };
        clients.publisher.create_topic(resource).await.context("cannot create a topic")?;
        for of_topic in 0..SUBSCRIPTIONS_PER_TOPIC {
            let name = format!("projects/idle/subscriptions/sub-{number}-{of_topic}");
            let resource =
                Subscription { name: name.clone(), topic: topic(number), ..Subscription::default() };
            clients.subscriber.create_subscription(resource).await.context("cannot subscribe")?;
            names.push(name);
        }
    }
    Ok(names)
}

/// One message to each topic.
async fn publish(address: &str) -> Result<()> {
    let mut clients = Clients::new(address)?;
    for number in 0..TOPICS {
        clients.publisher.publish(message(topic(number))).await.context("cannot publish")?;
    }
    Ok(())
}

/// A request to publish one message.
fn message(topic: String) -> PublishRequest {
    let message = PubsubMessage { data: "wake up".into(), ..PubsubMessage::default() };
    PublishRequest { topic, messages: vec![message] }
}
