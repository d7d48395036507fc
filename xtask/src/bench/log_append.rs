//! The log alone: appends of 1 kB messages by 1, 16 and 256 producers, each waiting for its own
//! acknowledgement. Shows what group commit gives.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use millrace_disk::StdDisk;
use millrace_log::{Log, LogConfig, Topic, TopicConfig};
use millrace_model::NewMessage;

use super::report::Figure;
use crate::machine::percentile;

/// What one message weighs.
const MESSAGE_BYTES: usize = 1_000;
/// Producers at once, per measurement.
const PRODUCERS: [usize; 3] = [1, 16, 256];

/// Measures each number of producers for a time.
pub fn measure(directory: &Path, time: Duration) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for producers in PRODUCERS {
        let root = directory.join(format!("log-{producers}"));
        let log = Log::open(Arc::new(StdDisk), &root, LogConfig::default()).context("cannot open a log")?;
        let topic = log.create_topic("bench", TopicConfig::default()).context("cannot create a topic")?;
        let start = Instant::now();
        let mut waits = append_from_all(&topic, producers, time)?;
        let elapsed = start.elapsed().as_secs_f64();
        waits.sort();
        let plural = if producers == 1 { "" } else { "s" };
        let named = |what: &str| format!("{what}, {producers} producer{plural}");
        figures.push(Figure::new(
            "log",
            &named("durable appends of 1 kB"),
            waits.len() as f64 / elapsed,
            "/s",
        ));
        let p99 = percentile(&waits, 0.99).as_secs_f64() * 1e3;
        figures.push(Figure::new("log", &named("wait for an append, p99"), p99, "ms"));
    }
    Ok(figures)
}

fn append_from_all(topic: &Arc<Topic>, producers: usize, time: Duration) -> Result<Vec<Duration>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(|| append_for(topic, time))).collect();
        let mut waits = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(part) => waits.extend(part?),
                Err(_) => bail!("a producer panicked"),
            }
        }
        Ok(waits)
    })
}

fn append_for(topic: &Arc<Topic>, time: Duration) -> Result<Vec<Duration>> {
    let payload = Bytes::from(vec![b'x'; MESSAGE_BYTES]);
    let end = Instant::now() + time;
    let mut waits = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        topic.append(vec![NewMessage::from_data(payload.clone())]).wait().context("append failed")?;
        waits.push(start.elapsed());
    }
    Ok(waits)
}
