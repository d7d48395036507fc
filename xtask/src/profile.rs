//! `cargo xtask profile`: where the server's time goes under the load of the end-to-end benchmark. CPU
//! by thread is always shown, from the kernel's own accounts; functions when `perf` is installed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::send_kilobyte_records;
use crate::children::{self, OwnedChild};
use crate::server::Launch;
use crate::workspace;

/// Samples per second and thread; not a round number, so as not to beat with timers.
const SAMPLES_PER_SECOND: &str = "199";
/// Functions shown.
const FUNCTIONS_SHOWN: usize = 60;

/// What `cargo xtask profile` takes.
#[derive(clap::Args)]
pub struct ProfileArguments {
    /// How many records of ~1 kB to send
    #[arg(long, default_value_t = 500_000)]
    records: u64,
    /// The binary to profile instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where perf's data is kept, for `perf report -i FILE`
    #[arg(long, default_value = "perf.data")]
    output: PathBuf,
}

/// Runs it.
pub fn run(arguments: &ProfileArguments) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("millrace-profile-").tempdir()?;
    let launch = Launch::inside(directory.path(), workspace::binary(arguments.binary.as_deref())?)?;
    let mut server = launch.start_ready()?;
    let perf = start_perf(server.pid(), &arguments.output);
    let sent = send_kilobyte_records(&launch, arguments.records)?;
    server.api().wait_folded(Duration::from_secs(600))?;
    println!("CPU seconds by thread, {sent} records:");
    for (thread, seconds) in children::cpu_seconds_by_thread(server.pid())? {
        if seconds > 0.0 {
            println!("{seconds:8.2}  {thread}");
        }
    }
    server.stop()?;
    match perf {
        Ok(mut perf) => {
            perf.wait_for_end(Duration::from_secs(60))?;
            show_functions(&arguments.output)
        }
        Err(error) => {
            println!("no functions ({error:#}); install perf (Debian: linux-perf) for them");
            Ok(())
        }
    }
}

/// perf ends by itself with the process that it watches.
fn start_perf(pid: u32, output: &std::path::Path) -> Result<OwnedChild> {
    let child = Command::new("perf")
        .args(["record", "--quiet", "-F", SAMPLES_PER_SECOND, "-g", "-p", &pid.to_string(), "-o"])
        .arg(output)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run perf")?;
    Ok(OwnedChild::new(child))
}

fn show_functions(output: &std::path::Path) -> Result<()> {
    let report = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.3", "-i"])
        .arg(output)
        .stderr(Stdio::null())
        .output()
        .context("cannot run perf report")?;
    println!("\nfunctions (all of it: perf report -i {}):", output.display());
    let text = String::from_utf8_lossy(&report.stdout);
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines.take(FUNCTIONS_SHOWN) {
        println!("{line}");
    }
    Ok(())
}
