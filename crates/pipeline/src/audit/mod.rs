//! The audit: rebuilds the ledger from the topic and the tables alone and says what does not add up.
//!
//! It proves that every offset that the topic ever gave out is exactly one of: a row, a dead letter,
//! filtered, expired, erased, or still pending; that no offset is in a table twice or in both; that
//! nothing lies beyond the position; and that the counters say the same as the rows. A filtered message
//! leaves no trace of its own, so those are proved by count: a row that vanished cannot hide among them
//! because the rows are counted too.
//!
//! It may run beside a pipeline that is at work: it reads the marks first, then the topic, then looks
//! only at offsets that the marks say are final. Replays, purges and erasures change what is final: what
//! they do while it looks makes it look again.

mod facts;
mod report;
mod scan;
mod since;

use std::collections::BTreeMap;

use millrace_model::Offset;

pub use facts::SourceFacts;
pub use report::{AuditReport, Finding, Totals};
pub use since::{Since, SinceTotals};

use crate::Sink;
use crate::ledger::{DeadLedger, Ledger, LedgerKey, REPLAYED};
use crate::plan::Identity;
use crate::versions::{VersionTotals, Versions};
use scan::{Scan, Suspects, beyond, scan};

/// What an audit looks at.
pub struct AuditInput<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Asked for the topic's facts after the tables' marks were read, so that a pipeline at work does
    /// not seem ahead of its topic.
    pub source: &'a dyn Fn() -> SourceFacts,
    /// The table.
    pub rows: &'a dyn Sink,
    /// The table of its dead letters.
    pub dead_letters: &'a dyn Sink,
    /// Whether it begins anew with a topic that took the place of one it has folded.
    pub adopts_new_topic: bool,
    /// Also what became of the messages accepted since this moment.
    pub since: Option<Since>,
}

/// How often an audit begins again because the tables changed while it looked.
const ATTEMPTS_MAX: usize = 3;

/// Audits one pipeline. Whatever is wrong, unreadable tables included, is a finding.
#[must_use]
pub fn audit(input: &AuditInput<'_>) -> AuditReport {
    let marks = || (input.rows.marks().ok(), input.dead_letters.marks().ok());
    let mut report = audit_once(input);
    for _ in 1..ATTEMPTS_MAX {
        // An erasure or a commit between two looks is not a fault: only what is found in tables that
        // stand still, or is found again, is.
        let before = marks();
        if report.balanced {
            break;
        }
        report = audit_once(input);
        if before == marks() {
            break;
        }
    }
    report
}

/// What one look at the marks and the topic says.
struct Books {
    facts: SourceFacts,
    identity: Identity,
    ledger: Ledger,
    dead: DeadLedger,
    versions: Vec<VersionTotals>,
}

impl Books {
    /// Messages that a replay has put into the rows table and not yet taken out of the other.
    fn in_replay(&self) -> u64 {
        self.ledger.replayed.saturating_sub(self.dead.replayed)
    }
}

type Marks = Result<BTreeMap<String, i64>, crate::SinkError>;

/// How often marks are read that contradict each other because a replay went on between the two tables.
const MARKS_READ_MAX: usize = 5;

/// The marks of both tables. The fold changes the dead letters first, a replay changes the rows first: no
/// one order of reading suits both.
fn read_marks(input: &AuditInput<'_>) -> (Marks, Marks) {
    let read = || (input.rows.marks(), input.dead_letters.marks());
    let mut marks = read();
    for _ in 1..MARKS_READ_MAX {
        let (Ok(rows), Ok(dead)) = &marks else { break };
        let replayed = LedgerKey::all_topics(input.pipeline, input.rows.table(), REPLAYED, rows);
        let removed = LedgerKey::all_topics(input.pipeline, input.dead_letters.table(), REPLAYED, dead);
        if removed.iter().all(|(topic, removed)| replayed.get(topic) >= Some(removed)) {
            break;
        }
        marks = read();
    }
    marks
}

