//! What can go wrong in the lake.

use std::io;
use std::path::{Path, PathBuf};

/// Why a lake operation failed.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// A dataset or table name that cannot be a directory name.
    #[error("{0:?} cannot name a dataset or table: use letters, digits, - and _, at most 255")]
    Name(String),
    /// The table on disk and the declared table contradict each other.
    #[error(
        "table {table} is declared otherwise than it is stored: {reason}; declare it as it is, or load into another table"
    )]
    Schema {
        /// The table.
        table: String,
        /// What differs.
        reason: String,
    },
    /// The table needs something that this program cannot do.
    #[error("table {table} is not one that millrace can use: {reason}")]
    Unsupported {
        /// The table.
        table: String,
        /// What it needs.
        reason: String,
    },
    /// A file that the table refers to is missing or damaged.
    #[error(
        "table {table} is damaged: {reason}; restore the file from a backup, or replay the topic into a new table"
    )]
    Damaged {
        /// The table.
        table: String,
        /// The file and what is wrong with it.
        reason: String,
    },
    /// The table is not there and may not be created.
    #[error("there is no table {0}; a writing process creates it")]
    Missing(String),
    /// Something was asked of a lake that only reads.
    #[error("the lake is open for reading only: {0} needs the writing process")]
    ReadOnly(&'static str),
    /// The lake was shut down.
    #[error("the lake is shut down")]
    Closed,
    /// Another writer committed to the table.
    #[error(
        "version {version} of table {table} was taken by another writer; only one process may write a table"
    )]
    Taken {
        /// The table.
        table: String,
        /// The version.
        version: u64,
    },
    /// The table changed under a maintenance step, which gives up and comes again.
    #[error("the files of table {0} changed meanwhile")]
    Conflict(String),
    /// The disk.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Columns.
    #[error("cannot arrange columns: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet.
    #[error("cannot {action} parquet file {path}: {source}")]
    Parquet {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// The library's word.
        source: parquet::errors::ParquetError,
    },
    /// The Delta log.
    #[error("cannot read the log of table {table}: {reason}")]
    Log {
        /// The table.
        table: String,
        /// The library's word.
        reason: String,
    },
}

impl LakeError {
    /// A closure for `map_err` that puts the file and the act to an I/O error.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// The same for parquet.
    pub(crate) fn parquet<'a>(
        action: &'static str,
        path: &'a str,
    ) -> impl FnOnce(parquet::errors::ParquetError) -> Self + 'a {
        move |source| Self::Parquet { action, path: path.to_owned(), source }
    }
}
