//! The template's contract, and what is said about scripts that do not keep it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::time::Duration;

use common::{Outcome, config, load, row, run};
use millrace_model::{ErrorClass, Stage, TransformFactory};
use millrace_udf::{Mode, PassThrough, Script, Shape, Udf, UdfConfig, UdfCounters, UdfError};

/// Runs one function body on one message.
fn outcome(body: &str) -> Outcome {
    run(&load(&format!("function f(s) {{\n{body}\n}}")).unwrap(), &["{}"]).remove(0)
}

#[test]
fn strings_are_rows_and_nothing_is_filtered() {
    assert_eq!(outcome("return s"), row("{}"));
    for body in ["return null", "return undefined", "return ''", "", "return String('')"] {
        assert_eq!(outcome(body), Outcome::Filtered, "{body}");
    }
}

#[test]
fn other_types_are_named() {
    let cases = [
        ("return {}", "an object"),
        ("return [1]", "an array"),
        ("return 7", "a number"),
        ("return 0.5", "a number"),
        ("return true", "a boolean"),
        ("return f", "a function"),
        ("return Symbol('x')", "a symbol"),
        ("return 1n", "a bigint"),
        ("return Promise.resolve(s)", "a promise"),
        ("return (async function () { return s })()", "a promise"),
        ("return (function* () { yield s })()", "an object"),
        ("return new String(s)", "an object"),
        ("return new Proxy({}, {})", "a proxy"),
        ("return new Error('x')", "an error object"),
    ];
    for (body, kind) in cases {
        let outcome = outcome(body);
        let failure = outcome.failure().unwrap();
        assert_eq!((failure.stage, failure.class), (Stage::Udf, ErrorClass::UdfResultType), "{body}");
        assert!(failure.message.contains(&format!("returned {kind}:")), "{body}: {}", failure.message);
    }
}

#[test]
fn an_error_keeps_its_name_message_and_stack_with_lines() {
    let source =
        "function inner(e) {\n  return e.missing.deeper;\n}\n\nfunction f(s) {\n  return inner({});\n}";
    let outcome = run(&load(source).unwrap(), &["{}"]).remove(0);
    let failure = outcome.failure().unwrap();
    assert_eq!(failure.class, ErrorClass::UdfThrew);
    assert!(failure.message.starts_with("TypeError: "), "{}", failure.message);
    let stack = failure.stack.as_deref().unwrap();
    assert!(stack.contains("inner (test.js:2:") && stack.contains("f (test.js:6:"), "{stack}");
}

#[test]
fn anything_can_be_thrown() {
    let cases = [
        ("throw 1", "threw 1"),
        ("throw null", "threw null"),
        ("throw undefined", "threw undefined"),
        ("throw 'text'", "threw text"),
        ("throw {code: 7}", "threw {\"code\":7}"),
        ("throw Symbol('x')", "threw a symbol"),
        ("throw {toString: function () { throw 1 }}", "threw {}"),
        ("throw Object.create(null)", "threw {}"),
        ("throw {toString: null, toJSON: function () { throw 2 }}", "threw an object that cannot"),
        ("throw new Proxy({}, {get: function () { throw 3 }})", "threw a proxy"),
        ("throw new Proxy(function () {}, {})", "threw a function"),
        (
            "var e = new Error('x'); Object.defineProperty(e, 'message', {get: function () { throw e }}); throw e",
            "Error",
        ),
        ("class Own extends RangeError {} ; var e = new Own('mine'); e.name = 'Own'; throw e", "Own: mine"),
        ("return {get a() { throw new Error('getter') }}.a", "Error: getter"),
        ("throw new Error('x'.repeat(1e6))", "Error: xxxx"),
        ("throw '\\ud800'", "threw (text with a lone surrogate)"),
    ];
    for (body, text) in cases {
        let outcome = outcome(body);
        let failure = outcome.failure().unwrap();
        assert_eq!(failure.class, ErrorClass::UdfThrew, "{body}");
        assert!(failure.message.starts_with(text), "{body}: {}", failure.message);
        assert!(failure.message.len() < 5_000, "{body}");
    }
}

