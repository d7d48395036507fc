//! The faults: starts, kills and stops, one round after the other.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::plan::Round;
use super::shared::Shared;
use crate::server::{Launch, Server};
use crate::wait;

/// How long publishers may pause before a kill that is to hit a request.
const BUSY_LIMIT: Duration = Duration::from_secs(1);

/// What the rounds did.
#[derive(Debug, Default, serde::Serialize)]
pub struct Killed {
    /// Kills of a ready server.
    pub while_serving: u64,
    /// Those of them while publish requests were in flight.
    pub while_busy: u64,
    /// Kills of a server that was still starting.
    pub while_starting: u64,
    /// Clean stops.
    pub stops: u64,
    /// Slowest start until ready after a kill, in milliseconds.
    pub slowest_start_ms: u64,
}

impl Killed {
    /// All kills.
    pub fn total(&self) -> u64 {
        self.while_serving + self.while_starting
    }
}

/// Starts the server for another life.
pub fn start(launch: &Launch, shared: &Shared) -> Result<Server> {
    shared.life.fetch_add(1, Relaxed);
    launch.start()
}

/// The same, and waits until it is ready.
pub fn start_ready(launch: &Launch, shared: &Shared) -> Result<Server> {
    let mut server = start(launch, shared)?;
    server.wait_ready()?;
    Ok(server)
}

/// Kills the server, which must still run.
pub fn kill(server: &mut Server) -> Result<()> {
    if !server.kill()? {
        bail!("the server ended by itself");
    }
    Ok(())
}

/// Runs the rounds of a plan. The server is down afterwards.
pub fn run_all(plan: &[Round], launch: &Launch, shared: &Shared) -> Result<Killed> {
    let mut killed = Killed::default();
    for (number, round) in plan.iter().enumerate() {
        run_one(number, round, launch, shared, &mut killed)
            .with_context(|| format!("round {number}: {round:?}"))?;
    }
    Ok(killed)
}

fn run_one(
    number: usize,
    round: &Round,
    launch: &Launch,
    shared: &Shared,
    killed: &mut Killed,
) -> Result<()> {
    match round {
        Round::KillBusy(after) => {
            let mut server = start(launch, shared)?;
            let ready = server.wait_ready()?;
            eprintln!("round {number}: ready after {} ms, {round:?}", ready.as_millis());
            killed.slowest_start_ms = killed.slowest_start_ms.max(ready.as_millis() as u64);
            wait::pause(*after);
            let busy = wait::until(BUSY_LIMIT, Duration::from_micros(100), || {
                (shared.in_flight.load(Relaxed) > 0).then_some(())
            });
            kill(&mut server)?;
            killed.while_serving += 1;
            killed.while_busy += u64::from(busy.is_some());
        }
        Round::KillStarting(times) => {
            for after in times {
                let mut server = start(launch, shared)?;
                wait::pause(*after);
                kill(&mut server)?;
                // Asked afterwards: a request would have waited until it was ready.
                let was_open = launch.announced(server.pid());
                killed.while_starting += u64::from(!was_open);
                killed.while_serving += u64::from(was_open);
            }
        }
        Round::Stop(after) => {
            let mut server = start_ready(launch, shared)?;
            wait::pause(*after);
            server.stop()?;
            killed.stops += 1;
        }
    }
    Ok(())
}
