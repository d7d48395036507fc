//! Sends as fast as the server takes it, on one thread, spending as little as it can: bodies are
//! encoded beforehand and only get new times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use super::bodies::Body;
use crate::children;
use crate::otlp::{RawLogsClient, is_put_off};

/// Requests in flight: enough to fill a group commit, few enough to hold in memory.
const IN_FLIGHT: usize = 8;
/// Attempts of one request that the server puts off before the benchmark gives up.
const ATTEMPTS_MAX: u32 = 600;
/// Between those attempts.
const PUT_OFF_PAUSE: Duration = Duration::from_millis(50);

/// What was sent.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sent {
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of their requests.
    pub bytes: u64,
    /// Attempts that the server put off.
    pub put_off: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// CPU seconds that this process used meanwhile.
    pub cpu_seconds: f64,
}

/// Nanoseconds since 1970, less an hour: records sent in one go get times that are a nanosecond apart
/// and must not lie ahead of the clock.
pub fn first_nanos() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok((now - Duration::from_secs(3_600)).as_nanos() as u64)
}

/// Sends the bodies in turn until at least `records` records are acknowledged.
pub fn send(url: &str, bodies: &[Body], records: u64) -> Result<Sent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cpu_before = children::cpu_seconds(std::process::id())?;
    let start = Instant::now();
    let shared = Arc::new(Shared {
        bodies: bodies.to_vec(),
        next_body: AtomicU64::new(0),
        next_nanos: AtomicU64::new(first_nanos()?),
        issued: AtomicU64::new(0),
        wanted: records,
    });
    let mut sent = runtime.block_on(async {
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let (shared, client) = (shared.clone(), RawLogsClient::new(url, false)?);
            workers.spawn(async move { work(&shared, client).await });
        }
        let mut sum = Sent::default();
        while let Some(worker) = workers.join_next().await {
            let part = worker.context("a sender panicked")??;
            sum.records += part.records;
            sum.bytes += part.bytes;
            sum.put_off += part.put_off;
        }
        anyhow::Ok(sum)
    })?;
    sent.elapsed = start.elapsed();
    sent.cpu_seconds = children::cpu_seconds(std::process::id())? - cpu_before;
    Ok(sent)
}

struct Shared {
    bodies: Vec<Body>,
    next_body: AtomicU64,
    next_nanos: AtomicU64,
    issued: AtomicU64,
    wanted: u64,
}

async fn work(shared: &Shared, mut client: RawLogsClient) -> Result<Sent> {
    let mut bodies = shared.bodies.clone();
    let mut sent = Sent::default();
    loop {
        let turn = shared.next_body.fetch_add(1, Relaxed) as usize % bodies.len();
        let body = &mut bodies[turn];
        let records = body.stamps.records() as u64;
        if shared.issued.fetch_add(records, Relaxed) >= shared.wanted {
            return Ok(sent);
        }
        body.stamps.stamp(&mut body.bytes, shared.next_nanos.fetch_add(records, Relaxed));
        sent.put_off += deliver(&mut client, Bytes::copy_from_slice(&body.bytes)).await?;
        sent.records += records;
        sent.bytes += body.bytes.len() as u64;
    }
}

/// Sends one request until it is acknowledged; gives how often it was put off.
pub async fn deliver(client: &mut RawLogsClient, body: Bytes) -> Result<u64> {
    for attempt in 0..ATTEMPTS_MAX {
        match client.export(body.clone()).await {
            Ok(_) => return Ok(u64::from(attempt)),
            Err(status) if is_put_off(&status) => {
                tokio::time::sleep(PUT_OFF_PAUSE).await;
            }
            Err(status) => bail!("the server refused a request: {status}"),
        }
    }
    bail!("the server put a request off {ATTEMPTS_MAX} times")
}
