//! `millrace query`: one GoogleSQL query over a snapshot of the tables, whether or not a server runs.

use std::io::{self, Read as _, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use millrace_sql::QueryResult;
use millrace_sql::format::{self, FormatError};

use crate::cli::{Query, QueryFormat};
use crate::config::Config;
use crate::out_file::OutFile;
use crate::reader::{Reader, format_error};

/// Runs the query given as argument, in a file, or on standard input.
///
/// # Errors
/// When it cannot be read, or as the engine reports. A file that was to be written is then as before.
pub fn query(config: &Config, query: Query) -> Result<()> {
    let sql = text(query.sql, query.file.as_deref())?;
    let started = Instant::now();
    let reader = Reader::open(config)?;
    match query.output {
        Some(path) => {
            let mut file = OutFile::create(&path)?;
            reader.query(&sql, async |result| {
                let mut out = io::BufWriter::new(&mut file);
                write(result, query.format, started, &mut out).await.map_err(format_error)?;
                out.flush().with_context(|| format!("cannot write {}", path.display()))
            })?;
            file.finish()
        }
        None => reader.query(&sql, async |result| {
            let mut out = io::BufWriter::new(io::stdout());
            write(result, query.format, started, &mut out).await.map_err(format_error)?;
            Ok(out.flush()?)
        }),
    }
}

async fn write(
    result: QueryResult,
    format: QueryFormat,
    started: Instant,
    out: &mut (impl Write + Send),
) -> Result<usize, FormatError> {
    match format {
        QueryFormat::Table => format::write_table(result, out).await,
        QueryFormat::Csv => format::write_csv(result, out).await,
        QueryFormat::Ndjson => format::write_ndjson(result, out).await,
        QueryFormat::Json => format::write_json(result, started, out).await,
        QueryFormat::Parquet => format::write_parquet(result, out).await,
    }
}

fn text(sql: Option<String>, file: Option<&Path>) -> Result<String> {
    match (sql, file) {
        (Some(sql), _) => Ok(sql),
        (None, Some(file)) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        }
        (None, None) => {
            let mut sql = String::new();
            io::stdin().read_to_string(&mut sql).context("cannot read standard input")?;
            Ok(sql)
        }
    }
}