fn audit_once(input: &AuditInput<'_>) -> AuditReport {
    let (rows_marks, dead_marks) = read_marks(input);
    let facts = (input.source)();
    let (rows_table, dead_table) = (input.rows.table(), input.dead_letters.table());
    let identity = Identity::new(input.pipeline, &facts.topic_name, facts.topic_id, rows_table, dead_table);
    let mut findings = Vec::new();
    let mut marks_of = |table: &str, marks: Marks| {
        marks.map_err(|error| findings.push(unreadable(table, "its marks", &error))).unwrap_or_default()
    };
    let rows_marks = marks_of(rows_table, rows_marks);
    let dead_marks = marks_of(dead_table, dead_marks);
    let (ledger, known) = match Ledger::from_marks_unchecked(&identity.rows_key, &rows_marks) {
        Ok(ledger) => (ledger, true),
        Err(error) => {
            findings.push(ledger_altered(rows_table, &error.to_string()));
            (None, false)
        }
    };
    if let (None, false, Some((topic, offset))) =
        (ledger, input.adopts_new_topic, identity.rows_key.other_topics(&rows_marks).first())
    {
        findings.push(topic_unknown(&identity, &topic.to_string(), *offset));
    }
    let dead = DeadLedger::from_marks(&identity.dead_key, &dead_marks).unwrap_or_else(|error| {
        findings.push(ledger_altered(dead_table, &error.to_string()));
        DeadLedger::default()
    });
    let ledger = ledger.unwrap_or_default();
    let versions = Versions::from_marks(&identity.rows_key, &rows_marks).map_err(|error| error.to_string());
    let versions = versions.and_then(|versions| versions.report(&ledger)).unwrap_or_else(|error| {
        // In a ledger that does not balance itself, that is said already.
        findings.extend(ledger.check().ok().map(|()| version_counter(rows_table, error)));
        Vec::new()
    });
    let books = Books { facts, identity, ledger, dead, versions };
    check_books(&books, &mut findings);
    let scanned = if known { check_tables(input, &books, &mut findings) } else { Scan::default() };
    let pending_dead = check_beyond(input, &books, &mut findings);
    finish(input, &books, &scanned, pending_dead, findings)
}

/// Checks the marks against themselves and the topic.
fn check_books(books: &Books, findings: &mut Vec<Finding>) {
    let Books { facts, identity, ledger, .. } = books;
    let (topic, bounds) = (&facts.topic_name, facts.bounds);
    if let Err(error) = ledger.check() {
        findings.push(ledger_altered(&identity.rows_table, &error.to_string()));
    }
    for (table, offset) in
        [(&identity.rows_table, ledger.next_offset), (&identity.dead_table, books.dead.next_offset)]
    {
        if offset > bounds.end {
            findings.push(Finding {
                code: "log_behind_table",
                what: format!(
                    "the table has folded up to offset {offset}, but the topic ends at {}",
                    bounds.end
                ),
                place: format!("topic {topic}, table {table}"),
                repair: "restore the topic's last segments, or the table's marks if those were altered; \
                         the pipeline refuses to start until then"
                    .to_owned(),
            });
        }
    }
    if books.dead.replayed > ledger.replayed {
        findings.push(Finding {
            code: "replay_counter",
            what: format!(
                "{} dead letters were removed because they have rows now, but replays have written {} only",
                books.dead.replayed, ledger.replayed
            ),
            place: format!("tables {} and {}", identity.rows_table, identity.dead_table),
            repair: "a counter was altered: restore the tables' marks from an earlier version".to_owned(),
        });
    }
    if ledger.expired > bounds.start.0 {
        findings.push(Finding {
            code: "expired_counter",
            what: format!(
                "{} messages are counted as expired, but retention has removed {} only",
                ledger.expired, bounds.start
            ),
            place: format!("table {}, topic {topic}", identity.rows_table),
            repair: "a counter was altered, or messages were skipped as expired that are still there: run \
                     `millrace log verify`, and restore the table's marks from an earlier version"
                .to_owned(),
        });
    }
    if facts.duplicates.is_some_and(|duplicates| ledger.duplicate > duplicates) {
        findings.push(Finding {
            code: "duplicate_counter",
            what: format!(
                "{} duplicates are counted, but the topic has refused {} only",
                ledger.duplicate,
                facts.duplicates.unwrap_or(0)
            ),
            place: format!("table {}, topic {topic}", identity.rows_table),
            repair: "a counter was altered: restore the table's marks from an earlier version".to_owned(),
        });
    }
    check_topic(facts, ledger.next_offset, findings);
}

