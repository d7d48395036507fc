//! The quicker `JSON.stringify` against the engine's own, which every call with an indent still reaches:
//! an indent of "" makes the same text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{Outcome, config};
use millrace_model::TransformFactory;
use millrace_udf::{Udf, UdfConfig};
use proptest::prelude::*;

/// Makes a value from the message with `MAKE`, once for each of the two, and compares everything that
/// can be seen of them: text, thrown error, and the calls that reached the value's own code.
const COMPARE: &str = "
    var log;
    function note(text) { log.push(text); return text }
    function attempt(make, indent) {
        log = [];
        try { return [typeof JSON.stringify(make(), null, indent), JSON.stringify(make(), null, indent), log.join()] }
        catch (error) { return [error instanceof Error ? error.name + error.message : 'thrown ' + error, log.join()] }
    }
    function compare(make) {
        var quick = attempt(make, undefined), own = attempt(make, '');
        for (var i = 0; i < own.length; i++)
            if (quick[i] !== own[i]) throw new Error('quick: ' + quick[i] + ' own: ' + own[i]);
        return '1';
    }
    function f(s) { return compare(MAKE) }";

fn compare(make: &str) -> Udf {
    let source = COMPARE.replace("MAKE", make);
    Udf::load(UdfConfig { heap_bytes_max: 128 * 1024 * 1024, ..config(&source) }).unwrap()
}

#[test]
fn every_kind_of_value_comes_out_alike() {
    let values = [
        "undefined",
        "null",
        "f",
        "Symbol('x')",
        "1n",
        "-0",
        "0.1 + 0.2",
        "1e21",
        "1e-7",
        "123456789012345680000",
        "5e-324",
        "[NaN, Infinity, -Infinity, 2147483648, -2147483649, 1e15, 1.0]",
        "'\\ud800 \\udfff \\ud83d\\ude00 \\u2028 \\u007f \\u0000 \\b\\f\\n\\r\\t\\v \"\\\\/'",
        "[undefined, f, Symbol(), null]",
        "({a: undefined, b: f, c: Symbol(), d: 1})",
        "({10: 1, 9: 2, b: 3, '-1': 4, a: 5, '': 6, '\\u0000nul': 7, '\\ud800': 8, 4294967295: 9})",
        "({['__proto__']: 1, ['__proto__x']: new Date(0)})",
        "({['__proto__']: {toJSON: note}, '\\ud800': {toJSON: note}, '\\u0000': {toJSON: note}})",
        "[, 1, , 2]",
        "Object.assign([1, 2], {extra: 3})",
        "new Array(3)",
        "[new Date(0), /x/g, new Map([[1, 2]]), new Set([1]), new Error('x'), Promise.resolve(1)]",
        "[new String('s'), new Number(1.5), new Boolean(false), Object('x')]",
        "Object(1n)",
        "JSON.rawJSON('1.0000')",
        "[{a: JSON.rawJSON('\"\\ud800\"')}]",
        "({a: JSON.rawJSON('123456789012345678901234567890')})",
        "({toJSON: function (key) { return 'key:' + note(typeof key + key) }})",
        "({x: {toJSON: note}, y: [{toJSON: note}, {toJSON: note}], z: {toJSON: 7}})",
        "({x: {toJSON: function () {}}, y: [{toJSON: function () {}}]})",
        "({x: {toJSON: function () { throw 'mine' }}})",
        "({get a() { return note('a') }, get b() { return note('b') }, get c() { throw new TypeError('c') }})",
        "({get a() { delete this.b; this.z = 1; return note('a') }, b: 1, c: 2})",
        "Object.defineProperty({a: 1}, 'hidden', {value: 2})",
        "[Object.assign(function () {}, {a: 1}), Object.assign(function () {}, {toJSON: note})]",
        "new (class Point { constructor() { this.x = 1 } get y() { return 2 } })",
        "new (class extends Array {})(1, 2, 3)",
        "[Object.create(null), Object.create({inherited: 1}), Object.create({toJSON: note})]",
        "(function () { return arguments })(1, 'b')",
        "[new Uint8Array([1, 2]), new ArrayBuffer(2), new Float64Array([0.5])]",
        "new Proxy({a: 1, b: [2]}, {get: function (t, k) { note(String(k)); return t[k] }, ownKeys: function (t) { note('keys'); return Reflect.ownKeys(t) }})",
        "[new Proxy([1, 2], {}), new Proxy(function () {}, {}), new Proxy({toJSON: note}, {})]",
        "(function () { var a = {}; a.self = a; return a })()",
        "(function () { var a = []; a.push([a]); return a })()",
        "(function () { var d = new Date(0), a = {d: d}; d.toJSON = function () { return a }; return a })()",
        "(function () { var a = {}; for (var i = 0; i < 200; i++) a = i % 2 ? [a, i] : {a: a, i: i}; return a })()",
        "(function () { var shared = {x: [1]}; return [shared, {shared: shared}] })()",
        "globalThis.JSON",
        "new Array(4e9)",
    ];
    let udf = compare("new Function('f', 'note', 'return ' + s).bind(null, f, note)");
    for (value, outcome) in values.iter().zip(common::run(&udf, &values)) {
        let outcome_is_alike = outcome == common::row("1");
        let is_endless = *value == "new Array(4e9)" && matches!(outcome, Outcome::Dead(_));
        assert!(outcome_is_alike || is_endless, "{value}: {outcome:?}");
    }
}

