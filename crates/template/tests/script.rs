//! What a script's text tells: lines that lose messages, and lines that the engines take differently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so by panicking")]
#![allow(missing_docs)]

use millrace_template::{Effect, ScriptText, Scripts};
use proptest::prelude::*;

fn read(source: &str) -> Scripts {
    Scripts::read(&[ScriptText { name: "a.js".to_owned(), source: source.to_owned() }], Some("f"))
}

fn lines(scripts: &Scripts, effect: Effect) -> Vec<u32> {
    scripts.findings.iter().filter(|finding| finding.effect == effect).map(|finding| finding.line).collect()
}

#[track_caller]
fn check(source: &str, drops: &[u32], may_drop: &[u32], not_text: &[u32]) {
    let scripts = read(source);
    assert!(scripts.unreadable.is_empty(), "{:?}", scripts.unreadable);
    assert_eq!(lines(&scripts, Effect::Drops), drops, "{source}\n{scripts:#?}");
    assert_eq!(lines(&scripts, Effect::MayDrop), may_drop, "{source}\n{scripts:#?}");
    assert_eq!(lines(&scripts, Effect::NotText), not_text, "{source}\n{scripts:#?}");
}

#[test]
fn the_default_script_loses_nothing() {
    let source = include_str!("../../../examples/gemini/transform.js");
    let text = ScriptText { name: "transform.js".to_owned(), source: source.to_owned() };
    let scripts = Scripts::read(&[text], Some("transform"));
    assert_eq!(scripts.findings, []);
    assert_eq!((scripts.function_found, scripts.parameters), (Some(true), Some(1)));
}

#[test]
fn returns_of_nothing_are_found_by_line() {
    check("function f(s) {\n  if (!s) return;\n  return s;\n}", &[2], &[], &[]);
    check(
        "function f(s) {\n  if (!s) return null;\n  if (s == 1) return undefined;\n  return '';\n}",
        &[2, 3, 4],
        &[],
        &[],
    );
    check("function f(s) {\n  return s\n    ? s\n    : null;\n}", &[4], &[], &[]);
    check("function f(s) {\n  return void 0;\n}", &[2], &[], &[]);
    check("function f(s) {\n  return s || ``;\n}", &[2], &[], &[]);
    check("function f(s) {\n  return s && JSON.stringify(s);\n}", &[], &[2], &[]);
    check("function f(s) {\n  return JSON.parse(s)?.x;\n}", &[], &[2], &[]);
    check("function f(s) {\n  return JSON.stringify(undefined);\n}", &[2], &[], &[]);
    check("const f = s => null;", &[1], &[], &[]);
    check("var f = function (s) {\r\n  return null;\r\n};", &[2], &[], &[]);
    check("f = (s) => {\n  return (1, null);\n};", &[2], &[], &[]);
}

#[test]
fn ends_that_can_be_reached() {
    check("function f(s) {\n  if (s) { return s; }\n}", &[3], &[], &[]);
    check("function f(s) {\n}", &[2], &[], &[]);
    check("function f(s) {\n  try { return s; } catch (e) {\n  }\n}", &[4], &[], &[]);
    check("function f(s) {\n  try { return s; } finally { s = 1; }\n}", &[], &[], &[]);
    check("function f(s) {\n  if (s) return s; else throw s;\n}", &[], &[], &[]);
    check("function f(s) {\n  while (true) { if (s) return s; }\n}", &[], &[], &[]);
    check("function f(s) {\n  for (;;) { if (s) break; }\n}", &[3], &[], &[]);
    check("function f(s) {\n  switch (s) { case 1: return s; default: throw s; }\n}", &[], &[], &[]);
    check("function f(s) {\n  switch (s) { case 1: return s; default: break; }\n}", &[3], &[], &[]);
    check("function f(s) {\n  do { return s; } while (s);\n}", &[], &[], &[]);
    check("function f(s) {\n  a: { break a; }\n}", &[3], &[], &[]);
}

#[test]
fn variables_and_calls_are_followed() {
    check("function f(s) {\n  var out = null;\n  if (s) out = s;\n  return out;\n}", &[], &[4], &[]);
    check("function f(s) {\n  let out;\n  if (s) { out = s; }\n  return out;\n}", &[], &[4], &[]);
    check("function f(s) {\n  return g(s);\n}\nfunction g(s) {\n  return '';\n}", &[5], &[], &[]);
    // Functions within, and functions that are not returned, say nothing.
    check(
        "function f(s) {\n  [].map(function () { return null; });\n  g();\n  return s;\n}\nfunction g() { return null; }",
        &[],
        &[],
        &[],
    );
    check("function f(s) { return f(g(s)); }\nfunction g(s) { return f(s); }", &[], &[], &[]);
    check(
        "function f(s) {\n  if (s) return {a: 1};\n  if (!s) return 1;\n  return !s;\n}",
        &[],
        &[],
        &[2, 3, 4],
    );
    check("async function f(s) { return s; }", &[], &[], &[1]);
}

