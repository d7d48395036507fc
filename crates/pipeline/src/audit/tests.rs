//! An audit that cannot fail proves nothing: each way to tamper is noticed and named.

use std::sync::Arc;

use millrace_model::{Micros, Offset, TopicId};

use crate::fakes::{FakeSink, FakeSource, FakeTransforms, Fate, Fault, TOPIC};
use crate::folder::{Folder, Limits};
use crate::ledger::{
    DEAD_LETTERED, ERASED, EXPIRED, FILTERED, LedgerKey, NEXT_OFFSET, PURGED, READ, REPLAYED,
    REPLAYED_FILTERED, WRITTEN,
};
use crate::tests::run_audit;
use crate::{AuditInput, AuditReport, Since, SourceFacts, audit};

const LIMITS: Limits = Limits { chunk: 5, rows: 10, bytes: 1000, chunks_by_age: 100 };

struct Books {
    source: Arc<FakeSource>,
    rows: Arc<FakeSink>,
    dead: Arc<FakeSink>,
}

impl Books {
    /// 3 messages have expired, 37 are folded (13 rows, 12 filtered, 12 dead letters), 10 are pending.
    fn new() -> Self {
        let books = Self {
            source: FakeSource::new(40),
            rows: FakeSink::new("rows"),
            dead: FakeSink::new("rows_dead"),
        };
        books.source.with(|state| state.start = 3);
        let mut folder = books.start();
        while folder.step().unwrap() {}
        books.source.append(10);
        books
    }

    fn start(&self) -> Folder {
        let judge = |offset| match offset % 3 {
            0 => Fate::Write,
            1 => Fate::Filter,
            _ => Fate::Fail,
        };
        Folder::start(&self.source, &self.rows, &self.dead, FakeTransforms::new("", judge), LIMITS).unwrap()
    }

    fn audit(&self) -> AuditReport {
        run_audit(&self.source, &self.rows, &self.dead)
    }

    /// Sets a counter of the rows table to what `change` makes of it.
    fn alter(&self, counter: &str, change: impl Fn(i64) -> i64) {
        let app_id = LedgerKey::new("main", "rows", TOPIC).app_id(counter);
        self.rows.with(|state| {
            let value = state.marks.get(&app_id).copied().unwrap_or(0);
            state.marks.insert(app_id, change(value));
        });
    }

    /// Expects findings of just these codes, in any order.
    fn expect(&self, codes: &[&str]) -> AuditReport {
        let report = self.audit();
        let mut found: Vec<_> = report.findings.iter().map(|finding| finding.code).collect();
        found.sort_unstable();
        let mut codes = codes.to_vec();
        codes.sort_unstable();
        assert_eq!(found, codes, "{report}");
        assert_eq!(report.balanced, codes.is_empty(), "{report}");
        report
    }
}

#[test]
fn sound_books_balance() {
    let report = Books::new().expect(&[]);
    let totals = report.totals;
    assert_eq!((totals.accepted, totals.written, totals.filtered, totals.dead_lettered), (50, 13, 12, 12));
    assert_eq!((totals.pending, totals.expired, totals.erased, totals.unaccounted), (10, 3, 0, 0));
    assert!(report.to_string().contains("balanced"), "{report}");
    assert!(report.to_json().contains("\"unaccounted\": 0"), "{}", report.to_json());
}

#[test]
fn a_removed_row_or_dead_letter() {
    let books = Books::new();
    books.rows.with(|state| state.rows.remove(4));
    assert_eq!(books.expect(&["rows_missing"]).totals.unaccounted, 1);
    let books = Books::new();
    books.dead.with(|state| state.rows.remove(4));
    assert_eq!(books.expect(&["dead_letters_missing"]).totals.unaccounted, 1);
}

#[test]
fn a_removed_data_file() {
    let books = Books::new();
    books.rows.with(|state| state.rows.retain(|row| !(10..20).contains(&row.0)));
    books.expect(&["rows_missing"]);
    let books = Books::new();
    books.rows.with(|state| state.unreadable = true);
    let report = books.audit();
    assert!(report.findings.iter().any(|finding| finding.code == "table_unreadable"), "{report}");
    assert!(!report.balanced);
}

