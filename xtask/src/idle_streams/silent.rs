//! Connections that say nothing.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;

use super::message;
use crate::pubsub::Clients;
use crate::server::Server;

/// More than the port takes, and few enough that they are all open before the first one loses its place.
const CONNECTIONS: usize = 100;
/// Bounds a failure only: the server gives a silent connection ten seconds.
const LIMIT: Duration = Duration::from_secs(120);
/// Opens more of them than the port takes, and publishes behind them.
pub fn run(runtime: &Runtime, server: &Server, address: &str, topic: &str) -> Result<()> {
    let mut silent = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        silent.push(TcpStream::connect(address).with_context(|| format!("connection {number}"))?);
    }
    ensure!(server.api().ready(), "the other ports do not answer while one is full");
    let started = Instant::now();
    runtime.block_on(async {
        let mut clients = Clients::new(address)?;
        let published = clients.publisher.publish(message(topic.to_owned()));
        let published = tokio::time::timeout(LIMIT, published).await;
        published.context("a client behind silent connections is never answered")?.context("cannot publish")
    })?;
    let waited = started.elapsed();
    let metric = |name: &str| server.api().metric(name);
    let put_off = metric("millrace_connections_put_off_total")?;
    ensure!(put_off > 0.0, "no metric says that connections waited");
    let closed = metric("millrace_connections_silent_total")?;
    ensure!(closed > 0.0, "no metric says that silent connections were closed");
    ensure!(metric("millrace_accept_errors_total")? == 0.0, "connections could not be accepted");
    println!(
        "idle-streams: behind {CONNECTIONS} silent connections a client was answered after {:.1} s ({put_off} waited, \
         {closed} were closed so far)",
        waited.as_secs_f64()
    );
    Ok(())
}
