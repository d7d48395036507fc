//! BigQuery subscriptions under the kills: what was published is in their tables, once each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::message;
use super::oracle::Oracle;
use super::topology::MAIN;
use crate::pubsub::Clients;
use crate::pubsub::v1::{BigQueryConfig, PubsubMessage, Subscription};
use crate::server::{Api, Launch, number};
use crate::wait;

/// Tables of text, of which every message is a row, and of JSON, of which hardly one is. Tiny windows and
/// compaction thresholds: everything that happens once an hour in earnest happens several times a second here.
pub const CONFIG: &str = r#"
[log]
segment_bytes_max = 2097152

[[table]]
name = "lake.everything"
schema_text = '''[
  {"name": "data", "type": "STRING"},
  {"name": "subscription_name", "type": "STRING"},
  {"name": "message_id", "type": "STRING"},
  {"name": "publish_time", "type": "TIMESTAMP"},
  {"name": "attributes", "type": "JSON"}
]'''

[[table]]
name = "lake.odd"
schema_text = '''[{"name": "data", "type": "JSON"}]'''

[lake]
compaction_files_min = 3
"#;

/// How long the rest may take to be written once faults are over.
const WRITTEN_LIMIT: Duration = Duration::from_secs(60);
/// Offsets per query, so that an answer stays small whatever the run's length.
const PAGE_OFFSETS: u64 = 4_000;

/// What is in the tables.
#[derive(Debug, Default, Clone, Copy, serde::Serialize)]
pub struct Written {
    /// Rows of the subscription without a filter.
    pub rows: u64,
    /// Dead letters of the one with a filter.
    pub dead_letters: u64,
}

/// Makes the two subscriptions.
pub async fn subscribe(clients: &mut Clients) -> Result<()> {
    let to = |table: &str, write_metadata| {
        Some(BigQueryConfig {
            table: format!("local.lake.{table}"),
            write_metadata,
            ..BigQueryConfig::default()
        })
    };
    for (name, filter, bigquery_config) in
        [("everything", "", to("everything", true)), ("odd", "attributes.kind = \"odd\"", to("odd", false))]
    {
        let subscription = Subscription {
            name: format!("projects/crash/subscriptions/to-{name}"),
            topic: MAIN.to_owned(),
            filter: filter.to_owned(),
            bigquery_config,
            ..Subscription::default()
        };
        let made = clients.subscriber.create_subscription(subscription).await;
        made.with_context(|| format!("cannot create the BigQuery subscription {name}"))?;
    }
    Ok(())
}

/// Compares the tables with what was promised, once faults are over and publishers have ended.
pub fn verify(api: &Api, oracle: &Oracle) -> Result<Written> {
    let promised = oracle.promised();
    let end = promised.keys().max().map_or(0, |last| last + 1);
    wait_written(api, end)?;
    let everything = found(api, "lake.everything", end, |row| row_of(oracle, row))?;
    let no_rows = found(api, "lake.everything_error_records", end, |_| Ok(()))?;
    let rows = found(api, "lake.odd", end, |_| Ok(()))?;
    let dead_letters = found(api, "lake.odd_error_records", end, |_| Ok(()))?;
    for (offset, id) in &promised {
        let is_odd = u64::from(message::is_odd(*id));
        let of = |found: &BTreeMap<u64, u64>| found.get(offset).copied().unwrap_or_default();
        let (written, refused) = (of(&everything), of(&no_rows));
        if (written, refused) != (1, 0) {
            oracle.fault(format!(
                "lake.everything: id {id} (offset {offset}) has {written} rows and {refused} dead letters"
            ));
        }
        let (written, refused) = (of(&rows), of(&dead_letters));
        if written + refused != is_odd {
            oracle.fault(format!(
                "lake.odd: id {id} (offset {offset}) has {written} rows and {refused} dead letters"
            ));
        }
    }
    for (table, found) in [("everything", &everything), ("odd", &rows), ("odd_error_records", &dead_letters)]
    {
        let twice: BTreeSet<_> = found.iter().filter(|(_, count)| **count > 1).collect();
        if let Some((offset, count)) = twice.first() {
            oracle.fault(format!(
                "lake.{table}: {} messages are there twice, offset {offset} {count} times",
                twice.len()
            ));
        }
    }
    let rows_of = |found: &BTreeMap<u64, u64>| found.values().sum();
    Ok(Written { rows: rows_of(&everything), dead_letters: rows_of(&dead_letters) })
}

