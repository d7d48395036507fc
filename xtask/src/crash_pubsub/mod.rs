//! `cargo xtask crash-pubsub`: the conservation oracle on the Pub/Sub port of the real binary.
//!
//! Publishers publish, lose replies and retry; subscribers of seven kinds of subscriptions stream and pull, ack,
//! give back, forget and hang up; one goes back to snapshots. The server is killed with -9 at random moments
//! and started again. Every acknowledged publish must come to every subscription; keys in order; what was
//! confirmed to an exactly-once subscriber never again; after a seek exactly what was open at the snapshot, and
//! what came later; in the tables of BigQuery subscriptions each message once; and enough must have happened for that to mean something.

mod lake;
mod ledger;
mod message;
mod oracle;
mod order;
mod peace;
mod plan;
mod publisher;
mod rounds;
mod seeker;
mod shared;
mod subscriber;
mod summary;
mod topology;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};

use crate::crash_test::{self, CrashArguments};
use crate::pubsub::Clients;
use crate::server::Launch;
use lake::Written;
use rounds::{kill, start_ready};
use seeker::Seeker;
use shared::Shared;
use subscriber::Subscriber;
use summary::Summary;
use topology::Sub;

/// Publishers; each has keys of its own.
const PUBLISHERS: u64 = 4;
/// Where the numbers of subscribers begin among tasks.
const SUBSCRIBERS_FROM: u64 = 100;

/// Runs the test.
pub fn run(arguments: &CrashArguments) -> Result<()> {
    crash_test::run("crash-pubsub", arguments, |directory, binary| run_in(directory, binary, arguments))
}

fn run_in(directory: &Path, binary: PathBuf, arguments: &CrashArguments) -> Result<Summary> {
    let launch = lake::configure(directory, Launch::inside(directory, binary)?)?;
    let shared = Arc::new(Shared::new(arguments.seed, launch.pubsub_port()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut server = start_ready(&launch, &shared)?;
    runtime.block_on(async {
        let mut clients = Clients::new(&shared.address)?;
        topology::create(&mut clients).await?;
        lake::subscribe(&mut clients).await
    })?;
    server.stop()?;

    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn_on(publisher::run(number, Arc::clone(&shared)), runtime.handle());
    }
    let (subscribers, seeker) = subscribe(&runtime, &shared)?;
    let plan = plan::rounds(arguments.seed, arguments.rounds);
    let killed = rounds::run_all(&plan, &launch, &shared)?;

    // With the server down every call of a subscriber fails, and it ends.
    shared.ending.store(true, Relaxed);
    runtime.block_on(joined(subscribers))?;
    let seeker = runtime.block_on(seeker).context("the seeker panicked")?;
    let written = in_peace(&runtime, &launch, &shared, publishers, seeker)?;
    lake::audit(&launch)?;
    Ok(Summary::of(&shared, arguments.rounds, killed, written))
}

/// Starts the subscribers.
fn subscribe(runtime: &Runtime, shared: &Arc<Shared>) -> Result<(JoinSet<Result<()>>, JoinHandle<Seeker>)> {
    let _inside = runtime.enter();
    let mut subscribers = JoinSet::new();
    let mut task = SUBSCRIBERS_FROM;
    // Two streams share the ordered one; the others are streamed and pulled.
    for (sub, streams, pulls) in [
        (Sub::Plain, 1, 1),
        (Sub::Ordered, 2, 0),
        (Sub::Filtered, 1, 0),
        (Sub::Exact, 1, 1),
        (Sub::Poison, 1, 0),
        (Sub::Letters, 0, 1),
    ] {
        for index in 0..streams + pulls {
            task += 1;
            let subscriber = Subscriber::new(sub, task, shared)?;
            subscribers.spawn(async move {
                match index < streams {
                    true => subscriber.stream().await,
                    false => subscriber.pull().await,
                }
                Ok(())
            });
        }
    }
    subscribers.spawn(lake::move_to_and_fro(Arc::clone(shared)));
    let seeker = Seeker::new(task + 1, shared)?;
    Ok((subscribers, runtime.spawn(seeker.run())))
}

/// The fault-free end.
fn in_peace(
    runtime: &Runtime,
    launch: &Launch,
    shared: &Arc<Shared>,
    publishers: JoinSet<Result<()>>,
    mut seeker: Seeker,
) -> Result<Written> {
    let mut server =
        start_ready(launch, shared).context("the server did not come back after the last fault")?;
    shared.finishing.store(true, Relaxed);
    runtime.block_on(joined(publishers))?;
    runtime.block_on(for_each(all_but_sought(), shared, peace::drain))?;
    runtime.block_on(seeker.drain())?;
    // Every ack was answered: they must be on the disk.
    kill(&mut server)?;
    let mut server = start_ready(launch, shared)?;
    runtime.block_on(for_each(Sub::ALL, shared, peace::nothing_comes))?;
    runtime.block_on(seeker.seek_beginning())?;
    let written = lake::verify(server.api(), &shared.oracle)?;
    server.stop()?;
    Ok(written)
}

/// Subscriptions that anybody may take from: the seeker keeps the books of its own.
fn all_but_sought() -> impl Iterator<Item = Sub> {
    Sub::ALL.into_iter().filter(|sub| *sub != Sub::Sought)
}

/// Does something with subscriptions, all at once.
async fn for_each<F: Future<Output = Result<()>> + Send + 'static>(
    subs: impl IntoIterator<Item = Sub>,
    shared: &Arc<Shared>,
    act: impl Fn(Sub, Arc<Shared>) -> F,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    for sub in subs {
        tasks.spawn(act(sub, Arc::clone(shared)));
    }
    joined(tasks).await
}

async fn joined(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(task) = tasks.join_next().await {
        task.context("a task panicked")??;
    }
    Ok(())
}
