//! Reads everything back through the query API and shows it to the oracle.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::oracle::{Oracle, Verdict};
use super::setup::TABLE;
use crate::server::{Api, Launch, number};

/// Offsets per query, so that an answer stays small whatever the run's length.
const PAGE_OFFSETS: u64 = 4_000;

/// Compares table and dead letters with what the oracle knows. `end` is the topic's end offset.
pub fn tables(api: &Api, oracle: &Oracle, end: u64) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for first in (0..end).step_by(PAGE_OFFSETS as usize) {
        let next = first + PAGE_OFFSETS;
        let rows = api.query(&format!(
            "SELECT id, kind, payload FROM {TABLE} WHERE _offset >= {first} AND _offset < {next}"
        ))?;
        for row in &rows {
            match row_cells(row) {
                Some((id, kind, payload)) => oracle.found_row(&mut verdict, id, kind, payload),
                None => verdict.fault(format!("a row that cannot be read: {row:?}")),
            }
        }
        let dead_letters = api.query(&format!(
            "SELECT payloadString, payloadBytes, errorMessage FROM {TABLE}_error_records \
             WHERE _offset >= {first} AND _offset < {next}"
        ))?;
        for row in &dead_letters {
            dead_letter(row, oracle, &mut verdict);
        }
    }
    check_totals(api, &mut verdict)?;
    oracle.conclude(&mut verdict);
    Ok(verdict)
}

fn row_cells(row: &[Value]) -> Option<(u64, &str, &str)> {
    Some((number(row.first()?)?, row.get(1)?.as_str()?, row.get(2)?.as_str()?))
}

/// A dead letter must hold the original message, as text and as bytes, and say what was thrown.
fn dead_letter(row: &[Value], oracle: &Oracle, verdict: &mut Verdict) {
    let [Value::String(text), Value::String(bytes), Value::String(error)] = row else {
        return verdict.fault(format!("a dead letter that cannot be read: {row:?}"));
    };
    if BASE64.decode(bytes).ok().as_deref() != Some(text.as_bytes()) {
        verdict.fault(format!("a dead letter's bytes differ from its text: {text}"));
    }
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let record = &message["jsonPayload"];
    let (Some(id), Some(kind), Some(payload)) =
        (number(&record["crash.id"]), record["crash.kind"].as_str(), record["message"].as_str())
    else {
        return verdict.fault(format!("a dead letter without its record: {text}"));
    };
    if !error.contains(&format!("planned failure of record {id}")) {
        verdict.fault(format!("dead letter of id {id} has another error: {error}"));
    }
    oracle.found_dead_letter(verdict, id, kind, payload);
}

/// Rows outside every page (a lost `_offset`) would escape the oracle: the totals must agree as well.
fn check_totals(api: &Api, verdict: &mut Verdict) -> Result<()> {
    let rows = api.query_number(&format!("SELECT COUNT(*) FROM {TABLE}"))?;
    let dead_letters = api.query_number(&format!("SELECT COUNT(*) FROM {TABLE}_error_records"))?;
    if (rows, dead_letters) != (verdict.rows, verdict.dead_letters) {
        let (paged_rows, paged_letters) = (verdict.rows, verdict.dead_letters);
        verdict.fault(format!(
            "COUNT(*) gives {rows} rows and {dead_letters} dead letters, by offset there are {paged_rows} and {paged_letters}"
        ));
    }
    Ok(())
}

/// Runs `millrace audit`, which must balance at any time, also while nothing runs. Gives the number of messages
/// that replays have settled.
pub fn audit(launch: &Launch) -> Result<u64> {
    let (status, text) = launch.output(&["audit", "--format", "json"])?;
    let report: Value =
        serde_json::from_str(&text).with_context(|| format!("audit ended with {status}: {text}"))?;
    if !status.success() || report["balanced"] != true {
        bail!("the audit does not balance ({status}): {text}");
    }
    number(&report["pipelines"][0]["totals"]["replayed"])
        .context("the audit does not count what was replayed")
}

/// Delta log entries from `first` on that replaced files without changing data: compactions. Gives
/// their number and the version to go on from.
pub fn compactions_since(table: &Path, first: u64) -> (u64, u64) {
    let mut found = 0;
    let mut version = first;
    while let Ok(entry) =
        std::fs::read_to_string(table.join("_delta_log").join(format!("{version:020}.json")))
    {
        found += u64::from(entry.contains("\"remove\"") && entry.contains("\"dataChange\":false"));
        version += 1;
    }
    (found, version)
}
