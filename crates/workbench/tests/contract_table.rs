//! The contract of the Dataflow template, row by row: what its UDF, its dead letters and its retries do, in
//! which mode it holds here, and what is done instead where the template loses something.
//!
//! Each row names a point of the template's behaviour (Google's `PubSub_to_BigQuery` templates, classic and
//! flex, as of their public source; docs/udf.md has the same list in words). What holds in both modes is run
//! in both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod memory;

use std::time::Duration;

use memory::{Folded, PUBLISHED, Sent, TOPIC, Trouble, fold, sent};
use millrace_table::{TableSpec, dead_letter_spec};
use millrace_udf::{
    Mode, Opened, Script, ScriptFileError, UdfConfig, UdfError, UdfStats, open, read_scripts,
};

/// Where a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Both,
    Strict,
    Compatible,
}
use Holds::{Both, Compatible, Strict};

/// One row: section and point of the facts, where it holds, and the test.
type Row = (&'static str, &'static str, Holds, fn(Mode));

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("UDF", "ES5.1, Nashorn's ES6 and more is understood", Both, language),
    ("UDF", "the function takes one string, the payload, and returns a string of JSON", Both, one_string),
    ("UDF", "attributes are not passed", Both, attributes_stay_away),
    ("UDF", "every .js object that matches is evaluated into one engine, others are ignored", Both, all_scripts),
    ("UDF", "globals persist between messages", Both, globals_persist),
    ("UDF", "null, undefined and \"\" leave the message out: here counted", Both, filtered),
    ("UDF", "an empty payload without a UDF is lost", Compatible, attributes_only_left_out),
    ("UDF", "an empty payload without a UDF is a dead letter", Strict, attributes_only_dead),
    ("UDF", "an empty payload of which the UDF makes no row is lost", Compatible, attributes_only_with_udf_left_out),
    ("UDF", "an empty payload of which the UDF makes no row is a dead letter", Strict, attributes_only_with_udf_dead),
    ("UDF", "an empty payload of which the UDF makes a row is a row", Both, attributes_only_with_udf_row),
    ("UDF", "a result of another type is a dead letter that names it", Both, result_type),
    ("UDF", "whatever is thrown, a StackOverflowError too, is a dead letter with a stack", Both, thrown),
    ("UDF", "an infinite loop: there it hangs, here it is a dead letter", Both, infinite_loop),
    ("UDF", "a path without a function name passes messages through", Compatible, no_function_passes_through),
    ("UDF", "a path without a function name is refused", Strict, no_function_refused),
    ("UDF", "a script that is missing or cannot be parsed makes every message a dead letter", Compatible, broken_script_fails_messages),
    ("UDF", "a script that is missing or cannot be parsed is refused", Strict, broken_script_refused),
    ("UDF", "one engine for a whole worker: here one for each core, which share nothing", Both, engines_share_nothing),
    ("UDF", "successes and failures are counted", Both, counters),
    ("UDF", "bytes that are not UTF-8 reach the UDF as U+FFFD: here counted", Compatible, bytes_are_repaired),
    ("UDF", "bytes that are not UTF-8 are a dead letter", Strict, bytes_are_dead),
    ("UDF", "a Python UDF: not here, and said so", Both, python),
    ("row", "bad JSON is a dead letter", Both, bad_json),
    ("dead letter", "the table is called TABLE_error_records", Both, dead_letter_name),
    ("dead letter", "its first six columns are the template's", Both, dead_letter_columns),
    ("dead letter", "payloadString is the original payload, payloadBytes its bytes", Both, original_bytes),
    ("dead letter", "binary payloads are kept (the flex template corrupts them)", Both, binary_bytes),
    ("dead letter", "attributes are filled (the flex template never does)", Both, attributes_kept),
    ("dead letter", "errorMessage is the exception's text, stacktrace its stack", Both, error_and_stack),
    ("dead letter", "of a row that the table refuses the original is kept (the template keeps the row)", Both, refused_row_keeps_original),
    ("dead letter", "timestamp is the publish time", Both, publish_time),
    ("dead letter", "id, ordering key, class, stage, attempts and UDF version are kept", Both, more_columns),
    ("retries", "messages count as read once rows and position are committed together", Both, position_with_rows),
    ("retries", "a row that is refused for good is a dead letter, its neighbours are written", Both, rejected_rows),
    ("retries", "503 and the like are tried again, nothing is lost or doubled", Both, transient_errors),
    ("retries", "an oversize row is a dead letter (there it may loop for ever)", Both, oversize_rows),
    ("retries", "a dead letter that cannot be written for the moment is tried again", Both, dead_letter_retries),
    ("retries", "a throwing message costs itself only (there a bundle may be tried for ever)", Both, poison),
    ("retries", "what the template loses silently is in the counts: nothing is missing", Both, nothing_is_missing),
];

