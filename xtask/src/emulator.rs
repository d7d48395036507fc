//! `cargo xtask emulator`: the scenarios of Google's Pub/Sub clients against Google's own emulator, where gcloud has
//! it. What is known to differ there (scripts/pubsub_google_emulator.json, docs/pubsub.md) must differ, and nothing
//! else.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::children::OwnedChild;
use crate::clients::script;
use crate::server::free_port_offset;
use crate::wait;

/// Its usual port, before a free offset is added.
const PORT: u16 = 8085;
/// A Java program on a busy machine takes its time.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What `cargo xtask emulator` takes.
#[derive(clap::Args)]
pub struct EmulatorArguments {
    /// The Python that runs the script ending in .py
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The Node that runs the one ending in .mjs
    #[arg(long, default_value = "node")]
    node: PathBuf,
    /// The emulator's own command; by default where gcloud has put it
    #[arg(long)]
    emulator: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: &EmulatorArguments) -> Result<()> {
    let command = match &arguments.emulator {
        Some(command) => command.clone(),
        None => installed()?,
    };
    let port = (PORT + free_port_offset()?).to_string();
    // By its own command: gcloud's would leave it running when it is ended itself.
    let emulator = Command::new(&command)
        .args(["--host=127.0.0.1", &format!("--port={port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let emulator = emulator.with_context(|| format!("cannot start {}", command.display()))?;
    let _emulator = OwnedChild::new(emulator);
    let listens = || TcpStream::connect(format!("127.0.0.1:{port}")).ok();
    wait::until(START_LIMIT, Duration::from_millis(100), listens)
        .with_context(|| format!("Google's emulator did not listen within {START_LIMIT:?}"))?;
    script(&arguments.python, "scripts/pubsub_clients.py", &[&port, "--emulator", "google"])?;
    script(&arguments.node, "scripts/pubsub_clients.mjs", &[&port, "--emulator", "google"])?;
    println!("emulator: differs where it is known to, and nowhere else");
    Ok(())
}

/// The emulator's command in gcloud's directory.
fn installed() -> Result<PathBuf> {
    const HOW: &str = "install it with gcloud components install pubsub-emulator, or name it with --emulator";
    let asked = Command::new("gcloud").args(["info", "--format=value(installation.sdk_root)"]).output();
    let answer = asked.with_context(|| format!("gcloud cannot be run: {HOW}"))?;
    let root = String::from_utf8(answer.stdout).context("gcloud's directory is not UTF-8")?;
    let command = PathBuf::from(root.trim()).join("platform/pubsub-emulator/bin/cloud-pubsub-emulator");
    if !command.is_file() {
        bail!("gcloud has no Pub/Sub emulator in {}: {HOW}", root.trim());
    }
    Ok(command)
}
