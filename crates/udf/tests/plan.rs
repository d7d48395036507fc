//! The native plan: which scripts have one, what is said about those that have not, and that nothing of it
//! shows. What it computes is held against JavaScript in `differential`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::fmt::Write;

use common::{Outcome, config, load, row, run};
use millrace_model::{ErrorClass, TransformFactory};
use millrace_udf::{Script, Shape, Udf, UdfConfig, explain};

fn body(body: &str) -> UdfConfig {
    config(&format!("function f(s) {{ var o = JSON.parse(s); var row = {{}};\n{body}\n}}"))
}

/// Scripts of one line as people write them.
const PLANNED: [&str; 22] = [
    "row.t = o.timestamp; return JSON.stringify(row);",
    "row['a b'] = o['x y'].z; return JSON.stringify(row);",
    "if (!o.jsonPayload) return null; row.p = JSON.stringify(o.jsonPayload); return JSON.stringify(row);",
    "const { severity = 'DEFAULT', labels: l } = o; return JSON.stringify({ severity, l });",
    "row.user = o.jsonPayload?.user?.id ?? o.labels?.user ?? 'unknown'; return JSON.stringify(row);",
    "row.name = `${o.a}-${o.b}`; row.kind = 'k:' + o.kind; return JSON.stringify(row);",
    "o.extra = 'x'; delete o.secret; return JSON.stringify(o);",
    "if (o.severity !== 'DEBUG') { return s; } return '';",
    "switch (o.severity) { case 'ERROR': case 'CRITICAL': row.bad = true; break; default: row.bad = false; } return JSON.stringify(row);",
    "for (const key of ['a', 'b']) { if (o[key] != null) { row[key + '_json'] = JSON.stringify(o[key]); } } return JSON.stringify(row);",
    "['a', 'b'].forEach(function (key) { row[key] = o[key]; }); return JSON.stringify(row);",
    "var map = { a: 'x', b: 'y' }; for (var k in map) { row[map[k]] = o[k]; } return JSON.stringify(row);",
    "var g = function (v) { return typeof v === 'string' ? v : JSON.stringify(v); }; row.a = g(o.a); return JSON.stringify(row);",
    "row.meta = { source: 'log', id: o.id }; return JSON.stringify(row);",
    "try { row.a = o.a.b.c; } catch (e) { console.log('no', e.message); return null; } return JSON.stringify(row);",
    "if (!o.id) { throw new Error('no id in ' + s); } row.id = o.id; return JSON.stringify(row);",
    "row.first = o.list[0]; row.many = Array.isArray(o.list); return JSON.stringify(row);",
    "row.has = o.hasOwnProperty('a') && 'b' in o; return JSON.stringify(row);",
    "var text = JSON.stringify(row); row.a = o.a; return text;",
    "var t = JSON.stringify({ a: o.a }); return t;",
    "var i, list = ['a', 'b']; for (i = list.length - 1; i >= 0; i--) { row[list[i]] = o[list[i]]; } return JSON.stringify(row);",
    "row.status = o.code >= 400 ? 'bad' : 'good'; if (o.when) { row.when = new Date(o.when).toISOString(); } return JSON.stringify(row);",
];

#[test]
fn common_projections_have_plans() {
    for script in PLANNED {
        let explanation = explain(&body(script));
        assert!(explanation.is_native, "{script}\n{explanation}");
    }
}

