//! Time and chance as the message's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{Outcome, batch_of, config, full, row, run_batch};
use millrace_udf::{Udf, UdfConfig};

fn frozen(source: &str) -> Udf {
    Udf::load(UdfConfig { reproducible: true, ..config(source) }).unwrap()
}

fn text(outcome: &Outcome) -> String {
    let Outcome::Row(text) = outcome else { panic!("{outcome:?}") };
    text.clone()
}

/// Scenario: messages of one topic run twice, the second time alone and on an engine that ran others.
/// Guarantees: each gets the same time and the same random numbers; different messages get different ones.
#[test]
fn a_message_gets_the_same_time_and_chance_whenever_it_runs() {
    let source =
        "function f(s) { return JSON.stringify([Date.now(), +new Date(), Math.random(), Math.random()]) }";
    let (first, second) = (frozen(source), frozen(source));
    let messages = || (0..300).map(|_| full("x", &[])).collect::<Vec<_>>();
    let all = run_batch(&first, &batch_of(100, &messages()));
    for index in [0, 1, 299] {
        let alone = run_batch(&second, &batch_of(100 + index, &messages()[..1]));
        assert_eq!(alone[0], all[usize::try_from(index).unwrap()]);
    }
    let mut distinct: Vec<String> = all.iter().map(text).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 300);
    assert!(text(&all[0]).starts_with("[1700000000123,1700000000123,0."), "{:?}", all[0]);
}

#[test]
fn random_numbers_are_spread_evenly() {
    let udf = frozen(
        "function f(s) { var tenths = new Array(10).fill(0); for (var i = 0; i < 10000; i++) { var r = Math.random(); \
         if (!(r >= 0 && r < 1)) throw r; tenths[Math.floor(r * 10)]++ } return JSON.stringify(tenths) }",
    );
    for outcome in run_batch(&udf, &batch_of(0, &[full("a", &[]), full("b", &[])])) {
        let tenths: Vec<u32> = serde_json::from_str(&text(&outcome)).unwrap();
        // Five standard deviations; the numbers are the same in each run.
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }
}

#[test]
fn the_frozen_date_looks_like_the_real_one() {
    let checks = [
        "Date.name === 'Date' && Date.length === 7",
        "typeof Date() === 'string' && Date() === new Date().toString() && Date(2020, 1) === Date()",
        "new Date() instanceof Date && new Date().constructor === Date",
        "new Date(0).getTime() === 0 && new Date('1970-01-01T00:00:01Z').getTime() === 1000",
        "new Date(2020, 0, 2).getDate() === 2 && new Date(undefined).getTime() !== new Date().getTime()",
        "Date.UTC(1970, 0) === 0 && Date.parse('1970-01-01T00:00:00Z') === 0",
        "class Own extends Date { x() { return 1 } } (new Own().x() === 1 && +new Own() === Date.now())",
        "Reflect.construct(Date, [5], Own2).getTime() === 5",
        "Object.keys(Date).length === 0 && Object.keys(Math).length === 0",
        "!('prototype' in Math.random) && Math.random.name === 'random' && Date.now.name === 'now'",
        "JSON.stringify(new Date(0)) === '\"1970-01-01T00:00:00.000Z\"'",
        "performance.now() === 0 && performance.timeOrigin === 0",
        "globalThis.Date === Date && new Date(Date.now()).getTime() === 1700000000123",
        "new Date().getTime() === loadedDate.now()",
    ];
    for check in checks {
        // `eval` gives the value of the last expression.
        let source = format!(
            "class Own2 extends Date {{}}; var loadedAt = Date.now(), loadedDate = Date; function f(s) {{ \
             return JSON.stringify([!!eval({check:?}), loadedAt]) }}"
        );
        let outcome = run_batch(&frozen(&source), &batch_of(0, &[full("x", &[])])).remove(0);
        assert_eq!(outcome, row("[true,0]"), "{check}");
    }
}

#[test]
fn without_it_time_goes_on() {
    let udf = common::load("function f(s) { return '' + (Date.now() > 1700000001000) }").unwrap();
    assert_eq!(run_batch(&udf, &batch_of(0, &[full("x", &[])])), [row("true")]);
}
