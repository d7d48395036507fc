//! Avro schemas, and data that fit them (<https://avro.apache.org/docs/1.11.1/specification/>).
//!
//! Of our own, because the common library decodes without a limit on depth (a few megabytes of a recursive
//! record would end the process), has no reader of Avro's JSON encoding, and only the answer yes or no is
//! wanted here.

mod binary;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod json;
mod parse;

use std::collections::{BTreeMap, BTreeSet};

/// How deep data may be nested.
const DEPTH_MAX: usize = 128;
/// Values that are looked at in one message: an array of nulls has no bytes, but takes time.
const VALUES_MAX: usize = 16_000_000;

/// A schema.
#[derive(Debug)]
pub(crate) struct AvroSchema {
    root: Type,
    named: Vec<Named>,
}

#[derive(Debug, Clone, PartialEq)]
enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Union),
    /// One of the schema's named types.
    Named(usize),
}

#[derive(Debug, Clone, PartialEq)]
struct Union {
    branches: Vec<Type>,
    /// Their places by what they are called in JSON.
    by_name: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Named {
    /// With its namespace.
    name: String,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Record(Vec<(String, Type)>),
    Enum(BTreeSet<String>),
    Fixed(usize),
}

impl AvroSchema {
    /// Reads a definition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(definition: &str) -> Result<Self, String> {
        parse::parse(definition)
    }

    /// Checks data in Avro's JSON encoding.
    ///
    /// # Errors
    /// What does not fit, and where.
    pub(crate) fn check_json(&self, data: &[u8]) -> Result<(), String> {
        json::check(self, data)
    }

    /// Checks data in Avro's binary encoding, without a header.
    ///
    /// # Errors
    /// What does not fit, and at which byte.
    pub(crate) fn check_binary(&self, data: &[u8]) -> Result<(), String> {
        binary::check(self, data)
    }

    /// What a type is called, as the branch of a union is in JSON.
    fn name_of<'a>(&'a self, of: &Type) -> &'a str {
        name_of(&self.named, of)
    }
}