#[test]
fn what_stands_in_the_way_is_named_with_its_place() {
    let cases = [
        ("row.a = o.a.toUpperCase(); return JSON.stringify(row);", "test.js:2:9: a call of `toUpperCase`"),
        ("row.d = new Date();\nreturn JSON.stringify(row);", "test.js:2:9: `new`"),
        (
            "row.a = o.constructor; return JSON.stringify(row);",
            "test.js:2:9: `constructor`, which every object has",
        ),
        ("while (o.a) {} return null;", "test.js:2:1: a loop whose rounds are not known"),
        ("for (var k in o) { row[k] = o[k]; } return JSON.stringify(row);", "a loop over the names"),
        (
            "row[o.key] = 1; return JSON.stringify(row);",
            "test.js:2:5: a property whose name depends on the message",
        ),
        ("row['7'] = 1; return JSON.stringify(row);", "a property named `7`"),
        ("row.__proto__ = o; return JSON.stringify(row);", "a property named `__proto__`"),
        ("o.a.b = 1; return JSON.stringify(o);", "a change of what is neither"),
        ("row.a = /x/.test(o.a); return JSON.stringify(row);", "a call of `test`"),
        ("row.o = o; return JSON.stringify(row);", "the parsed message as an object"),
        ("return JSON.stringify(row, null, 2);", "with a replacer or an indent"),
        ("count = 1; return JSON.stringify(row);", "an assignment to `count`, which outlives the message"),
        (
            "function g() { return g(); } row.a = g(); return JSON.stringify(row);",
            "a function that calls itself",
        ),
        ("var JSON = { stringify: function () { return 'x'; } }; return JSON.stringify(row);", "test.js"),
        ("row.a = this.x; return JSON.stringify(row);", "`this`"),
        ("row.a = {...o}; return JSON.stringify(row);", "`...` in an object"),
        ("try { row.a = o.a.b; } finally { row.b = 1; } return JSON.stringify(row);", "`finally`"),
    ];
    for (script, expected) in cases {
        let explanation = explain(&body(script));
        assert!(!explanation.is_native, "{script}");
        let text = explanation.to_string();
        assert!(text.contains(expected), "{script}\n{text}");
    }
}

#[test]
fn scripts_that_change_what_others_rely_on_have_no_plan() {
    let f = "function f(s) { return JSON.stringify({ a: JSON.parse(s).a, n: n }); }";
    for top in [
        "JSON.stringify = function () { return 'x'; }; var n = 1;",
        "Object.prototype.toJSON = function () { return 1; }; var n = 1;",
        "Object.defineProperty(Object.prototype, 'a', { get: function () { return 1; } }); var n = 1;",
        "var n = 0; n += 1;",
        "var n = 1; var n = 2;",
        "var n = Math.random();",
        "var n = 1; (function () { n = 2; })();",
        "var n = 1; class JSON { static stringify() { return 'x'; } static parse() { return {}; } }",
        "var n = 1; function JSON() {} JSON.parse = JSON.stringify = function () { return 'x'; };",
        "var undefined = 1, n = undefined;",
    ] {
        let explanation = explain(&config(&format!("{top}\n{f}")));
        assert!(!explanation.is_native, "{top}\n{explanation}");
    }
    // A catch that counts, in a variable that others read.
    let counting = "var n = 0; function f(s) { try { return JSON.stringify({ a: JSON.parse(s), n: n }); } catch (e) { n++; } }";
    assert!(!explain(&config(counting)).is_native);
    let aliased = "var n = { c: 0 }; function f(s) { var m = n; try { return JSON.stringify({ a: JSON.parse(s).a, n: n.c }); } \
                   catch (e) { m.c = 1; return null; } }";
    assert!(!explain(&config(aliased)).is_native);
    let shadowed = "var n = 0; function Error() { n = 1; } function f(s) { if (!JSON.parse(s).a) { throw new Error(); } \
                    return JSON.stringify({ n: n }); }";
    assert!(!explain(&config(shadowed)).is_native);
}

#[test]
fn several_scripts_are_read_in_their_order() {
    let script = |name: &str, source: &str| Script { name: name.to_owned(), source: source.to_owned() };
    let scripts = vec![
        script("names.js", "\u{feff}var NAMES = ['a', 'b'];"),
        script(
            "f.js",
            "'use strict';\nconst f = (s) => { const o = JSON.parse(s), row = {};\n for (const n of NAMES) row[n] = o[n];\n return JSON.stringify(row); };",
        ),
    ];
    let udf = Udf::load(UdfConfig::new(scripts, "f")).unwrap();
    assert!(udf.explanation().is_native, "{}", udf.explanation());
    assert_eq!(run(&udf, &["{\"b\": 1, \"a\": [ 2 ]}"]), [row("{\"a\":[2],\"b\":1}")]);
    assert_eq!(udf.stats().planned, 1);
}

