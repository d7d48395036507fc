//! Scripts as people write them, and as they should not: each loads, or says what is wrong with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::time::Duration;

use common::{Outcome, config, load, row, run};
use millrace_model::ErrorClass;
use millrace_udf::{Udf, UdfConfig, UdfError};

fn outcome(body: &str) -> Outcome {
    run(&load(&format!("function f(s) {{\n{body}\n}}")).unwrap(), &["{}"]).remove(0)
}

#[test]
fn carriage_returns_and_byte_order_marks_change_no_line_number() {
    let source = "\u{feff}function f(s) {\r\n  // é 😀\r\n  return s.missing.deeper;\r\n}\r\n";
    let outcome = run(&load(source).unwrap(), &["{}"]).remove(0);
    let stack = outcome.failure().unwrap().stack.clone().unwrap();
    assert!(stack.contains("f (test.js:3:"), "{stack}");
    let error = load("\u{feff}var a;\r\n\r\nvar x = ;\r\n").unwrap_err();
    assert!(error.to_string().starts_with("syntax error in test.js line 3: "), "{error}");
    // A carriage return alone ends a line for JavaScript, and so does a line separator.
    assert_eq!(run(&load("function f(s) { // a\rreturn s // b\u{2028}}").unwrap(), &["{}"]), [row("{}")]);
}

#[test]
fn a_script_of_a_megabyte_loads() {
    let mut source = String::from("var table = {};\n");
    let mut number = 0;
    while source.len() < 1024 * 1024 {
        source.push_str(&format!("table['key{number}'] = function (x) {{ return x + {number} }};\n"));
        number += 1;
    }
    source.push_str("function f(s) { return '' + table.key7(1) }");
    assert_eq!(run(&load(&source).unwrap(), &["{}"]), [row("8")]);
    let text = format!("var text = '{}'; function f(s) {{ return '' + text.length }}", "é".repeat(1 << 20));
    assert_eq!(run(&load(&text).unwrap(), &["{}"]), [row("1048576")]);
}

/// What scripts do to built-ins is their own affair, as in any engine; it must not break what is around.
#[test]
fn tampered_built_ins_break_no_message_but_their_own() {
    let cases = [
        "Object.prototype.toJSON = function () { return 'bent' }",
        "Array.prototype[Symbol.iterator] = null; Array.prototype.push = null",
        "JSON.stringify = JSON.parse = null",
        "delete globalThis.JSON; delete globalThis.Object; delete globalThis.Array",
        "String.prototype.toString = String.prototype.valueOf = function () { throw 1 }",
        "Function.prototype.call = Function.prototype.apply = function () { throw 1 }",
        "Error.prototype.toString = function () { throw 1 }; Error.prepareStackTrace = function () { throw 2 }",
        "Object.defineProperty(Object.prototype, 'length', {get() { throw 1 }})",
        "Object.setPrototypeOf(Object.prototype, null); Object.freeze(Object.prototype)",
        "Object.freeze(globalThis); Object.freeze(String.prototype)",
        "Reflect.apply = null; Symbol.iterator.constructor = null; Math.random = Date = null",
        "Promise.prototype.then = null; globalThis.Promise = null",
        "console = null; print = undefined",
    ];
    for case in cases {
        for reproducible in [false, true] {
            let source =
                format!("{case};\nfunction f(s) {{ if (s === 'throw') null.x; return s + '\\ud800' }}");
            let udf = Udf::load(UdfConfig { reproducible, ..config(&source) });
            let outcomes = run(&udf.unwrap_or_else(|error| panic!("{case}: {error}")), &["\"", "throw"]);
            // The lone surrogate and the missing quote make it no JSON: both come from outside the script.
            assert_eq!(outcomes[0].class(), Some(ErrorClass::InvalidJson), "{case}: {:?}", outcomes[0]);
            assert_eq!(outcomes[1].class(), Some(ErrorClass::UdfThrew), "{case}: {:?}", outcomes[1]);
        }
    }
}

