//! The faults: starts, kills and stops, one round after the other.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::live;
use super::plan::{Action, Live, Round};
use super::producer::Shared;
use super::setup::{self, TABLE_DIRECTORY};
use super::verify;
use crate::children::OwnedChild;
use crate::server::Launch;
use crate::wait;

/// Records in one file to load.
const LOAD_RECORDS: u64 = 4_000;
/// How long producers may pause before a kill that is to hit a request.
const BUSY_LIMIT: Duration = Duration::from_secs(1);
/// How long a load may take that is left to finish.
const LOAD_LIMIT: Duration = Duration::from_secs(60);

/// What the rounds did.
#[derive(Debug, Default, serde::Serialize)]
pub struct Killed {
    /// Kills of a ready server.
    pub while_serving: u64,
    /// Those of them at a moment when requests were in flight or messages pending.
    pub while_busy: u64,
    /// Kills of a server that was still starting.
    pub while_starting: u64,
    /// Kills of a load before it had finished.
    pub while_loading: u64,
    /// Clean stops.
    pub stops: u64,
    /// Times the script was replaced.
    pub script_changes: u64,
    /// Changes begun in a running server: of its script, versions, limits.
    pub live_changes: u64,
    /// Audits that balanced while nothing ran.
    pub audits: u64,
    /// Compactions seen in the table's log.
    pub compactions: u64,
    /// Slowest start until ready after a kill, in milliseconds.
    pub slowest_start_ms: u64,
    #[serde(skip)]
    next_version: u64,
}

impl Killed {
    /// All kills.
    pub fn total(&self) -> u64 {
        self.while_serving + self.while_starting + self.while_loading
    }
}

/// Runs the rounds of a plan.
pub fn run_all(plan: &[Round], directory: &Path, launch: &Launch, shared: &Shared) -> Result<Killed> {
    let mut killed = Killed::default();
    for (number, round) in plan.iter().enumerate() {
        if round.new_script {
            killed.script_changes += 1;
            setup::put_script(directory, killed.script_changes as u32)?;
        }
        run_one(round, number, directory, launch, shared, &mut killed)
            .with_context(|| format!("round {number}: {round:?}"))?;
        if round.audit_after && launch.data_dir.join(TABLE_DIRECTORY).exists() {
            verify::audit(launch).with_context(|| format!("after round {number}: {round:?}"))?;
            killed.audits += 1;
        }
        let table = launch.data_dir.join(TABLE_DIRECTORY);
        let (compactions, next) = verify::compactions_since(&table, killed.next_version);
        killed.compactions += compactions;
        killed.next_version = next;
    }
    Ok(killed)
}

fn run_one(
    round: &Round,
    number: usize,
    directory: &Path,
    launch: &Launch,
    shared: &Shared,
    killed: &mut Killed,
) -> Result<()> {
    match round.action {
        Action::KillBusy(after) => {
            let mut server = launch.start()?;
            let ready = server.wait_ready()?;
            eprintln!("round {number}: ready after {} ms, {:?}", ready.as_millis(), round.action);
            killed.slowest_start_ms = killed.slowest_start_ms.max(ready.as_millis() as u64);
            let change = begin_live(round, directory, launch, killed)?;
            wait::pause(after);
            let busy = wait::until(BUSY_LIMIT, Duration::from_micros(100), || {
                (shared.in_flight.load(Relaxed) > 0).then_some(())
            });
            if !server.kill()? {
                bail!("the server ended by itself");
            }
            // It has nobody to talk to any more, and must not find the data directory free.
            drop(change);
            killed.while_serving += 1;
            killed.while_busy += u64::from(busy.is_some());
        }
        Action::KillStarting(times) => {
            for after in times {
                let mut server = launch.start()?;
                wait::pause(after);
                if !server.kill()? {
                    bail!("the server ended by itself");
                }
                // Asked afterwards: a request would have waited until it was ready.
                let was_open = launch.announced(server.pid());
                killed.while_starting += u64::from(!was_open);
                killed.while_serving += u64::from(was_open);
            }
        }
        Action::KillLoading(times) => {
            let file = LoadFile::put(number, directory, shared)?;
            for after in times {
                let mut load = file.load(launch)?;
                wait::pause(after);
                killed.while_loading += u64::from(load.kill()?);
            }
            file.load_to_the_end(launch, shared)?;
        }
        Action::KillServerLoading(after) => {
            let file = LoadFile::put(number, directory, shared)?;
            let mut server = launch.start_ready()?;
            let mut load = file.load(launch)?;
            wait::pause(after);
            if !server.kill()? {
                bail!("the server ended by itself");
            }
            killed.while_serving += 1;
            // Its server is gone: it ends by itself, well or not. Only the next load makes obligations.
            killed.while_loading += u64::from(!load.wait_for_end(LOAD_LIMIT)?.success());
            file.load_to_the_end(launch, shared)?;
        }
        Action::Stop(after) => {
            let mut server = launch.start_ready()?;
            let change = begin_live(round, directory, launch, killed)?;
            wait::pause(after);
            drop(change);
            server.stop()?;
            killed.stops += 1;
        }
    }
    Ok(())
}

fn begin_live(
    round: &Round,
    directory: &Path,
    launch: &Launch,
    killed: &mut Killed,
) -> Result<Option<OwnedChild>> {
    if round.live != Live::Nothing {
        killed.live_changes += 1;
        killed.script_changes += 1;
    }
    live::begin(round.live, killed.script_changes as u32, directory, launch)
}

/// A file of records, and the ids in it.
struct LoadFile {
    path: String,
    ids: Range<u64>,
}

impl LoadFile {
    fn put(number: usize, directory: &Path, shared: &Shared) -> Result<Self> {
        let ids = shared.oracle.issue(LOAD_RECORDS);
        let path = directory.join(format!("load-{number}.ndjson"));
        setup::put_load_file(&path, &shared.oracle, ids.clone(), shared.epoch)?;
        let path = path.to_str().context("the temporary directory's name is not UTF-8")?.to_owned();
        Ok(Self { path, ids })
    }

    fn load(&self, launch: &Launch) -> Result<OwnedChild> {
        launch.spawn(&["load", &self.path])
    }

    /// Only a load that says it is done makes obligations.
    fn load_to_the_end(self, launch: &Launch, shared: &Shared) -> Result<()> {
        let status = self.load(launch)?.wait_for_end(LOAD_LIMIT)?;
        if !status.success() {
            bail!("millrace load ended with {status}");
        }
        shared.oracle.acknowledge(self.ids);
        Ok(())
    }
}
