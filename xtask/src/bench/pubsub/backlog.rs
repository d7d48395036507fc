//! What a backlog that nobody takes costs in memory.

use anyhow::Result;
use tokio::runtime::Runtime;

use super::load::{Load, publish};
use super::resources::{PROJECT, Resources};
use crate::bench::report::{Figure, Floor};
use crate::children;
use crate::server::Launch;

/// Bytes of a message's data.
const BYTES: usize = 16;
/// What the server may need more for ten times the backlog, in megabytes.
const GROWTH_MEGABYTES_MAX: f64 = 100.0;

/// Publishes so many small messages to a topic with two subscriptions that take none, and looks at the server's
/// memory after a tenth, after all, and after a restart.
pub fn measure(
    bench: &'static str,
    runtime: &Runtime,
    launch: &Launch,
    messages: u64,
) -> Result<Vec<Figure>> {
    let mut server = launch.start_ready()?;
    let address = format!("127.0.0.1:{}", launch.pubsub_port());
    let topic = runtime.block_on(async {
        let mut resources = Resources::new(&address)?;
        let topic = resources.topic("backlog").await?;
        resources.subscription("backlog-1", &topic).await?;
        resources.subscription("backlog-2", &topic).await?;
        anyhow::Ok(topic)
    })?;
    let memory = |pid| anyhow::Ok(children::memory_bytes(pid, "VmRSS")? as f64 / 1e6);
    let empty = memory(server.pid())?;
    let load = |messages| Load { messages, per_request: 1_000, in_flight: 4, bytes: BYTES };
    runtime.block_on(publish(&address, &topic, load(messages / 10)))?;
    let tenth = memory(server.pid())?;
    runtime.block_on(publish(&address, &topic, load(messages - messages / 10)))?;
    let whole = memory(server.pid())?;
    server.stop()?;
    let mut server = launch.start_ready()?;
    let restarted = memory(server.pid())?;
    runtime.block_on(check_backlog(&address))?;
    server.stop()?;
    let row = |what: &str, value| Figure::new(bench, what, value, "MB");
    let millions = |messages: u64| format!("{} million messages", messages as f64 / 1e6);
    Ok(vec![
        row("RSS without a backlog", empty),
        row(&format!("RSS with a backlog of {}", millions(messages / 10)), tenth),
        row(&format!("RSS with a backlog of {}", millions(messages)), whole),
        row("growth from the one to the other", whole - tenth)
            .with_floor(Some(Floor::AtMost(GROWTH_MEGABYTES_MAX))),
        row("RSS after a restart with that backlog", restarted),
    ])
}

/// The backlog is really there: a message of it comes.
async fn check_backlog(address: &str) -> Result<()> {
    Resources::new(address)?.first_message(&format!("{PROJECT}/subscriptions/backlog-1")).await?;
    Ok(())
}