#[test]
fn added_rows() {
    let books = Books::new();
    books.rows.with(|state| state.rows.push((6, "m6".to_owned())));
    let report = books.expect(&["rows_twice"]);
    assert!(report.findings[0].what.contains("offset 6 "), "{report}");
    let books = Books::new();
    books.rows.with(|state| state.rows.push((5, "m5".to_owned())));
    books.expect(&["in_both_tables", "rows_extra"]);
    let books = Books::new();
    books.rows.with(|state| state.rows.push((41, "m41".to_owned())));
    books.expect(&["rows_beyond"]);
    let books = Books::new();
    books.dead.with(|state| state.rows.extend([(45, "m45".to_owned()), (5_000_000, "m".to_owned())]));
    books.expect(&["dead_letters_beyond"]);
}

#[test]
fn altered_counters() {
    for (counter, codes) in [
        (READ, &["ledger_altered"][..]),
        (FILTERED, &["ledger_altered"]),
        (WRITTEN, &["ledger_altered", "rows_extra"]),
        (DEAD_LETTERED, &["dead_letters_extra", "ledger_altered"]),
        (EXPIRED, &["ledger_altered"]),
        (NEXT_OFFSET, &["ledger_altered", "rows_beyond", "rows_missing"]),
        (ERASED, &["rows_extra"]),
    ] {
        let books = Books::new();
        // Offset 39 was written.
        books.alter(counter, |value| if counter == ERASED { value + 1 } else { value - 1 });
        books.expect(codes);
        books.alter(counter, |_| -1);
        assert!(!books.audit().balanced, "{counter}");
    }
    // Two counters altered so that the sums still hold.
    let books = Books::new();
    books.alter(WRITTEN, |value| value - 2);
    books.alter(FILTERED, |value| value + 2);
    assert_eq!(books.expect(&["rows_extra", "version_counter"]).totals.unaccounted, -2);
    let books = Books::new();
    books.alter(FILTERED, |value| value - 2);
    books.alter(READ, |value| value - 2);
    books.alter(EXPIRED, |value| value + 2);
    books.expect(&["expired_counter", "version_counter"]);
    books.rows.with(|state| state.marks.remove(&LedgerKey::new("main", "rows", TOPIC).app_id(NEXT_OFFSET)));
    assert!(!books.audit().balanced);
}

#[test]
fn altered_counters_of_replays_and_purges() {
    for (rows, counter, codes) in [
        (true, REPLAYED, &["rows_missing"][..]),
        (false, REPLAYED, &["dead_letters_extra", "replay_counter"]),
        (false, REPLAYED_FILTERED, &["dead_letters_extra"]),
        (false, PURGED, &["dead_letters_extra"]),
    ] {
        let books = Books::new();
        let (sink, table) = if rows { (&books.rows, "rows") } else { (&books.dead, "rows_dead") };
        sink.with(|state| state.marks.insert(LedgerKey::new("main", table, TOPIC).app_id(counter), 1));
        books.expect(codes);
    }
    // Both at once: a dead letter is said to have become a row.
    let books = Books::new();
    books.alter(REPLAYED, |_| 1);
    let app_id = LedgerKey::new("main", "rows_dead", TOPIC).app_id(REPLAYED);
    books.dead.with(|state| state.marks.insert(app_id, 1));
    books.expect(&["dead_letters_extra", "rows_missing"]);
}

#[test]
fn a_removed_segment_or_a_shorter_log() {
    let books = Books::new();
    books.source.with(|state| state.lost = (42..45).collect());
    let report = books.expect(&["log_gap"]);
    assert!(report.findings[0].what.contains("42 to 44"), "{report}");
    let books = Books::new();
    books.source.with(|state| state.corrupt_at = Some(20));
    books.expect(&["log_damaged"]);
    let books = Books::new();
    books.source.with(|state| state.messages.truncate(35));
    let report = books.expect(&["log_behind_table", "log_behind_table"]);
    assert!(report.totals.unaccounted < 0, "{report}");
}

