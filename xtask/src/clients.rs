//! `cargo xtask clients`: people come with the clients that they have. A real run takes a recording, then
//! scripts/postgres_clients.py looks at it with psql and psycopg, and scripts/pubsub_clients.py and .mjs use the
//! Pub/Sub port with Google's Python and Node clients.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::server::Launch;
use crate::workspace;

/// What `cargo xtask clients` takes.
#[derive(clap::Args)]
pub struct ClientsArguments {
    /// The Python that runs the scripts ending in .py
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The Node that runs those ending in .mjs
    #[arg(long, default_value = "node")]
    node: PathBuf,
    /// The binary to test instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// The one user of the run.
const USER: &str = "analyst";
const PASSWORD: &str = "correct horse battery";

/// Runs it.
pub fn run(arguments: &ClientsArguments) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("millrace-clients-").tempdir()?;
    let users = directory.path().join("users");
    write_private(&users, &format!("{USER}:{PASSWORD}\n"))?;
    let config = directory.path().join("millrace.toml");
    write_private(&config, "[server]\npostgres_users_file = \"users\"\n")?;
    let binary = workspace::binary(arguments.binary.as_deref())?;
    let launch = Launch { config: Some(config), ..Launch::inside(directory.path(), binary)? };
    let mut server = launch.start_ready()?;
    let recording = workspace::recordings().join("otlp_grpc");
    let recording = recording.to_str().context("the project's path is not UTF-8")?;
    let (status, _) = launch.output(&["send", recording, "--endpoint", &launch.otlp_http_url()])?;
    if !status.success() {
        bail!("millrace send ended with {status}");
    }
    server.api().wait_folded(Duration::from_secs(60))?;
    script(&arguments.python, "scripts/postgres_clients.py", &[&launch.postgres_port().to_string(), USER])?;
    let pubsub_port = launch.pubsub_port().to_string();
    script(&arguments.python, "scripts/pubsub_clients.py", &[&pubsub_port])?;
    script(&arguments.node, "scripts/pubsub_clients.mjs", &[&pubsub_port])?;
    server.stop()
}

/// Runs a script of clients against a server on loopback.
pub fn script(interpreter: &Path, name: &str, port_and_more: &[&str]) -> Result<()> {
    let done = Command::new(interpreter)
        .arg(workspace::root().join(name))
        .arg("127.0.0.1")
        .args(port_and_more)
        .env("PGPASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", interpreter.display()))?;
    if !done.success() {
        bail!("the clients of {name} failed: {done}");
    }
    Ok(())
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
