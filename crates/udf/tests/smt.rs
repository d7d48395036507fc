//! Pub/Sub's single message transforms: what they get, what they may return, their limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Full, Outcome, batch_of, config, full, load, row, run, run_batch};
use millrace_model::{ErrorClass, MessageBatch, MessageLayout, Micros, Offset, TopicId};
use millrace_udf::{MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX, Mode, Returned, Shape, Udf, UdfConfig, Verdict};

fn transform(body: &str) -> Udf {
    load(&format!("function f(message, metadata) {{\n{body}\n}}")).unwrap()
}

fn outcome(body: &str) -> Outcome {
    run_batch(&transform(body), &batch_of(0, &[full("{}", &[("k", "v")])])).remove(0)
}

#[test]
fn a_transform_sees_data_attributes_and_metadata() {
    let udf = transform(
        "if (Object.getPrototypeOf(message.attributes) !== Object.prototype) throw 1;\n\
         try { metadata.message_id = 'mine' } catch (e) {}\n\
         return {data: JSON.stringify([message, metadata, Object.keys(message.attributes)])}",
    );
    let attributes = [("b", "2"), ("a", "é"), ("__proto__", "p"), ("1", "one")];
    let ordered = Full { ordering_key: "key", ..full("text", &attributes) };
    let outcomes = run_batch(&udf, &batch_of(7, &[ordered, full("", &[])]));
    let topic = "01".repeat(16);
    let with_all = format!(
        r#"[{{"data":"text","attributes":{{"1":"one","b":"2","a":"é","__proto__":"p"}}}},{{"message_id":"{topic}-7","publish_time":"2023-11-14T22:13:20Z","ordering_key":"key"}},["1","b","a","__proto__"]]"#
    );
    let bare = format!(
        r#"[{{"data":"","attributes":{{}}}},{{"message_id":"{topic}-8","publish_time":"2023-11-14T22:13:20Z"}},[]]"#
    );
    assert_eq!(outcomes, [row(&with_all), row(&bare)]);
}

#[test]
fn null_filters_and_nothing_else_does() {
    assert_eq!(outcome("return null"), Outcome::Filtered);
    assert_eq!(outcome("return message"), row("{}"));
    assert_eq!(outcome("return {data: '{}', attributes: null}"), row("{}"));
    assert_eq!(outcome("return new Proxy(message, {})"), row("{}"));
    let cases = [
        ("", "returned undefined"),
        ("return undefined", "returned undefined"),
        ("return message.data", "returned a string"),
        ("return [message]", "returned an array"),
        ("return f", "returned a function"),
        ("return Promise.resolve(message)", "returned a promise"),
        ("return 1", "returned a number"),
        ("return {}", "`data` of the returned message is undefined"),
        ("return {data: {}}", "`data` of the returned message is an object"),
        ("return {data: null}", "`data` of the returned message is null"),
        ("return {data: '{}', attributes: []}", "are an array"),
        ("return {data: '{}', attributes: 'x'}", "are a string"),
        ("return {data: '{}', attributes: {n: 1}}", "is a number"),
        ("return {data: '{}', attributes: {n: null}}", "is null"),
        ("return {data: '{}', attributes: {'\\ud800': ''}}", "lone surrogate"),
        ("return {data: '{}', attributes: {x: '\\ud800'}}", "lone surrogate"),
    ];
    for (body, text) in cases {
        let outcome = outcome(body);
        let failure = outcome.failure().unwrap_or_else(|| panic!("{body}: {outcome:?}"));
        assert_eq!(failure.class, ErrorClass::UdfResultType, "{body}: {failure:?}");
        assert!(failure.message.contains(text), "{body}: {}", failure.message);
    }
}

#[test]
fn looking_at_what_came_back_may_throw() {
    for body in [
        "return {get data() { throw new Error('mine') }}",
        "return {data: '{}', get attributes() { throw new Error('mine') }}",
        "return {data: '{}', attributes: {get x() { throw new Error('mine') }}}",
        "return new Proxy({}, {get() { throw new Error('mine') }})",
        "return {data: '{}', attributes: new Proxy({}, {ownKeys() { throw new Error('mine') }})}",
    ] {
        let outcome = outcome(body);
        let failure = outcome.failure().unwrap_or_else(|| panic!("{body}: {outcome:?}"));
        assert_eq!(
            (failure.class, failure.message.as_str()),
            (ErrorClass::UdfThrew, "Error: mine"),
            "{body}"
        );
    }
}