#[test]
fn functions_of_every_kind_are_called_or_their_result_is_named() {
    for source in [
        "function f(s) { return s }",
        "var f = function (s) { return s }",
        "let f = s => s",
        "const f = function named(s) { return s }",
        "f = new Function('s', 'return s')",
        "var f = (function (s) { return s }).bind(null)",
        "var f = new Proxy(function (s) { return s }, {})",
        "globalThis['f'] = ({ f(s) { return s } }).f",
        "Object.defineProperty(globalThis, 'f', {get() { return s => s }})",
    ] {
        assert_eq!(run(&load(source).unwrap(), &["{}", "{}"]), [row("{}"), row("{}")], "{source}");
    }
    for (source, class) in [
        ("async function f(s) { return s }", ErrorClass::UdfResultType),
        ("function* f(s) { yield s }", ErrorClass::UdfResultType),
        ("class f { constructor(s) { this.s = s } }", ErrorClass::UdfThrew),
        ("var f = new Proxy(function () {}, {apply() { throw new Error('mine') }})", ErrorClass::UdfThrew),
    ] {
        assert_eq!(run(&load(source).unwrap(), &["{}"])[0].class(), Some(class), "{source}");
    }
    for source in ["var f = 1", "let f = {}", "f = null", "var f = 'function'", "const f = Symbol()"] {
        assert!(matches!(load(source), Err(UdfError::NotAFunction { .. })), "{source}");
    }
    for source in ["", "// f", "var f", "let f;", "(function () { function f() {} })()"] {
        assert!(matches!(load(source), Err(UdfError::FunctionMissing { .. })), "{source}");
    }
    let error = load("Object.defineProperty(globalThis, 'f', {get() { throw new Error('mine') }})");
    assert!(matches!(error, Err(UdfError::FunctionMissing { .. })), "{error:?}");
}

/// The template finds the function by its name for each message, so that one may replace itself.
#[test]
fn a_function_may_replace_itself() {
    let udf = load("function f(s) { f = function (s) { return '2' }; return '1' }").unwrap();
    assert_eq!(run(&udf, &["{}", "{}", "{}"]), [row("1"), row("2"), row("2")]);
    let gone = run(&load("function f(s) { f = 7; return '1' }").unwrap(), &["{}", "{}"]);
    assert_eq!(gone[1].class(), Some(ErrorClass::UdfThrew));
}

#[test]
fn what_another_engine_would_have_had_is_named() {
    for (body, hint) in [
        ("load('lib.js')", "put all .js files into the UDF's folder"),
        ("return Java.type('java.util.UUID').randomUUID().toString()", "Nashorn's way to Java"),
        ("return '' + new java.util.Date()", "Nashorn's way to Java"),
        ("return require('fs').readFileSync(s)", "belongs to Node"),
        ("setTimeout(f, 1)", "belongs to browsers"),
        ("quit()", "Nashorn's shell"),
    ] {
        let outcome = outcome(body);
        let failure = outcome.failure().unwrap();
        let told = failure.message.starts_with("ReferenceError: ") && failure.message.contains(hint);
        assert!(told, "{body}: {}", failure.message);
    }
    assert_eq!(outcome("unheardOf()").failure().unwrap().message, "ReferenceError: unheardOf is not defined");
    for (source, hint) in [
        ("function f(s) {\n  for each (var x in [1]) print(x);\n}", Some("write `for (const x of ...)`")),
        (
            "function f(s) {\n  try { s() } catch (e if e instanceof TypeError) { }\n}",
            Some("inside the block"),
        ),
        ("function f(s) {\n  try { s() } catch (e) { ; return } }}", None),
    ] {
        let error = load(source).unwrap_err().to_string();
        assert!(error.starts_with("syntax error in test.js line "), "{error}");
        assert!(hint.map_or(!error.contains("Nashorn"), |hint| error.contains(hint)), "{error}");
    }
}