#[test]
fn every_row_of_the_contract_holds() {
    for (section, point, holds, check) in TABLE {
        let modes: &[Mode] = match holds {
            Both => &[Mode::Strict, Mode::Compatible],
            Strict => &[Mode::Strict],
            Compatible => &[Mode::Compatible],
        };
        for mode in modes {
            // Shows with the panic of the row that does not hold.
            println!("{section}: {point} ({mode:?})");
            check(*mode);
        }
    }
}

fn limits(mode: Mode) -> UdfConfig {
    UdfConfig { mode, time_limit: Duration::from_millis(100), ..UdfConfig::default() }
}

fn script(name: &str, source: &str) -> Script {
    Script { name: name.to_owned(), source: source.to_owned() }
}

fn opened(mode: Mode, source: &str) -> Opened {
    open(Some(Ok(vec![script("t.js", source)])), Some("f"), limits(mode)).unwrap()
}

fn without_udf(mode: Mode) -> Opened {
    open(None, None, limits(mode)).unwrap()
}

fn stats(udf: &Opened) -> UdfStats {
    udf.stats()
}

fn quiet(udf: &Opened, messages: &[Sent]) -> Folded {
    fold(udf, messages, &Trouble::default())
}

/// Folds one message through the body of `f(s)`.
fn one(mode: Mode, body: &str, message: Sent) -> Folded {
    quiet(&opened(mode, &format!("function f(s) {{\n{body}\n}}")), &[message])
}

/// One row, with 7 in `a`.
fn is_row(folded: &Folded) {
    assert_eq!((folded.rows.as_slice(), folded.dead.len()), (&[(0, Some(7))][..], 0), "{folded:?}");
}

fn is_filtered(folded: &Folded) {
    assert_eq!((folded.rows.len(), folded.dead.len(), folded.status.filtered), (0, 0, 1), "{folded:?}");
}

/// One dead letter of that class; gives its message.
fn is_dead(folded: &Folded, class: &str) -> String {
    assert_eq!((folded.rows.len(), folded.dead.len()), (0, 1), "{folded:?}");
    assert_eq!(folded.dead[0].texts["error_class"], class, "{folded:?}");
    folded.dead[0].texts["errorMessage"].clone()
}

const GOOD: &str = "return '{\"a\": 7}'";

fn language(mode: Mode) {
    is_row(&one(
        mode,
        "const [a] = [...new Map([[7, `x`]]).keys()]; return JSON.stringify({a: a ?? 0})",
        sent(""),
    ));
    is_row(&one(mode, "var o = {}; with (o) { } return '{\"a\":' + (0x7) + '}'", sent("")));
}

fn one_string(mode: Mode) {
    is_row(&one(
        mode,
        "return typeof s === 'string' && arguments.length === 1 && s === 'é' ? '{\"a\":7}' : null",
        sent("é"),
    ));
}

fn attributes_stay_away(mode: Mode) {
    is_row(&one(mode, "return '{\"a\":7}'.concat(arguments.length > 1 ? 'x' : '')", sent("{}")));
}

fn all_scripts(mode: Mode) {
    let folder = tempfile::tempdir().unwrap();
    for (name, source) in [
        ("b.js", "function f(s) { return helper(s) }"),
        ("a.js", "helper = s => '{\"a\":7}'"),
        ("c.txt", "syntax?!"),
    ] {
        let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
        std::io::Write::write_all(&mut file, source.as_bytes()).unwrap();
    }
    for path in [folder.path().to_owned(), folder.path().join("*")] {
        let udf = open(Some(read_scripts(&path)), Some("f"), limits(mode)).unwrap();
        is_row(&quiet(&udf, &[sent("{}")]));
    }
}

fn globals_persist(mode: Mode) {
    let udf = opened(mode, "var n = 0; function f(s) { return JSON.stringify({a: ++n}) }");
    // Two workers, one chunk: the first to come takes all.
    let folded = quiet(&udf, &[sent("1"), sent("2"), sent("3")]);
    assert_eq!(folded.rows, [(0, Some(1)), (1, Some(2)), (2, Some(3))]);
}

