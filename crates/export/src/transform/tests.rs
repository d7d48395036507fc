use std::sync::Mutex;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use millrace_model::{AttributeBlock, MessageLayout, Micros, Offset, TopicId};
use millrace_table::{BuiltRows, Field, Mode, Outcome, RowBuilder, TableSchema};

use super::*;

const SUBSCRIPTION: &str = "projects/p/subscriptions/sub";

struct Sent<'a> {
    data: &'a [u8],
    attributes: &'a [(&'a str, &'a str)],
    key: &'a str,
}

impl<'a> Sent<'a> {
    fn new(data: &'a str) -> Self {
        Self { data: data.as_bytes(), attributes: &[], key: "" }
    }
}

fn batch(messages: &[Sent<'_>]) -> MessageBatch {
    let mut batch = MessageBatch::new(TopicId([7; 16]));
    for (index, sent) in messages.iter().enumerate() {
        let block = AttributeBlock::pack(sent.attributes.iter().copied()).unwrap();
        let parts: [&[u8]; 3] = [sent.data, block.as_bytes(), sent.key.as_bytes()];
        let buffer = batch.add_buffer(Bytes::from(parts.concat()));
        let (data, attributes) = (sent.data.len(), block.as_bytes().len());
        batch.push(MessageLayout {
            offset: Offset(40 + index as u64),
            publish_time: Micros(1_700_000_000_123_456),
            buffer,
            data: 0..data,
            attributes: data..data + attributes,
            ordering_key: data + attributes..data + attributes + sent.key.len(),
        });
    }
    batch
}

fn table(fields: &[(&str, FieldType)]) -> Arc<TableSpec> {
    let fields = fields.iter().map(|(name, kind)| Field::new(name, *kind, Mode::Nullable));
    let schema = TableSchema::new(fields.collect()).unwrap();
    Arc::new(TableSpec::new("t", schema, None, &[]).unwrap())
}

fn config(use_table_schema: bool, write_metadata: bool, drop_unknown_fields: bool) -> ExportConfig {
    let subscription = SUBSCRIPTION.to_owned();
    ExportConfig { subscription, use_table_schema, write_metadata, drop_unknown_fields }
}

fn run(exporter: &Exporter, messages: &[Sent<'_>]) -> BuiltRows {
    let batch = Arc::new(batch(messages));
    let mut rows = RowBuilder::new(Arc::clone(&exporter.table), Arc::clone(&batch));
    exporter.create().unwrap().transform(&batch, 0..messages.len(), &mut rows);
    rows.finish().unwrap()
}

fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = rows.column_by_name(column).unwrap().as_string::<i32>();
    column.iter().map(|text| text.map(ToOwned::to_owned)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_payload_goes_to_data_as_its_type_takes_it() {
    let (good, bad) = (Sent::new(" {\"a\": 1}"), Sent { data: b"\xff{", attributes: &[], key: "" });
    let built = run(
        &Exporter::new(config(false, false, false), table(&[("DATA", FieldType::Bytes)])),
        &[Sent::new(""), Sent { data: bad.data, ..bad }],
    );
    assert_eq!(
        built.rows.column(0).as_binary::<i32>().iter().flatten().collect::<Vec<_>>(),
        [&b""[..], b"\xff{"]
    );
    let text = Exporter::new(config(false, false, false), table(&[("data", FieldType::String)]));
    let built = run(&text, &[Sent::new(" {\"a\": 1}"), Sent { data: b"\xff{", attributes: &[], key: "" }]);
    assert_eq!(texts(&built.rows, "data"), [some(" {\"a\": 1}")]);
    assert_eq!(built.outcomes, [Outcome::Written, Outcome::DeadLettered]);
    assert_eq!(built.failures[0].1.class, ErrorClass::InvalidUtf8);
    let json = Exporter::new(config(false, false, false), table(&[("data", FieldType::Json)]));
    let built = run(&json, &[good, Sent::new("\"text\""), Sent::new("no JSON"), Sent::new("")]);
    assert_eq!(built.rows.num_rows(), 2);
    assert_eq!(texts(&built.rows, "data")[1], some("\"text\""));
    assert_eq!(built.failures.len(), 2);
}

#[test]
fn metadata_stand_beside_either_kind_of_payload() {
    let columns = [
        ("subscription_name", FieldType::String),
        ("message_id", FieldType::String),
        ("publish_time", FieldType::Timestamp),
        ("attributes", FieldType::Json),
    ];
    let with = |more: (&'static str, FieldType)| {
        let mut all = columns.to_vec();
        all.push(more);
        table(&all)
    };
    let sent = |data| Sent { data, attributes: &[("b", "\"2\""), ("a", "1")], key: "k" };
    for exporter in [
        Exporter::new(config(false, true, false), with(("data", FieldType::String))),
        Exporter::new(config(true, true, false), with(("id", FieldType::Int64))),
        Exporter::new(config(true, true, true), with(("id", FieldType::Int64))),
    ] {
        let built = run(&exporter, &[sent(b"{\"id\": 5}"), Sent::new("{\"id\": 6}")]);
        assert!(built.failures.is_empty(), "{:?}", built.failures);
        assert_eq!(texts(&built.rows, "subscription_name")[0], some(SUBSCRIPTION));
        assert_eq!(texts(&built.rows, "message_id")[0], Some(format!("{}-40", TopicId([7; 16]))));
        let times = built.rows.column_by_name("publish_time").unwrap();
        assert_eq!(times.as_primitive::<TimestampMicrosecondType>().value(0), 1_700_000_000_123_456);
        let attributes = texts(&built.rows, "attributes");
        let expected = r#"{"a":"1","b":"\"2\"","ordering_key":"k"}"#;
        assert_eq!(attributes, [some(expected), some("{}")]);
    }
}

#[test]
fn an_attribute_of_the_ordering_keys_name_is_the_attribute() {
    let spec = table(&[("attributes", FieldType::String), ("data", FieldType::String)]);
    let exporter = Exporter::new(config(false, true, false), spec);
    let batch = batch(&[Sent { data: b"", attributes: &[("ordering_key", "mine")], key: "k" }]);
    let [.., attributes] = exporter.metadata(&batch, &batch.get(0)).unwrap();
    assert_eq!(attributes, r#"{"ordering_key":"mine"}"#);
}

#[test]
fn fields_go_to_their_columns_and_unknown_ones_fail_or_are_dropped() {
    let spec = || table(&[("id", FieldType::Int64), ("name", FieldType::String)]);
    let messages = || {
        [
            Sent::new(r#"{"id": "1", "NAME": "a"}"#),
            Sent::new(r#"{"id": 2, "more": [1]}"#),
            Sent::new(r#"{"id": "x"}"#),
            Sent::new("[1]"),
            Sent::new(""),
        ]
    };
    let built = run(&Exporter::new(config(true, false, false), spec()), &messages());
    let classes: Vec<_> = built.failures.iter().map(|(index, failure)| (*index, failure.class)).collect();
    assert_eq!(classes[..2], [(1, ErrorClass::UnknownField), (2, ErrorClass::InvalidValue)]);
    assert_eq!(
        (classes.len(), classes[2].1, classes[3].1),
        (4, ErrorClass::InvalidJson, ErrorClass::InvalidJson)
    );
    let built = run(&Exporter::new(config(true, false, true), spec()), &messages());
    let ids = built.rows.column(0).as_primitive::<Int64Type>();
    assert_eq!(ids.values().to_vec(), [1, 2]);
    assert_eq!(built.rows.column(1).null_count(), 1);
    assert_eq!(built.failures.len(), 3);
}

#[test]
fn what_does_not_pass_is_filtered_and_what_fails_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let exporter = Exporter::new(config(true, false, false), table(&[("id", FieldType::Int64)]))
        .with_filter(Arc::new(|mut attributes: AttributeIter<'_>| attributes.any(|(key, _)| key == "mine")))
        .with_failed(Arc::new(move |batch: &MessageBatch, failed: &[(usize, Failure)]| {
            let failed =
                failed.iter().map(|(message, failure)| (batch.get(*message).offset.0, failure.class));
            tell.lock().unwrap().push(failed.collect::<Vec<_>>());
        }));
    let mine = |data: &'static str| Sent { data: data.as_bytes(), attributes: &[("mine", "")], key: "" };
    let sent = [mine("{\"id\":1}"), Sent::new("no JSON"), mine("no JSON"), mine("{\"id\":\"x\"}")];
    let built = run(&exporter, &sent);
    let outcomes = [Outcome::Written, Outcome::Filtered, Outcome::DeadLettered, Outcome::DeadLettered];
    assert_eq!(built.outcomes, outcomes);
    // All at once.
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [42, 43]);
    assert_eq!(told[0][0].1, ErrorClass::InvalidJson);
}
