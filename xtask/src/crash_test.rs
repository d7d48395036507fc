//! What the crash tests share: their arguments, and a run in a directory of its own.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::workspace;

/// What a crash test takes.
#[derive(clap::Args)]
pub struct CrashArguments {
    /// Rounds: each starts the server and ends it, most of them with kill -9
    #[arg(long, default_value_t = 20)]
    pub rounds: usize,
    /// Decides every choice; timings are real
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The binary to test instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Writes the summary as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keeps the run's directory (a failed run always does)
    #[arg(long)]
    keep: bool,
}

/// The result of a run.
pub trait Summary: Display + serde::Serialize {
    /// Takes the run's wall clock.
    fn took(&mut self, elapsed_seconds: f64);

    /// Fails when something is wrong, or when too little happened for "nothing is wrong" to count.
    fn judge(&self) -> Result<()>;
}

/// Runs a test in a temporary directory, shows its summary and judges it.
pub fn run<S: Summary>(
    name: &str,
    arguments: &CrashArguments,
    run_in: impl FnOnce(&Path, PathBuf) -> Result<S>,
) -> Result<()> {
    let binary = workspace::binary(arguments.binary.as_deref())?;
    let directory = tempfile::Builder::new().prefix(&format!("millrace-{name}-")).tempdir()?;
    let started = Instant::now();
    let outcome = run_in(directory.path(), binary).and_then(|mut summary| {
        summary.took(started.elapsed().as_secs_f64());
        println!("{summary}");
        if let Some(path) = &arguments.json {
            let text = serde_json::to_vec_pretty(&summary)?;
            millrace_disk::write_atomically(&millrace_disk::StdDisk, path, &text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        summary.judge()
    });
    if arguments.keep || outcome.is_err() {
        println!("kept {}", directory.keep().display());
    }
    outcome
}
