//! Scripts that loop, recurse, allocate, leak or get stuck: each costs its own message only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::time::{Duration, Instant};

use common::{Outcome, Outcomes, batch, config, row, run};
use millrace_model::{ErrorClass, TransformFactory};
use millrace_udf::{Udf, UdfConfig};

/// Runs a script in which messages that name one of its misdeeds commit it and all others come back,
/// and checks that the misdeed's message has `class` and its neighbours are unharmed and in order.
fn check(config: UdfConfig, misdeed: &str, class: ErrorClass) -> Udf {
    let udf = Udf::load(config).unwrap();
    let good: Vec<String> = (0..300).map(|number| format!("{{\"n\":{number}}}")).collect();
    let mut messages: Vec<&str> = good.iter().map(String::as_str).collect();
    let places = [0, 100, 101, 250];
    for place in places {
        messages.insert(place, misdeed);
    }
    for (index, outcome) in run(&udf, &messages).iter().enumerate() {
        if places.contains(&index) {
            assert_eq!(outcome.class(), Some(class), "{misdeed}: {outcome:?}");
        } else {
            assert_eq!(*outcome, row(messages[index]), "{misdeed}: message {index}");
        }
    }
    udf
}

/// The script does what the message says unless it is JSON.
fn obedient() -> UdfConfig {
    UdfConfig {
        time_limit: Duration::from_millis(100),
        heap_bytes_max: 8 * 1024 * 1024,
        ..config("function f(s) { if (s[0] === '{') return s; return new Function('s', s)(s) }")
    }
}

#[test]
fn endless_work_is_stopped_at_the_time_limit() {
    let cases = [
        "for (;;) {}",
        "try { for (;;) {} } catch (e) { return '{}' } finally { for (;;) {} }",
        "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        "Array.prototype.indexOf.call({length: 1e15}, 1)",
        "Promise.resolve().then(function () { for (;;) {} }); return '{}'",
        "throw {toString: function () { for (;;) {} }}",
        "return {toJSON: function () { for (;;) {} }} && JSON.stringify({toJSON: function () { for (;;) {} }})",
    ];
    for case in cases {
        let stats = check(obedient(), case, ErrorClass::UdfTimeout).stats();
        assert_eq!((stats.timeouts, stats.engines_abandoned), (4, 0), "{case}");
        assert!(stats.engine_rebuilds >= 3, "{case}");
    }
}

#[test]
fn promise_jobs_without_end_cost_their_engine_only() {
    let misdeed = "(function again() { Promise.resolve().then(again) })(); return '{}'";
    let udf = Udf::load(obedient()).unwrap();
    assert_eq!(run(&udf, &["{}", misdeed, misdeed, "{}"]), [row("{}"), row("{}"), row("{}"), row("{}")]);
    let stats = udf.stats();
    assert_eq!((stats.job_overflows, stats.engine_rebuilds), (2, 2));
}

#[test]
fn recursion_ends_at_the_stack_limit() {
    let cases = [
        "(function deep() { deep() })()",
        "(function deep(n) { return [1].map(deep) })()",
        "JSON.parse('['.repeat(DEPTH))",
        "var a = []; for (var i = 0; i < DEPTH; i++) a = [a]; return JSON.stringify(a)",
        "var a = []; for (var i = 0; i < DEPTH; i++) a = [a]; return '' + a",
        "var a = []; for (var i = 0; i < DEPTH; i++) a = [a]; return a.flat(Infinity)",
        "var p = {}; for (var i = 0; i < DEPTH / 4; i++) p = new Proxy(p, {}); return p.x",
        "var o = {toString: function () { return '' + o }}; return '' + o",
        "var o = {get x() { return this.x }}; return o.x",
        "var o = {toJSON: function () { return JSON.stringify([[[[[[o]]]]]]) }}; return JSON.stringify(o)",
        "var o = {get x() { return JSON.stringify(o) }}; return JSON.stringify(o)",
        "(function deep() { try { deep() } finally { deep() } })()",
    ];
    // Deep enough for each stack: a level takes more than sixteen bytes of it, one of proxies sixty-four.
    for stack_bytes_max in [64 * 1024, 1024 * 1024, 16 * 1024 * 1024] {
        // A script that catches its overflows and goes on takes time without end: the last case.
        for case in &cases[..cases.len() - 1] {
            let config = UdfConfig { stack_bytes_max, time_limit: Duration::from_secs(20), ..obedient() };
            let udf = Udf::load(UdfConfig { heap_bytes_max: 256 * 1024 * 1024, ..config }).unwrap();
            let case = case.replace("DEPTH", &(stack_bytes_max / 16).to_string());
            let outcomes = run(&udf, &["{}", &case, "{}"]);
            assert_eq!(outcomes[1].class(), Some(ErrorClass::UdfStack), "{case}: {:?}", outcomes[1]);
            assert_eq!((&outcomes[0], &outcomes[2]), (&row("{}"), &row("{}")), "{case}");
        }
    }
    let last = run(&Udf::load(obedient()).unwrap(), &[cases[cases.len() - 1]]).remove(0);
    assert!(matches!(last.class(), Some(ErrorClass::UdfTimeout | ErrorClass::UdfStack)), "{last:?}");
}

#[test]
fn scripts_too_deep_for_the_parser_are_refused_not_fatal() {
    for source in ["[".repeat(200_000), "(".repeat(200_000), format!("x = /{}/", "(".repeat(200_000))] {
        assert!(common::load(&source).is_err());
    }
}

