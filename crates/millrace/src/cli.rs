//! The command line.

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Streaming ELT in one program: telemetry in, a durable log, your JavaScript, exactly-once tables, SQL.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The configuration file; without one, defaults.
    #[arg(long, global = true, env = "MILLRACE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where everything is kept (default: ./millrace-data).
    #[arg(long, global = true, env = "MILLRACE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Added to every port, so that several instances run side by side.
    #[arg(long, global = true, default_value_t = 0)]
    pub port_offset: u16,
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
    Ndjson,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything: ingest, pipelines, tables, the HTTP API.
    Run,
    /// Load files of LogEntry lines or OTLP JSON bodies through the same pipeline, each line once ever.
    Load {
        /// Files, `.gz` or not; `-` is standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The topic to load into (default: gemini-telemetry-logs).
        #[arg(long)]
        topic: Option<String>,
    },
    /// Make up log entries of a fleet of Gemini CLI users, as `load` takes them.
    Generate(Generate),
    /// Run one GoogleSQL query.
    Query(Query),
    /// Rebuild the ledger from the log and the tables alone, and fail when it does not balance.
    Audit {
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Look at dead letters.
    Deadletter {
        #[command(subcommand)]
        command: DeadLetter,
    },
    /// Look at the log's files.
    Log {
        #[command(subcommand)]
        command: Log,
    },
    /// List, show, make, remove, verify and refresh views.
    Views {
        #[command(subcommand)]
        command: Views,
    },
    /// Show what the running server does.
    Status {
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Check a configuration, its scripts, schemas and filters.
    Check,
    /// Send recorded OTLP bodies to an OTLP/HTTP endpoint, as a client would.
    Send {
        /// Files (.pb, .json, .wire.bin with its index.jsonl) or folders of them.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where to (default: the OTLP/HTTP port of this configuration).
        #[arg(long)]
        endpoint: Option<String>,
    },
    /// Versions of a UDF: what ran when and why, going back, and a new one in the shadow of the old.
    Udf {
        #[command(subcommand)]
        command: Udf,
    },
    /// Let pipelines fold everything there is now, and end; waits for it.
    Drain(Which),
    /// End pipelines at once; what is not folded waits in the topic.
    Cancel(Which),
    /// Let pipelines go on that were drained or cancelled, or failed.
    Resume(Which),
    /// Let the running server read its configuration anew.
    Update,
    /// Run messages of the log again, with another UDF, into a table of their own; goes on where it was.
    Rerun(Rerun),
    /// Point a telemetry producer here.
    Connect {
        #[command(subcommand)]
        command: Connect,
    },
    /// Run UDF messages from standard input: the killable last resort of a running server.
    #[command(hide = true)]
    UdfChild,
}

/// What to make up. The same arguments give the same bytes.
#[derive(Debug, Args)]
pub struct Generate {
    /// Log entries, exactly.
    #[arg(long)]
    pub records: u64,
    /// The most users that they come from.
    #[arg(long)]
    pub users: u32,
    /// Days that they are spread over, each with at least one; ten years at most.
    #[arg(long)]
    pub days: u32,
    /// Another seed, other entries.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The file; gzipped when it ends in `.gz`; `-` is standard output.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// The last day, as 2026-11-22 (default: yesterday in UTC).
    #[arg(long)]
    pub end: Option<NaiveDate>,
}

#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    /// The newest dead letters, or how many there are of each class.
    List {
        /// One line for each table, stage, class and message.
        #[arg(long)]
        group: bool,
        /// At most so many lines.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// One dead letter, whole.
    Show {
        /// The message id, as listed.
        message_id: String,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub enum Log {
    /// Read every byte, check every checksum, and say what can be saved. Changes nothing.
    Verify {
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Topics, their offsets and sizes.
    Stats {
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub struct Query {
    /// The query; without it and without --file, standard input is read.
    pub sql: Option<String>,
    /// A file with the query.
    #[arg(long, conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "table")]
    pub format: QueryFormat,
    /// Where the result goes, whole or not at all (default: standard output).
    #[arg(long, short, required_if_eq("format", "parquet"))]
    pub output: Option<PathBuf>,
}

/// How a query's result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueryFormat {
    Table,
    Json,
    Csv,
    Ndjson,
    Parquet,
}

#[derive(Debug, Subcommand)]
pub enum Views {
    /// All views, and what is kept of materialised ones.
    List {
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// The SQL of one, its placeholders filled in.
    Show { name: String },
    /// Make a view out of a query, or of CREATE [OR REPLACE] [MATERIALIZED] VIEW ... AS a query.
    Create {
        /// Its name: letters, digits and _.
        name: String,
        /// The file with its SQL; `-` or none is standard input.
        file: Option<PathBuf>,
        /// Put it in the place of a view of that name.
        #[arg(long)]
        replace: bool,
    },
    /// Remove a view of your own.
    Drop {
        name: String,
        /// Succeed, too, when there is none.
        #[arg(long)]
        if_exists: bool,
    },
    /// Plan every view over the present tables; fail when one cannot be.
    Verify {
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Compute materialised views now and store the results.
    Refresh {
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All of them.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Udf {
    #[command(flatten)]
    Versions(UdfVersions),
}

/// What can be done with versions.
#[derive(Debug, Subcommand)]
pub enum UdfVersions {
    /// What ran when and why.
    History {
        #[command(flatten)]
        of: Of,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Look at the script's file now rather than at the next interval.
    Reload {
        #[command(flatten)]
        of: Of,
    },
    /// Go back to the version that ran before, or to another; the script's file is left alone until it
    /// changes. Works without a server, too.
    Rollback {
        #[command(flatten)]
        of: Of,
        /// The version: its hash, or the first digits of it.
        #[arg(long)]
        to: Option<String>,
    },
    /// Run a new version beside the running one on live messages, without writing anything; without a
    /// file, show what it has found.
    Shadow {
        /// A .js file, or a folder of them.
        file: Option<PathBuf>,
        /// The function in it (default: the configured one).
        #[arg(long, requires = "file")]
        function: Option<String>,
        /// End it and show what it has found.
        #[arg(long, conflicts_with = "file")]
        stop: bool,
        #[command(flatten)]
        of: Of,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Put the version in the shadow in the place of the running one, unless it does worse on recent
    /// messages.
    Promote {
        #[command(flatten)]
        of: Of,
        /// Also when it does worse.
        #[arg(long)]
        force: bool,
    },
}

/// Whose UDF.
#[derive(Debug, Args)]
pub struct Of {
    /// The pipeline (default: the only one with a UDF).
    #[arg(long)]
    pub pipeline: Option<String>,
}

/// Which pipelines a command is about.
#[derive(Debug, Args)]
pub struct Which {
    /// The pipeline (default: all of them).
    pub pipeline: Option<String>,
}

/// What is run again.
#[derive(Debug, Args)]
pub struct Rerun {
    /// The first moment of publishing, as 2026-11-22 or 2026-11-22T10:00:00Z.
    #[arg(long)]
    pub from: String,
    /// Behind the last moment, likewise; messages that come later than now are not waited for.
    #[arg(long)]
    pub to: String,
    /// The table to be made, `dataset.table`.
    #[arg(long)]
    pub into: String,
    /// A .js file or a folder of them (default: the version that runs).
    #[arg(long)]
    pub udf: Option<PathBuf>,
    /// The function in it (default: the configured one).
    #[arg(long, requires = "udf")]
    pub function: Option<String>,
    /// The pipeline whose topic, schema and limits it has (default: the only one).
    #[arg(long)]
    pub pipeline: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Connect {
    /// Write the telemetry settings of the Gemini CLI.
    Gemini {
        /// The settings file (default: ~/.gemini/settings.json).
        #[arg(long)]
        settings: Option<PathBuf>,
        /// Show what would be written, and write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Let prompts and answers be sent too (`telemetry.logPrompts`); off unless asked for.
        #[arg(long)]
        log_prompts: bool,
    },
}
