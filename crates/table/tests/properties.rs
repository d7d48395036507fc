//! Whatever comes in: no panic, no harm to neighbours, and what is taken is what another parser sees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use millrace_model::{Failure, RowSink, Stage};
use millrace_table::{BuiltRows, RowBuilder, TableSchema, TableSpec};
use proptest::prelude::*;
use serde_json::{Map, Value};

const SCHEMA: &str = r#"[
    {"name": "s", "type": "STRING"}, {"name": "i", "type": "INT64"}, {"name": "f", "type": "FLOAT64"},
    {"name": "b", "type": "BOOL"}, {"name": "y", "type": "BYTES"}, {"name": "n", "type": "NUMERIC"},
    {"name": "bn", "type": "BIGNUMERIC"}, {"name": "t", "type": "TIMESTAMP"}, {"name": "d", "type": "DATE"},
    {"name": "ti", "type": "TIME"}, {"name": "dt", "type": "DATETIME"}, {"name": "j", "type": "JSON"},
    {"name": "l", "type": "STRING", "mode": "REPEATED"},
    {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [
        {"name": "q", "type": "INT64", "mode": "REQUIRED"}, {"name": "s", "type": "STRING"},
        {"name": "o", "type": "RECORD", "fields": [{"name": "i", "type": "INT64", "mode": "REPEATED"}]}]}]"#;

fn spec() -> Arc<TableSpec> {
    Arc::new(TableSpec::new("t", TableSchema::parse(SCHEMA).unwrap(), Some("t"), &[]).unwrap())
}

/// Builds what can be built; the others are dead letters.
fn build(rows: &[String]) -> BuiltRows {
    let mut builder = RowBuilder::new(spec(), support::batch(rows.len()));
    for (index, row) in rows.iter().enumerate() {
        let put = builder.put_json_row(index, row).and_then(|()| builder.finish_row(index));
        if let Err(error) = put {
            let failure =
                Failure { stage: Stage::Row, class: error.class, message: error.message, stack: None };
            builder.dead_letter(index, failure);
        }
    }
    builder.finish().unwrap()
}

/// JSON values of every kind, some of them good for one type or another.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|\\+02)?"
            .prop_map(Value::from),
        "-?[0-9]{1,50}(\\.[0-9]{1,50})?(e-?[0-9]{1,3})?".prop_map(Value::from),
        "[A-Za-z0-9+/]{0,12}={0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            fields(inner).prop_map(Value::from),
        ]
    })
}

fn fields(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop::sample::select(vec![
        "s", "i", "f", "b", "y", "n", "bn", "t", "d", "ti", "dt", "j", "l", "r", "q", "o", "S", "x",
    ]);
    prop::collection::vec((name.prop_map(str::to_owned), value), 0..6)
        .prop_map(|pairs| pairs.into_iter().collect())
}

/// Rows that fit, all columns but the times.
fn good_row() -> impl Strategy<Value = Map<String, Value>> {
    let text = "(?s).{0,30}";
    let number = (-1e300..1e300).prop_map(Value::from);
    (text, any::<i64>(), number, value(), prop::collection::vec(text, 0..3), any::<u8>()).prop_map(
        |(s, i, f, j, l, keep)| {
            // A bare string in a JSON column would be read as JSON text.
            let j = if j.is_string() { Value::from(vec![j]) } else { j };
            let all =
                [("s", Value::from(s)), ("i", Value::from(i)), ("f", f), ("j", j), ("l", Value::from(l))];
            let kept = all.into_iter().enumerate().filter(|(at, _)| keep >> at & 1 == 1);
            kept.map(|(_, (name, value))| (name.to_owned(), value)).collect()
        },
    )
}

proptest! {
    #[test]
    fn any_document_is_a_row_or_a_dead_letter(rows in prop::collection::vec(fields(value()), 1..12), tail in "\\PC{0,8}") {
        let mut texts: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        texts.push(tail.clone());
        // Broken in the middle of anything.
        let half = &texts[0][..texts[0].floor_char_boundary(texts[0].len() / 2)];
        texts.push(format!("{half}{tail}"));
        let built = build(&texts);
        prop_assert_eq!(built.outcomes.len(), texts.len());
        prop_assert_eq!(built.rows.num_rows() + built.failures.len(), texts.len());
        for (_, failure) in &built.failures {
            prop_assert!(failure.message.len() < 1_000, "{}", failure.message);
        }
    }

    #[test]
    fn what_is_written_is_what_was_sent(rows in prop::collection::vec(good_row(), 1..8), junk in fields(value())) {
        let mut texts: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        let neighbour = serde_json::to_string(&junk).unwrap();
        texts.push(neighbour.replace('}', ""));
        let built = build(&texts).rows;
        prop_assert!(built.num_rows() >= rows.len());
        let strings = built["s"].as_string::<i32>();
        let integers = built["i"].as_primitive::<Int64Type>();
        let doubles = built["f"].as_primitive::<Float64Type>();
        let documents = built["j"].as_string::<i32>();
        let lists = built["l"].as_list::<i32>();
        for (index, row) in rows.iter().enumerate() {
            let null = Value::Null;
            let field = |name: &str| row.get(name).unwrap_or(&null);
            prop_assert_eq!(strings.iter().nth(index).flatten(), field("s").as_str());
            prop_assert_eq!(integers.iter().nth(index).flatten(), field("i").as_i64());
            prop_assert_eq!(doubles.iter().nth(index).flatten(), field("f").as_f64());
            let document = row.get("j").filter(|value| !value.is_null()).map(Value::to_string);
            prop_assert_eq!(documents.iter().nth(index).flatten(), document.as_deref());
            let items = lists.value(index);
            let items: Vec<_> = items.as_string::<i32>().iter().flatten().map(Value::from).collect();
            let sent = row.get("l").and_then(Value::as_array).cloned().unwrap_or_default();
            prop_assert_eq!(items, sent);
        }
    }
}
