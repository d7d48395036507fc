//! What `millrace deadletter` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;

#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    /// How many dead letters there are of each class of error, or the newest one by one.
    List {
        #[command(flatten)]
        chosen: Chosen,
        /// One line for each dead letter.
        #[arg(long)]
        each: bool,
        /// At most so many lines.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// One dead letter, whole: the message, what the UDF makes of it now, the error with the script's lines.
    Show {
        /// The message id, as listed.
        message_id: String,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Show dead letters to the UDF again; what succeeds becomes a row, once, and leaves the dead letters.
    Replay {
        #[command(flatten)]
        chosen: Chosen,
        /// Only the dead letter of this message.
        #[arg(long)]
        message_id: Option<String>,
        /// Another script, or a folder of them, in place of the version that runs.
        #[arg(long)]
        udf: Option<PathBuf>,
        /// Another function of it.
        #[arg(long)]
        function: Option<String>,
        /// Say what would become of them, with samples, and change nothing.
        #[arg(long)]
        dry_run: bool,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Remove dead letters for good.
    Purge {
        #[command(flatten)]
        chosen: Chosen,
        /// Only the dead letter of this message.
        #[arg(long)]
        message_id: Option<String>,
        /// All of them; needed when nothing else is said.
        #[arg(long)]
        all: bool,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Write dead letters to a file, one JSON object a line.
    Export {
        #[command(flatten)]
        chosen: Chosen,
        /// The file, whole or not at all (default: standard output).
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// Only the payloads, one a line, as `millrace load` takes them; those with a line break or bytes
        /// that are not UTF-8 are left out and counted.
        #[arg(long)]
        payloads: bool,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Those of this pipeline.
    #[arg(long)]
    pub pipeline: Option<String>,
    /// Those of this class, as listed.
    #[arg(long)]
    pub class: Option<String>,
    /// Those that failed since then: 30m, 24h, 7d, 2026-11-27 or 2026-11-27T08:00:00Z.
    #[arg(long)]
    pub since: Option<String>,
}
