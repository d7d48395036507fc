//! What `millrace views` takes.

use std::path::PathBuf;

use clap::Subcommand;

use super::Format;

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
