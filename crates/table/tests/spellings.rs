//! Every type: what is taken and what it becomes, what is refused and in which words.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use millrace_model::ErrorClass::{self, InvalidJson, InvalidValue};
use support::{one_column, read_one};

fn takes(declaration: &str, values: &[(&str, &str)]) {
    let spec = one_column(declaration);
    for (value, becomes) in values {
        assert_eq!(read_one(&spec, value).as_deref(), Ok(*becomes), "{declaration} {value}");
    }
}

fn refuses(declaration: &str, values: &[(&str, &str)]) {
    refuses_as(InvalidValue, declaration, values);
}

fn refuses_as(class: ErrorClass, declaration: &str, values: &[(&str, &str)]) {
    let spec = one_column(declaration);
    for (value, message) in values {
        let error = read_one(&spec, value).unwrap_err();
        assert_eq!((error.class, error.message.as_str()), (class, *message), "{declaration} {value}");
    }
}

#[test]
fn strings() {
    takes(
        r#""type": "STRING""#,
        &[
            (r#""""#, ""),
            (r#""a\u00e9\n\"\\\/""#, "a\u{e9}\n\"\\/"),
            (r#""\ud83d\ude00 \u4e2d""#, "\u{1f600} \u{4e2d}"),
            (r#""nul \u0000 kept""#, "nul \u{0} kept"),
            ("12.50", "12.50"),
            ("-1e3", "-1e3"),
            ("true", "true"),
            ("false", "false"),
            ("null", "null"),
        ],
    );
    takes(
        r#""type": "STRING", "maxLength": "3""#,
        &[(r#""\u00e9\ud83d\ude00x""#, "\u{e9}\u{1f600}x"), ("123", "123")],
    );
    refuses(
        r#""type": "STRING""#,
        &[
            (r#"{"a": 1}"#, "field v: STRING takes text, a number or a boolean, not {\"a\": 1}"),
            (r#"["a"]"#, "field v: STRING takes text, a number or a boolean, not [\"a\"]"),
            (
                r#""ab\ud800""#,
                "field v: the escape at byte 9 is one half of a surrogate pair, which no text in UTF-8 can hold: \
                 cut strings between characters, or call toWellFormed() in the UDF",
            ),
        ],
    );
    for half in [r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud83dx""#, r#""\ud83d\u0041""#] {
        assert_eq!(
            read_one(&one_column(r#""type": "STRING""#), half).unwrap_err().class,
            InvalidValue,
            "{half}"
        );
    }
    refuses(
        r#""type": "STRING", "maxLength": 3"#,
        &[
            (r#""abcd""#, "field v: the text has 4 characters, the field takes at most 3"),
            ("12345", "field v: the text has 5 characters, the field takes at most 3"),
        ],
    );
    refuses_as(
        InvalidJson,
        r#""type": "STRING""#,
        &[
            (
                "\"a\nb\"",
                "the row is not a JSON object: a string holds an unescaped control character at byte 8",
            ),
            (
                "\"\u{0}\"",
                "the row is not a JSON object: a string holds an unescaped control character at byte 7",
            ),
            (r#""\x""#, "the row is not a JSON object: a string holds an unknown escape at byte 7"),
            ("'a'", "the row is not a JSON object: expected a value at byte 6"),
        ],
    );
}

#[test]
fn bytes() {
    takes(
        r#""type": "BYTES""#,
        &[
            (r#""+/8=""#, "fbff"),
            (r#""+\/8""#, "fbff"),
            (r#""-_8""#, "fbff"),
            (r#""""#, ""),
            (r#""aGk\n""#, "6869"),
        ],
    );
    takes(r#""type": "BYTES", "maxLength": 2"#, &[(r#""aGk=""#, "6869")]);
    refuses(
        r#""type": "BYTES""#,
        &[
            (
                r#""a b c!""#,
                "field v: BYTES takes base64 text, standard or URL-safe, padded or not, not \"a b c!\"",
            ),
            ("12", "field v: BYTES takes base64 text, standard or URL-safe, padded or not, not 12"),
        ],
    );
    refuses(
        r#""type": "BYTES", "maxLength": 2"#,
        &[(r#""AAAA""#, "field v: \"AAAA\" does not fit BYTES: it has 3 bytes, the field takes at most 2")],
    );
}

#[test]
fn integers() {
    for name in ["INTEGER", "INT64", "integer"] {
        takes(
            &format!(r#""type": "{name}""#),
            &[
                ("0", "0"),
                ("-0", "0"),
                ("9223372036854775807", "9223372036854775807"),
                (r#""-9223372036854775808""#, "-9223372036854775808"),
                ("1.0", "1"),
                ("1e3", "1000"),
                (r#""1e3""#, "1000"),
                (r#"" 42 ""#, "42"),
                (r#""+7""#, "7"),
                (r#""\u0031""#, "1"),
            ],
        );
    }
    let form = "field v: INT64 takes a whole number from -2^63 to 2^63-1, or text of one, not ";
    refuses(
        r#""type": "INT64""#,
        &[
            ("1.5", "field v: 1.5 does not fit INT64: it is not a whole number: round it in the UDF"),
            (
                "9223372036854775808",
                "field v: 9223372036854775808 does not fit INT64: it is beyond 64 bits: use NUMERIC or STRING",
            ),
            (
                r#""-1e19""#,
                "field v: \"-1e19\" does not fit INT64: it is beyond 64 bits: use NUMERIC or STRING",
            ),
            (r#""""#, &format!("{form}\"\"")),
            (r#""ten\u0007""#, &format!("{form}\"ten\\u{{7}}\"")),
            ("true", &format!("{form}true")),
            ("[1]", &format!("{form}[1]")),
        ],
    );
    let long = format!("\"{}\"", "x".repeat(1_000_000));
    let error = read_one(&one_column(r#""type": "INT64""#), &long).unwrap_err();
    assert!(
        error.message.ends_with("... (999800 more bytes)\"") && error.message.len() < 400,
        "{}",
        error.message
    );
    refuses_as(
        InvalidJson,
        r#""type": "INT64""#,
        &[
            ("01", "the row is not a JSON object: expected , or } in an object at byte 7"),
            ("+1", "the row is not a JSON object: expected a value at byte 6"),
            ("NaN", "the row is not a JSON object: expected a value at byte 6"),
            ("-", "the row is not a JSON object: expected a digit at byte 7"),
        ],
    );
}

#[test]
fn doubles() {
    takes(
        r#""type": "FLOAT""#,
        &[
            ("1", "1.0"),
            ("0.1", "0.1"),
            (r#""0.1""#, "0.1"),
            ("1e-400", "0.0"),
            ("12345678901234567890", "1.2345678901234567e19"),
            (r#""NaN""#, "NaN"),
            (r#""Infinity""#, "inf"),
            (r#""-Infinity""#, "-inf"),
            (r#""+inf""#, "inf"),
            (r#""-INF""#, "-inf"),
        ],
    );
    refuses(
        r#""type": "FLOAT64""#,
        &[
            ("1e400", "field v: 1e400 does not fit FLOAT64: it is beyond the largest double, 1.8e308"),
            (
                r#""-1e400""#,
                "field v: \"-1e400\" does not fit FLOAT64: it is beyond the largest double, 1.8e308",
            ),
            (
                r#""""#,
                "field v: FLOAT64 takes a number, text of one, or \"NaN\", \"Infinity\", \"-Infinity\", not \"\"",
            ),
            (
                "true",
                "field v: FLOAT64 takes a number, text of one, or \"NaN\", \"Infinity\", \"-Infinity\", not true",
            ),
        ],
    );
}

#[test]
fn decimals() {
    for name in ["NUMERIC", "DECIMAL"] {
        takes(
            &format!(r#""type": "{name}""#),
            &[
                ("0.1", "0.100000000"),
                (r#""-12345678901234567890123456789.123456789""#, "-12345678901234567890123456789.123456789"),
                ("12345678901234567890123456789.123456789", "12345678901234567890123456789.123456789"),
                ("1e28", "10000000000000000000000000000.000000000"),
                ("0.0000000005", "0.000000001"),
            ],
        );
    }
    takes(
        r#""type": "NUMERIC", "precision": "5", "scale": "2", "roundingMode": "ROUND_HALF_EVEN""#,
        &[("999.994", "999.990000000"), ("0.125", "0.120000000")],
    );
    refuses(
        r#""type": "NUMERIC""#,
        &[
            ("1e29", "field v: 1e29 does not fit NUMERIC: it is beyond the range of the type"),
            (
                r#""1,5""#,
                "field v: NUMERIC takes a number or text of one, at most 29 digits before the decimal point, not \"1,5\"",
            ),
        ],
    );
    refuses(
        r#""type": "NUMERIC", "precision": 5, "scale": 2"#,
        &[(
            "1000",
            "field v: 1000 does not fit NUMERIC: the field takes 3 digits before the decimal point and 2 behind it",
        )],
    );
    for name in ["BIGNUMERIC", "BIGDECIMAL"] {
        takes(
            &format!(r#""type": "{name}""#),
            &[
                ("0.10", "0.1"),
                ("-0", "0"),
                (r#""1e38""#, "100000000000000000000000000000000000000"),
                ("1e-38", "0.00000000000000000000000000000000000001"),
            ],
        );
    }
    refuses(
        r#""type": "BIGNUMERIC""#,
        &[
            ("6e38", "field v: 6e38 does not fit BIGNUMERIC: it is beyond the range of the type"),
            (
                r#""NaN""#,
                "field v: BIGNUMERIC takes a number or text of one, up to about 5.78e38, not \"NaN\"",
            ),
        ],
    );
}

#[test]
fn booleans() {
    for name in ["BOOL", "BOOLEAN"] {
        takes(
            &format!(r#""type": "{name}""#),
            &[
                ("true", "true"),
                ("false", "false"),
                (r#""TRUE""#, "true"),
                (r#""False""#, "false"),
                ("1", "true"),
                ("0", "false"),
                (r#""n""#, "false"),
            ],
        );
    }
    refuses(
        r#""type": "BOOL""#,
        &[
            ("2", "field v: BOOL takes true or false, or text of one, not 2"),
            (r#""""#, "field v: BOOL takes true or false, or text of one, not \"\""),
        ],
    );
    refuses_as(
        InvalidJson,
        r#""type": "BOOL""#,
        &[("True", "the row is not a JSON object: expected a value at byte 6")],
    );
}

#[test]
fn moments() {
    takes(
        r#""type": "TIMESTAMP""#,
        &[
            (r#""2024-05-06T07:08:09.838999986Z""#, "2024-05-06T07:08:09.838999Z"),
            (r#""2024-05-06 09:08:09+02""#, "2024-05-06T07:08:09Z"),
            (r#""2024-05-06""#, "2024-05-06T00:00:00Z"),
            ("1714979289.25", "2024-05-06T07:08:09.250Z"),
            (r#""1714979289""#, "2024-05-06T07:08:09Z"),
            (r#""0001-01-01T00:00:00Z""#, "0001-01-01T00:00:00Z"),
        ],
    );
    let form = "field v: TIMESTAMP takes text like 2024-05-06T07:08:09.123456Z, or seconds since 1970, \
                from year 1 to year 9999, not ";
    refuses(
        r#""type": "TIMESTAMP""#,
        &[
            (r#""yesterday""#, &format!("{form}\"yesterday\"")),
            (r#""""#, &format!("{form}\"\"")),
            ("true", &format!("{form}true")),
            (
                "1714979289123",
                "field v: 1714979289123 does not fit TIMESTAMP: a number is read as seconds since 1970 and this is \
                 beyond year 9999: divide milliseconds by 1000",
            ),
            (r#""10000-01-01T00:00:00Z""#, &format!("{form}\"10000-01-01T00:00:00Z\"")),
            (
                r#""9999-12-31T23:59:59-01:00""#,
                "field v: \"9999-12-31T23:59:59-01:00\" does not fit TIMESTAMP: it is not from year 1 to year 9999",
            ),
            (
                r#""2024-05-06 07:08:09 Nowhere""#,
                "field v: \"2024-05-06 07:08:09 Nowhere\" does not fit TIMESTAMP: its time zone is unknown: \
                 use Z, +hh:mm or a name like Europe/Rome",
            ),
        ],
    );
    takes(r#""type": "DATE""#, &[(r#""2024-5-6""#, "2024-05-06"), (r#""9999-12-31""#, "9999-12-31")]);
    refuses(
        r#""type": "DATE""#,
        &[
            (
                r#""2024/05/06""#,
                "field v: DATE takes text like 2024-05-06, from year 1 to year 9999, not \"2024/05/06\"",
            ),
            ("19849", "field v: DATE takes text like 2024-05-06, from year 1 to year 9999, not 19849"),
        ],
    );
    takes(r#""type": "TIME""#, &[(r#""7:08:09""#, "07:08:09"), (r#""07:08:09.5""#, "07:08:09.500000")]);
    refuses(
        r#""type": "TIME""#,
        &[(r#""25:00:00""#, "field v: TIME takes text like 07:08:09.123456, not \"25:00:00\"")],
    );
    takes(
        r#""type": "DATETIME""#,
        &[
            (r#""2024-05-06 07:08:09.5""#, "2024-05-06T07:08:09.500"),
            (r#""2024-05-06""#, "2024-05-06T00:00:00"),
        ],
    );
    refuses(
        r#""type": "DATETIME""#,
        &[(
            r#""2024-05-06T07:08:09Z""#,
            "field v: \"2024-05-06T07:08:09Z\" does not fit DATETIME: it has a time zone: use TIMESTAMP, \
             or leave the zone out",
        )],
    );
}

#[test]
fn json() {
    takes(
        r#""type": "JSON""#,
        &[
            (r#"{ "b" : [ 1.50 , "x y" ] , "a" : null }"#, r#"{"b":[1.50,"x y"],"a":null}"#),
            (r#"{"a":"\ud800"}"#, r#"{"a":"\ud800"}"#),
            (r#""{\"a\": [1, 2]}""#, r#"{"a":[1,2]}"#),
            (r#""\"text\"""#, r#""text""#),
            (r#""null""#, "null"),
            ("12.50", "12.50"),
            ("true", "true"),
            ("null", "null"),
        ],
    );
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(read_one(&one_column(r#""type": "JSON""#), &deep(500)).is_ok());
    refuses(
        r#""type": "JSON""#,
        &[
            (r#""text""#, "field v: \"text\" does not fit JSON: as JSON, expected a value at byte 0"),
            (
                r#""""#,
                "field v: \"\" does not fit JSON: as JSON, the text ends where a value should be at byte 0",
            ),
            (
                r#""1 2""#,
                "field v: \"1 2\" does not fit JSON: as JSON, there is more text behind the value at byte 2",
            ),
            (&deep(501), "field v: the value nests deeper than 500 levels"),
            (&deep(100_000), "field v: the value nests deeper than 500 levels"),
        ],
    );
}

#[test]
fn records_and_lists() {
    let record = r#""type": "RECORD", "fields": [
        {"name": "id", "type": "INT64", "mode": "REQUIRED"},
        {"name": "tags", "type": "STRING", "mode": "REPEATED"},
        {"name": "inner", "type": "STRUCT", "fields": [{"name": "x", "type": "FLOAT"}]}]"#;
    takes(
        record,
        &[
            (
                r#"{"ID": 1, "tags": ["a", 2, true], "inner": {"x": "1.5"}}"#,
                "{id: 1, tags: [a, 2, true], inner: {x: 1.5}}",
            ),
            (r#"{"id": 1}"#, "{id: 1, tags: [], inner: }"),
            (r#"{"id": 1, "tags": null, "inner": {}}"#, "{id: 1, tags: [], inner: {x: }}"),
            ("null", "null"),
        ],
    );
    refuses(
        record,
        &[
            ("[]", "field v: RECORD takes an object, not []"),
            (r#""{}""#, "field v: RECORD takes an object, not \"{}\""),
            (r#"{"id": 1, "tags": "a"}"#, "field v.tags: a REPEATED field takes an array, not \"a\""),
            (
                r#"{"id": 1, "tags": ["a", null]}"#,
                "field v.tags[1]: an array of a REPEATED field cannot hold null",
            ),
            (
                r#"{"id": 1, "tags": ["a", ["b"]]}"#,
                "field v.tags[1]: STRING takes text, a number or a boolean, not [\"b\"]",
            ),
            (
                r#"{"id": 1, "inner": {"x": {}}}"#,
                "field v.inner.x: FLOAT64 takes a number, text of one, or \"NaN\", \"Infinity\", \"-Infinity\", not {}",
            ),
        ],
    );
    refuses_as(
        ErrorClass::MissingField,
        record,
        &[
            ("{}", "field v.id: the field is REQUIRED but missing or null"),
            (r#"{"id": null}"#, "field v.id: the field is REQUIRED but missing or null"),
        ],
    );
    refuses_as(
        ErrorClass::UnknownField,
        record,
        &[
            (r#"{"id": 1, "inner": {"y.z": 1}}"#, "field v.inner.y.z: the table has no such field"),
            (r#"{"id": 1, "\ud800": 1}"#, "field v.\"\\ud800\": the table has no such field"),
        ],
    );
    let list = r#""type": "RECORD", "mode": "REPEATED", "fields": [{"name": "k", "type": "STRING"}]"#;
    takes(
        list,
        &[(r#"[{"k": "a"}, {}, {"k": null}]"#, "[{k: a}, {k: }, {k: }]"), ("null", "[]"), ("[]", "[]")],
    );
    refuses(
        list,
        &[(r#"[{"k": "a"}, {"k": []}]"#, "field v[1].k: STRING takes text, a number or a boolean, not []")],
    );
}
