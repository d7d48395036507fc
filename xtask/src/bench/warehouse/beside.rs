//! DuckDB over the same raw JSON column, beside it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::bench::report::Figure;
use crate::server::Launch;
use crate::workspace;

/// What `scripts/duckdb_views.py` prints.
#[derive(Deserialize)]
struct Answer {
    /// Why nothing was measured.
    skipped: Option<String>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    views: Vec<Measured>,
}

#[derive(Deserialize)]
struct Measured {
    view: String,
    rows: u64,
    /// A sum over the view, by which both answers are compared.
    check: u64,
    hot_seconds: f64,
}

/// The figures; none, and a line that says so, when DuckDB cannot be had.
pub fn duckdb(launch: &Launch, bench: &'static str) -> Result<Vec<Figure>> {
    let output = Command::new("python3")
        .arg(workspace::root().join("scripts/duckdb_views.py"))
        .arg(launch.data_dir.join("lake/telemetry/gemini_raw_logs"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("warehouse: DuckDB is left out: cannot run python3: {error}");
            return Ok(Vec::new());
        }
    };
    if !output.status.success() {
        bail!("scripts/duckdb_views.py ended with {}", output.status);
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).context("scripts/duckdb_views.py")?;
    if let Some(reason) = answer.skipped {
        println!("warehouse: DuckDB is left out: {reason}");
        return Ok(Vec::new());
    }
    let mut server = launch.start_ready()?;
    let mut figures = Vec::new();
    for Measured { view, rows, check, hot_seconds } in answer.views {
        let column = if view == "daily_metrics" { "request_count" } else { "grand_total_tokens" };
        let sql = format!("SELECT COUNT(*), SUM({column}) FROM telemetry.{view}");
        let found = server.api().query(&sql)?;
        let numbers: Vec<_> = found.iter().flatten().filter_map(crate::server::number).collect();
        if numbers != [rows, check] {
            bail!("{view}: DuckDB finds {rows} rows and {check} {column}, Millrace {numbers:?}");
        }
        let what = format!("DuckDB {}: {view} over the raw JSON column ({rows} rows), hot", answer.version);
        figures.push(Figure::new(bench, &what, hot_seconds, "s"));
    }
    server.stop()?;
    Ok(figures)
}
