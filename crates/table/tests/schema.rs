//! Schemas and tables as declared: what is read, what is refused and in which words.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use arrow::datatypes::{DataType, TimeUnit};
use millrace_table::{
    FieldType, METADATA_MAX_LENGTH, METADATA_PRECISION, METADATA_SCALE, METADATA_TYPE, Mode, Rounding,
    SchemaError, TableSchema, TableSpec, dead_letter_spec,
};

fn problem(json: &str) -> String {
    TableSchema::parse(json).unwrap_err().to_string()
}

fn one(field: &str) -> String {
    problem(&format!("[{field}]"))
}

#[test]
fn legacy_and_standard_names_mean_the_same() {
    for (names, kind) in [
        (&["STRING", "string"][..], FieldType::String),
        (&["BYTES"], FieldType::Bytes),
        (&["INTEGER", "INT64", "Int64"], FieldType::Int64),
        (&["FLOAT", "FLOAT64"], FieldType::Float64),
        (&["NUMERIC", "DECIMAL"], FieldType::Numeric),
        (&["BIGNUMERIC", "BIGDECIMAL"], FieldType::BigNumeric),
        (&["BOOLEAN", "BOOL"], FieldType::Bool),
        (&["TIMESTAMP"], FieldType::Timestamp),
        (&["DATE"], FieldType::Date),
        (&["TIME"], FieldType::Time),
        (&["DATETIME"], FieldType::DateTime),
        (&["JSON"], FieldType::Json),
    ] {
        for name in names {
            let schema = TableSchema::parse(&format!(r#"[{{"name": "f", "type": "{name}"}}]"#)).unwrap();
            assert_eq!(schema.fields()[0].kind, kind, "{name}");
        }
    }
}

#[test]
fn everything_a_schema_says_is_kept() {
    let schema = TableSchema::parse(
        r#"{"fields": [
            {"name": "a", "type": "STRING", "mode": "REQUIRED", "description": "d", "maxLength": "10",
             "policyTags": {"names": ["x"]}, "collation": "und:ci"},
            {"name": "n", "type": "NUMERIC", "precision": "10", "scale": 2, "roundingMode": "ROUND_HALF_EVEN"},
            {"name": "r", "type": "STRUCT", "mode": "repeated", "fields": [{"name": "x", "type": "INTEGER"}]}]}"#,
    )
    .unwrap();
    let [a, n, r] = schema.fields() else { panic!("three fields") };
    assert_eq!((a.mode, a.max_length, a.description.as_deref()), (Mode::Required, Some(10), Some("d")));
    assert_eq!(
        (n.precision, n.scale, n.rounding, n.mode),
        (Some(10), Some(2), Rounding::HalfEven, Mode::Nullable)
    );
    assert_eq!((r.kind, r.mode, r.fields[0].kind), (FieldType::Record, Mode::Repeated, FieldType::Int64));
    assert_eq!(schema.field("N").map(|field| field.name.as_str()), Some("n"));
    let bare =
        TableSchema::parse(r#" [{"name": "a", "type": "STRING", "mode": null, "fields": []}]"#).unwrap();
    assert_eq!(bare.fields().len(), 1);
}

#[test]
fn refused_schemas_say_what_to_do() {
    assert_eq!(problem("[]"), "the schema has no field: declare at least one");
    for broken in ["", "{", "12", "{\"fields\": 1}", "[{\"name\": \"a\"}]", "[{\"type\": \"STRING\"}]", "[1]"]
    {
        assert!(matches!(TableSchema::parse(broken), Err(SchemaError::Json(_))), "{broken}");
    }
    for (field, message) in [
        (
            r#"{"name": "g", "type": "GEOGRAPHY"}"#,
            "field g: type GEOGRAPHY is not supported: keep such values in a STRING or JSON field",
        ),
        (
            r#"{"name": "r", "type": "RECORD", "fields": [{"name": "x", "type": "VARCHAR"}]}"#,
            "field r.x: unknown type \"VARCHAR\": use one of STRING, BYTES, INT64, FLOAT64, NUMERIC, BIGNUMERIC, \
             BOOL, TIMESTAMP, DATE, TIME, DATETIME, JSON, RECORD, or its legacy name",
        ),
        (
            r#"{"name": "a", "type": "STRING", "mode": "OPTIONAL"}"#,
            "field a: unknown mode \"OPTIONAL\": use NULLABLE, REQUIRED or REPEATED",
        ),
        (
            r#"{"name": "a", "type": "STRING", "defaultValueExpression": "'x'"}"#,
            "field a: defaultValueExpression is not supported: set the value in the UDF and remove it here",
        ),
        (
            r#"{"name": "a", "type": "STRING"}, {"name": "A", "type": "STRING"}"#,
            "field A: the name is taken by a field before it, case does not tell them apart",
        ),
        (
            r#"{"name": "_Offset", "type": "INT64"}"#,
            "field _Offset: _offset is the name of a hidden column of every table: rename the field",
        ),
        (
            r#"{"name": "_typed", "type": "INT64"}"#,
            "field _typed: _typed is the name of a hidden column of every table: rename the field",
        ),
        (
            r#"{"name": "_TABLE_SUFFIX", "type": "STRING"}"#,
            "field _TABLE_SUFFIX: names that begin with _table_ are reserved by BigQuery: rename the field",
        ),
        (r#"{"name": "", "type": "STRING"}"#, "field : the name is empty"),
        (
            r#"{"name": "a.b", "type": "STRING"}"#,
            "field a.b: the name holds '.': use letters, digits and underscores",
        ),
        (
            r#"{"name": "a b", "type": "STRING"}"#,
            "field a b: the name holds ' ': use letters, digits and underscores",
        ),
        (
            r#"{"name": "r", "type": "RECORD"}"#,
            "field r: a RECORD needs fields: declare them, or use JSON for any shape",
        ),
        (
            r#"{"name": "a", "type": "JSON", "fields": [{"name": "x", "type": "STRING"}]}"#,
            "field a: a JSON has no fields: make it a RECORD or remove them",
        ),
        (
            r#"{"name": "a", "type": "INT64", "maxLength": 3}"#,
            "field a: maxLength is for STRING and BYTES, not INT64: remove it",
        ),
        (
            r#"{"name": "a", "type": "FLOAT64", "scale": 3}"#,
            "field a: precision and scale are for NUMERIC and BIGNUMERIC, not FLOAT64: remove them",
        ),
        (
            r#"{"name": "a", "type": "NUMERIC", "precision": 40, "scale": 9}"#,
            "field a: the precision of a NUMERIC of scale 9 is from 9 to 38",
        ),
        (
            r#"{"name": "a", "type": "NUMERIC", "precision": 30, "scale": 10}"#,
            "field a: the scale of a NUMERIC is at most 9",
        ),
        (r#"{"name": "a", "type": "BIGNUMERIC", "scale": 3}"#, "field a: scale needs a precision: set it"),
        (
            r#"{"name": "a", "type": "NUMERIC", "precision": "ten"}"#,
            "field a: precision is not a whole number",
        ),
    ] {
        assert_eq!(one(field), message);
    }
    assert!(
        one(&format!(r#"{{"name": "{}", "type": "STRING"}}"#, "n".repeat(301))).ends_with("300 characters")
    );
    assert!(TableSchema::parse(r#"[{"name": "größe-日本", "type": "STRING"}]"#).is_ok());
    assert!(
        TableSchema::parse(
            r#"[{"name": "r", "type": "RECORD", "fields": [{"name": "_topic", "type": "STRING"}]}]"#
        )
        .is_ok()
    );
}

#[test]
fn depth_and_width_are_limited() {
    let nested = |levels: usize| {
        let open = r#"{"name": "r", "type": "RECORD", "fields": ["#.repeat(levels);
        format!(r#"[{open}{{"name": "x", "type": "STRING"}}{}]"#, "]}".repeat(levels))
    };
    assert!(TableSchema::parse(&nested(15)).is_ok());
    assert!(problem(&nested(16)).ends_with("RECORDs nest at most 15 levels deep"));
    assert!(matches!(TableSchema::parse(&nested(10_000)), Err(SchemaError::Json(_))));
    let wide = |columns: usize| {
        let fields: Vec<_> =
            (0..columns).map(|n| format!(r#"{{"name": "c{n}", "type": "STRING"}}"#)).collect();
        format!("[{}]", fields.join(","))
    };
    assert!(TableSchema::parse(&wide(10_000)).is_ok());
    assert_eq!(TableSchema::parse(&wide(10_001)), Err(SchemaError::TooManyColumns(10_001)));
}

#[test]
fn arrow_types_follow_the_declaration() {
    let schema = TableSchema::parse(
        r#"[{"name": "s", "type": "STRING", "mode": "REQUIRED", "maxLength": 5},
            {"name": "t", "type": "TIMESTAMP"}, {"name": "dt", "type": "DATETIME"}, {"name": "d", "type": "DATE"},
            {"name": "ti", "type": "TIME"}, {"name": "n", "type": "NUMERIC", "precision": 5, "scale": 2},
            {"name": "bn", "type": "BIGNUMERIC"}, {"name": "b", "type": "BYTES"}, {"name": "j", "type": "JSON"},
            {"name": "l", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "x", "type": "BOOL", "mode": "REQUIRED"}]}]"#,
    )
    .unwrap();
    let arrow = TableSpec::new("t", schema, Some("T"), &["S".to_owned()]).unwrap().arrow_schema();
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    for (name, data_type, nullable, bigquery) in [
        ("s", DataType::Utf8, false, "STRING"),
        ("t", micros(Some("UTC")), true, "TIMESTAMP"),
        ("dt", micros(None), true, "DATETIME"),
        ("d", DataType::Date32, true, "DATE"),
        ("ti", DataType::Utf8, true, "TIME"),
        ("n", DataType::Decimal128(38, 9), true, "NUMERIC"),
        ("bn", DataType::Utf8, true, "BIGNUMERIC"),
        ("b", DataType::Binary, true, "BYTES"),
        ("j", DataType::Utf8, true, "JSON"),
        ("_topic", DataType::Utf8, false, "STRING"),
        ("_offset", DataType::Int64, false, "INT64"),
        ("_event_day", DataType::Date32, true, "DATE"),
    ] {
        let field = arrow.field_with_name(name).unwrap();
        assert_eq!((field.data_type(), field.is_nullable()), (&data_type, nullable), "{name}");
        assert_eq!(field.metadata()[METADATA_TYPE], bigquery, "{name}");
    }
    assert_eq!(arrow.field(0).metadata()[METADATA_MAX_LENGTH], "5");
    assert_eq!(arrow.field(5).metadata()[METADATA_PRECISION], "5");
    assert_eq!(arrow.field(5).metadata()[METADATA_SCALE], "2");
    let DataType::List(element) = arrow.field(9).data_type() else { panic!("a list") };
    let DataType::Struct(inner) = element.data_type() else { panic!("of structs") };
    assert!(!element.is_nullable() && !inner[0].is_nullable());
    assert_eq!(inner[0].metadata()[METADATA_TYPE], "BOOL");
}

#[test]
fn tables_are_filed_by_fields_that_fit() {
    let table = |name: &str, partition: Option<&str>, clustering: &[&str]| {
        let schema = TableSchema::parse(support::GEMINI_SCHEMA).unwrap();
        let clustering: Vec<String> = clustering.iter().map(|&field| field.to_owned()).collect();
        TableSpec::new(name, schema, partition, &clustering).map_err(|error| error.to_string())
    };
    let spec = table("t", Some("TIMESTAMP"), &["logname", "severity"]).unwrap();
    assert_eq!(spec.partition_field.as_deref(), Some("timestamp"));
    assert_eq!(spec.clustering, ["logName", "severity"]);
    for (name, partition, clustering, message) in [
        (
            "a/b",
            None,
            &[][..],
            "table name \"a/b\" is not 1 to 1024 bytes of letters, digits, underscores and dashes",
        ),
        ("t", Some("day"), &[], "table t: partition field \"day\" is not a top-level field of the schema"),
        (
            "t",
            Some("logName"),
            &[],
            "table t: field logName cannot be a partition field: a table is partitioned by a TIMESTAMP, DATE or DATETIME field",
        ),
        ("t", None, &["x"], "table t: clustering field \"x\" is not a top-level field of the schema"),
        ("t", None, &["trace", "TRACE"], "table t: a table is clustered by at most 4 different fields"),
        (
            "t",
            None,
            &["trace", "spanId", "logName", "insertId", "severity"],
            "table t: a table is clustered by at most 4 different fields",
        ),
    ] {
        assert_eq!(table(name, partition, clustering).unwrap_err(), message);
    }
}

#[test]
fn the_dead_letter_table_is_the_templates_and_more() {
    let spec = dead_letter_spec("gemini_raw_logs");
    assert_eq!(spec.name, "gemini_raw_logs_error_records");
    let columns: Vec<_> = spec
        .schema
        .fields()
        .iter()
        .take(6)
        .map(|field| (field.name.as_str(), field.kind, field.mode))
        .collect();
    assert_eq!(
        columns,
        [
            ("timestamp", FieldType::Timestamp, Mode::Required),
            ("payloadString", FieldType::String, Mode::Required),
            ("payloadBytes", FieldType::Bytes, Mode::Required),
            ("attributes", FieldType::Record, Mode::Repeated),
            ("errorMessage", FieldType::String, Mode::Nullable),
            ("stacktrace", FieldType::String, Mode::Nullable),
        ]
    );
    assert!(spec.schema.fields()[6..].iter().all(|field| field.mode == Mode::Nullable));
    // What is built without a check would pass it.
    assert_eq!(TableSchema::new(spec.schema.fields().to_vec()), Ok(spec.schema.clone()));
}