/// Every pipeline's ledger, those of BigQuery subscriptions among them, must balance while nothing runs.
pub fn audit(launch: &Launch) -> Result<()> {
    let (status, text) = launch.output(&["audit", "--format", "json"])?;
    let report: Value =
        serde_json::from_str(&text).with_context(|| format!("audit ended with {status}: {text}"))?;
    let pipelines = report["pipelines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let exports = pipelines
        .iter()
        .filter(|pipeline| pipeline["pipeline"].as_str().is_some_and(|name| name.starts_with("bigquery~")));
    if !status.success() || report["balanced"] != true || exports.count() != 2 {
        bail!("the audit does not balance, or not both BigQuery subscriptions are in it ({status}): {text}");
    }
    Ok(())
}

/// Writes the configuration with the tables, and has it used.
pub fn configure(directory: &Path, launch: Launch) -> Result<Launch> {
    let path = directory.join("millrace.toml");
    millrace_disk::write_atomically(&millrace_disk::StdDisk, &path, CONFIG.as_bytes())?;
    Ok(Launch { config: Some(path), ..launch })
}

fn wait_written(api: &Api, end: u64) -> Result<()> {
    let done = wait::until(WRITTEN_LIMIT, Duration::from_millis(50), || {
        let status = api.status().ok()?;
        let pipelines = status["pipelines"].as_array()?;
        let mut exports = pipelines
            .iter()
            .filter(|pipeline| pipeline["name"].as_str().is_some_and(|name| name.starts_with("bigquery~")));
        exports.all(|pipeline| number(&pipeline["next_offset"]) >= Some(end)).then_some(())
    });
    done.with_context(|| format!("BigQuery subscriptions have not come to offset {end}: {:?}", api.status()))
}

/// How many rows of a table each message has; `judge` sees each.
fn found(
    api: &Api,
    table: &str,
    end: u64,
    judge: impl Fn(&[Value]) -> Result<(), String>,
) -> Result<BTreeMap<u64, u64>> {
    let columns = if table == "lake.everything" { ", message_id, data, attributes" } else { "" };
    let mut found = BTreeMap::new();
    let mut total = 0;
    for first in (0..end).step_by(PAGE_OFFSETS as usize) {
        let next = if first + PAGE_OFFSETS < end { first + PAGE_OFFSETS } else { u64::from(u32::MAX) };
        let rows = api.query(&format!(
            "SELECT _offset{columns} FROM {table} WHERE _offset >= {first} AND _offset < {next}"
        ))?;
        for row in &rows {
            let offset = row.first().and_then(number).with_context(|| format!("no offset: {row:?}"))?;
            *found.entry(offset).or_insert(0) += 1;
            total += 1;
            judge(row).map_err(|text| anyhow::anyhow!("{table}: offset {offset}: {text}"))?;
        }
    }
    // Rows outside every page would escape.
    let counted = api.query_number(&format!("SELECT COUNT(*) FROM {table}"))?;
    if counted != total {
        bail!("{table}: COUNT(*) gives {counted} rows, by offset there are {total}");
    }
    Ok(found)
}

/// A row must be the message as it was sent, with its id.
fn row_of(oracle: &Oracle, row: &[Value]) -> Result<(), String> {
    let [offset, Value::String(message_id), Value::String(data), attributes] = row else {
        return Err(format!("a row that cannot be read: {row:?}"));
    };
    if message::offset(message_id) != number(offset) {
        return Err(format!("its message id is {message_id}"));
    }
    let attributes = match attributes {
        Value::String(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
        other => other.clone(),
    };
    let mut attributes: BTreeMap<String, String> =
        serde_json::from_value(attributes).map_err(|error| error.to_string())?;
    let ordering_key = attributes.remove("ordering_key").unwrap_or_default();
    let data = bytes::Bytes::from(data.clone().into_bytes());
    let message = PubsubMessage { data, attributes, ordering_key, ..PubsubMessage::default() };
    message::read(oracle.seed(), &message).map(|_| ())
}