#[test]
fn changed_prototypes_are_heeded() {
    let changes = [
        "Object.prototype.toJSON = function (key) { return 'object ' + key };",
        "Array.prototype.toJSON = function (key) { return 'array ' + key };",
        "Object.prototype.inherited = 1; Array.prototype[1] = 'hole';",
        "String.prototype.toJSON = Number.prototype.toJSON = function () { return 'never' };",
        "BigInt.prototype.toJSON = function () { return 'big' };",
    ];
    for change in changes {
        let make = "new Function('return ' + s)";
        let source = format!("{change}{}", COMPARE.replace("MAKE", make));
        let udf = Udf::load(config(&source)).unwrap();
        let values = ["({a: 1, b: [2, , 'x']})", "[[{}, 'x', 1n]]", "'x'", "({x: Object(1n)})"];
        for (value, outcome) in values.iter().zip(common::run(&udf, &values)) {
            assert_eq!(outcome, common::row("1"), "{change} {value}");
        }
    }
}

#[test]
fn it_looks_like_the_function_it_stands_for() {
    let source = "function f(s) { var d = Object.getOwnPropertyDescriptor(JSON, 'stringify'); return JSON.stringify([
        JSON.stringify.name, JSON.stringify.length, d.writable, d.enumerable, d.configurable,
        JSON.stringify([3, {b: 1, a: 2}], ['a']), JSON.stringify([1], null, 1), JSON.stringify(7, function () { return 8 })]) }";
    let expected = r#"["stringify",3,true,false,true,"[3,{\"a\":2}]","[\n 1\n]","8"]"#;
    assert_eq!(common::run(&common::load(source).unwrap(), &[""]), [common::row(expected)]);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let text = "\\PC{0,12}|[\\x00-\\x7f]{0,20}|[0-9]{1,3}";
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        (-1000_i32..1000).prop_map(|number| (f64::from(number) / 8.0).into()),
        text.prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 200, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Into::into),
            prop::collection::hash_map(text, inner, 0..12)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

#[test]
fn parsed_json_comes_out_alike() {
    // One engine for all cases: the strategy runs inside the test so that it is built once.
    let udf = compare("function () { return JSON.parse(s) }");
    let mut transform = udf.create().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(512));
    let transform = std::cell::RefCell::new(&mut transform);
    let checked = runner.run(&json(), |value| {
        let mut outcomes = common::Outcomes::default();
        transform.borrow_mut().transform(&common::batch(&[value.to_string()]), 0..1, &mut outcomes);
        prop_assert_eq!(&outcomes.list[0], &common::row("1"));
        Ok(())
    });
    checked.unwrap();
}
