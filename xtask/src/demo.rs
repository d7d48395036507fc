//! `make run`: the main job at once, on the embedded defaults and real recorded sessions.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::server::{Launch, Server};
use crate::workspace;

/// How long the recording may take to reach the table.
const FOLD_LIMIT: Duration = Duration::from_secs(60);
/// How often the server's health is looked at while it serves.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The table that the recording ends in.
const TABLE: &str = "telemetry.gemini_raw_logs";
/// What is shown of it.
const VIEWS: [&str; 3] =
    ["telemetry.daily_metrics", "telemetry.vw_token_usage", "telemetry.vw_tool_performance"];

/// What `cargo xtask demo` takes.
#[derive(clap::Args)]
pub struct DemoArguments {
    /// Where the data lives; the next start finds it again
    #[arg(long, default_value = "millrace-data")]
    data_dir: PathBuf,
    /// Added to every port
    #[arg(long, default_value_t = 0)]
    port_offset: u16,
    /// The binary to run instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Ends when everything has been shown, instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
}

/// Runs it.
pub fn run(arguments: &DemoArguments) -> Result<()> {
    let launch = Launch {
        binary: workspace::binary(arguments.binary.as_deref())?,
        config: None,
        data_dir: std::path::absolute(&arguments.data_dir)?,
        port_offset: arguments.port_offset,
        log_file: None,
    };
    let mut server = launch.start_ready().context("cannot start (is something else on its ports?)")?;
    let rows = server.api().query_number(&format!("SELECT COUNT(*) FROM {TABLE}"))?;
    if rows == 0 {
        headline("Sending recorded Gemini CLI sessions, as the CLI itself would");
        for recording in ["otlp_grpc", "otlp_http_json"] {
            show(&launch, &["send", &recording_path(recording)?, "--endpoint", &launch.otlp_http_url()])?;
        }
        server.api().wait_folded(FOLD_LIMIT)?;
    } else {
        headline(&format!("{rows} rows of an earlier run are in {}", launch.data_dir.display()));
    }
    for view in VIEWS {
        headline(&format!("SELECT * FROM {view}"));
        show(&launch, &["query", &format!("SELECT * FROM {view}")])?;
    }
    headline("millrace audit");
    show(&launch, &["audit"])?;
    if arguments.once {
        return server.stop();
    }
    say_how_to_go_on(&launch);
    serve_until_asked_to_stop(&mut server)
}

/// Waits for Ctrl-C or SIGTERM, or for the server to end by itself. The terminal's Ctrl-C reaches the
/// server too; this process stays until the server has committed what it holds.
fn serve_until_asked_to_stop(server: &mut Server) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                stop = tokio::signal::ctrl_c() => return stop.context("cannot wait for Ctrl-C"),
                _ = terminated.recv() => return Ok(()),
                () = tokio::time::sleep(LOOK_INTERVAL) => {
                    if let Some(status) = server.ended()? {
                        bail!("millrace run ended with {status}");
                    }
                }
            }
        }
    })?;
    server.stop()
}

fn recording_path(name: &str) -> Result<String> {
    let path = workspace::recordings().join(name);
    path.into_os_string().into_string().ok().context("the project's path is not UTF-8")
}

fn headline(text: &str) {
    match std::io::stdout().is_terminal() {
        true => println!("\n\x1b[1m{text}\x1b[0m"),
        false => println!("\n{text}"),
    }
}

/// Runs a command of the binary with its output on the terminal.
fn show(launch: &Launch, arguments: &[&str]) -> Result<()> {
    let mut command: Command = launch.command(arguments)?;
    let status = command.stdout(std::process::Stdio::inherit()).status()?;
    if status.success() { Ok(()) } else { bail!("millrace {} ended with {status}", arguments[0]) }
}

fn say_how_to_go_on(launch: &Launch) {
    let binary = launch.binary.display();
    headline("Millrace is running; Ctrl-C stops it, the data stays");
    println!("  Point a real Gemini CLI at it:  {binary} connect gemini");
    println!("  Ask it something:               {binary} query 'SELECT * FROM telemetry.vw_token_usage'");
    println!("  Watch it:                       {binary} status");
    println!("  OTLP/gRPC {}   OTLP/HTTP {}", launch.grpc_url(), launch.otlp_http_url());
}
