//! Whole rows: outcomes, refused rows that leave nothing behind, hidden columns, cells against JSON.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type};
use millrace_model::{Cell, CellError, ErrorClass, Failure, RowSink, Stage};
use millrace_table::{BuildError, Outcome, RowBuilder, TableSchema, TableSpec};
use support::batch;

const SCHEMA: &str = r#"{"fields": [
    {"name": "id", "type": "INTEGER", "mode": "REQUIRED"},
    {"name": "Name", "type": "STRING"},
    {"name": "day", "type": "DATE"},
    {"name": "list", "type": "INT64", "mode": "REPEATED"},
    {"name": "rec", "type": "RECORD", "fields": [{"name": "a", "type": "STRING"}, {"name": "n", "type": "FLOAT"}]}]}"#;

fn spec() -> Arc<TableSpec> {
    let schema = TableSchema::parse(SCHEMA).unwrap();
    Arc::new(TableSpec::new("t", schema, Some("DAY"), &["id".to_owned()]).unwrap())
}

fn put(builder: &mut RowBuilder, message: usize, row: &str) -> Result<(), CellError> {
    builder.put_json_row(message, row)?;
    builder.finish_row(message)
}

/// Puts rows; refused ones become dead letters. Returns the batch and the refusals.
fn build(rows: &[&str]) -> (RecordBatch, Vec<Outcome>, Vec<CellError>) {
    let mut builder = RowBuilder::new(spec(), batch(rows.len()));
    let mut refused = Vec::new();
    for (message, row) in rows.iter().enumerate() {
        if let Err(error) = put(&mut builder, message, row) {
            builder.dead_letter(message, failure(&error));
            refused.push(error);
        }
    }
    let built = builder.finish().unwrap();
    assert_eq!(built.failures.len(), refused.len());
    (built.rows, built.outcomes, refused)
}

fn failure(error: &CellError) -> Failure {
    Failure { stage: Stage::Row, class: error.class, message: error.message.clone(), stack: None }
}

fn refusal(row: &str) -> (ErrorClass, String) {
    let (_, _, refused) = build(&[row]);
    let error = refused.into_iter().next().unwrap_or_else(|| panic!("{row} was taken"));
    (error.class, error.message)
}

#[test]
fn what_is_no_row() {
    for (row, message) in [
        ("", "the text ends where a value should be at byte 0"),
        ("null", "it is null"),
        ("[]", "it is an array"),
        ("[{\"id\": 1}]", "it is an array"),
        ("12", "it is a number"),
        ("\"{}\"", "it is a string"),
        ("true", "it is a boolean"),
        ("no json", "expected a value at byte 0"),
        ("true story", "it is a boolean"),
        ("{\"id\": 1} x", "there is more text behind the value at byte 10"),
        ("{\"id\": 1}{\"id\": 2}", "there is more text behind the value at byte 9"),
        ("{\"id\": 1,}", "expected a field name in double quotes at byte 9"),
        ("{\"id\"", "expected : behind a field name at byte 5"),
        ("{\"id\": 1", "expected , or } in an object at byte 8"),
        ("{\"nope\": 1, \"id\": }", "expected a value at byte 18"),
        ("{\"id\": \"x\", \"list\": [1}", "expected , or ] in an array at byte 22"),
        ("undefined", "expected a value at byte 0"),
    ] {
        let expected = (ErrorClass::InvalidJson, format!("the row is not a JSON object: {message}"));
        assert_eq!(refusal(row), expected, "{row}");
    }
}

#[test]
fn nesting_never_overflows_the_stack() {
    for (row, class) in [
        ("[".repeat(100_000), ErrorClass::InvalidJson),
        ("{\"rec\":".repeat(100_000), ErrorClass::UnknownField),
        (format!("{{\"id\":1,\"list\":{}", "[".repeat(100_000)), ErrorClass::InvalidValue),
        (format!("{{\"id\":1,\"Name\":{}", "[".repeat(100_000)), ErrorClass::InvalidValue),
        (format!("{{\"deep\":{}", "{\"a\":".repeat(100_000)), ErrorClass::UnknownField),
    ] {
        assert_eq!(refusal(&row).0, class, "{}", &row[..20]);
    }
}

