//! Start-up and rest: time until ready, memory and CPU of a server that has nothing to do.

use std::time::Duration;

use anyhow::Result;

use super::report::{Figure, Floor};
use crate::children;
use crate::server::Launch;
use crate::wait;

/// Starts per figure; the median counts.
const STARTS: usize = 5;
/// How long a server rests before its memory is read: longer than the first round of compaction and what its
/// allocator takes to give back.
const REST: Duration = Duration::from_secs(30);

/// Measures a data directory as it is: `state` says what is in it.
pub fn measure(launch: &Launch, state: &'static str) -> Result<Vec<Figure>> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let mut server = launch.start()?;
        times.push(server.wait_ready()?);
        server.stop()?;
    }
    times.sort();
    let mut server = launch.start_ready()?;
    wait::pause(REST);
    let pid = server.pid();
    let idle_bytes = children::memory_bytes(pid, "VmRSS")?;
    let cpu_before = children::cpu_seconds(pid)?;
    wait::pause(REST);
    let idle_cpu = (children::cpu_seconds(pid)? - cpu_before) / REST.as_secs_f64();
    server.stop()?;
    let named = |what: &str| format!("{what}, {state}");
    Ok(vec![
        Figure::new("startup", &named("start to ready"), times[STARTS / 2].as_secs_f64() * 1e3, "ms")
            .with_floor(Some(Floor::AtMost(1_000.0))),
        Figure::new("startup", &named("idle RSS"), idle_bytes as f64 / 1e6, "MB")
            .with_floor(Some(Floor::AtMost(120.0))),
        Figure::new("startup", &named("idle CPU"), idle_cpu * 100.0, "% of a core"),
    ])
}
