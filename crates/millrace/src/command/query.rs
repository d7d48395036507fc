//! `millrace query`: one GoogleSQL query over a snapshot of the tables.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use millrace_sql::format;

use crate::cli::Format;
use crate::config::Config;
use crate::reader::{Reader, format_error};

/// Runs the query given as argument, in a file, or on standard input.
///
/// # Errors
/// When it cannot be read, or as the engine reports.
pub fn query(config: &Config, sql: Option<String>, file: Option<&Path>, format: Format) -> Result<()> {
    let sql = match (sql, file) {
        (Some(sql), _) => sql,
        (None, Some(file)) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
        (None, None) => {
            let mut sql = String::new();
            io::stdin().read_to_string(&mut sql).context("cannot read standard input")?;
            sql
        }
    };
    let started = Instant::now();
    let reader = Reader::open(config)?;
    reader.query(&sql, async |result| {
        let mut out = io::BufWriter::new(io::stdout().lock());
        match format {
            Format::Table => format::write_table(result, &mut out).await,
            Format::Csv => format::write_csv(result, &mut out).await,
            Format::Ndjson => format::write_ndjson(result, &mut out).await,
            Format::Json => format::write_json(result, started, &mut out).await,
        }
        .map_err(format_error)?;
        out.flush()?;
        Ok(())
    })
}
