//! What is kept of a message that failed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use bytes::{BufMut, Bytes, BytesMut};
use millrace_model::{
    AttributeBlock, ErrorClass, Failure, MessageBatch, MessageLayout, Micros, Offset, Stage, TopicId, UdfHash,
};
use millrace_table::{
    DeadLetterBuilder, ERROR_TEXT_BYTES_MAX, LetterMessage, dead_letter_spec, dead_letters,
};

const TOPIC: TopicId = TopicId([0xcd; 16]);

/// A payload, attributes, an ordering key.
type Sent<'a> = (&'a [u8], &'a [(&'a str, &'a str)], &'a str);

fn batch(messages: &[Sent<'_>]) -> MessageBatch {
    let mut batch = MessageBatch::new(TOPIC);
    for (index, (data, attributes, key)) in messages.iter().enumerate() {
        let attributes = AttributeBlock::pack(attributes.iter().copied()).unwrap();
        let mut buffer = BytesMut::new();
        buffer.put_slice(data);
        buffer.put_slice(attributes.as_bytes());
        buffer.put_slice(key.as_bytes());
        let (data_end, attributes_end) = (data.len(), data.len() + attributes.as_bytes().len());
        let end = buffer.len();
        let buffer = batch.add_buffer(Bytes::from(buffer));
        batch.push(MessageLayout {
            offset: Offset(40 + index as u64),
            publish_time: Micros(86_400_000_000 * 20_000 + index as i64),
            buffer,
            data: 0..data_end,
            attributes: data_end..attributes_end,
            ordering_key: attributes_end..end,
        });
    }
    batch
}

#[test]
fn everything_about_a_failure_is_kept() {
    let batch = batch(&[
        (b"{\"a\": \"\xc3\xa9\xf0\x9f\x98\x80\"}", &[("k", "v"), ("k2", "")], "key"),
        (b"\xff\x00\xc3", &[], ""),
        (b"", &[], ""),
    ]);
    let threw = Failure {
        stage: Stage::Udf,
        class: ErrorClass::UdfThrew,
        message: "TypeError: no".to_owned(),
        stack: Some("at transform (transform.js:3)".to_owned()),
    };
    let long = Failure {
        stage: Stage::Row,
        class: ErrorClass::InvalidUtf8,
        message: "é".repeat(ERROR_TEXT_BYTES_MAX),
        stack: None,
    };
    let mut builder = DeadLetterBuilder::new();
    assert!(builder.is_empty());
    builder.push("logs", TOPIC, &batch.get(0), &threw, Some(UdfHash([1; 16])), 3, Micros(7));
    builder.push("logs", TOPIC, &batch.get(1), &long, None, 1, Micros(8));
    builder.push("logs", TOPIC, &batch.get(2), &threw, None, 1, Micros(9));
    assert_eq!(builder.len(), 3);
    let rows = builder.finish().unwrap();
    assert_eq!(rows.schema(), dead_letter_spec("any").arrow_schema());

    let text = |name: &str| rows[name].as_string::<i32>().iter().collect::<Vec<_>>();
    let number = |name: &str| rows[name].as_primitive::<Int64Type>().values().to_vec();
    let moment = |name: &str| rows[name].as_primitive::<TimestampMicrosecondType>().values().to_vec();
    assert_eq!(moment("timestamp"), [0, 1, 2].map(|n| 86_400_000_000 * 20_000 + n));
    assert_eq!(text("payloadString"), [Some("{\"a\": \"é😀\"}"), Some("\u{fffd}\0\u{fffd}"), Some("")]);
    let bytes: Vec<_> = rows["payloadBytes"].as_binary::<i32>().iter().flatten().collect();
    assert_eq!(bytes, [batch.get(0).data, b"\xff\x00\xc3", b""]);
    let lists = rows["attributes"].as_list::<i32>();
    let pairs = lists.value(0);
    let pairs = pairs.as_struct();
    assert_eq!(pairs.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["k", "k2"]);
    assert_eq!(pairs.column(1).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["v", ""]);
    assert_eq!((lists.value_length(1), lists.value_length(2)), (0, 0));
    assert_eq!(text("errorMessage")[0], Some("TypeError: no"));
    let cut = text("errorMessage")[1].unwrap();
    assert!(cut.len() < ERROR_TEXT_BYTES_MAX + 40 && cut.ends_with("é... (65536 more bytes)"));
    assert_eq!(
        text("stacktrace"),
        [Some("at transform (transform.js:3)"), None, Some("at transform (transform.js:3)")]
    );
    assert_eq!(text("message_id")[0].unwrap(), format!("{TOPIC}-40"));
    assert_eq!(text("topic"), [Some("logs"); 3]);
    assert_eq!(number("offset"), [40, 41, 42]);
    assert_eq!(text("ordering_key"), [Some("key"), None, None]);
    assert_eq!(text("stage"), [Some("udf"), Some("row"), Some("udf")]);
    assert_eq!(text("error_class"), [Some("udf_threw"), Some("invalid_utf8"), Some("udf_threw")]);
    assert_eq!(text("udf_hash"), [Some("01".repeat(16).as_str()), None, None]);
    assert_eq!(number("attempts"), [3, 1, 1]);
    assert_eq!(moment("failed_at"), [7, 8, 9]);
    assert_eq!(text("_topic"), [Some("cd".repeat(16).as_str()); 3]);
    assert_eq!(number("_offset"), [40, 41, 42]);
    assert_eq!(rows["_event_day"].as_primitive::<Date32Type>().values(), &[20_000; 3]);
}

#[test]
fn no_failure_makes_an_empty_batch() {
    let rows = DeadLetterBuilder::default().finish().unwrap();
    assert_eq!((rows.num_rows(), rows.num_columns()), (0, 18));
}

#[test]
fn a_dead_letter_read_back_is_the_message_that_failed() {
    let sent = batch(&[(b"{\"a\": 1}", &[("k", "v"), ("k2", "")], "key"), (b"\xff\x00", &[], "")]);
    let (stage, class) = (Stage::Row, ErrorClass::MissingField);
    let failure = Failure { stage, class, message: "field a: no".to_owned(), stack: Some("at x".to_owned()) };
    let mut builder = DeadLetterBuilder::new();
    for view in sent.iter() {
        builder.push("logs", TOPIC, &view, &failure, Some(UdfHash([1; 16])), 2, Micros(7));
    }
    let rows = builder.finish().unwrap();
    let letters: Vec<_> =
        dead_letters(&rows).map(|letter| LetterMessage::of(&letter).unwrap().unwrap()).collect();
    let back = LetterMessage::batch(TOPIC, &letters);
    assert_eq!((back.topic(), back.data_bytes()), (TOPIC, sent.data_bytes()));
    for (sent, back) in sent.iter().zip(back.iter()) {
        assert_eq!((sent.offset, sent.publish_time, sent.data), (back.offset, back.publish_time, back.data));
        assert_eq!(sent.attributes.collect::<Vec<_>>(), back.attributes.collect::<Vec<_>>());
        assert_eq!(sent.ordering_key, back.ordering_key);
    }
    let letter = dead_letters(&rows).next().unwrap();
    assert_eq!(
        (letter.stage(), letter.error_class(), letter.stack()),
        ("row", "missing_field", Some("at x"))
    );
    assert_eq!((letter.attempts(), letter.failed_at(), letter.topic_name()), (2, Some(Micros(7)), "logs"));
    // Read in part: what is not there is absent.
    let part = rows.project(&[rows.schema().index_of("_offset").unwrap()]).unwrap();
    let letter = dead_letters(&part).next().unwrap();
    assert_eq!((letter.offset(), letter.error_message(), letter.payload()), (Some(Offset(40)), "", &b""[..]));
}