#[test]
fn the_switch_and_the_shape_decide() {
    let source = "function f(s, m) { return s; }";
    assert!(!explain(&config(source)).is_native);
    assert!(explain(&UdfConfig { shape: Shape::Template, ..config(source) }).is_native);
    let off = UdfConfig { native_plan: false, ..config("function f(s) { return s; }") };
    assert!(explain(&off).to_string().contains("switched off"));
    assert!(Udf::load(off).unwrap().native_plan().is_none());
}

#[test]
fn hostile_scripts_end_in_an_explanation() {
    let mut deep = String::from("function f(s) { return ");
    let repeated = |open: &str, middle: &str, close: &str, count: usize| {
        format!("{}{middle}{}", open.repeat(count), close.repeat(count))
    };
    write!(deep, "{}; }}", "!".repeat(60_000)).unwrap();
    let scripts = [
        format!("function f(s) {{ return {}s; }}", "!".repeat(60_000)),
        format!("function f(s) {{ return {}; }}", repeated("(", "s", ")", 30_000)),
        format!("function f(s) {{ return {}; }}", repeated("(", "s", ")", 190)),
        format!("function f(s) {{ return {}; }}", repeated("[", "s", "]", 190)),
        format!("function f(s) {{ {} return s; }}", "if(s)".repeat(12_000)),
        format!("function f(s) {{ {} return s; }}", "if(s);else ".repeat(5_000)),
        format!("function f(s) {{ return {}s; }}", "s+".repeat(30_000)),
        format!("function f(s) {{ return s{}; }}", ".a".repeat(30_000)),
        format!("function f(s) {{ return s{}; }}", "?s:s".repeat(15_000)),
        format!("f={}s", "a=>".repeat(20_000)),
        format!("function f(s) {{ return {}s; }}", "typeof ".repeat(9_000)),
        format!("function f(s) {{ return {}s; }}", "new ".repeat(15_000)),
        format!("function f(s) {{ {} return s; }}", repeated("{", "", "}", 30_000)),
        format!("function f(s) {{ {} return s; }}", "a:".repeat(20_000)),
        format!("function f(s) {{ return {}1; }}", "s=".repeat(30_000)),
        format!("function f(s) {{ return {}1; }}", "s**".repeat(20_000)),
        "function f(s) { for (var i = 0; i < 1e9; i++) { s = s; } return s; }".to_owned(),
        "function f(s) { for (;;) {} }".to_owned(),
        "function f(".to_owned(),
        "\u{0}".to_owned(),
        " ".repeat(1 << 20),
        deep,
    ];
    for script in scripts {
        let explanation = explain(&config(&script));
        assert_eq!(explanation.is_native, explanation.obstacles.is_empty(), "{explanation}");
    }
}

#[test]
fn whatever_is_rare_is_left_to_the_engine_and_counted() {
    let udf = load("function f(s) { var o = JSON.parse(s); if (o.a.b === 'skip') { return null; } return JSON.stringify({ a: o.a }); }").unwrap();
    let plain = "{\"a\":{\"b\":1}}";
    let messages: Vec<&[u8]> = vec![
        plain.as_bytes(),
        b"{\"a\":{\"b\":\"skip\"}}",
        b"not JSON",
        b"{\"b\":1}",
        b"{\"a\":{\"b\":1,\"1\":2}}",
        b"{\"a\":{\"b\":1,\"b\":2}}",
        b"\xff",
        plain.as_bytes(),
    ];
    let outcomes = run(&udf, &messages);
    let classes: Vec<Option<ErrorClass>> = outcomes.iter().map(Outcome::class).collect();
    let (threw, invalid) = (Some(ErrorClass::UdfThrew), Some(ErrorClass::InvalidUtf8));
    assert_eq!(classes, [None, None, threw, threw, None, None, invalid, None]);
    assert_eq!(outcomes[4], row("{\"a\":{\"1\":2,\"b\":1}}"));
    assert_eq!(outcomes[5], row("{\"a\":{\"b\":2}}"));
    assert!(outcomes[3].failure().unwrap().stack.as_ref().unwrap().contains("test.js:1"));
    let stats = udf.stats();
    assert_eq!((stats.calls, stats.rows, stats.filtered), (8, 4, 1));
    assert_eq!(stats.planned + stats.plan_fallbacks, 8);
    assert_eq!(stats.plan_fallbacks, 6, "{stats:?}");
}