/// Everything up to ES2020 and a little more, and what Nashorn's ES6 flag took.
#[test]
fn the_language_is_es2020_and_more() {
    for check in [
        "`t${1 + 1}` === 't2' && ((a, b = 2, ...c) => a + b + c.length)(1) === 3",
        "(([a, {b}], {...c}) => a + b + c.d)([1, {b: 2}], {d: 3}) === 6",
        "[...new Set([1, 1, 2])].length === 2 && new Map([[1, 2]]).get(1) === 2 && Symbol('x').toString() === 'Symbol(x)'",
        "(() => { let n = 0; for (const x of [1, 2]) n += x; return n })() === 3",
        "(class A { static #x = 1; static get x() { return A.#x } }).x === 1",
        "2 ** 10 === 1024 && [1, 2].includes(2) && Object.entries({a: 1})[0][1] === 1",
        "'x'.padStart(3, '-') === '--x' && Object.values({a: 1})[0] === 1",
        "/(?<y>\\d{4})/u.exec('in 2020').groups.y === '2020' && /(?<=a)b/.test('ab') && /a.b/s.test('a\\nb')",
        "[1, [2, [3]]].flat(Infinity).length === 3 && Object.fromEntries([['a', 1]]).a === 1",
        "' x '.trimStart() === 'x ' && (() => { try { throw 1 } catch { return true } })()",
        "({a: {b: null}}).a?.b?.c === undefined && (null ?? 7) === 7 && 10n ** 20n === 100000000000000000000n",
        "[...'a1b2'.matchAll(/\\d/g)].length === 2 && typeof globalThis === 'object'",
        "'aa'.replaceAll('a', 'b') === 'bb' && [3, 1].at(-1) === 1 && Object.hasOwn({a: 1}, 'a')",
        "JSON.stringify('\\ud800') === '\"\\\\ud800\"' && JSON.parse('\"\\u2028\"').length === 1",
        "with_statement()",
        "new Date(2020, 0).getYear() === 120 && escape('é') === '%E9' && 'x'.anchor('y').length > 1",
        "(function () { return typeof this })() === 'object' && (function () { return arguments.callee })() !== null",
        "0777 === 511 && '\\101' === 'A'",
        "typeof new Int8Array(1).buffer === 'object' && new WeakMap() instanceof WeakMap",
        "(() => { f2 = 1; return f2 })() === 1",
    ] {
        let source = format!(
            "function with_statement() {{ with ({{a: 1}}) {{ return a === 1 }} }}\n\
             function f(s) {{ return JSON.stringify({check}) }}"
        );
        assert_eq!(run(&load(&source).unwrap(), &["{}"]), [row("true")], "{check}");
    }
}

#[test]
fn console_lines_are_counted_and_limited_and_cannot_hurt() {
    let udf = load(
        "function f(s) { console.log('a\\nb', {x: 1}, [1], null, undefined, 1n, Symbol('s'), '\\ud800'); \
         console.warn({get x() { throw 1 }, toString() { throw 2 }}); console.error(new Proxy({}, {get() { throw 3 }})); \
         print('x'.repeat(1e6)); console.table([]); console.log(); return s }",
    );
    let udf = udf.unwrap();
    assert!(run(&udf, &vec!["{}"; 100]).iter().all(|outcome| *outcome == row("{}")));
    let stats = udf.stats();
    // Five of the six methods write; fifty lines at once, and perhaps ten for each second that it took.
    assert_eq!(stats.console_calls, 600);
    assert!((100..=450).contains(&stats.console_lines_dropped), "{stats:?}");
    let quiet = UdfConfig { console: false, ..config("function f(s) { console.log(s); return s }") };
    let quiet = Udf::load(quiet).unwrap();
    run(&quiet, &vec!["{}"; 100]);
    assert_eq!((quiet.stats().console_calls, quiet.stats().console_lines_dropped), (100, 0));
}

#[test]
fn a_console_argument_that_never_comes_to_an_end_is_stopped() {
    let source = "function f(s) { console.log({toString() { for (;;) {} }}); return s }";
    let udf = Udf::load(UdfConfig { time_limit: Duration::from_millis(50), ..config(source) }).unwrap();
    assert_eq!(run(&udf, &["{}"])[0].class(), Some(ErrorClass::UdfTimeout));
}
