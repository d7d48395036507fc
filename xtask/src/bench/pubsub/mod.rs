//! The Pub/Sub port under load, and whatever else speaks Pub/Sub beside it.

mod backlog;
mod consume;
mod latency;
mod load;
mod resources;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::report::{Figure, Floor};
use crate::children;
use crate::machine::percentile;
use crate::server::Launch;
use consume::{Consumed, consume};
use load::{Load, publish};
use resources::Resources;

/// Bytes of a message's data, where nothing else is said.
const BYTES: usize = 1_000;
/// Subscriptions that a topic fans out to.
const FAN_OUT: u64 = 10;
/// What has to be reached, in messages a second.
const FLOOR: Option<Floor> = Some(Floor::AtLeast(50_000.0));

/// How much is sent, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Messages of 1 kB, in batches.
    pub messages: u64,
    /// Small messages of the backlog.
    pub backlog: u64,
    /// How long latency is measured.
    pub latency: Duration,
    /// Another server, as `host:port`, that is measured in the same run.
    pub emulator: Option<&'a str>,
}

/// Measures the real binary, then the other server if there is one.
pub fn measure(launch: &Launch, plan: Plan<'_>) -> Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut server = launch.start_ready()?;
    let address = format!("127.0.0.1:{}", launch.pubsub_port());
    let own = Bench { name: "pubsub", runtime: &runtime, address: &address, plan, floor: FLOOR };
    let cpu = |pid| children::cpu_seconds(pid);
    let (server_before, clients_before) = (cpu(server.pid())?, cpu(std::process::id())?);
    let mut figures = own.run()?;
    let server_cpu = cpu(server.pid())? - server_before;
    let clients_cpu = cpu(std::process::id())? - clients_before;
    figures.push(Figure::new("pubsub", "server CPU for all of this", server_cpu, "CPU s"));
    let share = 100.0 * clients_cpu / (clients_cpu + server_cpu);
    figures.push(Figure::new("pubsub", "clients' share of all CPU used", share, "%"));
    let peak_bytes = children::memory_bytes(server.pid(), "VmHWM")?;
    figures.push(Figure::new("pubsub", "peak RSS", peak_bytes as f64 / 1e6, "MB"));
    server.stop()?;
    figures.extend(backlog::measure("pubsub", &runtime, launch, plan.backlog)?);
    if let Some(address) = plan.emulator {
        let other = Bench { name: "pubsub-emulator", address, floor: None, ..own };
        figures.extend(other.run().with_context(|| format!("the other server at {address}"))?);
    }
    Ok(figures)
}

/// What is asked of one server.
struct Bench<'a> {
    name: &'static str,
    runtime: &'a Runtime,
    address: &'a str,
    plan: Plan<'a>,
    floor: Option<Floor>,
}

impl Bench<'_> {
    fn run(&self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        // Single messages cost a round trip each, so there are fewer of them.
        for (per_request, in_flight, share) in [(1, 64, 5), (100, 8, 1), (1_000, 4, 1)] {
            let load = Load { messages: self.plan.messages / share, per_request, in_flight, bytes: BYTES };
            figures.extend(self.runtime.block_on(self.publish_only(load))?);
        }
        figures.extend(self.runtime.block_on(self.deliver())?);
        figures.extend(self.runtime.block_on(self.fan_out())?);
        figures.extend(self.runtime.block_on(self.latency())?);
        Ok(figures)
    }

    fn figure(&self, what: &str, value: f64, unit: &'static str) -> Figure {
        Figure::new(self.name, what, value, unit)
    }

    async fn publish_only(&self, load: Load) -> Result<Vec<Figure>> {
        let topic = Resources::new(self.address)?.topic(&format!("publish-{}", load.per_request)).await?;
        let published = publish(self.address, &topic, load).await?;
        let rate = load.messages as f64 / published.elapsed.as_secs_f64();
        let what = format!("published, {} of 1 kB a request, {} in flight", load.per_request, load.in_flight);
        let floor = self.floor.filter(|_| load.per_request == 100);
        let mut figures = vec![self.figure(&what, rate, "msg/s").with_floor(floor)];
        if published.put_off > 0 {
            figures.push(self.figure("requests put off", published.put_off as f64, ""));
        }
        Ok(figures)
    }

    fn batches(&self, messages: u64) -> Load {
        Load { messages, per_request: 100, in_flight: 8, bytes: BYTES }
    }

    /// A backlog over one stream.
    async fn deliver(&self) -> Result<Vec<Figure>> {
        let mut resources = Resources::new(self.address)?;
        let topic = resources.topic("deliver").await?;
        let subscription = resources.subscription("deliver", &topic).await?;
        publish(self.address, &topic, self.batches(self.plan.messages)).await?;
        let consumed = consume(self.address, &subscription, self.plan.messages, |_| {}).await?;
        let rate = self.plan.messages as f64 / consumed.elapsed().as_secs_f64();
        let mut figures =
            vec![self.figure("delivered over one stream and acked", rate, "msg/s").with_floor(self.floor)];
        figures.extend(self.again(consumed.again));
        Ok(figures)
    }

    fn again(&self, again: u64) -> Option<Figure> {
        (again > 0).then(|| self.figure("of them delivered more than once", again as f64, ""))
    }

    /// Many subscriptions, each with a stream that is open while everything is published.
    async fn fan_out(&self) -> Result<Vec<Figure>> {
        let messages = self.plan.messages / 5;
        let mut resources = Resources::new(self.address)?;
        let topic = resources.topic("fan-out").await?;
        let mut streams = JoinSet::new();
        for number in 0..FAN_OUT {
            let subscription = resources.subscription(&format!("fan-out-{number}"), &topic).await?;
            let address = self.address.to_owned();
            streams.spawn(async move { consume(&address, &subscription, messages, |_| {}).await });
        }
        let started = std::time::Instant::now();
        let published = publish(self.address, &topic, self.batches(messages)).await?;
        let mut consumed: Vec<Consumed> = Vec::new();
        while let Some(stream) = streams.join_next().await {
            consumed.push(stream.context("a subscriber panicked")??);
        }
        let ended = consumed.iter().map(|consumed| consumed.ended).max().unwrap_or(started);
        let in_rate = messages as f64 / published.elapsed.as_secs_f64();
        let out_rate = (messages * FAN_OUT) as f64 / (ended - started).as_secs_f64();
        let mut figures = vec![
            self.figure("published while 10 subscriptions stream", in_rate, "msg/s"),
            self.figure("delivered and acked by all 10 together", out_rate, "msg/s"),
        ];
        figures.extend(self.again(consumed.iter().map(|consumed| consumed.again).sum()));
        Ok(figures)
    }

    async fn latency(&self) -> Result<Vec<Figure>> {
        let mut resources = Resources::new(self.address)?;
        let topic = resources.topic("latency").await?;
        let subscription = resources.subscription("latency", &topic).await?;
        let times = latency::measure(self.address, &topic, &subscription, self.plan.latency).await?;
        let millis = |share| percentile(&times, share).as_secs_f64() * 1e3;
        Ok(vec![
            self.figure("publish to delivery at 1,000 msg/s, p50", millis(0.5), "ms"),
            self.figure("publish to delivery at 1,000 msg/s, p99", millis(0.99), "ms"),
        ])
    }
}