fn name_of<'a>(named: &'a [Named], of: &Type) -> &'a str {
    match of {
        Type::Null => "null",
        Type::Boolean => "boolean",
        Type::Int => "int",
        Type::Long => "long",
        Type::Float => "float",
        Type::Double => "double",
        Type::Bytes => "bytes",
        Type::String => "string",
        Type::Array(_) => "array",
        Type::Map(_) => "map",
        Type::Union(_) => "union",
        Type::Named(index) => named.get(*index).map_or("", |named| named.name.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{
        "type": "record", "name": "Order", "namespace": "shop", "doc": "an order", "fields": [
            {"name": "id", "type": "long"},
            {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "DONE"]}},
            {"name": "note", "type": ["null", "string"], "default": null},
            {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 2}},
            {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
                {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4}},
                {"name": "weight", "type": "double"}, {"name": "gift", "type": "boolean"}]}}},
            {"name": "tags", "type": {"type": "map", "values": "int"}},
            {"name": "next", "type": ["null", "Order", "shop.Line"]},
            {"name": "ratio", "type": "float"}
        ]}"#;

    #[test]
    fn json_that_fits_is_told_from_what_does_not() {
        let schema = AvroSchema::parse(ORDER).unwrap();
        let good = serde_json::json!({
            "id": 9_007_199_254_740_993_i64, "state": "NEW", "note": {"string": "x"}, "digest": "a\u{ff}",
            "lines": [{"price": "\u{1}", "weight": 1.5, "gift": false}], "tags": {"a": 1, "b": -1},
            "next": {"shop.Line": {"price": "", "weight": 2, "gift": true}}, "ratio": 1,
        });
        schema.check_json(good.to_string().as_bytes()).unwrap();
        for (field, value, text) in [
            ("id", serde_json::json!("1"), "$.id: a string is no long"),
            ("id", serde_json::json!(1.5), "$.id: a number is no long"),
            ("state", serde_json::json!("GONE"), "no symbol of shop.State"),
            ("note", serde_json::json!("x"), "$.note: a string is no branch of the union"),
            ("note", serde_json::json!({"int": 1}), "\"int\" is no branch"),
            ("digest", serde_json::json!("a"), "2 bytes"),
            ("digest", serde_json::json!("a\u{100}"), "2 bytes"),
            (
                "lines",
                serde_json::json!([{"price": "", "weight": 1}]),
                "$.lines[0]: the field gift is missing",
            ),
            ("tags", serde_json::json!({"a": 2_147_483_648_i64}), "$.tags.a: a number is no int"),
            ("extra", serde_json::json!(1), "there is no field extra"),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let error = schema.check_json(bad.to_string().as_bytes()).unwrap_err();
            assert!(error.contains(text), "{field}: {error}");
        }
        assert!(schema.check_json(b"{").unwrap_err().contains("no JSON"));
    }

    #[test]
    fn binary_that_fits_is_told_from_what_does_not() {
        let schema = AvroSchema::parse(ORDER).unwrap();
        let mut good = vec![0x02, 0x00, 0x02, 0x02, b'x', 1, 2];
        // One line in a block with its size, then the end of the array.
        good.extend([0x01, 0x16, 0x02, 9]);
        good.extend(1.5_f64.to_le_bytes());
        good.extend([0x01, 0x00]);
        good.extend([0x02, 0x02, b'a', 0x03, 0x00, 0x00]);
        good.extend(1.0_f32.to_le_bytes());
        schema.check_binary(&good).unwrap();
        for cut in 0..good.len() {
            assert!(schema.check_binary(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(schema.check_binary(&long).unwrap_err().contains("1 bytes too many"));
        for (at, value, text) in
            [(1, 0x04, "no symbol"), (2, 0x06, "no branch"), (3, 0x01, "below 0"), (4, 0xff, "UTF-8")]
        {
            let mut bad = good.clone();
            bad[at] = value;
            let error = schema.check_binary(&bad).unwrap_err();
            assert!(error.contains(text), "{at}: {error}");
        }
    }

    #[test]
    fn hostile_data_end_early() {
        let list = r#"{"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}"#;
        let schema = AvroSchema::parse(list).unwrap();
        schema.check_binary(&[2, 2, 2, 0]).unwrap();
        assert!(schema.check_binary(&vec![2; 1_000_000]).unwrap_err().contains("nested"));
        let deep = format!("{}null{}", r#"{"n":{"L":"#.repeat(60), "}}".repeat(60));
        assert!(schema.check_json(deep.as_bytes()).is_err());
        let own = r#"{"type": "record", "name": "S", "fields": [{"name": "s", "type": "S"}]}"#;
        assert!(AvroSchema::parse(own).unwrap().check_binary(&[]).unwrap_err().contains("nested"));
        let nulls = AvroSchema::parse(r#"{"type": "array", "items": "null"}"#).unwrap();
        let mut many = vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00];
        assert!(nulls.check_binary(&many).unwrap_err().contains("values"));
        many[9] = 0x7f;
        assert!(nulls.check_binary(&many).is_err());
        nulls.check_binary(&[0x04, 0x00]).unwrap();
    }

    /// Scenario: the largest definitions of each kind, and for each the most data that look for a name in it.
    /// Guarantees: a name is looked up, not searched for: by comparing with each name, this takes minutes.
    #[test]
    fn long_lists_of_names_are_looked_up() {
        let list =
            |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
        let symbols = list(30_000, &|index| format!("\"s{index}\""));
        let schema = format!(
            r#"{{"type": "array", "items": {{"type": "enum", "name": "e", "symbols": [{symbols}]}}}}"#
        );
        let schema = AvroSchema::parse(&schema).unwrap();
        schema.check_json(format!("[{}]", list(300_000, &|_| "\"s29999\"".to_owned())).as_bytes()).unwrap();

        let fields = list(10_000, &|index| format!(r#"{{"name":"f{index}","type":"int"}}"#));
        let schema = format!(
            r#"{{"type": "array", "items": {{"type": "record", "name": "r", "fields": [{fields}]}}}}"#
        );
        let schema = AvroSchema::parse(&schema).unwrap();
        let record = format!("{{{}}}", list(10_000, &|index| format!("\"f{index}\":1")));
        schema.check_json(format!("[{}]", list(50, &|_| record.clone())).as_bytes()).unwrap();

        let branches = list(6_000, &|index| format!(r#"{{"type":"fixed","name":"b{index}","size":0}}"#));
        let schema = AvroSchema::parse(&format!(r#"{{"type": "array", "items": [{branches}]}}"#)).unwrap();
        schema
            .check_json(format!("[{}]", list(300_000, &|_| r#"{"b5999":""}"#.to_owned())).as_bytes())
            .unwrap();
    }

    #[test]
    fn definitions_that_are_none_say_why() {
        for (definition, text) in [
            ("{", "no JSON"),
            (r#""strin""#, "no type \"strin\""),
            ("7", "a number is no schema"),
            (r#"{"name": "x"}"#, "no \"type\""),
            (r#"{"type": "record", "fields": []}"#, "no \"name\""),
            (r#"{"type": "record", "name": "1x", "fields": []}"#, "\"1x\" is no name"),
            (r#"{"type": "record", "name": "a..b", "fields": []}"#, "is no name"),
            (r#"{"type": "record", "name": "x"}"#, "no \"fields\""),
            (
                r#"{"type": "record", "name": "x", "fields": [{"name": "a", "type": "int"}, {"name": "a", "type": "int"}]}"#,
                "twice",
            ),
            (r#"{"type": "enum", "name": "e", "symbols": ["A", "A"]}"#, "twice"),
            (r#"{"type": "enum", "name": "e", "symbols": ["a b"]}"#, "is no name"),
            (r#"{"type": "fixed", "name": "f", "size": -1}"#, "\"size\""),
            (r#"["int", "int"]"#, "int is in a union twice"),
            (r#"["int", ["null"]]"#, "union in a union"),
            (
                r#"[{"type": "map", "values": "int"}, {"type": "fixed", "name": "map", "size": 1}]"#,
                "map is in a union twice",
            ),
            (
                r#"[{"type": "enum", "name": "e", "symbols": ["A"]}, {"type": "enum", "name": "e", "symbols": ["A"]}]"#,
                "e is defined twice",
            ),
        ] {
            let error = AvroSchema::parse(definition).unwrap_err();
            assert!(error.contains(text), "{definition}: {error}");
        }
        AvroSchema::parse(r#"{"type": {"type": "string"}}"#).unwrap();
        AvroSchema::parse(r#"["null", {"type": "map", "values": ["int", "string"]}]"#).unwrap();
    }
}
