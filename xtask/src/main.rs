//! Chores of people who work on Millrace, in plain Rust instead of shell: `cargo xtask --help`.
//!
//! **Invariant:** nothing depends on this crate, and it meets the product as its users do: through the
//! built binary, its ports and its command line. Only the log's micro-benchmark calls a crate directly.

mod bench;
mod children;
mod clients;
mod crash;
mod crash_pubsub;
mod crash_test;
mod demo;
mod deps;
mod disk_full;
mod emulator;
mod fuzz;
mod idle_streams;
mod machine;
mod otlp;
mod profile;
mod pubsub;
mod readers;
mod restamp;
mod server;
mod tidy;
mod wait;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer chores.
#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer chores of Millrace")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Fail when a crate depends on what ARCHITECTURE.md says it must not know
    Deps,
    /// Fail on house rules that no other tool checks: file lengths, machine paths, unfinished code, docs
    Tidy,
    /// Kill the real binary over and over under load, then prove that nothing was lost or doubled
    Crash(crash_test::CrashArguments),
    /// The same with publishers, subscribers, snapshots and seeks on the Pub/Sub port
    CrashPubsub(crash_test::CrashArguments),
    /// Hold ten thousand idle streams open on the Pub/Sub port, then more silent connections than it takes
    IdleStreams(idle_streams::IdleStreamsArguments),
    /// Measure the real binary on its real ports
    Bench(bench::BenchArguments),
    /// Record where the server's time goes under load
    Profile(profile::ProfileArguments),
    /// Show the main job: start, send a recording, print views and audit, stay up (`make run`)
    Demo(demo::DemoArguments),
    /// Fill the disk under the real binary, then make room
    DiskFull(disk_full::DiskFullArguments),
    /// Let an independent Delta reader read a table that a real run made
    Readers(readers::ReadersArguments),
    /// Let psql, psycopg and SQLAlchemy use the Postgres port of a real run, and Google's clients its Pub/Sub port
    Clients(clients::ClientsArguments),
    /// Let the same clients use Google's own Pub/Sub emulator, where gcloud has it
    Emulator(emulator::EmulatorArguments),
    /// Try what libFuzzer makes up on the parsers of what strangers send
    Fuzz(fuzz::FuzzArguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Deps => deps::run(),
        Chore::Tidy => tidy::run(),
        Chore::Crash(arguments) => crash::run(&arguments),
        Chore::CrashPubsub(arguments) => crash_pubsub::run(&arguments),
        Chore::IdleStreams(arguments) => idle_streams::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Profile(arguments) => profile::run(&arguments),
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::DiskFull(arguments) => disk_full::run(&arguments),
        Chore::Readers(arguments) => readers::run(&arguments),
        Chore::Clients(arguments) => clients::run(&arguments),
        Chore::Emulator(arguments) => emulator::run(&arguments),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
