//! The `millrace` program: the command line, and the wiring of the crates that do the work.
//!
//! **Invariant:** no algorithm lives here. This crate reads the configuration, opens the parts, hands
//! them to each other and prints what they say.

mod auditor;
mod auth;
mod cli;
mod client;
mod command;
mod config;
mod control;
mod data_dir;
mod descriptors;
mod exports;
mod job_store;
mod moment;
mod node;
mod out_file;
mod output;
mod pipelines;
mod plan;
mod queries;
mod reader;
mod reload;
mod replays;
mod rerun;
mod settings;
mod sources;
mod tables;
mod threads;
mod udf;
mod udf_files;
mod update;
mod writer;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use cli::{Cli, Command, Udf};
use config::Origin;
use tracing_subscriber::EnvFilter;

/// Gives freed memory back to the system, from a thread of its own, within ten seconds; an idle server
/// must be small. ARCHITECTURE.md has the figures beside other allocators'.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The Delta library tells of every snapshot at the level of information.
    let level = match cli.command {
        // A UDF's child process writes what its scripts print, as the server would have done.
        Command::Run | Command::UdfChild | Command::Template { command: cli::Template::Run(_) } => {
            "info,buoyant_kernel=warn,deltalake_core=warn"
        }
        Command::Udf { .. } => "warn,udf_console=debug",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_env("MILLRACE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    if matches!(cli.command, Command::UdfChild) {
        millrace_udf::run_child(std::io::stdin().lock(), std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Generate(arguments) = &cli.command {
        command::generate::run(arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Udf { command: Udf::Workbench(command) } = &cli.command {
        return command::udf::udf(command);
    }
    let origin = Origin { file: cli.common.config.clone(), data_dir: cli.common.data_dir.clone() };
    let config = origin.load()?;
    let offset = cli.common.port_offset;
    match cli.command {
        Command::Run => command::run::run(&config, Some(origin), offset)?,
        Command::Load { files, topic } => command::load::load(&config, &files, topic.as_deref())?,
        Command::Query(query) => command::query::query(&config, query)?,
        Command::Audit { since, format } => return command::audit::audit(&config, since.as_deref(), format),
        Command::Deadletter { command } => return command::deadletter::deadletter(&config, &command),
        Command::Log { command } => return command::log::log(&config, &command),
        Command::Views { command } => return command::views::views(&config, &command),
        Command::Topic { command } => command::pubsub::topic(&config, &command)?,
        Command::Subscription { command } => command::pubsub::subscription(&config, &command)?,
        Command::Snapshot { command } => command::pubsub::snapshot(&config, &command)?,
        Command::Status { format } => command::status::status(&config, offset, format)?,
        Command::Check => command::check::check(&config)?,
        Command::Send { files, endpoint } => command::send::send(&config, offset, &files, endpoint)?,
        Command::Udf { command: Udf::Versions(command) } => {
            return command::udf_versions::udf(&config, command);
        }
        Command::Drain(which) => command::lifecycle::drain(&config, which.pipeline.as_deref())?,
        Command::Cancel(which) => command::lifecycle::cancel(&config, which.pipeline.as_deref())?,
        Command::Resume(which) => command::lifecycle::resume(&config, which.pipeline.as_deref())?,
        Command::Update => command::lifecycle::update(&config)?,
        Command::Rerun(rerun) => command::rerun::rerun(&config, &rerun)?,
        Command::Connect { command } => command::connect::connect(&config, offset, &command)?,
        Command::Template { command } => {
            return command::template::template(&cli.common, &config, &command);
        }
        // Those that need no configuration are done.
        Command::UdfChild | Command::Generate(_) | Command::Udf { command: Udf::Workbench(_) } => {}
    }
    Ok(ExitCode::SUCCESS)
}