#[test]
fn the_function_is_looked_for_in_all_scripts() {
    let text = |name: &str, source: &str| ScriptText { name: name.to_owned(), source: source.to_owned() };
    let texts =
        [text("a.js", "function g(s) { return null; }"), text("b.js", "\nfunction f(s) { return g(s); }")];
    let scripts = Scripts::read(&texts, Some("f"));
    assert_eq!((scripts.findings[0].script.as_str(), scripts.findings[0].line), ("a.js", 1));
    let scripts = Scripts::read(&texts, Some("h"));
    assert_eq!(scripts.function_found, Some(false));
    let scripts = read("function transform(s) {} function ff(a, b) {}");
    assert_eq!((scripts.function_found, scripts.nearest.as_deref()), (Some(false), Some("ff")));
    assert_eq!(read("function f(message, metadata) { return message; }").parameters, Some(2));
}

#[test]
fn what_engines_take_differently() {
    for (source, effect) in [
        ("var T = Java.type('java.util.Date');", Effect::OnlyNashorn),
        ("load('nashorn:mozilla_compat.js');", Effect::OnlyNashorn),
        ("var x = require('x');", Effect::InNeither),
        ("class A {}", Effect::OnlyMillrace),
        ("var {a} = {};", Effect::OnlyMillrace),
        ("function g(a = 1) {}", Effect::OnlyMillrace),
        ("var x = [...'a'];", Effect::OnlyMillrace),
        ("var x = a?.b;", Effect::OnlyMillrace),
        ("var x = 1 ?? 2;", Effect::OnlyMillrace),
        ("console.log(1);", Effect::OnlyMillrace),
        ("var x = /(?<a>b)/;", Effect::OnlyMillrace),
        ("var x = 'a'.padStart(3);", Effect::OnlyMillrace),
        ("var x = Object.entries({});", Effect::OnlyMillrace),
        ("function g(x) { return x.toLocaleString(); }", Effect::MayDiffer),
        ("function g(x) { return new Date(x); }", Effect::MayDiffer),
        ("function g(x) { return new Date(); }", Effect::NotReproducible),
        ("var x = Math.random();", Effect::NotReproducible),
        ("var n = 0;\nfunction g() { n++; }", Effect::KeepsState),
        ("var seen = {};\nfunction g(x) { seen[x] = 1; }", Effect::KeepsState),
        ("function g() { implicit = 1; }", Effect::KeepsState),
    ] {
        let scripts = read(source);
        assert!(scripts.unreadable.is_empty(), "{source}: {:?}", scripts.unreadable);
        assert!(!lines(&scripts, effect).is_empty(), "{source}: {scripts:#?}");
    }
    for source in [
        "let a = 1; const b = `x${a}`; for (const c of [1]) {} var m = new Map(); var h = (x) => x;",
        "function g(n) { n = 2; var q = 1; q++; var o = {}; o.a = 1; }",
        "function load(x) {} load(1); var require = 1; require;",
    ] {
        assert_eq!(read(source).findings, [], "{source}");
    }
}

#[test]
fn what_cannot_be_parsed_is_named_with_its_line() {
    for (source, line) in [
        ("var a;\nfunction f( {", "line 2"),
        ("\n\nimport 'a';", "line 3"),
        ("for each (a in b) {}", "line 1"),
    ] {
        let scripts = read(source);
        assert!(scripts.unreadable[0].1.starts_with(line), "{source}: {scripts:?}");
        assert_eq!(scripts.function_found, Some(false));
    }
    assert!(read(&" ".repeat(2 << 18)).unreadable[0].1.contains("at most"));
}

/// Scenario: as much as is read, of one thing within another.
/// Guarantees: an answer, not the end of the process.
#[test]
fn deep_texts_are_survived() {
    let deep = |open: &str, middle: &str, close: &str| {
        let times = (1 << 18) / (open.len() + close.len()) - 1;
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    for source in [
        deep("(", "1", ")"),
        deep("[", "", "]"),
        deep("!", "1", ""),
        deep("{", "", "}"),
        deep("a=>", "1", ""),
        deep("if(1)", ";", ""),
        deep("a?b:", "1", ""),
        deep("1+", "1", ""),
        deep("`${", "1", "}`"),
        deep("a.", "b", ""),
        deep("function f(){", "", "}"),
        "(".repeat(1 << 18),
    ] {
        let _ = read(&source);
    }
}

proptest! {
    #[test]
    fn nothing_written_makes_a_panic(source in "(function f\\(s\\) \\{ |return |null|;|\\}|if \\(s\\) |[a-z?.:&|(){}\\[\\]='\"` ]{1,6}){0,30}") {
        let _ = read(&source);
    }
}