/// Reports what the topic says is wrong with itself.
fn check_topic(facts: &SourceFacts, next_offset: Offset, findings: &mut Vec<Finding>) {
    let place = || format!("topic {}", facts.topic_name);
    for gap in &facts.gaps {
        let (folded, repair) = if gap.end <= next_offset {
            (
                "which are folded",
                "the tables have what became of them; restore the segment to be able to replay",
            )
        } else {
            (
                "not all of which are folded",
                "restore the segment before the pipeline goes on, or they are lost",
            )
        };
        findings.push(Finding {
            code: "log_gap",
            what: format!("messages {} to {} are missing, {folded}", gap.start, gap.end.0.saturating_sub(1)),
            place: place(),
            repair: repair.to_owned(),
        });
    }
    for damage in &facts.damage {
        findings.push(Finding {
            code: "log_damaged",
            what: damage.clone(),
            place: place(),
            repair: "run `millrace log verify`: it says what can be saved".to_owned(),
        });
    }
}

/// Checks every offset before the position.
fn check_tables(input: &AuditInput<'_>, books: &Books, findings: &mut Vec<Finding>) -> Scan {
    let Books { identity, ledger, .. } = books;
    let scanned = scan(input.rows, input.dead_letters, identity.topic, Offset::ZERO, ledger.next_offset);
    for (table, start, end, error) in &scanned.unreadable {
        findings.push(unreadable(table, &format!("offsets {start} to {end}"), error));
    }
    for (table, suspects, code) in [
        (&identity.rows_table, &scanned.rows_twice, "rows_twice"),
        (&identity.dead_table, &scanned.dead_twice, "dead_letters_twice"),
    ] {
        check_suspects(suspects, code, "is in the table more than once", format!("table {table}"), findings);
    }
    // Which of them a replay has in hand does not matter: as many as it has must be there.
    if scanned.in_both.count > books.in_replay() {
        let both = format!("tables {} and {}", identity.rows_table, identity.dead_table);
        check_suspects(&scanned.in_both, "in_both_tables", "is both a row and a dead letter", both, findings);
    }
    let rows = ledger.written.saturating_add(ledger.replayed).saturating_sub(ledger.erased);
    let rows = (rows, scanned.rows, identity.rows_table.as_str());
    check_count("rows_missing", "rows_extra", rows, findings);
    let dead = ledger.dead_lettered.saturating_sub(books.dead.removed());
    let dead = (dead, scanned.dead, identity.dead_table.as_str());
    check_count("dead_letters_missing", "dead_letters_extra", dead, findings);
    scanned
}

fn check_suspects(
    suspects: &Suspects,
    code: &'static str,
    fault: &str,
    place: String,
    findings: &mut Vec<Finding>,
) {
    if suspects.count > 0 {
        findings.push(Finding {
            code,
            what: format!("{} {fault}", suspects.list()),
            place,
            repair: "rows were added outside millrace: delete the surplus rows (the columns _topic and \
                     _offset, or topic and offset, name them)"
                .to_owned(),
        });
    }
}

fn check_count(
    missing: &'static str,
    extra: &'static str,
    (expected, found, table): (u64, Option<u64>, &str),
    findings: &mut Vec<Finding>,
) {
    let Some(found) = found.filter(|&found| found != expected) else { return };
    let (code, difference, repair) = if found < expected {
        (
            missing,
            "missing",
            "rows or a data file were removed outside millrace, or a counter was altered: restore the \
                   table from an earlier version or a backup; messages that the topic still holds can be \
                   folded again into a new table",
        )
    } else {
        (
            extra,
            "too many",
            "rows were added outside millrace, or a counter was altered: restore the table from an \
                 earlier version or a backup",
        )
    };
    findings.push(Finding {
        code,
        what: format!(
            "the ledger says {expected} rows, there are {found}: {} {difference}",
            found.abs_diff(expected)
        ),
        place: format!("table {table}"),
        repair: repair.to_owned(),
    });
}

/// Checks that nothing lies beyond the positions; answers how many dead letters wait for their rows.
fn check_beyond(input: &AuditInput<'_>, books: &Books, findings: &mut Vec<Finding>) -> u64 {
    let Books { identity, ledger, facts, .. } = books;
    let (topic, end) = (identity.topic, facts.bounds.end);
    let next = ledger.next_offset;
    let dead_position = books.dead.next_offset;
    let ahead = if dead_position > next && dead_position <= end {
        input.dead_letters.offsets(topic, next, dead_position)
    } else {
        Ok(Vec::new())
    };
    let ahead = ahead.map(distinct_count).unwrap_or_else(|error| {
        findings.push(unreadable(&identity.dead_table, "the offsets of the window under way", &error));
        0
    });
    let tables = [
        (input.rows, next, &identity.rows_table, "rows_beyond"),
        (input.dead_letters, next.max(dead_position), &identity.dead_table, "dead_letters_beyond"),
    ];
    for (sink, position, table, code) in tables {
        match beyond(sink, topic, position, end) {
            // A pipeline at work may have committed them since: its marks have moved with them.
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                let mut suspects = Suspects::default();
                let now = position_now(sink, identity, table).unwrap_or(position);
                found.into_iter().filter(|&offset| offset >= now).for_each(|offset| suspects.add(offset));
                let fault = format!("lies beyond the position {now}");
                check_suspects(&suspects, code, &fault, format!("table {table}"), findings);
            }
            Err(error) => findings.push(unreadable(table, "offsets beyond its position", &error)),
        }
    }
    ahead
}