#[test]
fn a_refused_row_leaves_nothing_behind() {
    let good = [
        r#"{"id": 1, "name": "a", "day": "2026-11-22", "list": [1, 2], "rec": {"a": "x", "n": 1}}"#,
        r#"{"NAME": "b", "id": "2"}"#,
        r#"{"list": [3], "id": 3, "rec": {"n": 2}}"#,
    ];
    let bad = [
        r#"{"id": 9, "name": "zz", "list": [7, 8, "x"], "rec": {"a": "gone"}}"#,
        r#"{"rec": {"a": "gone", "n": "x"}, "id": 9, "name": "zz"}"#,
        r#"{"name": "zz", "list": [5]}"#,
        r#"{"id": 9, "name": "zz", "extra": {"deep": [1, {"x": 2}]}}"#,
        r#"{"id": 9, "name": "z\ud800"}"#,
        r#"{"id": 9, "name": "zz", "day": "2026-11-2"#,
    ];
    let (alone, _, _) = build(&good);
    let mixed: Vec<&str> =
        bad.iter().chain(&good[..1]).chain(&bad).chain(&good[1..]).chain(&bad).copied().collect();
    let (rows, outcomes, refused) = build(&mixed);
    assert_eq!(refused.len(), 3 * bad.len());
    assert_eq!(outcomes.iter().filter(|&&outcome| outcome == Outcome::Written).count(), good.len());
    for column in 0..5 {
        assert_eq!(rows.column(column), alone.column(column), "{}", rows.schema().field(column).name());
    }
}