#[test]
fn any_text_passes_through_and_bytes_that_are_none_do_not() {
    let udf = load("function f(s) { return s }").unwrap();
    let good = ["\"nul \\u0000\"", "\"\u{0}\"", "\"é\"", "\"日本語\"", "\"😀\u{10ffff}\u{feff}\""];
    let mut messages: Vec<Vec<u8>> = good.iter().map(|text| text.as_bytes().to_vec()).collect();
    messages.insert(1, b"\"\xff\"".to_vec());
    messages.insert(3, b"\"\xed\xa0\x80\"".to_vec());
    let mut outcomes = run(&udf, &messages);
    for index in [3, 1] {
        let failure = outcomes.remove(index);
        assert_eq!(failure.class(), Some(ErrorClass::InvalidUtf8));
        assert!(failure.failure().unwrap().message.contains("from byte 1 on"));
    }
    // A raw NUL is no JSON, but it is the table that says so, after the UDF has had it whole.
    assert_eq!(outcomes.remove(1).class(), Some(ErrorClass::InvalidJson));
    let good: Vec<Outcome> = [0, 2, 3, 4].map(|index: usize| row(good[index])).into();
    assert_eq!(outcomes, good);
    let lengths = load("function f(s) { return '' + s.length }").unwrap();
    assert_eq!(run(&lengths, &["\u{0}\u{0}", "😀", ""]), [row("2"), row("2"), row("0")]);
}

