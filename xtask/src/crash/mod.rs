//! `cargo xtask crash`: the conservation oracle on the real binary.
//!
//! Producers send records with ids over the real ports, lose replies and retry; the server is killed
//! with -9 at random moments and started again, with its script changed in between, and its script,
//! versions and limits while it runs; dead letters are replayed meanwhile. In a fault-free
//! end every acknowledged id must be in the table, or among the dead letters when it is of a kind that
//! throws, exactly as often as it was sent and with its exact payload; the audit must balance; and
//! enough must have happened for that to mean something.

mod live;
mod oracle;
mod plan;
mod producer;
mod record;
mod request;
mod rounds;
mod setup;
mod summary;
mod transport;
mod verify;

pub use record::Record;
pub use verify::audit;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::crash_test::{self, CrashArguments};
use crate::server::Launch;
use crate::wait;
use oracle::{Oracle, Verdict};
use producer::{Counts, Shared};
use request::Epoch;
use rounds::Killed;
use summary::Summary;

/// Producers: two of each transport would be 12; six keep two cores busy.
const PRODUCERS: usize = 6;
/// Everything accepted must be committed this long after the last fault.
const FOLD_LIMIT: Duration = Duration::from_secs(120);

/// Runs the test.
pub fn run(arguments: &CrashArguments) -> Result<()> {
    crash_test::run("crash", arguments, |directory, binary| run_in(directory, binary, arguments))
}

fn run_in(directory: &std::path::Path, binary: PathBuf, arguments: &CrashArguments) -> Result<Summary> {
    let launch = setup::prepare(directory, binary)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let shared = Shared {
        oracle: Oracle::new(arguments.seed),
        epoch: Epoch(now.as_micros() as u64),
        finishing: AtomicBool::new(false),
        aborted: AtomicBool::new(false),
        in_flight: AtomicU64::new(0),
        counts: Counts::default(),
        refusals: Mutex::new(Vec::new()),
    };
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                scope.spawn({
                    let (launch, shared) = (&launch, &shared);
                    move || producer::run(number, arguments.seed, launch, shared)
                })
            })
            .collect();
        let all_joined = || -> Result<()> {
            for producer in producers {
                match producer.join() {
                    Ok(outcome) => outcome?,
                    Err(_) => bail!("a producer panicked"),
                }
            }
            Ok(())
        };
        let outcome = faults_then_peace(directory, &launch, &shared, arguments, all_joined);
        shared.aborted.store(true, Relaxed);
        outcome
    })
}

fn faults_then_peace(
    directory: &std::path::Path,
    launch: &Launch,
    shared: &Shared,
    arguments: &CrashArguments,
    join_producers: impl FnOnce() -> Result<()>,
) -> Result<Summary> {
    let plan = plan::rounds(arguments.seed, arguments.rounds);
    let killed = rounds::run_all(&plan, directory, launch, shared)?;

    let mut server = launch.start_ready().context("the server did not come back after the last fault")?;
    shared.finishing.store(true, Relaxed);
    join_producers()?;
    let progress = server.api().wait_folded(FOLD_LIMIT)?;
    // A replay that was cut off goes on by itself; between its two commits a message is in both tables.
    let job =
        || std::fs::read_dir(launch.data_dir.join("replay")).is_ok_and(|mut jobs| jobs.next().is_some());
    wait::until(FOLD_LIMIT, Duration::from_millis(50), || (!job()).then_some(()))
        .context("a replay of dead letters is not done")?;
    audit(launch).context("with the server running")?;
    let mut verdict = verify::tables(server.api(), &shared.oracle, progress.end)?;
    server.stop()?;
    let replayed = audit(launch).context("after the server has stopped")?;
    for refusal in shared.refusals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
        verdict.fault(format!("a request was refused: {refusal}"));
    }
    Ok(Summary { replayed, ..summarise(arguments, shared, killed, verdict, progress.duplicates) })
}

fn summarise(
    arguments: &CrashArguments,
    shared: &Shared,
    killed: Killed,
    verdict: Verdict,
    duplicates: u64,
) -> Summary {
    let counts = &shared.counts;
    Summary {
        seed: arguments.seed,
        rounds: arguments.rounds as u64,
        killed,
        verdict,
        acked_requests: counts.acked_requests.load(Relaxed),
        lost_replies: counts.lost_replies.load(Relaxed),
        put_off: counts.put_off.load(Relaxed),
        retries: counts.retries.load(Relaxed),
        abandoned: counts.abandoned.load(Relaxed),
        duplicates_refused: duplicates,
        replayed: 0,
        elapsed_seconds: 0.0,
    }
}