#[test]
fn of_two_values_of_one_name_the_last_counts() {
    let once = r#"{"id": 2, "name": "b", "list": [3], "rec": {"n": 2}}"#;
    let twice = r#"{"id": 1, "name": "aaaa", "list": [1, 2], "rec": {"a": "x", "n": 1}, "rec": {"n": 1, "N": 2},
        "ID": 2, "Name": "b", "list": [3]}"#;
    let healed = r#"{"id": "x", "name": {}, "list": 1, "rec": {"q": 1},
        "id": 2, "name": "b", "list": [3], "rec": {"n": {}, "n": 2}}"#;
    let (rows, _, refused) = build(&[once, twice, healed]);
    assert_eq!(refused, []);
    for column in 0..5 {
        let first = rows.column(column).slice(0, 1);
        for row in [1, 2] {
            assert_eq!(&rows.column(column).slice(row, 1), &first, "{}", rows.schema().field(column).name());
        }
    }
    assert_eq!(refusal(r#"{"id": 1, "id": null}"#).0, ErrorClass::MissingField);
    assert_eq!(refusal(r#"{"name": [], "id": "x", "name": ""}"#).0, ErrorClass::InvalidValue);
    assert_eq!(refusal(r#"{"id": 1, "x": 1, "x": 2}"#).0, ErrorClass::UnknownField);
}

#[test]
fn fields_are_named_in_full() {
    for (row, class, message) in [
        ("{}", ErrorClass::MissingField, "field id: the field is REQUIRED but missing or null"),
        (
            r#"{"id": 1, "rec": {"a.b": {}}}"#,
            ErrorClass::UnknownField,
            "field rec.a.b: the table has no such field",
        ),
        (
            r#"{"id": 1, "_topic": "x"}"#,
            ErrorClass::UnknownField,
            "field _topic: the table has no such field",
        ),
        (
            r#"{"id": 1, "rec": {"n": "x"}, "list": [1, 2, 3.5]}"#,
            ErrorClass::InvalidValue,
            "field rec.n: FLOAT64 takes a number, text of one, or \"NaN\", \"Infinity\", \"-Infinity\", not \"x\"",
        ),
    ] {
        assert_eq!(refusal(row), (class, message.to_owned()));
    }
    let (_, message) = refusal(&format!("{{\"{}\": 1}}", "n".repeat(1_000_000)));
    assert!(message.len() < 300, "{message}");
}

#[test]
fn a_row_has_a_largest_size() {
    let spec = Arc::new(spec().as_ref().clone().with_row_bytes_max(40));
    let mut builder = RowBuilder::new(Arc::clone(&spec), batch(3));
    let long = r#"{"id": 1, "name": "0123456789012345678"}"#;
    assert_eq!(long.len(), 40);
    put(&mut builder, 0, long).unwrap();
    let error = put(&mut builder, 1, &format!("{long} ")).unwrap_err();
    assert_eq!(
        (error.class, error.message.as_str()),
        (ErrorClass::TooLarge, "the row has 41 bytes, the table takes at most 40")
    );
    builder.dead_letter(1, failure(&error));
    let name = builder.column("name").unwrap();
    builder.put(2, name, Cell::String(&"x".repeat(30))).unwrap();
    assert_eq!(builder.put(2, name, Cell::String(&"x".repeat(30))).unwrap_err().class, ErrorClass::TooLarge);
    assert_eq!(builder.finish_row(2).unwrap_err().class, ErrorClass::TooLarge);
    builder.filtered(2);
    assert_eq!(builder.finish().unwrap().rows.num_rows(), 1);
}

#[test]
fn hidden_columns_tell_where_a_row_came_from() {
    let (rows, outcomes, _) = build(&[
        r#"{"id": 1, "day": "2026-11-21"}"#,
        "broken",
        r#"{"id": 2}"#,
        r#"{"id": 3, "day": "2026-11-24"}"#,
        r#"{"id": 4, "day": "0001-01-01"}"#,
    ]);
    use Outcome::{DeadLettered, Written};
    assert_eq!(outcomes, [Written, DeadLettered, Written, Written, Written]);
    let topics = rows["_topic"].as_string::<i32>();
    assert!(topics.iter().all(|topic| topic == Some("ab".repeat(16).as_str())));
    assert_eq!(rows["_offset"].as_primitive::<Int64Type>().values(), &[100, 102, 103, 104]);
    let days: Vec<_> = rows["_event_day"].as_primitive::<Date32Type>().iter().collect();
    assert_eq!(days, [Some(20_778), None, None, None]);

    let schema = TableSchema::parse(r#"[{"name": "id", "type": "STRING"}]"#).unwrap();
    let by_publishing = Arc::new(TableSpec::new("t", schema, None, &[]).unwrap());
    let built = support::build(&by_publishing, &["{}"]);
    assert_eq!(built.rows["_event_day"].as_primitive::<Date32Type>().values(), &[20_779]);
}

#[test]
fn cells_and_json_make_the_same_columns() {
    let json =
        r#"{"id": 7, "name": 1.5, "day": "2026-11-22", "list": [1, 2], "rec": {"a": true, "n": -0.25}}"#;
    let spec = spec();
    let expected = support::build(&spec, &[json, "{\"id\": 8}"]).rows;
    let mut builder = RowBuilder::new(Arc::clone(&spec), batch(2));
    let id = |builder: &RowBuilder, name: &str| builder.column(name).unwrap();
    let (key, name, day) = (id(&builder, "ID"), id(&builder, "name"), id(&builder, "day"));
    let (list, rec) = (id(&builder, "list"), id(&builder, "rec"));
    assert_eq!(builder.column("_topic"), None);
    builder.put(0, rec, Cell::Json(r#" {"a": true, "n": -0.25} "#)).unwrap();
    builder.put(0, key, Cell::String("1")).unwrap();
    builder.put(0, key, Cell::Int64(7)).unwrap();
    builder.put(0, name, Cell::Float64(1.5)).unwrap();
    builder.put(0, day, Cell::String("2026-11-22")).unwrap();
    builder.put(0, list, Cell::Json("[1,2]")).unwrap();
    builder.finish_row(0).unwrap();
    builder.put(1, key, Cell::Float64(8.0)).unwrap();
    builder.put(1, list, Cell::Null).unwrap();
    builder.put(1, rec, Cell::Null).unwrap();
    builder.finish_row(1).unwrap();
    assert_eq!(builder.finish().unwrap().rows, expected);
}

#[test]
fn refused_cells_name_their_field() {
    let mut builder = RowBuilder::new(spec(), batch(1));
    let column = |builder: &RowBuilder, name: &str| builder.column(name).unwrap();
    let (id, list, rec) = (column(&builder, "id"), column(&builder, "list"), column(&builder, "rec"));
    let message = |builder: &mut RowBuilder, id, cell: Cell<'_>| {
        let message = builder.put(0, id, cell).unwrap_err().message;
        builder.filtered(0);
        // Another row for the next try.
        *builder = RowBuilder::new(spec(), batch(1));
        message
    };
    for (id, cell, expected) in [
        (list, Cell::Int64(1), "field list: a REPEATED field takes an array, not 1"),
        (
            list,
            Cell::Json("[1, 2.5]"),
            "field list[1]: 2.5 does not fit INT64: it is not a whole number: round it in the UDF",
        ),
        (rec, Cell::Json("{\"a\""), "field rec: as JSON, expected : behind a field name at byte 4"),
        (rec, Cell::Json("{} {}"), "field rec: as JSON, there is more text behind the value at byte 3"),
        (rec, Cell::String("{}"), "field rec: RECORD takes an object, not \"{}\""),
        (
            id,
            Cell::Float64(f64::NAN),
            "field id: INT64 takes a whole number from -2^63 to 2^63-1, or text of one, not NaN",
        ),
        (
            id,
            Cell::Bool(true),
            "field id: INT64 takes a whole number from -2^63 to 2^63-1, or text of one, not true",
        ),
    ] {
        assert_eq!(message(&mut builder, id, cell), expected);
    }
}

#[test]
fn outcomes_come_in_order_or_not_at_all() {
    let misuse = |calls: fn(&mut RowBuilder)| {
        let mut builder = RowBuilder::new(spec(), batch(10));
        calls(&mut builder);
        matches!(builder.finish(), Err(BuildError::Misuse { .. }))
    };
    assert!(!misuse(|_| {}));
    assert!(!misuse(|builder| {
        builder.filtered(5);
        put(builder, 6, "{\"id\": 1}").unwrap();
        builder.filtered(7);
    }));
    assert!(misuse(|builder| {
        builder.filtered(0);
        builder.filtered(2);
    }));
    assert!(misuse(|builder| {
        builder.filtered(0);
        builder.filtered(0);
    }));
    assert!(misuse(|builder| builder.filtered(10)));
    assert!(misuse(|builder| builder.put_json_row(0, "{}").unwrap()));
    assert!(misuse(|builder| {
        builder.put_json_row(0, "{\"id\": 1}").unwrap();
        let _ = put(builder, 1, "{\"id\": 1}");
    }));
    assert!(misuse(|builder| {
        builder.put_json_row(0, "{\"id\": 1}").unwrap();
        builder.filtered(1);
    }));
    assert!(misuse(|builder| {
        let _ = builder.put(0, millrace_model::ColumnId(99), Cell::Null);
    }));
}

#[test]
fn a_refused_row_cannot_be_finished() {
    let mut builder = RowBuilder::new(spec(), batch(1));
    let refused = builder.put_json_row(0, r#"{"id": 1, "list": 5}"#).unwrap_err();
    assert_eq!(builder.put_json_row(0, r#"{"id": 1}"#), Err(refused.clone()));
    assert_eq!(builder.finish_row(0), Err(refused));
    builder.filtered(0);
    let built = builder.finish().unwrap();
    assert_eq!((built.rows.num_rows(), built.outcomes), (0, vec![Outcome::Filtered]));
    assert_eq!(built.rows.num_columns(), 8);
    assert!(built.rows.column(4).is_empty());
}

#[test]
fn a_row_that_was_begun_cell_by_cell_may_come_as_text_instead() {
    let mut builder = RowBuilder::new(spec(), batch(4));
    let (id, list) = (builder.column("ID").unwrap(), builder.column("list").unwrap());
    // A refused cell, a row that cannot end, and cells that were good: the text alone counts.
    builder.put(0, id, Cell::Int64(9)).unwrap();
    builder.put(0, list, Cell::Json("5")).unwrap_err();
    put(&mut builder, 0, r#"{"id": 1}"#).unwrap();
    builder.put(1, list, Cell::Json("[7]")).unwrap();
    builder.finish_row(1).unwrap_err();
    put(&mut builder, 1, r#"{"id": 2, "Name": "n"}"#).unwrap();
    builder.put(2, id, Cell::Int64(9)).unwrap();
    builder.put(2, list, Cell::Json("[7]")).unwrap();
    let refused =
        builder.put_json_row(2, r#"{"list": [8]}"#).and_then(|()| builder.finish_row(2)).unwrap_err();
    assert_eq!(refused.class, ErrorClass::MissingField);
    builder.dead_letter(2, failure(&refused));
    put(&mut builder, 3, r#"{"id": 4}"#).unwrap();
    let built = builder.finish().unwrap();
    let (expected, ..) =
        build(&[r#"{"id": 1}"#, r#"{"id": 2, "Name": "n"}"#, r#"{"list": [8]}"#, r#"{"id": 4}"#]);
    assert_eq!(built.rows, expected);
}
