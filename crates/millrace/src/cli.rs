//! The command line.

mod deadletter;
mod pubsub;
mod views;

use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{UdfMode, UdfShape};

pub use deadletter::{Chosen, DeadLetter};
pub use pubsub::{CreateSubscription, Snapshot, Subscription, Topic};
pub use views::Views;

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
        /// Also what became of the messages accepted since then: 30m, 24h, 7d, 2026-11-27 or RFC 3339.
        #[arg(long)]
        since: Option<String>,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// List, show, replay, purge and export dead letters.
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
    /// List, make and delete Pub/Sub topics of the running server, and publish to them.
    Topic {
        #[command(subcommand)]
        command: Topic,
    },
    /// List, make and delete Pub/Sub subscriptions of the running server, pull from them and seek.
    Subscription {
        #[command(subcommand)]
        command: Subscription,
    },
    /// List, make and delete Pub/Sub snapshots of the running server.
    Snapshot {
        #[command(subcommand)]
        command: Snapshot,
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
    /// Try, test and measure UDFs; what ran when and why, going back, a new version in the shadow of the old.
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
    /// Run what a Dataflow template runs, from the template's own parameters.
    Template {
        #[command(subcommand)]
        command: Template,
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
pub enum UdfCommand {
    /// Run each line of a file through a UDF: one line out for each, a JSON string, null or {"error": ...}.
    Run {
        #[command(flatten)]
        udf: UdfArguments,
        /// The messages, one a line; `-` is standard input.
        #[arg(long, default_value = "-")]
        input: PathBuf,
        /// Lines are Pub/Sub messages in JSON ({"data": BASE64 or "text": TEXT, "attributes", ...}), not payloads.
        #[arg(long)]
        messages: bool,
    },
    /// Hold a UDF against a folder of golden cases; exit code 1 when one differs.
    Test {
        #[command(flatten)]
        udf: UdfArguments,
        /// The folder: NAME.input.json with NAME.expected.json or NAME.error.txt.
        #[arg(long)]
        cases: PathBuf,
        /// Write what comes out as what is expected.
        #[arg(long)]
        update: bool,
    },
    /// Say whether a UDF runs as a native plan, and which line stands in the way when it does not.
    Explain {
        /// The script: a file, or a folder or pattern of which all `.js` files are loaded.
        file: PathBuf,
        /// The function to call.
        #[arg(long, default_value = "transform")]
        function: String,
    },
    /// Measure a UDF, and Node with the same script and messages.
    Bench {
        #[command(flatten)]
        udf: UdfArguments,
        /// The messages, one payload a line; `-` is standard input.
        #[arg(long)]
        input: PathBuf,
        /// Seconds for each measurement.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Engines side by side (default: one for each core).
        #[arg(long)]
        engines: Option<usize>,
        /// Leave Node out.
        #[arg(long)]
        no_node: bool,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
}

/// A UDF on the command line.
#[derive(Debug, Args)]
pub struct UdfArguments {
    /// The script: a file, or a folder or pattern of which all `.js` files are loaded.
    pub file: PathBuf,
    /// The function to call.
    #[arg(long)]
    pub function: String,
    /// What it takes (default: told from the number of its parameters).
    #[arg(long, value_enum, default_value = "auto")]
    pub shape: UdfShape,
    /// What happens where the Dataflow template loses messages.
    #[arg(long, value_enum, default_value = "strict")]
    pub mode: UdfMode,
    /// Give each message a clock and random numbers of its own, the same each time.
    #[arg(long)]
    pub reproducible: bool,
    /// Run it in JavaScript, also where it has a native plan.
    #[arg(long)]
    pub no_plan: bool,
    /// A BigQuery schema that rows must fit, else they are dead letters.
    #[arg(long)]
    pub schema: Option<PathBuf>,
    /// How long one message may take, in milliseconds.
    #[arg(long, default_value_t = 500)]
    pub time_limit_ms: u64,
    /// How much memory one engine may take, in bytes.
    #[arg(long, default_value_t = 64 << 20)]
    pub heap_bytes_max: usize,
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
pub enum Udf {
    #[command(flatten)]
    Workbench(UdfCommand),
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
    /// The first moment of publishing, as 24h, 2026-11-22 or 2026-11-22T10:00:00Z.
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

#[derive(Debug, Subcommand)]
pub enum Template {
    /// Run the pipeline of a launch of PubSub_to_BigQuery, on the embedded topic and table.
    Run(Launch),
    /// Print the pipeline that `run` would run, as a millrace.toml.
    Plan(Launch),
    /// Say what would be different when a Dataflow job moves here. Exit code 3: something must be changed first.
    Check {
        /// `gcloud dataflow jobs describe JOB --full --format json`; `-` is standard input.
        #[arg(long)]
        job: PathBuf,
        /// The job's scripts: files or folders of them.
        #[arg(long)]
        udf: Vec<PathBuf>,
        /// The function, when the job does not say it.
        #[arg(long)]
        function: Option<String>,
        #[arg(long, value_enum, default_value = "table")]
        format: ReportFormat,
    },
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Table,
    Json,
}

/// Where the input of a launch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PubsubPlace {
    /// In this program's log.
    Embedded,
    /// In the real Pub/Sub.
    Google,
}

/// A launch of the template. `--parameters` wins over `--parameters-file`, that over variables
/// MILLRACE_TEMPLATE_<parameter>.
#[derive(Debug, Args)]
pub struct Launch {
    /// As gcloud takes them: name=value,name=value, or ^;^name=value;name=value for values with commas.
    #[arg(long)]
    pub parameters: Vec<String>,
    /// The body of a launch request, flex or classic, or its parameters alone; `-` is standard input.
    #[arg(long)]
    pub parameters_file: Option<PathBuf>,
    /// The template, by name or gs:// path (default: what the file names, else PubSub_to_BigQuery_Flex).
    #[arg(long)]
    pub template: Option<String>,
    /// As gcloud takes them, for instance streaming_mode_at_least_once.
    #[arg(long, value_delimiter = ',')]
    pub additional_experiments: Vec<String>,
    /// Where gs:// paths are looked for: gs://bucket/a.js is DIR/bucket/a.js.
    #[arg(long, env = "MILLRACE_GS_ROOT", value_name = "DIR")]
    pub gs_root: Option<PathBuf>,
    /// The schema of a table that does not exist yet, as `bq show --schema` prints it.
    #[arg(long)]
    pub schema: Option<PathBuf>,
    /// The column whose day partitions the table.
    #[arg(long)]
    pub partition: Option<String>,
    /// The columns that it is clustered by.
    #[arg(long, value_delimiter = ',')]
    pub clustering: Vec<String>,
    /// The topic of the log: with `--source embedded`, that the subscription is of, when no pipeline of the
    /// configuration has its name; with `google`, that is filled (default: the name of the input).
    #[arg(long)]
    pub topic: Option<String>,
    /// Where inputSubscription and inputTopic are: in this log, or in the real Pub/Sub.
    #[arg(long, value_enum, default_value = "embedded")]
    pub source: PubsubPlace,
    /// An emulator's HOST:PORT, or another https:// address of Pub/Sub; implies `--source google` (which asks
    /// PUBSUB_EMULATOR_HOST without it).
    #[arg(long, value_name = "ADDRESS")]
    pub pubsub_endpoint: Option<String>,
    /// The service account to read as.
    #[arg(long, value_name = "EMAIL")]
    pub impersonate_service_account: Option<String>,
    #[arg(long, value_enum, default_value = "strict")]
    pub mode: UdfMode,
}