#[test]
fn a_lone_surrogate_comes_out_as_its_escape() {
    let cases = [
        ("return '\"\\ud800\"'", r#""\ud800""#),
        ("return '\"\\udfff\\ud83d\\ude00\\udbff\"'", "\"\\udfff😀\\udbff\""),
        ("return '[\"\\ud800\",\"\\udc00x\"]'", r#"["\ud800","\udc00x"]"#),
        (
            "String.prototype.charCodeAt = String.prototype.slice = Reflect.apply = null; return '\"\\udabc\"'",
            r#""\udabc""#,
        ),
    ];
    for (body, text) in cases {
        assert_eq!(outcome(body), row(text), "{body}");
    }
}

#[test]
fn scripts_share_globals_which_persist_and_engines_do_not() {
    let script = |name: &str, source: &str| Script { name: name.to_owned(), source: source.to_owned() };
    let scripts = vec![
        script("a.js", "count = 0; function next() { return ++count }"),
        script("b.js", "const f = s => '' + next()"),
    ];
    let udf = Udf::load(UdfConfig::new(scripts, "f")).unwrap();
    for _ in 0..2 {
        assert_eq!(run(&udf, &["", "", ""]), [row("1"), row("2"), row("3")]);
    }
}

#[test]
fn the_host_gives_console_and_print_and_nothing_of_itself() {
    let udf = load(
        "function f(s) { console.log(s, 1); console.error(); print(s); return JSON.stringify([typeof std, \
         typeof os, typeof require, typeof process, typeof setTimeout, typeof Java, typeof load]) }",
    );
    let udf = udf.unwrap();
    let nothing = r#"["undefined","undefined","undefined","undefined","undefined","undefined","undefined"]"#;
    assert_eq!(run(&udf, &["x"]), [row(nothing)]);
    assert_eq!(udf.stats().console_calls, 3);
    let import = outcome("import('std').then(function () { s = 'loaded' }); return s");
    assert_eq!(import, row("{}"));
}

#[test]
fn promise_jobs_run_after_their_message() {
    let udf = load(
        "var seen = 0; function f(s) { Promise.resolve().then(function () { seen++ }); return '' + seen }",
    );
    assert_eq!(run(&udf.unwrap(), &["", "", ""]), [row("0"), row("1"), row("2")]);
}

#[test]
fn what_the_table_refuses_is_a_dead_letter_of_the_row() {
    let outcome = outcome("return 'not json'");
    let failure = outcome.failure().unwrap();
    assert_eq!((failure.stage, failure.class), (Stage::Row, ErrorClass::InvalidJson));
}

#[test]
fn a_script_that_cannot_be_loaded_says_where_and_why() {
    let error = load("function f(s) {\n  return s;\n}\nvar x = ;\n").unwrap_err();
    let UdfError::Syntax { script, line, .. } = &error else { panic!("{error}") };
    assert_eq!((script.as_str(), *line), ("test.js", Some(4)), "{error}");
    assert!(error.to_string().starts_with("syntax error in test.js line 4: "), "{error}");

    let error = load("function f(s) { return s }\nnope();").unwrap_err();
    let UdfError::Load { message, stack, .. } = &error else { panic!("{error}") };
    assert!(message.contains("nope") && stack.as_deref().unwrap().contains("test.js:2"), "{error}");

    assert!(matches!(load("export function f(s) { return s }"), Err(UdfError::Syntax { .. })));
}

#[test]
fn a_function_that_is_not_there_is_named_with_the_nearest() {
    let named = |name: &str| {
        let source = "function transform(s) { return s } var other = 1, table = {};";
        Udf::load(UdfConfig { function: name.to_owned(), ..config(source) })
    };
    assert!(named("transform").is_ok());
    let missing = |function: &str, nearest: Option<&str>| UdfError::FunctionMissing {
        function: function.to_owned(),
        nearest: nearest.map(str::to_owned),
    };
    assert_eq!(named("Transfrom").unwrap_err(), missing("Transfrom", Some("transform")));
    assert_eq!(named("zzz").unwrap_err(), missing("zzz", None));
    let not_a_function = UdfError::NotAFunction { function: "other".to_owned(), kind: "a number".to_owned() };
    assert_eq!(named("other").unwrap_err(), not_a_function);
    assert!(named("Transfrom").unwrap_err().to_string().contains("did you mean `transform`?"));
}

#[test]
fn two_parameters_are_pubsubs_shape_unless_told_otherwise() {
    let source = "function f(message, metadata) { return message }";
    assert_eq!(load(source).unwrap().config().shape, Shape::MessageTransform);
    let shape = |changed: UdfConfig| Udf::load(changed).unwrap().config().shape;
    assert_eq!(shape(UdfConfig { mode: Mode::Compatible, ..config(source) }), Shape::Template);
    let one = "function f(message) { return message }";
    assert_eq!(shape(config(one)), Shape::Template);
    assert_eq!(shape(UdfConfig { shape: Shape::MessageTransform, ..config(one) }), Shape::MessageTransform);
    let udf = Udf::load(UdfConfig { shape: Shape::Template, ..config(source) }).unwrap();
    assert_eq!(run(&udf, &["{}"]), [row("{}")]);
    assert_eq!(udf.parameters(), 2);
}

#[test]
fn loading_has_an_end() {
    let config = UdfConfig { time_limit: Duration::from_millis(20), ..config("for (;;) {}") };
    assert_eq!(Udf::load(config).unwrap_err(), UdfError::LoadTimeout(Duration::from_secs(5)));
}

#[test]
fn without_a_udf_the_payload_is_the_row() {
    let messages: [&[u8]; 4] = [b"{\"a\":1}", b"", b"\xff", b"nope"];
    let outcomes = run(&PassThrough::default(), &messages);
    assert_eq!(outcomes[0], row("{\"a\":1}"));
    let classes: Vec<_> = outcomes[1..].iter().map(|outcome| outcome.class().unwrap()).collect();
    assert_eq!(classes, [ErrorClass::InvalidJson, ErrorClass::InvalidUtf8, ErrorClass::InvalidJson]);
    assert_eq!(PassThrough::default().udf_hash(), None);
}

#[test]
fn versions_that_count_together_go_on_counting() {
    let counters = UdfCounters::default();
    let version = |source: &str| {
        let script = Script { name: "v.js".to_owned(), source: source.to_owned() };
        let config = UdfConfig { native_plan: false, ..UdfConfig::new(vec![script], "f") };
        Udf::load_counting(config, &counters).unwrap()
    };
    let old = version("function f(s) { return s }");
    assert_eq!(run(&old, &["1", "2"]), [row("1"), row("2")]);
    let new = version("function f(s) { return null }");
    assert_eq!(run(&new, &["3"]), [Outcome::Filtered]);
    let stats = counters.stats();
    assert_eq!((stats.calls, stats.rows, stats.filtered), (3, 2, 1));
    assert_eq!((old.stats(), new.stats()), (stats.clone(), stats));
}
