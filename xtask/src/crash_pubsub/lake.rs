//! BigQuery subscriptions under the kills: what was published is in their tables, once each.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::message;
use super::oracle::Oracle;
use super::shared::Shared;
use super::topology::MAIN;
use crate::pubsub::v1::{BigQueryConfig, PubsubMessage, Subscription, UpdateSubscriptionRequest};
use crate::pubsub::{Clients, is_lost};
use crate::server::{Api, Launch, number};
use crate::wait;

/// Tables of text, where every message is a row, of JSON, where hardly one is, and two of bytes, between which a
/// subscription goes to and fro. Tiny segments and
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

[[table]]
name = "lake.here"
schema_text = '''[{"name": "data", "type": "BYTES"}]'''

[[table]]
name = "lake.there"
schema_text = '''[{"name": "data", "type": "BYTES"}]'''

[lake]
compaction_files_min = 3
"#;

/// How long the rest may take to be written once faults are over.
const WRITTEN_LIMIT: Duration = Duration::from_secs(60);
/// Between two changes of the table.
const MOVE_PAUSE: Duration = Duration::from_millis(300);
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

/// Makes the subscriptions.
pub async fn subscribe(clients: &mut Clients) -> Result<()> {
    let odd = Subscription { filter: "attributes.kind = \"odd\"".to_owned(), ..to("odd", "odd") };
    for subscription in [to("everything", "everything"), odd, to("moving", "here")] {
        let made = clients.subscriber.create_subscription(subscription).await;
        made.context("cannot create a BigQuery subscription")?;
    }
    Ok(())
}

fn to(name: &str, table: &str) -> Subscription {
    Subscription {
        name: format!("projects/crash/subscriptions/to-{name}"),
        topic: MAIN.to_owned(),
        bigquery_config: Some(BigQueryConfig {
            table: format!("local.lake.{table}"),
            write_metadata: table == "everything",
            ..BigQueryConfig::default()
        }),
        ..Subscription::default()
    }
}

