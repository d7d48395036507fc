//! `millrace load`: files through the same pipeline as everything else, each record once ever.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use millrace_disk::{Disk, StdDisk};
use millrace_ingest::{Ingest, LoadReport, Loader};
use serde::Deserialize;

use crate::client::Client;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::node::Node;
use crate::{pipelines, settings};

/// Loads the files one after the other: through the server of this data directory when one runs, else in
/// this process, which then folds all that is pending before it ends.
///
/// # Errors
/// When a file cannot be read or the topic does not take it; loading again goes on from there.
pub fn load(config: &Config, files: &[PathBuf], topic: Option<&str>) -> Result<()> {
    for file in files.iter().filter(|file| *file != Path::new("-")) {
        if !file.is_file() {
            bail!("{} is not a file", file.display());
        }
    }
    let data = DataDir::new(&config.data_dir);
    match data.running_server()? {
        Some(server) => load_through(config, &server.http, files, topic),
        None => load_here(config, &data, files, topic),
    }
}

fn load_through(config: &Config, base: &str, files: &[PathBuf], topic: Option<&str>) -> Result<()> {
    let client = Client::new(config, base)?;
    let path = topic.map_or("/api/load".to_owned(), |topic| format!("/api/load?topic={topic}"));
    for file in files {
        let (input, length): (Box<dyn Read>, _) = if file == Path::new("-") {
            (Box::new(io::stdin().lock()), None)
        } else {
            let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            let length = opened.metadata().map(|metadata| metadata.len()).ok();
            (Box::new(opened), length)
        };
        let bar = progress_bar(file, length);
        let mut input = bar.wrap_read(input);
        let headers = [("content-type", "application/octet-stream")];
        let body = ureq::SendBody::from_reader(&mut input);
        let summary: Summary =
            client.post(&path, &headers, body).with_context(|| format!("cannot load {}", file.display()))?;
        bar.finish_and_clear();
        summary.print(file);
    }
    Ok(())
}

fn load_here(config: &Config, data: &DataDir, files: &[PathBuf], topic: Option<&str>) -> Result<()> {
    let _lock = data.lock()?;
    let plans = pipelines::plan_to_start(config, data)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let node = Node::start(config, data, plans, runtime.handle())?;
    let ingest = Ingest::new(settings::ingest(config, data)?, Arc::clone(node.log()))?;
    let loader = loader(data, ingest)?;
    let result = files.iter().try_for_each(|file| {
        let bar = progress_bar(file, None);
        let shown = bar.clone();
        let progress = move |progress: millrace_ingest::LoadProgress| {
            shown.set_length(progress.bytes_total);
            shown.set_position(progress.bytes);
        };
        let report = runtime
            .block_on(loader.load(file, topic, progress))
            .with_context(|| format!("cannot load {}", file.display()))?;
        bar.finish_and_clear();
        Summary::from(report).print(file);
        anyhow::Ok(())
    });
    // What was stored before a failure is folded all the same.
    node.drain(Duration::from_secs(config.server.drain_timeout_seconds));
    result?;
    node.failure().map_or(Ok(()), |failure| bail!("loaded, but {failure}"))
}

/// A loader that keeps what it has loaded in the data directory.
///
/// # Errors
/// When its folder cannot be made.
pub fn loader(data: &DataDir, ingest: Arc<Ingest>) -> Result<Arc<Loader>> {
    let disk: Arc<dyn Disk> = Arc::new(StdDisk);
    Ok(Loader::new(ingest, disk, data.state().join("load"))?)
}

/// A bar on standard error; hidden when that is not a terminal.
fn progress_bar(file: &Path, bytes: Option<u64>) -> ProgressBar {
    let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.with_message(file.display().to_string())
}

/// What a load did, as the server answers it.
#[derive(Deserialize)]
struct Summary {
    records: u64,
    added: u64,
    duplicates: u64,
    already_loaded: u64,
    rejected: u64,
    opaque: u64,
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    line: u64,
    reason: String,
}

impl From<LoadReport> for Summary {
    fn from(report: LoadReport) -> Self {
        Self {
            records: report.records,
            added: report.added,
            duplicates: report.duplicates,
            already_loaded: report.already_loaded,
            rejected: report.rejected,
            opaque: report.opaque,
            problems: report.problems.into_iter().map(|(line, reason)| Problem { line, reason }).collect(),
        }
    }
}

impl Summary {
    fn print(&self, file: &Path) {
        println!(
            "{}: {} records, {} added, {} already loaded, {} duplicates, {} not JSON objects, {} rejected",
            file.display(),
            self.records,
            self.added,
            self.already_loaded,
            self.duplicates,
            self.opaque,
            self.rejected
        );
        for problem in &self.problems {
            eprintln!("  line {}: {}", problem.line, problem.reason);
        }
    }
}