#[test]
fn duplicates_beyond_the_topics_count_and_another_topic() {
    let books = Books::new();
    books.alter("duplicate", |_| 7);
    let facts = |duplicates, topic_id| {
        let source = Arc::clone(&books.source);
        move || SourceFacts { duplicates, topic_id, ..SourceFacts::of(source.as_ref()) }
    };
    let run = |source: &dyn Fn() -> SourceFacts, adopts_new_topic| {
        let (rows, dead_letters) = (books.rows.as_ref(), books.dead.as_ref());
        audit(&AuditInput { pipeline: "main", source, rows, dead_letters, adopts_new_topic, since: None })
    };
    assert!(run(&facts(Some(7), TOPIC), false).balanced);
    assert_eq!(run(&facts(Some(6), TOPIC), false).findings[0].code, "duplicate_counter");
    let another = facts(None, TopicId([1; 16]));
    assert_eq!(run(&another, false).findings[0].code, "topic_unknown");
    let adopted = run(&another, true);
    assert!(adopted.balanced, "{adopted}");
    assert_eq!((adopted.totals.written, adopted.totals.pending), (0, 47));
}

#[test]
fn an_interrupted_window_balances() {
    let books = Books::new();
    books.rows.with(|state| state.faults.push_back(Fault::Breaks));
    assert!(books.start().step().is_err());
    let report = books.expect(&[]);
    assert_eq!((report.totals.pending, report.totals.pending_dead_lettered), (10, 3));
}

#[test]
fn erased_rows_balance() {
    let books = Books::new();
    books.rows.with(|state| state.rows.truncate(11));
    books.alter(ERASED, |_| 2);
    let report = books.expect(&[]);
    assert_eq!((report.totals.written, report.totals.erased), (11, 2));
    // The pipeline goes on without touching what the erasure counted.
    let mut folder = books.start();
    while folder.step().unwrap() {}
    assert_eq!(books.expect(&[]).totals.erased, 2);
}

#[test]
fn messages_that_expire_before_they_are_folded_are_expired() {
    let books = Books::new();
    books.source.with(|state| state.start = 44);
    let totals = books.expect(&[]).totals;
    assert_eq!((totals.pending, totals.expired), (6, 7));
}

#[test]
fn counts_by_version_of_the_udf_that_exceed_the_ledger_are_noticed() {
    let books = Books::new();
    let report = books.expect(&[]);
    let [version] = &report.versions[..] else { panic!("{report}") };
    assert_eq!((version.written, version.filtered, version.dead_lettered), (13, 12, 12));
    assert_eq!((version.udf.as_str(), version.last_offset), ("01010101010101010101010101010101", Some(40)));
    books.alter("udf/0/written", |_| 12);
    assert_eq!(books.expect(&[]).versions[1].udf, "not counted");
    books.alter("udf/0/written", |_| 14);
    books.expect(&["version_counter"]);
}

#[test]
fn what_was_accepted_since_a_moment_has_its_fates() {
    let books = Books::new();
    // A message's publish time is its offset.
    let since = |moment| Since::find(books.source.as_ref(), Micros(moment));
    assert_eq!((since(20).from, since(20).complete), (Offset(20), true));
    assert_eq!((since(0).from, since(0).complete), (Offset(3), false));
    assert_eq!((since(99).from, since(4).from), (Offset(50), Offset(4)));
    let source = || SourceFacts::of(books.source.as_ref());
    let (rows, dead_letters) = (books.rows.as_ref(), books.dead.as_ref());
    let input = AuditInput {
        pipeline: "main",
        source: &source,
        rows,
        dead_letters,
        adopts_new_topic: false,
        since: Some(since(20)),
    };
    let report = audit(&input);
    let totals = report.since.unwrap();
    assert_eq!((totals.accepted, totals.written, totals.dead_lettered), (30, 7, 7));
    assert_eq!((totals.pending, totals.left_out), (10, 6));
    assert!(report.to_string().contains("7 written, 7 dead-lettered, 10 pending, 6 filtered"), "{report}");
}
