//! What an audit found, for people and for programs.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::SinceTotals;
use crate::VersionTotals;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for programs, for instance `rows_missing`.
    pub code: &'static str,
    /// What is wrong.
    pub what: String,
    /// In which table, topic or mark.
    #[serde(rename = "where")]
    pub place: String,
    /// What to do about it.
    pub repair: String,
}

/// The fate of every message that the topic ever accepted. In a balanced audit
/// `accepted == written + filtered + dead_lettered + pending + expired + erased + purged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Messages that the topic accepted: its end.
    pub accepted: u64,
    /// Rows found in the table, each message once, those included that a replay made.
    pub written: u64,
    /// Messages that the UDF left out, in a replay included, by the ledgers' count: they leave no trace of
    /// their own.
    pub filtered: u64,
    /// Dead letters found, each message once, of messages before the rows' position.
    pub dead_lettered: u64,
    /// Messages in the topic that are not folded yet.
    pub pending: u64,
    /// Of the pending ones, those whose dead letter is committed already: the window that they are in
    /// was interrupted, and is finished by the next start.
    pub pending_dead_lettered: u64,
    /// Messages that retention removed unread, those included that the ledger does not count yet.
    pub expired: u64,
    /// Rows and dead letters erased after they were written, by their counts.
    pub erased: u64,
    /// Dead letters removed because somebody asked for it, by their count.
    pub purged: u64,
    /// Of the written and filtered ones, those that were dead letters before a replay.
    pub replayed: u64,
    /// Of the written ones, those that are still in the dead-letter table as well, because a replay is
    /// between its two commits or was interrupted there.
    pub in_replay: u64,
    /// Duplicates that the topic refused; they were never accepted.
    pub duplicate: u64,
    /// `accepted` minus the sum of the others: 0 when the audit balances; below 0 when there is more
    /// than was accepted.
    pub unaccounted: i64,
}

/// The outcome of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// The pipeline.
    pub pipeline: String,
    /// The topic's name.
    pub topic: String,
    /// The table.
    pub table: String,
    /// The table of its dead letters.
    pub dead_letter_table: String,
    /// Everything before is folded.
    pub next_offset: u64,
    /// Whether nothing is wrong: no finding, and every message accounted for.
    pub balanced: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The sums.
    pub totals: Totals,
    /// What the fold did, by version of the UDF, the newest first.
    pub versions: Vec<VersionTotals>,
    /// What became of the messages accepted since the moment that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<SinceTotals>,
}

impl AuditReport {
    /// The report as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A structure of numbers and strings always has a JSON text.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl AuditReport {
    fn write_versions(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.versions.is_empty() {
            return Ok(());
        }
        writeln!(
            formatter,
            "\n  {:<34}{:>12}{:>12}{:>15}",
            "UDF version", "written", "filtered", "dead-lettered"
        )?;
        for line in &self.versions {
            let VersionTotals { udf, written, filtered, dead_lettered, .. } = line;
            writeln!(formatter, "  {udf:<34}{written:>12}{filtered:>12}{dead_lettered:>15}")?;
        }
        Ok(())
    }

    fn write_since(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(since) = &self.since else { return Ok(()) };
        let from = if since.complete { "since then" } else { "that the log still holds" };
        writeln!(formatter, "\n  accepted {from} (from offset {}): {}", since.from_offset, since.accepted)?;
        writeln!(
            formatter,
            "    {} written, {} dead-lettered, {} pending, {} filtered, purged, erased or expired",
            since.written, since.dead_lettered, since.pending, since.left_out
        )
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.balanced { "balanced" } else { "NOT BALANCED" };
        writeln!(formatter, "audit of pipeline {}: {verdict}", self.pipeline)?;
        writeln!(
            formatter,
            "topic {} -> table {}, dead letters {}, folded up to offset {}",
            self.topic, self.table, self.dead_letter_table, self.next_offset
        )?;
        let totals = &self.totals;
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(formatter, "  {name:<16}{value:>16}");
        line("accepted", &totals.accepted)?;
        line("= written", &totals.written)?;
        line("+ filtered", &totals.filtered)?;
        line("+ dead-lettered", &totals.dead_lettered)?;
        line("+ pending", &totals.pending)?;
        line("+ expired", &totals.expired)?;
        line("+ erased", &totals.erased)?;
        line("+ purged", &totals.purged)?;
        line("unaccounted", &totals.unaccounted)?;
        line("replayed", &totals.replayed)?;
        line("duplicates", &totals.duplicate)?;
        self.write_versions(formatter)?;
        self.write_since(formatter)?;
        let mut text = String::new();
        for finding in &self.findings {
            write!(
                text,
                "\n{}: {}\n  where: {}\n  what to do: {}\n",
                finding.code, finding.what, finding.place, finding.repair
            )?;
        }
        formatter.write_str(&text)
    }
}