#[test]
fn allocation_ends_at_the_heap_limit() {
    let cases = [
        "var a = []; for (;;) a.push({})",
        "var a = []; for (;;) a.push('x'.repeat(1e6) + a.length)",
        "var s = 'xy'; for (;;) { s += s; s.charCodeAt(0) }",
        "return new Uint8Array(1e9)",
        "return 'x'.repeat(1e9)",
        "return JSON.parse('[' + '{},'.repeat(3e6) + '{}]')",
        "var a = ['x'.repeat(1000)]; for (var i = 0; i < 40; i++) a = [a, a]; return JSON.stringify(a)",
        "globalThis.kept = []; for (;;) kept.push([kept])",
    ];
    for case in cases {
        let config = UdfConfig { time_limit: Duration::from_secs(20), ..obedient() };
        let stats = check(config, case, ErrorClass::UdfMemory).stats();
        assert!(stats.engine_rebuilds >= 3, "{case}: {stats:?}");
    }
}

#[test]
fn a_result_over_its_limit_is_too_large() {
    let config = UdfConfig { output_bytes_max: 1000, ..obedient() };
    check(config, "return '1'.repeat(1001)", ErrorClass::TooLarge);
}

#[test]
fn what_earlier_messages_left_in_globals_harms_no_later_one() {
    // Each message leaves 2 MB: the heap is full after seven of them.
    let leak = "var kept = []; function f(s) { kept.push(new Uint8Array(2e6)); return s }";
    let config = UdfConfig { heap_bytes_max: 16 * 1024 * 1024, ..config(leak) };
    let messages = vec!["{}"; 50];
    let udf = Udf::load(config).unwrap();
    assert!(run(&udf, &messages).iter().all(|outcome| *outcome == row("{}")));
    let stats = udf.stats();
    assert!(stats.memory_retries >= 5 && stats.engine_rebuilds >= stats.memory_retries, "{stats:?}");
}

#[test]
fn a_leak_that_the_script_would_hide_is_found_before_it_hurts() {
    // A quarter of a megabyte with each message of half a kilobyte, and null when there is no more.
    let hidden = "var kept = []; function f(s) { try { kept.push(new Uint8Array(1e4)); return s } catch (e) { return null } }";
    let config = UdfConfig { heap_bytes_max: 64 * 1024 * 1024, ..config(hidden) };
    let udf = Udf::load(config).unwrap();
    let message = format!("{{\"s\":\"{}\"}}", "x".repeat(500));
    let messages = vec![message.as_str(); 20_000];
    assert!(run(&udf, &messages).iter().all(|outcome| matches!(outcome, Outcome::Row(_))));
    let stats = udf.stats();
    assert!(stats.engine_rebuilds >= 2 && stats.memory_retries == 0, "{stats:?}");
}

/// Nothing that QuickJS's `Array.prototype.reverse` does on an object that has a length and no elements
/// polls the interrupt handler; one of 2^53 would take years. This one takes some seconds of a processor on any
/// machine: its length is told from the time that a short one takes here, at best, since on a busy machine most
/// of them also wait.
fn stuck() -> String {
    const SHORT_LENGTH: f64 = 1e5;
    const SHORT_RUNS: usize = 50;
    const SECONDS: f64 = 5.0;
    let misdeed = |length: f64| format!("Array.prototype.reverse.call({{length: {length:.0}}})");
    let udf = Udf::load(UdfConfig { time_limit: Duration::from_secs(60), ..obedient() }).unwrap();
    let short = misdeed(SHORT_LENGTH);
    let seconds = (0..SHORT_RUNS).map(|_| {
        let started = Instant::now();
        assert_eq!(run(&udf, &[&short]), [Outcome::Filtered]);
        started.elapsed().as_secs_f64()
    });
    misdeed(SHORT_LENGTH * SECONDS / seconds.fold(f64::INFINITY, f64::min))
}

#[test]
fn a_native_that_cannot_be_stopped_is_left_behind() {
    let config =
        UdfConfig { time_limit: Duration::from_millis(50), abandoned_engines_max: 100, ..obedient() };
    let udf = check(config, &stuck(), ErrorClass::UdfTimeout);
    let stats = udf.stats();
    assert_eq!((stats.timeouts, stats.engines_abandoned), (4, 4), "{stats:?}");
    // They do end, and then they are no longer counted.
    let started = Instant::now();
    while udf.stats().engines_abandoned_live > 0 {
        // They run behind everything else on the machine.
        assert!(started.elapsed() < Duration::from_secs(600), "abandoned engines never ended");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn at_the_cap_and_without_a_child_the_transform_waits_for_an_engine_to_end() {
    let config = UdfConfig { time_limit: Duration::from_millis(50), abandoned_engines_max: 1, ..obedient() };
    let udf = Udf::load(config).unwrap();
    let stuck = stuck();
    let outcomes = run(&udf, &[&stuck, "{}", &stuck, "{}"]);
    assert_eq!((&outcomes[1], &outcomes[3]), (&row("{}"), &row("{}")));
    assert_eq!(
        outcomes[0].class().zip(outcomes[2].class()),
        Some((ErrorClass::UdfTimeout, ErrorClass::UdfTimeout))
    );
    assert_eq!(udf.stats().engines_abandoned, 2);
}

#[test]
fn a_transform_goes_on_over_many_calls_of_any_size() {
    let udf = Udf::load(obedient()).unwrap();
    let mut transform = udf.create().unwrap();
    let texts: Vec<String> = (0..1000).map(|number| format!("{{\"n\":{number}}}")).collect();
    let batch = batch(&texts);
    let (mut outcomes, mut start) = (Outcomes::default(), 0);
    for size in [0, 1, 2, 127, 128, 129, 300, 313] {
        transform.transform(&batch, start..start + size, &mut outcomes);
        start += size;
    }
    assert_eq!(start, 1000);
    let rows: Vec<Outcome> = texts.iter().map(|text| row(text)).collect();
    assert_eq!(outcomes.list, rows);
}