#[test]
fn attributes_out_have_pubsubs_limits_and_their_changes_are_counted() {
    for (body, text) in [
        ("for (var i = 0; i < 101; i++) message.attributes['k' + i] = ''; return message", "at most 100"),
        ("message.attributes[''] = ''; return message", "1 to 256 bytes"),
        ("message.attributes['x'.repeat(257)] = ''; return message", "1 to 256 bytes"),
        ("message.attributes.x = 'x'.repeat(1025); return message", "at most 1024 bytes"),
    ] {
        let outcome = outcome(body);
        let failure = outcome.failure().unwrap();
        assert_eq!(failure.class, ErrorClass::TooLarge, "{body}");
        assert!(failure.message.contains(text), "{}", failure.message);
    }
    let udf = transform("if (message.data === '1') message.attributes.x = 'y'; return message");
    run_batch(
        &udf,
        &batch_of(0, &[full("1", &[("k", "v")]), full("2", &[("k", "v")]), full("1", &[("x", "y")])]),
    );
    assert_eq!(udf.stats().attribute_changes_dropped, 1);
    let mut evaluator = udf.evaluator().unwrap();
    let verdicts = evaluator.evaluate(&batch_of(0, &[full("1", &[("k", "v")])]), 0..1);
    let attributes = [("k", "v"), ("x", "y")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let returned = Returned { attributes: Some(attributes.into()), ..Returned::from("1".to_owned()) };
    assert_eq!(verdicts, [Verdict::Row(returned)]);
}

#[test]
fn a_message_without_data_is_no_row() {
    let source = "function f(message, metadata) { return {data: '', attributes: message.attributes} }";
    let messages = || batch_of(0, &[full("{}", &[("k", "v")])]);
    let strict = run_batch(&load(source).unwrap(), &messages()).remove(0);
    assert_eq!(strict.class(), Some(ErrorClass::InvalidJson));
    let compatible = UdfConfig { mode: Mode::Compatible, shape: Shape::MessageTransform, ..config(source) };
    let udf = Udf::load(compatible).unwrap();
    assert_eq!(run_batch(&udf, &messages()), [Outcome::Filtered]);
}

#[test]
fn a_message_without_data_may_be_kept() {
    let source = "function f(message, metadata) { message.data = ''; message.attributes.id = String(metadata.message_id); return message }";
    let udf = Udf::load(UdfConfig { keep_empty_data: true, ..config(source) }).unwrap();
    let mut batch = MessageBatch::new(TopicId::NONE);
    let buffer = batch.add_buffer(Bytes::from_static(b"{}"));
    batch.push(MessageLayout {
        offset: Offset(0),
        publish_time: Micros(0),
        buffer,
        data: 0..2,
        attributes: 0..0,
        ordering_key: 0..0,
    });
    let attributes = Some(vec![("id".to_owned(), "undefined".to_owned())]);
    let returned = Returned { attributes, ..Returned::default() };
    assert_eq!(udf.evaluator().unwrap().evaluate(&batch, 0..1), [Verdict::Row(returned)]);
}

#[test]
fn pubsubs_limits_on_script_and_time_hold_for_this_shape_only() {
    let sized = |head: &str, bytes: usize| format!("{head}//{}", "x".repeat(bytes - head.len() - 2));
    let two = "function f(message, metadata) { return message }\n";
    assert!(load(&sized(two, MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX)).is_ok());
    let error = load(&sized(two, MESSAGE_TRANSFORM_SCRIPT_BYTES_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("20480 bytes at most, and these have 20481"), "{error}");
    assert!(load(&sized("function f(s) { return s }\n", 100_000)).is_ok());
    let slow = UdfConfig { time_limit: Duration::from_millis(501), ..config(two) };
    assert!(Udf::load(slow.clone()).unwrap_err().to_string().contains("500ms"));
    assert!(Udf::load(UdfConfig { shape: Shape::Template, ..slow }).is_ok());
    let loops = UdfConfig {
        time_limit: Duration::from_millis(50),
        ..config("function f(message, metadata) { for (;;) {} }")
    };
    assert_eq!(run(&Udf::load(loops).unwrap(), &["{}"])[0].class(), Some(ErrorClass::UdfTimeout));
}

#[test]
fn tampered_prototypes_do_not_reach_the_arguments() {
    let udf = load(
        "for (const name of ['data', 'attributes', 'message_id', 'publish_time', 'k'])\n\
           Object.defineProperty(Object.prototype, name, {set(value) { throw 1 }, get() { return 'bent' }});\n\
         function f(message, metadata) { return {data: JSON.stringify([message, metadata.publish_time]), attributes: {}} }",
    );
    let outcome = run_batch(&udf.unwrap(), &batch_of(0, &[full("{}", &[("k", "v")])])).remove(0);
    assert_eq!(outcome, row(r#"[{"data":"{}","attributes":{"k":"v"}},"2023-11-14T22:13:20Z"]"#));
}

#[test]
fn two_hundred_messages_keep_their_own_attributes() {
    // More than one chunk.
    let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let pairs: Vec<[(&str, &str); 1]> = numbers.iter().map(|number| [("n", number.as_str())]).collect();
    let messages: Vec<Full<'_>> = pairs.iter().map(|pair| full("x", pair)).collect();
    let udf = transform("return {data: message.attributes.n}");
    let rows: Vec<Outcome> = numbers.iter().map(|number| row(number)).collect();
    assert_eq!(run_batch(&udf, &batch_of(0, &messages)), rows);
}
