//! `millrace status`: what the running server does.

use anyhow::Result;
use millrace_server::Status;
use serde_json::{Value, json};

use crate::cli::Format;
use crate::client::Client;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::output;

/// Asks the server of this data directory, or the one on the configured port.
///
/// # Errors
/// When none answers.
pub fn status(config: &Config, port_offset: u16, format: Format) -> Result<()> {
    let base = match DataDir::new(&config.data_dir).running_server()? {
        Some(server) => server.http,
        None => Client::api_base(config, port_offset),
    };
    let status: Status = Client::new(config, &base)?.get("/api/status")?;
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    print_pipelines(format, &status)?;
    if format == Format::Table {
        print_topics(&status)?;
        print_sources(&status)?;
        print_tables(&status)?;
        println!("Postgres clients: {}", status.postgres.as_deref().unwrap_or("off"));
    }
    Ok(())
}

fn print_pipelines(format: Format, status: &Status) -> Result<()> {
    let columns = [
        "pipeline",
        "state",
        "topic",
        "table",
        "written",
        "filtered",
        "dead_lettered",
        "pending",
        "duplicate",
        "expired",
        "freshness_seconds",
        "worker_utilisation",
        "balanced",
        "error",
    ];
    let rows: Vec<Vec<Value>> = status
        .pipelines
        .iter()
        .map(|pipeline| {
            vec![
                json!(pipeline.name),
                json!(pipeline.state),
                json!(pipeline.topic),
                json!(pipeline.table),
                json!(pipeline.written),
                json!(pipeline.filtered),
                json!(pipeline.dead_lettered),
                json!(pipeline.pending),
                json!(pipeline.duplicate),
                json!(pipeline.expired),
                json!(rounded(pipeline.freshness_seconds)),
                json!(rounded(pipeline.worker_utilisation)),
                json!(pipeline.audit.as_ref().map(|audit| audit.balanced)),
                json!(pipeline.error),
            ]
        })
        .collect();
    output::print(format, &columns, &rows)
}

/// Two digits behind the point: more would only flicker.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn print_topics(status: &Status) -> Result<()> {
    let rows: Vec<Vec<Value>> = status
        .topics
        .iter()
        .map(|topic| {
            vec![
                json!(topic.name),
                json!(topic.end),
                json!(topic.duplicates),
                json!(topic.expired),
                json!(topic.bytes),
                json!(topic.segments),
                json!(topic.error),
            ]
        })
        .collect();
    output::print(
        Format::Table,
        &["topic", "accepted", "duplicates", "expired", "bytes", "segments", "error"],
        &rows,
    )
}

/// Most servers have none.
fn print_sources(status: &Status) -> Result<()> {
    if status.sources.is_empty() {
        return Ok(());
    }
    let rows: Vec<Vec<Value>> = status
        .sources
        .iter()
        .map(|source| {
            vec![
                json!(source.name),
                json!(source.state),
                json!(source.subscription),
                json!(source.topic),
                json!(source.appended),
                json!(source.duplicates),
                json!(source.acks),
                json!(source.nacks),
                json!(source.outstanding),
                json!(source.stalled_seconds),
                json!(source.error),
            ]
        })
        .collect();
    output::print(
        Format::Table,
        &[
            "source",
            "state",
            "subscription",
            "topic",
            "appended",
            "duplicates",
            "acks",
            "nacks",
            "outstanding",
            "stalled_seconds",
            "error",
        ],
        &rows,
    )
}

fn print_tables(status: &Status) -> Result<()> {
    let rows: Vec<Vec<Value>> = status
        .tables
        .iter()
        .map(|table| {
            vec![
                json!(table.name),
                json!(table.rows),
                json!(table.bytes),
                json!(table.files),
                json!(table.version),
            ]
        })
        .collect();
    output::print(Format::Table, &["table", "rows", "bytes", "files", "version"], &rows)
}