fn filtered(mode: Mode) {
    for body in ["return null", "return undefined", "return ''", ""] {
        let udf = opened(mode, &format!("function f(s) {{ {body} }}"));
        is_filtered(&quiet(&udf, &[sent("{}")]));
        assert_eq!(stats(&udf).filtered, 1);
    }
}

fn attributes_only_left_out(mode: Mode) {
    let udf = without_udf(mode);
    is_filtered(&quiet(&udf, &[sent("")]));
    assert_eq!(stats(&udf).empty_payloads_filtered, 1);
}

fn attributes_only_dead(mode: Mode) {
    is_dead(&quiet(&without_udf(mode), &[sent("")]), "invalid_json");
}

fn attributes_only_with_udf_left_out(mode: Mode) {
    for body in ["return s", "return null", ""] {
        let udf = opened(mode, &format!("function f(s) {{ {body} }}"));
        is_filtered(&quiet(&udf, &[sent("")]));
        assert_eq!(stats(&udf).empty_payloads_filtered, 1);
    }
}

fn attributes_only_with_udf_dead(mode: Mode) {
    for body in ["return s", "return null", ""] {
        let message = is_dead(&one(mode, body, sent("")), "invalid_json");
        assert!(message.contains("mode `compatible` leaves such messages out"), "{message}");
    }
}

fn attributes_only_with_udf_row(mode: Mode) {
    is_row(&one(mode, "return s === '' ? '{\"a\": 7}' : null", sent("")));
}

fn result_type(mode: Mode) {
    for (body, kind) in [("return {}", "an object"), ("return 7", "a number"), ("return true", "a boolean")] {
        assert!(is_dead(&one(mode, body, sent("{}")), "udf_result_type").contains(kind), "{body}");
    }
}

fn thrown(mode: Mode) {
    let folded = one(mode, "throw new TypeError('mine')", sent("{}"));
    assert_eq!(is_dead(&folded, "udf_threw"), "TypeError: mine");
    assert!(folded.dead[0].texts["stacktrace"].contains("f (t.js:2:"), "{folded:?}");
    is_dead(&one(mode, "return f(s)", sent("{}")), "udf_stack");
}

fn infinite_loop(mode: Mode) {
    is_dead(&one(mode, "for (;;) {}", sent("{}")), "udf_timeout");
}

fn no_function_passes_through(mode: Mode) {
    let scripts = Some(Ok(vec![script("t.js", "function f(s) { return null }")]));
    let udf = open(scripts, None, limits(mode)).unwrap();
    is_row(&quiet(&udf, &[sent("{\"a\":7}")]));
    assert_eq!(stats(&udf).rows, 1);
}

fn no_function_refused(mode: Mode) {
    let scripts = Some(Ok(vec![script("t.js", "function f(s) { return s }")]));
    assert_eq!(open(scripts, None, limits(mode)).unwrap_err(), UdfError::FunctionNotNamed);
}

type Scripts = Result<Vec<Script>, ScriptFileError>;

