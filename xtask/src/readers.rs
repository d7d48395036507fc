//! `cargo xtask readers`: tables must be readable without Millrace. A real run makes one, then
//! scripts/read_with_deltalake.py has independent Delta Lake readers count it, and both must agree.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::server::{Launch, number};
use crate::workspace;

/// What `cargo xtask readers` takes.
#[derive(clap::Args)]
pub struct ReadersArguments {
    /// The Python that runs the script
    #[arg(long, default_value = "python3")]
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
    let sql = "SELECT COUNT(*), SUM(_offset) FROM telemetry.gemini_raw_logs";
    let row = server.api().query(sql)?.pop().unwrap_or_default();
    server.stop()?;
    let [rows, sum] = row.as_slice() else { bail!("{sql} gave {row:?}") };
    let (rows, sum) = (number(rows).unwrap_or(0), number(sum).unwrap_or(0));
    if rows == 0 {
        bail!("the recording left no rows to read");
    }
    let found = read_elsewhere(&arguments.python, &launch.data_dir.join("lake/telemetry/gemini_raw_logs"))?;
    print!("{found}");
    let expected = format!("rows and sum of _offset: {rows} {sum}");
    if !found.contains(&expected) {
        bail!("Millrace finds {expected}, the other readers do not");
    }
    println!("readers: Millrace agrees, {expected}");
    Ok(())
}

/// What the script prints; it fails itself when its readers cannot read or disagree.
fn read_elsewhere(python: &Path, table: &Path) -> Result<String> {
    let output = Command::new(python)
        .arg(workspace::root().join("scripts/read_with_deltalake.py"))
        .arg(table)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    if !output.status.success() {
        bail!("the other readers failed: {}", output.status);
    }
    String::from_utf8(output.stdout).context("the script printed no UTF-8")
}
