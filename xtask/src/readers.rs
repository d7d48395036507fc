//! `cargo xtask readers`: tables must be readable without Millrace. A real run makes one, then an
//! independent Delta Lake reader (the `deltalake` Python package) reads it and compares.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::server::Launch;
use crate::workspace;

/// What `cargo xtask readers` takes.
#[derive(clap::Args)]
pub struct ReadersArguments {
    /// A Python with `deltalake` installed (scripts/setup.sh makes one)
    #[arg(long)]
    python: PathBuf,
    /// The binary to test instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: &ReadersArguments) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("millrace-readers-").tempdir()?;
    let launch = Launch::inside(directory.path(), workspace::binary(arguments.binary.as_deref())?)?;
    let mut server = launch.start_ready()?;
    let recording = workspace::recordings().join("otlp_grpc");
    let recording = recording.to_str().context("the project's path is not UTF-8")?;
    let endpoint = launch.otlp_http_url();
    let (status, _) = launch.output(&["send", recording, "--endpoint", &endpoint])?;
    if !status.success() {
        bail!("millrace send ended with {status}");
    }
    server.api().wait_folded(Duration::from_secs(60))?;
    let rows = server.api().query_number("SELECT COUNT(*) FROM telemetry.gemini_raw_logs")?;
    server.stop()?;
    if rows == 0 {
        bail!("the recording left no rows to read");
    }
    let table = launch.data_dir.join("lake/telemetry/gemini_raw_logs");
    let script = workspace::root().join("scripts/read_with_deltalake.py");
    let status = Command::new(&arguments.python)
        .arg(script)
        .arg(&table)
        .args(["--rows", &rows.to_string()])
        .status()
        .with_context(|| format!("cannot run {}", arguments.python.display()))?;
    if !status.success() {
        bail!("the other reader does not agree");
    }
    println!("readers: {rows} rows read back by deltalake for Python");
    Ok(())
}