#[test]
fn the_output_limit_holds() {
    let source = "function f(s) { return JSON.stringify({ a: JSON.parse(s).a }); }";
    for (length, is_row) in [(88, true), (92, true), (93, false), (200, false)] {
        let udf = Udf::load(UdfConfig { output_bytes_max: 100, ..config(source) }).unwrap();
        let outcome = run(&udf, &[format!("{{\"a\":\"{}\"}}", "x".repeat(length))]).remove(0);
        assert_eq!(outcome.class().is_none(), is_row, "{length} {outcome:?}");
        assert!(is_row || outcome.class() == Some(ErrorClass::TooLarge));
    }
}

#[test]
fn an_engine_is_started_only_when_one_is_needed() {
    let udf = load("function f(s) { return JSON.stringify({ a: JSON.parse(s).a }); }").unwrap();
    let mut transform = udf.create().unwrap();
    let batch = common::batch(&["{}", "{\"a\":1}"]);
    let mut outcomes = common::Outcomes::default();
    transform.transform(&batch, 0..2, &mut outcomes);
    assert_eq!(outcomes.list, [row("{}"), row("{\"a\":1}")]);
    assert_eq!((udf.stats().planned, udf.stats().plan_fallbacks), (2, 0));
}

#[test]
fn names_may_be_spelled_with_escapes_anywhere() {
    let udf = load(
        "function f(s) { const o = JSON.parse(s); return JSON.stringify({ x: o.name, y: o.in.name }); }",
    )
    .unwrap();
    let outcomes = run(&udf, &[r#"{"n\u0061me":"\u0041\/\u00e9","\u0069n":{"n\u0061me":1.0}}"#]);
    assert_eq!(outcomes, [row("{\"x\":\"A/\u{e9}\",\"y\":1}")]);
    assert_eq!(udf.stats().planned, 1);
}

/// A control character behind a document was taken for its end (found by a long run of `differential`).
#[test]
fn what_stands_behind_a_document_is_no_end_of_it() {
    let udf = Udf::load(body("row.a = o.a; return JSON.stringify(row);")).unwrap();
    let mut plan = udf.native_plan().unwrap();
    for rest in ["\0", "\0 ", " \u{1}", "\u{b}", "\u{1f}\n", "x", "{}"] {
        let message = format!("{{\"a\":1}}{rest}");
        assert_eq!(plan.call(&message), None, "{message:?}");
    }
    assert_eq!(plan.call("{\"a\":1} \r\n\t"), Some(Some("{\"a\":1}")));
}

#[test]
fn programs_of_fewer_steps_do_the_same() {
    let scripts = [
        "var v = o.a; if (v !== undefined && v !== null) { row.a = v; v = o.b; } row.b = v; return JSON.stringify(row);",
        "var v = o.a, w = v; v = o.b; row.a = w; row.b = v; return JSON.stringify(row);",
        "var v; for (const k of ['a', 'b', 'c']) { v = o[k]; if (v === null || v === undefined) { break; } row[k] = v; } row.last = v; return JSON.stringify(row);",
        "var v = o.a; row.a = v && (v = o.b); row.b = v; return JSON.stringify(row);",
        "var v = o.a; row.a = (v = o.b) === null ? v : (v = o.c, v); row.b = v; return JSON.stringify(row);",
        "row.t = v !== null && v !== undefined; var v = o.a; return JSON.stringify(row);",
        "row.self = row; var t = JSON.stringify(row); return 'done';",
        "row.self = row; JSON.stringify(row); return 'done';",
    ];
    let messages =
        [r#"{"a":1,"b":"x","c":{}}"#, r#"{"a":null,"b":null}"#, r#"{"b":[],"c":0}"#, r#"{"a":false}"#];
    for script in scripts {
        let planned = Udf::load(body(script)).unwrap();
        let interpreted = Udf::load(UdfConfig { native_plan: false, ..body(script) }).unwrap();
        assert_eq!(run(&planned, &messages), run(&interpreted, &messages), "{script}");
    }
}
