//! The warehouse: millions of made-up records in a table, and how long every view takes.

mod beside;
mod fill;
mod views;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::latency;
use super::report::{Figure, Floor};
use crate::server::{Launch, Server};
use fill::Filled;
use views::{Statement, Timing};

const BENCH: &str = "warehouse";
/// What a view may take in seconds once it has been asked for.
const HOT_FLOOR: Floor = Floor::AtMost(2.0);
/// How many bytes of raw JSON one byte on disk must hold.
const DENSITY_FLOOR: Floor = Floor::AtLeast(8.0);
/// Events a second while queries run, and for how long.
const INGEST_RATE: u64 = 10_000;
const INGEST_TIME: Duration = Duration::from_secs(40);
/// What is asked meanwhile: a daily rollup, a rollup by user, and the costliest by minute.
const UNDER_LOAD: [&str; 3] = ["daily_metrics", "vw_token_usage", "vw_quota_tracking"];
/// How long a query may take before the benchmark calls it failed.
const QUERY_LIMIT: Duration = Duration::from_secs(300);

/// What is measured, and what stays.
pub struct Plan<'a> {
    /// Log entries in the table.
    pub records: u64,
    /// Where the table stays for the next run, if anywhere.
    pub keep: Option<&'a Path>,
}

/// Fills a table, or takes the one that was kept, and measures it.
pub fn measure(launch: &Launch, directory: &Path, plan: &Plan<'_>) -> Result<Vec<Figure>> {
    let home = plan.keep.unwrap_or(directory);
    std::fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut launch = launch.clone();
    launch.data_dir = home.join("data");
    launch.config = Some(fill::write_config(home, QUERY_LIMIT)?);
    let filled = fill::fill(&launch, home, plan.records)?;
    let mut figures = size_figures(&filled);

    let mut server = start(&launch)?;
    let statements = views::statements(server.api(), &names(&launch)?)?;
    let mut answered = Vec::new();
    for statement in &statements {
        let timing = views::hot(server.api(), statement);
        figures.push(figure(statement, "hot", &timing).with_floor(Some(HOT_FLOOR)));
        if timing.is_ok() {
            answered.push(statement);
        }
    }
    server.stop()?;
    let dropped = views::drop_page_cache();
    for statement in answered {
        figures.push(cold(&launch, statement, dropped)?);
    }
    figures.extend(under_load(&launch, directory, &statements)?);
    figures.extend(beside::duckdb(&launch, BENCH)?);
    Ok(figures)
}

fn size_figures(filled: &Filled) -> Vec<Figure> {
    let raw = filled.raw_bytes as f64;
    let mut figures = vec![
        Figure::new(BENCH, "records", filled.records as f64, ""),
        Figure::new(BENCH, "raw JSON", raw / 1e9, "GB"),
        Figure::new(BENCH, "raw JSON of one record", raw / filled.records as f64, "B"),
        Figure::new(BENCH, "raw JSON, gzip -6 (by samples)", raw * filled.gzip_share / 1e9, "GB"),
        Figure::new(BENCH, "live files of the table", filled.table_files as f64, ""),
        Figure::new(BENCH, "bytes of the table's live files", filled.table_bytes as f64 / 1e9, "GB"),
        Figure::new(
            BENCH,
            "raw JSON bytes for each byte on disk (aim 12)",
            raw / filled.table_bytes as f64,
            "",
        )
        .with_floor(Some(DENSITY_FLOOR)),
        Figure::new(
            BENCH,
            "millrace load into committed rows",
            filled.records as f64 / filled.load_seconds,
            "events/s",
        ),
    ];
    if let Some(seconds) = filled.settle_seconds {
        figures.push(Figure::new(BENCH, "compaction at rest after loading", seconds, "s"));
    }
    figures
}

fn start(launch: &Launch) -> Result<Server> {
    let mut server = launch.start_ready()?;
    server.be_patient(QUERY_LIMIT + Duration::from_secs(30));
    Ok(server)
}

/// Every view there is, the user's included.
fn names(launch: &Launch) -> Result<Vec<String>> {
    let (status, text) = launch.output(&["views", "list", "--format", "json"])?;
    if !status.success() {
        bail!("millrace views list ended with {status}");
    }
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).context("millrace views list")?;
    let names: Option<Vec<String>> = rows.iter().map(|row| Some(row["name"].as_str()?.to_owned())).collect();
    names.filter(|names| !names.is_empty()).context("millrace views list names no view")
}

fn cold(launch: &Launch, statement: &Statement, dropped: bool) -> Result<Figure> {
    if dropped {
        views::drop_page_cache();
    }
    let mut server = start(launch)?;
    let timing = views::once(server.api(), statement);
    server.stop()?;
    let state = if dropped { "cold" } else { "cold process (the page cache may not be dropped here)" };
    Ok(figure(statement, state, &timing))
}

fn figure(statement: &Statement, state: &str, timing: &Timing) -> Figure {
    println!("warehouse: {}, {state}: {timing:?}", statement.title);
    match timing {
        Ok(time) => Figure::new(BENCH, &format!("{}, {state}", statement.title), time.as_secs_f64(), "s"),
        // A view without an answer is not left out: its time is without end.
        Err(error) => {
            let error = error.replace(['|', '\n'], " ");
            Figure::new(BENCH, &format!("{}, {state}: {error}", statement.title), f64::INFINITY, "s")
        }
    }
}

/// Three views while events come in, on a copy of the table, so that a kept one stays as it is.
fn under_load(launch: &Launch, directory: &Path, statements: &[Statement]) -> Result<Vec<Figure>> {
    let mut launch = launch.clone();
    let copy = directory.join("under-load");
    copy_folder(&launch.data_dir, &copy)?;
    launch.data_dir = copy;
    let mut server = start(&launch)?;
    let (probes, _unread) = channel();
    let (sent, timings) = std::thread::scope(|scope| -> Result<_> {
        let sender =
            scope.spawn(|| latency::send_at_rate(&launch.grpc_url(), INGEST_RATE, INGEST_TIME, &probes));
        let asked = statements.iter().filter(|statement| UNDER_LOAD.contains(&statement.view.as_str()));
        let timings: Vec<_> =
            asked.map(|statement| (statement, views::hot(server.api(), statement))).collect();
        let in_time = !sender.is_finished();
        let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        Ok((
            sent,
            timings
                .into_iter()
                .map(move |(statement, timing)| (statement, timing, in_time))
                .collect::<Vec<_>>(),
        ))
    })?;
    server.stop()?;
    let mut figures = vec![Figure::new(BENCH, "events that came in meanwhile", sent.rate(), "events/s")];
    for (statement, timing, in_time) in timings {
        let state = if in_time { "while they come in" } else { "while they come in, and longer" };
        figures.push(figure(statement, state, &timing));
    }
    Ok(figures)
}

/// Copies a data directory, by reference where the file system can.
fn copy_folder(from: &Path, to: &PathBuf) -> Result<()> {
    let status = Command::new("cp").args(["-r", "--reflink=auto"]).arg(from).arg(to).status();
    let status = status.context("cannot run cp")?;
    if !status.success() {
        bail!("cp of {} ended with {status}", from.display());
    }
    Ok(())
}