/// Sends a subscription from one table to the other and back, until faults are over. A reply that is lost
/// changes nothing: the same is asked for again.
pub async fn move_to_and_fro(shared: Arc<Shared>) -> Result<()> {
    let mut clients = Clients::new(&shared.address)?;
    for table in ["there", "here"].into_iter().cycle() {
        loop {
            tokio::time::sleep(MOVE_PAUSE).await;
            if shared.is_ending() {
                return Ok(());
            }
            let request = UpdateSubscriptionRequest {
                subscription: Some(to("moving", table)),
                update_mask: Some(prost_types::FieldMask { paths: vec!["bigquery_config".to_owned()] }),
            };
            match clients.subscriber.update_subscription(request).await {
                Ok(_) => break,
                Err(status) if is_lost(&status) => {}
                Err(status) => shared.oracle.fault(format!("moving to lake.{table} was refused: {status}")),
            }
        }
        shared.counts.moves.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Compares the tables with what was promised, once faults are over and publishers have ended.
pub fn verify(api: &Api, oracle: &Oracle) -> Result<Written> {
    let promised = oracle.promised();
    let end = promised.keys().max().map_or(0, |last| last + 1);
    wait_written(api, end)?;
    let mut found = Found::default();
    for (table, by_offset) in TABLES.iter().zip(&mut found.0) {
        *by_offset = read(api, table, end, |row| match *table {
            "everything" => row_of(oracle, row),
            _ => Ok(()),
        })?;
    }
    found.judge(&promised).into_iter().for_each(|fault| oracle.fault(fault));
    let [rows, _, _, dead_letters, ..] = &found.0;
    Ok(Written { rows: rows.values().sum(), dead_letters: dead_letters.values().sum() })
}

/// The tables of the dataset `lake`.
const TABLES: [&str; 8] = [
    "everything",
    "everything_error_records",
    "odd",
    "odd_error_records",
    "here",
    "here_error_records",
    "there",
    "there_error_records",
];

/// How many rows each message has in each table, by its offset.
#[derive(Default)]
struct Found([BTreeMap<u64, u64>; TABLES.len()]);

impl Found {
    /// What is wrong with the tables, when these (offset and id) were promised.
    fn judge(&self, promised: &HashMap<u64, u64>) -> Vec<String> {
        let mut faults = Vec::new();
        for (offset, id) in promised {
            let rows = self.0.each_ref().map(|table| table.get(offset).copied().unwrap_or_default());
            let [everything, everything_refused, odd, odd_refused, here, here_refused, there, there_refused] =
                rows;
            let is_odd = u64::from(message::is_odd(*id));
            let is_right = (everything, everything_refused) == (1, 0)
                && odd + odd_refused == is_odd
                && here + there == 1
                && here_refused + there_refused == 0;
            if !is_right {
                faults.push(format!("id {id} (offset {offset}) has rows in {TABLES:?}: {rows:?}"));
            }
        }
        // What was not promised may be there, once: its reply was lost.
        for (table, by_offset) in TABLES.iter().zip(&self.0) {
            let twice =
                by_offset.iter().filter(|(offset, count)| **count > 1 && !promised.contains_key(offset));
            faults.extend(
                twice.map(|(offset, count)| format!("lake.{table}: offset {offset} is there {count} times")),
            );
        }
        faults
    }
}

/// Every pipeline's ledger, those of BigQuery subscriptions among them, must balance while nothing runs.
pub fn audit(launch: &Launch) -> Result<()> {
    let (status, text) = launch.output(&["audit", "--format", "json"])?;
    let report: Value =
        serde_json::from_str(&text).with_context(|| format!("audit ended with {status}: {text}"))?;
    let pipelines = report["pipelines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let exports = pipelines.iter().filter(|pipeline| is_exported(&pipeline["pipeline"]));
    if !status.success() || report["balanced"] != true || exports.count() < 3 {
        bail!("the audit does not balance, or not all BigQuery subscriptions are in it ({status}): {text}");
    }
    Ok(())
}

/// Writes the configuration with the tables, and has it used.
pub fn configure(directory: &Path, launch: Launch) -> Result<Launch> {
    let path = directory.join("millrace.toml");
    millrace_disk::write_atomically(&millrace_disk::StdDisk, &path, CONFIG.as_bytes())?;
    Ok(Launch { config: Some(path), ..launch })
}

/// Whether a pipeline of that name is a BigQuery subscription's.
fn is_exported(name: &Value) -> bool {
    name.as_str().is_some_and(|name| name.starts_with("bigquery~"))
}

fn wait_written(api: &Api, end: u64) -> Result<()> {
    let done = wait::until(WRITTEN_LIMIT, Duration::from_millis(50), || {
        let status = api.status().ok()?;
        let pipelines = status["pipelines"].as_array()?;
        let mut exports = pipelines.iter().filter(|pipeline| is_exported(&pipeline["name"]));
        exports.all(|pipeline| number(&pipeline["next_offset"]) >= Some(end)).then_some(())
    });
    done.with_context(|| format!("BigQuery subscriptions have not come to offset {end}: {:?}", api.status()))
}

/// How many rows of a table each message has; `judge` sees each.
fn read(
    api: &Api,
    table: &str,
    end: u64,
    judge: impl Fn(&[Value]) -> Result<(), String>,
) -> Result<BTreeMap<u64, u64>> {
    let columns = if table == "everything" { ", message_id, data, attributes" } else { "" };
    let mut found = BTreeMap::new();
    let mut total = 0;
    for first in (0..end).step_by(PAGE_OFFSETS as usize) {
        let next = if first + PAGE_OFFSETS < end { first + PAGE_OFFSETS } else { u64::from(u32::MAX) };
        let rows = api.query(&format!(
            "SELECT _offset{columns} FROM lake.{table} WHERE _offset >= {first} AND _offset < {next}"
        ))?;
        for row in &rows {
            let offset = row.first().and_then(number).with_context(|| format!("no offset: {row:?}"))?;
            *found.entry(offset).or_insert(0) += 1;
            total += 1;
            judge(row).map_err(|text| anyhow::anyhow!("lake.{table}: offset {offset}: {text}"))?;
        }
    }
    // Rows outside every page would escape.
    let counted = api.query_number(&format!("SELECT COUNT(*) FROM lake.{table}"))?;
    if counted != total {
        bail!("lake.{table}: COUNT(*) gives {counted} rows, by offset there are {total}");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten messages, each where it belongs.
    fn right() -> (Found, HashMap<u64, u64>) {
        let mut found = Found::default();
        for id in 0..10 {
            found.0[0].insert(id, 1);
            if message::is_odd(id) {
                found.0[if id == 5 { 2 } else { 3 }].insert(id, 1);
            }
            found.0[if id < 4 { 4 } else { 6 }].insert(id, 1);
        }
        (found, (0..10).map(|id| (id, id)).collect())
    }

    #[test]
    fn each_message_has_one_row_in_each_table_that_is_to_have_it() {
        let (mut found, promised) = right();
        // One whose reply was lost.
        found.0[0].insert(10, 1);
        assert_eq!(found.judge(&promised), [""; 0]);
        for (table, name) in TABLES.iter().enumerate() {
            for offset in [2, 3, 5, 10] {
                let (mut more, promised) = right();
                let count = if offset == 10 { 2 } else { 1 };
                *more.0[table].entry(offset).or_insert(0) += count;
                assert_eq!(more.judge(&promised).len(), 1, "{name} {offset}");
                let (mut less, promised) = right();
                if less.0[table].remove(&offset).is_some() {
                    assert_eq!(less.judge(&promised).len(), 1, "{name} {offset}");
                }
            }
        }
    }
}
