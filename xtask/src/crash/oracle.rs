//! The conservation oracle: it hands out ids, knows from an id alone what the record looks like, keeps
//! which ids the server has acknowledged, and in the end compares all of that with what it finds.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::record::{Kind, Record};

/// What is known of an id.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    acked: bool,
    rows: u8,
    dead_letters: u8,
}

/// Hands out ids and keeps obligations; shared by all producers.
pub struct Oracle {
    seed: u64,
    known: Mutex<Vec<Known>>,
}

/// What the oracle found in the end.
#[derive(Debug, Default, serde::Serialize)]
pub struct Verdict {
    /// Ids handed out.
    pub issued: u64,
    /// Ids that the server acknowledged.
    pub acked: u64,
    /// Ids never acknowledged that are there all the same (allowed: their reply was lost).
    pub unacked_present: u64,
    /// Rows in the table.
    pub rows: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Records of the flipping kind that became rows.
    pub flips_to_row: u64,
    /// Records of the flipping kind that became dead letters.
    pub flips_to_dead_letter: u64,
    /// What is wrong, the first of them.
    pub faults: Vec<String>,
    /// How many things are wrong.
    pub faults_total: u64,
}

/// So many faults are written out; all are counted.
const FAULTS_SHOWN_MAX: usize = 20;

impl Verdict {
    /// Notes that something is wrong.
    pub fn fault(&mut self, text: String) {
        self.faults_total += 1;
        if self.faults.len() < FAULTS_SHOWN_MAX {
            self.faults.push(text);
        }
    }
}

impl Oracle {
    /// An oracle that has handed out nothing.
    pub fn new(seed: u64) -> Self {
        Self { seed, known: Mutex::new(Vec::new()) }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out the next ids.
    pub fn issue(&self, count: u64) -> Range<u64> {
        let mut known = self.known();
        let first = known.len() as u64;
        known.extend((0..count).map(|_| Known::default()));
        first..first + count
    }

    /// The record of an id.
    pub fn record(&self, id: u64) -> Record {
        Record::of(self.seed, id)
    }

    /// The server has promised to keep these.
    pub fn acknowledge(&self, ids: Range<u64>) {
        for known in &mut self.known()[ids.start as usize..ids.end as usize] {
            known.acked = true;
        }
    }

    /// A row was found.
    pub fn found_row(&self, verdict: &mut Verdict, id: u64, kind: &str, payload: &str) {
        verdict.rows += 1;
        if self.check(verdict, "row", id, kind, payload) {
            let rows = &mut self.known()[id as usize].rows;
            *rows = rows.saturating_add(1);
        }
    }

    /// A dead letter was found.
    pub fn found_dead_letter(&self, verdict: &mut Verdict, id: u64, kind: &str, payload: &str) {
        verdict.dead_letters += 1;
        if self.check(verdict, "dead letter", id, kind, payload) {
            let dead_letters = &mut self.known()[id as usize].dead_letters;
            *dead_letters = dead_letters.saturating_add(1);
        }
    }

    fn check(&self, verdict: &mut Verdict, what: &str, id: u64, kind: &str, payload: &str) -> bool {
        if id >= self.known().len() as u64 {
            verdict.fault(format!("{what} of id {id}, which was never sent"));
            return false;
        }
        let record = self.record(id);
        if record.kind.name() != kind {
            verdict.fault(format!("{what} of id {id} is of kind {kind}, sent was {}", record.kind.name()));
        }
        if record.payload != payload {
            let (sent, found) = (record.payload.len(), payload.len());
            verdict.fault(format!("{what} of id {id}: payload differs ({sent} bytes sent, {found} found)"));
        }
        true
    }

    /// Compares what was promised with what was found.
    pub fn conclude(&self, verdict: &mut Verdict) {
        let known = self.known();
        verdict.issued = known.len() as u64;
        for (id, known) in (0..).zip(known.iter()) {
            verdict.acked += u64::from(known.acked);
            let record = Record::of(self.seed, id);
            let (rows, dead_letters) = (known.rows, known.dead_letters);
            if !known.acked && rows + dead_letters > 0 {
                verdict.unacked_present += 1;
            }
            if record.kind == Kind::Flips {
                verdict.flips_to_row += u64::from(rows);
                verdict.flips_to_dead_letter += u64::from(dead_letters);
            }
            if !is_conserved(&record, known.acked, rows, dead_letters) {
                verdict.fault(format!(
                    "id {id} ({}, {} sent, acked: {}) has {rows} rows and {dead_letters} dead letters",
                    record.kind.name(),
                    record.copies,
                    known.acked
                ));
            }
        }
    }
}

/// Whether so many rows and dead letters are right: exactly the copies sent when it was acknowledged,
/// at most those when it was not.
fn is_conserved(record: &Record, acked: bool, rows: u8, dead_letters: u8) -> bool {
    let (found, nowhere_else) = match record.kind {
        Kind::Row | Kind::Twin => (rows, dead_letters == 0),
        Kind::Filtered => return rows == 0 && dead_letters == 0,
        Kind::Throws => (dead_letters, rows == 0),
        Kind::Flips => (rows.saturating_add(dead_letters), true),
    };
    nowhere_else && if acked { found == record.copies } else { found <= record.copies }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_of(kind: Kind) -> Record {
        (0..).map(|id| Record::of(1, id)).find(|record| record.kind == kind).unwrap()
    }

    #[test]
    fn conservation_is_judged_by_kind() {
        let row = first_of(Kind::Row);
        assert!(is_conserved(&row, true, 1, 0));
        for (rows, dead_letters) in [(0, 0), (2, 0), (0, 1), (1, 1)] {
            assert!(!is_conserved(&row, true, rows, dead_letters), "{rows} {dead_letters}");
        }
        assert!(is_conserved(&row, false, 0, 0) && is_conserved(&row, false, 1, 0));
        let twin = first_of(Kind::Twin);
        assert!(is_conserved(&twin, true, twin.copies, 0) && !is_conserved(&twin, true, 1, 0));
        let flips = first_of(Kind::Flips);
        assert!(is_conserved(&flips, true, 1, 0) && is_conserved(&flips, true, 0, 1));
        assert!(!is_conserved(&flips, true, 1, 1) && !is_conserved(&flips, true, 0, 0));
        let throws = first_of(Kind::Throws);
        assert!(is_conserved(&throws, true, 0, 1) && !is_conserved(&throws, true, 1, 0));
        assert!(!is_conserved(&first_of(Kind::Filtered), true, 1, 0));
    }

    #[test]
    fn loss_doubling_and_changed_payloads_are_faults() {
        let oracle = Oracle::new(1);
        let rows: Vec<u64> = (0..200).filter(|&id| oracle.record(id).kind == Kind::Row).collect();
        oracle.issue(200);
        for &id in &rows {
            oracle.acknowledge(id..id + 1);
        }
        let found = |skip: usize, again: usize, payload: Option<&str>| {
            let mut verdict = Verdict::default();
            for known in oracle.known().iter_mut() {
                known.rows = 0;
            }
            for &id in rows.iter().skip(skip).chain(&rows[..again]) {
                let record = oracle.record(id);
                oracle.found_row(&mut verdict, id, "row", payload.unwrap_or(&record.payload));
            }
            oracle.conclude(&mut verdict);
            verdict.faults_total
        };
        assert_eq!(found(0, 0, None), 0);
        assert_eq!(found(2, 0, None), 2);
        assert_eq!(found(0, 3, None), 3);
        assert_eq!(found(0, 0, Some("x")), rows.len() as u64);
    }
}