fn broken() -> [(Scripts, &'static str); 4] {
    let one = |source: &str| Ok(vec![script("t.js", source)]);
    [
        (read_scripts("nowhere/t.js".as_ref()), "nowhere/t.js"),
        (one("function f(s) {"), "syntax error"),
        (one("function g(s) { return s }"), "no function `f`"),
        (one("throw new Error('at the top')"), "at the top"),
    ]
}

fn broken_script_fails_messages(mode: Mode) {
    for (scripts, reason) in broken() {
        let udf = open(Some(scripts), Some("f"), limits(mode)).unwrap();
        let folded = quiet(&udf, &[sent("1"), sent("2")]);
        assert_eq!((folded.rows.len(), folded.dead.len()), (0, 2));
        assert!(folded.dead.iter().all(|dead| dead.texts["errorMessage"].contains(reason)), "{folded:?}");
        assert_eq!(folded.dead[1].payload_bytes, b"2");
    }
    // What is wrong with the limits is not the script's fault.
    let wrong = UdfConfig { heap_bytes_max: 1, ..limits(mode) };
    assert!(open(Some(Ok(vec![script("t.js", "function f(s) {}")])), Some("f"), wrong).is_err());
}

fn broken_script_refused(mode: Mode) {
    for (scripts, reason) in broken() {
        let error = open(Some(scripts), Some("f"), limits(mode)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

fn engines_share_nothing(mode: Mode) {
    let udf = opened(mode, "var n = 0; function f(s) { return JSON.stringify({a: ++n}) }");
    for _ in 0..2 {
        // Each run has engines of its own.
        assert_eq!(quiet(&udf, &[sent("1")]).rows, [(0, Some(1))]);
    }
}

fn counters(mode: Mode) {
    let udf = opened(mode, "function f(s) { if (s === '!') throw 1; return s }");
    quiet(&udf, &[sent("{\"a\":1}"), sent("!"), sent("{\"a\":2}")]);
    let stats = stats(&udf);
    assert_eq!((stats.calls, stats.rows, stats.filtered), (3, 2, 0));
    assert_eq!(stats.failures.iter().map(|failure| failure.1).sum::<u64>(), 1);
}

fn bytes_are_repaired(mode: Mode) {
    let udf = opened(mode, "function f(s) { return s === 'a\\ufffdb' ? '{\"a\":7}' : null }");
    is_row(&quiet(&udf, &[sent(&b"a\xffb"[..])]));
    assert_eq!(stats(&udf).payloads_repaired, 1);
    let plain = without_udf(mode);
    is_row(&quiet(&plain, &[sent(&b"{\"a\":7,\"s\":\"\xff\"}"[..])]));
    assert_eq!(stats(&plain).payloads_repaired, 1);
}

fn bytes_are_dead(mode: Mode) {
    is_dead(&one(mode, GOOD, sent(&b"a\xffb"[..])), "invalid_utf8");
    is_dead(&quiet(&without_udf(mode), &[sent(&b"{\"a\":\"\xff\"}"[..])]), "invalid_utf8");
}

fn python(mode: Mode) {
    let error = open(Some(read_scripts("udf.py".as_ref())), Some("f"), limits(mode)).unwrap_err();
    assert!(error.to_string().contains("Python"), "{error}");
}

fn bad_json(mode: Mode) {
    for body in ["return 'None'", "return '{'", "return '[1]'", "return '7'"] {
        is_dead(&one(mode, body, sent("{}")), "invalid_json");
    }
}

fn dead_letter_name(_: Mode) {
    assert_eq!(dead_letter_spec("events").name, "events_error_records");
}

fn dead_letter_columns(_: Mode) {
    let spec: TableSpec = dead_letter_spec("events");
    let columns = spec.schema.fields().iter().take(6);
    let columns: Vec<String> =
        columns.map(|field| format!("{} {:?} {:?}", field.name, field.kind, field.mode)).collect();
    let expected = [
        "timestamp Timestamp Required",
        "payloadString String Required",
        "payloadBytes Bytes Required",
        "attributes Record Repeated",
        "errorMessage String Nullable",
        "stacktrace String Nullable",
    ];
    assert_eq!(columns, expected);
    let pairs: Vec<&str> = spec.schema.fields()[3].fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(pairs, ["key", "value"]);
}

fn original_bytes(mode: Mode) {
    for message in ["{\"é\": 1}", "not JSON"] {
        let folded = one(mode, "throw s", sent(message));
        assert_eq!(folded.dead[0].texts["payloadString"], message);
        assert_eq!(folded.dead[0].payload_bytes, message.as_bytes());
    }
}

fn binary_bytes(mode: Mode) {
    let bytes = [0xff, 0, 0xfe, b'x'];
    let folded = one(mode, "throw s", sent(bytes));
    assert_eq!(folded.dead[0].payload_bytes, bytes);
}

fn attributes_kept(mode: Mode) {
    for message in [sent("{}"), sent("")] {
        assert_eq!(one(mode, "throw s", message).dead[0].attributes, 1);
    }
}

fn error_and_stack(mode: Mode) {
    thrown(mode);
    let folded = one(mode, "return '{'", sent("{}"));
    assert!(
        folded.dead[0].texts.contains_key("errorMessage") && !folded.dead[0].texts.contains_key("stacktrace")
    );
}

fn refused_row_keeps_original(mode: Mode) {
    let udf = opened(mode, "function f(s) { return '{\"a\": 7}' }");
    let trouble = Trouble { refused: vec![0], ..Trouble::default() };
    let folded = fold(&udf, &[sent("original")], &trouble);
    assert!(is_dead(&folded, "sink_rejected").contains("invalid"));
    assert_eq!(folded.dead[0].payload_bytes, b"original");
    assert_eq!(folded.dead[0].attributes, 1);
    // So does what the row builder refuses before that.
    let folded = one(mode, "return '{\"b\": 7}'", sent("original"));
    is_dead(&folded, "unknown_field");
    assert_eq!(folded.dead[0].payload_bytes, b"original");
}

fn publish_time(mode: Mode) {
    assert_eq!(one(mode, "throw s", sent("{}")).dead[0].timestamp, PUBLISHED.0);
}

fn more_columns(mode: Mode) {
    let udf = opened(mode, "function f(s) { throw s }");
    let folded = quiet(&udf, &[sent("{}")]);
    let dead = &folded.dead[0];
    assert_eq!(dead.texts["message_id"], format!("{TOPIC}-0"));
    assert_eq!((dead.texts["ordering_key"].as_str(), dead.texts["stage"].as_str()), ("key", "udf"));
    assert_eq!((dead.texts["error_class"].as_str(), dead.attempts), ("udf_threw", 1));
    assert_eq!(dead.texts["udf_hash"], udf.factory().udf_hash().unwrap().to_string());
}

fn position_with_rows(mode: Mode) {
    let folded = quiet(&opened(mode, "function f(s) { return s }"), &[sent("{\"a\":1}"), sent("{\"a\":2}")]);
    assert_eq!((folded.status.next_offset, folded.status.written, folded.rows.len()), (2, 2, 2));
}

fn rejected_rows(mode: Mode) {
    let udf = opened(mode, "function f(s) { return s }");
    let messages: Vec<Sent> = (0..5).map(|number| sent(format!("{{\"a\":{number}}}"))).collect();
    let folded = fold(&udf, &messages, &Trouble { refused: vec![1, 3], ..Trouble::default() });
    assert_eq!(folded.rows, [(0, Some(0)), (2, Some(2)), (4, Some(4))]);
    let dead: Vec<&[u8]> = folded.dead.iter().map(|dead| dead.payload_bytes.as_slice()).collect();
    assert_eq!(dead, [b"{\"a\":1}", b"{\"a\":3}"]);
}

fn transient_errors(mode: Mode) {
    let udf = opened(mode, "function f(s) { return s }");
    let folded = fold(&udf, &[sent("{\"a\":7}")], &Trouble { row_commits_fail: 3, ..Trouble::default() });
    is_row(&folded);
    assert!(folded.commits_tried >= 4, "{folded:?}");
}

fn oversize_rows(mode: Mode) {
    let udf =
        opened(mode, "function f(s) { return s === 'big' ? '{\"s\":\"' + 'x'.repeat(2e7) + '\"}' : s }");
    let folded = quiet(&udf, &[sent("{\"a\":1}"), sent("big"), sent("{\"a\":2}")]);
    assert_eq!(folded.rows, [(0, Some(1)), (2, Some(2))]);
    assert_eq!(folded.dead[0].texts["error_class"], "too_large", "{:?}", folded.dead[0].texts);
}

fn dead_letter_retries(mode: Mode) {
    let udf = opened(mode, "function f(s) { if (s === '!') throw s; return s }");
    let trouble = Trouble { dead_commits_fail: 3, ..Trouble::default() };
    let folded = fold(&udf, &[sent("!"), sent("{\"a\":1}")], &trouble);
    assert_eq!((folded.rows.as_slice(), folded.dead.len()), (&[(1, Some(1))][..], 1));
}

fn poison(mode: Mode) {
    let udf = opened(
        mode,
        "var calls = 0; function f(s) { calls++; if (s === '!') throw s; return '{\"a\":' + calls + '}' }",
    );
    let folded = quiet(&udf, &[sent("1"), sent("!"), sent("3")]);
    // Its third call is the third message's first.
    assert_eq!(folded.rows, [(0, Some(1)), (2, Some(3))]);
    assert_eq!(folded.dead[0].attempts, 1);
}

fn nothing_is_missing(mode: Mode) {
    let udf = opened(
        mode,
        "function f(s) { if (s === 'null') return null; if (s === '!') throw s; if (s === '7') return 7; return s }",
    );
    let messages =
        [sent("{\"a\":1}"), sent(""), sent("null"), sent("!"), sent("7"), sent(&b"\xff"[..]), sent("nope")];
    let folded = fold(&udf, &messages, &Trouble { refused: vec![0], ..Trouble::default() });
    let status = &folded.status;
    assert_eq!(status.read, 7);
    assert_eq!(status.read, status.written + status.filtered + status.dead_lettered, "{status:?}");
    assert_eq!(status.filtered, if mode == Mode::Strict { 1 } else { 2 });
    assert_eq!(status.dead_lettered as usize, folded.dead.len());
}
