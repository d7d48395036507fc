//! `cargo xtask bench`: the real binary, measured on its real ports, with the load generator on the
//! same cores. Every figure that counts rows checks that they are all there.

mod bodies;
mod end_to_end;
mod generator;
mod latency;
mod load;
mod log_append;
mod report;
mod startup;
mod warehouse;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::machine::Machine;
use crate::server::Launch;
use crate::workspace;
use report::{Figure, Floor};

pub use bodies::{Body, synthetic_load};

/// All benchmarks, in the order they run.
const NAMES: [&str; 10] = [
    "log",
    "startup",
    "e2e",
    "e2e-javascript",
    "recorded",
    "recorded-javascript",
    "load",
    "latency-1k",
    "latency-10k",
    "warehouse",
];

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub struct BenchArguments {
    /// Which to run: log, startup, e2e, e2e-javascript, recorded, recorded-javascript, load, latency-1k,
    /// latency-10k, warehouse
    /// [default: all]
    names: Vec<String>,
    /// A tenth of the load or less, for a first look
    #[arg(long)]
    quick: bool,
    /// Records of `warehouse` [default: 10000000; 500000 with --quick]
    #[arg(long)]
    records: Option<u64>,
    /// Where `warehouse` keeps its table; a second run with the same records does not load again
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The binary to measure instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Writes machine and figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where temporary data directories go: choose the disk to measure
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// How much is sent, and for how long.
struct Size {
    records: u64,
    recorded: u64,
    latency: Duration,
    append: Duration,
    warehouse: u64,
}

const FULL: Size = Size {
    records: 1_000_000,
    recorded: 100_000,
    latency: Duration::from_secs(40),
    append: Duration::from_secs(5),
    warehouse: 10_000_000,
};
const QUICK: Size = Size {
    records: 100_000,
    recorded: 10_000,
    latency: Duration::from_secs(10),
    append: Duration::from_secs(1),
    warehouse: 500_000,
};

/// Runs the benchmarks.
pub fn run(arguments: &BenchArguments) -> Result<()> {
    if let Some(unknown) = arguments.names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("no benchmark {unknown}; there are {}", NAMES.join(", "));
    }
    let binary = workspace::binary(arguments.binary.as_deref())?;
    let parent = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
    let machine = Machine::probe(&parent)?;
    println!("{}", machine.describe());
    let mut figures = Vec::new();
    for name in NAMES {
        if arguments.names.is_empty() || arguments.names.iter().any(|wanted| wanted == name) {
            let directory = tempfile::Builder::new().prefix("millrace-bench-").tempdir_in(&parent)?;
            let launch = Launch::inside(directory.path(), binary.clone())?;
            let size = if arguments.quick { &QUICK } else { &FULL };
            let found = run_one(name, &launch, directory.path(), size, arguments);
            let found =
                found.inspect_err(|_| show_log(&launch)).with_context(|| format!("benchmark {name}"))?;
            print!("{}", report::markdown(&found));
            figures.extend(found);
        }
    }
    if let Some(path) = &arguments.json {
        report::write_json(path, &machine, &figures)?;
    }
    if arguments.names.is_empty() && !arguments.quick {
        report::write_page(&workspace::root().join("docs/benchmarks.md"), &machine, "make bench", &figures)?;
    }
    Ok(())
}

/// Sends ~1 kB records as fast as the server takes them; gives how many.
pub fn send_kilobyte_records(launch: &Launch, records: u64) -> Result<u64> {
    Ok(generator::send(&launch.grpc_url(), &synthetic_load()?, records)?.records)
}

fn run_one(
    name: &str,
    launch: &Launch,
    directory: &Path,
    size: &Size,
    arguments: &BenchArguments,
) -> Result<Vec<Figure>> {
    match name {
        "log" => log_append::measure(directory, size.append),
        "startup" => startup::measure(launch, "empty"),
        "e2e" => {
            let mut figures = end_to_end::kilobyte_records("e2e", launch, size.records)?;
            figures.extend(startup::measure(launch, "with the rows of e2e")?);
            Ok(figures)
        }
        "e2e-javascript" => {
            let launch = end_to_end::without_native_plan(launch, directory)?;
            end_to_end::kilobyte_records("e2e-javascript", &launch, size.records)
        }
        "recorded" => end_to_end::recorded_records("recorded", launch, size.recorded),
        "recorded-javascript" => {
            let launch = end_to_end::without_native_plan(launch, directory)?;
            end_to_end::recorded_records("recorded-javascript", &launch, size.recorded)
        }
        "load" => load::measure(launch, directory, size.records / 2),
        "warehouse" => {
            let records = arguments.records.unwrap_or(size.warehouse);
            let plan = warehouse::Plan { records, keep: arguments.keep.as_deref() };
            warehouse::measure(launch, directory, &plan)
        }
        "latency-1k" => latency::measure("latency-1k", launch, 1_000, size.latency, None),
        _ => {
            let floor = Some(Floor::AtMost(3.0));
            latency::measure("latency-10k", launch, 10_000, size.latency, floor)
        }
    }
}

/// Shows the end of the server's log, which goes with the temporary directory.
fn show_log(launch: &Launch) {
    let log = launch.log_file.as_deref().and_then(|path| std::fs::read_to_string(path).ok());
    let log = log.unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(20)..] {
        eprintln!("server: {line}");
    }
}
