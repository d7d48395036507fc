//! Recorded telemetry comes out byte-equal, and nothing that text can hold is lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use millrace_table::Outcome;
use serde_json::Value;

#[test]
fn recorded_entries_come_out_byte_equal() {
    let rows: Vec<_> = support::recorded_entries().iter().map(support::transform).collect();
    assert_eq!(rows.len(), 181);
    let texts: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
    let built = support::build(&support::gemini_spec(), &texts);
    assert_eq!(built.outcomes, vec![Outcome::Written; 181]);
    assert!(texts.iter().any(|text| text.contains("986Z")), "timestamps of nine digits are among them");
    for (name, column) in
        built.rows.schema().fields().iter().map(|field| field.name()).zip(built.rows.columns()).take(12)
    {
        for (index, row) in rows.iter().enumerate() {
            let expected = row.get(name).map(|value| value.as_str().unwrap());
            if name.to_lowercase().ends_with("timestamp") {
                let micros = column.as_primitive::<TimestampMicrosecondType>();
                let expected = expected.map(|text| {
                    // Nanoseconds are dropped, not rounded.
                    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
                });
                assert_eq!(micros.is_valid(index).then(|| micros.value(index)), expected, "{name} {index}");
            } else {
                let texts = column.as_string::<i32>();
                assert_eq!(texts.is_valid(index).then(|| texts.value(index)), expected, "{name} {index}");
            }
        }
    }
    assert!(built.rows["_event_day"].null_count() == 0, "all are of the days around their publishing");
}

#[test]
fn long_and_strange_texts_come_out_byte_equal() {
    let samples = [
        "🦀 emoji 👩‍👩‍👧 日本語 עברית \u{feff} \u{2028}".to_owned(),
        "\"quotes\" \\backslashes\\ 'single' `back` \u{7f} \u{0} \u{1f} \r\n\t".to_owned(),
        "x".repeat(700_000),
        "漢字かな🎉\"\\\n".repeat(30_000),
        serde_json::to_string(&Value::String("nested \"json\"\n".repeat(20_000))).unwrap(),
        (0..0x3000).filter_map(char::from_u32).collect(),
    ];
    let rows: Vec<String> = samples
        .iter()
        .flat_map(|text| {
            let plain = serde_json::json!({ "logName": text, "jsonPayload_json": text }).to_string();
            // Every character escaped, as a cautious writer does.
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            [plain, format!("{{\"jsonPayload_json\":\"{escaped}\",\"logName\":\"{escaped}\"}}")]
        })
        .collect();
    let built = support::build(&support::gemini_spec(), &rows).rows;
    for column in ["logName", "jsonPayload_json"] {
        let texts = built[column].as_string::<i32>();
        for (index, text) in texts.iter().enumerate() {
            assert!(text == Some(samples[index / 2].as_str()), "{column} of row {index}");
        }
    }
}