fn distinct_count(mut offsets: Vec<Offset>) -> u64 {
    offsets.sort_unstable();
    offsets.dedup();
    offsets.len() as u64
}

fn position_now(sink: &dyn Sink, identity: &Identity, table: &str) -> Option<Offset> {
    let key = if table == identity.rows_table { &identity.rows_key } else { &identity.dead_key };
    key.get(&sink.marks().ok()?, crate::NEXT_OFFSET).ok()?.map(Offset)
}

fn finish(
    input: &AuditInput<'_>,
    books: &Books,
    scanned: &Scan,
    pending_dead_lettered: u64,
    findings: Vec<Finding>,
) -> AuditReport {
    let Books { facts, identity, ledger, dead, versions } = books;
    let bounds = facts.bounds;
    let mut totals = Totals {
        accepted: bounds.end.0,
        written: scanned.rows.unwrap_or(0),
        filtered: ledger.filtered.saturating_add(dead.replayed_filtered),
        dead_lettered: scanned.dead.unwrap_or(0).saturating_sub(books.in_replay()),
        pending: bounds.end.since(ledger.next_offset.max(bounds.start)),
        pending_dead_lettered,
        expired: ledger.expired.saturating_add(bounds.start.since(ledger.next_offset)),
        erased: ledger.erased.saturating_add(dead.erased),
        purged: dead.purged,
        replayed: ledger.replayed.saturating_add(dead.replayed_filtered),
        in_replay: books.in_replay(),
        duplicate: facts.duplicates.unwrap_or(ledger.duplicate),
        unaccounted: 0,
    };
    let parts = [
        totals.written,
        totals.filtered,
        totals.dead_lettered,
        totals.pending,
        totals.expired,
        totals.erased,
        totals.purged,
    ];
    let sum: i128 = parts.iter().map(|&part| i128::from(part)).sum();
    let unaccounted = i128::from(totals.accepted) - sum;
    totals.unaccounted = i64::try_from(unaccounted).unwrap_or(if sum > 0 { i64::MIN } else { i64::MAX });
    AuditReport {
        pipeline: input.pipeline.to_owned(),
        topic: identity.topic_name.clone(),
        table: identity.rows_table.clone(),
        dead_letter_table: identity.dead_table.clone(),
        next_offset: ledger.next_offset.0,
        balanced: findings.is_empty() && totals.unaccounted == 0,
        findings,
        totals,
        versions: versions.clone(),
        since: input.since.map(|since| since::totals(input, books, since)),
    }
}

fn unreadable(table: &str, what: &str, error: &crate::SinkError) -> Finding {
    Finding {
        code: "table_unreadable",
        what: format!("cannot read {what}: {error}"),
        place: format!("table {table}"),
        repair:
            "a data file or a commit is missing or damaged: restore it, or an earlier version of the table"
                .to_owned(),
    }
}

fn ledger_altered(table: &str, problem: &str) -> Finding {
    Finding {
        code: "ledger_altered",
        what: problem.to_owned(),
        place: format!("table {table}"),
        repair: "restore the table's marks from an earlier version; the pipeline refuses to start until then"
            .to_owned(),
    }
}

fn version_counter(table: &str, what: String) -> Finding {
    Finding {
        code: "version_counter",
        what,
        place: format!("table {table}"),
        repair: "a counter was altered: restore the table's marks from an earlier version".to_owned(),
    }
}

fn topic_unknown(identity: &Identity, known: &str, offset: Offset) -> Finding {
    Finding {
        code: "topic_unknown",
        what: format!(
            "the table has folded topic id {known} up to offset {offset}, but topic {} has id {}",
            identity.topic_name, identity.topic
        ),
        place: format!("table {}", identity.rows_table),
        repair: "put the old log back, or set adopt_new_topic to fold the new topic from its beginning"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
