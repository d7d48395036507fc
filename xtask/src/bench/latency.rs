//! Accept to queryable at a steady rate: a marked record's acknowledgement starts the clock, the first
//! query that returns it stops it. The query is really run, once per commit, and its own time counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use super::bodies::{self, PROBE_SERVICE};
use super::generator::{deliver, first_nanos};
use super::report::{Figure, Floor};
use crate::machine::percentile;
use crate::otlp::RawLogsClient;
use crate::server::{Api, Launch};
use crate::wait;

/// Requests per second that the rate is spread over.
const TICKS_PER_SECOND: u64 = 50;
/// Probes per second.
const PROBES_PER_SECOND: u64 = 10;
/// How often the table is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A probe not seen within this time is lost.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// Measures at a rate (events per second) for a time.
pub fn measure(
    bench: &'static str,
    launch: &Launch,
    rate: u64,
    time: Duration,
    floor: Option<Floor>,
) -> Result<Vec<Figure>> {
    let mut server = launch.start_ready()?;
    let sending_done = AtomicBool::new(false);
    let (acked, acks) = channel();
    let (load, mut latencies) = std::thread::scope(|scope| -> Result<_> {
        let watcher = scope.spawn({
            let (api, sending_done) = (launch.api(), &sending_done);
            move || watch(&api, &acks, sending_done)
        });
        let load = send_at_rate(&launch.grpc_url(), rate, time, &acked);
        sending_done.store(true, Relaxed);
        let latencies = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?;
        Ok((load?, latencies?))
    })?;
    server.stop()?;
    latencies.sort();
    let seconds = |share| percentile(&latencies, share).as_secs_f64();
    Ok(vec![
        Figure::new(bench, "accept to queryable, p50", seconds(0.5), "s"),
        Figure::new(bench, "accept to queryable, p99", seconds(0.99), "s").with_floor(floor),
        Figure::new(bench, "accept to queryable, worst", seconds(1.0), "s"),
        Figure::new(bench, "request to acknowledgement, p99", load.ack_p99.as_secs_f64(), "s"),
        Figure::new(bench, "rate reached", load.rate(), "events/s"),
        Figure::new(bench, "probes", latencies.len() as f64, ""),
    ])
}

/// A probe's number and when its acknowledgement came.
pub(super) type Ack = (u64, Instant);

/// What was sent.
pub(super) struct Load {
    records: u64,
    elapsed: Duration,
    ack_p99: Duration,
}

impl Load {
    /// Records a second.
    pub(super) fn rate(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends requests on a fixed timetable, whether or not earlier ones are answered (an open loop: a slow
/// server does not slow its producers), with probes between them.
pub(super) fn send_at_rate(url: &str, rate: u64, time: Duration, acked: &Sender<Ack>) -> Result<Load> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let per_tick = rate / TICKS_PER_SECOND;
    let records_per_tick = usize::try_from(per_tick)?;
    let mut bodies = (0..TICKS_PER_SECOND)
        .map(|seed| bodies::synthetic(records_per_tick, seed))
        .collect::<Result<Vec<_>>>()?;
    let bodies_count = bodies.len();
    let mut nanos = first_nanos()?;
    runtime.block_on(async {
        let client = RawLogsClient::new(url, false)?;
        let mut requests = tokio::task::JoinSet::new();
        let mut timetable = tokio::time::interval(Duration::from_secs(1) / TICKS_PER_SECOND as u32);
        timetable.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let start = Instant::now();
        let mut records = 0;
        for tick in 0..time.as_secs() * TICKS_PER_SECOND {
            timetable.tick().await;
            let body = &mut bodies[tick as usize % bodies_count];
            body.stamps.stamp(&mut body.bytes, nanos);
            nanos += per_tick;
            records += per_tick;
            let bytes = Bytes::copy_from_slice(&body.bytes);
            requests.spawn(send_one(client.clone(), bytes, None));
            if tick % (TICKS_PER_SECOND / PROBES_PER_SECOND) == 0 {
                let probe = bodies::probe(tick, nanos)?;
                nanos += 1;
                requests.spawn(send_one(client.clone(), probe.bytes.into(), Some((tick, acked.clone()))));
            }
        }
        let mut times = Vec::new();
        while let Some(request) = requests.join_next().await {
            times.push(request.context("a request panicked")??);
        }
        times.sort();
        Ok(Load { records, elapsed: start.elapsed(), ack_p99: percentile(&times, 0.99) })
    })
}

async fn send_one(
    mut client: RawLogsClient,
    bytes: Bytes,
    probe: Option<(u64, Sender<Ack>)>,
) -> Result<Duration> {
    let start = Instant::now();
    deliver(&mut client, bytes).await?;
    if let Some((number, acked)) = probe {
        // Nobody may watch; a watcher has gone only when it has failed, and then its error is the one to show.
        let _ = acked.send((number, Instant::now()));
    }
    Ok(start.elapsed())
}

/// Looks for probes in what each commit adds, until all acknowledged ones are seen.
fn watch(api: &Api, acks: &Receiver<Ack>, sending_done: &AtomicBool) -> Result<Vec<Duration>> {
    let mut seen_to = api.progress()?.next_offset;
    let mut acked = HashMap::<u64, Instant>::new();
    let mut seen = HashMap::<u64, Instant>::new();
    let mut done_since = None;
    loop {
        // Read before the acknowledgements: what is sent before this is received below.
        let done = sending_done.load(Relaxed);
        let next = api.progress()?.next_offset;
        if next > seen_to {
            let now_seen = probes_between(api, seen_to, next)?;
            let now = Instant::now();
            seen.extend(now_seen.into_iter().map(|number| (number, now)));
            seen_to = next;
        }
        acked.extend(acks.try_iter());
        if done && acked.keys().all(|number| seen.contains_key(number)) {
            // A probe can be committed before its acknowledgement has reached the producer.
            let latency = |(number, at): (&u64, &Instant)| {
                seen.get(number).map(|seen| seen.saturating_duration_since(*at))
            };
            return Ok(acked.iter().filter_map(latency).collect());
        }
        if done && done_since.get_or_insert_with(Instant::now).elapsed() > PROBE_LIMIT {
            bail!("{} of {} probes were seen within {PROBE_LIMIT:?}", seen.len(), acked.len());
        }
        wait::pause(POLL_INTERVAL);
    }
}

fn probes_between(api: &Api, first: u64, next: u64) -> Result<Vec<u64>> {
    let service = PROBE_SERVICE.replace('-', "_");
    let rows = api.query(&format!(
        "SELECT trace FROM telemetry.gemini_raw_logs \
         WHERE _offset >= {first} AND _offset < {next} AND logName = 'projects/local/logs/{service}'"
    ))?;
    let number = |row: &Vec<serde_json::Value>| {
        let trace = row.first()?.as_str()?;
        u64::from_str_radix(trace.get(trace.len().checked_sub(16)?..)?, 16).ok()
    };
    rows.iter()
        .map(|row| number(row).with_context(|| format!("a probe without its trace: {row:?}")))
        .collect()
}
